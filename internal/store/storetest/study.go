package storetest

import (
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/preference"
	"realign/internal/run"
	"realign/internal/store"
	"realign/internal/study"
	"realign/internal/study/studytest"
)

// NewStudy is a draft for tests: two prompts, two λ, two samples, every kind of question.
func NewStudy(id, owner string) (study.Study, []study.Prompt) {
	return study.Study{
			ID: id, Owner: owner, Status: study.Draft, Beta: 0.1, CreatedAt: t0, UpdatedAt: t0,
			Setup: study.Setup{
				Title: "Warmth", Guidelines: "Be *fair*.", Pair: "table", Aligned: "warm", Mode: run.Plain,
				Grid: []float64{0, 1.5}, Samples: 2, Sampling: decode.DefaultSampling(), Seed: 1<<64 - 1,
				Pairwise: true, Likert: &study.Scale{Points: 5, Criteria: []string{"warm", "true"}}, Comments: true,
				Overlap: 2, Scheme: study.BalancedScheme,
			},
		}, []study.Prompt{
			{Place: 1, Line: 1, Name: "a", Text: "Hello\x00there", Category: "greeting"},
			{Place: 2, Line: 3, Text: "Bye", System: "Be brief."},
		}
}

// openStudy is a study that can be rated: items i1 (pairwise), i2 (Likert) and c1 (a catch trial), and annotators
// x and y.
func openStudy(t *testing.T, s *store.Store) study.Study {
	t.Helper()
	ctx := t.Context()
	st, prompts := NewStudy("st1", "ann")
	must(t, s.CreateStudy(ctx, st, prompts))
	var outputs []study.Output
	for i, lambda := range []float64{0, 1.5} {
		outputs = append(outputs, study.Output{ID: fmt.Sprintf("o%d", i), Prompt: 1, Lambda: lambda, Seed: 1<<64 - 1})
	}
	st.Instance, st.Build, st.Files = "main", "v1", []run.File{{Role: "reference", Name: "r.gguf", SHA256: "5a"}}
	st.Experiment = "st1"
	own := st.Setup.Experiment(prompts)
	must(t, s.BeginStudy(ctx, st, &own, outputs))
	for i := range outputs {
		made := experiment.Output{Cell: outputs[i].Cell(), Text: fmt.Sprintf("text\x00%d", i), Tokens: 3, Finish: "stop"}
		_, err := s.AddOutputs(ctx, "st1", []experiment.Output{made})
		must(t, err)
	}
	must(t, s.FinishStudy(ctx, "ann", "st1", nil, []study.Output{{ID: "b0", Prompt: 1, Broken: true, Done: true, Text: "0 text"}}, []study.Item{
		{ID: "i1", Kind: study.AskPairwise, Prompt: 1, Outputs: []string{"o0", "o1"}, High: 1.5},
		{ID: "i2", Kind: study.AskLikert, Prompt: 1, Outputs: []string{"o1"}},
		{ID: "c1", Kind: study.AskPairwise, Prompt: 1, Outputs: []string{"o0", "b0"}, Catch: preference.BrokenB},
	}, t0))
	must(t, s.SetStudyStatus(ctx, "ann", "st1", study.Open, t0))
	for _, name := range []string{"x", "y"} {
		must(t, s.AddAnnotator(ctx, study.Annotator{ID: name, Study: "st1", Name: "Name of " + name, JoinedAt: t0}, "secret "+name, 10))
	}
	return st
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testStudies(t *testing.T, s *store.Store) {
	ctx := t.Context()
	st, prompts := NewStudy("st1", "ann")
	must(t, s.CreateStudy(ctx, st, prompts))
	got, err := s.Study(ctx, "ann", "st1")
	if err != nil || !reflect.DeepEqual(got, st) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, st)
	}
	if got, err := s.StudyPrompts(ctx, "st1"); err != nil || !reflect.DeepEqual(got, prompts) {
		t.Errorf("prompts %+v, %v", got, err)
	}
	for _, wrong := range []func() error{
		func() error { _, err := s.Study(ctx, "bob", "st1"); return err },
		func() error { return s.SetStudyStatus(ctx, "bob", "st1", study.Decoding, t0) },
		func() error { return s.SetStudyInvite(ctx, "bob", "st1", "h") },
		func() error { return s.DeleteStudy(ctx, "bob", "st1") },
		func() error { _, err := s.StudyByInvite(ctx, ""); return err },
	} {
		wantKind(t, wrong(), fault.NotFound)
	}
	st.Setup.Title = "Warmer"
	must(t, s.ReviseStudy(ctx, st, prompts[1:]))
	if got, _ := s.Study(ctx, "ann", "st1"); got.Setup.Title != "Warmer" {
		t.Errorf("title %q", got.Setup.Title)
	}
	if got, _ := s.StudyPrompts(ctx, "st1"); len(got) != 1 || got[0].Place != 1 || got[0].Text != "Bye" {
		t.Errorf("prompts %+v", got)
	}
	wantKind(t, s.SetStudyStatus(ctx, "ann", "st1", study.Open, t0), fault.Conflict)
	must(t, s.SetStudyInvite(ctx, "ann", "st1", "inv"))
	if got, err := s.StudyByInvite(ctx, "inv"); err != nil || got.ID != "st1" || !got.Invited {
		t.Errorf("by invite %+v, %v", got, err)
	}
	must(t, s.SetStudyInvite(ctx, "ann", "st1", ""))
	_, err = s.StudyByInvite(ctx, "inv")
	wantKind(t, err, fault.NotFound)

	st.Instance, st.Build = "main", "v1"
	// Of an experiment that was there, with other prompts: its third is the study's first.
	must(t, s.CreateSweep(ctx, NewSweep("w", "ann", 3, t0)))
	st.Experiment = "w"
	must(t, s.BeginStudy(ctx, st, nil, []study.Output{{ID: "o1", Prompt: 1, Source: 2, Lambda: 0.1, Seed: 3}, {ID: "o2", Prompt: 1, Source: 2, Lambda: 1, Sample: 1, Seed: 3}}))
	wantKind(t, s.BeginStudy(ctx, st, nil, nil), fault.Conflict)
	wantKind(t, s.ReviseStudy(ctx, st, prompts), fault.Conflict)
	if list, err := s.StudiesDecoding(ctx, "main"); err != nil || len(list) != 1 || list[0].Build != "v1" {
		t.Errorf("decoding %+v, %v", list, err)
	}
	if list, err := s.StudiesDecoding(ctx, "main"); err != nil || list[0].Experiment != "w" {
		t.Errorf("decoding %+v, %v", list, err)
	}
	_, err = s.AddOutputs(ctx, "w", []experiment.Output{
		Output(0, 0.1, 0),
		{Cell: experiment.Cell{Prompt: 2, Lambda: 0.1}, Text: "one", Tokens: 1, Finish: "stop"},
		{Cell: experiment.Cell{Prompt: 2, Lambda: 1, Sample: 1}, Finish: "error", Error: "too long"},
	})
	must(t, err)
	done := study.Output{ID: "o1", Prompt: 1, Source: 2, Lambda: 0.1, Seed: 3, Done: true, Text: "one", Tokens: 1, Reason: "stop"}
	outputs, err := s.StudyOutputs(ctx, "st1")
	if err != nil || len(outputs) != 2 || outputs[0] != done || outputs[1].Done {
		t.Errorf("outputs %+v, %v", outputs, err)
	}
	must(t, s.FinishStudy(ctx, "ann", "st1", map[int]string{1: "too\x00long"}, nil, nil, t0))
	if got, _ := s.StudyPrompts(ctx, "st1"); got[0].Problem != "too long" {
		t.Errorf("prompts %+v", got)
	}
	tallies, err := s.StudyTallies(ctx, []string{"st1"})
	if want := (study.Summary{Prompts: 1, Problems: 1, Outputs: 2, Decoded: 1}); err != nil || tallies["st1"] != want {
		t.Errorf("tallies %+v, %v", tallies, err)
	}
	must(t, s.DeleteStudy(ctx, "ann", "st1"))
	if _, err := s.Experiment(ctx, "ann", "w"); err != nil {
		t.Errorf("an experiment goes while a sweep is about it: %v", err)
	}
	if list, err := s.Studies(ctx, "ann"); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// give reserves an item for an annotator.
