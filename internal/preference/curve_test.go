package preference

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"realign/internal/racetest"
)

// studies is how many studies are simulated for each claim about frequencies.
const studies = 300

// fits is how many of them are where each takes a fit of the curve.
func fits() int {
	if simulations() {
		return studies
	}
	return 60
}

// most is the greatest count among so many studies that a share allows, give or take two standard deviations.
func most(share float64, of int) int {
	n := float64(of)
	return int(math.Ceil(share*n + 2*math.Sqrt(share*(1-share)*n)))
}

// simulated skips a test under the race detector, where thousands of fits take minutes and nothing is shared.
func simulated(t *testing.T) {
	t.Helper()
	if racetest.Enabled {
		t.Skip("minutes under the race detector")
	}
}

// simulations says whether to simulate all that docs/studies.md states, and not only what fits a normal run.
func simulations() bool { return os.Getenv("REALIGN_SIMULATIONS") != "" }

// kinds are what a public may like. Every answer is drawn with Davidson's probabilities: that is the noise.
func kinds() []kind {
	return []kind{{"peaked", peaked}, {"monotone", monotone}, {"flat", flat}}
}

type kind struct {
	name string
	make func(*rand.Rand) world
}

// everyWorld calls f for each kind of public and range of λ, with a fifth of the annotators answering at random, and, for
// the numbers that are stated, without them, too.
func everyWorld(t *testing.T, kinds []kind, f func(t *testing.T, k kind, grid []float64, random bool)) {
	simulated(t)
	for _, k := range kinds {
		for _, grid := range [][]float64{narrow(), wide()} {
			for _, random := range []bool{false, true} {
				if !random && !simulations() {
					continue
				}
				name := fmt.Sprintf("%s, λ from 0 to %g", k.name, grid[len(grid)-1])
				if random {
					name += ", a fifth random"
				}
				t.Run(name, func(t *testing.T) { f(t, k, grid, random) })
			}
		}
	}
}

// public is one public of a kind.
func (k kind) public(r *rand.Rand, grid []float64, random bool) world {
	w := k.make(r).over(grid)
	if random {
		w = w.noisy()
	}
	return w
}

// TestBestLambdaIsCovered simulates studies of 300 ratings with a known u(λ) and counts how often the interval of the
// best λ has the truth in it, and how often a preference is found. docs/studies.md has the table that it logs.
//
// It must have it in 95%, and a preference must be found in 95%, less two standard deviations of a share of so many studies.
// A monotone u has its best at the end of the range, where an interval that allows a rise up to the end has the end in it:
// it may be more. A flat one has no best; what counts is that few studies find one: 5%, and two standard deviations.
func TestBestLambdaIsCovered(t *testing.T) {
	everyWorld(t, kinds(), func(t *testing.T, k kind, grid []float64, random bool) {
		studies := fits()
		covered, found, width := 0, 0, 0.0
		for n := range studies {
			r := rand.New(rand.NewPCG(uint64(n), 77))
			w := k.public(r, grid, random)
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
			width += curve.best.Width() / float64(studies)
		}
		percent := func(n int) float64 { return 100 * float64(n) / float64(studies) }
		if k.name == "flat" {
			t.Logf("a preference found in %.1f%% of %d studies", percent(found), studies)
			if found > most(0.05, studies) {
				t.Errorf("a preference found in %d of %d studies without any", found, studies)
			}
			return
		}
		t.Logf("covered in %.1f%% of %d studies, mean width %.2f, a preference found in %.1f%%", percent(covered), studies, width, percent(found))
		if studies-covered > most(0.05, studies) || k.name == "peaked" && simulations() && covered == studies {
			t.Errorf("the 95%% interval covered the best λ in %d of %d studies", covered, studies)
		}
		if studies-found > most(0.05, studies) {
			t.Errorf("a preference found in %d of %d studies", found, studies)
		}
	})
}

// TestFlatItemsThatAgree simulates studies in which people prefer no λ, and the three answers about one item agree
// because its texts differ: at most 5% may find a preference, and two standard deviations.
func TestFlatItemsThatAgree(t *testing.T) {
	simulated(t)
	found, studies := 0, fits()
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
	t.Logf("a preference found in %.1f%% of %d flat studies", 100*float64(found)/float64(studies), studies)
	if found > most(0.05, studies) {
		t.Errorf("a preference found in %d of %d flat studies", found, studies)
	}
}

