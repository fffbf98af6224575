package storetest

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/session"
	"realign/internal/store"
	"realign/internal/title"
)

func testHistory(t *testing.T, s *store.Store) {
	ctx := t.Context()
	create(t, s, "s1", "ann", "First", t0, "hello", "again", "more")
	create(t, s, "s2", "ann", "Second", t0.Add(time.Second), "other")
	for _, err := range []error{
		s.NameRun(ctx, "ann", "s1-run2", "  The\nsecond "), s.PinRun(ctx, "ann", "s1-run1", t0), s.PinSession(ctx, "ann", "s1", t0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, s.NameRun(ctx, "bob", "s1-run2", "x"), fault.NotFound)
	wantKind(t, s.NameRun(ctx, "ann", "s1-run2", strings.Repeat("é", title.Max+1)), fault.Invalid)
	wantKind(t, s.PinRun(ctx, "bob", "s1-run1", t0), fault.NotFound)
	wantKind(t, s.PinSession(ctx, "bob", "s1", t0), fault.NotFound)
	marks, err := s.Marks(ctx, "ann", "s1")
	want := map[string]session.Mark{"s1-run1": {Place: 1, Pinned: true}, "s1-run2": {Place: 2, Title: "The second"}, "s1-run3": {Place: 3}}
	if err != nil || !maps.Equal(marks, want) {
		t.Errorf("marks %+v, %v", marks, err)
	}
	page, err := s.Sessions(ctx, "ann", session.Query{Limit: 1})
	if err != nil || titles(page) != "First" || page.Sessions[0].PinnedAt.IsZero() {
		t.Errorf("the pinned session first: %+v, %v", page, err)
	}
	if page, err = s.Sessions(ctx, "ann", session.Query{Limit: 1, Cursor: page.Next}); err != nil || titles(page) != "Second" || page.Next != "" {
		t.Errorf("then the other: %+v, %v", page, err)
	}
	if page, err = s.Sessions(ctx, "ann", session.Query{Search: "the second"}); err != nil || titles(page) != "First" {
		t.Errorf("a run's title is searched: %+v, %v", page, err)
	}
	latest, err := s.LatestRuns(ctx, "ann", []string{"s1", "s2", "none"})
	if err != nil || len(latest) != 2 || latest["s1"].ID != "s1-run3" || latest["s2"].ID != "s2-run1" {
		t.Errorf("newest runs %+v, %v", latest, err)
	}

	at := t0.Add(time.Hour)
	wantKind(t, s.DeleteChosen(ctx, "bob", session.Choice{Runs: []string{"s1-run3"}}, at), fault.NotFound)
	wantKind(t, s.DeleteChosen(ctx, "ann", session.Choice{}, at), fault.Invalid)
	if err := s.DeleteChosen(ctx, "ann", session.Choice{Sessions: []string{"s2"}, Runs: []string{"s1-run3", "s1-run2"}}, at); err != nil {
		t.Fatal(err)
	}
	left := func() string {
		t.Helper()
		page, err := s.Sessions(ctx, "ann", session.Query{})
		runs, err2 := s.Runs(ctx, "ann", "s1")
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		return fmt.Sprint(titles(page), " ", len(runs), " ", page.Sessions[0].Runs)
	}
	if got := left(); got != "First 1 1" {
		t.Errorf("after deleting: %s", got)
	}
	_, err = s.Run(ctx, "ann", "s1-run3")
	wantKind(t, err, fault.NotFound)
	if err := s.CreateRun(ctx, NewRun("s1-run4", "s1", "ann", "next", t0), ""); err != nil {
		t.Fatal(err)
	}
	if marks, _ := s.Marks(ctx, "ann", "s1"); marks["s1-run4"].Place != 4 {
		t.Errorf("numbers of deleted runs are not given again: %+v", marks)
	}
	wantKind(t, s.RestoreChosen(ctx, "bob", at), fault.NotFound)
	if err := s.RestoreChosen(ctx, "ann", at); err != nil {
		t.Fatal(err)
	}
	if got := left(); got != "First,Second 4 4" {
		t.Errorf("after undo: %s", got)
	}
	wantKind(t, s.RestoreChosen(ctx, "ann", at), fault.NotFound)

	if err := s.DeleteChosen(ctx, "ann", session.Choice{Runs: []string{"s1-run3"}}, at); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Purge(ctx, at.Add(time.Second)); err != nil || n != (session.Purged{Runs: 1}) {
		t.Errorf("purged %+v, %v", n, err)
	}
	wantKind(t, s.RestoreChosen(ctx, "ann", at), fault.NotFound)
}
