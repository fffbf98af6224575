package storetest

import (
	"slices"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/session"
	"realign/internal/share"
	"realign/internal/store"
)

func testComparisons(t *testing.T, s *store.Store) {
	ctx := t.Context()
	create(t, s, "s1", "ann", "one", t0, "p")
	c := share.Link{ID: "c1", Owner: "ann", Kind: share.ComparisonLink, Subject: "s1-run1", Title: "one", Prompt: "p <é>", Digest: "d1", CreatedAt: t0}
	if err := s.CreateLink(ctx, c, "hash1", []byte(`{"a":"<é>"}`)); err != nil {
		t.Fatal(err)
	}
	d := share.Link{ID: "c2", Owner: "ann", Kind: share.ComparisonLink, Subject: "r", Title: "two", Digest: "d2", CreatedAt: t0.Add(1e9), ExpiresAt: t0.Add(1e10)}
	wantKind(t, s.CreateLink(ctx, d, "hash1", []byte("{}")), fault.Conflict)
	if err := s.CreateLink(ctx, d, "hash2", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	got, snapshot, err := s.LinkByToken(ctx, "hash1")
	if err != nil || got != c || string(snapshot) != `{"a":"<é>"}` {
		t.Errorf("%+v %s %v", got, snapshot, err)
	}
	_, _, err = s.LinkByToken(ctx, "hash3")
	wantKind(t, err, fault.NotFound)
	c.RevokedAt, c.Title, c.VerifiedAt = t0.Add(5e9), "renamed", t0.Add(4e9)
	if err := s.UpdateLink(ctx, c); err != nil {
		t.Fatal(err)
	}
	list, err := s.Links(ctx, "ann")
	if err != nil || !slices.Equal(list, []share.Listed{{Link: d}, {Link: c, Session: "s1"}}) {
		t.Errorf("%+v, %v", list, err)
	}
	e := share.Link{ID: "c3", Owner: "bob", Kind: share.ComparisonLink, Subject: "s1-run1", Title: "not his run", CreatedAt: t0}
	if err := s.CreateLink(ctx, e, "hash4", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Links(ctx, "bob"); err != nil || !slices.Equal(list, []share.Listed{{Link: e}}) {
		t.Errorf("somebody else's session: %+v, %v", list, err)
	}
	for _, change := range []struct {
		do   func() error
		want string
	}{
		{func() error { return s.DeleteSession(ctx, "ann", "s1", t0) }, ""},
		{func() error { return s.RestoreSession(ctx, "ann", "s1") }, "s1"},
	} {
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		if list, err := s.Links(ctx, "ann"); err != nil || len(list) != 2 || list[1].Session != change.want {
			t.Errorf("want session %q: %+v, %v", change.want, list, err)
		}
	}
	for _, purge := range []struct {
		before time.Time
		want   int
	}{{c.RevokedAt, 0}, {c.RevokedAt.Add(time.Millisecond), 1}} {
		if n, err := s.Purge(ctx, purge.before); err != nil || n != (session.Purged{Links: purge.want}) {
			t.Errorf("purged before %v: %+v, %v", purge.before, n, err)
		}
	}
	_, _, err = s.LinkByToken(ctx, "hash1")
	wantKind(t, err, fault.NotFound)
	if _, _, err := s.LinkByToken(ctx, "hash2"); err != nil {
		t.Errorf("a link that was not revoked: %v", err)
	}
}
