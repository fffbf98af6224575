package preference

import (
	"math"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat/distuv"

	"realign/internal/fault"
	"realign/internal/stat"
)

// flatSD is the standard deviation, in log-odds, of a prior of strengths that says nothing.
const flatSD = 1e3

// between fits strengths that differ between annotators and prompts, or have an order effect: the public's, averaged over
// the sizes of the deviations. It fills in what FitStrengths returns.
func (s *Strengths) between(t *comparisons, plans []plan, order bool) error {
	k := len(t.lambdas)
	sd := float64(flatSD)
	if s.Regularised {
		sd = RidgeSD
	}
	prior := func(sd float64) *mat.TriDense {
		lower := mat.NewTriDense(k, mat.Lower, nil)
		for i := range k {
			lower.SetTri(i, i, sd)
		}
		return lower
	}
	m := newModel(t, 1)
	m.ties, m.order = t.tied() > 0, order
	// Sizes are weighed with a prior that says something: evidence with a flat one rests on how flat it is.
	logs := make([]float64, len(plans))
	for i := range plans {
		plans[i].apply(m)
		like, err := m.climb(prior(RidgeSD))
		if err != nil {
			return err
		}
		part := component{lower: prior(RidgeSD), like: &like}
		logs[i] = part.evidence() + math.Log(plans[i].prior)
	}
	// The mixture over plans has the mean of the means, and the spread of the means beside the mean of the covariances.
	mean, second := make([]float64, k), mat.NewSymDense(k, nil)
	nu, effect := 0.0, 0.0
	for i, w := range shares(logs) {
		if w < 1e-3 {
			continue
		}
		plans[i].weight = w
		plans[i].apply(m)
		like, err := m.climb(prior(sd))
		if err != nil {
			return err
		}
		part := component{lower: prior(sd), like: &like}
		z, chol, err := part.posterior()
		if err != nil {
			return err
		}
		var cov mat.SymDense
		if err := chol.InverseTo(&cov); err != nil {
			return fault.Wrap(err, fault.Internal, "the information of the strengths cannot be inverted")
		}
		at := centered(z, &cov, sd)
		for x := range k {
			mean[x] += w * at[x]
			for y := x; y < k; y++ {
				second.SetSym(x, y, second.At(x, y)+w*(cov.At(x, y)+at[x]*at[y]))
			}
		}
		nu, effect = nu+w*like.eta, effect+w*like.delta
	}
	// Plans below a thousandth were left out: the others share their weight.
	scale := 0.0
	for i := range plans {
		scale += plans[i].weight
	}
	s.Cov, s.Strength, s.Steps = nil, nil, steps(s.Scope, plans)
	for x := range k {
		mean[x] /= scale
	}
	for x := range k {
		row := make([]float64, k)
		for y := range k {
			row[y] = second.At(x, y)/scale - mean[x]*mean[y]
		}
		s.Cov = append(s.Cov, row)
		half := s.Steps * math.Sqrt(max(0, row[x]))
		s.Strength = append(s.Strength, stat.Interval{Estimate: mean[x], Low: mean[x] - half, High: mean[x] + half})
	}
	if m.ties {
		s.Nu = math.Exp(nu / scale)
	}
	s.Order = effect / scale
	return nil
}

// centered is sd·z about its mean, and makes cov the covariance of that.
func centered(z *mat.VecDense, cov *mat.SymDense, sd float64) []float64 {
	k := z.Len()
	at := make([]float64, k)
	mean, rows, all := 0.0, make([]float64, k), 0.0
	for x := range k {
		mean += sd * z.AtVec(x) / float64(k)
		for y := range k {
			rows[x] += cov.At(x, y) / float64(k)
		}
		all += rows[x] / float64(k)
	}
	next := mat.NewSymDense(k, nil)
	for x := range k {
		at[x] = sd*z.AtVec(x) - mean
		for y := x; y < k; y++ {
			next.SetSym(x, y, sd*sd*(cov.At(x, y)-rows[x]-rows[y]+all))
		}
	}
	cov.CopySym(next)
	return at
}

// steps is by how many standard deviations an interval reaches to each side: 1.96 where nobody differs. Where annotators or
// prompts surely do, it is half way to Student's t with one degree of freedom less than there are of them, and between by
// the probability that they do. The average over sizes already has longer tails than the normal, but its prior draws
// sizes of few to small ones: docs/studies.md has what remains.
func steps(scope Scope, plans []plan) float64 {
	differ := [2]float64{}
	for i := range plans {
		for s, size := range plans[i].size {
			if size > 0 {
				differ[s] += plans[i].weight
			}
		}
	}
	most := stat.Z95
	for s, n := range []int{scope.Annotators, scope.Prompts} {
		if differ[s] > 0 {
			t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(n - 1)}.Quantile(0.975)
			most = max(most, stat.Z95+differ[s]*(t-stat.Z95)/2)
		}
	}
	return most
}

// WinRates are those of the answers that the curve rests on, with intervals for whom the curve speaks for. Where annotators
// or prompts differ by the curve's model, answers of each agree: that takes Kish's design effect 1 + (m − 1)ρ, with m
// the mean number of answers of the cluster that an answer belongs to, and ρ = pqσ²/(1 + pqσ²) the correlation of two
// of its answers, σ² being the variance of what the source adds to the difference of the two λ.
func (c *Curve) WinRates() []WinRate {
	t := c.comparisons
	basis := deviations(t.lambdas)
	squares := [2]float64{} // mean squares of the sizes of annotators' and prompts' deviations
	for i := range c.plans {
		for s, size := range c.plans[i].size {
			squares[s] += c.plans[i].weight * size * size
		}
	}
	counts := map[[2]int]*[2]map[int]float64{}
	for i := range t.votes {
		v := &t.votes[i]
		at := [2]int{v.i, v.j}
		if counts[at] == nil {
			counts[at] = &[2]map[int]float64{{}, {}}
		}
		if v.y != 0 {
			counts[at][0][v.annotator] += v.weight
			counts[at][1][v.prompt] += v.weight
		}
	}
	rates := t.winRates()
	for k, cell := range t.cells {
		r := &rates[k]
		if r.Undecided {
			continue
		}
		varies := 0.0
		for q := range deviationRank {
			d := basis[cell.i*deviationRank+q] - basis[cell.j*deviationRank+q]
			varies += d * d
		}
		share := (r.HighWins + 1) / (r.Comparable + 2)
		for s, of := range counts[[2]int{cell.i, cell.j}] {
			m := 0.0
			for _, n := range of {
				m += n * n / r.Comparable
			}
			between := share * (1 - share) * squares[s] * varies
			r.DesignEffect += max(0, m-1) * between / (1 + between)
		}
		estimate := r.Rate.Estimate
		r.Rate = stat.Wilson(r.HighWins/r.DesignEffect, r.Comparable/r.DesignEffect)
		r.Rate.Estimate = estimate
	}
	return rates
}
