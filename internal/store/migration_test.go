package store_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/experiment"
	"realign/internal/preference"
	"realign/internal/run"
	"realign/internal/session"
	"realign/internal/store"
	"realign/internal/study"
	"realign/internal/sweep"
)

// before are the rows of a database as it was before there were experiments: a session, four studies (a draft, one that is
// being decoded, one that is rated, one whose second prompt could not be decoded) and two sweeps.
func before(t *testing.T) []string {
	t.Helper()
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(b), "'", "''")
	}
	setup := text(oldStudy())
	statements := []string{
		`INSERT INTO sessions VALUES ('s', 'ann', 'Talk', 'talk', 1, 2, NULL)`,
		`INSERT INTO runs VALUES ('r', 's', 1, 'ann', 'main', '{}', 'p', 'done', 1, 1, 1, 2)`,
		`INSERT INTO events VALUES ('r', 1, 1, '[{"type":"end"}]')`,
	}
	for i, status := range []string{"draft", "decoding", "open", "ready"} {
		id := "st" + status
		statements = append(statements, fmt.Sprintf(`INSERT INTO studies VALUES ('%s', 'ann', 'main', '%s', '%s', 0.1, '[]', 'v1', %d, 9, NULL, NULL)`, id, setup, status, i+1))
		for place, prompt := range oldPrompts() {
			problem := ""
			if status == "ready" && place == 1 {
				problem = "9000 tokens, at most 511"
			}
			statements = append(statements, fmt.Sprintf(`INSERT INTO study_prompts VALUES ('%s', %d, '%s', '%s')`, id, place+1, text(prompt), problem))
		}
		if status == "draft" {
			continue
		}
		for n, o := range oldOutputs() {
			body := "'" + text(map[string]any{"text": o.Text, "tokens": o.Tokens, "reason": o.Reason}) + "'"
			if status == "decoding" && n > 1 && !o.Broken || status == "ready" && o.Prompt == 2 {
				body = "NULL"
			}
			if o.Broken && status == "decoding" {
				continue
			}
			statements = append(statements, fmt.Sprintf(`INSERT INTO study_outputs VALUES ('%s%s', '%s', %d, %v, %d, '%d', %v, %s)`,
				id, o.ID, id, o.Prompt, o.Lambda, o.Sample, o.Seed, o.Broken, body))
		}
	}
	statements = append(statements,
		`INSERT INTO study_items VALUES ('i1', 'stopen', 'pairwise', 1, '["stopeno1","stopeno2"]', 0, 1.5, '', 1)`,
		`INSERT INTO study_items VALUES ('i2', 'stopen', 'pairwise', 1, '["stopeno1","stopenb1"]', 0, 1.5, 'broken_b', 1)`,
		`INSERT INTO study_annotators VALUES ('x', 'stopen', 'Xe', 'xe', 'hash', 5)`,
		`INSERT INTO study_assignments VALUES ('a1', 'stopen', 'i1', 'x', 1, '["stopeno2","stopeno1"]', 'answered', 6, 7, 7, '{"choice":"a"}')`,
		`INSERT INTO study_assignments VALUES ('a2', 'stopen', 'i2', 'x', 2, '["stopenb1","stopeno1"]', 'answered', 8, 9, 9, '{"choice":"b"}')`,
	)
	for _, state := range []string{"running", "done"} {
		ended, report := "NULL", "NULL"
		if state == "done" {
			ended, report = "77", `'{"best":1}'`
		}
		id := "w" + state
		statements = append(statements, fmt.Sprintf(`INSERT INTO sweeps VALUES ('%s', 'ann', 'main', 'Warm', 'demo', 'warm', 2, '%s', '%s', '', %s, 5, %s)`, id, text(oldSweep()), state, report, ended),
			fmt.Sprintf(`INSERT INTO sweep_prompts VALUES ('%s', 0, 'one', 'one', '')`, id), fmt.Sprintf(`INSERT INTO sweep_prompts VALUES ('%s', 1, 'two', 'two', 'k')`, id))
		for _, o := range oldCells() {
			statements = append(statements, fmt.Sprintf(`INSERT INTO sweep_cells VALUES ('%s', %d, %v, %d, '%s', %d, '%s', '%s', %v, %v, %v, %v, '%s')`, id,
				o.Prompt, o.Lambda, o.Sample, strings.ReplaceAll(o.Text, "'", "''"), o.Tokens, o.Finish, o.Error, o.KL, o.LogZ, o.LogpReference, o.LogpAligned, text(o.LogQ)))
			for reward, v := range o.Rewards {
				value := fmt.Sprint(v.Value)
				if !v.OK() {
					value = "NULL"
				}
				statements = append(statements, fmt.Sprintf(`INSERT INTO sweep_values VALUES ('%s', '%s', %d, %v, %d, %s, '%s', %v)`, id, reward, o.Prompt, o.Lambda, o.Sample, value, v.Missing, v.Cost))
			}
		}
	}
	return statements
}

