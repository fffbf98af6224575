package decode_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
)

// pacedPair is a pair whose passes take, on a clock of its own, as long as pace says for a number of threads.
type pacedPair struct {
	decode.Pair
	pace func(threads int) time.Duration

	mu     sync.Mutex
	now    time.Time
	passes map[int]int // of one row, by threads
}

type pacedModel struct {
	decode.Model
	pair    *pacedPair
	threads int
}

func (p *pacedPair) Reference() decode.Model { return &pacedModel{Model: p.Pair.Reference(), pair: p} }

func (p *pacedPair) Aligned(name string) (decode.Model, error) {
	m, err := p.Pair.Aligned(name)
	return &pacedModel{Model: m, pair: p}, err
}

func (p *pacedPair) time() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (m *pacedModel) SetThreads(n int) { m.threads = n }

func (m *pacedModel) Forward(rows []decode.Row) error {
	m.pair.mu.Lock()
	m.pair.now = m.pair.now.Add(m.pair.pace(max(1, m.threads)))
	if len(rows) == 1 {
		m.pair.passes[m.threads]++
	}
	m.pair.mu.Unlock()
	return m.Model.Forward(rows)
}

// Models share all processors while that is measured to be faster, and not where it is not.
func TestThreadsAreChosenByMeasurement(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	faster := func(threads int) time.Duration { return 8 * time.Millisecond / time.Duration(threads) }
	slower := func(threads int) time.Duration { return time.Millisecond * time.Duration(threads) }
	for _, c := range []struct {
		name          string
		pace          func(int) time.Duration
		lambda        float64
		processors    int
		want, seldom  int // threads of nearly all passes, and of those that find out
		fewer, atMost int // passes of seldom
	}{
		{"one model, faster on all", faster, 0, 8, 8, 0, 2, 2},
		{"one model, slower on all", slower, 0, 8, 0, 8, 2, 2},
		{"two models, faster on half each", faster, 0.5, 8, 4, 0, 4, 4},
		{"two models, slower on half each", slower, 0.5, 8, 0, 4, 4, 4},
		{"two models, two processors", faster, 0.5, 2, 0, 1, 0, 0},
		{"three processors", faster, 0.5, 3, 0, 1, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			runtime.GOMAXPROCS(c.processors)
			p := &pacedPair{Pair: decodetest.New(decodetest.Options{EndLogit: -9}), pace: c.pace, passes: map[int]int{}}
			e := decode.NewEngine(p, decode.Config{Now: p.time})
			defer e.Close()
			req := request(c.lambda)
			req.Trace.Off = true
			req.Sampling.IgnoreEnd = true
			run(t, e, req)
			if n := p.passes[c.seldom]; n < c.fewer || n > c.atMost || len(p.passes) > 2 || p.passes[c.want] < 30 {
				t.Errorf("passes by threads: %v", p.passes)
			}
		})
	}
}
