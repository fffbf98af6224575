package sweep

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
)

// said is a ticket and its JSON as one text.
func said(t *testing.T, r *Report) string {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return r.Recommendation.Markdown() + string(text)
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said:\n%s", want, text)
		}
	}
}

// TestNothingToFind: where the reward does not differ, or only one prompt was asked, no best λ is named, with the reason.
func TestNothingToFind(t *testing.T) {
	for name, test := range map[string]struct {
		prompts int
		value   func(p int, l float64, sample int) float64
		want    string
	}{
		"constant":       {20, func(int, float64, int) float64 { return 0 }, "the reward does not differ: it is 0 for every answer"},
		"constant by λ":  {20, func(p int, _ float64, _ int) float64 { return float64(p % 3) }, "differs between answers and not between λ"},
		"one prompt":     {1, func(_ int, l float64, s int) float64 { return l + wobble(1, s) }, "one prompt says nothing about others"},
		"two prompts":    {2, func(p int, l float64, s int) float64 { return wobble(p, int(4*l)+17*s) }, "come by chance"},
		"noise":          {30, func(p int, l float64, s int) float64 { return wobble(31*p+int(4*l), s) }, "prompts would"},
		"a tenth differ": {10, func(p int, l float64, _ int) float64 { return float64(p/9) * l }, "come by chance"},
	} {
		s, outputs := made([]float64{0, 0.5, 1, 1.5, 2}, test.prompts, func(p int, l float64, sample int) map[string]Value {
			return map[string]Value{"x": Of(test.value(p, l, sample)), "y": Of(0)}
		})
		r := Analyse(s, outputs)
		ticket := r.Recommendation
		if r.Best != nil || ticket.Lambda != nil || ticket.Beta != nil || ticket.TRL != "" || r.Rewards[0].Peak != nil || r.Rewards[0].Movement.Moves {
			t.Errorf("%s: a best λ is named: %+v", name, ticket)
		}
		contains(t, said(t, r), "No best λ found", test.want)
		for _, p := range r.Rewards[0].Points {
			if p.Mean == nil || p.Mean.Width() == 0 || test.prompts == 1 && p.Mean.Known() {
				t.Errorf("%s: the mean at %g is %v", name, p.Lambda, p.Mean)
			}
		}
		if _, err := Next(s, outputs); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFewPromptsAreNoted: below ten prompts, and with one, the report says what that means.
func TestFewPromptsAreNoted(t *testing.T) {
	for n, want := range map[int]string{1: "One prompt has estimates and no intervals", 9: "9 prompts are few", 10: ""} {
		s, outputs := made([]float64{0, 1, 2}, n, func(p int, l float64, sample int) map[string]Value {
			return map[string]Value{"x": Of(l + wobble(p, sample)), "y": Of(0)}
		})
		r := Analyse(s, outputs)
		if (len(r.Notes) > 0) != (want != "") {
			t.Errorf("%d prompts: %q", n, r.Notes)
		}
		contains(t, said(t, r), want)
	}
}

// TestEnds: a reward that rises to the end of the range has a β that is a bound, and one that falls from the reference has none.
func TestEnds(t *testing.T) {
	ends := func(sign float64, lambdas ...float64) *Report {
		s, outputs := made(lambdas, 20, func(p int, l float64, sample int) map[string]Value {
			return map[string]Value{"x": Of(sign*l + 0.1*wobble(p+int(8*l), sample)), "y": Of(0)}
		})
		return Analyse(s, outputs)
	}
	r := ends(1, 0, 1, 2)
	contains(t, said(t, r), "0.1 or less [no lower end, ", "beta=0.1)  # or less", `"bound":"or less"`, `"no_low":true`, `"end":"high"`, "A sweep from 0 to 3 would tell")
	r = ends(-1, 0.5, 1, 2)
	contains(t, said(t, r), "0.4 or more [", "beta=0.4)  # or more", `"bound":"or more"`, `"no_high":true`, `"end":"low"`)
	r = ends(-1, 0, 1, 2)
	if r.Recommendation.Beta != nil || r.Recommendation.TRL != "" || !r.Recommendation.Reference {
		t.Errorf("%+v", r.Recommendation)
	}
	contains(t, said(t, r), "The reference is best: no β exists", `"reference":true`)
}

// TestNothingIsSaidWhereNothingWasJudged: values that are missing at the λ where they would be best leave no best there, and the
// ends of the range are those of what was decoded.
func TestNothingIsSaidWhereNothingWasJudged(t *testing.T) {
	s, outputs := made([]float64{0, 0.5, 1, 1.5, 2}, 20, func(p int, l float64, sample int) map[string]Value {
		v := Of(l + 0.1*wobble(p+int(8*l), sample))
		if l > 1.5 {
			v = Missing("too long")
		}
		return map[string]Value{"x": v, "y": Of(0)}
	})
	r := Analyse(s, outputs)
	b := r.Best
	if b == nil || b.Lambda.High > 1.5 || b.AtHigh || !b.BlindHigh || b.Wider != nil || b.End != HighEnd {
		t.Fatalf("best %+v", b)
	}
	g := r.Rewards[0].Gaps
	if g == nil || !g.Sure || !slices.Equal(g.Unjudged, []float64{2}) || g.Most.Share != 1 || g.Least.Share != 0 {
		t.Errorf("%+v", g)
	}
	contains(t, said(t, r), "missing in dependence on λ: 0% at λ = 0, 100% at λ = 2", "At λ = 2 nothing has a value", "above which nothing was judged", "or less")

	// With reweighting, too, which could read the curve there.
	w := newWorld(9, 12, square)
	s = w.setup(5, 60, nine(), 4, 0)
	outputs, _ = w.run(s)
	for i := range outputs {
		if l := outputs[i].Lambda; l == 0.375 || l == 3 {
			outputs[i].Rewards["toy"] = Missing("late")
		}
	}
	for _, p := range Analyse(s, outputs).Rewards[0].Curve {
		if silent := p.Lambda > 0 && p.Lambda < 0.75 || p.Lambda > 2.625; silent && p.Value != nil {
			t.Errorf("at λ = %g the curve is %v, between λ of which one has no value", p.Lambda, p.Value)
		}
	}
}

// TestOutliersAreSaid: ±1e9 among rewards is said, with the median's answer, which is that without them.
func TestOutliersAreSaid(t *testing.T) {
	lambdas := []float64{0, 0.5, 1, 1.5, 2}
	reward := func(wild bool) func(p int, l float64, sample int) map[string]Value {
		return func(p int, l float64, sample int) map[string]Value {
			x := -(l-1.5)*(l-1.5) + 0.3*wobble(p+int(8*l), sample)
			if wild && p%15 == 3 && sample == 0 {
				x = 1e9 * math.Copysign(1, wobble(p+int(8*l), 1))
			}
			return map[string]Value{"x": Of(x), "y": Of(0)}
		}
	}
	s, outputs := made(lambdas, 40, reward(false))
	if o := Analyse(s, outputs).Rewards[0].Outliers; o != nil {
		t.Errorf("outliers of none: %+v", o)
	}
	s, outputs = made(lambdas, 40, reward(true))
	r := Analyse(s, outputs)
	o := r.Rewards[0].Outliers
	if o == nil || o.Values != 15 || o.Most != 1e9 || !o.Moves || o.Lambda == nil || o.Lambda.Estimate != 1.5 || !(o.Lambda.Low >= 1 && o.Lambda.High <= 2) || o.Lambda.Width() == 0 {
		t.Fatalf("%+v", o)
	}
	contains(t, said(t, r), "15 values of x are far from all others", "by the median the best λ is 1.5")
	// What is rare is not far out.
	s, outputs = made(lambdas, 40, func(p int, l float64, sample int) map[string]Value {
		return map[string]Value{"x": Of(float64((p + int(8*l) + sample) % 30 / 29)), "y": Of(0)}
	})
	if o := Analyse(s, outputs).Rewards[0].Outliers; o != nil {
		t.Errorf("a rare 1 is an outlier: %+v", o)
	}
}

// TestWholeRepliesNeedTheWholeDistribution: at another temperature, or truncated, there is nothing to say of whole replies.
func TestWholeRepliesNeedTheWholeDistribution(t *testing.T) {
	c := Default()
	if !c.WholeReplies() {
		t.Error("none at temperature 1 without truncation")
	}
	c.Sampling.Temperature = 0.7
	if c.WholeReplies() || !c.Reweights() {
		t.Error("at temperature 0.7")
	}
	c = Default()
	c.Sampling.TopK = 40
	if c.WholeReplies() {
		t.Error("with top-k")
	}
}

// TestWholeRepliesDiffer: where they differ surely from token by token, the ticket says so, and in the table model they do.
func TestWholeRepliesDiffer(t *testing.T) {
	w := newWorld(9, 12, square)
	s := w.setup(8, 100, nine(), 4, 0)
	outputs, _ := w.run(s)
	r := Analyse(s, outputs)
	whole := r.Recommendation.Whole
	if whole == nil || !whole.Differs || whole.Best == nil {
		t.Fatalf("%+v", whole)
	}
	surely := func(p *WholePoint) float64 {
		if p.Difference == nil || !p.Difference.Clear() {
			return 0
		}
		return min(math.Abs(p.Difference.Low), math.Abs(p.Difference.High))
	}
	most := 0.0
	for i := range whole.Points {
		most = max(most, surely(&whole.Points[i]))
	}
	if most == 0 || surely(whole.Clearest) != most {
		t.Errorf("the clearest differs surely by %g, another by %g", surely(whole.Clearest), most)
	}
	l := whole.Clearest.Lambda
	if truth := w.whole(l) - w.truth(l); math.Signbit(truth) != math.Signbit(whole.Clearest.Difference.Estimate) {
		t.Errorf("at λ = %g whole replies differ by %v, by enumeration by %g", l, whole.Clearest.Difference, truth)
	}
	contains(t, said(t, r), "β₀/λ is not what decoding token by token shows", "By whole replies the best λ is")
	s.Beta = 0
	r = Analyse(s, outputs)
	if text := said(t, r); strings.Contains(text, "β₀") {
		t.Errorf("a ticket without β₀ names it: %s", text)
	}
	contains(t, said(t, r), "What the two models say of whole replies is not what decoding token by token shows")
}