func oldStudy() study.Setup {
	return study.Setup{
		Title: "It's old", Pair: "demo", Aligned: "warm", System: "Be kind.", Mode: run.Chat, Grid: []float64{0, 1.5}, Samples: 1,
		Sampling: decode.DefaultSampling(), Seed: 1<<64 - 1, Pairwise: true, Overlap: 2, Scheme: study.BalancedScheme,
	}
}

func oldPrompts() []study.Prompt {
	return []study.Prompt{{Place: 1, Line: 1, Text: "Zero\x00byte 'n \"quotes\" é", Category: "k"}, {Place: 2, Line: 4, Text: "Two", System: "Be brief."}}
}

// oldOutputs are in the order of the store: spoilt ones last.
func oldOutputs() []study.Output {
	made := func(id string, prompt int, lambda float64, text string, broken bool) study.Output {
		return study.Output{ID: id, Prompt: prompt, Source: prompt - 1, Lambda: lambda, Seed: 1<<64 - 5, Broken: broken, Done: true, Text: text, Tokens: 3, Reason: "stop"}
	}
	return []study.Output{
		made("o1", 1, 0, "it's a \x00 \"text\"\n\\ é 😀", false), made("o2", 1, 1.5, "", false),
		made("o3", 2, 0, "three", false), made("o4", 2, 1.5, "four", false), made("b1", 1, 0, "é a it's", true),
	}
}

func oldSweep() sweep.Setup {
	c := sweep.Default()
	c.Pair, c.System, c.Seed, c.Samples, c.Objective = "demo", "Be kind.", 1<<64-1, 2, "length"
	c.Lambda.Values = []float64{0, 1.0 / 3, 1}
	c.Rewards = []sweep.Reward{{Reward: "length", Name: "length"}}
	c.Prompts.Rows = []sweep.Row{{Text: "one", Context: "c"}, {Text: "two", System: "s", Category: "k"}}
	return sweep.Setup{Config: c, Aligned: "warm", Beta: 0.1, RewardInfos: []sweep.RewardInfo{{Name: "length", Title: "Length", Direction: sweep.Higher}}}
}

func oldCells() []sweep.Output {
	third := 1.0 / 3
	cell := func(prompt int, lambda float64, sample int) sweep.Cell {
		return sweep.Cell{Prompt: prompt, Lambda: lambda, Sample: sample}
	}
	return []sweep.Output{
		{Cell: cell(0, 0, 0), Text: "it's \"one\"\n\\ é 😀", Tokens: 4, Finish: "stop", KL: 0.25, LogZ: -third, LogpReference: -1.5, LogpAligned: -2, LogQ: []float64{-1, third},
			Rewards: map[string]sweep.Value{"length": {Value: third, Cost: 0.5}}},
		{Cell: cell(0, third, 1), Text: "", Tokens: 1, Finish: "length", Rewards: map[string]sweep.Value{"length": sweep.Missing("no luck")}},
		{Cell: cell(0, 0.5, 2), Text: "refined", Tokens: 1, Finish: "stop", LogQ: []float64{0, 0}, Rewards: map[string]sweep.Value{"length": sweep.Of(2)}},
		{Cell: cell(1, 1, 0), Finish: "error", Error: "too long"},
	}
}

// A database from before there were experiments has everything that it had, and its studies and sweeps are about
// experiments; the way back loses nothing but zero bytes, which sweeps never had.
func TestExperimentsOfOldStudiesAndSweeps(t *testing.T) {
	for name, config := range map[string]func(t *testing.T) store.Config{
		"sqlite":   func(t *testing.T) store.Config { return store.Config{Data: t.TempDir()} },
		"postgres": postgres,
	} {
		t.Run(name, func(t *testing.T) {
			config := config(t)
			if err := store.OpenAt(t.Context(), config, 6, before(t)...); err != nil {
				t.Fatal(err)
			}
			s := open(t, config)
			checkOld(t, s)
			// Back and forth again.
			if err := s.DownTo(t.Context(), 6); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			checkOld(t, open(t, config))
		})
	}
}

