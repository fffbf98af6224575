package preference

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"realign/internal/stat"
)

// TestHalvingHolds collects the answers that Halving asks for, and the interval must be about half as
// wide on average.
func TestHalvingHolds(t *testing.T) {
	simulated(t)
	ratio, n := 0.0, 0
	for k := range 12 {
		r := rand.New(rand.NewPCG(uint64(k), 82))
		w := peaked(r)
		answers := w.study(r, 200)
		o := Options{Grid: w.grid, Samples: 300, Seed: uint64(k)}
		before, err := FitCurve(answers, o)
		if err != nil {
			t.Fatal(err)
		}
		more := before.Halving()
		if more.Answers == 0 || more.AtLeast {
			continue
		}
		after, err := FitCurve(append(answers, w.ask(r, Balanced(Pairs(w.grid), nil, more.Answers, uint64(k)), len(answers))...), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d more: %.2f to %.2f", more.Answers, before.best.Width(), after.best.Width())
		ratio += after.best.Width() / before.best.Width()
		n++
	}
	if n < 6 {
		t.Fatalf("only %d studies had a number", n)
	}
	t.Logf("mean ratio %.2f in %d studies", ratio/float64(n), n)
	if ratio /= float64(n); ratio < 0.35 || ratio > 0.65 {
		t.Errorf("the interval shrank to %.2f, not to half", ratio)
	}
}

// TestSharedItemsAreCovered: answers about one item agree because its texts differ; the interval must
// hold, and the design effect or the deviations of prompts, which here are the items, must notice.
func TestSharedItemsAreCovered(t *testing.T) {
	simulated(t)
	const worlds = 100
	covered, effect, noticed := 0, 0.0, 0
	for n := range worlds {
		r := rand.New(rand.NewPCG(uint64(n), 83))
		w := peaked(r)
		w.overlap, w.item = 3, 1
		curve, err := FitCurve(w.study(r, 100), Options{Grid: w.grid, Samples: 300, Seed: uint64(n)})
		if err != nil {
			t.Fatal(err)
		}
		if curve.best.Low <= w.best && w.best <= curve.best.High {
			covered++
		}
		effect += curve.DesignEffect / worlds
		alike := 0.0 // probability that prompts are
		for _, p := range curve.plans {
			if p.size[1] == 0 {
				alike += p.weight
			}
		}
		if curve.DesignEffect > 1.05 || alike < 0.2 {
			noticed++
		}
	}
	t.Logf("covered in %d of %d studies, mean design effect %.2f, noticed in %d", covered, worlds, effect, noticed)
	if covered < 90 || noticed < 60 {
		t.Errorf("covered in %d of %d studies, mean design effect %.2f, noticed in %d", covered, worlds, effect, noticed)
	}
}

// TestLikelihoodDerivatives holds the gradient and the Hessian against differences of the value.
func TestLikelihoodDerivatives(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 84))
	w := peaked(r)
	tally, err := newComparisons(w.study(r, 200), nil, ByItem)
	if err != nil {
		t.Fatal(err)
	}
	k := len(tally.lambdas)
	at := func(x []float64) (float64, []float64, *mat.SymDense) {
		g, h := make([]float64, k+1), mat.NewSymDense(k+1, nil)
		return tally.likelihood(x[:k], x[k], 0.7, g, h), g, h
	}
	x := make([]float64, k+1)
	for i := range x {
		x[i] = r.NormFloat64()
	}
	_, g, h := at(x)
	for i := range x {
		const step = 1e-5
		up, down := append([]float64(nil), x...), append([]float64(nil), x...)
		up[i] += step
		down[i] -= step
		vUp, gUp, _ := at(up)
		vDown, gDown, _ := at(down)
		near(t, "gradient", g[i], (vUp-vDown)/(2*step), 1e-5)
		for j := range x {
			near(t, "Hessian", -h.At(i, j), (gUp[j]-gDown[j])/(2*step), 1e-5)
		}
	}
}

// TestCurveIsReproducible: the same answers and seed give the same numbers, in any order of the sides.
func TestCurveIsReproducible(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 85))
	w := peaked(r)
	answers := w.study(r, 150)
	o := Options{Grid: w.grid, Beta: 0.1, Samples: 300, Seed: 5}
	one, err := FitCurve(answers, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range answers {
		answers[i].A, answers[i].B = a.B, a.A
		answers[i].Choice = map[Choice]Choice{PreferA: PreferB, PreferB: PreferA, Tie: Tie, BothBad: BothBad}[a.Choice]
	}
	two, err := FitCurve(answers, o)
	if err != nil {
		t.Fatal(err)
	}
	if one.Best == nil || two.Best == nil || *one.Best != *two.Best || one.PValue != two.PValue {
		t.Fatalf("%+v and %+v", one.Best, two.Best)
	}
	if one.Best.Estimate <= 0 {
		t.Fatalf("the best λ is %+v: not what this test is about", one.Best)
	}
	near(t, "β of the best λ", one.Beta.Estimate, 0.1/one.Best.Estimate, 1e-12)
	near(t, "its low end", one.Beta.Low, 0.1/one.Best.High, 1e-12)
	if one.Best.Low > 0 {
		near(t, "its high end", one.Beta.High, 0.1/one.Best.Low, 1e-12)
	} else if !one.Beta.NoHigh || math.IsInf(one.Beta.High, 0) {
		t.Errorf("β has a high end: %+v", one.Beta)
	}
}

// TestBalancedIsBalanced: no pair is asked twice before all are asked once, counting what was asked.
func TestBalancedIsBalanced(t *testing.T) {
	pairs := Pairs([]float64{2, 0, 1, 1, 3})
	if len(pairs) != 6 {
		t.Fatal(pairs)
	}
	asked := map[Pair]int{{0, 1}: 2}
	for _, p := range Balanced(pairs, asked, 10, 1) {
		asked[p]++
	}
	for _, p := range pairs {
		if asked[p] != 2 {
			t.Errorf("%v was asked %d times", p, asked[p])
		}
	}
	if Balanced(nil, nil, 3, 1) != nil {
		t.Error("pairs out of nothing")
	}
}

// TestEffectiveBetaBelowZero: no KL strength belongs to λ ≤ 0, and none is made up.
func TestEffectiveBetaBelowZero(t *testing.T) {
	b := effectiveBeta(0.1, stat.Interval{Estimate: 0.5, Low: -0.5, High: 1})
	if b == nil || b.NoEstimate || !b.NoHigh || b.Estimate != 0.2 || b.Low != 0.1 {
		t.Errorf("%+v", b)
	}
	if b = effectiveBeta(0.1, stat.Interval{Estimate: 0, Low: -0.5, High: 1}); b == nil || !b.NoEstimate || !b.NoHigh {
		t.Errorf("%+v", b)
	}
	if effectiveBeta(0.1, stat.Interval{Estimate: -1, Low: -2, High: 0}) != nil || effectiveBeta(0, stat.Interval{Estimate: 1, Low: 0.5, High: 2}) != nil {
		t.Error("an effective β out of nothing")
	}
}
