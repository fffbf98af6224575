package sweep

import (
	"math"
	"math/rand/v2"
	"runtime"
	"sync"

	"gonum.org/v1/gonum/floats"
	gonumstat "gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"realign/internal/stat"
)

// resamples is how many times n prompts are drawn anew for an interval: fewer where there are very many, which take long
// and whose intervals are narrow.
func resamples(n int) int { return min(max(4_000_000/n, 400), 1000) }

// sums are totals over prompts, of the sweep and of resamples of its prompts: prompts are what is independent in
// a sweep, so they are drawn with replacement, each with all of its cells (Efron & Tibshirani, An Introduction to
// the Bootstrap, 1993, ch. 6 and 13). Every estimate of a sweep is a function of such totals, and its interval
// comes from the same function of the resampled ones. All sums of one sweep see the same resamples.
type sums struct {
	prompts int         // rows that were added up
	total   []float64   // by column: over the prompts themselves
	draws   [][]float64 // [resamples][columns]: over resampled prompts
}

// block is how many rows are added to all resamples before the next ones: they stay in the cache meanwhile.
const block = 32

// sumOver adds up the columns of per-prompt rows, all of one length. Every sum is added in the order of the rows, so that it
// does not depend on how the work is divided.
func (t *table) sumOver(rows [][]float64) sums {
	if len(rows) == 0 {
		return sums{}
	}
	columns, n := len(rows[0]), len(rows)
	drawn := t.resample(n)
	s := sums{prompts: n, total: make([]float64, columns), draws: make([][]float64, len(drawn))}
	for _, row := range rows {
		floats.Add(s.total, row)
	}
	backing := make([]float64, len(drawn)*columns)
	for d := range drawn {
		s.draws[d] = backing[d*columns : (d+1)*columns]
	}
	var wait sync.WaitGroup
	share := (len(drawn) + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0)
	for from := 0; from < len(drawn); from += share {
		to := min(from+share, len(drawn))
		wait.Go(func() {
			for begin := 0; begin < n; begin += block {
				end := min(begin+block, n)
				for d := from; d < to; d++ {
					for i, times := range drawn[d][begin:end] {
						if times > 0 {
							floats.AddScaled(s.draws[d], float64(times), rows[begin+i])
						}
					}
				}
			}
		})
	}
	wait.Wait()
	return s
}

// resample is how many times each of n prompts is in each resample.
func (t *table) resample(n int) [][]uint16 {
	if drawn := t.resampled[n]; drawn != nil {
		return drawn
	}
	random := rand.New(rand.NewPCG(t.setup.Config.Seed, 1))
	drawn := make([][]uint16, resamples(n))
	for d := range drawn {
		drawn[d] = make([]uint16, n)
		for range n {
			drawn[d][random.IntN(n)]++
		}
	}
	t.resampled[n] = drawn
	return drawn
}

// reach is the least and the most that a quantity was anywhere in the sweep.
type reach struct{ low, high float64 }

// nowhere is a reach before anything was seen.
func nowhere() reach { return reach{math.Inf(1), math.Inf(-1)} }

// add widens the reach to a value.
func (r *reach) add(x float64) { r.low, r.high = min(r.low, x), max(r.high, x) }

// interval is an estimate with its interval, over all prompts. See intervalOf.
func (s sums) interval(r reach, f func(total []float64) float64) (stat.Interval, bool) {
	return s.intervalOf(s.prompts, r, f)
}

// intervalOf is an estimate from n of the prompts with its percentile interval, widened as few prompts need: resamples of n
// spread less than n prompts do, by √((n−1)/n), and the spread of few is itself uncertain, as Student's t says (Hesterberg
// 2015, "What teachers should know about the bootstrap", §4.5). With few prompts it is at least Student's interval with the
// resamples' standard deviation. Where all resamples agree, every prompt said the same: then it reaches as far as the share of
// prompts goes that may say otherwise and be missed by n with a probability of 2.5%, were they at the ends of the reach.
// One prompt has no interval. Resamples in which the estimate is undefined are left out; ok is false where the estimate
// itself is, or where nearly half of the resamples are.
func (s sums) intervalOf(n int, r reach, f func(total []float64) float64) (i stat.Interval, ok bool) {
	if s.total == nil {
		return i, false
	}
	i.Estimate = f(s.total)
	values := make([]float64, 0, len(s.draws))
	for _, draw := range s.draws {
		if x := f(draw); !math.IsNaN(x) {
			values = append(values, x)
		}
	}
	if math.IsNaN(i.Estimate) || len(values) <= len(s.draws)/2 {
		return stat.Interval{}, false
	}
	if n < 2 {
		return stat.Unbounded(i.Estimate), true
	}
	low, high := stat.Central(values)
	if high-low <= 1e-12*math.Abs(i.Estimate) {
		return unseen(i, n, r), true
	}
	t, small := stat.StudentQuantile(n-1), math.Sqrt(float64(n)/float64(n-1))
	k := small * t / distuv.UnitNormal.Quantile(0.975)
	i.Low, i.High = i.Estimate-k*(i.Estimate-low), i.Estimate+k*(high-i.Estimate)
	if n <= fewPrompts {
		half := t * small * gonumstat.StdDev(values, nil)
		i.Low, i.High = min(i.Low, i.Estimate-half), max(i.High, i.Estimate+half)
	}
	return i, true
}

// unseen is the interval of an estimate that n prompts agree on.
func unseen(i stat.Interval, n int, r reach) stat.Interval {
	if !(r.low < r.high) {
		return stat.Unbounded(i.Estimate)
	}
	share := 1 - math.Pow(0.025, 1/float64(n))
	i.Low, i.High = i.Estimate-share*max(0, i.Estimate-r.low), i.Estimate+share*max(0, r.high-i.Estimate)
	return i
}
