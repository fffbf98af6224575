package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/store"
	"realign/internal/sweep"
)

// NewSweep is a sweep for tests, over some prompts.
func NewSweep(id, owner string, prompts int, at time.Time) sweep.Sweep {
	w := sweep.Sweep{ID: id, Owner: owner, Instance: "main", Experiment: id, State: sweep.Running, Created: at}
	w.Setup = sweep.Setup{Aligned: "warm", Beta: 0.1, RewardInfos: []sweep.RewardInfo{{Name: "length", Title: "Length", Direction: sweep.Higher}}}
	w.Setup.Config = sweep.Config{Name: "Sweep " + id, Pair: "demo", Samples: 2, Sampling: decode.DefaultSampling(), Objective: "length",
		Lambda: sweep.Grid{Values: []float64{0, 1.0 / 3, 1}}, Rewards: []sweep.Reward{{Reward: "length", Name: "length"}}, Seed: 1<<64 - 1}
	for i := range prompts {
		w.Setup.Config.Prompts.Rows = append(w.Setup.Config.Prompts.Rows,
			sweep.Row{Text: fmt.Sprintf("Prompt %d: 100%% “é”", i), Category: []string{"", "odd"}[i%2]})
	}
	return w
}

// Output is one for tests.
func Output(prompt int, lambda float64, sample int) experiment.Output {
	return experiment.Output{
		Cell: experiment.Cell{Prompt: prompt, Lambda: lambda, Sample: sample}, Text: fmt.Sprintf("text %d at %v", prompt, lambda), Tokens: 3 + prompt,
		Finish: decode.EndStop, KL: lambda * float64(1+prompt), LogZ: -0.25, LogpReference: -1.5, LogpAligned: -0.1, LogQ: []float64{-1, 1.0 / 3},
	}
}

