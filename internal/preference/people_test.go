package preference

import (
	"fmt"
	"math/rand/v2"
	"testing"

	gonumstat "gonum.org/v1/gonum/stat"
)

// rows is how many studies a row of docs/studies.md rests on, or the few of a normal run.
func rows(few int) int {
	if simulations() {
		return 200
	}
	return few
}

// slopes are n curves that rise or fall by a normal number of log-odds a λ, with standard deviation sd.
func slopes(r *rand.Rand, n int, sd float64) []func(float64) float64 {
	list := make([]func(float64) float64, n)
	for i := range list {
		slope := sd * r.NormFloat64()
		list[i] = func(x float64) float64 { return slope * x }
	}
	return list
}

// TestFlatPublicOfDifferentPeople simulates studies of a public that favours no λ, whose annotators, prompts, or both do, to
// either side: a preference of people and prompts in general is to be found in 5% of studies, and never of fewer
// than six annotators.
func TestFlatPublicOfDifferentPeople(t *testing.T) {
	simulated(t)
	for _, c := range []struct {
		annotators, prompts int
		people, texts       float64 // standard deviations of slopes
	}{
		{1, 0, 1, 0}, {3, 0, 1, 0}, {5, 0, 1, 0}, {6, 0, 1, 0}, {10, 0, 1, 0}, {20, 0, 1, 0}, {50, 0, 1, 0},
		{20, 5, 0, 1}, {20, 10, 0, 1}, {20, 20, 0, 1}, {20, 60, 0, 1},
		{6, 60, 1, 0}, {12, 12, 1, 1}, {20, 60, 0.5, 0.5}, {20, 60, 0, 0},
	} {
		t.Run(fmt.Sprintf("%d annotators %g, %d prompts %g", c.annotators, c.people, c.prompts, c.texts), func(t *testing.T) {
			found, these := 0, 0
			n := 4 * rows(15)
			for i := range n {
				r := rand.New(rand.NewPCG(uint64(i), 101))
				w := flat(r)
				w.annotators, w.prompts = c.annotators, c.prompts
				w.own, w.ofPrompt = slopes(r, c.annotators, c.people), slopes(r, max(1, c.prompts), c.texts)
				answers := w.study(r, 300)
				tally, err := newComparisons(answers, w.grid, ByItem)
				if err != nil {
					t.Fatal(err)
				}
				curve := &Curve{comparisons: tally, Scope: tally.scope(), seed: uint64(i)} // the test takes a twentieth of the time of a fit
				if err := curve.flatness(0.05); err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					whole, err := FitCurve(answers, Options{Grid: w.grid, Samples: 100, Seed: uint64(i)})
					if err != nil || whole.PValue != curve.PValue || whole.Preference != curve.Preference || whole.Scope != curve.Scope {
						t.Fatalf("the curve has another test: %v, %v", whole, err)
					}
				}
				if curve.Scope.People != (c.annotators >= 6) {
					t.Fatalf("%d annotators speak for %s", c.annotators, curve.Scope)
				}
				switch {
				case curve.Preference && curve.Scope.People:
					found++
				case curve.Preference:
					these++
				}
			}
			t.Logf("a preference of people found in %.1f%% of %d studies, of these annotators in %.1f%%", 100*float64(found)/float64(n), n, 100*float64(these)/float64(n))
			if float64(found) > 0.07*float64(n)+map[bool]float64{true: 0, false: 4}[simulations()] {
				t.Errorf("a preference found in %d of %d studies of a public without any", found, n)
			}
		})
	}
}

