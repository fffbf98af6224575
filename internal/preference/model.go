package preference

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"realign/internal/fault"
)

// model is the likelihood of the answers given the public's u at the levels: Davidson's with an order effect (Davidson &
// Beaver 1977), where each annotator and each prompt deviates from the public (deviation.go). What is not u is
// integrated out by Laplace's approximation.
//
// The information is a bordered block matrix: answers of one annotator meet those of another only through the public's
// curve and the prompts. The coefficients of the source with more groups are eliminated group by group, what is left is
// dense, and its last rows belong to u.
// It is made for one fit and used by one goroutine; climb moves it to a mode.
type model struct {
	votes  []vote    // the answers
	k      int       // levels
	basis  []float64 // k × deviationRank, row by row: see deviations
	temper float64   // each vote counts so many times
	ties   bool      // whether ν is estimated; else it is 0
	order  bool      // whether the order effect is estimated; else it is 0

	outer, inner *source // outer is eliminated group by group; either may be nil, or of size 0

	u          []float64 // the public's utilities at the levels, in log-odds: where the model is
	eta, delta float64   // log ν, and the order effect in log-odds: where it is

	a       []float64 // n × n, the lower triangle: inner coefficients, η and δ, u
	g       []float64 // n: gradient, in the order of a's rows
	members []member  // of outer
}

// Priors of log ν and of the order effect δ, in log-odds of the first over the second where both are equally good.
const (
	etaMean = -0.7 // ν about ½,
	etaSD   = 2.0  // give or take a factor of 7
	deltaSD = 1.0
)

// member is one group of the outer source in the elimination.
type member struct {
	votes   []int     // of this group, by number
	columns []int     // of the dense matrix that it meets, ascending
	place   []int     // of each column of the dense matrix, in columns
	block   []float64 // r × r, r being deviationRank
	border  []float64 // r × len(columns)
	g       []float64 // r: gradient of its coefficients
}

// quadratic is the logarithm of the likelihood of u, up to what every quadratic of the same answers shares:
// value + pull·u − u·info·u/2.
type quadratic struct {
	value float64       // at u = 0
	pull  []float64     // by level
	info  *mat.SymDense // k × k: information of u once all else is integrated out
	eta   float64       // log ν at the mode
	delta float64       // order effect at the mode
}

// newModel is at u = 0, without sources. Ties and the order effect are estimated.
func newModel(t *comparisons, temper float64) *model {
	k := len(t.lambdas)
	m := &model{votes: t.votes, k: k, basis: deviations(t.lambdas), temper: temper, ties: true, order: true, u: make([]float64, k), eta: etaMean}
	return m
}

// between gives the model its sources; either may be nil.
func (m *model) between(annotators, prompts *source) {
	m.outer, m.inner = annotators, prompts
	if annotators == nil || prompts != nil && prompts.groups > annotators.groups {
		m.outer, m.inner = prompts, annotators
	}
	m.members = nil
}

// innerSize is the number of coefficients of the inner source; 0 where it has none.
func (m *model) innerSize() int {
	if m.inner == nil || m.inner.size == 0 {
		return 0
	}
	return m.inner.groups * deviationRank
}

// difference is d of a vote: of the public, with the order effect and the deviations.
func (m *model) difference(v int) float64 {
	vote := &m.votes[v]
	d := m.u[vote.i] - m.u[vote.j] + vote.first*m.delta
	for _, s := range []*source{m.outer, m.inner} {
		if s == nil || s.size == 0 {
			continue
		}
		at := s.at[s.of[v]*deviationRank:]
		for r := range deviationRank {
			d += s.size * at[r] * (m.basis[vote.i*deviationRank+r] - m.basis[vote.j*deviationRank+r])
		}
	}
	return d
}

// value is the log-likelihood with the priors of all but u.
func (m *model) value() float64 {
	eta, sum := m.logNu(), 0.0
	for v := range m.votes {
		vote := &m.votes[v]
		d := m.difference(v)
		_, _, _, logC := outcome(d, eta)
		part := vote.y*d/2 - logC
		if vote.y == 0 && m.ties {
			part += eta
		}
		sum += m.temper * vote.weight * part
	}
	if m.ties {
		off := (m.eta - etaMean) / etaSD
		sum -= off * off / 2
	}
	if m.order {
		off := m.delta / deltaSD
		sum -= off * off / 2
	}
	for _, s := range []*source{m.outer, m.inner} {
		if s != nil && s.size > 0 {
			for _, x := range s.at {
				sum -= x * x / 2
			}
		}
	}
	return sum
}

// logNu is log ν; −∞, the model of Bradley and Terry, where ties are not estimated.
func (m *model) logNu() float64 {
	if m.ties {
		return m.eta
	}
	return math.Inf(-1)
}

