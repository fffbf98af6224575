package preference

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"realign/internal/fault"
)

// climb finds the mode under a normal prior of u with covariance lower·lowerᵀ, from where the model is, and leaves the
// model there. It returns the quadratic at the mode.
func (m *model) climb(lower *mat.TriDense) (quadratic, error) {
	m.gather()
	k := m.k
	z := mat.NewVecDense(k, nil)
	if err := z.SolveVec(lower, mat.NewVecDense(k, slices.Clone(m.u))); err != nil {
		return quadratic{}, fault.Wrap(err, fault.Internal, "the prior over %d λ cannot be inverted", k)
	}
	objective := func() float64 { return m.value() - mat.Dot(z, z)/2 }
	now := objective()
	for range 100 {
		m.fill()
		halfLogDet, halfSquare, err := m.eliminate()
		if err != nil {
			return quadratic{}, err
		}
		dz, err := m.reach(lower, z)
		if err != nil {
			return quadratic{}, err
		}
		du := mat.NewVecDense(k, nil)
		du.MulVec(lower, dz)
		inner, outer, eta, delta := m.step(du.RawVector().Data)
		most := max(math.Abs(eta), math.Abs(delta), mat.Norm(du, math.Inf(1)))
		for _, x := range [][]float64{inner, outer} {
			for _, x := range x {
				most = max(most, math.Abs(x))
			}
		}
		if most < 1e-5 {
			return m.reduced(halfLogDet, halfSquare), nil
		}
		move := func(by float64) {
			for i := range m.u {
				m.u[i] += by * du.AtVec(i)
				z.SetVec(i, z.AtVec(i)+by*dz.AtVec(i))
			}
			for i, x := range inner {
				m.inner.at[i] += by * x
			}
			for i, x := range outer {
				m.outer.at[i] += by * x
			}
			m.eta += by * eta
			m.delta += by * delta
		}
		// The full step, halved until the value does not fall.
		share := 1.0
		move(share)
		for {
			next := objective()
			// Near the top the gain drowns in rounding.
			if next >= now-1e-9*(1+math.Abs(now)) {
				now = next
				break
			}
			if share < 1e-6 {
				return quadratic{}, fault.New(fault.Internal, "Newton's method found no way up from %g", now)
			}
			move(-share / 2)
			share /= 2
		}
	}
	return quadratic{}, fault.New(fault.Internal, "Newton's method did not settle in 100 steps")
}

// reach is the Newton step of z: (1 + Lᵀ·info·L)⁻¹·(Lᵀ·g − z).
func (m *model) reach(lower *mat.TriDense, z *mat.VecDense) (*mat.VecDense, error) {
	k, n := m.k, len(m.g)
	first := n - k
	info := mat.NewSymDense(k, nil)
	for i := range k {
		for j := range i + 1 {
			info.SetSym(i, j, m.a[(first+i)*n+first+j])
		}
	}
	precision := within(lower, info)
	g := mat.NewVecDense(k, slices.Clone(m.g[first:]))
	dz := mat.NewVecDense(k, nil)
	dz.MulVec(lower.T(), g)
	dz.SubVec(dz, z)
	var chol mat.Cholesky
	if !chol.Factorize(precision) {
		return nil, fault.New(fault.Internal, "the precision of %d λ is not positive definite", k)
	}
	if err := chol.SolveVecTo(dz, dz); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "Newton's step of %d λ", k)
	}
	return dz, nil
}

// within is 1 + Lᵀ·info·L: the posterior precision in coordinates in which the prior is standard normal.
func within(lower *mat.TriDense, info *mat.SymDense) *mat.SymDense {
	k, _ := lower.Dims()
	l := lower.RawTriangular()
	half := make([]float64, k*k) // info·L
	for i := range k {
		for j := range k {
			sum := 0.0
			for s := j; s < k; s++ {
				sum += info.At(i, s) * l.Data[s*l.Stride+j]
			}
			half[i*k+j] = sum
		}
	}
	precision := mat.NewSymDense(k, nil)
	for i := range k {
		for j := range i + 1 {
			sum := 0.0
			for s := i; s < k; s++ {
				sum += l.Data[s*l.Stride+i] * half[s*k+j]
			}
			if i == j {
				sum++
			}
			precision.SetSym(i, j, sum)
		}
	}
	return precision
}
