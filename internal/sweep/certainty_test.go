package sweep

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"realign/internal/stat"
)

// noises are rewards that λ does nothing to: what a text is worth to a prompt is drawn once, whatever decoded it.
var noises = map[string]func(random *rand.Rand) float64{
	"normal": func(random *rand.Rand) float64 { return random.NormFloat64() },
	"skewed": func(random *rand.Rand) float64 { return math.Exp(1.5 * random.NormFloat64()) },
	"rare": func(random *rand.Rand) float64 {
		if random.Float64() < 0.05 {
			return 1
		}
		return 0
	},
}

// noise is a judge of one sweep that draws.
func noise(seed uint64, draw func(random *rand.Rand) float64) func(o *Output) float64 {
	return func(o *Output) float64 {
		h := fnv.New64a()
		fmt.Fprintf(h, "%d %d %d %s", seed, o.Prompt, o.Tokens, o.Text)
		return draw(rand.New(rand.NewPCG(h.Sum64(), 1)))
	}
}

// few is how often something may be seen in n cases with probability p, allowing three standard errors where n is small.
func few(p float64, n int) float64 {
	if n >= 200 {
		return p
	}
	return p + 3*math.Sqrt(p*(1-p)/float64(n))
}

// TestNoiseClaimsNothing: of a reward that is noise a sweep says anything for sure in at most 5% of cases, whether or not it
// refined where the noise was highest.
func TestNoiseClaimsNothing(t *testing.T) {
	n := simulations(t, 12)
	for _, name := range slices.Sorted(maps.Keys(noises)) {
		for _, prompts := range []int{3, 5, 12, 24, 100} {
			t.Run(fmt.Sprintf("%s%d", name, prompts), func(t *testing.T) {
				w := newWorld(9, 12, nil)
				claims := 0.0
				for seed := range n {
					w.judge = noise(uint64(seed), noises[name])
					s := w.setup(uint64(seed), prompts, nine(), 2, 1)
					s.Config.Sampling.TopK = w.pair.Size() // which truncates nothing, and spares the simulation what reweighting needs
					outputs, _ := w.run(s)
					r := Analyse(s, outputs)
					if reward := r.Rewards[0]; r.Recommendation.Beta != nil || r.Recommendation.TRL != "" || r.Best != nil || reward.Peak != nil {
						claims++
					} else if r.Recommendation.NoBest == "" {
						t.Error("nothing is said of why there is no best λ")
					}
				}
				t.Logf("something is claimed in %.1f%% of %d sweeps", 100*claims/float64(n), n)
				if claims/float64(n) > few(0.05, n) {
					t.Errorf("something is claimed in %.0f of %d sweeps of noise", claims, n)
				}
			})
		}
	}
}

// TestFewPromptsCover: the interval of the best λ holds the true one however few prompts there are, with refinement and
// without, and so do the intervals that are shown, which are those of sweeps that found that λ moves the reward.
func TestFewPromptsCover(t *testing.T) {
	n := simulations(t, 12)
	for _, test := range []struct {
		name    string
		reward  func(count, length int) float64
		prompts int
		rounds  int
		least   float64
	}{
		{"square", square, 3, 0, 0.90}, {"square", square, 5, 0, 0.90}, {"square", square, 8, 2, 0.90}, {"square", square, 12, 2, 0.90},
		{"square", square, 24, 2, 0.90}, {"square", square, 50, 2, 0.93},
		{"band", band, 3, 2, 0.90}, {"band", band, 5, 2, 0.90}, {"band", band, 8, 0, 0.90}, {"band", band, 12, 0, 0.90},
		{"band", band, 24, 0, 0.90}, {"band", band, 50, 2, 0.93},
	} {
		t.Run(fmt.Sprintf("%s%dx%d", test.name, test.prompts, test.rounds), func(t *testing.T) {
			w := newWorld(9, 12, test.reward)
			best := w.best(0, 3)
			held, shown, right, width := 0.0, 0.0, 0.0, 0.0
			for seed := range n {
				s := w.setup(uint64(seed), test.prompts, nine(), 4, test.rounds)
				outputs, _ := w.run(s)
				i := bestOf(s, outputs)
				if i.Holds(best) {
					held++
				}
				width += i.Width() / float64(n)
				if newTable(s, outputs).movement(rewarded("toy")).Moves {
					shown++
					if i.Holds(best) {
						right++
					}
				}
			}
			t.Logf("held by %.1f%% of %d intervals, mean width %.2f of 3; a best λ is found in %.1f%%, of which %.1f%% hold it",
				100*held/float64(n), n, width, 100*shown/float64(n), 100*right/max(shown, 1))
			if 1-held/float64(n) > few(1-test.least, n) {
				t.Errorf("held by %.1f%%, want %.0f%%", 100*held/float64(n), 100*test.least)
			}
			if all := int(shown); shown > 0 && 1-right/shown > 1-test.least+3*math.Sqrt(test.least*(1-test.least)/float64(all)) {
				t.Errorf("of those shown %.0f of %.0f hold it, want %.0f%%", right, shown, 100*test.least)
			}
		})
	}
}

