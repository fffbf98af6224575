// Package bench compares the time of two ways to do the same work: interleaved in one process, so that
// whatever else the machine does falls on both, and reported as a ratio with its spread. It is not for
// absolute figures, which a shared machine cannot give.
package bench

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"gonum.org/v1/gonum/stat"
)

// Ratio is the time of A over the time of B.
type Ratio struct {
	Median    float64       // of the paired ratios: below 1 where A is faster
	Low, High float64       // 95% bootstrap interval of the median
	Pairs     int           // how many ratios there are
	A, B      time.Duration // medians of the times
}

// Compare runs a and b in turns, pairs times each after one of each to warm up, swapping who goes first,
// and returns the median of the paired ratios. An error of either ends it, and so does the end of ctx, after the turn that is being timed.
func Compare(ctx context.Context, pairs int, a, b func() error) (Ratio, error) {
	ratios := make([]float64, 0, pairs)
	var as, bs []float64
	for i := range pairs + 1 {
		times := map[bool]float64{}
		for _, first := range []bool{i%2 == 0, i%2 != 0} {
			f := a
			if !first {
				f = b
			}
			began := time.Now()
			if err := ctx.Err(); err != nil {
				return Ratio{}, err
			}
			if err := f(); err != nil {
				return Ratio{}, err
			}
			times[first] = time.Since(began).Seconds()
		}
		if i > 0 {
			as, bs = append(as, times[true]), append(bs, times[false])
			ratios = append(ratios, times[true]/times[false])
		}
	}
	low, high := interval(ratios)
	seconds := func(x []float64) time.Duration { return time.Duration(median(x) * float64(time.Second)) }
	return Ratio{Median: median(ratios), Low: low, High: high, Pairs: pairs, A: seconds(as), B: seconds(bs)}, nil
}

// median is that of numbers in any order; there is at least one.
func median(x []float64) float64 {
	x = slices.Clone(x)
	slices.Sort(x)
	return stat.Quantile(0.5, stat.LinInterp, x, nil)
}

// interval is the percentile bootstrap's 95% interval of the median (Efron & Tibshirani 1993, §13.3), with
// a fixed seed.
func interval(x []float64) (low, high float64) {
	random := rand.New(rand.NewPCG(1, 2))
	medians := make([]float64, 2000)
	sample := make([]float64, len(x))
	for i := range medians {
		for k := range sample {
			sample[k] = x[random.IntN(len(x))]
		}
		medians[i] = median(sample)
	}
	slices.Sort(medians)
	return stat.Quantile(0.025, stat.LinInterp, medians, nil), stat.Quantile(0.975, stat.LinInterp, medians, nil)
}
