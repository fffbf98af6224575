package sweep

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/stat"
)

// resamples is how many times n prompts are drawn anew for an interval: fewer where there are very many, which take long
// and whose intervals are narrow.
func resamples(n int) int { return min(max(4_000_000/n, 400), 1000) }

// sums are totals over prompts, of the sweep and of resamples of its prompts: prompts are what is independent in
// a sweep, so they are drawn with replacement, each with all of its cells (Efron & Tibshirani, An Introduction to
// the Bootstrap, 1993, ch. 6 and 13). Every estimate of a sweep is a function of such totals, and its interval
// comes from the same function of the resampled ones. All sums of one sweep see the same resamples.
type sums struct {
	total []float64
	draws [][]float64
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
	s := sums{total: make([]float64, columns), draws: make([][]float64, len(drawn))}
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

// interval is an estimate with its percentile interval. Resamples in which it is undefined are left out; ok is false
// where the estimate itself is, or where nearly half of the resamples are.
func (s sums) interval(f func(total []float64) float64) (i Interval, ok bool) {
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
		return Interval{}, false
	}
	i.Low, i.High = central(values)
	return i, true
}

// central is the 2.5% and 97.5% quantiles. It sorts values.
func central(values []float64) (low, high float64) {
	slices.Sort(values)
	return stat.Quantile(0.025, stat.Empirical, values, nil), stat.Quantile(0.975, stat.Empirical, values, nil)
}