// gather finds which columns of the dense matrix each group of outer meets. It has to be called again when inner's size
// becomes or ceases to be 0.
func (m *model) gather() {
	inner := m.innerSize()
	n := inner + 2 + m.k
	m.a, m.g = make([]float64, n*n), make([]float64, n)
	m.members = nil
	if m.outer == nil || m.outer.size == 0 {
		return
	}
	m.members = make([]member, m.outer.groups)
	for v := range m.votes {
		p := &m.members[m.outer.of[v]]
		p.votes = append(p.votes, v)
	}
	for i := range m.members {
		p := &m.members[i]
		// η and δ, then the levels of the group's votes and the deviations of their inner groups.
		p.columns = append(p.columns, inner, inner+1)
		for _, v := range p.votes {
			p.columns = append(p.columns, inner+2+m.votes[v].i, inner+2+m.votes[v].j)
			if inner > 0 {
				for r := range deviationRank {
					p.columns = append(p.columns, m.inner.of[v]*deviationRank+r)
				}
			}
		}
		slices.Sort(p.columns)
		p.columns = slices.Compact(p.columns)
		p.place = make([]int, n)
		for c, column := range p.columns {
			p.place[column] = c
		}
		p.block = make([]float64, deviationRank*deviationRank)
		p.border = make([]float64, deviationRank*len(p.columns))
		p.g = make([]float64, deviationRank)
	}
}

// slot is a column of the dense matrix and the derivative of d by it.
type slot struct {
	column int     // its number in the dense matrix
	by     float64 // ∂d by that parameter
}

// fill computes gradient and negative Hessian of the value.
func (m *model) fill() {
	inner := m.innerSize()
	n := inner + 2 + m.k
	clear(m.a)
	clear(m.g)
	// The priors: inner deviations and outer ones are standard normal, η and δ normal with the constants above.
	for i := range inner {
		m.a[i*n+i] = 1
		m.g[i] = -m.inner.at[i]
	}
	atEta, atDelta := inner, inner+1
	m.a[atEta*n+atEta], m.g[atEta] = 1/(etaSD*etaSD), -(m.eta-etaMean)/(etaSD*etaSD)
	m.a[atDelta*n+atDelta], m.g[atDelta] = 1/(deltaSD*deltaSD), -m.delta/(deltaSD*deltaSD)
	for i := range m.members {
		p := &m.members[i]
		clear(p.block)
		clear(p.border)
		for r := range deviationRank {
			p.block[r*deviationRank+r] = 1
			p.g[r] = -m.outer.at[i*deviationRank+r]
		}
	}
	// Each vote adds the derivatives of its log-likelihood by d, the difference of its two λ, and by η. With p₁ ∝ exp(d/2),
	// p₂ ∝ exp(−d/2) and a tie ∝ ν the score by d is (y − (p₁ − p₂))/2.
	eta := m.logNu()
	var slots [deviationRank + 3]slot
	var phi [deviationRank]float64
	for v := range m.votes {
		vote := &m.votes[v]
		first, second, tie, _ := outcome(m.difference(v), eta)
		w := m.temper * vote.weight
		gd := w * (vote.y - (first - second)) / 2
		wdd := w * (first + second - (first-second)*(first-second)) / 4
		wde, wee, ge := 0.0, 0.0, 0.0
		if m.ties {
			wde, wee, ge = -w*(first-second)*tie/2, w*tie*(1-tie), -w*tie
			if vote.y == 0 {
				ge += w
			}
		}
		// slots are the columns that d depends on, in ascending order, with d's derivative by each.
		s := 0
		for r := range deviationRank {
			phi[r] = m.basis[vote.i*deviationRank+r] - m.basis[vote.j*deviationRank+r]
			if inner > 0 {
				slots[s] = slot{m.inner.of[v]*deviationRank + r, m.inner.size * phi[r]}
				s++
			}
		}
		by := 0.0
		if m.order {
			by = vote.first
		}
		slots[s] = slot{atDelta, by}
		slots[s+1], slots[s+2] = slot{atDelta + 1 + vote.i, 1}, slot{atDelta + 1 + vote.j, -1}
		s += 3
		m.g[atEta] += ge
		m.a[atEta*n+atEta] += wee
		for x := range s {
			c := slots[x]
			m.g[c.column] += gd * c.by
			if c.column > atEta {
				m.a[c.column*n+atEta] += wde * c.by
			} else {
				m.a[atEta*n+c.column] += wde * c.by
			}
			for y := range x + 1 {
				d := slots[y] // columns ascend
				m.a[c.column*n+d.column] += wdd * c.by * d.by
			}
		}
		// The outer deviations of one member meet no other member's: each has a block of its own, and a border to the dense
		// columns.
		if m.members == nil {
			continue
		}
		p := &m.members[m.outer.of[v]]
		width := len(p.columns)
		for r := range deviationRank {
			f := m.outer.size * phi[r]
			p.g[r] += gd * f
			for q := range r + 1 {
				p.block[r*deviationRank+q] += wdd * f * m.outer.size * phi[q]
			}
			row := p.border[r*width : (r+1)*width]
			row[p.place[atEta]] += wde * f
			for x := range s {
				row[p.place[slots[x].column]] += wdd * f * slots[x].by
			}
		}
	}
}

