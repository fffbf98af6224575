package sweep

import (
	"math"
	"math/rand/v2"
	"slices"

	gonumstat "gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"realign/internal/stat"
)

// simultaneous has simultaneous confidence limits for all points of a curve, or of the differences of two curves. A best point
// is chosen among many, and whatever is said of it must hold wherever it might have been: limits are quantiles of the largest
// of all studentised differences, with the largest chosen anew in every draw (Romano & Wolf 2005, "Stepwise multiple testing as
// formalized data snooping"; White 2000). Larger is better, whatever the reward's direction; for at alone it does not matter.
type simultaneous struct {
	prompts int       // that the values rest on
	lambdas []float64 // of the points, ascending
	value   []float64 // there
	errors  []float64 // standard errors of differences, m×m; on the diagonal those of the values
	behind  []float64 // m×m: what is taken off where b competes with a, in standard errors (see believe)

	// By draw, had all points been equal. For each point: the most by which any other is better, in standard errors, and
	// the most by which any differs. Then the most by which any two differ, and by which any is off its own value.
	above, apart [][]float64 // [draws][points]: the most by which any other point is better, in standard errors; and the most by which any differs
	all, off     []float64   // by draw: the most by which any two points differ, and by which any is off its own value
}

// fewPrompts is up to how many prompts draws are of whole data sets whose standard errors vary, as those of few prompts
// do: the largest of several t-statistics. Beyond, the resamples of the prompts serve, with limits widened as Student's t is.
const fewPrompts = 24

// dataSets is how many data sets are drawn for few prompts.
const dataSets = 500

// byPrompt has a row a prompt and a column a point, or a contrast of points (movement.go): how much the prompt moves the value.
// The error of the value is about their mean.
type byPrompt [][]float64

// newSimultaneous studies points. shifted sets x, for each resample of the prompts, to how far the values are from those of all
// prompts; x is not cleared before. Nil where there are fewer than two prompts or no point.
func newSimultaneous(seed uint64, lambdas, value []float64, psi byPrompt, resamples int, shifted func(draw int, x []float64)) *simultaneous {
	n, m := len(psi), len(lambdas)
	if n < 2 || m == 0 {
		return nil
	}
	j := &simultaneous{prompts: n, lambdas: lambdas, value: value}
	psi.center()
	j.errors = psi.errors(make([]float64, m*m))
	j.believe()
	if n <= fewPrompts {
		j.drawDataSets(psi, rand.New(rand.NewPCG(seed, 2)))
		return j
	}
	widen := stat.StudentQuantile(n-1) / distuv.UnitNormal.Quantile(0.975)
	x := make([]float64, m)
	for d := range resamples {
		shifted(d, x)
		for k := range x {
			if x[k] *= widen; math.IsNaN(x[k]) {
				x[k] = 0
			}
		}
		j.note(x, j.errors)
	}
	return j
}

// believe fills in behind: a point that is surely worse does not compete for being the best, and one that looks worse
// competes less. The threshold √log n and the part of it that is believed are those of generalised moment selection
// (Andrews & Soares 2010, φ⁽¹⁾ with ξ/κ, eq. 4.3 to 4.5); with few prompts it is farther out, as Student's t is.
func (j *simultaneous) believe() {
	m := len(j.lambdas)
	j.behind = make([]float64, m*m)
	far := max(1, math.Sqrt(math.Log(float64(j.prompts)))) * stat.StudentQuantile(j.prompts-1) / distuv.UnitNormal.Quantile(0.975)
	for a := range m {
		for b := range m {
			if d := j.value[a] - j.value[b]; d > 0 {
				t := d / j.error(a, b)
				if j.behind[a*m+b] = t / far; t > max(far, 2) {
					j.behind[a*m+b] = math.Inf(1)
				}
			}
		}
	}
}

// center takes the mean off each point.
func (psi byPrompt) center() {
	for k := range psi[0] {
		mean := 0.0
		for _, row := range psi {
			mean += row[k] / float64(len(psi))
		}
		for _, row := range psi {
			row[k] -= mean
		}
	}
}

