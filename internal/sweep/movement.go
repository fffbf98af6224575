package sweep

import (
	"fmt"
	"math"
	"math/rand/v2"

	gonumstat "gonum.org/v1/gonum/stat"

	"realign/internal/stat"
)

// Movement says whether λ moves a reward at all. Of many λ one always has the highest mean: without this nothing is said of
// a best one.
type Movement struct {
	Moves   bool    `json:"moves"`            // surely
	P       float64 `json:"p"`                // of the test; 1 where there is nothing to test
	Prompts int     `json:"prompts"`          // that it rests on
	Highest float64 `json:"highest"`          // λ of the best estimate, which may be chance
	Needed  int     `json:"needed,omitempty"` // prompts that would tell, if the differences are as large as they look; 0 is unknown
	Reason  string  `json:"reason,omitempty"` // why nothing is said of a best λ, for people
}

// The test is by sums over polynomials in λ, a quarter as heavy with every two degrees: what a smooth curve can be, with less
// weight on what bends more often. Its size is below 5%, so that rewards that are not symmetric stay within that, too.
const (
	movementDegree = 4    // of the highest polynomial
	movementHalf   = 0.5  // weight of a degree over that of the one before
	movementSize   = 0.03 // p-values up to this are a finding
	movementDraws  = 2000 // of signs, or of data
	leastFlipped   = 6    // prompts, from which on their signs can be so unusual as the size asks for
	telling        = 3.0  // standard errors that a contrast must be for four tests in five to find it
	mostNeeded     = 1_000_000
)

// movement tests whether the mean of a measure depends on λ, by the grid alone: refinement chose its λ by outcomes. Prompts
// are the units. A prompt's values at the λ are turned into orthogonal polynomials, of which each has expectation 0 if λ does
// nothing; S = Σ ½^(degree−1)·log(1+t²/(n−1)) over their t-statistics, a likelihood ratio with less weight on what bends more.
// With six prompts or more its distribution is that over random signs of whole prompts, which is exact if what a prompt
// says is as likely to be the opposite; with fewer, that of normal data with the same covariance.
func (t *table) movement(m measure) Movement {
	rows := t.contrasts(m)
	n := len(rows)
	v := Movement{P: 1, Prompts: n}
	r := t.reach(m)
	switch {
	case r.low > r.high:
		v.Reason = "there is no value of it"
		return v
	case r.low == r.high:
		v.Reason = fmt.Sprintf("the reward does not differ: it is %s for every answer", stat.Format(r.low))
		return v
	case n == 0:
		v.Reason = "no prompt has values at two λ or more"
		return v
	case n == 1:
		v.Reason = "one prompt says nothing about others: there are estimates and no intervals. Ten prompts or more tell"
		return v
	}
	random := rand.New(rand.NewPCG(t.setup.Config.Seed, 3))
	// The observed data counts as one draw, so that P is never 0.
	observed, same := movementOf(rows, nil), 1
	if observed == 0 {
		v.Reason = "the reward differs between answers and not between λ"
		return v
	}
	signs, drawn := make([]float64, n), byPrompt(nil)
	if n < leastFlipped {
		drawn = make(byPrompt, n)
		for p := range drawn {
			drawn[p] = make([]float64, len(rows[0]))
		}
	}
	for range movementDraws {
		s := 0.0
		if drawn != nil {
			normal(drawn, rows, random)
			s = movementOf(drawn, nil)
		} else {
			for p := range signs {
				signs[p] = float64(2*random.IntN(2) - 1)
			}
			s = movementOf(rows, signs)
		}
		// Equal up to rounding counts against a finding.
		if s >= observed*(1-1e-12) {
			same++
		}
	}
	v.P = float64(same) / (movementDraws + 1)
	if v.Moves = v.P <= movementSize; v.Moves {
		return v
	}
	v.Needed = promptsNeeded(rows)
	v.Reason = fmt.Sprintf("differences between λ as large as these come by chance in %.0f of 100 sweeps of %d prompts in which λ does nothing", math.Ceil(100*v.P), n)
	switch {
	case v.Needed >= mostNeeded:
		v.Reason += ". They are so small that more prompts would hardly tell"
	case v.Needed > n:
		v.Reason += fmt.Sprintf(". If they are what they look like, about %d prompts would tell", v.Needed)
	}
	return v
}

