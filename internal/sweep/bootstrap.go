package sweep

import (
	"math"
	"math/rand/v2"
	"slices"

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

// sumOver adds up the columns of per-prompt rows, all of one length.
func sumOver(rows [][]float64, seed uint64) sums {
	if len(rows) == 0 {
		return sums{}
	}
	columns, n := len(rows[0]), len(rows)
	s := sums{total: make([]float64, columns), draws: make([][]float64, resamples(n))}
	for _, row := range rows {
		add(s.total, row, 1)
	}
	random := rand.New(rand.NewPCG(seed, 1))
	counts := make([]float64, n)
	backing := make([]float64, len(s.draws)*columns)
	for d := range s.draws {
		clear(counts)
		for range n {
			counts[random.IntN(n)]++
		}
		s.draws[d] = backing[d*columns : (d+1)*columns]
		for i, row := range rows {
			if counts[i] > 0 {
				add(s.draws[d], row, counts[i])
			}
		}
	}
	return s
}

func add(to, row []float64, times float64) {
	for i, x := range row {
		to[i] += times * x
	}
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
