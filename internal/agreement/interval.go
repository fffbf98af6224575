package agreement

import (
	"maps"
	"math"
	"slices"

	"realign/internal/stat"

	"gonum.org/v1/gonum/stat/distuv"
)

// shareInterval is the weighted share of answers in which the output with the better reward was preferred (½ where the rewards are
// equal), with its 95% interval; nil without any.
//
// Prompts and annotators are both drawn from many: answers about one prompt share it, and those of one annotator the
// taste. So the standard error is clustered by both (Cameron, Gelbach & Miller 2011, Journal of Business & Economic Statistics
// 29(2)), each clustering corrected for how few clusters it has, and no smaller than either alone. The interval is
// Wilson's for as many independent answers as would have that standard error, with Student's t on the degrees of freedom that the
// two clusterings have together (Satterthwaite 1946), no fewer than those of the fewer of prompts and annotators: so it has a
// width where all agree, and widens where there are few. One annotator is no cluster: the interval is about that one.
func shareInterval(all []compared) *stat.Interval {
	if len(all) == 0 {
		return nil
	}
	estimate, weight := 0.0, 0.0
	for i := range all {
		estimate, weight = estimate+all[i].weight*all[i].score, weight+all[i].weight
	}
	estimate /= weight
	influence := func(j *compared) float64 { return j.weight * (j.score - estimate) / weight }
	prompts := clustered(all, influence, func(j *compared) string { return j.prompt })
	annotators := clustered(all, influence, func(j *compared) string { return j.annotator })
	variance, freedom := prompts.variance, float64(prompts.count-1)
	if annotators.count > 1 {
		both := clustered(all, influence, func(j *compared) string { return j.prompt + "\x00" + j.annotator })
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
	i := stat.WilsonScore(estimate, n, student(freedom))
	return &i
}

// clustering is what the variance of a weighted mean is when answers are independent but within clusters.
type clustering struct {
	variance float64 // of the mean, corrected for the number of clusters
	count    int     // clusters
}

// clustered is the variance where answers are independent but within the clusters that cluster names. influence is an
// answer's part of the mean's deviation: they add up to 0.
func clustered(all []compared, influence func(*compared) float64, cluster func(*compared) string) clustering {
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
