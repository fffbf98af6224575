package sweep

import (
	"math"
	"os"
	"slices"
	"strconv"
	"testing"

	gonumstat "gonum.org/v1/gonum/stat"

	"realign/internal/racetest"
	"realign/internal/stat"
)

// simulations is how many sweeps a test simulates: few in a normal run, and REALIGN_SIMULATIONS for the numbers that are
// stated. Under the race detector, where they take minutes and share nothing, the test is skipped.
func simulations(t *testing.T, few int) int {
	t.Helper()
	if racetest.Enabled {
		t.Skip("runs without the race detector")
	}
	text := os.Getenv("REALIGN_SIMULATIONS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < few {
		t.Fatalf("REALIGN_SIMULATIONS is %q, want a number from %d", text, few)
	}
	return n
}

// Two rewards with a best λ inside the range: as many of one letter as the reference says too few of and the aligned
// model too many, and a number of them in a band.
func square(count, _ int) float64 { return -float64((count - 2) * (count - 2)) }

func band(count, _ int) float64 {
	if count == 2 || count == 3 {
		return 1
	}
	return 0
}

func nine() []float64 { return []float64{0, 0.375, 0.75, 1.125, 1.5, 1.875, 2.25, 2.625, 3} }

// TestCoverage: the interval of the best λ must hold the true one in 90% of simulated sweeps or more, without refinement, with
// two rounds of it, and with as many as an interval takes to get narrow, and must not be so wide as to say little. It holds
// more often than 95% where the top is sharp, as it is made to hold all of a plateau. Few simulations only find gross mistakes.
func TestCoverage(t *testing.T) {
	for _, test := range []struct {
		name   string
		reward func(count, length int) float64
		rounds int
		width  float64 // that refinement stops at
		widest float64 // on average
	}{
		{"square", square, 2, 0, 0.65}, {"band", band, 2, 0, 0.85}, {"band", band, 0, 0, 1.15},
		{"square", square, MaxRounds, 0.4, 0.4}, {"band", band, MaxRounds, 0.5, 0.5},
	} {
		t.Run(test.name+strconv.Itoa(test.rounds), func(t *testing.T) {
			n := simulations(t, 12)
			w := newWorld(9, 12, test.reward)
			best := w.best(0, 3)
			held, width, off := 0.0, 0.0, 0.0
			for seed := range n {
				s := w.setup(uint64(seed), 100, nine(), 4, test.rounds)
				s.Config.Refine.Width = test.width
				outputs, _ := w.run(s)
				i := bestOf(s, outputs)
				if i.Holds(best) {
					held++
				}
				width += i.Width() / float64(n)
				off += (i.Estimate - best) / float64(n)
			}
			share := held / float64(n)
			t.Logf("true best λ %.3f: held by %.1f%% of %d intervals, mean width %.3f, mean error %+.3f", best, 100*share, n, width, off)
			slack := 3 * math.Sqrt(0.05*0.95/float64(n))
			if n >= 300 {
				slack = 0
			}
			if share < 0.90-slack {
				t.Errorf("%.1f%% of intervals hold the best λ, want 90%% or more", 100*share)
			}
			if width > test.widest {
				t.Errorf("the mean width is %.3f, want at most %g", width, test.widest)
			}
		})
	}
}

// bestOf is the interval of the best λ.
func bestOf(s *Setup, outputs []Output) stat.Interval {
	i, ok := newCurve(newTable(s, outputs), rewarded("toy"), 1).best()
	if !ok {
		panic("no best λ")
	}
	return i
}

