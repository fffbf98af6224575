package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/session"
	"realign/internal/share"
	"realign/internal/store"
	"realign/internal/title"
)

func titles(page session.Page) string {
	var list []string
	for _, s := range page.Sessions {
		list = append(list, s.Title)
	}
	return strings.Join(list, ",")
}

func testSessions(t *testing.T, s *store.Store) {
	ctx := t.Context()
	create(t, s, "s1", "ann", "First", t0, "hello", "again")
	got, err := s.Session(ctx, "ann", "s1")
	want := session.Session{ID: "s1", Owner: "ann", Title: "First", CreatedAt: t0, UpdatedAt: t0, Runs: 2}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if err := s.RenameSession(ctx, "ann", "s1", "  New\nname "); err != nil {
		t.Fatal(err)
	}
	if got, _ = s.Session(ctx, "ann", "s1"); got.Title != "New name" {
		t.Errorf("title %q", got.Title)
	}
	wantKind(t, s.RenameSession(ctx, "ann", "s1", " "), fault.Invalid)
	wantKind(t, s.RenameSession(ctx, "ann", "s1", strings.Repeat("é", title.Max+1)), fault.Invalid)
	wantKind(t, s.RenameSession(ctx, "ann", "none", "x"), fault.NotFound)
	_, err = s.Session(ctx, "ann", "none")
	wantKind(t, err, fault.NotFound)
	if c, err := s.Counts(ctx, "ann"); err != nil || c != (store.Counts{Sessions: 1, Runs: 2}) {
		t.Errorf("counts %+v, %v", c, err)
	}
	if c, err := s.Counts(ctx, ""); err != nil || c.Runs != 2 {
		t.Errorf("counts of all %+v, %v", c, err)
	}
}