// TestActiveChoiceSavesRatings holds active choice, as it is planned for a study, against balanced assignment on the same
// publics: how wide the interval is on average after as many ratings, and how many ratings active choice needs
// for the width that balanced assignment has after 300. docs/studies.md has the table that it logs.
//
// It must need at most 0.7 times as many over the wide range, of which most is far beyond the top. Over half that range
// pairs are more alike, and the ratio of so few publics is less certain: 0.9.
func TestActiveChoiceSavesRatings(t *testing.T) {
	worlds := 6
	if simulations() {
		worlds = 200
	}
	const first, step, ratings = 90, 30, 300
	everyWorld(t, kinds()[:1], func(t *testing.T, k kind, grid []float64, random bool) {
		balanced, active := make([]float64, ratings+1), make([]float64, ratings+1) // mean width after so many
		for n := range worlds {
			r := rand.New(rand.NewPCG(uint64(n), 81))
			w := k.public(r, grid, random)
			width := func(answers []Pairwise) float64 {
				curve, err := FitCurve(answers, Options{Grid: w.grid, Samples: 300, Seed: uint64(n)})
				if err != nil {
					t.Fatal(err)
				}
				return curve.best.Width() / float64(worlds)
			}
			for at, answers := first, w.study(r, ratings); at <= ratings; at += step {
				balanced[at] += width(answers[:at])
			}
			answers := w.study(r, ActiveFrom)
			for at := first; at <= ratings; at += step {
				answers = w.actively(t, r, answers, at)
				active[at] += width(answers)
			}
		}
		for at := first; at <= ratings; at += step {
			t.Logf("after %d ratings the mean width is %.3f balanced and %.3f active", at, balanced[at], active[at])
		}
		needed := float64(first)
		for at := first; at < ratings && active[at] > balanced[ratings]; at += step {
			part := min(1, (active[at]-balanced[ratings])/(active[at]-active[at+step]))
			needed = float64(at) + part*step
		}
		t.Logf("active choice needs %.2f times as many ratings for the width of %d balanced ones", needed/ratings, ratings)
		if most := map[float64]float64{2: 0.9, 4: 0.7}[grid[len(grid)-1]]; needed/ratings > most {
			t.Errorf("active choice needs %.2f times as many ratings, more than %.2f", needed/ratings, most)
		}
	})
}

// TestActiveChoiceIsHonest: neither the interval nor the test of flatness is made for pairs that are chosen by what was
// answered. Both must hold all the same.
func TestActiveChoiceIsHonest(t *testing.T) {
	worlds := 6
	if simulations() {
		worlds = 200
	}
	everyWorld(t, []kind{{"peaked", peaked}, {"flat", flat}}, func(t *testing.T, k kind, grid []float64, random bool) {
		covered, found, loose := 0, 0, 0
		for n := range worlds {
			r := rand.New(rand.NewPCG(uint64(n), 86))
			w := k.public(r, grid, random)
			answers := w.actively(t, r, w.study(r, ActiveFrom), 200)
			curve, err := FitCurve(answers, Options{Grid: w.grid, Active: true, Samples: 300, Seed: uint64(n)})
			if err != nil {
				t.Fatal(err)
			}
			if curve.best.Low <= w.best && w.best <= curve.best.High {
				covered++
			}
			if curve.Preference {
				found++
			}
			if curve.PValue <= (Options{}).level() {
				loose++
			}
		}
		percent := func(n int) float64 { return 100 * float64(n) / float64(worlds) }
		t.Logf("covered in %.1f%% of %d studies, a preference found in %.1f%%; at the level of balanced studies in %.1f%%",
			percent(covered), worlds, percent(found), percent(loose))
		// Of so few studies 5% may show as three times that.
		if k.name == "flat" && percent(found) > 15 || k.name == "peaked" && min(percent(covered), percent(found)) < 85 {
			t.Errorf("covered in %d of %d studies, a preference found in %d", covered, worlds, found)
		}
	})
}