// TestInvertedAnnotators simulates twenty annotators of whom some prefer what the others avoid. The preference of the many
// must be found all the same where chance would not make so many of one mind: with 4 of 20 it would in 1.2% of
// studies. With 6 of 20 it would in 11.5%, however well each of them is known, so a test that errs in 5% cannot find more than
// 43%, and less where answers have noise.
func TestInvertedAnnotators(t *testing.T) {
	simulated(t)
	for _, c := range []struct {
		inverted, answers int
		least             float64 // share of studies
	}{{2, 300, 0.9}, {4, 300, 0.7}, {6, 300, 0.05}, {6, 1000, 0.05}} {
		found := 0
		n := rows(60)
		for i := range n {
			r := rand.New(rand.NewPCG(uint64(i), 102))
			w := peaked(r)
			for a := range w.annotators {
				w.own = append(w.own, func(x float64) float64 {
					if a < c.inverted {
						return -2 * w.u(x)
					}
					return 0
				})
			}
			curve, err := FitCurve(w.study(r, c.answers), Options{Grid: w.grid, Samples: 100, Seed: uint64(i)})
			if err != nil {
				t.Fatal(err)
			}
			if curve.Preference {
				found++
			} else if curve.Reason == "" || curve.Best != nil {
				t.Fatalf("no preference, but %q and %v", curve.Reason, curve.Best)
			}
		}
		t.Logf("%d of 20 inverted, %d answers: found in %.1f%% of %d studies", c.inverted, c.answers, 100*float64(found)/float64(n), n)
		if float64(found) < c.least*float64(n) {
			t.Errorf("%d of 20 inverted, %d answers: found in %d of %d studies", c.inverted, c.answers, found, n)
		}
	}
}

// TestPeopleOfDifferentTaste simulates annotators each of whom has a best λ of their own, normal about 1 with standard
// deviation 0.4: the interval of the best of all must hold 1, the band the public's curve, and the intervals of
// strengths' differences the public's.
func TestPeopleOfDifferentTaste(t *testing.T) {
	simulated(t)
	for _, annotators := range []int{6, 10, 20} {
		for _, answers := range []int{300, 1000} {
			t.Run(fmt.Sprintf("%d annotators, %d answers", annotators, answers), func(t *testing.T) {
				n := rows(30)
				covered, band, difference, width := 0, 0.0, 0.0, 0.0
				for i := range n {
					r := rand.New(rand.NewPCG(uint64(i), 103))
					height := 1.5 + 1.5*r.Float64()
					w := newWorld(func(x float64) float64 { return -height * (x - 1) * (x - 1) }, 1)
					w.annotators = annotators
					for range annotators {
						best := 1 + 0.4*r.NormFloat64()
						w.own = append(w.own, func(x float64) float64 { return 2 * height * (best - 1) * x })
					}
					a := w.study(r, answers)
					curve, err := FitCurve(a, Options{Grid: w.grid, Samples: 400, Seed: uint64(i)})
					if err != nil {
						t.Fatal(err)
					}
					if curve.best.Low <= w.best && w.best <= curve.best.High {
						covered++
					}
					width += curve.best.Width() / float64(n)
					truth := make([]float64, len(curve.Lambda))
					for p, x := range curve.Lambda {
						truth[p] = w.u(x)
					}
					mean := gonumstat.Mean(truth, nil)
					for p := range truth {
						if curve.Low[p] <= truth[p]-mean && truth[p]-mean <= curve.High[p] {
							band += 1 / float64(n*len(truth))
						}
					}
					s, err := FitStrengths(a)
					if err != nil {
						t.Fatal(err)
					}
					pairs := float64(len(s.Lambda)*(len(s.Lambda)-1)) / 2
					for x := range s.Lambda {
						for y := range x {
							d := s.Difference(x, y)
							if truth := w.u(s.Lambda[x]) - w.u(s.Lambda[y]); d.Low <= truth && truth <= d.High {
								difference += 1 / pairs / float64(n)
							}
						}
					}
				}
				t.Logf("covered in %.1f%% of %d studies, mean width %.2f; the band %.1f%%, differences of strengths %.1f%%",
					100*float64(covered)/float64(n), n, width, 100*band, 100*difference)
				least := 0.9
				if !simulations() {
					least = 0.8
				}
				if float64(covered) < least*float64(n) || band < least+0.02 || difference < least+0.02 {
					t.Errorf("covered in %d of %d, the band %.2f, differences %.2f", covered, n, band, difference)
				}
			})
		}
	}
}