// smooth is a sweep whose sampling says nothing between the λ, and whose prompts each have a smooth curve of their own about
// f, with noise. Its rewards are x.
func smooth(seed uint64, prompts int, f func(lambda float64) float64) (*Setup, []Output) {
	random := rand.New(rand.NewPCG(seed, 77))
	own := make([][3]float64, prompts)
	for p := range own {
		own[p] = [3]float64{random.NormFloat64(), random.NormFloat64(), random.NormFloat64()}
	}
	s, outputs := made([]float64{0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2}, prompts, func(p int, l float64, _ int) map[string]Value {
		deviation := own[p][0] + 0.2*own[p][1]*l + 0.4*own[p][2]*math.Sin(1.5*l)
		return map[string]Value{"x": Of(f(l) + deviation + 0.6*random.NormFloat64()), "y": Of(0)}
	})
	s.Config.Seed = seed
	return s, outputs
}

// TestShapesCover: the interval of the best λ holds the best, wherever the curve's shape puts it: both ends of a plateau, each
// of which is as good as the other, and the end of the range.
func TestShapesCover(t *testing.T) {
	n := simulations(t, 20)
	for _, shape := range []struct {
		name      string
		f         func(lambda float64) float64
		low, high float64 // the best λ are between them
	}{
		{"peak", func(l float64) float64 { return -(l - 1.25) * (l - 1.25) }, 1.25, 1.25},
		{"plateau", func(l float64) float64 { return min(l, 1) - 1.5*max(0, l-1.5) }, 1, 1.5},
		{"rise", func(l float64) float64 { return 1 - math.Exp(-l) }, 2, 2},
		{"fall", func(l float64) float64 { return -0.5 * l }, 0, 0},
	} {
		for _, prompts := range []int{3, 8, 24, 50} {
			t.Run(fmt.Sprintf("%s%d", shape.name, prompts), func(t *testing.T) {
				low, high, width := 0.0, 0.0, 0.0
				for seed := range n {
					s, outputs := smooth(uint64(seed), prompts, shape.f)
					i, _ := newCurve(newTable(s, outputs), rewarded("x"), 1).best()
					if i.Holds(shape.low) {
						low++
					}
					if i.Holds(shape.high) {
						high++
					}
					width += i.Width() / float64(n)
				}
				t.Logf("λ = %g is in %.1f%% of %d intervals, %g in %.1f%%; mean width %.2f of 2", shape.low, 100*low/float64(n), n, shape.high, 100*high/float64(n), width)
				if least := min(low, high) / float64(n); 1-least > few(0.1, n) {
					t.Errorf("the best is in %.1f%% of intervals", 100*least)
				}
			})
		}
	}
}

// largestT is the largest t-statistic of the first columns, in size. With signs, each row is multiplied by its sign.
func largestT(rows byPrompt, columns int, signs []float64) float64 {
	n, largest := float64(len(rows)), 0.0
	for d := range columns {
		sum, squares := 0.0, 0.0
		for p, row := range rows {
			sum += signs[p] * row[d]
			squares += row[d] * row[d]
		}
		largest = max(largest, math.Abs(sum)/math.Sqrt(n*squares-sum*sum)*math.Sqrt(n-1))
	}
	return largest
}

// TestMovementFinds: tops that 12 prompts of two samples can just show are found more often by the statistic that is used than
// by others of the same size: the largest polynomial of degree 1 or 2, and the largest difference of two λ.
func TestMovementFinds(t *testing.T) {
	n := simulations(t, 100)
	const prompts, draws = 12, 400
	for name, f := range map[string]func(lambda float64) float64{
		"broad":  func(l float64) float64 { return -0.4 * (l - 1.25) * (l - 1.25) },
		"narrow": func(l float64) float64 { return 0.6 * math.Exp(-(l-0.5)*(l-0.5)/0.18) },
	} {
		t.Run(name, func(t *testing.T) {
			var found [3]float64 // by each statistic at a size of 5%
			sized := 0.0         // by the one that is used, at its own size
			for seed := range n {
				s, outputs := smooth(uint64(seed), prompts, f)
				table := newTable(s, outputs)
				contrasts, differences := table.contrasts(rewarded("x")), make(byPrompt, prompts)
				for p, cells := range table.cells {
					for i := range cells {
						for j := range i {
							a, _ := rewarded("x").mean(cells[i])
							b, _ := rewarded("x").mean(cells[j])
							differences[p] = append(differences[p], a-b)
						}
					}
				}
				values := byFlips(seed, prompts, draws, func(signs []float64) [3]float64 {
					return [...]float64{movementOf(contrasts, signs), largestT(contrasts, 2, signs), largestT(differences, len(differences[0]), signs)}
				})
				for k, p := range values {
					if p <= 0.05 {
						found[k]++
					}
				}
				if values[0] <= movementSize {
					sized++
				}
			}
			percent := 100 / float64(n)
			t.Logf("of %d sweeps λ is found to move the reward in %.0f%%, by the largest polynomial in %.0f%%, by the largest difference in %.0f%%; at the size of %g%% in %.0f%%",
				n, percent*found[0], percent*found[1], percent*found[2], 100*movementSize, percent*sized)
			if found[0] < max(found[1], found[2]) {
				t.Errorf("another statistic finds more: %v", found)
			}
		})
	}
}

