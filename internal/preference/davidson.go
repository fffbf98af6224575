package preference

import (
	"math"

	"gonum.org/v1/gonum/mat"

	"realign/internal/fault"
	"realign/internal/stat"
)

// outcome is Davidson's model (1970): of two answers whose utilities differ by d, the first is
// preferred with probability e^{d/2}/c, the second with e^{−d/2}/c, neither with e^η/c, where c is their
// sum and η = log ν. η = −∞ is the model of Bradley and Terry.
func outcome(d, eta float64) (first, second, tie, logC float64) {
	top := max(math.Abs(d)/2, eta)
	first, second, tie = math.Exp(d/2-top), math.Exp(-d/2-top), math.Exp(eta-top)
	c := first + second + tie
	return first / c, second / c, tie / c, top + math.Log(c)
}

// information of one answer about d: the variance of half the sign of the answer.
func information(d, eta float64) float64 {
	p, q, _, _ := outcome(d, eta)
	return (p + q - (p-q)*(p-q)) / 4
}

// likelihood is the log-likelihood of the comparisons at utilities u and η, each answer counted temper times.
// It adds the gradient to g and the negative Hessian to h: one row per λ, and one more for η where g
// is that long. It is an exponential family in (u, η), so it is concave and the observed information
// is the expected one.
func (t *comparisons) likelihood(u []float64, eta, temper float64, g []float64, h *mat.SymDense) float64 {
	k, sum := len(u), 0.0
	for _, c := range t.cells {
		p, q, tie, logC := outcome(u[c.i]-u[c.j], eta)
		n := temper * (c.first + c.second + c.ties)
		sum += temper*(c.first-c.second)*(u[c.i]-u[c.j])/2 - n*logC
		slope := (temper*(c.first-c.second) - n*(p-q)) / 2
		g[c.i] += slope
		g[c.j] -= slope
		w := n * (p + q - (p-q)*(p-q)) / 4
		h.SetSym(c.i, c.i, h.At(c.i, c.i)+w)
		h.SetSym(c.j, c.j, h.At(c.j, c.j)+w)
		h.SetSym(c.i, c.j, h.At(c.i, c.j)-w)
		if len(g) > k {
			sum += temper * c.ties * eta
			g[k] += temper*c.ties - n*tie
			cross := -n * (p - q) * tie / 2
			h.SetSym(c.i, k, h.At(c.i, k)+cross)
			h.SetSym(c.j, k, h.At(c.j, k)-cross)
			h.SetSym(k, k, h.At(k, k)+n*tie*(1-tie))
		}
	}
	return sum
}

// Strengths is a Davidson (without ties: Bradley–Terry) model of pairwise answers, one free strength
// per λ.
type Strengths struct {
	Lambda   []float64       `json:"lambda"`   // ascending
	Strength []stat.Interval `json:"strength"` // by λ: log-odds, about a mean of 0 over the λ, with a 95% interval
	Cov      [][]float64     `json:"cov"`      // [K][K]: covariance of the strengths, which intervals of differences need
	Nu       float64         `json:"nu"`       // Davidson's ν: between equals a tie is ν times as likely as a win of the first; 0 without ties
	NuSE     float64         `json:"nu_se"`    // standard error of log ν
	Answers  float64         `json:"answers"`  // sum of weights
	LogLik   float64         `json:"log_lik"`  // natural log-likelihood of the answers at the estimate, without the prior

	// Regularised says that the maximum-likelihood estimate does not exist, and Note why; the estimate is
	// then the mode under independent normal priors of standard deviation RidgeSD on every strength and on
	// log ν, which is all that holds some strengths where they are.
	Regularised bool   `json:"regularised,omitempty"`
	Note        string `json:"note,omitempty"`

	Scope Scope `json:"scope"` // whom the intervals speak for

	// Order is the order effect: log-odds of the first of two equals over the second. 0 where no such effect is fitted.
	Order float64 `json:"order,omitempty"`
	// Steps is by how many standard errors an interval reaches to each side.
	Steps float64 `json:"steps"`
}

// RidgeSD is the standard deviation, in log-odds, of the prior that FitStrengths falls back on.
const RidgeSD = 3

