package sweep

import (
	"math"

	"realign/internal/stat"
)

// curve is a measure as a function of λ: its totals over prompts, and where it may be read. With reweighting it is
// known on the fine grid, and else at the λ that were decoded.
//
// Reweighting. An output y of prompt x that was drawn at λ_k has, under another λ, the weight
//
//	w(y) = q_λ(y|x) / Σ_k n_k·q_{λ_k}(y|x),
//
// the sum over the λ that x was decoded at, n_k times each: multiple importance sampling with the balance heuristic
// (Veach & Guibas 1995, eq. 14; Owen & Zhou 2000, §3: the deterministic mixture). Σ w·f over the outputs of a prompt
// has the expectation E_λ[f|x] whether or not outputs share their noise, and Σ w has expectation 1, so that the ratio of
// their totals over prompts is the self-normalised estimate, with a bias of the order of 1/prompts and not of
// 1/samples. What differs between prompts makes it noisy through Σ w, which a control variate takes away again: with m
// the mean of f over the other samples of the grid (each of which covers all of its λ, so that all m of a prompt have
// one expectation, and m is independent of y), V = Σ w·m − m̄ has expectation 0, and
//
//	μ(λ) = (Σ w·f − b·V) / Σ w, all summed over prompts,
//
// with the b that makes the variance least, from regression over prompts (Owen & Zhou 2000, §4).
//
// Refinement chooses λ by outcomes of earlier stages, which leaves a bias that falls with the size of those.
type curve struct {
	lambdas  []float64     // of the points, ascending
	ok       []bool        // enough is known to read it there
	ess      []float64     // effective number of outputs, (Σ w)² / Σ w² (Kong 1992); without reweighting, their number
	rows     [][]float64   // [prompts with a value][columns]: what sums adds up. With reweighting Σ w, Σ w·f and V of each point, else the mean and 1
	sums     sums          // of the rows
	together *simultaneous // of the points that can be read; nil with one prompt
	reach    reach         // least and most of the values
	mis      bool          // reweighted: multiple importance sampling
	overall  float64       // with reweighting: the mean of all outputs, which f and m are taken from, for the sake of rounding
	b        []float64     // and the coefficients of the control variate
	sign     float64       // −1 turns a curve whose lowest point is its best upside down, for top only
}

// leastESS is the share of the outputs at one decoded λ that reweighting must be worth for a curve to be drawn, and the
// number that it must be worth in any case.
const (
	leastESS      = 0.5
	leastESSCount = 20
)

// newCurve measures a curve from a table.
func newCurve(t *table, m measure, sign float64) *curve {
	measured := newPlain
	if t.setup.Reweights() {
		measured = newReweighted
	}
	c := measured(t, m, sign)
	c.reach = t.reach(m)
	c.together = c.study(t.setup.Config.Seed)
	return c
}

// newPlain is a curve at the decoded λ alone.
func newPlain(t *table, m measure, sign float64) *curve {
	c := &curve{lambdas: t.lambdas, sign: sign, ok: make([]bool, len(t.lambdas)), ess: make([]float64, len(t.lambdas))}
	rows := make([][]float64, 0, len(t.prompts))
	for p := range t.prompts {
		row, some := make([]float64, 2*len(c.lambdas)), false
		for k := range c.lambdas {
			if mean, n := m.mean(t.cells[p][k]); n > 0 {
				row[2*k], row[2*k+1] = mean, 1
				c.ess[k] += float64(n)
				c.ok[k], some = true, true
			}
		}
		if some {
			rows = append(rows, row)
		}
	}
	c.rows, c.sums = rows, t.sumOver(rows)
	return c
}

// newReweighted is a curve on the fine grid, from the outputs of all λ.
func newReweighted(t *table, m measure, sign float64) *curve {
	config := &t.setup.Config
	c := &curve{lambdas: config.Evaluate(), mis: true, sign: sign}
	e := len(c.lambdas)
	c.ok, c.ess = make([]bool, e), make([]float64, e)
	places := t.places(c.lambdas)
	squares := make([]float64, e)
	rows := make([][]float64, 0, len(t.prompts))
	counted := make([]int, len(t.lambdas))
	overall, n := 0.0, 0
	for p := range t.prompts {
		for k := range t.lambdas {
			mean, some := m.mean(t.cells[p][k])
			overall += mean * float64(some)
			n += some
			counted[k] += some
		}
	}
	overall /= float64(max(n, 1))
	c.overall = overall
	for p := range t.prompts {
		if row := reweigh(gather(t.cells[p], places, m, e), overall, config.Samples, squares); row != nil {
			rows = append(rows, row)
		}
	}
	c.rows, c.sums = rows, t.sumOver(rows)
	if len(rows) == 0 {
		return c
	}
	// b is the least-squares coefficient of the control V at each point, over prompts.
	c.b = make([]float64, e)
	for i := range c.b {
		ratio := c.sums.total[3*i+1] / c.sums.total[3*i]
		var both, square float64
		for _, row := range rows {
			both += (row[3*i+1] - ratio*row[3*i]) * row[3*i+2]
			square += row[3*i+2] * row[3*i+2]
		}
		if square > 0 {
			c.b[i] = both / square
		}
	}
	// A point may be read where the outputs weigh as much as some share of those of one decoded λ do.
	typical := float64(n) / float64(len(t.lambdas))
	for i := range c.lambdas {
		weight := c.sums.total[3*i]
		c.ess[i] = weight * weight / squares[i]
		c.ok[i] = c.ess[i] >= max(leastESS*typical, leastESSCount)
	}
	c.forget(places, counted)
	return c
}

