package session_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/instance"
	"realign/internal/run"
	"realign/internal/run/runtest"
	"realign/internal/store"
)

// doubtful is a store whose connection breaks after it has saved, so that nobody learns that it did.
type doubtful struct {
	*store.Store
	appends atomic.Int32 // so many of the next appends
	creates atomic.Int32 // and of the next runs made
}

var errBroken = fault.Wrap(run.ErrUnreachable, fault.Unavailable, "the database does not answer")

func (d *doubtful) Append(ctx context.Context, b run.Batch) error {
	err := d.Store.Append(ctx, b)
	if err == nil && d.appends.Add(-1) >= 0 {
		return errBroken
	}
	return err
}

func (d *doubtful) CreateRun(ctx context.Context, started run.Run, title string) error {
	err := d.Store.CreateRun(ctx, started, title)
	if err == nil && d.creates.Add(-1) >= 0 {
		return errBroken
	}
	return err
}

// A commit of which nobody knows whether it was made is made again, and the run goes on.
func TestACommitInDoubtLosesNothing(t *testing.T) {
	s, d := &doubtful{Store: runtest.OpenStore(t)}, &runtest.Decoder{}
	h := runtest.NewHub(t, s, d, nil)
	s.appends.Store(3)
	started := runtest.Start(t, h, runtest.Spec(2, 300))
	runtest.ToEnd(t, runtest.Watching(t, h, started.ID, 0))
	stored, tr := runtest.Ended(t, s, started.ID)
	if stored.Status != run.Ended || !tr.Done() || tr.Failed() || len(tr.Lanes[1].Tokens) != 300 {
		t.Errorf("%+v, %d tokens", stored, len(tr.Lanes[1].Tokens))
	}
	if c := h.Counters(); c.SaveFailures != 0 || c.ActiveRuns != 0 {
		t.Errorf("counters %+v", c)
	}
}

// A run that is given up while its last events are in doubt gets an end behind them, when the store answers again.
func TestARunInDoubtEnds(t *testing.T) {
	s, d := &doubtful{Store: runtest.OpenStore(t)}, &runtest.Decoder{Gate: make(chan struct{})}
	h := runtest.NewHub(t, s, d, func(c *run.Config) { c.Outage = 20 * time.Millisecond })
	started := runtest.Start(t, h, runtest.Spec(2, 1000))
	w := runtest.Watching(t, h, started.ID, 0)
	runtest.Until(t, w, 2, runtest.IsType(decode.EventToken))
	s.appends.Store(1 << 20)
	d.Gate <- struct{}{}
	_, err := w.Next(t.Context())
	runtest.WantKind(t, err, fault.Unavailable, "cannot save")
	s.appends.Store(0)
	runtest.Until(t, w, 2, runtest.IsType(decode.EventEnd)) // who watches sees it
	awaitStatus(t, s, started.ID, run.Failed)
	_, tr := runtest.Ended(t, s, started.ID)
	if !tr.Done() {
		t.Errorf("lanes without an end: %+v", tr.Lanes)
	}
}

func awaitStatus(t *testing.T, s run.Store, started string, want run.Status) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		stored, err := s.Run(t.Context(), "ann", started)
		if err != nil {
			t.Fatal(err)
		}
		if stored.Status == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the run is %s, want %s", stored.Status, want)
		}
	}
}

// A run that was made in the store and of which its owner was told that it was not is ended by Tidy, and one that is decoded is
// left alone.
func TestTidyEndsWhatNobodyDecodes(t *testing.T) {
	s, d := &doubtful{Store: runtest.OpenStore(t)}, &runtest.Decoder{Gate: make(chan struct{})}
	h := runtest.NewHub(t, s, d, func(c *run.Config) { c.Server = instance.Fixed("here") })
	going := runtest.Start(t, h, runtest.Spec(1, 1000))
	s.creates.Store(1)
	_, err := h.Start(t.Context(), "ann", going.Session, runtest.Spec(1, 10))
	runtest.WantKind(t, err, fault.Unavailable)
	runs, err := s.Runs(t.Context(), "ann", going.Session)
	if err != nil || len(runs) != 2 || runs[1].Status != run.Running {
		t.Fatalf("%v %+v", err, runs)
	}
	if err := h.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, s, runs[1].ID, run.Failed)
	stored, tr := runtest.Ended(t, s, runs[1].ID)
	if !tr.Done() || tr.Lanes[0].Error == nil || stored.Seq == 0 {
		t.Errorf("%+v", tr.Lanes)
	}
	if now, err := s.Run(t.Context(), "ann", going.ID); err != nil || now.Status != run.Running {
		t.Errorf("the run that is decoded: %v %s", err, now.Status)
	}
}