func give(t *testing.T, s *store.Store, id, item, annotator string, at time.Time, shown ...string) (study.Assignment, error) {
	t.Helper()
	return s.Reserve(t.Context(), study.Assignment{
		ID: id, Study: "st1", Item: item, Annotator: annotator, Shown: shown, State: study.Asked, AskedAt: at, Expires: at.Add(study.ReserveFor),
	}, 2)
}

func settle(t *testing.T, s *store.Store, id, annotator string, choice preference.Choice, at time.Time) error {
	t.Helper()
	return s.Settle(t.Context(), study.Assignment{
		ID: id, Annotator: annotator, State: study.Answered, At: at, Answer: study.Answer{Choice: choice, Comment: "so\x00so"},
	}, 2)
}

func testRatings(t *testing.T, s *store.Store) {
	ctx := t.Context()
	openStudy(t, s)
	a, err := give(t, s, "q1", "i1", "x", t0, "o1", "o0")
	if err != nil || a.Place != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	_, err = give(t, s, "q2", "i2", "x", t0, "o1")
	wantKind(t, err, fault.Conflict) // one question at a time
	wantKind(t, settle(t, s, "q1", "y", preference.Tie, t0), fault.NotFound)
	must(t, settle(t, s, "q1", "x", preference.Tie, t0.Add(time.Second)))
	must(t, settle(t, s, "q1", "x", preference.Tie, t0.Add(time.Minute)))
	wantKind(t, settle(t, s, "q1", "x", preference.PreferA, t0), fault.Conflict)
	_, err = give(t, s, "q2", "i1", "x", t0)
	wantKind(t, err, fault.Conflict) // one item once
	had, before, err := s.Had(ctx, "x")
	if err != nil || before != nil || !reflect.DeepEqual(had, map[string]study.State{"i1": study.Answered}) {
		t.Errorf("had %+v and %+v, %v", had, before, err)
	}

	// A catch trial, shown the other way round; a skip.
	_, err = give(t, s, "q2", "c1", "x", t0, "b0", "o0")
	must(t, err)
	must(t, settle(t, s, "q2", "x", preference.PreferB, t0.Add(2*time.Second)))
	_, err = give(t, s, "q3", "i2", "x", t0, "o1")
	must(t, err)
	must(t, s.Settle(ctx, study.Assignment{ID: "q3", Annotator: "x", State: study.Skipped, At: t0.Add(3 * time.Second), Answer: study.Answer{Skip: "unclear"}}, 2))

	ratings, err := s.Ratings(ctx, "st1")
	if err != nil || len(ratings) != 3 {
		t.Fatalf("%+v, %v", ratings, err)
	}
	first := ratings[0]
	if first.ID != "q1" || first.Name != "Name of x" || first.Prompt.Text != "Hello\x00there" || first.Outputs[0].Text != "text\x001" ||
		first.Outputs[0].Lambda != 1.5 || first.Answer.Choice != preference.Tie || first.Answer.Comment != "so\x00so" || !first.At.Equal(t0.Add(time.Second)) {
		t.Errorf("%+v", first)
	}
	if ratings[1].Catch != preference.BrokenA || ratings[2].Answer.Skip != "unclear" || ratings[2].Kind != study.AskLikert {
		t.Errorf("%+v", ratings[1:])
	}
	sorted := study.Sort(ratings)
	if len(sorted.Pairwise) != 2 || sorted.Pairwise[0].A.Lambda != 1.5 || sorted.Pairwise[0].Category != "greeting" || len(sorted.Scores) != 0 {
		t.Errorf("%+v", sorted)
	}
	for _, p := range sorted.Pairwise {
		must(t, p.Check())
	}
	worked, err := s.StudyAnnotators(ctx, "st1")
	if err != nil || len(worked) != 2 || worked[0].Answered != 2 || worked[0].Skipped != 1 || !worked[0].LastAt.Equal(t0.Add(3*time.Second)) || !worked[1].LastAt.IsZero() {
		t.Errorf("%+v, %v", worked, err)
	}
	items, err := s.StudyItems(ctx, "st1")
	if err != nil || len(items) != 3 {
		t.Fatalf("%+v, %v", items, err)
	}
	for _, item := range items {
		if want := map[string]int{"i1": 1, "i2": 0, "c1": 1}[item.ID]; item.Answers != want {
			t.Errorf("item %s has %d answers, want %d", item.ID, item.Answers, want)
		}
	}
	tallies, err := s.StudyTallies(ctx, []string{"st1"})
	want := study.Summary{Prompts: 2, Outputs: 2, Decoded: 2, Items: 2, Catches: 1, Annotators: 2, Answers: 2, Skips: 1}
	if err != nil || tallies["st1"] != want {
		t.Errorf("%+v, %v", tallies, err)
	}

	must(t, s.SetStudyStatus(ctx, "ann", "st1", study.Paused, t0))
	_, err = give(t, s, "q9", "i2", "y", t0)
	wantKind(t, err, fault.Conflict)
	must(t, s.SetStudyStatus(ctx, "ann", "st1", study.Closed, t0))
	wantKind(t, s.SetStudyStatus(ctx, "ann", "st1", study.Open, t0), fault.Conflict)
}