// contrasts are, by prompt with values at two λ of the grid or more, the values of polynomials in λ.
func (t *table) contrasts(m measure) byPrompt {
	grid := t.setup.Config.Lambda.Values
	basis := polynomials(grid, movementDegree)
	var rows byPrompt
	first := func(o *Output) (float64, bool) {
		if o.Sample >= t.setup.Config.Samples { // of refinement
			return 0, false
		}
		return m(o)
	}
	for _, cells := range t.cells {
		values, known, center := make([]float64, len(grid)), make([]bool, len(grid)), make([]float64, len(basis))
		n := 0.0
		for k, l := range grid {
			at := nearest(t.lambdas, l)
			if t.lambdas[at] != l {
				continue
			}
			if mean, some := measure(first).mean(cells[at]); some > 0 {
				values[k], known[k] = mean, true
				n++
				for d, b := range basis {
					center[d] += b[k]
				}
			}
		}
		if n < 2 {
			continue
		}
		row := make([]float64, len(basis))
		rows = append(rows, row)
		if equal(values, known) {
			continue // what rounding leaves would be a statistic like any other
		}
		for d, b := range basis {
			for k := range grid {
				if known[k] {
					row[d] += (b[k] - center[d]/n) * values[k]
				}
			}
		}
	}
	return rows
}

// equal reports whether the values that are known are equal but for rounding.
func equal(values []float64, known []bool) bool {
	r := nowhere()
	for k, x := range values {
		if known[k] {
			r.add(x)
		}
	}
	return r.high-r.low <= 1e-12*max(math.Abs(r.low), math.Abs(r.high))
}

// polynomials are orthonormal on the points, of degree 1 up to the given one.
func polynomials(points []float64, degree int) [][]float64 {
	basis := [][]float64{make([]float64, len(points))}
	for k := range points {
		basis[0][k] = 1 / math.Sqrt(float64(len(points)))
	}
	for d := 1; d <= min(degree, len(points)-1); d++ {
		b := make([]float64, len(points))
		for k, x := range points {
			b[k] = (x - points[0]) * basis[d-1][k]
		}
		for range 2 { // twice, for rounding
			for _, a := range basis {
				dot := 0.0
				for k := range b {
					dot += a[k] * b[k]
				}
				for k := range b {
					b[k] -= dot * a[k]
				}
			}
		}
		norm := 0.0
		for _, x := range b {
			norm += x * x
		}
		for k := range b {
			b[k] /= math.Sqrt(norm)
		}
		basis = append(basis, b)
	}
	return basis[1:]
}

// movementOf is S. With signs, each prompt's row is multiplied by its sign.
func movementOf(rows byPrompt, signs []float64) float64 {
	n, statistic, weight := float64(len(rows)), 0.0, 1.0
	for d := range rows[0] {
		sum, squares := 0.0, 0.0
		for p, row := range rows {
			x := row[d]
			squares += x * x
			if signs != nil {
				x *= signs[p]
			}
			sum += x
		}
		// log(1+t²/(n−1)) = −log(1 − sum²/(n·squares)); where every prompt says the same it is as if the next said nothing.
		if squares > 0 {
			statistic -= weight * math.Log(max(1-sum*sum/n/squares, 1/(n*n+1)))
		}
		weight *= movementHalf
	}
	return statistic
}

// normal fills in normal data with the covariance of the rows.
func normal(to, rows byPrompt, random *rand.Rand) {
	mean := make([]float64, len(rows[0]))
	for _, row := range rows {
		for d, x := range row {
			mean[d] += x / float64(len(rows))
		}
	}
	for _, x := range to {
		clear(x)
		for _, row := range rows {
			z := random.NormFloat64()
			for d := range x {
				x[d] += z * (row[d] - mean[d])
			}
		}
	}
}

// promptsNeeded is how many prompts would tell, by the contrast that is found with the fewest.
func promptsNeeded(rows byPrompt) int {
	most := 0.0
	x := make([]float64, len(rows))
	for d := range rows[0] {
		for p, row := range rows {
			x[p] = row[d]
		}
		if mean, deviation := gonumstat.MeanStdDev(x, nil); deviation > 0 {
			most = max(most, math.Abs(mean)/deviation)
		}
	}
	if most == 0 {
		return mostNeeded
	}
	return int(min(mostNeeded, math.Ceil(telling*telling/(most*most))+2))
}
