package worker

import (
	"context"
	"sync"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/run"
)

// TestControlsDoNotWaitInOneLine: the engine takes what is asked between two tokens, and all runs' controls at the same time.
func TestControlsDoNotWaitInOneLine(t *testing.T) {
	const users = 24
	p := newPool(t, Config{Command: slowly(30 * time.Millisecond), Data: t.TempDir()})
	first := newLog()
	runs := make([]run.Job, users)
	start := func(i int, sink func(decode.Event)) {
		var err error
		if runs[i], err = p.Decode(context.Background(), "demo", request(1, 400), sink); err != nil {
			t.Error(err)
		}
	}
	start(0, first.sink)
	first.until(t, "token", kind(decode.EventToken))
	var all sync.WaitGroup
	for i := 1; i < users; i++ {
		all.Go(func() { start(i, func(decode.Event) {}) })
	}
	if all.Wait(); t.Failed() {
		return
	}
	tokens := func() (n int) {
		for _, e := range first.all() {
			if e.Type == decode.EventToken {
				n++
			}
		}
		return n
	}
	before := tokens()
	for _, r := range runs {
		all.Go(func() {
			if err := r.SetLambda(0, decode.Vector{0.5}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	n := tokens() - before
	t.Logf("%d controls took %d tokens", users, n)
	if n >= users {
		t.Error("one after another")
	}
	for _, r := range runs {
		_ = r.Stop(-1)
	}
	for _, r := range runs {
		within(t, "a stop", r.Done())
	}
}