func testSearch(t *testing.T, s *store.Store) {
	create(t, s, "s1", "ann", "Über 100% sure", t0, "what is a_b?")
	create(t, s, "s2", "ann", "Other", t0.Add(time.Second), "say 100 words", "the ÉTÉ\x00 of '68; DROP TABLE runs--")
	create(t, s, "s3", "bob", "Über alles", t0, "100%")
	for search, want := range map[string]string{
		"":           "Other,Über 100% sure",
		"über":       "Über 100% sure",
		"ÜBER":       "Über 100% sure",
		"100":        "Other,Über 100% sure",
		"100%":       "Über 100% sure",
		"%":          "Über 100% sure",
		"a_b":        "Über 100% sure",
		"_":          "Über 100% sure",
		"!":          "",
		"été":        "Other",
		"'68; drop":  "Other",
		"?":          "Über 100% sure",
		`\`:          "",
		"nowhere":    "",
		"\xff":       "",
		"été\x00 of": "Other",
	} {
		page, err := s.Sessions(t.Context(), "ann", session.Query{Search: search})
		if err != nil || titles(page) != want || page.Total != len(page.Sessions) {
			t.Errorf("search %q: %q (total %d), %v; want %q", search, titles(page), page.Total, err, want)
		}
	}
	_, err := s.Sessions(t.Context(), "ann", session.Query{Search: strings.Repeat("x", session.MaxSearch+1)})
	wantKind(t, err, fault.Invalid)
}

func testPaging(t *testing.T, s *store.Store) {
	for i := range 7 { // three of them at the same moment
		create(t, s, fmt.Sprintf("s%d", i), "ann", fmt.Sprintf("t%d", i), t0.Add(time.Duration(i/3)*time.Second), "p")
	}
	var got []string
	q := session.Query{Limit: 2}
	for {
		page, err := s.Sessions(t.Context(), "ann", q)
		if err != nil || page.Total != 7 || len(page.Sessions) > 2 {
			t.Fatalf("page %+v, %v", page, err)
		}
		got = append(got, titles(page))
		if page.Next == "" {
			break
		}
		q.Cursor = page.Next
	}
	if want := []string{"t6,t5", "t4,t3", "t2,t1", "t0"}; !slices.Equal(got, want) {
		t.Errorf("pages %q, want %q", got, want)
	}
	for _, q := range []session.Query{{Limit: -1}, {Limit: session.MaxPage + 1}, {Cursor: "x"}, {Cursor: "MSAnO2Ryb3A="}} {
		_, err := s.Sessions(t.Context(), "ann", q)
		wantKind(t, err, fault.Invalid)
	}
	// A run moves its session to the top.
	if err := s.CreateRun(t.Context(), NewRun("late", "s0", "ann", "p", t0.Add(time.Hour)), ""); err != nil {
		t.Fatal(err)
	}
	page, err := s.Sessions(t.Context(), "ann", session.Query{Limit: 1})
	if err != nil || titles(page) != "t0" {
		t.Errorf("first is %q, %v", titles(page), err)
	}
}

func testDelete(t *testing.T, s *store.Store) {
	ctx := t.Context()
	create(t, s, "s1", "ann", "one", t0, "p")
	create(t, s, "s2", "ann", "two", t0, "p")
	if err := s.Append(ctx, run.Batch{Events: Events("s1-run1", 1, 3)}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteSession(ctx, "ann", "s1", t0); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.DeleteSession(ctx, "ann", "s1", t0), fault.NotFound)
	_, err := s.Session(ctx, "ann", "s1")
	wantKind(t, err, fault.NotFound)
	_, err = s.Run(ctx, "ann", "s1-run1")
	wantKind(t, err, fault.NotFound)
	wantKind(t, s.CreateRun(ctx, NewRun("x", "s1", "ann", "p", t0), ""), fault.NotFound)
	page, err := s.Sessions(ctx, "ann", session.Query{})
	if err != nil || titles(page) != "two" {
		t.Errorf("left: %q, %v", titles(page), err)
	}
	page, err = s.Sessions(ctx, "ann", session.Query{Deleted: true})
	if err != nil || titles(page) != "one" || !page.Sessions[0].DeletedAt.Equal(t0) {
		t.Errorf("deleted: %+v, %v", page, err)
	}
	if err := s.RestoreSession(ctx, "ann", "s1"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.RestoreSession(ctx, "ann", "s1"), fault.NotFound)
	if events, err := s.Events(ctx, "ann", "s1-run1", 0, 10); err != nil || len(events) != 3 {
		t.Errorf("%d events after undo, %v", len(events), err)
	}
	if err := s.DeleteSession(ctx, "ann", "s1", t0); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Purge(ctx, t0); n != (session.Purged{}) || err != nil {
		t.Errorf("purged %+v too early, %v", n, err)
	}
	if n, err := s.Purge(ctx, t0.Add(1e3)); n != (session.Purged{Sessions: 1}) || err != nil {
		t.Errorf("purged %+v, %v", n, err)
	}
	if events, err := s.Events(ctx, "ann", "s1-run1", 0, 10); err != nil || len(events) != 0 {
		t.Errorf("%d events after purge, %v", len(events), err)
	}
	wantKind(t, s.RestoreSession(ctx, "ann", "s1"), fault.NotFound)
}

func testOwners(t *testing.T, s *store.Store) {
	ctx := t.Context()
	create(t, s, "s1", "ann", "one", t0, "p")
	if err := s.Append(ctx, run.Batch{Events: Events("s1-run1", 1, 1)}); err != nil {
		t.Fatal(err)
	}
	c := share.Link{ID: "c1", Owner: "ann", Kind: share.ComparisonLink, Subject: "s1-run1", Title: "t", Digest: "d", CreatedAt: t0}
	if err := s.CreateLink(ctx, c, "hash", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for _, owner := range []string{"bob", "", "ann ", "ANN", "' OR ''='"} {
		_, err := s.Session(ctx, owner, "s1")
		wantKind(t, err, fault.NotFound)
		_, err = s.Run(ctx, owner, "s1-run1")
		wantKind(t, err, fault.NotFound)
		_, _, err = s.Link(ctx, owner, "c1")
		wantKind(t, err, fault.NotFound)
		wantKind(t, s.RenameSession(ctx, owner, "s1", "x"), fault.NotFound)
		wantKind(t, s.DeleteSession(ctx, owner, "s1", t0), fault.NotFound)
		wantKind(t, s.RestoreSession(ctx, owner, "s1"), fault.NotFound)
		wantKind(t, s.CreateRun(ctx, NewRun("x", "s1", owner, "p", t0), ""), fault.NotFound)
		wantKind(t, s.UpdateLink(ctx, share.Link{ID: "c1", Owner: owner}), fault.NotFound)
		page, err := s.Sessions(ctx, owner, session.Query{})
		runs, err2 := s.Runs(ctx, owner, "s1")
		events, err3 := s.Events(ctx, owner, "s1-run1", 0, 10)
		list, err4 := s.Links(ctx, owner)
		if err != nil || err2 != nil || err3 != nil || err4 != nil || len(page.Sessions)+page.Total+len(runs)+len(events)+len(list) > 0 {
			t.Errorf("%q sees %v %v %v %v", owner, page, runs, events, list)
		}
	}
}

func testImport(t *testing.T, s *store.Store) {
	ctx := t.Context()
	in := session.Session{ID: "s1", Owner: "ann", Title: "one", CreatedAt: t0, UpdatedAt: t0}
	r := NewRun("r1", "s1", "ann", "p", t0)
	r.Status, r.Seq, r.EndedAt = run.Ended, 600, t0
	events := Events("r1", 1, 600)
	r.Imported = &run.Imported{Found: run.Signed, Seal: &run.Seal{Digest: "d", Key: "k", Signature: "s"}}
	all := func(to session.Importing) error {
		for _, e := range events {
			if err := to.Event(e); err != nil {
				return err
			}
		}
		return nil
	}
	err := s.Import(ctx, in, func(to session.Importing) error { return errors.Join(to.Run(r), all(to)) })
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Events(ctx, "ann", "r1", 599, 10)
	if err != nil || len(got) != 1 || string(got[0].Event) != string(events[599].Event) {
		t.Errorf("%v, %v", got, err)
	}
	in.ID = "s2"
	wantKind(t, s.Import(ctx, in, func(to session.Importing) error { return to.Run(r) }), fault.Conflict)
	broken := errors.New("the file ends")
	err = s.Import(ctx, in, func(session.Importing) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("a broken file: %v", err)
	}
	if back, err := s.Run(ctx, "ann", "r1"); err != nil || back.Imported == nil || *back.Imported.Seal != *r.Imported.Seal || back.Imported.Found != run.Signed {
		t.Errorf("what was found is not kept: %+v, %v", back.Imported, err)
	}
	_, err = s.Session(ctx, "ann", "s2")
	wantKind(t, err, fault.NotFound)
}