func testUndo(t *testing.T, s *store.Store) {
	ctx := t.Context()
	openStudy(t, s)
	_, err := give(t, s, "q1", "i1", "x", t0, "o1", "o0")
	must(t, err)
	again := study.Assignment{ID: "q3", AskedAt: t0, Expires: t0.Add(study.ReserveFor)}
	_, err = s.Undo(ctx, "x", "q1", again, 2)
	wantKind(t, err, fault.Conflict) // nothing was answered
	if a, err := s.Assignments(ctx, "x"); err != nil || a[0].State != study.Asked {
		t.Errorf("%+v, %v", a, err)
	}
	must(t, settle(t, s, "q1", "x", preference.Tie, t0))
	_, err = give(t, s, "q2", "i2", "x", t0, "o1")
	must(t, err)
	got, err := s.Undo(ctx, "x", "q2", again, 2)
	if err != nil || got.Item != "i1" || got.Place != 3 || !reflect.DeepEqual(got.Shown, []string{"o1", "o0"}) {
		t.Fatalf("%+v, %v", got, err)
	}
	_, err = s.Undo(ctx, "x", "q2", again, 2)
	wantKind(t, err, fault.Conflict) // repeated
	wantKind(t, settle(t, s, "q1", "x", preference.Tie, t0), fault.Conflict)
	wantKind(t, settle(t, s, "q2", "x", preference.Tie, t0), fault.Conflict)
	if ratings, err := s.Ratings(ctx, "st1"); err != nil || len(ratings) != 0 {
		t.Errorf("%+v, %v", ratings, err)
	}
	must(t, settle(t, s, "q3", "x", preference.PreferA, t0))
	if items, _ := s.StudyItems(ctx, "st1"); items[1].Answers+items[0].Answers+items[2].Answers != 1 {
		t.Errorf("%+v", items)
	}
	// The last answer can be taken back when nothing is left to ask.
	again.ID = "q4"
	_, err = s.Undo(ctx, "x", "", again, 2)
	must(t, err)
	if had, before, err := s.Had(ctx, "x"); err != nil || len(had) != 1 || before == nil || before.ID != "q4" || before.Item != "i1" {
		t.Errorf("%+v, %+v, %v", had, before, err)
	}
}

