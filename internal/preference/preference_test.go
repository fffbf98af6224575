package preference

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"realign/internal/fault"
)

func pairwise(item, annotator string, a, b float64, choice Choice) Pairwise {
	return Pairwise{Item: item, Annotator: annotator, A: Side{Lambda: a}, B: Side{Lambda: b}, Choice: choice}
}

func TestCheckNamesTheField(t *testing.T) {
	good := pairwise("i", "a", 0, 1, Tie)
	for field, edit := range map[string]func(*Pairwise){
		"a":      func(r *Pairwise) { r.A.Lambda = math.NaN() },
		"b":      func(r *Pairwise) { r.B.Lambda = math.Inf(1) },
		"choice": func(r *Pairwise) { r.Choice = "left" },
		"catch":  func(r *Pairwise) { r.Catch = SameLambda },
		"weight": func(r *Pairwise) { r.Weight = -1 },
	} {
		r := good
		edit(&r)
		if f := fault.Of(r.Check()); f == nil || f.Kind != fault.Invalid || f.Field != field {
			t.Errorf("%s: %v", field, f)
		}
		// What is refused reaches no number.
		for name, err := range map[string]error{
			"strengths": second(FitStrengths([]Pairwise{good, r})), "win rates": second(WinRates([]Pairwise{good, r})),
			"curve": second(FitCurve([]Pairwise{good, r}, Options{})), "records": second(Qualities(Answers{Pairwise: []Pairwise{r}})),
			"noticeable difference": second(NoticeableDifference([]Pairwise{r})),
		} {
			if fault.KindOf(err) != fault.Invalid {
				t.Errorf("%s with a wrong %s: %v", name, field, err)
			}
		}
	}
	if err := (Likert{Score: 6, Points: 5}).Check(); fault.Of(err).Field != "score" {
		t.Error(err)
	}
	if err := (Likert{Score: 2, Points: 3}).Check(); fault.Of(err).Field != "points" {
		t.Error(err)
	}
	if err := (Ranking{Sides: make([]Side, 2), Rank: []int{1, 3}}).Check(); fault.Of(err).Field != "rank" {
		t.Error(err)
	}
	if err := (Ranking{Sides: make([]Side, 6), Rank: make([]int, 6)}).Check(); fault.Of(err).Field != "sides" {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestRankingsArePairs(t *testing.T) {
	r := Ranking{Item: "i", Sides: []Side{{Lambda: 0}, {Lambda: 1}, {Lambda: 2}, {Lambda: 3}}, Rank: []int{2, 1, 4, 2}}
	pairs := r.Pairs()
	if len(pairs) != 5 {
		t.Fatalf("%d pairs, not the 5 with different ranks", len(pairs))
	}
	weight := 0.0
	for _, p := range pairs {
		weight += p.Weight
		better := p.A.Lambda
		if p.Choice == PreferB {
			better = p.B.Lambda
		}
		worse := p.A.Lambda + p.B.Lambda - better
		if r.Rank[int(better)] >= r.Rank[int(worse)] {
			t.Errorf("λ %g is preferred over %g", better, worse)
		}
	}
	near(t, "weight", weight, 2.5, 1e-12)
	if (Ranking{}).Pairs() != nil {
		t.Error("an empty ranking has pairs")
	}
}

// TestDegenerateAnswers: whatever is answered, numbers come with an explanation or a typed error, and
// none is NaN.
func TestDegenerateAnswers(t *testing.T) {
	many := func(n int, r Pairwise) (list []Pairwise) {
		for range n {
			list = append(list, r)
		}
		return list
	}
	catch := pairwise("c", "x", 1, 1, Tie)
	catch.Catch = SameLambda
	grid := []float64{0, 1, 2}
	for name, answers := range map[string][]Pairwise{
		"none": nil, "catch trials only": {catch}, "one answer": {pairwise("i", "x", 0, 1, PreferA)},
		"all ties": many(30, pairwise("i", "x", 0, 1, Tie)), "all one way": many(500, pairwise("i", "x", 2, 1, PreferA)),
		"both bad": many(3, pairwise("i", "x", 0, 2, BothBad)), "one λ": many(5, pairwise("i", "x", 1, 1, PreferA)),
		"ties and wins":  append(many(9, pairwise("i", "x", 0, 1, Tie)), many(9, pairwise("i", "x", 1, 0, PreferB))...),
		"two islands":    append(many(9, pairwise("i", "x", 0, 1, PreferA)), many(9, pairwise("i", "x", 3, 4, PreferB))...),
		"λ a hair apart": many(9, pairwise("i", "x", 1, math.Nextafter(1, 2), PreferA)),
		"huge λ":         many(9, pairwise("i", "x", -1e150, 1e150, PreferB)),
	} {
		curve, err := FitCurve(answers, Options{Grid: grid, Beta: 0.1, Samples: 100})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for p := range curve.Lambda {
			if x := curve.Mean[p] + curve.Low[p] + curve.High[p]; math.IsNaN(x) || math.IsInf(x, 0) {
				t.Fatalf("%s: the curve at λ = %g is %g in %g to %g", name, curve.Lambda[p], curve.Mean[p], curve.Low[p], curve.High[p])
			}
		}
		if curve.Reason == "" || curve.Preference == (curve.Best == nil) {
			t.Errorf("%s: %q, %v", name, curve.Reason, curve.Best)
		}
		if more := curve.Halving(); more.Reason == "" {
			t.Errorf("%s: %+v", name, more)
		}
		if next := curve.Next(Pairs(grid), 3); len(next) != 3 {
			t.Errorf("%s: next %v", name, next)
		}
		s, err := FitStrengths(answers)
		switch {
		case err != nil && fault.KindOf(err) != fault.Conflict:
			t.Errorf("%s: %v", name, err)
		case err == nil && !s.Regularised:
			t.Errorf("%s: strengths %+v without a prior", name, s)
		case err == nil:
			for _, x := range s.Strength {
				if !(x.Low < x.Estimate && x.Estimate < x.High) {
					t.Errorf("%s: strength %+v", name, x)
				}
			}
		}
		if _, err := WinRates(answers); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Qualities(Answers{Pairwise: answers}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Agree(ChoiceValues(answers), Nominal, 1); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"no λ":        second(FitCurve(nil, Options{})),
		"one λ":       second(FitCurve(nil, Options{Grid: []float64{1, 1}})),
		"no strength": second(FitStrengths(nil)),
	} {
		if fault.KindOf(err) != fault.Conflict {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, o := range map[string]Options{
		"beta": {Grid: grid, Beta: -1}, "samples": {Grid: grid, Samples: 7}, "cluster": {Grid: grid, Cluster: "moon"},
		"lambda": {Grid: []float64{0, math.NaN()}},
	} {
		if _, err := FitCurve(nil, o); fault.Of(err) == nil || fault.Of(err).Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUndefinedAlphaExplainsItself(t *testing.T) {
	for name, values := range map[string][]Value{
		"nothing":       nil,
		"one annotator": {{"u", "x", 1}, {"v", "x", 2}, {"u", "x", 3}},
		"one value":     {{"u", "x", 1}, {"u", "y", 1}, {"v", "x", 1}, {"v", "y", 1}},
	} {
		a, err := Agree(values, Ordinal, 1)
		if err != nil || a.Defined || a.Reason == "" || math.IsNaN(a.Percent.Estimate) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	if _, err := Agree(nil, "ratio", 1); fault.Of(err).Field != "level" {
		t.Error(err)
	}
	one, err := Agree([]Value{{"u", "x", 1}, {"u", "y", 2}}, Nominal, 1)
	if err != nil || !one.Defined || one.HasInterval || one.Reason == "" {
		t.Errorf("one unit: %+v, %v", one, err)
	}
}

// TestChoiceValuesForgetTheOrder: the same preference shown the other way round is the same value.
func TestChoiceValuesForgetTheOrder(t *testing.T) {
	a := pairwise("i", "x", 0, 1, PreferA)
	b := pairwise("i", "y", 1, 0, PreferB)
	values := ChoiceValues([]Pairwise{a, b})
	if len(values) != 2 || values[0].Value != values[1].Value {
		t.Errorf("%+v", values)
	}
}

func TestRecords(t *testing.T) {
	trial := func(annotator string, catch Catch, choice Choice) Pairwise {
		r := pairwise("t", annotator, 1, 1, choice)
		r.Catch = catch
		return r
	}
	records, err := Qualities(Answers{Pairwise: []Pairwise{
		pairwise("i", "x", 0, 1, PreferA), pairwise("i", "y", 1, 0, PreferB), pairwise("j", "x", 0, 1, Tie),
		pairwise("j", "y", 0, 1, PreferB), trial("x", SameLambda, Tie), trial("x", SameLambda, PreferA),
		trial("x", BrokenA, PreferB), trial("x", BrokenB, PreferA), trial("x", BrokenA, Tie),
	}})
	if err != nil || len(records) != 2 {
		t.Fatal(records, err)
	}
	x := records[0]
	if x.Annotator != "x" || x.Answers != 7 || x.Same != 2 || x.SameTies != 1 || x.Broken != 3 || x.Passed != 2 ||
		x.Decisive != 2 || x.First.Estimate != 1 || x.Compared != 2 || x.Agreed.Estimate != 0.5 {
		t.Errorf("%+v", x)
	}
}

// TestRecordsOfScores: a spoilt answer is caught when it is scored below what is usual, and a λ is scored alike when no
// criterion is more than a point off.
func TestRecordsOfScores(t *testing.T) {
	var scores []Likert
	score := func(annotator, item, prompt string, lambda float64, catch Catch, warm, clear int) {
		for criterion, n := range map[string]int{"warm": warm, "clear": clear} {
			scores = append(scores, Likert{Item: item, Prompt: prompt, Annotator: annotator, Criterion: criterion, Side: Side{Lambda: lambda}, Score: n, Points: 5, Catch: catch})
		}
	}
	score("x", "i", "p", 0, NoCatch, 4, 2) // 3 is usual
	score("x", "j", "q", 1, NoCatch, 5, 1)
	score("y", "j", "q", 1, NoCatch, 5, 2)
	score("x", "k", "p", 0, SameLambda, 5, 1)
	score("x", "l", "q", 1, SameLambda, 3, 1) // two points off
	score("x", "m", "p", 1, SameLambda, 3, 1) // nothing to hold it against: not counted
	score("x", "n", "p", 0, Broken, 4, 1)     // 2½
	score("x", "o", "q", 0, Broken, 5, 1)     // 3 is not below
	score("z", "n", "p", 0, Broken, 1, 1)     // no ordinary score: not counted
	records, err := Qualities(Answers{Scores: scores})
	if err != nil || len(records) != 3 {
		t.Fatal(records, err)
	}
	x, z := records[0], records[2]
	if x.Answers != 7 || x.Same != 2 || x.SameTies != 1 || x.Broken != 2 || x.Passed != 1 || x.Decisive != 0 || x.Compared != 2 || x.Agreed.Estimate != 0.5 {
		t.Errorf("%+v", x)
	}
	if z.Broken != 0 || z.Answers != 1 {
		t.Errorf("%+v", z)
	}
	// None of the trials is in the means or in agreement.
	means, err := Means(scores, ByAnnotator, 1)
	if err != nil || len(means) != 4 || means[0].Scores+means[1].Scores != 3 {
		t.Errorf("%+v, %v", means, err)
	}
}

// TestRecordsOfRankings: a spoilt answer is caught when it alone is the worst, and a λ is ranked alike unless one answer
// is the best and the other the worst.
func TestRecordsOfRankings(t *testing.T) {
	ranking := func(item string, catch Catch, spoilt int, rank ...int) Ranking {
		return Ranking{Item: item, Annotator: "x", Catch: catch, Spoilt: spoilt, Rank: rank,
			Sides: []Side{{Lambda: 0, Output: "a"}, {Lambda: 1, Output: "b"}, {Lambda: 1, Output: "c"}, {Lambda: 2, Output: "d"}}}
	}
	rankings := []Ranking{
		ranking("1", Broken, 2, 1, 2, 4, 2), ranking("2", Broken, 2, 4, 2, 1, 2), ranking("3", Broken, 1, 4, 2, 2, 1),
		ranking("4", SameLambda, 0, 1, 2, 2, 4), ranking("5", SameLambda, 0, 2, 1, 4, 2), ranking("6", SameLambda, 0, 4, 1, 2, 2),
		{Item: "7", Annotator: "x", Sides: []Side{{Lambda: 0, Output: "a"}, {Lambda: 1, Output: "b"}}, Rank: []int{1, 2}},
	}
	records, err := Qualities(Answers{Rankings: rankings})
	if err != nil || len(records) != 1 {
		t.Fatal(records, err)
	}
	if x := records[0]; x.Answers != 7 || x.Broken != 3 || x.Passed != 1 || x.Same != 3 || x.SameTies != 2 {
		t.Errorf("%+v", x)
	}
	// Only the last is about a preference.
	r, err := Compute(Answers{Rankings: rankings}, Options{Grid: []float64{0, 1, 2}})
	if err != nil || r.Counts.Rankings != 1 || r.Counts.Catch != 6 || len(r.Overall.Wins) != 1 || r.Overall.Wins[0].LowWins != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, wrong := range []Ranking{ranking("8", BrokenA, 0, 1, 2, 2, 4), ranking("9", Broken, 4, 1, 2, 2, 4)} {
		if _, err := Qualities(Answers{Rankings: []Ranking{wrong}}); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

// TestMeansCoverTheTruth: annotators differ in how they use the scale, so answers of one are not
// independent; intervals over annotators must hold all the same, with as few as ten of them.
func TestMeansCoverTheTruth(t *testing.T) {
	covered, width := 0, map[Cluster]float64{}
	for n := range studies {
		r := rand.New(rand.NewPCG(uint64(n), 80))
		var scores []Likert
		for annotator := range 10 {
			taste := 0.8 * r.NormFloat64()
			for item := range 20 {
				// 7 points, rounded to either side at random so that the mean is exactly 4 + taste within the scale.
				x := math.Floor(max(1, min(7, 4+max(-2.5, min(2.5, taste)))) + r.Float64())
				scores = append(scores, Likert{
					Item: fmt.Sprint(item), Annotator: fmt.Sprint(annotator), Criterion: "clear",
					Side: Side{Lambda: 1}, Score: int(min(7, x)), Points: 7,
				})
			}
		}
		for _, by := range []Cluster{ByAnnotator, ByItem} {
			means, err := Means(scores, by, uint64(n))
			if err != nil || len(means) != 1 || !means[0].HasInterval {
				t.Fatal(means, err)
			}
			m := means[0].Mean
			width[by] += m.Width() / studies
			if by == ByAnnotator && m.Low <= 4 && 4 <= m.High {
				covered++
			}
		}
	}
	t.Logf("covered in %.1f%% of %d studies; mean width %.2f, by item %.2f", 100*float64(covered)/studies, studies,
		width[ByAnnotator], width[ByItem])
	if share := float64(covered) / studies; share < 0.90 || share > 0.99 {
		t.Errorf("the 95%% interval covered the mean in %.1f%% of studies", 100*share)
	}
}

func TestMeansExplainThemselves(t *testing.T) {
	scores := []Likert{{Item: "i", Annotator: "x", Criterion: "clear", Side: Side{Lambda: 1}, Score: 5, Points: 7}}
	means, err := Means(scores, ByAnnotator, 1)
	if err != nil || len(means) != 1 || means[0].HasInterval || means[0].Reason == "" || means[0].Mean.Estimate != 5 {
		t.Error(means, err)
	}
	if means, err = Means(nil, ByItem, 1); err != nil || len(means) != 0 {
		t.Error(means, err)
	}
	scores[0].Score = 9
	if _, err = Means(scores, ByItem, 1); fault.KindOf(err) != fault.Invalid {
		t.Error(err)
	}
}