// A study that began with a secret, before there were experiments, has been decoded with seeds that depend on it.
func TestExperimentOfAStudyWithASecret(t *testing.T) {
	setup, prompts := oldStudy(), oldPrompts()[1:]
	setup.Secret = study.NewSecret()
	prompts[0].Place = 1
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(b), "'", "''")
	}
	config := store.Config{Data: t.TempDir()}
	err := store.OpenAt(t.Context(), config, 13,
		fmt.Sprintf(`INSERT INTO studies VALUES ('st', 'ann', 'main', '%s', 'decoding', 0.1, '[]', 'v1', 1, 9, NULL, NULL, '%s')`, text(setup), setup.Secret),
		fmt.Sprintf(`INSERT INTO study_prompts VALUES ('st', 1, '%s', '')`, text(prompts[0])))
	if err != nil {
		t.Fatal(err)
	}
	e, err := open(t, config).Experiment(t.Context(), "ann", "st")
	if err != nil || !reflect.DeepEqual(e.Setup, setup.Experiment(prompts)) || experiment.PromptSeed(e.Setup.Seed, 0) != setup.PromptSeed(1) {
		t.Errorf("%+v, %v", e, err)
	}
	setup.Secret = ""
	if e.Setup.Seed == setup.Experiment(prompts).Seed {
		t.Error("the seed does not depend on the secret")
	}
}

func checkOld(t *testing.T, s *store.Store) {
	t.Helper()
	ctx := t.Context()
	if problems, err := s.IntegrityCheck(ctx); err != nil || len(problems) > 0 {
		t.Errorf("integrity: %v, %v", problems, err)
	}
	if list, err := s.Sessions(ctx, "ann", session.Query{}); err != nil || len(list.Sessions) != 1 {
		t.Errorf("sessions %+v, %v", list, err)
	}
	setup, prompts := oldStudy(), oldPrompts()
	for _, status := range []string{"draft", "decoding", "open", "ready"} {
		id := "st" + status
		st, err := s.Study(ctx, "ann", id)
		want := id
		if status == "draft" {
			want = ""
		}
		if err != nil || !reflect.DeepEqual(st.Setup, setup) || string(st.Status) != status || st.Experiment != want {
			t.Errorf("%+v, %v", st, err)
		}
		if status == "draft" {
			continue
		}
		if e, err := s.Experiment(ctx, "ann", id); err != nil || !reflect.DeepEqual(e.Setup, setup.Experiment(prompts)) || e.Setup.Seed != 0x9e3779b97f4a7c14 {
			t.Errorf("experiment of %s: %+v, %v", id, e, err)
		}
		outputs, err := s.StudyOutputs(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		var wanted []study.Output
		for n, o := range oldOutputs() {
			if o.Broken && status == "decoding" {
				continue
			}
			o.ID = id + o.ID
			if status == "decoding" && n > 1 && !o.Broken || status == "ready" && o.Prompt == 2 {
				o.Done, o.Text, o.Tokens, o.Reason = false, "", 0, ""
			}
			wanted = append(wanted, o)
		}
		if !reflect.DeepEqual(outputs, wanted) {
			t.Errorf("outputs of %s\n%+v, want\n%+v", id, outputs, wanted)
		}
	}
	made, err := s.ExperimentOutputs(ctx, "stready", nil, true)
	if err != nil || len(made) != 4 || made[2].Error != "9000 tokens, at most 511" || made[2].Finish != decode.EndError || !made[0].Untraced {
		t.Errorf("outputs of a prompt that was left out: %+v, %v", made, err)
	}
	ratings, err := s.Ratings(ctx, "stopen")
	if err != nil || len(ratings) != 2 || ratings[0].Outputs[1].Text != oldOutputs()[0].Text || ratings[0].Outputs[0].Lambda != 1.5 || ratings[1].Catch != preference.BrokenA {
		t.Errorf("ratings %+v, %v", ratings, err)
	}
	tallies, err := s.StudyTallies(ctx, []string{"stdecoding", "stready", "stopen"})
	if err != nil || tallies["stdecoding"].Decoded != 2 || tallies["stready"].Decoded != 2 || tallies["stopen"].Decoded != 4 || tallies["stopen"].Outputs != 4 {
		t.Errorf("tallies %+v, %v", tallies, err)
	}
	for _, state := range []string{"running", "done"} {
		id := "w" + state
		w, err := s.Sweep(ctx, "ann", id)
		if err != nil || !reflect.DeepEqual(w.Setup, oldSweep()) || string(w.State) != state || w.Experiment != id {
			t.Errorf("%+v, %v", w, err)
		}
		if outputs, err := s.Outputs(ctx, id, nil, true); err != nil || !reflect.DeepEqual(outputs, oldCells()) {
			t.Errorf("outputs of %s\n%+v, %v, want\n%+v", id, outputs, err, oldCells())
		}
		want := oldSweep()
		if e, err := s.Experiment(ctx, "ann", id); err != nil || !reflect.DeepEqual(e.Setup, want.Experiment()) {
			t.Errorf("experiment of %s: %+v, %v", id, e, err)
		}
		if n, err := s.AddOutputs(ctx, id, []experiment.Output{{Cell: experiment.Cell{Prompt: 0}, Text: "again"}}); err != nil || n != 0 {
			t.Errorf("a cell that is there is decoded again: %d, %v", n, err)
		}
	}
}
