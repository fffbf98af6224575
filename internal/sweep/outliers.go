package sweep

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"

	gonumstat "gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"realign/internal/stat"
)

// Outliers are values so far from all others that means say more about them than about λ. The median, which they do not
// move, then stands beside the mean.
type Outliers struct {
	Values int            `json:"values"` // how many there are
	Least  float64        `json:"least"`  // of all values
	Most   float64        `json:"most"`
	Median float64        `json:"median"` // of all values
	Moves  bool           `json:"moves"`  // λ surely moves the values' ranks
	Lambda *stat.Interval `json:"lambda"` // best by the median over prompts of their medians; nil unless it does
}

// farOut is how many times as far from the median as most values an outlier is, at least. Of a log-normal distribution with
// a standard deviation of 1 fewer than 1 value in 20,000 is.
const farOut = 20

// outliers looks for values of a reward that are far from all others; nil where there are none.
func (t *table) outliers(m measure, sign float64) *Outliers {
	var values []float64
	t.each(func(_ int, o *Output) {
		if x, ok := m(o); ok {
			values = append(values, x)
		}
	})
	if len(values) == 0 {
		return nil
	}
	slices.Sort(values)
	quantile := func(p float64) float64 { return gonumstat.Quantile(p, gonumstat.Empirical, values, nil) }
	o := &Outliers{Least: values[0], Most: values[len(values)-1], Median: quantile(0.5)}
	// How far most values are off: the wider of the two halves of the central 80%.
	usual := max(quantile(0.9)-o.Median, o.Median-quantile(0.1))
	if usual == 0 { // most are equal: what the others are usually off
		var off []float64
		for _, x := range values {
			if x != o.Median {
				off = append(off, math.Abs(x-o.Median))
			}
		}
		if len(off) == 0 {
			return nil
		}
		slices.Sort(off)
		usual = gonumstat.Quantile(0.5, gonumstat.Empirical, off, nil)
	}
	for _, x := range values {
		if math.Abs(x-o.Median) > farOut*usual {
			o.Values++
		}
	}
	if o.Values == 0 {
		return nil
	}
	// Mid-ranks, which no outlier moves.
	ranks := func(y *Output) (float64, bool) {
		x, ok := m(y)
		return float64(sort.SearchFloat64s(values, x)+sort.Search(len(values), func(i int) bool { return values[i] > x })) / 2, ok
	}
	if o.Moves = t.movement(ranks).Moves; o.Moves {
		o.Lambda = t.bestByMedian(m, sign)
	}
	return o
}

// bestByMedian is the decoded λ at which the median over prompts of their medians is best, with the interval of where it is
// when prompts are resampled, widened for few prompts and by half the way to the next λ.
func (t *table) bestByMedian(m measure, sign float64) *stat.Interval {
	n := len(t.cells)
	medians, orders := make([][]float64, len(t.lambdas)), make([][]int, len(t.lambdas))
	for k := range t.lambdas {
		medians[k] = make([]float64, n)
		for p := range t.cells {
			medians[k][p] = m.median(t.cells[p][k])
			if !math.IsNaN(medians[k][p]) {
				orders[k] = append(orders[k], p)
			}
		}
		slices.SortFunc(orders[k], func(a, b int) int { return cmp.Compare(medians[k][a], medians[k][b]) })
	}
	top := func(times func(p int) int) (low, high float64) {
		most := math.Inf(-1)
		low, high = math.NaN(), math.NaN()
		for k, l := range t.lambdas {
			y := sign * weightedMedian(medians[k], orders[k], times)
			if y > most {
				most, low = y, l
			}
			if y == most {
				high = l
			}
		}
		return low, high
	}
	// Several λ may have the same median: the estimate is the middle of them.
	low, high := top(func(int) int { return 1 })
	i := stat.Unbounded((low + high) / 2)
	if n < 2 || math.IsNaN(low) {
		return &i
	}
	var lows, highs []float64
	for _, drawn := range t.resample(n) {
		if a, b := top(func(p int) int { return int(drawn[p]) }); !math.IsNaN(a) {
			lows, highs = append(lows, a), append(highs, b)
		}
	}
	low, _ = stat.Central(lows)
	_, high = stat.Central(highs)
	// Widened for few prompts as stat.Percentile does: by √(n/(n−1)), and from the normal's quantile to Student's.
	k := math.Sqrt(float64(n)/float64(n-1)) * stat.StudentQuantile(n-1) / distuv.UnitNormal.Quantile(0.975)
	first, last := t.lambdas[0], t.lambdas[len(t.lambdas)-1]
	low, high = i.Estimate-k*(i.Estimate-low), i.Estimate+k*(high-i.Estimate)
	i.Low, i.High = max(first, t.halfway(low, -1)), min(last, t.halfway(high, 1))
	return &i
}

// halfway is half of the way from a λ to the next decoded one in a direction.
func (t *table) halfway(l float64, step int) float64 {
	for k := nearest(t.lambdas, l); 0 <= k && k < len(t.lambdas); k += step {
		if d := t.lambdas[k] - l; d*float64(step) > 0 {
			return l + d/2
		}
	}
	return l
}

// median is the median of a measure over outputs, NaN where none has it.
func (m measure) median(outputs []*Output) float64 {
	var values []float64
	for _, o := range outputs {
		if x, ok := m(o); ok {
			values = append(values, x)
		}
	}
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// weightedMedian is the median of values, each so many times, given their order.
func weightedMedian(values []float64, order []int, times func(p int) int) float64 {
	total := 0
	for _, p := range order {
		total += times(p)
	}
	seen, lower := 0, math.NaN()
	for _, p := range order {
		seen += times(p)
		if math.IsNaN(lower) && 2*seen >= total && total > 0 {
			lower = values[p]
		}
		if 2*seen > total {
			return (lower + values[p]) / 2
		}
	}
	return math.NaN()
}

// words says it for people.
func (o *Outliers) words(name string, mean *stat.Interval) []string {
	answer := "by the median, too, no best λ is found"
	if o.Lambda != nil {
		answer = fmt.Sprintf("by the median the best λ is %v", *o.Lambda)
	}
	beside := "by the mean there is none"
	if mean != nil {
		beside = fmt.Sprintf("by the mean it is %v", *mean)
		if o.Lambda == nil {
			answer = "by the median no best λ is found"
		}
	}
	return []string{fmt.Sprintf("%d values of %s are far from all others (from %s to %s, with a median of %s), and decide its means: %s; %s.",
		o.Values, name, stat.Format(o.Least), stat.Format(o.Most), stat.Format(o.Median), answer, beside)}
}