// byFlips are the p-values of statistics, by signs of the rows turned at random.
func byFlips(seed, rows, draws int, statistics func(signs []float64) [3]float64) [3]float64 {
	random := rand.New(rand.NewPCG(uint64(seed), 78))
	signs := slices.Repeat([]float64{1}, rows)
	observed, same := statistics(signs), [3]float64{1, 1, 1}
	for range draws {
		for p := range signs {
			signs[p] = float64(2*random.IntN(2) - 1)
		}
		for k, x := range statistics(signs) {
			if x >= observed[k]*(1-1e-12) {
				same[k]++
			}
		}
	}
	for k := range same {
		same[k] /= float64(draws + 1)
	}
	return same
}

// TestWholeReplies: what whole replies would say is what enumerating all of them says, in as many sweeps as intervals promise,
// and without weights it would not be.
func TestWholeReplies(t *testing.T) {
	n := simulations(t, 12)
	w := newWorld(9, 12, square)
	truth := map[float64]float64{}
	held, all, off, gap, worst := 0.0, 0.0, 0.0, 0.0, 0.0
	mean := map[float64]float64{}
	for seed := range n {
		s := w.setup(uint64(3000+seed), 60, nine(), 4, 0)
		outputs, _ := w.run(s)
		r := Analyse(s, outputs)
		whole := r.Rewards[0].Whole
		if whole == nil {
			t.Fatal("whole replies are not estimated")
		}
		for _, p := range whole.Points {
			if p.Lambda == 0 || p.Lambda == 1 {
				if *p.Difference != (stat.Interval{}) {
					t.Fatalf("at λ = %g whole replies differ by %v", p.Lambda, p.Difference)
				}
				continue
			}
			if p.Value == nil || p.Lambda > 1.5 {
				continue
			}
			if _, ok := truth[p.Lambda]; !ok {
				truth[p.Lambda] = w.whole(p.Lambda)
			}
			all++
			if p.Value.Holds(truth[p.Lambda]) {
				held++
			}
			mean[p.Lambda] += (p.Value.Estimate - truth[p.Lambda]) / float64(n)
			gap = max(gap, math.Abs(truth[p.Lambda]-w.truth(p.Lambda)))
		}
	}
	for _, e := range mean {
		worst = max(worst, math.Abs(e))
		off += math.Abs(e) / float64(len(mean))
	}
	t.Logf("%d λ up to 1.5 in %d sweeps: %.1f%% of intervals hold the truth; mean error %.3f, at most %.3f; token by token is off by up to %.3f",
		len(mean), n, 100*held/all, off, worst, gap)
	if held/all < 0.9-0.1*boolean(n < 200) || off > 0.25*gap+0.1*boolean(n < 200) {
		t.Errorf("%.1f%% of intervals hold what enumeration says, with a mean error of %.3f", 100*held/all, off)
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// TestNoiseDiffersNowhere: of a reward that is noise, and values that are missing whatever λ is, a sweep says in at most 5% of cases
// that whole replies differ from token by token, and that λ moves what is missing; and two such sweeps differ surely as seldom.
func TestNoiseDiffersNowhere(t *testing.T) {
	n := simulations(t, 12)
	for _, name := range slices.Sorted(maps.Keys(noises)) {
		for _, prompts := range []int{5, 12, 24, 100} {
			t.Run(fmt.Sprintf("%s%d", name, prompts), func(t *testing.T) {
				w := newWorld(9, 12, nil)
				whole, gaps, apart := 0.0, 0.0, 0.0
				var last *Side
				for seed := range n {
					w.judge = noise(uint64(seed), noises[name])
					s := w.setup(uint64(seed), prompts, nine(), 2, 0)
					outputs, _ := w.run(s)
					random := rand.New(rand.NewPCG(uint64(seed), 3))
					for _, o := range outputs {
						if random.Float64() < 0.1 {
							o.Rewards["toy"] = Missing("the judge did not answer")
						}
					}
					r := Analyse(s, outputs)
					reward := r.Rewards[0]
					if reward.Whole == nil {
						t.Fatal("whole replies are not estimated")
					}
					whole += boolean(reward.Whole.Differs)
					gaps += boolean(reward.Gaps != nil && reward.Gaps.Sure)
					side := &Side{s, r, outputs}
					if last != nil {
						apart += boolean(slices.ContainsFunc(Compare(*last, *side).Rewards[0].Points, func(p Both) bool { return p.Sure }))
					}
					last = side
				}
				for what, times := range map[string]float64{"whole replies differ": whole, "λ moves what is missing": gaps, "two sweeps differ": apart} {
					t.Logf("%s in %.1f%% of %d sweeps", what, 100*times/float64(n), n)
					if times/float64(n) > few(0.05, n) {
						t.Errorf("%s in %.0f of %d sweeps of noise", what, times, n)
					}
				}
			})
		}
	}
}
