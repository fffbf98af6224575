package study

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// studies is how many studies are simulated for each claim about frequencies.
const studies = 300

// kinds are what a public may like. Every answer is drawn with Davidson's probabilities: that is the noise.
func kinds() []kind {
	return []kind{{"peaked", peaked}, {"monotone", monotone}, {"flat", flat}}
}

type kind struct {
	name string
	make func(*rand.Rand) world
}

// everyWorld calls f for each kind of public, range of λ, and share of annotators who answer at random.
func everyWorld(t *testing.T, f func(t *testing.T, k kind, grid []float64, random bool)) {
	for _, k := range kinds() {
		for _, grid := range [][]float64{narrow(), wide()} {
			for _, random := range []bool{false, true} {
				name := fmt.Sprintf("%s, λ from 0 to %g", k.name, grid[len(grid)-1])
				if random {
					name += ", a fifth random"
				}
				t.Run(name, func(t *testing.T) { f(t, k, grid, random) })
			}
		}
	}
}

// TestBestLambdaIsCovered simulates studies of 300 ratings with a known u(λ) and counts how often the interval of the
// best λ has the truth in it, and how often a preference is found. docs/studies.md has the table that it logs.
//
// A peaked u must be covered in 90–99%, here less two standard deviations of a share of 300. A monotone one has its best
// at the end of the range, where an interval that allows a rise up to the end has the end in it: close to always. A
// flat one has no best; what counts is that at most 5% of studies, and two standard deviations, find one.
func TestBestLambdaIsCovered(t *testing.T) {
	everyWorld(t, func(t *testing.T, k kind, grid []float64, random bool) {
		covered, found, width := 0, 0, 0.0
		for n := range studies {
			r := rand.New(rand.NewPCG(uint64(n), 77))
			w := k.make(r).over(grid)
			if random {
				w = w.noisy()
			}
			curve, err := FitCurve(w.study(r, 300), Options{Grid: w.grid, Samples: 300, Seed: uint64(n)})
			if err != nil {
				t.Fatal(err)
			}
			if curve.best.Low <= w.best && w.best <= curve.best.High {
				covered++
			}
			if curve.Preference {
				found++
			} else if curve.Best != nil || curve.Beta != nil || curve.Reason == "" {
				t.Fatalf("no preference, but %+v", curve.Best)
			}
			width += curve.best.Width() / studies
		}
		share, preference := float64(covered)/studies, float64(found)/studies
		if k.name == "flat" {
			t.Logf("a preference found in %.1f%% of %d studies", 100*preference, studies)
			if preference > 0.075 {
				t.Errorf("a preference found in %d of %d studies without any", found, studies)
			}
			return
		}
		t.Logf("covered in %.1f%% of %d studies, mean width %.2f, a preference found in %.1f%%", 100*share, studies, width, 100*preference)
		if share < 0.865 || k.name == "peaked" && share > 0.997 {
			t.Errorf("the 95%% interval covered the best λ in %d of %d studies", covered, studies)
		}
		if preference < 0.95 {
			t.Errorf("a preference found in %d of %d studies", found, studies)
		}
	})
}

// TestFlatItemsThatAgree simulates studies in which people prefer no λ, and the three answers about one item agree
// because its texts differ: at most 5% may find a preference, and two standard deviations.
func TestFlatItemsThatAgree(t *testing.T) {
	found := 0
	for n := range studies {
		r := rand.New(rand.NewPCG(uint64(n), 78))
		w := flat(r)
		w.overlap, w.item = 3, 1
		curve, err := FitCurve(w.study(r, 90), Options{Grid: w.grid, Samples: 100, Seed: uint64(n)})
		if err != nil {
			t.Fatal(err)
		}
		if curve.Preference {
			found++
		}
	}
	t.Logf("a preference found in %.1f%% of %d flat studies", 100*float64(found)/studies, studies)
	if found > 22 {
		t.Errorf("a preference found in %d of %d flat studies", found, studies)
	}
}

// TestActiveChoiceSavesRatings holds active choice with 0.7 of the ratings against balanced assignment:
// its intervals must be at most as wide on average. The range is wide, most of it far
// beyond the top. Where every pair is about as telling as any other there is less to choose: over half this range
// 210 active ratings were about as good as 280 balanced ones, short of the claim.
func TestActiveChoiceSavesRatings(t *testing.T) {
	const (
		worlds, ratings, batch = 24, 300, 15
		budget                 = ratings * 7 / 10
	)
	balanced, active := 0.0, 0.0
	for n := range worlds {
		r := rand.New(rand.NewPCG(uint64(n), 81))
		w := peaked(r).over(wide())
		o := Options{Grid: w.grid, Samples: 300, Seed: uint64(n)}
		curve, err := FitCurve(w.study(r, ratings), o)
		if err != nil {
			t.Fatal(err)
		}
		balanced += curve.best.Width() / worlds
		answers := w.study(r, 3*batch)
		for {
			if curve, err = FitCurve(answers, o); err != nil {
				t.Fatal(err)
			}
			if len(answers) >= budget {
				break
			}
			answers = append(answers, w.ask(r, curve.Next(Pairs(w.grid), batch), len(answers))...)
		}
		active += curve.best.Width() / worlds
	}
	t.Logf("mean width %.3f with %d balanced ratings, %.3f with %d active ones", balanced, ratings, active, budget)
	if active > balanced {
		t.Errorf("%d active ratings leave %.3f, %d balanced ones %.3f", budget, active, ratings, balanced)
	}
}
