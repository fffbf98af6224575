package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/store"
)

// NewRun is a run for tests, with two lanes.
func NewRun(id, sessionID, owner, prompt string, at time.Time) run.Run {
	return run.Run{
		ID: id, Session: sessionID, Owner: owner, Status: run.Running, CreatedAt: at, Lanes: 2,
		Spec: run.Spec{
			Pair: "demo", Aligned: []string{"warm"}, Prompt: prompt, Mode: run.Chat,
			Lanes:    []decode.Lane{{Index: 0, Lambda: decode.Vector{0}}, {Index: 1, Lambda: decode.Vector{1.5}}},
			Sampling: decode.DefaultSampling(), Seed: 1<<64 - 1, Alternatives: 5,
		},
	}
}

// Events are n token events of a run, numbered from first.
func Events(runID string, first, n int) []run.Event {
	events := make([]run.Event, n)
	for i := range events {
		events[i] = run.Event{Run: runID, Seq: first + i,
			Event: fmt.Appendf(nil, `{"type":"token","lane":0,"index":%d,"text":"<é\u0000%d>"}`, first+i-1, first+i)}
	}
	return events
}

func testRuns(t *testing.T, s *store.Store) {
	ctx := t.Context()
	create(t, s, "s1", "ann", "one", t0, "first", "second")
	runs, err := s.Runs(ctx, "ann", "s1")
	if err != nil || len(runs) != 2 || runs[0].Spec.Prompt != "first" || runs[1].Spec.Prompt != "second" {
		t.Fatalf("%+v, %v", runs, err)
	}
	want := NewRun("s1-run1", "s1", "ann", "first", t0)
	if got := fmt.Sprintf("%+v", runs[0]); got != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %s\nwant %+v", got, want)
	}
	wantKind(t, s.CreateRun(ctx, NewRun("s1-run1", "s1", "ann", "p", t0), ""), fault.Conflict)
	wantKind(t, s.CreateRun(ctx, NewRun("x", "none", "ann", "p", t0), ""), fault.NotFound)

	other := NewRun("elsewhere", "s1", "ann", "p", t0)
	other.Instance = "b"
	if err := s.CreateRun(ctx, other, ""); err != nil {
		t.Fatal(err)
	}
	end := t0.Add(time.Minute)
	err = s.Append(ctx, run.Batch{
		Events:  Events("s1-run1", 1, 2),
		Changes: []run.StatusChange{{Run: "s1-run1", Status: run.Failed, At: end, Lanes: 3}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Run(ctx, "ann", "s1-run1")
	if err != nil || r.Status != run.Failed || !r.EndedAt.Equal(end) || r.Lanes != 3 || r.Seq != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	for instance, id := range map[string]string{"": "s1-run2", "b": "elsewhere"} {
		running, err := s.Running(ctx, instance)
		if err != nil || len(running) != 1 || running[0].ID != id || running[0].Owner != "ann" {
			t.Errorf("running on %q: %+v, %v", instance, running, err)
		}
	}
	err = s.Append(ctx, run.Batch{Changes: []run.StatusChange{{Run: "none", Status: run.Ended, At: end}}})
	wantKind(t, err, fault.NotFound)
}

func testEvents(t *testing.T, s *store.Store) {
	ctx := t.Context()
	create(t, s, "s1", "ann", "one", t0, "p", "q")
	a, b := "s1-run1", "s1-run2"
	next := map[string]int{a: 1, b: 1}
	var want []run.Event
	for _, n := range []int{1, 3, 700, 2} {
		var batch run.Batch
		ea, eb := Events(a, next[a], n), Events(b, next[b], n)
		for i := range n { // interleaved
			batch.Events = append(batch.Events, ea[i], eb[i])
		}
		if err := s.Append(ctx, batch); err != nil {
			t.Fatal(err)
		}
		want = append(want, ea...)
		next[a] += n
		next[b] += n
	}
	for _, after := range []int{0, 1, 2, 500, 705, 706} {
		for _, limit := range []int{1, 7, 10_000} {
			got, err := s.Events(ctx, "ann", a, after, limit)
			if err != nil {
				t.Fatal(err)
			}
			expected := want[after:min(len(want), after+limit)]
			if !slices.EqualFunc(got, expected, func(x, y run.Event) bool {
				return x.Run == y.Run && x.Seq == y.Seq && string(x.Event) == string(y.Event)
			}) {
				t.Errorf("after %d, limit %d: %d events differ from %d", after, limit, len(got), len(expected))
			}
		}
	}
	run, err := s.Run(ctx, "ann", a)
	if err != nil || run.Seq != 706 {
		t.Errorf("seq %d, %v", run.Seq, err)
	}
}

func testContiguity(t *testing.T, s *store.Store) {
	ctx := t.Context()
	create(t, s, "s1", "ann", "one", t0, "p")
	appendAll := func(events ...run.Event) error { return s.Append(ctx, run.Batch{Events: events}) }
	wantKind(t, appendAll(Events("s1-run1", 2, 1)...), fault.Conflict)
	if err := appendAll(Events("s1-run1", 1, 2)...); err != nil {
		t.Fatal(err)
	}
	wantKind(t, appendAll(Events("s1-run1", 2, 1)...), fault.Conflict)
	wantKind(t, appendAll(Events("s1-run1", 4, 1)...), fault.Conflict)
	wantKind(t, appendAll(Events("s1-run1", 3, 1)[0], Events("s1-run1", 5, 1)[0]), fault.Conflict)
	wantKind(t, appendAll(Events("none", 1, 1)...), fault.NotFound)
	if events, err := s.Events(ctx, "ann", "s1-run1", 0, 10); err != nil || len(events) != 2 {
		t.Errorf("%d events, %v", len(events), err)
	}
}

func testAtomicity(t *testing.T, s *store.Store) {
	ctx := t.Context()
	create(t, s, "s1", "ann", "one", t0, "p", "q")
	batch := run.Batch{
		Events:  append(Events("s1-run1", 1, 5), Events("s1-run2", 9, 1)...),
		Changes: []run.StatusChange{{Run: "s1-run1", Status: run.Ended, At: t0}},
	}
	wantKind(t, s.Append(ctx, batch), fault.Conflict)
	r, err := s.Run(ctx, "ann", "s1-run1")
	if err != nil || r.Seq != 0 || r.Status != run.Running {
		t.Errorf("%+v, %v", r, err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if s.Append(cancelled, run.Batch{Events: Events("s1-run1", 1, 1)}) == nil {
		t.Error("appended under a cancelled context")
	}
	if err := s.Append(ctx, run.Batch{Events: Events("s1-run1", 1, 1)}); err != nil {
		t.Errorf("after that: %v", err)
	}
}
