package study

import (
	"math/rand/v2"
	"testing"
)

// studies is how many studies are simulated for each claim about frequencies.
const studies = 300

// TestBestLambdaIsCovered simulates studies with a known u(λ), peaked and monotone, half of them with a
// fifth of annotators who answer at random. The interval of the best λ must contain the truth in 90–99%.
// Where the truth is the end of the range the share is above 95%: an interval that allows a rise up to the
// end contains the end.
func TestBestLambdaIsCovered(t *testing.T) {
	kinds := []struct {
		name string
		make func(*rand.Rand) world
	}{
		{"peaked", peaked}, {"peaked, a fifth random", func(r *rand.Rand) world { return peaked(r).noisy() }},
		{"peaked, wide", func(r *rand.Rand) world { return peaked(r).wide() }},
		{"peaked, wide, a fifth random", func(r *rand.Rand) world { return peaked(r).wide().noisy() }},
		{"monotone", monotone}, {"monotone, a fifth random", func(r *rand.Rand) world { return monotone(r).noisy() }},
	}
	all, covered, found := 0, make([]int, len(kinds)), 0
	width := make([]float64, len(kinds))
	each := float64(studies / len(kinds))
	for n := range studies {
		kind := n % len(kinds)
		r := rand.New(rand.NewPCG(uint64(n), 77))
		w := kinds[kind].make(r)
		curve, err := FitCurve(w.study(r, 300), Options{Grid: w.grid, Samples: 300, Seed: uint64(n)})
		if err != nil {
			t.Fatal(err)
		}
		if curve.best.Low <= w.best && w.best <= curve.best.High {
			covered[kind]++
			all++
		}
		if curve.Preference {
			found++
		}
		width[kind] += curve.best.Width() / each
	}
	for kind, k := range kinds {
		share := float64(covered[kind]) / each
		t.Logf("%s: covered in %.1f%% of %.0f studies, mean width %.2f", k.name, 100*share, each, width[kind])
		// Of 50 studies, what a true 90% may show: less a standard deviation and a half.
		if share < 0.84 {
			t.Errorf("%s: covered in %.1f%%", k.name, 100*share)
		}
	}
	share := float64(all) / studies
	t.Logf("covered in %.1f%% of %d studies, a preference found in %.1f%%", 100*share, studies, 100*float64(found)/studies)
	if share < 0.90 || share > 0.99 {
		t.Errorf("the 95%% interval covered the best λ in %.1f%% of studies", 100*share)
	}
}

// TestFlatIsNoPreference simulates studies in which people prefer nothing, every other one with items
// shared by three annotators that agree because the texts differ: they must be told so, but for 5%.
func TestFlatIsNoPreference(t *testing.T) {
	found := 0
	for n := range studies {
		r := rand.New(rand.NewPCG(uint64(n), 78))
		w := flat(r)
		if n%2 == 1 {
			w.overlap, w.item = 3, 1
		}
		curve, err := FitCurve(w.study(r, 90), Options{Grid: w.grid, Samples: 100, Seed: uint64(n)})
		if err != nil {
			t.Fatal(err)
		}
		if curve.Preference {
			found++
		} else if curve.Best != nil || curve.Beta != nil || curve.Reason == "" {
			t.Fatalf("no preference, but %+v", curve.Best)
		}
	}
	t.Logf("a preference found in %.1f%% of %d flat studies", 100*float64(found)/studies, studies)
	// 5% of 300, and two and a half standard deviations.
	if found > 24 {
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
		w := peaked(r).wide()
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
