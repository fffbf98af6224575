package sweep

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/stat"
)

// made are outputs of n prompts and two samples at some λ, with rewards by a function.
func made(lambdas []float64, prompts int, rewards func(prompt int, lambda float64, sample int) map[string]Value) (*Setup, []Output) {
	c := Default()
	c.Name, c.Pair, c.Seed, c.Samples, c.Refine.Rounds = "a|b", "demo", 1, 2, 0
	c.Sampling.TopK = 5 // no reweighting
	c.Lambda.Values = lambdas
	c.Rewards = []Reward{{Reward: "x", Name: "x"}, {Reward: "y", Name: "y"}}
	c.Objective, c.Evaluation = "x", "y"
	c.Prompts.Rows = make([]Row, prompts)
	var outputs []Output
	for p := range prompts {
		for _, l := range lambdas {
			for s := range 2 {
				outputs = append(outputs, Output{
					Cell: Cell{Prompt: p, Lambda: l, Sample: s}, Text: "t", Tokens: 10, Finish: decode.EndStop, KL: l * l, LogZ: -l, Rewards: rewards(p, l, s),
				})
			}
		}
	}
	return &Setup{Config: c, Aligned: "warm", Beta: 0.2, RewardInfos: []RewardInfo{{Name: "x", Direction: Higher}, {Name: "y", Direction: Lower}}}, outputs
}

func wobble(prompt, sample int) float64 { return math.Sin(float64(37*prompt + 11*sample)) }

// TestReport has a reward with its top at λ = 1.5 and an evaluation, of which less is better, with its best at 0.5; both are
// parabolas plus noise that all λ of a sample share, so that differences are known exactly.
func TestReport(t *testing.T) {
	lambdas := []float64{0, 0.5, 1, 1.5, 2}
	s, outputs := made(lambdas, 30, func(p int, l float64, sample int) map[string]Value {
		return map[string]Value{
			"x": Of(-(l-1.5)*(l-1.5) + wobble(p, sample)),
			"y": Of((l-0.5)*(l-0.5) + wobble(p, sample)),
		}
	})
	r := Analyse(s, outputs)
	if r.Prompts != 30 || r.Outputs != 300 || r.Tokens != 3000 || r.Reweighted {
		t.Errorf("%+v", r)
	}
	x, y := r.Reward("x"), r.Reward("y")
	for k, l := range lambdas {
		want := -(l-1.5)*(l-1.5) + 0.25
		d := x.Points[k].Difference
		if l == 1 {
			if d != nil {
				t.Errorf("λ = 1 differs from itself by %v", d)
			}
			continue
		}
		if d == nil || math.Abs(d.Estimate-want) > 1e-9 || !d.Known() || d.Width() < 0.01 || d.Width() > 0.3 {
			t.Errorf("difference at %g is %v, want %g in all prompts, of which another might differ", l, d, want)
		}
		if x.Points[k].Mean.Width() < 0.1 {
			t.Errorf("mean at %g is %v: the noise is there", l, x.Points[k].Mean)
		}
	}
	// x rises with KL up to 1.5; what comes after has more KL and less reward.
	for k, want := range []bool{true, true, true, true, false} {
		if x.Points[k].Efficient != want {
			t.Errorf("λ = %g on the front of x: %v", lambdas[k], !want)
		}
	}
	for k, want := range []bool{true, true, false, false, false} {
		if y.Points[k].Efficient != want {
			t.Errorf("λ = %g on the front of y: %v", lambdas[k], !want)
		}
	}
	if b := r.Best; b == nil || math.Abs(b.Lambda.Estimate-1.5) > 1e-9 || math.Abs(b.Gain.Estimate-0.25) > 1e-9 || b.AtHigh || b.AtLow || math.Abs(b.KL-2.25) > 1e-9 || math.Abs(b.LogZ-0.15) > 1e-9 {
		t.Errorf("best %+v", b)
	}
	if turn := x.Peak; turn == nil || !turn.Sure || math.Abs(turn.Loss.Estimate-0.25) > 1e-9 {
		t.Errorf("turn %+v", turn)
	}
	if c := r.Holdout; c == nil || !c.Overoptimised || math.Abs(c.Loss.Estimate-1) > 1e-9 || math.Abs(c.Gain.Estimate+0.75) > 1e-9 {
		t.Errorf("checked %+v", c)
	}
	for _, c := range x.Coupling {
		if c.Ratio > 1e-9 {
			t.Errorf("coupling %+v, want 0: the noise is shared", c)
		}
	}
	if b := r.Recommendation.Beta; b == nil || math.Abs(b.Estimate-0.2/1.5) > 1e-9 || b.NoHigh {
		t.Errorf("effective β %v", b)
	}
	text := r.Recommendation.Markdown()
	for _, want := range []string{`a\|b`, "0.133 [0.114, 0.16]", `mean \|log Z\|, is 0.15`, "extrapolates", "beta=0.133", "over-optimised"} {
		if !strings.Contains(text, want) {
			t.Errorf("the ticket does not say %q:\n%s", want, text)
		}
	}
	again, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(again, &back); err != nil {
		t.Fatal(err)
	}
	if third, _ := json.Marshal(back); string(third) != string(again) {
		t.Error("the report is another one after JSON")
	}
}

