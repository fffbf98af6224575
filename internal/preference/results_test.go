package preference

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"realign/internal/stat"
)

// small is a study that can be worked out by hand: three comparisons of λ 0 and 1, two of λ 1 and 2, a catch
// trial, scores and a ranking.
func small() Answers {
	compare := func(item, prompt, annotator, category string, a, b float64, choice Choice) Pairwise {
		return Pairwise{Item: item, Prompt: prompt, Annotator: annotator, Category: category,
			A: Side{a, fmt.Sprint(item, a)}, B: Side{b, fmt.Sprint(item, b)}, Choice: choice}
	}
	catch := compare("catch", "p2", "bo", "prose", 1, 1, PreferB)
	catch.B.Output, catch.Catch = "broken", BrokenA
	return Answers{
		Pairwise: []Pairwise{
			compare("i1", "p1", "ann", "verse", 0, 1, PreferB),
			compare("i1", "p1", "bo", "verse", 1, 0, PreferA),
			compare("i2", "p2", "ann", "prose", 0, 1, PreferA),
			compare("i3", "p2", "bo", "prose", 2, 1, Tie),
			compare("i3", "p2", "ann", "prose", 1, 2, BothBad),
			catch,
		},
		Scores: []Likert{
			{Item: "s1", Prompt: "p1", Annotator: "ann", Category: "verse", Criterion: "clear", Side: Side{1, "x"}, Score: 4, Points: 5},
			{Item: "s1", Prompt: "p1", Annotator: "bo", Category: "verse", Criterion: "clear", Side: Side{1, "x"}, Score: 5, Points: 5},
		},
		Rankings: []Ranking{{Item: "r1", Prompt: "p1", Annotator: "ann", Category: "verse", Sides: []Side{{2, "z"}, {0, "y"}}, Rank: []int{1, 2}}},
	}
}

func TestResultsEqualWhatWasAnswered(t *testing.T) {
	r, err := Compute(small(), Options{Grid: []float64{2, 0, 1, 1}, Beta: 0.1})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Counts{Pairwise: 5, Likert: 2, Rankings: 1, Catch: 1, Annotators: 2, Prompts: 2}); r.Counts != want {
		t.Errorf("counts %+v", r.Counts)
	}
	if !reflect.DeepEqual(r.Grid, []float64{0, 1, 2}) {
		t.Errorf("grid %v", r.Grid)
	}
	// λ 1 won two of three against λ 0; Wilson's interval of 2/3 is 0.2077 to 0.9385. The ranking of two is one pair.
	wins := r.Overall.Wins
	if len(wins) != 3 || wins[0].LowWins != 1 || wins[0].HighWins != 2 || wins[1].Low != 0 || wins[1].High != 2 || wins[1].HighWins != 1 || wins[2].Ties != 2 {
		t.Fatalf("win rates %+v", wins)
	}
	near(t, "rate", wins[0].Rate.Estimate, 2./3, 1e-12)
	near(t, "its low end", wins[0].Rate.Low, 0.2076596, 1e-6)
	near(t, "its high end", wins[0].Rate.High, 0.9385081, 1e-6)

	// Without what ties and rankings add, the strengths of two λ are ±½·log 2.
	verse, err := Compute(Answers{Pairwise: small().Pairwise[:3]}, Options{Grid: []float64{0, 1}})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "strength", verse.Overall.Strengths.Strength[1].Estimate, math.Log(2)/2, 1e-9)

	// i1: both λ 1. i3: a tie beside "both bad". By hand: α = 1 − (4−1)·2/(2·(2·1+2·1+1·1)) = 0.4.
	if a := r.Agreement[0]; a.Question != "pairwise" || a.Level != Nominal || a.Agreement.Units != 2 {
		t.Fatalf("agreement %+v", a)
	} else {
		near(t, "α", a.Agreement.Alpha.Estimate, 0.4, 1e-12)
		near(t, "percentage", a.Agreement.Percent.Estimate, 0.5, 1e-12)
	}
	if len(r.Overall.Means) != 1 || r.Overall.Means[0].Mean.Estimate != 4.5 || r.Overall.Means[0].Points != 5 {
		t.Errorf("means %+v", r.Overall.Means)
	}
	if len(r.Categories) != 2 || r.Categories[0].Name != "prose" || r.Categories[0].Answers != 3 || r.Categories[1].Answers != 5 {
		t.Errorf("categories %+v", r.Categories)
	}
	if len(r.Annotators) != 2 || r.Annotators[0].Name != "ann" || r.Annotators[0].Answers != 5 || r.Annotators[1].Answers != 3 {
		t.Errorf("annotators %+v", r.Annotators)
	}
	if len(r.Records) != 2 || r.Records[1].Broken != 1 || r.Records[1].Passed != 1 {
		t.Errorf("records %+v", r.Records)
	}
	if c := r.Overall.Curve; c.Preference || c.Best != nil || r.Overall.More.Reason == "" {
		t.Errorf("six answers show a preference: %+v", c.Best)
	}
}

