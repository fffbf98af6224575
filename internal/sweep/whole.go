package sweep

import (
	"fmt"
	"math"
	"slices"

	"realign/internal/stat"
)

// Whole is what a reward would be of whole replies drawn from π_ref^{1−λ}·π_al^λ, the distribution that the theory of β₀/λ is
// about (Liu et al. 2024, §3), estimated from replies drawn token by token. Token by token, a reply leaves out how what may
// follow would be normalised; with w the product of its local normalisers Z_t as its weight, w·q is that distribution up to
// a constant of the prompt. So weights are normalised within each prompt, which biases the estimate by about 1/samples; the
// jackknife over samples takes most of that away.
type Whole struct {
	Points   []WholePoint   `json:"points"`             // at the λ of the curve
	Best     *stat.Interval `json:"best,omitempty"`     // λ by whole replies; nil where λ does not surely move the reward
	Differs  bool           `json:"differs"`            // surely from token by token, at some λ, by more than leastWholeShare
	Clearest *WholePoint    `json:"clearest,omitempty"` // where it surely differs by the most
}

// WholePoint is what whole replies would say at a λ. Intervals of differences hold for all λ at once.
type WholePoint struct {
	Lambda     float64        `json:"lambda"`
	Value      *stat.Interval `json:"value"`      // nil where too few replies carry the weight
	Difference *stat.Interval `json:"difference"` // to token by token; 0 at λ = 0 and 1, where there is none
	ESS        float64        `json:"ess"`        // effective number of replies, (Σw)²/Σw² by prompt, summed
	Share      float64        `json:"share"`      // of that without the normalisers
}

// leastWholeESS is the effective number of replies to a prompt, on average, below which whole replies are not estimated.
const leastWholeESS = 2

// leastWholeShare is the share of the curve's range that a difference to token by token must surely exceed to be told: next to
// λ = 0 and 1 many are sure and mean nothing.
const leastWholeShare = 0.01

// WholeReplies reports whether the sampling is one that whole replies are defined for: temperature 1 and no truncation.
func (c *Config) WholeReplies() bool { return c.Reweights() && c.Sampling.Temperature == 1 }

// whole estimates what whole replies would say, given the curve token by token. Nil where that is not defined or nothing is
// known.
func (t *table) whole(c *curve, m measure, moves bool) *Whole {
	if !t.setup.Reweights() || !t.setup.Config.WholeReplies() || len(c.rows) == 0 {
		return nil
	}
	e, n := len(c.lambdas), float64(len(c.rows))
	places := t.places(c.lambdas)
	difference := make(byPrompt, 0, len(c.rows))
	ess, plain := make([]float64, e), make([]float64, e)
	for _, cells := range t.cells {
		if outputs := gather(cells, places, m, e); len(outputs) > 0 {
			difference = append(difference, outputs.whole(c.lambdas, ess, plain))
		}
	}
	rows := make([][]float64, len(c.rows)) // of the curve, and the differences
	for p := range rows {
		rows[p] = slices.Concat(c.rows[p], difference[p])
	}
	sums := t.sumOver(rows)
	w := &Whole{Points: make([]WholePoint, e)}
	var at []int
	for i, l := range c.lambdas {
		p := &w.Points[i]
		*p = WholePoint{Lambda: l, ESS: ess[i], Share: ess[i] / plain[i]}
		if math.IsNaN(p.Share) {
			p.Share = 0
		}
		if !c.ok[i] || !(ess[i] >= leastWholeESS*n) {
			continue
		}
		at = append(at, i)
		if v, ok := sums.interval(c.reach, func(total []float64) float64 { return c.at(total, i) + total[3*e+i]/n }); ok {
			p.Value = &v
		}
	}
	w.compare(c, difference, at, t.setup.Config.Seed, sums)
	if moves {
		w.best(c, difference, at, t.setup.Config.Seed, sums)
	}
	return w
}

// compare fills in the differences to token by token, which hold for all λ at once.
func (w *Whole) compare(c *curve, difference byPrompt, at []int, seed uint64, sums sums) {
	e, n := len(c.lambdas), float64(len(difference))
	var apart []int
	low, high := math.Inf(1), math.Inf(-1) // of the curve
	for _, i := range at {
		mean := c.at(sums.total, i)
		low, high = min(low, mean), max(high, mean)
		if l := c.lambdas[i]; l == 0 || l == 1 {
			// One model decodes here: both ways are the same.
			w.Points[i].Difference = &stat.Interval{}
			continue
		}
		apart = append(apart, i)
	}
	value, lambdas := make([]float64, len(apart)), make([]float64, len(apart))
	psi := difference.pick(apart)
	for k, i := range apart {
		value[k], lambdas[k] = sums.total[3*e+i]/n, c.lambdas[i]
	}
	j := newSimultaneous(seed, lambdas, value, psi, len(sums.draws), func(d int, x []float64) {
		for k, i := range apart {
			x[k] = sums.draws[d][3*e+i]/n - value[k]
		}
	})
	clearest := leastWholeShare * (high - low)
	for k, i := range apart {
		d := stat.Unbounded(value[k])
		if j != nil {
			d = j.at(k)
		}
		w.Points[i].Difference = &d
		if by := min(math.Abs(d.Low), math.Abs(d.High)); d.Clear() && by > clearest {
			clearest, w.Differs = by, true
			point := w.Points[i]
			w.Clearest = &point
		}
	}
}