// TestReweightingIsUnbiased: at λ that were not decoded, as far as the curve is drawn, reweighted estimates must hold
// the truth as often as their intervals say, and be right on average.
func TestReweightingIsUnbiased(t *testing.T) {
	n := simulations(t, 12)
	w := newWorld(9, 12, square)
	truth := map[float64]float64{}
	errors := map[float64][]float64{}
	held, all := 0.0, 0.0
	for seed := range n {
		s := w.setup(uint64(1000+seed), 100, nine(), 4, 0)
		outputs, _ := w.run(s)
		c := newCurve(newTable(s, outputs), rewarded("toy"), 1)
		for i, l := range c.lambdas {
			value := c.value(i)
			if value == nil || s.Config.Lambda.at(l) {
				continue
			}
			if _, ok := truth[l]; !ok {
				truth[l] = w.truth(l)
			}
			errors[l] = append(errors[l], value.Estimate-truth[l])
			all++
			if value.Holds(truth[l]) {
				held++
			}
		}
	}
	if len(errors) < 25 {
		t.Fatalf("the curve is drawn at %d λ between the decoded ones only", len(errors))
	}
	worst := 0.0
	for l, e := range errors {
		if len(e) < n/2 {
			continue
		}
		mean, spread := 0.0, 0.0
		for _, x := range e {
			mean += x / float64(len(e))
		}
		for _, x := range e {
			spread += (x - mean) * (x - mean) / float64(len(e)-1)
		}
		z := mean / math.Sqrt(spread/float64(len(e)))
		worst = max(worst, math.Abs(z))
		// An interval is right as long as the bias is small beside it: a quarter of the standard error moves coverage by 1%.
		if math.Abs(mean) > 0.25*math.Sqrt(spread)+4*math.Sqrt(spread/float64(len(e))) {
			t.Errorf("at λ = %g the mean error is %+.4f, with a standard deviation of %.4f", l, mean, math.Sqrt(spread))
		}
	}
	t.Logf("%d λ in %d sweeps: %.1f%% of intervals hold the truth; largest mean error %.1f standard errors of the mean", len(errors), n, 100*held/all, worst)
	slack := 0.1 // estimates of one sweep go together
	if n >= 300 {
		slack = 0
	}
	if share := held / all; share < 0.90-slack || share > 0.99+slack {
		t.Errorf("%.1f%% of reweighted intervals hold the truth, want 90%% to 99%%", 100*share)
	}
}

// at reports whether a λ is in the grid.
func (g Grid) at(l float64) bool {
	for _, x := range g.Values {
		if x == l {
			return true
		}
	}
	return false
}

// TestRefinementIsCheaper: to reach an interval of a given width, refinement must take at most 0.6 of the decoded tokens
// that a uniform grid takes, which only ever gets more samples. Both start from the same two samples, and stop when the interval
// was narrow enough twice in a row. What an interval costs that holds plateaus, too, is said beside it: the grid's tokens over
// those until the percentiles of where resamples have their top are that narrow.
func TestRefinementIsCheaper(t *testing.T) {
	n := simulations(t, 16) // the smallest number whose mean is steady enough for a flat top
	for _, test := range []struct {
		name   string
		reward func(count, length int) float64
		width  float64
	}{
		{"square", square, 0.4},
		{"band", band, 0.35}, // its top is flat
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(9, 12, test.reward)
			var uniform, refined, percentiles float64
			for seed := range n {
				s := w.setup(uint64(2000+seed), 150, nine(), 2, MaxRounds)
				s.Config.Refine.Width = test.width
				_, plan := w.run(s)
				refined += float64(plan.Tokens) / float64(n)

				s = w.setup(uint64(2000+seed), 150, nine(), 2, 0)
				var outputs []Output
				tokens := 0
				interval, tops := narrowing{width: test.width}, narrowing{width: test.width}
				for samples := 0; samples < 80 && !(interval.done() && tops.done()); samples += 2 {
					for prompt := range s.Config.Prompts.Rows {
						for _, o := range w.decode(&s.Config, Item{Prompt: prompt, Lambdas: s.Config.Lambda.Values, Samples: []int{samples, samples + 1}}) {
							outputs = append(outputs, o)
							tokens += o.Tokens
						}
					}
					s.Config.Samples = samples + 2
					c := newCurve(newTable(s, outputs), rewarded("toy"), 1)
					best, _ := c.best()
					interval.add(best.Width(), tokens)
					where := slices.Sorted(slices.Values(c.tops()))
					tops.add(gonumstat.Quantile(0.975, gonumstat.Empirical, where, nil)-gonumstat.Quantile(0.025, gonumstat.Empirical, where, nil), tokens)
				}
				uniform += float64(interval.tokens) / float64(n)
				percentiles += float64(tops.tokens) / float64(n)
			}
			t.Logf("width %.2f: %.0f tokens refined, %.0f uniform, ratio %.2f; by percentiles %.0f uniform, ratio %.2f; means of %d sweeps",
				test.width, refined, uniform, refined/uniform, percentiles, uniform/percentiles, n)
			if refined > 0.6*uniform {
				t.Errorf("refinement took %.2f of the tokens of a uniform grid, want at most 0.6", refined/uniform)
			}
		})
	}
}

// narrowing is how many tokens it took until an interval was narrow enough as often in a row as refinement asks for.
type narrowing struct {
	width  float64
	times  int // in a row
	tokens int // until then
}

func (n *narrowing) done() bool { return n.times >= confirmations }

func (n *narrowing) add(width float64, tokens int) {
	if n.done() {
		return
	}
	if n.times++; width > n.width {
		n.times = 0
	}
	n.tokens = tokens
}
