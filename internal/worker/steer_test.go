package worker

import (
	"context"
	"sync"
	"testing"

	"realign/internal/decode"
	"realign/internal/run"
)

// TestControlsDoNotWaitInOneLine: the engine takes what is asked between two tokens, and all runs' controls at the same time.
func TestControlsDoNotWaitInOneLine(t *testing.T) {
	const users = 24
	p := newPool(t, Config{Command: process, Data: t.TempDir()})
	first := newLog()
	var runs []run.Job
	for i := range users {
		sink := func(decode.Event) {}
		if i == 0 {
			sink = first.sink
		}
		r, err := p.Decode(context.Background(), "demo", request(1, 400), sink)
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	first.until(t, "token", kind(decode.EventToken))
	tokens := func() (n int) {
		for _, e := range first.all() {
			if e.Type == decode.EventToken {
				n++
			}
		}
		return n
	}
	before := tokens()
	var all sync.WaitGroup
	for _, r := range runs {
		all.Go(func() {
			if err := r.SetLambda(0, decode.Vector{0.5}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := tokens() - before; n >= users {
		t.Errorf("%d controls took %d tokens: one after another", users, n)
	}
	for _, r := range runs {
		_ = r.Stop(-1)
		within(t, "a stop", r.Done())
	}
}
