package bench

import (
	"cmp"
	"errors"
	"sync"

	"realign/internal/decode"
)

// Recording is a pair that remembers what an engine asked of its models, so that the bare passes can be
// done again without the engine. It is used with one engine whose models are opened one by one:
// Aligned must not be called by two goroutines at once.
type Recording struct {
	decode.Pair
	reference *recorded            // the same for the life of the recording
	aligned   map[string]*recorded // by name: those that were opened

	mu     sync.Mutex // guards what follows
	flying int        // passes that are being made
	round  int        // of passes that are made at the same time; from 1
}

// recorded is a model with the calls made of it.
type recorded struct {
	decode.Model
	recording *Recording
	calls     []call // in the order in which they were made
}

// call is a pass, or, without rows, a copy, a trim, the encoding of a source or a number of threads.
type call struct {
	rows          []decode.Row // of the pass; nil for everything else
	round         int          // that the pass is of
	dst, src      decode.Seq   // of a copy, with src; a trim has dst alone
	n             int          // tokens that a copy or trim keeps, the number of a source, or threads
	trim, threads bool
	source        []decode.Token // encode: what, under the number n
}

// Record wraps a pair.
func Record(p decode.Pair) *Recording {
	r := &Recording{Pair: p, aligned: map[string]*recorded{}}
	r.reference = &recorded{Model: p.Reference(), recording: r}
	return r
}

// Reference is the recorded reference model.
func (r *Recording) Reference() decode.Model { return r.reference }

// Aligned is a recorded aligned model.
func (r *Recording) Aligned(name string) (decode.Model, error) {
	if m := r.aligned[name]; m != nil {
		return m, nil
	}
	m, err := r.Pair.Aligned(name)
	if err != nil {
		return nil, err
	}
	r.aligned[name] = &recorded{Model: m, recording: r}
	return r.aligned[name], nil
}

// Reset forgets the calls.
func (r *Recording) Reset() {
	r.reference.calls, r.round = nil, 0
	for _, m := range r.aligned {
		m.calls = nil
	}
}

// Replay makes the recorded calls again on the bare models, and nothing else: those passes at the same time that the
// engine made at the same time, each round waiting for the one before. Models end with the cache they began with,
// if the recorded run freed what it used.
func (r *Recording) Replay() error {
	models := []*recorded{r.reference}
	for _, m := range r.aligned {
		models = append(models, m)
	}
	next := make([]int, len(models))
	errs := make([]error, len(models))
	for round := 1; round <= r.round; round++ {
		var wait sync.WaitGroup
		mine := -1
		for i, m := range models {
			for next[i] < len(m.calls) && m.calls[next[i]].rows == nil {
				m.repeat(m.calls[next[i]])
				next[i]++
			}
			if next[i] == len(m.calls) || m.calls[next[i]].round != round {
				continue
			}
			if mine < 0 {
				mine = i
				continue
			}
			rows := m.calls[next[i]].rows
			next[i]++
			wait.Go(func() { errs[i] = m.Model.Forward(rows) })
		}
		if mine >= 0 {
			m := models[mine]
			errs[mine] = m.Model.Forward(m.calls[next[mine]].rows)
			next[mine]++
		}
		wait.Wait()
		if err := cmp.Or(errs...); err != nil {
			return err
		}
	}
	for i, m := range models { // what the engine freed after the last pass
		for ; next[i] < len(m.calls); next[i]++ {
			m.repeat(m.calls[next[i]])
		}
	}
	return nil
}

// repeat makes a recorded call that is no pass again.
func (m *recorded) repeat(c call) {
	switch {
	case c.trim:
		m.Model.Trim(c.dst, c.n)
	case c.source != nil:
		_ = m.encode(c.n, c.source) // what was read once can be read again
	case c.threads:
		m.Model.SetThreads(c.n)
	default:
		m.Model.Copy(c.dst, c.src, c.n)
	}
}

// Forward records a pass. It belongs to a new round unless another pass is being made.
func (m *recorded) Forward(rows []decode.Row) error {
	r := m.recording
	r.mu.Lock()
	if r.flying == 0 {
		r.round++
	}
	r.flying++
	m.calls = append(m.calls, call{rows: append([]decode.Row(nil), rows...), round: r.round})
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.flying--
		r.mu.Unlock()
	}()
	return m.Model.Forward(rows)
}

// Copy, Trim and SetThreads record the call and make it. They are called by the model's goroutine, as Forward is.
func (m *recorded) Copy(dst, src decode.Seq, n int) int {
	m.calls = append(m.calls, call{dst: dst, src: src, n: n})
	return m.Model.Copy(dst, src, n)
}

func (m *recorded) Trim(seq decode.Seq, n int) bool {
	m.calls = append(m.calls, call{dst: seq, n: n, trim: true})
	return m.Model.Trim(seq, n)
}

func (m *recorded) SetThreads(n int) {
	m.calls = append(m.calls, call{n: n, threads: true})
	m.Model.SetThreads(n)
}

// Encode implements decode.Encoder, for models that do.
func (m *recorded) Encode(source int, tokens []decode.Token) error {
	m.calls = append(m.calls, call{source: tokens, n: source})
	return m.encode(source, tokens)
}

// encode has the bare model read a source.
func (m *recorded) encode(source int, tokens []decode.Token) error {
	e, ok := m.Model.(decode.Encoder)
	if !ok {
		return errors.New("the model has no encoder")
	}
	return e.Encode(source, tokens)
}
