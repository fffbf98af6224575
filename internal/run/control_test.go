package run_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/run/runtest"
)

// lookups counts how often a run is read from the store.
type lookups struct {
	run.Store
	runs atomic.Int64
}

func (l *lookups) Run(ctx context.Context, owner, id string) (run.Run, error) {
	l.runs.Add(1)
	return l.Store.Run(ctx, owner, id)
}

// Controls of a live run read nothing from the store: a slider that is dragged sends many.
func TestControlsOfALiveRunReadNothing(t *testing.T) {
	ctx := t.Context()
	s := &lookups{Store: runtest.OpenStore(t)}
	h := runtest.NewHub(t, s, &runtest.Decoder{Gate: make(chan struct{})}, nil)
	run := runtest.Start(t, h, runtest.Spec(3, 1000))
	before := s.runs.Load()
	for range 20 {
		if err := h.SetLambda(ctx, "ann", run.ID, 1, decode.Vector{3}); err != nil {
			t.Fatal(err)
		}
	}
	for _, lane := range []int{1, -1} {
		if err := h.Stop(ctx, "ann", run.ID, lane); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.runs.Load() - before; n != 0 {
		t.Errorf("the run was read %d times", n)
	}
}

// never is a decoder that takes nothing and refuses nothing.
type never struct{ *runtest.Decoder }

func (never) Decode(ctx context.Context, _ string, _ decode.Request, _ func(decode.Event)) (run.Job, error) {
	<-ctx.Done()
	return nil, fault.New(fault.Unavailable, "nobody waits for the run any more")
}

func TestAStartIsAnsweredInTime(t *testing.T) {
	d := never{&runtest.Decoder{}}
	h := runtest.NewHub(t, runtest.OpenStore(t), d.Decoder, func(c *run.Config) { c.Decoder, c.StartWait = d, 20*time.Millisecond })
	_, err := h.Start(t.Context(), "ann", "", runtest.Spec(1, 5))
	runtest.WantKind(t, err, fault.Unavailable, "in time")
	if n := h.Counters().LiveRuns; n != 0 {
		t.Errorf("%d runs hold a place", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Start(ctx, "ann", "", runtest.Spec(1, 5)); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("a start that was given up: %v", err)
	}
}

// One place does not take all of a server's, however many owners it makes, and guests of one take an eighth.
func TestPlacesAreCountedByClient(t *testing.T) {
	d := &runtest.Decoder{Gate: make(chan struct{})}
	h := runtest.NewHub(t, runtest.OpenStore(t), d, func(c *run.Config) { c.MaxRuns = 16 })
	defer close(d.Gate)
	begin := func(key string, guest bool) (started int) {
		for i := range 16 {
			ctx := run.WithClient(t.Context(), run.Client{Key: key, Guest: guest})
			if _, err := h.Start(ctx, fmt.Sprint(key, guest, i), "", runtest.Spec(1, 500)); err == nil {
				started++
			} else {
				runtest.WantKind(t, err, fault.Busy)
			}
		}
		return started
	}
	if n := begin("10.0.0.1", true); n != 2 {
		t.Errorf("%d runs of guests", n)
	}
	if n := begin("10.0.0.1", false); n != 8 {
		t.Errorf("%d runs of one address", n)
	}
	if n := begin("10.0.0.2", false); n != 6 {
		t.Errorf("%d runs of another address, the rest is 6", n)
	}
	h.StopOwner("10.0.0.1true0")
}