func testSweeps(t *testing.T, s *store.Store) {
	ctx := t.Context()
	w := NewSweep("w1", "ann", 3, t0)
	if err := errors.Join(s.CreateSweep(ctx, w), s.CreateSweep(ctx, NewSweep("w2", "ann", 1, t0.Add(time.Second))), s.CreateSweep(ctx, NewSweep("w3", "bob", 1, t0))); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.CreateSweep(ctx, w), fault.Conflict)
	got, err := s.Sweep(ctx, "ann", "w1")
	if err != nil || !reflect.DeepEqual(got, w) {
		t.Errorf("got %+v, %v; want %+v", got, err, w)
	}
	_, err = s.Sweep(ctx, "bob", "w1")
	wantKind(t, err, fault.NotFound)
	list, next, err := s.Sweeps(ctx, "ann", "", 1)
	if err != nil || len(list) != 1 || list[0].ID != "w2" || list[0].Prompts != 1 || next == "" {
		t.Fatalf("first page %+v, next %q, %v", list, next, err)
	}
	list, next, err = s.Sweeps(ctx, "ann", next, 1)
	if err != nil || len(list) != 1 || list[0].ID != "w1" || next != "" {
		t.Errorf("second page %+v, next %q, %v", list, next, err)
	}
	_, _, err = s.Sweeps(ctx, "ann", "nonsense", 1)
	wantKind(t, err, fault.Invalid)

	wantKind(t, s.MoveSweep(ctx, "w1", sweep.Paused, sweep.Running, "", t0, nil), fault.Conflict)
	wantKind(t, s.DeleteSweep(ctx, "ann", "w1"), fault.Conflict)
	if err := errors.Join(s.MoveSweep(ctx, "w1", sweep.Running, sweep.Paused, "wait", t0, nil), s.MoveSweep(ctx, "w1", sweep.Paused, sweep.Running, "", t0, nil)); err != nil {
		t.Error(err)
	}
	open, err := s.OpenSweeps(ctx, "main")
	if err != nil || len(open) != 3 || open[0].ID != "w1" {
		t.Errorf("open %+v, %v", open, err)
	}
	if open, err := s.OpenSweeps(ctx, "other"); err != nil || len(open) > 0 {
		t.Errorf("another instance has %+v, %v", open, err)
	}
	if err := s.MoveSweep(ctx, "w1", sweep.Running, sweep.Done, "all is decoded", t0.Add(time.Hour), []byte(`{"best":1}`)); err != nil {
		t.Error(err)
	}
	got, err = s.Sweep(ctx, "ann", "w1")
	if err != nil || got.State != sweep.Done || got.Reason != "all is decoded" || !got.Ended.Equal(t0.Add(time.Hour)) || string(got.Report) != `{"best":1}` {
		t.Errorf("done: %+v, %v", got, err)
	}
	added := []sweep.Added{{Reward: sweep.Reward{Reward: "distinct", Name: "d"}, Info: sweep.RewardInfo{Name: "d", Direction: sweep.Higher}}}
	wantKind(t, s.AddRewards(ctx, "bob", "w1", added), fault.NotFound)
	if err := errors.Join(s.AddRewards(ctx, "ann", "w1", added), s.MoveSweep(ctx, "w1", sweep.Done, sweep.Judging, "all is decoded", t0, nil)); err != nil {
		t.Error(err)
	}
	for range 2 { // from the table, and from what is remembered of it
		got, err = s.Sweep(ctx, "ann", "w1")
		if err != nil || got.State != sweep.Judging || got.Before != sweep.Done || !got.Ended.IsZero() || len(got.Setup.RewardInfos) != 2 || got.Setup.Config.Rewards[1].Name != "d" {
			t.Errorf("judged again: %+v, %v", got, err)
		}
	}
	if open, err := s.OpenSweeps(ctx, "main"); err != nil || len(open) != 3 || len(open[0].Setup.RewardInfos) != 2 {
		t.Errorf("open %+v, %v", open, err)
	}
	wantKind(t, s.DeleteSweep(ctx, "ann", "w1"), fault.Conflict)
	if err := s.MoveSweep(ctx, "w1", sweep.Judging, sweep.Done, "all is decoded", t0.Add(2*time.Hour), nil); err != nil {
		t.Error(err)
	}
	wantKind(t, s.DeleteSweep(ctx, "bob", "w1"), fault.NotFound)
	// A second sweep about the same experiment keeps it.
	second := NewSweep("w9", "ann", 3, t0)
	second.Experiment = "w1"
	if err := errors.Join(s.CreateSweep(ctx, second), s.DeleteSweep(ctx, "ann", "w1")); err != nil {
		t.Error(err)
	}
	if e, err := s.Experiment(ctx, "ann", "w1"); err != nil || !reflect.DeepEqual(e.Setup, w.Setup.Experiment()) || !e.Created.Equal(t0) {
		t.Errorf("the experiment is %+v, %v", e, err)
	}
	_, err = s.Experiment(ctx, "bob", "w1")
	wantKind(t, err, fault.NotFound)
	if err := errors.Join(s.MoveSweep(ctx, "w9", sweep.Running, sweep.Cancelled, "", t0, nil), s.DeleteSweep(ctx, "ann", "w9")); err != nil {
		t.Error(err)
	}
	_, err = s.Experiment(ctx, "ann", "w1")
	wantKind(t, err, fault.NotFound)
	_, err = s.Sweep(ctx, "ann", "w1")
	wantKind(t, err, fault.NotFound)
}

