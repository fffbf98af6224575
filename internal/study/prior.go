package study

import (
	"slices"

	"gonum.org/v1/gonum/mat"

	"realign/internal/fault"
)

// covariance is that of a random curve at two λ.
type covariance func(x, y float64) float64

// shape is one prior of the public's curve: a Gaussian process with its prior probability.
type shape struct {
	prior float64
	of    covariance
	mean  func(float64) float64 // nil: 0
}

// add puts times the mean at some λ into u.
func (s *shape) add(u, lambdas []float64, times float64) {
	if s.mean != nil {
		for i, x := range lambdas {
			u[i] += times * s.mean(x)
		}
	}
}

// Prior probabilities of the families of shapes.
const (
	smoothPrior = 0.92
	roughPrior  = 0.025
	bendPrior   = 0.035
	fallPrior   = 0.02
)

// shapes are the priors that the curve averages over.
//
// Most of the prior is on smooth curves: Matérn 5/2 with three lengths, in ranges of λ, and five scales, in log-odds. What
// is beyond λ = 1 may fall faster than it rises, and a smooth curve then rounds its top off and is sure of a place that is
// too low. So there are curves that are smooth but for one place, which is anywhere: a bend, from which on the slope is
// lower by 12 ± 6 log-odds a range, and a fall by 4 ± 2 log-odds within one or two steps of the grid. Within a step of
// the grid the answers do not tell one place from another, and the average over places says so. Last, curves that are
// rough everywhere: Matérn 3/2. docs/studies.md has what each is good for.
func shapes(levels []float64) []shape {
	width := levels[len(levels)-1] - levels[0]
	var list []shape
	for _, length := range []float64{0.5, 0.8, 1.2} {
		for _, scale := range []float64{1, 2, 4, 8, 16} {
			list = append(list, shape{smoothPrior / 15, process(matern, length*width, scale), nil})
		}
	}
	for _, length := range []float64{0.25, 0.5} {
		for _, scale := range []float64{1, 2, 4} {
			list = append(list, shape{roughPrior / 6, process(matern3, length*width, scale), nil})
		}
	}
	base := process(matern, 0.9*width, 2)
	places := places(levels)
	n := float64(len(places))
	drop := func(prior, mean, sd float64, curve func(float64) float64) {
		list = append(list, shape{prior, sum(base, along(sd, curve)), func(x float64) float64 { return -mean * curve(x) }})
	}
	for _, p := range places {
		drop(bendPrior/n, 12, 6, bend(p.at, width))
		drop(fallPrior/n/2, 4, 2, fall(p.at, p.step))
		drop(fallPrior/n/2, 4, 2, fall(p.at, 2*p.step))
	}
	return list
}

// place is where a curve may change, and the step of the grid there.
type place struct{ at, step float64 }

// places are about 32 places over the levels, at most four a step of the grid.
func places(levels []float64) []place {
	const most, each = 32, 4
	steps := len(levels) - 1
	width := levels[steps] - levels[0]
	parts := min(each, max(1, most/steps))
	every := (steps + most - 1) / most
	var list []place
	for i := 0; i < steps; i += every {
		step := levels[min(i+every, steps)] - levels[i]
		for p := range parts {
			list = append(list, place{levels[i] + step*float64(p)/float64(parts), max(step, width/most)})
		}
	}
	return list
}

func process(kernel func(distance, length float64) float64, length, scale float64) covariance {
	return func(x, y float64) float64 { return scale * scale * kernel(x-y, length) }
}

func sum(a, b covariance) covariance {
	return func(x, y float64) float64 { return a(x, y) + b(x, y) }
}

// along is a fixed curve times a normal number with a standard deviation.
func along(sd float64, curve func(float64) float64) covariance {
	return func(x, y float64) float64 { return sd * sd * curve(x) * curve(y) }
}

// bend is 0 up to a place, and then rises by 1 a range.
func bend(at, width float64) func(float64) float64 {
	return func(x float64) float64 { return max(0, (x-at)/width) }
}

// fall goes from 0 at a place to 1 within run, beginning and ending gently.
func fall(at, run float64) func(float64) float64 {
	return func(x float64) float64 {
		s := min(1, max(0, (x-at)/run))
		return s * s * (3 - 2*s)
	}
}

// at is the covariance at the levels, with what keeps it regular.
func (c covariance) at(levels []float64) *mat.SymDense {
	k := len(levels)
	cov := mat.NewSymDense(k, nil)
	for i := range k {
		for j := i; j < k; j++ {
			cov.SetSym(i, j, c(levels[i], levels[j]))
		}
		cov.SetSym(i, i, cov.At(i, i)*(1+1e-8))
	}
	return cov
}

// triangle is the Cholesky factor of a covariance.
func triangle(cov *mat.SymDense) (*mat.TriDense, error) {
	var chol mat.Cholesky
	if !chol.Factorize(cov) {
		return nil, fault.New(fault.Internal, "the covariance of %d rated λ is not positive definite", cov.SymmetricDim())
	}
	var lower mat.TriDense
	chol.LTo(&lower)
	return &lower, nil
}

// component is one shape with one pair of sizes of the deviations, and what the answers say of u then.
type component struct {
	shape, plan int
	weight      float64 // posterior probability
	lower       *mat.TriDense
	mean        []float64 // of u at the levels before anything is answered
	like        *quadratic
}

// posterior is the mean of z and the Cholesky factor of its precision, u being mean + lower·z, and the logarithm of the
// marginal likelihood.
func (c *component) posterior() (at *mat.VecDense, chol *mat.Cholesky, evidence float64, err error) {
	k := len(c.like.pull)
	chol = &mat.Cholesky{}
	if !chol.Factorize(within(c.lower, c.like.info)) {
		return nil, nil, 0, fault.New(fault.Internal, "the precision of %d λ is not positive definite", k)
	}
	value, rest := c.like.value, slices.Clone(c.like.pull)
	if c.mean != nil {
		for i := range k {
			for j := range k {
				rest[i] -= c.like.info.At(i, j) * c.mean[j]
			}
			value += c.mean[i] * (c.like.pull[i] + rest[i]) / 2
		}
	}
	pull := mat.NewVecDense(k, nil)
	pull.MulVec(c.lower.T(), mat.NewVecDense(k, rest))
	at = mat.NewVecDense(k, nil)
	if err := chol.SolveVecTo(at, pull); err != nil {
		return nil, nil, 0, fault.Wrap(err, fault.Internal, "the mean of %d λ", k)
	}
	return at, chol, value + mat.Dot(at, pull)/2 - chol.LogDet()/2, nil
}