// eliminate takes everything but u out of the dense matrix, leaving its Cholesky factor in the first rows and columns,
// and returns half the log-determinant and half the square of the gradient in the factor's coordinates.
func (m *model) eliminate() (halfLogDet, halfSquare float64, err error) {
	n := m.innerSize() + 2 + m.k
	for i := range m.members {
		p := &m.members[i]
		width := len(p.columns)
		// block = L·Lᵀ; border and g become L⁻¹·border, L⁻¹·g.
		for r := range deviationRank {
			for q := range r + 1 {
				sum := p.block[r*deviationRank+q]
				for s := range q {
					sum -= p.block[r*deviationRank+s] * p.block[q*deviationRank+s]
				}
				if r == q {
					p.block[r*deviationRank+r] = math.Sqrt(sum) // at least 1: the prior's
				} else {
					p.block[r*deviationRank+q] = sum / p.block[q*deviationRank+q]
				}
			}
			root := p.block[r*deviationRank+r]
			row := p.border[r*width : (r+1)*width]
			for s := range r {
				f := p.block[r*deviationRank+s]
				p.g[r] -= f * p.g[s]
				for c, x := range p.border[s*width : (s+1)*width] {
					row[c] -= f * x
				}
			}
			p.g[r] /= root
			for c := range row {
				row[c] /= root
			}
			halfLogDet += math.Log(root)
			halfSquare += p.g[r] * p.g[r] / 2
			for x, column := range p.columns {
				f := row[x]
				if f == 0 {
					continue
				}
				m.g[column] -= f * p.g[r]
				to := m.a[column*n : column*n+n]
				for y := range x + 1 {
					to[p.columns[y]] -= f * row[y]
				}
			}
		}
	}
	first := n - m.k
	for i := range n {
		row := m.a[i*n : i*n+n]
		for j := range min(i+1, first) {
			other := m.a[j*n : j*n+n]
			sum := row[j]
			for s := range j {
				sum -= row[s] * other[s]
			}
			switch {
			case i != j:
				row[j] = sum / other[j]
			case !(sum > 0):
				return 0, 0, fault.New(fault.Internal, "the information of %d parameters is not positive definite", n)
			default:
				row[j] = math.Sqrt(sum)
				halfLogDet += math.Log(row[j])
			}
		}
		for s := range min(i, first) {
			m.g[i] -= row[s] * m.g[s]
		}
		if i < first {
			m.g[i] /= row[i]
			halfSquare += m.g[i] * m.g[i] / 2
			continue
		}
		for j := first; j <= i; j++ {
			other := m.a[j*n : j*n+n]
			for s := range first {
				row[j] -= row[s] * other[s]
			}
		}
	}
	return halfLogDet, halfSquare, nil
}

// reduced is the quadratic at the present place, after fill and eliminate.
func (m *model) reduced(halfLogDet, halfSquare float64) quadratic {
	n := m.innerSize() + 2 + m.k
	first := n - m.k
	q := quadratic{value: m.value() + halfSquare - halfLogDet, pull: make([]float64, m.k), info: mat.NewSymDense(m.k, nil), eta: m.eta, delta: m.delta}
	for i := range m.k {
		for j := range i + 1 {
			q.info.SetSym(i, j, m.a[(first+i)*n+first+j])
		}
	}
	for i := range m.k {
		move := 0.0
		for j := range m.k {
			move += q.info.At(i, j) * m.u[j]
		}
		g := m.g[first+i]
		q.pull[i] = g + move
		q.value -= g*m.u[i] + m.u[i]*move/2
	}
	return q
}

// step is the Newton step of all that is not u which belongs to a step du of u, after eliminate.
func (m *model) step(du []float64) (inner, outer []float64, eta, delta float64) {
	n := m.innerSize() + 2 + m.k
	first := n - m.k
	x := make([]float64, n)
	copy(x, m.g[:first])
	copy(x[first:], du)
	// Back substitution with the Cholesky factor that eliminate left in a, in its lower triangle.
	for i := first - 1; i >= 0; i-- {
		for j := i + 1; j < n; j++ {
			x[i] -= m.a[j*n+i] * x[j]
		}
		x[i] /= m.a[i*n+i]
	}
	if m.members != nil {
		outer = make([]float64, len(m.members)*deviationRank)
		for i := range m.members {
			p := &m.members[i]
			width := len(p.columns)
			out := outer[i*deviationRank : (i+1)*deviationRank]
			for r := deviationRank - 1; r >= 0; r-- {
				sum := p.g[r]
				for c, column := range p.columns {
					sum -= p.border[r*width+c] * x[column]
				}
				for s := r + 1; s < deviationRank; s++ {
					sum -= p.block[s*deviationRank+r] * out[s]
				}
				out[r] = sum / p.block[r*deviationRank+r]
			}
		}
	}
	inner = x[:first-2]
	return inner, outer, x[first-2], x[first-1]
}