func testSweepOutputs(t *testing.T, s *store.Store) {
	ctx := t.Context()
	if err := errors.Join(s.CreateSweep(ctx, NewSweep("w", "ann", 2, t0)), s.CreateSweep(ctx, NewSweep("v", "ann", 2, t0))); err != nil {
		t.Fatal(err)
	}
	third := 1.0 / 3 // must come back as it is
	made := []experiment.Output{Output(0, 0, 0), Output(0, third, 1), Output(1, 0, 0), Output(1, third, 0)}
	made[2].Text, made[2].Untraced = "zero\x00byte", true
	made[3] = experiment.Output{Cell: made[3].Cell, Finish: decode.EndError, Error: "too\x00long"}
	if n, err := s.AddOutputs(ctx, "w", []experiment.Output{made[1], made[0]}); n != 2 || err != nil {
		t.Errorf("added %d, %v", n, err)
	}
	again := made[0]
	again.Text = "another text"
	if n, err := s.AddOutputs(ctx, "w", []experiment.Output{again, made[2], made[3]}); n != 2 || err != nil {
		t.Errorf("added %d of those that are new, %v", n, err)
	}
	_, err := s.AddOutputs(ctx, "nothing", made)
	wantKind(t, err, fault.Conflict)
	// What others had decoded is not the sweep's: a λ that is not on its grid, a sample that it has not judged.
	others := []experiment.Output{Output(0, 0.7, 0), Output(0, 0, 2)}
	if n, err := s.AddOutputs(ctx, "w", others); n != 2 || err != nil {
		t.Errorf("added %d for others, %v", n, err)
	}
	made[3].Error = "too long"
	whole := []experiment.Output{made[0], others[1], made[1], others[0], made[2], made[3]}
	if got, err := s.ExperimentOutputs(ctx, "w", nil, true); err != nil || !reflect.DeepEqual(got, whole) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, whole)
	}
	var all []sweep.Output
	for i := range made {
		all = append(all, sweep.NewOutput(&made[i]))
	}
	judged := []sweep.Judged{
		{Cell: all[0].Cell, Values: map[string]sweep.Value{"length": sweep.Of(0), "é": sweep.Missing("no\x00luck")}},
		{Cell: all[2].Cell, Values: map[string]sweep.Value{"length": {Value: 2.5, Cost: 0.01}}},
	}
	if err := s.AddValues(ctx, "w", judged); err != nil {
		t.Fatal(err)
	}
	judged[0].Values["length"] = sweep.Of(7)
	if err := s.AddValues(ctx, "w", judged[:1]); err != nil {
		t.Fatal(err)
	}
	all[0].Rewards = map[string]sweep.Value{"length": sweep.Of(0), "é": sweep.Missing("no luck")}
	all[2].Rewards = map[string]sweep.Value{"length": {Value: 2.5, Cost: 0.01}}
	got, err := s.Outputs(ctx, "w", nil, true)
	if err != nil || !reflect.DeepEqual(got, all) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, all)
	}
	one := 1
	got, err = s.Outputs(ctx, "w", &one, false)
	if err != nil || len(got) != 2 || got[0].Text != "" || got[0].Rewards["length"].Value != 2.5 || got[0].LogQ[1] != third {
		t.Errorf("of one prompt without texts: %+v, %v", got, err)
	}
	if other, err := s.Outputs(ctx, "v", nil, true); err != nil || len(other) > 0 {
		t.Errorf("another sweep has %+v, %v", other, err)
	}
	// A value takes the place of one that was missing, and nothing of one that is there.
	later := []sweep.Judged{{Cell: all[0].Cell, Values: map[string]sweep.Value{"length": sweep.Of(8), "é": {Value: 3, Cost: 0.5}}}}
	if err := s.AddValues(ctx, "w", later); err != nil {
		t.Fatal(err)
	}
	got, err = s.Outputs(ctx, "w", nil, false)
	if want := map[string]sweep.Value{"length": sweep.Of(0), "é": {Value: 3, Cost: 0.5}}; err != nil || !reflect.DeepEqual(got[0].Rewards, want) {
		t.Errorf("judged again: %+v, %v, want %+v", got[0].Rewards, err, want)
	}
	stop := errors.New("enough")
	if err := s.EachOutput(ctx, "w", nil, true, func(sweep.Output) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("stopped with %v", err)
	}
	readAtOnce(t, s, len(all))
	// A list counts a sweep's own outputs, one of a round of refinement by whatever reward it was judged.
	shared := NewSweep("u", "ann", 2, t0.Add(time.Hour))
	shared.Experiment, shared.Setup.Config.Samples, shared.Setup.Config.Lambda.Values = "w", 1, []float64{0}
	shared.Setup.RewardInfos = append(shared.Setup.RewardInfos, sweep.RewardInfo{Name: "é", Title: "É"})
	refined := sweep.Judged{Cell: others[1].Cell, Values: map[string]sweep.Value{"é": sweep.Of(1)}}
	if err := errors.Join(s.CreateSweep(ctx, shared), s.AddValues(ctx, "u", []sweep.Judged{refined})); err != nil {
		t.Fatal(err)
	}
	if list, _, err := s.Sweeps(ctx, "ann", "", 1); err != nil || list[0].ID != "u" || list[0].Outputs != 3 {
		t.Errorf("a sweep over another's experiment: %+v, %v, want 3 outputs", list, err)
	}
	if _, ok := s.Get("k"); ok {
		t.Error("an answer that nobody gave")
	}
	s.Put("k\x00", []byte{0, 1})
	if b, ok := s.Get("k\x00"); !ok || !slices.Equal(b, []byte{0, 1}) {
		t.Errorf("kept %v, %v", b, ok)
	}
}

