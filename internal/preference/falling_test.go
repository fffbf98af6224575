package preference

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"realign/internal/stat"
)

// falling are publics whose u falls faster beyond its top than it rises before.
func falling() []world {
	step := func(width float64) world {
		u := func(x float64) float64 { return 1.5*x - 4/(1+math.Exp((1.4-x)/width)) }
		best := 0.0
		for x := 0.0; x <= 2; x += 1e-4 {
			if u(x) > u(best) {
				best = x
			}
		}
		return newWorld(u, best)
	}
	return []world{newWorld(func(x float64) float64 { return 2*x - 8*max(0, x-1.2) }, 1.2), step(0.1), step(0.05)}
}

// TestFallingCurvesAreCovered: the interval must hold a top after which u breaks off.
func TestFallingCurvesAreCovered(t *testing.T) {
	simulated(t)
	for i, w := range falling() {
		name := []string{"2λ to 1.2, then −6 a λ", "a step of width 0.1", "a step of width 0.05"}[i]
		for _, answers := range []int{100, 300, 1000} {
			if answers == 100 && !simulations() {
				continue
			}
			t.Run(fmt.Sprintf("%s, %d answers", name, answers), func(t *testing.T) {
				covered, width, n := 0, 0.0, rows(30)
				for i := range n {
					r := rand.New(rand.NewPCG(uint64(i), 105))
					curve, err := FitCurve(w.study(r, answers), Options{Grid: w.grid, Samples: 300, Seed: uint64(i)})
					if err != nil {
						t.Fatal(err)
					}
					if curve.best.Low <= w.best && w.best <= curve.best.High {
						covered++
					}
					width += curve.best.Width() / float64(n)
				}
				t.Logf("covered in %.1f%% of %d studies, mean width %.2f", 100*float64(covered)/float64(n), n, width)
				least := 0.88
				if answers == 100 || !simulations() {
					least = 0.75
				}
				if float64(covered) < least*float64(n) {
					t.Errorf("the 95%% interval covered %g in %d of %d studies", w.best, covered, n)
				}
			})
		}
	}
}

// TestSidesAreNoPreference simulates an imported study of a flat public that saw the lower λ first, always, and chose the
// first in 65% of the answers that choose: standing first is no preference of λ.
func TestSidesAreNoPreference(t *testing.T) {
	simulated(t)
	for _, annotators := range []int{3, 20} {
		found, n, told := 0, rows(60), 0
		for i := range n {
			r := rand.New(rand.NewPCG(uint64(i), 106))
			w := flat(r)
			w.annotators, w.first, w.lowFirst = annotators, math.Log(0.65/0.35), true
			answers := w.study(r, 300)
			curve, err := FitCurve(answers, Options{Grid: w.grid, Samples: 100, Seed: uint64(i)})
			if err != nil {
				t.Fatal(err)
			}
			sides, err := SidesOf(answers)
			if err != nil {
				t.Fatal(err)
			}
			if sides.Unbalanced && sides.Note != "" && sides.LowFirst.Estimate == 1 {
				told++
			}
			if curve.Preference {
				found++
			}
		}
		t.Logf("%d annotators: a preference found in %.1f%% of %d studies, a warning in %.1f%%", annotators, 100*float64(found)/float64(n), n, 100*float64(told)/float64(n))
		if float64(found) > 0.08*float64(n)+1 || told < n {
			t.Errorf("a preference found in %d of %d studies, a warning in %d", found, n, told)
		}
	}
}

// TestSidesAreSeen: a habit that all annotators share shows in the share of the first and in its test, and a random order
// is no warning.
func TestSidesAreSeen(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 107))
	w := flat(r)
	if s, err := SidesOf(w.study(r, 300)); err != nil || s.PValue < 0.05 || s.Unbalanced || s.Matter || s.Note != "" || s.Compared != 300 {
		t.Errorf("without a habit: %+v, %v", s, err)
	}
	w.first = math.Log(0.65 / 0.35)
	s, err := SidesOf(w.study(r, 300))
	if err != nil || s.PValue > 0.01 || s.Unbalanced || !s.Matter || s.First.Low < 0.5 || s.First.High < 0.65 || s.First.Low > 0.65 {
		t.Errorf("with a habit: %+v, %v", s, err)
	}
	strengths, err := FitStrengths(w.study(r, 1000))
	if err != nil || math.Abs(strengths.Order-w.first) > 0.3 {
		t.Errorf("the order effect is %g, not %g: %v", strengths.Order, w.first, err)
	}
	if s, err := SidesOf(nil); err != nil || s.PValue != 1 || s.First != (stat.Interval{Estimate: 0.5, Low: 0, High: 1}) || s.Note != "" {
		t.Errorf("of nothing: %+v, %v", s, err)
	}
}