// errors fills in the standard errors of the means of centred columns and of their differences, m×m.
func (psi byPrompt) errors(errors []float64) []float64 {
	n, m := float64(len(psi)), len(psi[0])
	clear(errors)
	for _, row := range psi {
		for a, x := range row {
			line := errors[a*m : a*m+a+1]
			for b := range line {
				line[b] += x * row[b]
			}
		}
	}
	for a := range m {
		for b := range a {
			both := errors[a*m+a] + errors[b*m+b]
			v := both - 2*errors[a*m+b]
			if v < 1e-14*both { // rounding
				v = 0
			}
			errors[b*m+a] = math.Sqrt(v / n / (n - 1))
		}
	}
	for a := range m {
		for b := range a {
			errors[a*m+b] = errors[b*m+a]
		}
		errors[a*m+a] = math.Sqrt(errors[a*m+a] / n / (n - 1))
	}
	return errors
}

// drawDataSets draws prompts from the normal distribution with the covariance of those at hand, as many as they are.
func (j *simultaneous) drawDataSets(psi byPrompt, random *rand.Rand) {
	n, m := len(psi), len(psi[0])
	x, errors, mean := make(byPrompt, n), make([]float64, m*m), make([]float64, m)
	for i := range x {
		x[i] = make([]float64, m)
	}
	scale := 1 / math.Sqrt(float64(n-1))
	for range dataSets {
		clear(mean)
		for i := range x {
			clear(x[i])
			for _, row := range psi {
				z := random.NormFloat64() * scale
				for k, v := range row {
					x[i][k] += z * v
				}
			}
			for k, v := range x[i] {
				mean[k] += v / float64(n)
			}
		}
		x.center()
		j.note(mean, x.errors(errors))
	}
}

// note remembers how far the points of a draw are from each other.
func (j *simultaneous) note(x, errors []float64) {
	m := len(x)
	above, apart := make([]float64, m), make([]float64, m)
	all, off := 0.0, 0.0
	for a := range m {
		if e := errors[a*m+a]; e > 0 {
			off = max(off, math.Abs(x[a])/e)
		}
		for b := range a {
			e := errors[b*m+a]
			if e == 0 {
				continue
			}
			t := (x[a] - x[b]) / e
			above[b] = max(above[b], t-j.behind[b*m+a])
			above[a] = max(above[a], -t-j.behind[a*m+b])
			t = math.Abs(t)
			apart[a], apart[b] = max(apart[a], t), max(apart[b], t)
			all = max(all, t)
		}
	}
	j.above, j.apart = append(j.above, above), append(j.apart, apart)
	j.all, j.off = append(j.all, all), append(j.off, off)
}

// error is the standard error of the difference of two points. Where every prompt has the same one, it is as if the next
// had none.
func (j *simultaneous) error(a, b int) float64 {
	if e := j.errors[a*len(j.lambdas)+b]; e > 0 {
		return e
	}
	return math.Abs(j.value[a]-j.value[b]) / float64(j.prompts)
}

// limit is the 95% quantile of a statistic over draws.
func limit(draws int, of func(draw int) float64) float64 {
	values := make([]float64, draws)
	for d := range values {
		values[d] = of(d)
	}
	slices.Sort(values)
	return gonumstat.Quantile(0.95, gonumstat.Empirical, values, nil)
}

// overall is the limit of a statistic that there is one of for each draw.
func overall(values []float64) float64 {
	return limit(len(values), func(d int) float64 { return values[d] })
}

// difference is how much better point a is than b, where a was chosen by the data and b was not.
func (j *simultaneous) difference(a, b int) stat.Interval {
	return j.around(j.value[a]-j.value[b], limit(len(j.apart), func(d int) float64 { return j.apart[d][b] }), j.error(a, b))
}

// chosen is how much better point a is than b, where both were chosen by the data.
func (j *simultaneous) chosen(a, b int) stat.Interval {
	return j.around(j.value[a]-j.value[b], overall(j.all), j.error(a, b))
}

// at is the value of a point that was chosen by the data.
func (j *simultaneous) at(a int) stat.Interval {
	return j.around(j.value[a], overall(j.off), j.errors[a*len(j.lambdas)+a])
}

// around is an interval about an estimate, of so many standard errors, which are no fewer than those of one quantity alone.
// Where all prompts agree there is no error to speak of, and no interval.
func (j *simultaneous) around(estimate, errors, each float64) stat.Interval {
	half := max(errors, stat.StudentQuantile(j.prompts-1)) * each
	if half == 0 {
		return stat.Unbounded(estimate)
	}
	return stat.Interval{Estimate: estimate, Low: estimate - half, High: estimate + half}
}

// place is the place of the point nearest to a λ.
func (j *simultaneous) place(l float64) int { return nearest(j.lambdas, l) }