// testOverlap lets three annotators in turn hold the two places of an item.
func testOverlap(t *testing.T, s *store.Store) {
	ctx := t.Context()
	openStudy(t, s)
	must(t, s.AddAnnotator(ctx, study.Annotator{ID: "z", Study: "st1", Name: "z", JoinedAt: t0}, "secret z", 10))
	must(t, s.AddAnnotator(ctx, study.Annotator{ID: "w", Study: "st1", Name: "w", JoinedAt: t0}, "secret w", 10))
	wantKind(t, s.AddAnnotator(ctx, study.Annotator{ID: "v", Study: "st1", Name: "v", JoinedAt: t0}, "secret v", 4), fault.Conflict)
	wantKind(t, s.AddAnnotator(ctx, study.Annotator{ID: "v", Study: "st1", Name: "NAME of X", JoinedAt: t0}, "secret v", 9), fault.Conflict)
	if a, err := s.AnnotatorBySecret(ctx, "st1", "secret z"); err != nil || a.Name != "z" || !a.JoinedAt.Equal(t0) {
		t.Errorf("%+v, %v", a, err)
	}
	_, err := s.AnnotatorBySecret(ctx, "other", "secret z")
	wantKind(t, err, fault.NotFound)
	for _, who := range []string{"x", "y"} {
		_, err := give(t, s, "early "+who, "i1", who, t0, "o0", "o1")
		must(t, err)
	}
	_, err = give(t, s, "third", "i1", "z", t0.Add(time.Minute), "o0", "o1")
	wantKind(t, err, fault.Conflict)
	if c, err := s.ItemCounts(ctx, "st1", t0); err != nil || !reflect.DeepEqual(c, map[string]study.Count{"i1": {Taken: 2}}) {
		t.Errorf("%+v, %v", c, err)
	}
	// Both run out, and others take the places.
	later := t0.Add(study.ReserveFor)
	if c, err := s.ItemCounts(ctx, "st1", later); err != nil || len(c) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	for _, who := range []string{"z", "w"} {
		_, err := give(t, s, "late "+who, "i1", who, later, "o0", "o1")
		must(t, err)
	}
	must(t, settle(t, s, "early x", "x", preference.Tie, later))                        // the one that the slack is for
	wantKind(t, settle(t, s, "early y", "y", preference.Tie, later), fault.Conflict)    // too late
	wantKind(t, settle(t, s, "early y", "y", preference.Tie, later), fault.Conflict)    // and so again
	must(t, settle(t, s, "late z", "z", preference.Tie, later.Add(study.ReserveFor-1))) // in time
	must(t, settle(t, s, "late w", "w", preference.Tie, later.Add(study.ReserveFor-1)))
	if ratings, err := s.Ratings(ctx, "st1"); err != nil || len(ratings) != 2+study.Slack {
		t.Errorf("%d ratings, %v", len(ratings), err)
	}
	if c, err := s.ItemCounts(ctx, "st1", later); err != nil || c["i1"] != (study.Count{Answers: 3, Taken: 3}) {
		t.Errorf("%+v, %v", c, err)
	}
	_, err = give(t, s, "next", "i2", "y", later, "o1") // the one that was too late goes on
	must(t, err)
}

