package preference

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"realign/internal/fault"
)

// covariance is that of a random curve at two λ.
type covariance func(x, y float64) float64

// shape is one prior of the public's curve: a Gaussian process with its prior probability.
type shape struct {
	prior float64               // its probability
	of    covariance            // covariance of u at two λ
	mean  func(float64) float64 // of u at a λ; nil: 0
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

// process is a Gaussian process of a correlation, with a length in λ and a standard deviation, scale, in log-odds.
func process(correlation func(distance, length float64) float64, length, scale float64) covariance {
	return func(x, y float64) float64 { return scale * scale * correlation(x-y, length) }
}

// sum is the covariance of two independent curves added up.
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
	shape, plan int           // index among the shapes, and index among the plans
	weight      float64       // posterior probability
	lower       *mat.TriDense // Cholesky factor of the prior's covariance at the levels
	mean        []float64     // of u at the levels before anything is answered; nil: 0
	like        *quadratic    // the likelihood about its mode, shared by the components of a plan
}

// rest is what the likelihood pulls z by at z = 0, and its logarithm there.
func (c *component) rest() ([]float64, float64) {
	k := len(c.like.pull)
	value, u := c.like.value, slices.Clone(c.like.pull)
	if c.mean != nil {
		for i := range k {
			for j := range k {
				u[i] -= c.like.info.At(i, j) * c.mean[j]
			}
			value += c.mean[i] * (c.like.pull[i] + u[i]) / 2
		}
	}
	l := c.lower.RawTriangular()
	pull := make([]float64, k)
	for j := range k {
		for i := j; i < k; i++ {
			pull[j] += l.Data[i*l.Stride+j] * u[i]
		}
	}
	return pull, value
}

// posterior is the mean of z and the Cholesky factor of its precision, u being mean + lower·z.
func (c *component) posterior() (*mat.VecDense, *mat.Cholesky, error) {
	pull, _ := c.rest()
	var chol mat.Cholesky
	if !chol.Factorize(within(c.lower, c.like.info)) {
		return nil, nil, fault.New(fault.Internal, "the precision of %d λ is not positive definite", len(pull))
	}
	at := mat.NewVecDense(len(pull), nil)
	if err := chol.SolveVecTo(at, mat.NewVecDense(len(pull), pull)); err != nil {
		return nil, nil, fault.Wrap(err, fault.Internal, "the mean of %d λ", len(pull))
	}
	return at, &chol, nil
}

// evidence is the logarithm of the marginal likelihood.
func (c *component) evidence() float64 {
	pull, value := c.rest()
	p := within(c.lower, c.like.info).RawSymmetric() // the upper triangle; at least 1 along the diagonal
	k := len(pull)
	for i := range k {
		for s := range i {
			f := p.Data[s*p.Stride+i]
			for j := i; j < k; j++ {
				p.Data[i*p.Stride+j] -= f * p.Data[s*p.Stride+j]
			}
			pull[i] -= f * pull[s]
		}
		root := math.Sqrt(p.Data[i*p.Stride+i])
		for j := i; j < k; j++ {
			p.Data[i*p.Stride+j] /= root
		}
		pull[i] /= root
		value += pull[i]*pull[i]/2 - math.Log(root)
	}
	return value
}