// TestMissingIsNotZero: a reward that fails for half of the answers leaves the mean of the others, and says so.
func TestMissingIsNotZero(t *testing.T) {
	s, outputs := made([]float64{0, 1}, 20, func(p int, l float64, sample int) map[string]Value {
		v := Of(5)
		if (p+sample)%2 == 0 {
			v = Missing("HTTP 500")
		}
		return map[string]Value{"x": v, "y": Missing("never")}
	})
	r := Analyse(s, outputs)
	x := r.Reward("x")
	for _, p := range x.Points {
		if p.Mean == nil || p.Mean.Estimate != 5 || p.Values != 20 || p.Missing != 20 {
			t.Errorf("%+v", p)
		}
	}
	if len(x.Missing) != 1 || x.Missing[0] != (Reason{"HTTP 500", 40}) {
		t.Errorf("%+v", x.Missing)
	}
	y := r.Reward("y")
	if y.Best != nil || y.Points[0].Mean != nil || y.Points[0].Missing != 40 || r.Holdout != nil {
		t.Errorf("%+v", y)
	}
	text := r.Recommendation.Markdown()
	for _, want := range []string{"40 answers have no value of x, most often: HTTP 500", "No best λ found: the reward does not differ"} {
		if !strings.Contains(text, want) {
			t.Errorf("the ticket does not say %q:\n%s", want, text)
		}
	}
}

func TestValueJSON(t *testing.T) {
	for text, v := range map[string]Value{
		"0": Of(0), "-1.5": Of(-1.5), `{"missing":"oh"}`: Missing("oh"), `{"value":0,"cost":0.5}`: {Cost: 0.5},
		`{"missing":"late","cost":0.5}`: {Missing: "late", Cost: 0.5},
	} {
		b, err := json.Marshal(v)
		if err != nil || string(b) != text {
			t.Errorf("%+v is %s (%v), want %s", v, b, err, text)
		}
		var back Value
		if err := json.Unmarshal(b, &back); err != nil || back != v {
			t.Errorf("%s is read as %+v (%v)", b, back, err)
		}
	}
	if Of(math.NaN()).OK() || Of(math.Inf(1)).OK() {
		t.Error("a reward that is no number is there")
	}
}

func TestEffectiveBeta(t *testing.T) {
	best := func(estimate, low, high float64) *Best {
		b := &Best{Lambda: stat.Interval{Estimate: estimate, Low: low, High: high}}
		b.place([]float64{-1, 0.25, 2}, []float64{-1, 0.25, 2})
		return b
	}
	for _, test := range []struct {
		best *Best
		want *Beta
		text string
	}{
		{best(0.5, 0.25, 1), &Beta{Estimate: 0.2, Low: 0.1, High: 0.4}, "0.2 [0.1, 0.4]"},
		{best(0.5, -0.25, 1), &Beta{Estimate: 0.2, Low: 0.1, NoHigh: true}, "0.2 [0.1, no upper end]"},
		{best(0.5, -1, 2), &Beta{Estimate: 0.2, NoLow: true, NoHigh: true}, "0.2 [no lower end, no upper end]"},
		{best(2, 1, 2), &Beta{Estimate: 0.05, NoLow: true, High: 0.1, Bound: "or less"}, "0.05 or less [no lower end, 0.1]"},
		{best(-0.5, -1, 0.5), nil, ""},
		{best(0, -1, 0.5), nil, ""},
	} {
		b := EffectiveBeta(0.1, test.best)
		if !reflect.DeepEqual(b, test.want) {
			t.Errorf("%v is %+v, want %+v", test.best.Lambda, b, test.want)
		}
		if b != nil && b.String() != test.text {
			t.Errorf("%v is %q, want %q", test.best.Lambda, b.String(), test.text)
		}
	}
	if EffectiveBeta(0, best(0.5, 0.25, 1)) != nil {
		t.Error("there is a β where nobody says which")
	}
	low := &Best{Lambda: stat.Interval{Estimate: 1, Low: 1, High: 1.5}}
	low.place([]float64{1, 2, 3}, []float64{1, 2, 3})
	if b := EffectiveBeta(0.1, low); b.String() != "0.1 or more [0.0667, no upper end]" {
		t.Errorf("%v", b)
	}
}

