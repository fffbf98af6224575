package runner_test

import (
	"context"
	"sync"
	"testing"

	"realign/internal/experiment"
	"realign/internal/instance"
	"realign/internal/sweep"
	"realign/internal/sweep/runner"
)

// others is how servers in one process stop each other's jobs.
type others struct {
	mu    sync.Mutex // guards stops
	stops map[string]func()
}

func (o *others) Hold(job string, stop func()) (release func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stops[job] = stop
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.stops, job)
	}
}

func (o *others) StopElsewhere(_ context.Context, job string) error {
	o.mu.Lock()
	stop := o.stops[job]
	o.mu.Unlock()
	if stop != nil {
		stop()
	}
	return nil
}

// A sweep that another server paused and resumed comes back to the one that it began on when the other dies.
func TestASweepComesBack(t *testing.T) {
	ctx := t.Context()
	c := config(t, nil)
	want, _ := whole(t, c)
	db, q, among := open(t, t.TempDir()), newQueue(t), &others{stops: map[string]func(){}}
	named := func(name string) *runner.Runner {
		return startAmong(t, db, q, among, func(c *runner.Config) { c.Server = instance.Fixed(name) })
	}
	a, b := named("a"), named("b")
	if _, err := a.Create(ctx, "ann", "w", c); err != nil {
		t.Fatal(err)
	}
	if err := b.Pause(ctx, "ann", "w"); err != nil {
		t.Fatal(err)
	}
	if _, _, runs := a.Watch("w"); runs {
		t.Error("it runs where it began though it was paused elsewhere")
	}
	if err := b.Resume(ctx, "ann", "w"); err != nil {
		t.Fatal(err)
	}
	if w, err := db.Sweep(ctx, "ann", "w"); err != nil || w.Instance != "b" {
		t.Errorf("the sweep is %q's: %v", w.Instance, err)
	}
	b.Lost()
	if _, _, runs := b.Watch("w"); runs {
		t.Error("it runs on a server that lost it")
	}
	if err := a.Inherit(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if w, err := db.Sweep(ctx, "ann", "w"); err != nil || w.Instance != "a" {
		t.Errorf("the sweep is %q's: %v", w.Instance, err)
	}
	go q.Serve(ctx)
	if w := until(t, db, "w", sweep.Done); string(w.Report) != want {
		t.Error("the report is not that of a sweep that stayed where it was")
	}
}

// slowToForget is a queue that takes its time with what has ended.
type slowToForget struct {
	experiment.Queue
	asked, forgets chan struct{}
}

func (q *slowToForget) Forget(ctx context.Context, batch string) error {
	q.asked <- struct{}{}
	<-q.forgets
	return q.Queue.Forget(ctx, batch)
}

// A sweep that is judged again the moment it has ended is judged again.
func TestJudgedAgainAtOnce(t *testing.T) {
	made := newQueue(t)
	q := &slowToForget{made, make(chan struct{}, 2), make(chan struct{})}
	go made.Serve(t.Context())
	db := open(t, t.TempDir())
	r := start(t, db, q, nil)
	if _, err := r.Create(t.Context(), "ann", "w", config(t, nil)); err != nil {
		t.Fatal(err)
	}
	<-q.asked
	until(t, db, "w", sweep.Done)
	done := make(chan error, 1)
	go func() { done <- r.JudgeAgain(t.Context(), "ann", "w") }()
	until(t, db, "w", sweep.Judging)
	close(q.forgets)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	until(t, db, "w", sweep.Done)
}
