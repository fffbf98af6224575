package agreement

import (
	"maps"
	"math"
	"slices"

	"realign/internal/stat"

	"gonum.org/v1/gonum/stat/distuv"
)

// share is the weighted mean of scores with its 95% interval; nil without any.
//
// Prompts and annotators are both drawn from many: answers about one prompt share it, and those of one annotator the
// taste. So the standard error is clustered by both (Cameron, Gelbach & Miller 2011, Journal of Business & Economic Statistics
// 29(2)), each clustering corrected for how few clusters it has, and no smaller than either alone. The interval is
// Wilson's for as many independent answers as would have that standard error, with Student's t on the degrees of freedom that the
// two clusterings have together (Satterthwaite 1946), no fewer than those of the fewer of prompts and annotators: so it has a
// width where all agree, and widens where there are few. One annotator is no cluster: the interval is about that one.
func share(all []judged) *stat.Interval {
	if len(all) == 0 {
		return nil
	}
	estimate, weight := 0.0, 0.0
	for i := range all {
		estimate, weight = estimate+all[i].weight*all[i].score, weight+all[i].weight
	}
	estimate /= weight
	influence := func(j *judged) float64 { return j.weight * (j.score - estimate) / weight }
	prompts := clustered(all, influence, func(j *judged) string { return j.prompt })
	annotators := clustered(all, influence, func(j *judged) string { return j.annotator })
	variance, freedom := prompts.variance, float64(prompts.count-1)
	if annotators.count > 1 {
		both := clustered(all, influence, func(j *judged) string { return j.prompt + "\x00" + j.annotator })
		variance = max(prompts.variance+annotators.variance-both.variance, prompts.variance, annotators.variance)
		fewer := math.Max(1, float64(min(prompts.count, annotators.count)-1))
		freedom = fewer
		if spread := prompts.spread() + annotators.spread(); spread > 0 && prompts.count > 1 {
			freedom = max(fewer, variance*variance/spread)
		}
	}
	clusters := prompts.count
	if annotators.count > 1 {
		clusters = min(clusters, annotators.count)
	}
	n := float64(clusters)
	if variance > 0 && estimate > 0 && estimate < 1 {
		n = min(float64(len(all)), estimate*(1-estimate)/variance)
	}
	i := wilson(estimate, n, student(freedom))
	return &i
}

// clustering is what the variance of a weighted mean is when answers are independent but within clusters.
type clustering struct {
	variance float64
	count    int // clusters
}

func clustered(all []judged, influence func(*judged) float64, cluster func(*judged) string) clustering {
	sums := map[string]float64{}
	for i := range all {
		sums[cluster(&all[i])] += influence(&all[i])
	}
	c := clustering{count: len(sums)}
	for _, key := range slices.Sorted(maps.Keys(sums)) { // in an order of its own, so that rounding is the same each time
		c.variance += sums[key] * sums[key]
	}
	if c.count > 1 {
		c.variance *= float64(c.count) / float64(c.count-1)
	}
	return c
}

// spread is its part of the denominator of Satterthwaite's degrees of freedom.
func (c clustering) spread() float64 { return c.variance * c.variance / float64(max(1, c.count-1)) }

// student is the 97.5% quantile of Student's t; with no degree of freedom that of one, as nothing is known of the spread.
func student(freedom float64) float64 {
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: max(1, freedom)}.Quantile(0.975)
}

// wilson is the score interval (Wilson 1927) of a share of n answers.
func wilson(p, n, t float64) stat.Interval {
	middle := (p + t*t/(2*n)) / (1 + t*t/n)
	half := t * math.Sqrt(p*(1-p)/n+t*t/(4*n*n)) / (1 + t*t/n)
	return stat.Interval{Estimate: p, Low: max(0, middle-half), High: min(1, middle+half)}
}
