package storetest

import (
	"testing"
	"time"

	"realign/internal/store"
)

// testLogins: a login is there from when it is kept to its moment, or until it is removed.
func testLogins(t *testing.T, s *store.Store) {
	ctx := t.Context()
	has := func(id string, at time.Time) bool {
		t.Helper()
		found, err := s.HasLogin(ctx, id, at)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for _, id := range []string{"a", "b"} {
		if err := s.AddLogin(ctx, id, t0, t0.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if !has("a", t0) || has("c", t0) || has("a", t0.Add(time.Hour)) {
		t.Error("a login is there until its moment, and no other is")
	}
	for range 2 {
		if err := s.RemoveLogin(ctx, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if has("a", t0) || !has("b", t0) {
		t.Error("the login that was removed is gone, and only that")
	}
	if err := s.AddLogin(ctx, "c", t0.Add(2*time.Hour), t0.Add(3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if has("b", t0) {
		t.Error("a login that has ended is not forgotten")
	}
}
