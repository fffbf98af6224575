package store_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/run/runtest"
	"realign/internal/store"
)

func newHub(t testing.TB, s *store.Store, d *runtest.Decoder) *run.Hub {
	t.Helper()
	h := run.NewHub(run.Config{
		Store: s, Decoder: d, Pairs: d, Logger: slog.New(slog.DiscardHandler), Interval: -1, Retry: time.Millisecond, MaxOwnerRuns: 1000,
	})
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func TestDiskFullWhileSaving(t *testing.T) {
	ctx := t.Context()
	s := open(t, store.Config{Data: t.TempDir()})
	d := &runtest.Decoder{}
	h := newHub(t, s, d)
	if err := s.LimitPages(ctx, 8); err != nil {
		t.Fatal(err)
	}
	r, err := h.Start(ctx, "ann", "", runtest.Spec(8, 4000))
	if err != nil {
		t.Fatal(err)
	}
	w, err := h.Watch(ctx, "ann", r.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ends := 0 // they may fit where the batch did not
	var events []run.Event
	for err == nil {
		events, err = w.Next(ctx)
		ends += countEnds(t, events)
	}
	if fault.KindOf(err) != fault.Unavailable || err.Error() == "" || !strings.Contains(fault.Of(err).Message, "cannot save: the disk is full") {
		t.Fatalf("the watcher is told %v", err)
	}
	<-d.Jobs()[0].Done()
	_, err = h.Start(ctx, "ann", "", bigSpec())
	if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("a run on a full disk: %v", err)
	}
	if err := s.LimitPages(ctx, -1); err != nil {
		t.Fatal(err)
	}
	for ends < 8 {
		if events, err = w.Next(ctx); err != nil {
			t.Fatal(err)
		}
		ends += countEnds(t, events)
	}
	again, err := h.Start(ctx, "ann", "", runtest.Spec(2, 10))
	if err != nil {
		t.Fatal(err)
	}
	drain(t, h, again.ID)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if problems, err := s.IntegrityCheck(ctx); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if r, err := s.Run(ctx, "ann", r.ID); err != nil || r.Status != run.Failed {
		t.Errorf("%+v, %v", r, err)
	}
}

// countEnds counts lanes that ended because the disk was full.
func countEnds(t *testing.T, events []run.Event) (n int) {
	t.Helper()
	for _, e := range events {
		d, err := e.Decode()
		if err != nil {
			t.Fatal(err)
		}
		if d.Type == decode.EventEnd && strings.Contains(d.Error.Message, "disk is full") {
			n++
		}
	}
	return n
}

// bigSpec does not fit in the last free pages.
func bigSpec() run.Spec {
	spec := runtest.Spec(1, 1)
	spec.Prompt = strings.Repeat("long ", 40_000)
	return spec
}

// drain reads a run to the end of its first request.
func drain(t testing.TB, h *run.Hub, run string) (n int) {
	t.Helper()
	w, err := h.Watch(t.Context(), "ann", run, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for {
		events, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n += len(events)
		if strings.Contains(string(events[len(events)-1].Event), `"type":"stats"`) {
			return n
		}
	}
}

// Only what changes the state of a run waits for the disk, and whatever comes after waits again.
func TestEventsAloneDoNotWaitForTheDisk(t *testing.T) {
	ctx := t.Context()
	s := open(t, store.Config{Data: t.TempDir()})
	for _, onDisk := range []bool{false, true, false} {
		want := 1
		if onDisk {
			want = 2
		}
		if inside, after, err := s.Synchronous(ctx, onDisk); err != nil || inside != want || after != 2 {
			t.Errorf("on disk %v: level %d and then %d, %v", onDisk, inside, after, err)
		}
	}
}
