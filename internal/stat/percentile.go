package stat

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// Percentile is a bootstrap interval whose Percentiles are widened as Student's t is against the normal,
// for resamples of n independent things (Hesterberg 2015, "What teachers should know about the
// bootstrap"). n is 2 or more.
func Percentile(estimate float64, samples []float64, n int) Interval {
	slices.Sort(samples)
	t := StudentQuantile(n - 1)
	tail := distuv.UnitNormal.CDF(-t * math.Sqrt(float64(n)/float64(n-1)))
	return Interval{
		estimate,
		min(estimate, stat.Quantile(tail, stat.LinInterp, samples, nil)),
		max(estimate, stat.Quantile(1-tail, stat.LinInterp, samples, nil)),
	}
}

// Z95 is the 97.5% quantile of the standard normal distribution.
const Z95 = 1.959963984540054

// Wilson is the 95% score interval of a binomial proportion: k of n, both from 0, k ≤ n, not
// necessarily whole (Wilson 1927). For n = 0 it is (½, 0, 1).
func Wilson(k, n float64) Interval {
	if !(n > 0) {
		return Interval{0.5, 0, 1}
	}
	return WilsonScore(k/n, n, Z95)
}

// WilsonScore is Wilson's interval of a share p of n answers, with the quantile t of the normal distribution or, where n was
// estimated, of Student's.
func WilsonScore(p, n, t float64) Interval {
	centre := (p + t*t/(2*n)) / (1 + t*t/n)
	half := t / (1 + t*t/n) * math.Sqrt(p*(1-p)/n+t*t/(4*n*n))
	return Interval{p, max(0, centre-half), min(1, centre+half)}
}