// TestResultsKnowNoIDs: other names for items, prompts and outputs give the same results, and so does
// a way through JSON.
func TestResultsKnowNoIDs(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 90))
	w := peaked(r)
	w.annotators, w.overlap = 4, 2
	a := Answers{Pairwise: w.study(r, 60)}
	for i := range a.Pairwise {
		p := &a.Pairwise[i]
		p.A.Output, p.B.Output = fmt.Sprint(p.Item, p.A.Lambda), fmt.Sprint(p.Item, p.B.Lambda)
		p.Prompt, p.Category = fmt.Sprint(i/4%7), []string{"", "maths", "prose"}[i/4%7%3]
		a.Scores = append(a.Scores, Likert{Item: p.Item, Prompt: p.Prompt, Annotator: p.Annotator, Criterion: "clear", Side: p.A, Score: 1 + r.IntN(5), Points: 5})
	}
	o := Options{Grid: w.grid, Beta: 0.1, Seed: 7}
	one, err := Compute(a, o)
	if err != nil {
		t.Fatal(err)
	}
	if one.Overall.Curve.Best == nil || len(one.Categories) != 3 || len(one.Annotators) != 4 {
		t.Fatalf("not what this test is about: %+v", one.Overall.Curve)
	}
	other := map[string]string{}
	rename := func(s *string) {
		if other[*s] == "" {
			other[*s] = fmt.Sprint(r.Uint64())
		}
		*s = other[*s]
	}
	two, err := Compute(a.each(func(item, prompt, _ *string, sides []Side) {
		rename(item)
		rename(prompt)
		for i := range sides {
			rename(&sides[i].Output)
		}
	}), o)
	if err != nil {
		t.Fatal(err)
	}
	first, second := asJSON(t, one), asJSON(t, two)
	if first != second {
		t.Errorf("other ids, other results:\n%s\n%s", first, second)
	}
	var back Results
	if err := json.Unmarshal([]byte(first), &back); err != nil {
		t.Fatal(err)
	}
	if third := asJSON(t, &back); third != first {
		t.Errorf("through JSON:\n%s\n%s", first, third)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAnonymousAnswersKeepTheResults(t *testing.T) {
	a := small()
	b := a.Anonymous()
	if b.Pairwise[1].Annotator != "Annotator 02" || b.Scores[0].Annotator != "Annotator 01" || a.Pairwise[0].Annotator != "ann" {
		t.Errorf("%+v", b)
	}
	one, err := Compute(a, Options{Grid: []float64{0, 1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	two, err := Compute(b, Options{Grid: []float64{0, 1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	if asJSON(t, one.Overall) != asJSON(t, two.Overall) {
		t.Error("the whole depends on names of annotators")
	}
}

// TestEmptyResultsExplainThemselves: nothing answered, one annotator, scores only.
func TestEmptyResultsExplainThemselves(t *testing.T) {
	grid := []float64{0, 1}
	none, err := Compute(Answers{}, Options{Grid: grid})
	if err != nil || none.Counts.Answers() != 0 || none.Overall.Curve == nil || none.Overall.Curve.Reason == "" || none.Overall.Strengths != nil || none.JND.Reason == "" {
		t.Errorf("%+v, %v", none, err)
	}
	scores, err := Compute(Answers{Scores: small().Scores[:1]}, Options{Grid: grid})
	if err != nil || scores.Overall.Curve != nil || len(scores.Agreement) != 3 || scores.Agreement[0].Agreement.Reason == "" || scores.Overall.Means[0].Reason == "" {
		t.Errorf("%+v, %v", scores, err)
	}
	if _, err := Compute(Answers{Rankings: []Ranking{{}}}, Options{Grid: grid}); err == nil {
		t.Error("a ranking of nothing was taken")
	}
}

func TestCurveBetweenPoints(t *testing.T) {
	c := &Curve{Lambda: []float64{0, 1, 2}, Mean: []float64{0, 2, 1}, Low: []float64{-1, 1, 0}, High: []float64{1, 3, 2}}
	for at, want := range map[float64]stat.Interval{-1: {Estimate: 0, Low: -1, High: 1}, 0: {Estimate: 0, Low: -1, High: 1}, 0.5: {Estimate: 1, Low: 0, High: 2}, 1: {Estimate: 2, Low: 1, High: 3}, 1.75: {Estimate: 1.25, Low: 0.25, High: 2.25}, 3: {Estimate: 1, Low: 0, High: 2}} {
		if got := c.At(at); got != want {
			t.Errorf("at %g: %+v, not %+v", at, got, want)
		}
	}
}