// FitStrengths is the maximum-likelihood estimate by Newton's method, with 95% Wald intervals from the
// observed information under the constraint that strengths sum to 0. Source: Bradley & Terry (1952),
// Davidson (1970); existence: Ford (1957), and with ties the recession directions of the log-likelihood.
// Answers are taken as independent, and what stands first as no advantage (the order is random).
//
// Fewer than two λ compared is fault.Conflict; an answer that Check refuses is fault.Invalid.
func FitStrengths(answers []Pairwise) (*Strengths, error) {
	t, err := newComparisons(answers, nil, ByItem)
	if err != nil {
		return nil, err
	}
	k := len(t.lambdas)
	if k < 2 {
		return nil, fault.New(fault.Conflict, "strengths need answers that compare two different λ: there are none yet")
	}
	s := &Strengths{Lambda: t.lambdas, Answers: t.weight, Scope: t.scope(), Steps: stat.Z95}
	s.Note = t.unbounded()
	s.Regularised = s.Note != ""
	ties := t.tied() > 0
	size := k
	if ties {
		size++
	}
	ridge := 0.0
	if s.Regularised {
		ridge = 1.0 / (RidgeSD * RidgeSD)
	}
	x := make([]float64, size)
	// The penalty (Σ strength)²/2 fixes what the likelihood leaves open and moves nothing else.
	evaluate := func(x, g []float64, h *mat.SymDense) float64 {
		eta := math.Inf(-1)
		if ties {
			eta = x[k]
		}
		s.LogLik = t.likelihood(x[:k], eta, 1, g, h)
		value, total := s.LogLik, 0.0
		for i := range x {
			value -= ridge * x[i] * x[i] / 2
			g[i] -= ridge * x[i]
			h.SetSym(i, i, h.At(i, i)+ridge)
			if i < k {
				total += x[i]
			}
		}
		for i := range k {
			g[i] -= total
			for j := i; j < k; j++ {
				h.SetSym(i, j, h.At(i, j)+1)
			}
		}
		return value - total*total/2
	}
	chol, err := newton(x, evaluate)
	if err != nil {
		return nil, err
	}
	var cov mat.SymDense
	if err := chol.InverseTo(&cov); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the information of the strengths cannot be inverted")
	}
	// The open direction, all strengths alike, has eigenvalue k (k + ridge with a prior).
	open := 1 / (float64(k) * (float64(k) + ridge))
	for i := range k {
		row := make([]float64, k)
		for j := range k {
			row[j] = cov.At(i, j) - open
		}
		s.Cov = append(s.Cov, row)
		se := math.Sqrt(max(0, row[i]))
		s.Strength = append(s.Strength, stat.Interval{Estimate: x[i], Low: x[i] - stat.Z95*se, High: x[i] + stat.Z95*se})
	}
	if ties {
		s.Nu, s.NuSE = math.Exp(x[k]), math.Sqrt(cov.At(k, k))
	}
	plans, order := t.plans(), t.sides().Matter
	if len(plans) > 1 || order {
		return s, s.between(t, plans, order)
	}
	return s, nil
}

// Difference is the strength of λ number i less that of number j, with its 95% Wald interval.
func (s *Strengths) Difference(i, j int) stat.Interval {
	d := s.Strength[i].Estimate - s.Strength[j].Estimate
	half := s.Steps * math.Sqrt(max(0, s.Cov[i][i]+s.Cov[j][j]-2*s.Cov[i][j]))
	return stat.Interval{Estimate: d, Low: d - half, High: d + half}
}

// unbounded says why the likelihood has no maximum, or is empty when it has one. Along a direction in
// which it never falls, nobody who won may come closer to whom they beat, and a tie needs η to grow at
// least half as fast as its distance. Inside a cycle of wins nothing can move, so η cannot grow, and
// then ties hold as wins both ways do. Without a cycle all can.
func (t *comparisons) unbounded() string {
	if t.decisive() == 0 {
		return "every answer is a tie: ν has no maximum-likelihood estimate"
	}
	k := len(t.lambdas)
	beat := make([][]bool, k)
	for i := range beat {
		beat[i] = make([]bool, k)
	}
	for _, c := range t.cells {
		beat[c.i][c.j] = c.first > 0
		beat[c.j][c.i] = c.second > 0
	}
	cycle := false
	reach := closure(beat)
	for i := range k {
		cycle = cycle || reach[i][i]
	}
	if cycle {
		for _, c := range t.cells {
			if c.ties > 0 {
				beat[c.i][c.j], beat[c.j][c.i] = true, true
			}
		}
		reach = closure(beat)
	}
	for i := range k {
		for j := range k {
			if i != j && !reach[i][j] {
				return "the λ fall into groups of which one never lost to the other, or never met it, so their distance has no maximum-likelihood estimate"
			}
		}
	}
	return ""
}

// closure says which node reaches which, in one step or more.
func closure(edges [][]bool) [][]bool {
	reach := make([][]bool, len(edges))
	for i := range edges {
		reach[i] = append([]bool(nil), edges[i]...)
	}
	for m := range reach {
		for i := range reach {
			if reach[i][m] {
				for j := range reach {
					reach[i][j] = reach[i][j] || reach[m][j]
				}
			}
		}
	}
	return reach
}

// newton climbs a strictly concave function from x, in place, and returns the factor of the negative
// Hessian at the top. f adds its gradient to g and its negative Hessian to h.
func newton(x []float64, f func(x, g []float64, h *mat.SymDense) float64) (*mat.Cholesky, error) {
	n := len(x)
	var (
		chol  mat.Cholesky
		step  = mat.NewVecDense(n, nil)
		trial = make([]float64, n)
		g     = make([]float64, n)
		h     = mat.NewSymDense(n, nil)
	)
	at := func(x []float64) float64 {
		clear(g)
		h.Zero()
		return f(x, g, h)
	}
	value := at(x)
	for range 100 {
		if !chol.Factorize(h) {
			return nil, fault.New(fault.Internal, "the information matrix of %d parameters is not positive definite", n)
		}
		if err := chol.SolveVecTo(step, mat.NewVecDense(n, g)); err != nil {
			return nil, fault.Wrap(err, fault.Internal, "Newton's step of %d parameters", n)
		}
		size, slope := 0.0, 0.0
		for i := range n {
			size = max(size, math.Abs(step.AtVec(i)))
			slope += step.AtVec(i) * g[i]
		}
		if size < 1e-9 {
			return &chol, nil
		}
		better := false
		// Backtracking: the step is halved until the value does not fall.
		for shrink := 1.0; shrink > 1e-6 && !better; shrink /= 2 {
			for i := range n {
				trial[i] = x[i] + shrink*step.AtVec(i)
			}
			// Near the top the gain drowns in rounding, and the full step is the better point.
			v := at(trial)
			if better = v >= value || slope < 1e-9*(1+math.Abs(value)); better {
				copy(x, trial)
				value = v
			}
		}
		if !better {
			return nil, fault.New(fault.Internal, "Newton's method found no way up from %g", value)
		}
	}
	return nil, fault.New(fault.Internal, "Newton's method did not settle in 100 steps")
}