// testUndoAfterSkips has many annotators skip an item, the places filled, and every skip taken back.
func testUndoAfterSkips(t *testing.T, s *store.Store) {
	ctx := t.Context()
	openStudy(t, s)
	const skipped, overlap = 6, 2
	again := func(who string) study.Assignment {
		return study.Assignment{ID: "again " + who, AskedAt: t0, Expires: t0.Add(study.ReserveFor)}
	}
	for i := range skipped {
		name := fmt.Sprintf("s%d", i)
		must(t, s.AddAnnotator(ctx, study.Annotator{ID: name, Study: "st1", Name: name, JoinedAt: t0}, "secret "+name, 100))
		_, err := give(t, s, "q "+name, "i1", name, t0, "o0", "o1")
		must(t, err)
		must(t, s.Settle(ctx, study.Assignment{ID: "q " + name, Annotator: name, State: study.Skipped, At: t0, Answer: study.Answer{Skip: "later"}}, overlap))
	}
	for _, who := range []string{"x", "y"} {
		_, err := give(t, s, "q "+who, "i1", who, t0, "o0", "o1")
		must(t, err)
		must(t, settle(t, s, "q "+who, who, preference.Tie, t0))
	}
	back := 0
	for i := range skipped {
		name := fmt.Sprintf("s%d", i)
		if _, err := s.Undo(ctx, name, "", again(name), overlap); err == nil {
			back++
			must(t, settle(t, s, "again "+name, name, preference.Tie, t0))
		} else {
			wantKind(t, err, fault.Conflict)
		}
	}
	if back != study.Slack {
		t.Errorf("%d skips of %d were taken back, where there is one place more than asked for", back, skipped)
	}
	// An answer keeps its place when it is taken back, and the same click counts once.
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			a := again("x")
			a.ID += fmt.Sprint(i)
			if _, err := s.Undo(ctx, "x", "", a, overlap); err == nil {
				must(t, settle(t, s, a.ID, "x", preference.Tie, t0))
			}
		})
	}
	wait.Wait()
	ratings, err := s.Ratings(ctx, "st1")
	answered := 0
	for _, r := range ratings {
		if r.State == study.Answered {
			answered++
		}
	}
	items, _ := s.StudyItems(ctx, "st1")
	if err != nil || answered != overlap+study.Slack || items[0].Answers+items[1].Answers+items[2].Answers != answered {
		t.Errorf("%d answers, %v; counted %+v", answered, err, items)
	}
}

