package sweep

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
)

func small() *world { return newWorld(9, 8, square) }

// TestResume: a sweep whose outputs come in any order, several times, a few between two looks at the plan, ends with
// the same outputs, the same report and the same reason as one that ran through.
func TestResume(t *testing.T) {
	w := small()
	s := w.setup(3, 12, []float64{0, 1, 2}, 2, 2)
	straight, end := w.run(s)
	want, err := json.Marshal(Analyse(s, straight))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(5, 5))
	var outputs []Output
	var plan Plan
	for range 10000 {
		if plan, err = Next(s, outputs); err != nil {
			t.Fatal(err)
		}
		if plan.Done {
			break
		}
		item := plan.Items[random.IntN(len(plan.Items))]
		for _, o := range w.decode(&s.Config, item) {
			if random.IntN(3) > 0 { // some are lost, and come again
				outputs = append(outputs, o)
			}
		}
		random.Shuffle(len(outputs), func(i, k int) { outputs[i], outputs[k] = outputs[k], outputs[i] })
	}
	if plan.Reason != end.Reason || plan.Tokens != end.Tokens || plan.Stage != end.Stage {
		t.Errorf("ended as %+v, want %+v", plan, end)
	}
	cells := func(outputs []Output) []Cell {
		var cells []Cell
		for _, o := range outputs {
			cells = append(cells, o.Cell)
		}
		slices.SortFunc(cells, Cell.Compare)
		return slices.Compact(cells)
	}
	if !slices.Equal(cells(outputs), cells(straight)) {
		t.Error("other cells were decoded")
	}
	got, err := json.Marshal(Analyse(s, outputs))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the report is\n%s\nwant\n%s", got, want)
	}
}

// TestBudget: whatever the budget, it is never exceeded, every prompt that was begun is decoded at every λ, and a large
// part of the budget is used.
func TestBudget(t *testing.T) {
	w := small()
	for _, budget := range []int{48, 60, 200, 1000, 3000, 10000} {
		for _, rounds := range []int{0, 3} {
			s := w.setup(4, 40, []float64{0, 1, 2}, 2, rounds)
			s.Config.Budget = budget
			if least := s.Config.MinBudget(); least != 48 {
				t.Fatalf("a prompt may cost %d", least)
			}
			if err := s.Config.Validate(); err != nil {
				t.Fatal(err)
			}
			outputs, plan := w.run(s)
			if plan.Tokens > budget {
				t.Errorf("budget %d, %d rounds: %d tokens were decoded", budget, rounds, plan.Tokens)
			}
			if budget <= 1000 && rounds == 0 && float64(plan.Tokens) < 0.6*float64(budget)-48 {
				t.Errorf("budget %d, %d rounds: only %d tokens were decoded", budget, rounds, plan.Tokens)
			}
			count := map[int]int{}
			for _, o := range outputs {
				if o.Sample < 2 {
					count[o.Prompt]++
				}
			}
			for prompt, n := range count {
				if n != 6 {
					t.Errorf("budget %d, %d rounds: prompt %d has %d outputs on the grid, want 6", budget, rounds, prompt, n)
				}
			}
		}
	}
	s := w.setup(4, 40, []float64{0, 1, 2}, 2, 0)
	s.Config.Budget = 47
	if err := s.Config.Validate(); err == nil {
		t.Error("a budget that is too small for one prompt was taken")
	}
}

