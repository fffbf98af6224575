package decodetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"realign/internal/decode"
)

// Soak sends an engine requests from six clients for some time and steers, stops and forks them at random: runs of up to
// eight lanes and λ-maps, with and without traces, of a few owners. base says the rest of a request. Then it wants every
// sequence of the engine back: as many lanes as the models can hold.
func Soak(t *testing.T, e *decode.Engine, base decode.Request, prompts []decode.Prompt, length time.Duration) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	var wait sync.WaitGroup
	for client := range 6 {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), 5))
			for ctx.Err() == nil {
				disturb(t, e, base, prompts[random.IntN(len(prompts))], random)
			}
		})
	}
	wait.Wait()
	last := base
	last.Prompt = prompts[0]
	last.Sampling.IgnoreEnd, last.Sampling.MaxTokens = true, 8
	tokens := make(chan int)
	sequences := e.Limits().Sequences
	for from := 0; from < sequences; from += decode.MaxLanes {
		last.Lanes = nil
		for i := range min(decode.MaxLanes, sequences-from) {
			last.Lanes = append(last.Lanes, decode.Lane{Index: i, Sample: i, Lambda: decode.Vector{0.5}})
		}
		j, err := e.Start(last, func(ev decode.Event) {
			if ev.Type == decode.EventStats {
				go func() { tokens <- ev.Stats.Tokens }()
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { <-j.Done() }()
	}
	sum := 0
	for from := 0; from < sequences; from += decode.MaxLanes {
		sum += <-tokens
	}
	if want := sequences * last.Sampling.MaxTokens; sum != want {
		t.Errorf("%d tokens on %d lanes, want %d", sum, sequences, want)
	}
	if c := e.Counters(); c.Lanes != 0 || c.Queue != 0 {
		t.Errorf("at the end %d lanes and %d waiting", c.Lanes, c.Queue)
	}
}

// disturb sends one request and interferes with it: it moves λ, stops lanes or the whole job, and waits for the
// end. Every lane must end once.
func disturb(t *testing.T, e *decode.Engine, req decode.Request, prompt decode.Prompt, random *rand.Rand) {
	req.Prompt, req.Seed, req.Owner = prompt, random.Uint64(), fmt.Sprint(random.IntN(3))
	req.Sampling.MaxTokens = 1 + random.IntN(40)
	req.Sampling.Temperature = []float64{0, 0.8}[random.IntN(2)]
	req.Trace.Off = random.IntN(2) == 0
	if random.IntN(6) == 0 {
		req.Map = &decode.Map{From: 0, To: 2, Branches: 1 + random.IntN(12)}
	} else {
		for i := range 1 + random.IntN(8) {
			req.Lanes = append(req.Lanes, decode.Lane{Index: i, Sample: random.IntN(2), Lambda: decode.Vector{random.Float64()*3 - 0.5}})
		}
	}
	ends, branches := 0, 0
	var mu sync.Mutex
	first := make(chan struct{})
	var once sync.Once
	j, err := e.Start(req, func(ev decode.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch ev.Type {
		case decode.EventEnd:
			ends++
		case decode.EventBranch:
			branches++
		case decode.EventToken, decode.EventStats:
			once.Do(func() { close(first) })
		}
	})
	if err != nil {
		t.Errorf("Start: %v", err)
		return
	}
	if random.IntN(2) == 0 {
		<-first
	}
	for range random.IntN(4) {
		lane := random.IntN(8)
		switch random.IntN(4) {
		case 0:
			_ = j.Stop(lane)
		case 1:
			_ = j.Stop(-1)
		default:
			_ = j.SetLambda(lane, decode.Vector{random.Float64() * 2}) // refused for a lane that ended
		}
	}
	<-j.Done()
	mu.Lock()
	defer mu.Unlock()
	if ends != len(req.Lanes) || (branches > 0) != (req.Map != nil) {
		t.Errorf("%d lanes and map %v: %d ends, %d branches", len(req.Lanes), req.Map, ends, branches)
	}
}

// Running is a number of goroutines, as Goroutines counted them.
type Running int

// Goroutines counts those that run now.
func Goroutines() Running { return Running(runtime.NumGoroutine()) }

// Gone fails the test unless all that were started since have ended, or do so within ten seconds.
func (r Running) Gone(t *testing.T) {
	t.Helper()
	for range 1000 {
		if runtime.NumGoroutine() <= int(r) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d at the beginning", runtime.NumGoroutine(), r)
}
