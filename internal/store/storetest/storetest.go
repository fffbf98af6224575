// Package storetest is what every database that a store runs on must pass.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/session"
	"realign/internal/share"
	"realign/internal/store"
	"realign/internal/title"
)

// Run runs the suite. open opens an empty database for one test; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) *store.Store) {
	tests := map[string]func(*testing.T, *store.Store){
		"sweeps":                  testSweeps,
		"sweep outputs":           testSweepOutputs,
		"many outputs of a sweep": testManyOutputs,
		"sweep table":             testSweepTable,

		"sessions":    testSessions,
		"search":      testSearch,
		"paging":      testPaging,
		"delete":      testDelete,
		"runs":        testRuns,
		"events":      testEvents,
		"contiguity":  testContiguity,
		"atomicity":   testAtomicity,
		"owners":      testOwners,
		"comparisons": testComparisons,
		"import":      testImport,
		"meta":        testMeta,
		"logins":      testLogins,
		"studies":     testStudies,
		"ratings":     testRatings,
		"undo":        testUndo,
		"undo skips":  testUndoAfterSkips,
		"overlap":     testOverlap,
		"at once":     testReserveAtOnce,
		"archive":     testImportStudy,
		"keys":        testKeys,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { _ = s.Close() })
			test(t, s)
			problems, err := s.IntegrityCheck(t.Context())
			if err != nil || len(problems) > 0 {
				t.Errorf("integrity: %v, %v", problems, err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)

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

func create(t *testing.T, s *store.Store, id, owner, title string, at time.Time, prompts ...string) {
	t.Helper()
	for i, prompt := range prompts {
		run := NewRun(fmt.Sprintf("%s-run%d", id, i+1), id, owner, prompt, at)
		created := "" // the title of the session, with its first run
		if i == 0 {
			created = title
		}
		if err := s.CreateRun(t.Context(), run, created); err != nil {
			t.Fatalf("create run: %v", err)
		}
	}
}

func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if got := fault.KindOf(err); got != kind {
		t.Errorf("kind %q of error %v, want %q", got, err, kind)
	}
}

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

func testMeta(t *testing.T, s *store.Store) {
	ctx := t.Context()
	_, err := s.Meta(ctx, "k")
	wantKind(t, err, fault.NotFound)
	for _, v := range []string{"1", "2"} {
		if err := s.SetMeta(ctx, "k", v); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Meta(ctx, "k"); got != v || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	for _, value := range []string{"first", "second"} {
		if got, err := s.MetaOnce(ctx, "once", value); err != nil || got != "first" {
			t.Errorf("kept once: %q, %v", got, err)
		}
	}
}