// forget makes a gap in the curve where λ were decoded and nothing was judged, as far as the next λ at which something was:
// values that are missing may be missing because of what they would be, and reweighting knows nothing of that. Where
// something was judged the curve is always drawn.
func (c *curve) forget(places, counted []int) {
	for k, at := range places {
		if counted[k] > 0 {
			c.ok[at] = true
			continue
		}
		from, to := 0, len(c.ok)-1
		for i := k - 1; i >= 0; i-- {
			if counted[i] > 0 {
				from = places[i] + 1
				break
			}
		}
		for i := k + 1; i < len(places); i++ {
			if counted[i] > 0 {
				to = places[i] - 1
				break
			}
		}
		for i := from; i <= to; i++ {
			c.ok[i] = false
		}
	}
}

// influence is how much prompt p moves the curve at its point i: the error of the curve is about the mean of these.
func (c *curve) influence(p, i int) float64 {
	n, row, total := float64(len(c.rows)), c.rows[p], c.sums.total
	if c.mis {
		relative := c.at(total, i) - c.overall
		return n * (row[3*i+1] - c.b[i]*row[3*i+2] - relative*row[3*i]) / total[3*i]
	}
	return n * (row[2*i] - c.at(total, i)*row[2*i+1]) / total[2*i+1]
}

// study looks at all points together.
func (c *curve) study(seed uint64) *simultaneous {
	var at []int
	var lambdas, value []float64
	for i, ok := range c.ok {
		if ok {
			at, lambdas, value = append(at, i), append(lambdas, c.lambdas[i]), append(value, c.sign*c.at(c.sums.total, i))
		}
	}
	psi := make(byPrompt, len(c.rows))
	for p := range psi {
		psi[p] = make([]float64, len(at))
		for k, i := range at {
			psi[p][k] = c.sign * c.influence(p, i)
		}
	}
	return newSimultaneous(seed, lambdas, value, psi, len(c.sums.draws), func(d int, x []float64) {
		for k, i := range at {
			x[k] = c.sign*c.at(c.sums.draws[d], i) - value[k]
		}
	})
}

// draw is an output that has a value, as reweighting sees it.
type draw struct {
	logQ      []float64 // under each λ of the fine grid
	mixture   float64   // log Σ n_k·q_{λ_k}, the sum over the λ that its prompt was decoded at
	reference float64   // log π_ref
	aligned   float64   // log π_al
	f         float64   // its value
	sample    int       // its index; those from Config.Samples on are of refinement
}

// sequence is the log-probability of the output under whole-reply realignment, up to a constant of its prompt.
func (y *draw) sequence(l float64) float64 { return (1-l)*y.reference + l*y.aligned }

// gathered are the outputs of a prompt that have values.
type gathered []draw

// gather finds the outputs of a prompt that have values.
func gather(cells [][]*Output, places []int, m measure, e int) (outputs gathered) {
	count := make([]int, e) // of outputs by the place of their λ
	for k, list := range cells {
		for _, o := range list {
			if x, ok := m(o); ok && !o.Untraced && len(o.LogQ) == e {
				outputs = append(outputs, draw{logQ: o.LogQ, reference: o.LogpReference, aligned: o.LogpAligned, f: x, sample: o.Sample})
				count[places[k]]++
			}
		}
	}
	type part struct {
		at   int
		logN float64
	}
	var mixed []part
	for i, times := range count {
		if times > 0 {
			mixed = append(mixed, part{i, math.Log(float64(times))})
		}
	}
	// The denominator of w, log Σ n_k·q_{λ_k}(y), with the largest term taken out before exp.
	for i := range outputs {
		y := &outputs[i]
		most, mixture := math.Inf(-1), 0.0
		for _, k := range mixed {
			most = max(most, k.logN+y.logQ[k.at])
		}
		for _, k := range mixed {
			mixture += math.Exp(k.logN + y.logQ[k.at] - most)
		}
		y.mixture = most + math.Log(mixture)
	}
	return outputs
}