// best fills in the best λ by whole replies.
func (w *Whole) best(c *curve, difference byPrompt, at []int, seed uint64, sums sums) {
	e, n := len(c.lambdas), float64(len(difference))
	value, lambdas := make([]float64, len(at)), make([]float64, len(at))
	read := func(total []float64, i int) float64 { return c.sign * (c.at(total, i) + total[3*e+i]/n) }
	psi := difference.pick(at)
	most := 0
	for k, i := range at {
		value[k], lambdas[k] = read(sums.total, i), c.lambdas[i]
		if value[k] > value[most] {
			most = k
		}
		for p := range psi {
			psi[p][k] = c.sign * (psi[p][k] + c.influence(p, i))
		}
	}
	j := newSimultaneous(seed, lambdas, value, psi, len(sums.draws), func(d int, x []float64) {
		for k, i := range at {
			x[k] = read(sums.draws[d], i) - value[k]
		}
	})
	if j != nil {
		best := j.best(lambdas[most], c.spacing())
		w.Best = &best
	}
}

// pick are some columns.
func (psi byPrompt) pick(columns []int) byPrompt {
	some := make(byPrompt, len(psi))
	for p, row := range psi {
		some[p] = make([]float64, len(columns))
		for k, i := range columns {
			some[p][k] = row[i]
		}
	}
	return some
}

// whole is, for each λ, by how much the prompt's mean of whole replies is above that token by token. It adds effective
// numbers of replies to ess, and to plain those without the normalisers.
func (outputs gathered) whole(lambdas []float64, ess, plain []float64) []float64 {
	samples := 0
	for _, y := range outputs {
		samples = max(samples, y.sample+1)
	}
	// Totals by sample, of the weights and of weight times value, with the normalisers and without.
	weight, value := make([]float64, samples), make([]float64, samples)
	weightQ, valueQ := make([]float64, samples), make([]float64, samples)
	difference := make([]float64, len(lambdas))
	for i, l := range lambdas {
		clear(weight)
		clear(value)
		clear(weightQ)
		clear(valueQ)
		most, mostQ := math.Inf(-1), math.Inf(-1)
		for _, y := range outputs {
			most, mostQ = max(most, y.sequence(l)-y.mixture), max(mostQ, y.logQ[i]-y.mixture)
		}
		square, squareQ := 0.0, 0.0
		for _, y := range outputs {
			w, q := math.Exp(y.sequence(l)-y.mixture-most), math.Exp(y.logQ[i]-y.mixture-mostQ)
			weight[y.sample] += w
			value[y.sample] += w * y.f
			weightQ[y.sample] += q
			valueQ[y.sample] += q * y.f
			square += w * w
			squareQ += q * q
		}
		a, b := jackknifed(value, weight, &ess[i], square), jackknifed(valueQ, weightQ, &plain[i], squareQ)
		if l != 0 && l != 1 {
			difference[i] = a - b
		}
	}
	return difference
}

// jackknifed is the ratio of two totals over samples, with its bias taken off by leaving each sample out (Quenouille 1956).
// It adds the effective number of replies, from the sum of squared weights, to ess.
func jackknifed(value, weight []float64, ess *float64, squares float64) float64 {
	v, w, n := 0.0, 0.0, 0.0
	for s := range weight {
		v += value[s]
		w += weight[s]
		if weight[s] > 0 {
			n++
		}
	}
	*ess += w * w / squares
	if n < 2 {
		return v / w
	}
	left := 0.0
	for s := range weight {
		if w-weight[s] <= 1e-9*w { // one sample has all the weight
			return v / w
		}
		if weight[s] > 0 {
			left += (v - value[s]) / (w - weight[s]) / n
		}
	}
	return n*v/w - (n-1)*left
}

// at is the point nearest to a λ.
func (w *Whole) at(l float64) *WholePoint {
	best := &w.Points[0]
	for i := range w.Points {
		if math.Abs(w.Points[i].Lambda-l) < math.Abs(best.Lambda-l) {
			best = &w.Points[i]
		}
	}
	return best
}

// Contrast says for people that whole replies surely differ from those decoded token by token, where they do. beta is β₀, 0
// where nobody knows it.
func (w *Whole) Contrast(name string, beta float64) string {
	if !w.Differs {
		return ""
	}
	subject := "What the two models say of whole replies"
	if beta > 0 {
		subject = "β₀/λ"
	}
	return fmt.Sprintf("%s is not what decoding token by token shows: at λ = %s whole replies differ surely, by %v in %s.",
		subject, stat.Format(w.Clearest.Lambda), *w.Clearest.Difference, name)
}

// words says for people what whole replies would say of the best λ, and whether β₀/λ is about another curve.
func (w *Whole) words(name string, best *Best, beta float64) (all []string) {
	p, about := w.at(best.Lambda.Estimate), ""
	if beta > 0 {
		about = ", which is what β₀/λ is about"
	}
	if p.Value == nil {
		all = append(all, fmt.Sprintf("What whole replies would say at the best λ is not known: the weight is on too few of them (effective number %s).", stat.Format(p.ESS)))
	} else {
		all = append(all, fmt.Sprintf("Of whole replies%s, %s would be %v there; %s of the replies' effective number is left (%s).",
			about, name, *p.Value, percent(p.Share), stat.Format(p.ESS)))
	}
	if text := w.Contrast(name, beta); text != "" {
		all = append(all, text)
		if w.Best != nil {
			all = append(all, fmt.Sprintf("By whole replies the best λ is %v.", *w.Best))
		}
	}
	return all
}

func percent(share float64) string { return fmt.Sprintf("%.0f%%", 100*share) }