func testSweepTable(t *testing.T, s *store.Store) {
	ctx := t.Context()
	const n = 7
	if err := s.CreateSweep(ctx, NewSweep("w", "ann", n, t0)); err != nil {
		t.Fatal(err)
	}
	var outputs []experiment.Output
	var judged []sweep.Judged
	for p := range n {
		for _, lambda := range []float64{0, 1} {
			for sample := range 2 {
				o := Output(p, lambda, sample)
				v := sweep.Of(float64((p*3)%n) + float64(sample) - lambda)
				switch {
				case p == 4 && lambda == 1:
					v = sweep.Missing("the judge slept")
				case p == 5 && lambda == 1:
					o = experiment.Output{Cell: o.Cell, Finish: decode.EndError, Error: "too long"}
				case p == 6 && lambda == 1:
					continue // not decoded yet
				}
				outputs = append(outputs, o)
				if !o.Failed() {
					judged = append(judged, sweep.Judged{Cell: o.Cell, Values: map[string]sweep.Value{"length": v}})
				}
			}
		}
	}
	if _, err := s.AddOutputs(ctx, "w", outputs); err != nil {
		t.Fatal(err)
	}
	if err := s.AddValues(ctx, "w", judged); err != nil {
		t.Fatal(err)
	}
	order := func(q sweep.Query) (list []int, total int) {
		t.Helper()
		if q.Limit == 0 {
			q.Limit = 100
		}
		page, err := s.SweepTable(ctx, "w", q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Rows {
			list = append(list, r.Prompt)
		}
		return list, page.Total
	}
	zero, one := 0.0, 1.0
	for name, c := range map[string]struct {
		query sweep.Query
		want  []int
		total int
	}{
		"as given":            {sweep.Query{Column: "length"}, []int{0, 1, 2, 3, 4, 5, 6}, 7},
		"last first":          {sweep.Query{Column: "length", Reverse: true, Limit: 2}, []int{6, 5}, 7},
		"a page":              {sweep.Query{Column: "length", Offset: 3, Limit: 2}, []int{3, 4}, 7},
		"by value":            {sweep.Query{Column: "length", Sort: &zero}, []int{0, 5, 3, 1, 6, 4, 2}, 7},
		"by value, reverse":   {sweep.Query{Column: "length", Sort: &zero, Reverse: true}, []int{2, 4, 6, 1, 3, 5, 0}, 7},
		"those without last":  {sweep.Query{Column: "length", Sort: &one, Reverse: true}, []int{2, 1, 3, 0, 4, 5, 6}, 7},
		"by KL":               {sweep.Query{Column: sweep.ColumnKL, Sort: &one, Reverse: true}, []int{4, 3, 2, 1, 0, 5, 6}, 7},
		"a search":            {sweep.Query{Column: "length", Search: "PROMPT 3: 100%"}, []int{3}, 1},
		"a search for signs":  {sweep.Query{Column: "length", Search: "%3"}, nil, 0},
		"a category":          {sweep.Query{Column: "length", Category: "odd"}, []int{1, 3, 5}, 3},
		"gaps":                {sweep.Query{Column: "length", Gaps: true}, []int{4, 5}, 2},
		"gaps in tokens":      {sweep.Query{Column: sweep.ColumnTokens, Gaps: true}, []int{5}, 1},
		"an unknown column":   {sweep.Query{Column: "none", Sort: &one}, []int{0, 1, 2, 3, 4, 5, 6}, 7},
		"beyond the last one": {sweep.Query{Column: "length", Offset: 50}, nil, 7},
	} {
		if got, total := order(c.query); !slices.Equal(got, c.want) || total != c.total {
			t.Errorf("%s: %v of %d, want %v of %d", name, got, total, c.want, c.total)
		}
	}
	page, err := s.SweepTable(ctx, "w", sweep.Query{Column: "length", Offset: 4, Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	want := []sweep.PageRow{
		{Prompt: 4, Text: "Prompt 4: 100% “é”", Means: []sweep.Mean{{Lambda: 0, Mean: 5.5, Count: 2, Cells: 2}, {Lambda: 1, Cells: 2}}},
		{Prompt: 5, Text: "Prompt 5: 100% “é”", Category: "odd", Means: []sweep.Mean{{Lambda: 0, Mean: 1.5, Count: 2, Cells: 2}}},
	}
	if !reflect.DeepEqual(page.Rows, want) {
		t.Errorf("rows %+v, want %+v", page.Rows, want)
	}
	if names, err := s.SweepCategories(ctx, "w"); err != nil || !slices.Equal(names, []string{"odd"}) {
		t.Errorf("categories %q, %v", names, err)
	}
	_, err = s.SweepTable(ctx, "w", sweep.Query{Limit: sweep.MaxPage + 1})
	wantKind(t, err, fault.Invalid)
	_, err = s.SweepTable(ctx, "w", sweep.Query{Limit: 1, Offset: -1})
	wantKind(t, err, fault.Invalid)
}

// readAtOnce reads a sweep's outputs many times at once, and while one is at hand. Readers that wait for a second connection
// while they hold a first one would stop each other for ever.
func readAtOnce(t *testing.T, s *store.Store, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for range 20 { // more than any pool has connections
		all.Go(func() {
			n := 0
			err := s.EachOutput(ctx, "w", nil, true, func(o sweep.Output) error {
				n++
				_, err := s.Outputs(ctx, "w", &o.Prompt, false)
				return err
			})
			if err != nil || n != want {
				t.Errorf("read %d outputs of %d at once: %v", n, want, err)
			}
		})
	}
	all.Wait()
}

// testManyOutputs reads more outputs than the store has in memory at once.
func testManyOutputs(t *testing.T, s *store.Store) {
	const prompts = 400
	ctx := t.Context()
	if err := s.CreateSweep(ctx, NewSweep("w", "ann", prompts, t0)); err != nil {
		t.Fatal(err)
	}
	var made []experiment.Output
	var judged []sweep.Judged
	var want []sweep.Output
	for prompt := range prompts {
		for _, lambda := range []float64{0, 1.0 / 3, 1} {
			o := Output(prompt, lambda, 1)
			made = append(made, o)
			values := map[string]sweep.Value{}
			if prompt%2 == 0 {
				values["length"] = sweep.Of(float64(prompt) + lambda)
			}
			if prompt%3 == 0 {
				values["another"] = sweep.Of(-lambda)
			}
			w := sweep.NewOutput(&o)
			if len(values) > 0 {
				w.Rewards = values
				judged = append(judged, sweep.Judged{Cell: o.Cell, Values: values})
			}
			want = append(want, w)
		}
	}
	if n, err := s.AddOutputs(ctx, "w", made); n != len(made) || err != nil {
		t.Fatalf("added %d, %v", n, err)
	}
	if err := s.AddValues(ctx, "w", judged); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Outputs(ctx, "w", nil, true); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%d outputs are not the %d that were added, in order, with their values: %v", len(got), len(want), err)
	}
}
