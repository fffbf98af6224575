package agreement

import (
	"math"
	"math/rand/v2"

	"realign/internal/stat"
)

// resamples is how often prompts and annotators are drawn anew for the standard error of a share.
const resamples = 500

// share is the weighted mean of scores with its 95% interval; nil without any.
//
// Prompts and annotators are both drawn from many: answers about one prompt share it, and those of one annotator the
// taste. So both are resampled, each answer weighing as often as its prompt and its annotator were drawn together (the
// pigeonhole bootstrap of Owen 2007, Annals of Applied Statistics 1(2), which errs to the wide side). The interval is
// Wilson's for as many independent answers as would have that standard error, with Student's t on one degree of freedom
// less than the fewer of prompts and annotators: so it has a width where all agree, and widens where there are few. One
// annotator is not resampled: the interval is about that one.
func share(all []judged) *stat.Interval {
	if len(all) == 0 {
		return nil
	}
	prompts, annotators := places(all, func(j *judged) string { return j.prompt }), places(all, func(j *judged) string { return j.annotator })
	estimate := weighted(all, func(int) float64 { return 1 })
	clusters := prompts.count
	if annotators.count > 1 {
		clusters = min(clusters, annotators.count)
	}
	n := float64(clusters)
	if error := standardError(all, prompts, annotators); error > 0 && estimate > 0 && estimate < 1 {
		n = min(float64(len(all)), estimate*(1-estimate)/(error*error))
	}
	// With no degree of freedom that of one: nothing is known of the spread.
	i := stat.WilsonScore(estimate, n, stat.StudentQuantile(max(1, clusters-1)))
	return &i
}

// clusters numbers the prompts, or the annotators, of answers.
type clusters struct {
	of    []int // by answer
	count int
}

func places(all []judged, name func(*judged) string) clusters {
	numbers := map[string]int{}
	c := clusters{of: make([]int, len(all))}
	for i := range all {
		key := name(&all[i])
		if _, known := numbers[key]; !known {
			numbers[key] = len(numbers)
		}
		c.of[i] = numbers[key]
	}
	c.count = len(numbers)
	return c
}

// draw is how often each cluster is drawn; once each where there is one.
func (c clusters) draw(random *rand.Rand) []float64 {
	times := make([]float64, c.count)
	for range c.count {
		times[random.IntN(c.count)]++
	}
	return times
}

func weighted(all []judged, times func(i int) float64) float64 {
	var sum, weight float64
	for i := range all {
		w := all[i].weight * times(i)
		sum, weight = sum+w*all[i].score, weight+w
	}
	return sum / weight
}

// standardError is that of the weighted mean when prompts and annotators are drawn anew.
func standardError(all []judged, prompts, annotators clusters) float64 {
	random := rand.New(rand.NewPCG(1, 2))
	var sum, squares, count float64
	for range resamples {
		p, a := prompts.draw(random), annotators.draw(random)
		x := weighted(all, func(i int) float64 { return p[prompts.of[i]] * a[annotators.of[i]] })
		if math.IsNaN(x) { // no answer was drawn
			continue
		}
		sum, squares, count = sum+x, squares+x*x, count+1
	}
	if count < 2 {
		return 0
	}
	return math.Sqrt(max(0, squares/count-sum*sum/(count*count)) * count / (count - 1))
}
