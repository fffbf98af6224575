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
	if n := h.Counters().ActiveRuns; n != 0 {
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

// held is a decoder that takes the first requests at once and the others when they are let go.
type held struct {
	*runtest.Decoder
	first   int64
	taken   atomic.Int64
	waiting chan struct{} // one request after another says that it waits
	free    chan struct{}
}

func (d *held) Decode(ctx context.Context, pair string, r decode.Request, sink func(decode.Event)) (run.Job, error) {
	if d.taken.Add(1) > d.first {
		d.waiting <- struct{}{}
		select {
		case <-d.free:
		case <-ctx.Done():
			return nil, fault.New(fault.Unavailable, "nobody waits for it any more")
		}
	}
	return d.Decoder.Decode(ctx, pair, r, sink)
}

// Lanes that are asked for while others are being added come after those, whether the run is decoded or has ended.
func TestAdditionsTakeTurns(t *testing.T) {
	for _, over := range []bool{false, true} {
		t.Run(fmt.Sprintf("over %v", over), func(t *testing.T) {
			d := &held{Decoder: &runtest.Decoder{}, first: 1, waiting: make(chan struct{}, 8), free: make(chan struct{})}
			if !over {
				d.Gate = make(chan struct{})
			}
			s := runtest.OpenStore(t)
			h := runtest.NewHub(t, s, d.Decoder, func(c *run.Config) { c.Decoder = d })
			r := runtest.Start(t, h, runtest.Spec(2, 3))
			if over {
				runtest.ToEnd(t, runtest.Watching(t, h, r.ID, 0))
			}
			type answer struct {
				lanes []int
				err   error
			}
			answers := make(chan answer, 4)
			for range 4 {
				go func() {
					lanes, err := h.AddLanes(t.Context(), "ann", r.ID, []decode.Lane{{Lambda: decode.Vector{2}}})
					answers <- answer{lanes, err}
				}()
			}
			<-d.waiting
			select {
			case a := <-answers:
				t.Fatalf("answered while the first waits for the decoder: %v", a)
			case <-time.After(50 * time.Millisecond):
			}
			close(d.free)
			seen := map[int]bool{}
			for range 4 {
				a := <-answers
				if a.err != nil || len(a.lanes) != 1 {
					t.Fatalf("%v", a)
				}
				seen[a.lanes[0]] = true
			}
			if len(seen) != 4 || !seen[2] || !seen[3] || !seen[4] || !seen[5] {
				t.Errorf("numbers %v", seen)
			}
			if !over {
				close(d.Gate)
			}
			runtest.Until(t, runtest.Watching(t, h, r.ID, 0), 5, runtest.IsType(decode.EventStats))
			if stored, tr := runtest.Ended(t, s, r.ID); stored.Lanes != 6 || len(tr.Lanes) != 6 || !tr.Done() {
				t.Errorf("%+v", stored)
			}
		})
	}
}

func TestATurnThatDoesNotComeIsRefusedInTime(t *testing.T) {
	d := &held{Decoder: &runtest.Decoder{}, first: 1, waiting: make(chan struct{}, 8), free: make(chan struct{})}
	h := runtest.NewHub(t, runtest.OpenStore(t), d.Decoder, func(c *run.Config) { c.Decoder = d })
	r := runtest.Start(t, h, runtest.Spec(1, 3))
	first := make(chan error)
	add := func(ctx context.Context) error {
		_, err := h.AddLanes(ctx, "ann", r.ID, []decode.Lane{{Lambda: decode.Vector{2}}})
		return err
	}
	go func() { first <- add(t.Context()) }()
	<-d.waiting
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	runtest.WantKind(t, add(ctx), fault.Busy, "still being added")
	_, err := h.AddLanes(t.Context(), "bob", r.ID, []decode.Lane{{Lambda: decode.Vector{2}}})
	runtest.WantKind(t, err, fault.NotFound) // and does not wait: it is not theirs
	close(d.free)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
}