// How much there is to decode is guessed from what was decoded by now, not from what was there when a stage began.
func TestExpected(t *testing.T) {
	w := small()
	s := w.setup(5, 3, []float64{0, 1}, 40, 2)
	c := &s.Config
	plan, err := Next(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := 3 * 40 * (2 + 2*candidates)
	if plan.Outputs != all || plan.Expected(c, 0, 0) != all*c.Sampling.MaxTokens/2 {
		t.Errorf("%d outputs of %d tokens, not %d of half the limit", plan.Outputs, plan.Expected(c, 0, 0), all)
	}
	if got := plan.Expected(c, 10, 370); got != 37*all {
		t.Errorf("%d tokens after ten outputs of 37", got)
	}
	c.Budget = 1000
	if got := plan.Expected(c, 10, 370); got != 1000 {
		t.Errorf("%d tokens of a budget of 1000", got)
	}
	if got := (Plan{Done: true, Outputs: 10}).Expected(c, 10, 370); got != 370 {
		t.Errorf("%d tokens of 370 when all is done", got)
	}
	if got := (Plan{}).Expected(c, 10, 370); got != 0 {
		t.Errorf("%d tokens without a plan", got)
	}
}

func TestStages(t *testing.T) {
	w := small()
	s := w.setup(5, 3, []float64{0, 1}, 40, 1)
	plan, err := Next(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Items) != 6 || len(plan.Items[0].Cells()) > decode.MaxLanes || plan.Outputs == 0 {
		t.Fatalf("%d items of %d lanes: %+v", len(plan.Items), len(plan.Items[0].Cells()), plan)
	}
	ids := map[string]bool{}
	var outputs []Output
	for _, item := range plan.Items {
		ids[item.ID()] = true
		for _, cell := range item.Cells() { // nothing could be decoded
			outputs = append(outputs, Output{Cell: cell, Finish: decode.EndError, Error: "the worker died"})
		}
	}
	if len(ids) != 6 {
		t.Errorf("%d ids for 6 items", len(ids))
	}
	if plan, _ = Next(s, outputs); !plan.Done || plan.Tokens != 0 {
		t.Errorf("%+v, want an end without refinement: there is nothing to refine by", plan)
	}
	report := Analyse(s, outputs)
	if report.Best != nil || report.Recommendation != nil || report.Failed != len(outputs) || report.Rewards[0].Points[0].Missing != 120 {
		t.Errorf("%+v", report)
	}
	if _, err := json.Marshal(report); err != nil {
		t.Error(err)
	}
	// An output without its reward holds the stage up, and is not decoded again.
	outputs[0] = w.decode(&s.Config, Item{Prompt: 0, Lambdas: []float64{0}, Samples: []int{0}})[0]
	outputs[0].Rewards = nil
	if plan, _ = Next(s, outputs); plan.Done || len(plan.Items) != 0 || !slices.Equal(plan.Unjudged, []Cell{outputs[0].Cell}) {
		t.Errorf("%+v, want one cell to judge", plan)
	}
}

// TestRefinementLooksBesideACertainTop: where every resample has its top at one λ, the next round still looks beside it.
func TestRefinementLooksBesideACertainTop(t *testing.T) {
	s, outputs := made([]float64{0, 1, 2}, 10, func(_ int, l float64, _ int) map[string]Value {
		return map[string]Value{"x": Of(-l), "y": Of(0)}
	})
	s.Config.Refine.Rounds = 1
	plan, err := Next(s, outputs)
	if err != nil || plan.Done || plan.Round != 1 || !slices.Equal(plan.Items[0].Lambdas, []float64{0, 0.5}) {
		t.Errorf("%+v, %v", plan, err)
	}
}

// TestWithoutAWidthEveryRoundIsDecoded: an interval may be a single λ, which is no reason to stop when no width was asked for.
func TestWithoutAWidthEveryRoundIsDecoded(t *testing.T) {
	value := func(_ int, l float64, _ int) map[string]Value { return map[string]Value{"x": Of(-l), "y": Of(0)} }
	s, outputs := made([]float64{0, 1, 2}, 10, value)
	s.Config.Refine.Rounds = 3
	for {
		plan, err := Next(s, outputs)
		if err != nil {
			t.Fatal(err)
		}
		if plan.Done {
			if plan.Reason != "the grid is decoded and refined 3 times" {
				t.Error(plan.Reason)
			}
			return
		}
		for _, item := range plan.Items {
			for _, cell := range item.Cells() {
				outputs = append(outputs, Output{Cell: cell, Text: "t", Tokens: 10, Finish: decode.EndStop, Rewards: value(cell.Prompt, cell.Lambda, cell.Sample)})
			}
		}
	}
}

// TestWorldIsTheEngine: the simulated world of these tests decodes what the engine does, token for token, and what it
// records of it is what the engine's trace says.
func TestWorldIsTheEngine(t *testing.T) {
	w := small()
	s := w.setup(6, 3, []float64{0, 0.5, 1, 2}, 3, 0)
	engine := decode.NewEngine(decodetest.New(decodetest.Options{Seed: 9, Letters: 5, Spread: 1.2, EndLogit: -1}), decode.Config{})
	defer engine.Close()
	plan, err := Next(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range plan.Items {
		want := w.decode(&s.Config, item)
		got := make([]Output, len(want))
		e := s.Experiment()
		request := e.Request(item, "")
		job, err := engine.Start(request, func(e decode.Event) {
			if e.Type == decode.EventToken {
				o := &got[e.Lane]
				o.Text += e.Text
				o.Tokens++
				o.KL += *e.KLReference
				o.LogZ += *e.LogZ
				o.LogpReference += e.Logp.Reference
				o.LogpAligned += e.Logp.Aligned[0]
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		<-job.Done()
		for i := range want {
			g, o := got[i], want[i]
			near := func(what string, x, y float64) {
				if d := x - y; d > 1e-4 || d < -1e-4 {
					t.Errorf("%+v: %s %v, want %v", o.Cell, what, x, y)
				}
			}
			if g.Tokens != o.Tokens {
				t.Errorf("%+v: %d tokens, want %d", o.Cell, g.Tokens, o.Tokens)
			}
			near("KL", g.KL, o.KL)
			near("log Z", g.LogZ, o.LogZ)
			near("log p under the reference", g.LogpReference, o.LogpReference)
			near("log p under the aligned model", g.LogpAligned, o.LogpAligned)
			fine := s.Config.Evaluate()
			near("log q at λ = 0", o.LogQ[0], o.LogpReference)
			near("log q at λ = 1", o.LogQ[nearest(fine, 1)], o.LogpAligned)
		}
	}
}