// testReserveAtOnce has many annotators ask for the same item at the same time.
func testReserveAtOnce(t *testing.T, s *store.Store) {
	ctx := t.Context()
	openStudy(t, s)
	const many = 20
	for i := range many {
		name := fmt.Sprintf("n%d", i)
		must(t, s.AddAnnotator(ctx, study.Annotator{ID: name, Study: "st1", Name: name, JoinedAt: t0}, "secret "+name, 100))
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	got := 0
	for i := range many {
		wait.Go(func() {
			name := fmt.Sprintf("n%d", i)
			if _, err := give(t, s, "q"+name, "i1", name, t0, "o0", "o1"); err == nil {
				mu.Lock()
				got++
				mu.Unlock()
				// The same click, three times at once.
				var clicks sync.WaitGroup
				for range 3 {
					clicks.Go(func() {
						if err := settle(t, s, "q"+name, name, preference.Tie, t0); err != nil {
							t.Error(err)
						}
					})
				}
				clicks.Wait()
			} else {
				wantKind(t, err, fault.Conflict)
			}
		})
	}
	wait.Wait()
	ratings, err := s.Ratings(ctx, "st1")
	if got != 2 || err != nil || len(ratings) != 2 {
		t.Errorf("%d reservations, %d ratings, %v", got, len(ratings), err)
	}
}

func testImportStudy(t *testing.T, s *store.Store) {
	ctx := t.Context()
	st, prompts := NewStudy("imp", "ann")
	st.Status = study.Closed
	st.ClosedAt = t0
	at := t0.Add(time.Hour)
	archive := studytest.Archive{
		Of: st, Prompts: prompts,
		Outputs:     []study.Output{{ID: "o1", Prompt: 2, Done: true, Text: "x"}, {ID: "o2", Prompt: 2, Lambda: 1, Done: true, Text: "y"}},
		Items:       []study.Item{{ID: "i", Kind: study.AskPairwise, Prompt: 2, Outputs: []string{"o1", "o2"}, High: 1}},
		Annotators:  []study.Annotator{{ID: "r", Name: "Ray", JoinedAt: t0}},
		Assignments: []study.Assignment{{ID: "q", Item: "i", Annotator: "r", Place: 1, Shown: []string{"o2", "o1"}, State: study.Answered, AskedAt: t0, Expires: t0, At: at, Answer: study.Answer{Choice: preference.PreferA}}},
	}
	must(t, s.ImportStudy(ctx, archive.Fill))
	ratings, err := s.Ratings(ctx, "imp")
	if err != nil || len(ratings) != 1 || ratings[0].Name != "Ray" || ratings[0].Outputs[0].Lambda != 1 || !ratings[0].At.Equal(at) {
		t.Errorf("%+v, %v", ratings, err)
	}
	if items, err := s.StudyItems(ctx, "imp"); err != nil || items[0].Answers != 1 {
		t.Errorf("%+v, %v", items, err)
	}
}
