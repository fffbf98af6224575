package session_test

import (
	"context"
	"sync/atomic"
	"testing"

	"realign/internal/decode"
	"realign/internal/session"
	"realign/internal/session/sessiontest"
)

// lookups counts how often a run is read from the store.
type lookups struct {
	session.Store
	runs atomic.Int64
}

func (l *lookups) Run(ctx context.Context, owner, id string) (session.Run, error) {
	l.runs.Add(1)
	return l.Store.Run(ctx, owner, id)
}

// Controls of a live run read nothing from the store: a slider that is dragged sends many.
func TestControlsOfALiveRunReadNothing(t *testing.T) {
	ctx := t.Context()
	s := &lookups{Store: openStore(t)}
	h := newHub(t, s, &sessiontest.Decoder{Gate: make(chan struct{})}, nil)
	run := start(t, h, sessiontest.Spec(3, 1000))
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