// reweigh is the row of one prompt: for each λ of the fine grid Σ w, Σ w·f and V. It adds Σ w² to squares. Nil where no output of the prompt has a value.
func reweigh(outputs gathered, overall float64, first int, squares []float64) []float64 {
	if len(outputs) == 0 {
		return nil
	}
	e := len(squares)
	// level is Σ of values by sample, over the λ: outputs of one sample have the same noise.
	level := make([]float64, first)
	levels := make([]int, first)
	for _, y := range outputs {
		if y.sample < first {
			level[y.sample] += y.f
			levels[y.sample]++
		}
	}
	sum, n, filled := 0.0, 0, 0
	for s := range level {
		sum += level[s]
		n += levels[s]
		if levels[s] > 0 {
			filled++
		}
	}
	row := make([]float64, 3*e)
	for _, y := range outputs {
		// m of this output: the mean over the other samples. An output of refinement is of none of them.
		control := 0.0
		if filled > 1 {
			if y.sample < first {
				control = (sum-level[y.sample])/float64(n-levels[y.sample]) - overall
			} else {
				control = sum/float64(n) - overall
			}
		}
		for i := range e {
			w := math.Exp(y.logQ[i] - y.mixture)
			row[3*i] += w
			row[3*i+1] += w * (y.f - overall)
			row[3*i+2] += w * control
			squares[i] += w * w
		}
	}
	if filled > 1 {
		for i := range e {
			row[3*i+2] -= sum/float64(n) - overall
		}
	}
	return row
}

// at reads the curve at its point i from totals.
func (c *curve) at(total []float64, i int) float64 {
	if c.mis {
		return c.overall + (total[3*i+1]-c.b[i]*total[3*i+2])/total[3*i]
	}
	return total[2*i] / total[2*i+1]
}

// top is the λ where the curve is best, among the points that may be read, and how good it is there. Between points it
// is the vertex of the parabola through the best one and its neighbours. NaN where there is no point to read.
func (c *curve) top(total []float64) (lambda, value float64) {
	if total == nil {
		return math.NaN(), math.NaN()
	}
	best, most := -1, math.Inf(-1)
	for i, ok := range c.ok {
		if !ok {
			continue
		}
		if y := c.sign * c.at(total, i); y > most {
			best, most = i, y
		}
	}
	if best < 0 {
		return math.NaN(), math.NaN()
	}
	before, after := c.neighbour(best, -1), c.neighbour(best, 1)
	lambda = c.lambdas[best]
	if before < 0 || after < 0 {
		return lambda, c.sign * most
	}
	h, k := lambda-c.lambdas[before], c.lambdas[after]-lambda
	left, right := most-c.sign*c.at(total, before), most-c.sign*c.at(total, after) // both ≥ 0
	// With y = most − a·d² + b·d through both neighbours.
	a := (left*k + right*h) / (h * k * (h + k))
	if !(a > 0) {
		return lambda, c.sign * most
	}
	b := (left*k*k - right*h*h) / (h * k * (h + k))
	d := min(max(b/(2*a), -h), k)
	return lambda + d, c.sign * (most + b*d - a*d*d)
}

// neighbour is the next point that may be read, −1 where there is none.
func (c *curve) neighbour(i, step int) int {
	for i += step; 0 <= i && i < len(c.ok); i += step {
		if c.ok[i] {
			return i
		}
	}
	return -1
}

// tops are the best λ of the resamples.
func (c *curve) tops() []float64 {
	var tops []float64
	for _, draw := range c.sums.draws {
		if l, _ := c.top(draw); !math.IsNaN(l) {
			tops = append(tops, l)
		}
	}
	return tops
}

// best is the best λ with its interval; ok is false where nothing is known.
func (c *curve) best() (stat.Interval, bool) {
	estimate, _ := c.top(c.sums.total)
	if math.IsNaN(estimate) {
		return stat.Interval{}, false
	}
	if c.together == nil {
		return stat.Unbounded(estimate), true
	}
	return c.together.best(estimate, c.spacing()), true
}

// spacing is how far apart points are between which the curve is known by its points: 0 without reweighting.
func (c *curve) spacing() float64 {
	if !c.mis {
		return 0
	}
	widest := 0.0
	for i := 1; i < len(c.lambdas); i++ {
		widest = max(widest, c.lambdas[i]-c.lambdas[i-1])
	}
	return widest
}

// places are where the decoded λ are on the fine grid.
func (t *table) places(fine []float64) []int {
	places := make([]int, len(t.lambdas))
	for k, l := range t.lambdas {
		places[k] = nearest(fine, l)
	}
	return places
}

// nearest is the place of the value that is nearest to x.
func nearest(values []float64, x float64) int {
	best := 0
	for i, v := range values {
		if math.Abs(v-x) < math.Abs(values[best]-x) {
			best = i
		}
	}
	return best
}