func TestCompare(t *testing.T) {
	shift := func(by float64, prompts string) Side {
		s, outputs := made([]float64{0, 1, 1 + by}, 30, func(p int, l float64, sample int) map[string]Value {
			return map[string]Value{"x": Of(by - (l-by-0.6)*(l-by-0.6) + wobble(p, sample)), "y": Of(0)}
		})
		for p := range s.Config.Prompts.Rows {
			s.Config.Prompts.Rows[p] = Row{Text: fmt.Sprint(prompts, p), Category: prompts}
		}
		return Side{s, Analyse(s, outputs), outputs}
	}
	a, apart, same := shift(0.5, "a"), shift(0.75, "b"), shift(0.75, "a")
	c := Compare(a, apart)
	if c.Paired != 0 || c.Lambda == nil || math.Abs(c.Lambda.Estimate-0.25) > 1e-6 || len(c.Rewards) != 2 {
		t.Fatalf("%+v", c)
	}
	x := c.Rewards[0]
	if len(x.Points) != 4 || x.Points[2].Second != nil || x.Points[3].First != nil || x.Points[2].Difference != nil {
		t.Fatalf("%+v", x)
	}
	d := x.Points[0].Difference
	want := (0.75 - 1.35*1.35) - (0.5 - 1.1*1.1)
	if math.Abs(d.Estimate-want) > 1e-9 || !d.Holds(want) {
		t.Errorf("difference %v, want %g", d, want)
	}
	if w := math.Hypot(a.Report.Rewards[0].Points[0].Mean.Width(), apart.Report.Rewards[0].Points[0].Mean.Width()); math.Abs(d.Width()-w) > 0.1*w {
		t.Errorf("width %g, want about %g", d.Width(), w)
	}
	// The same prompts, whose noise is the same, tell the difference much better.
	c = Compare(a, same)
	p := c.Rewards[0].Points[0]
	if c.Paired != 30 || !p.Sure || math.Abs(p.Difference.Estimate-want) > 1e-9 || p.Difference.Width() > 0.5*d.Width() {
		t.Errorf("%d pairs, difference %+v, unpaired %v", c.Paired, p, d)
	}
	// Whatever their order.
	slices.Reverse(same.Setup.Config.Prompts.Rows)
	for i := range same.Outputs {
		same.Outputs[i].Prompt = 29 - same.Outputs[i].Prompt
	}
	if again := Compare(a, same).Rewards[0].Points[0]; *again.Difference != *p.Difference {
		t.Errorf("in another order %v, want %v", again.Difference, p.Difference)
	}
}

// TestGap: between λ so far apart that samples at one say nothing about the middle, the curve has a gap; at those that
// were decoded it never does.
func TestGap(t *testing.T) {
	w := newWorld(9, 40, square)
	s := w.setup(7, 60, []float64{0, 6}, 4, 0)
	outputs, _ := w.run(s)
	r := Analyse(s, outputs)
	curve := r.Rewards[0].Curve
	gaps := 0
	for _, p := range curve[1 : len(curve)-1] {
		if p.Value == nil {
			gaps++
		}
	}
	if gaps < len(curve)/4 || curve[0].Value == nil || curve[len(curve)-1].Value == nil {
		t.Errorf("%d gaps in %d points", gaps, len(curve))
	}
	for _, p := range curve {
		if p.Value != nil && p.ESS < 20 {
			t.Errorf("drawn at %g with %g effective samples", p.Lambda, p.ESS)
		}
	}
}

// TestWider: a reward that rises to the end of the range has the range to look at next, on the page and on the ticket.
func TestWider(t *testing.T) {
	for _, test := range []struct {
		lambdas []float64
		sign    float64
		want    *Span
	}{
		{[]float64{0, 1, 2}, 1, &Span{0, 3}},
		{[]float64{0, 1, 2}, -1, nil}, // nothing is below the reference
		{[]float64{1, 2, 3}, -1, &Span{0, 3}},
		{[]float64{10, 15, 20}, 1, nil}, // nor above what can be decoded
	} {
		s, outputs := made(test.lambdas, 20, func(p int, l float64, sample int) map[string]Value {
			return map[string]Value{"x": Of(test.sign*l + wobble(p, sample)), "y": Of(0)}
		})
		r := Analyse(s, outputs)
		if !reflect.DeepEqual(r.Best.Wider, test.want) {
			t.Errorf("λ %v: %+v, want %+v", test.lambdas, r.Best.Wider, test.want)
		}
		said := strings.Contains(strings.Join(r.Recommendation.Assumptions, "\n"), "would tell")
		if said != (test.want != nil) {
			t.Errorf("λ %v: the ticket says %q", test.lambdas, r.Recommendation.Assumptions)
		}
	}
}
