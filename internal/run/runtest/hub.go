package runtest

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/store"
)

// Now is the clock of these tests.
var Now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// OpenStore opens a new SQLite store for a test.
func OpenStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// NewHub makes a hub on a decoder; edit may change its configuration.
func NewHub(t testing.TB, s run.Store, d *Decoder, edit func(*run.Config)) *run.Hub {
	t.Helper()
	config := run.Config{
		Store: s, Decoder: d, Pairs: d, Now: func() time.Time { return Now }, Logger: slog.New(slog.DiscardHandler),
		Build: "test", Interval: -1, Retry: time.Millisecond,
	}
	if edit != nil {
		edit(&config)
	}
	h := run.NewHub(config)
	t.Cleanup(func() { _ = h.Close() })
	if err := h.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

// Start starts a run of ann's in a new session.
func Start(t testing.TB, h *run.Hub, spec run.Spec) run.Run {
	t.Helper()
	run, err := h.Start(t.Context(), "ann", "", spec)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// Watching follows a run of ann's from after an event.
func Watching(t testing.TB, h *run.Hub, run string, after int) *run.Watch {
	t.Helper()
	w, err := h.Watch(t.Context(), "ann", run, after)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// Until reads a watch up to and with the n-th event that stop accepts, and checks the numbers.
func Until(t testing.TB, w *run.Watch, n int, stop func(decode.Event) bool) (list []decode.Event) {
	t.Helper()
	for {
		seq := w.Seq()
		events, err := w.Next(t.Context())
		if err != nil {
			t.Fatalf("after event %d: %v", seq, err)
		}
		for i, e := range events {
			if e.Seq != seq+1+i {
				t.Fatalf("event %d follows %d", e.Seq, seq+i)
			}
			d, err := e.Decode()
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, d)
			if stop(d) {
				n--
			}
		}
		if n <= 0 {
			return list
		}
	}
}

// IsType accepts events of a type.
func IsType(typ string) func(decode.Event) bool {
	return func(e decode.Event) bool { return e.Type == typ }
}

// ToEnd reads a watch to the end of the first request.
func ToEnd(t testing.TB, w *run.Watch) []decode.Event {
	t.Helper()
	return Until(t, w, 1, IsType(decode.EventStats))
}

// Ended is the stored run once it is over, and what its log adds up to.
func Ended(t testing.TB, s run.Store, id string) (run.Run, *run.Transcript) {
	t.Helper()
	r, err := s.Run(t.Context(), "ann", id)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := run.ReadTranscript(t.Context(), s, r)
	if err != nil {
		t.Fatal(err)
	}
	return r, tr
}

// WantKind checks the kind of an error, and that it has some words.
func WantKind(t testing.TB, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if got := fault.KindOf(err); got != kind {
		t.Errorf("kind %q of error %v, want %q", got, err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// FailingStore is a store that fails or stalls when told to.
type FailingStore struct {
	*store.Store
	Fails atomic.Pointer[fault.Error] // what Append returns instead of saving; nil saves
	Stall chan struct{}               // received from before every append, until closed; nil is never
}

// Append fails, waits, or saves.
func (f *FailingStore) Append(ctx context.Context, b run.Batch) error {
	if f.Stall != nil {
		<-f.Stall
	}
	if err := f.Fails.Load(); err != nil {
		return err
	}
	return f.Store.Append(ctx, b)
}
