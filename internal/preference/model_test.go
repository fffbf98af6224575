package preference

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// TestModelEliminatesWhatItIntegratesOut holds the mode and the reduced information, which are found group by group, against
// differences of the value in all parameters at once.
func TestModelEliminatesWhatItIntegratesOut(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 108))
	w := peaked(r).over([]float64{0, 0.7, 1.5, 2})
	w.annotators, w.prompts = 6, 8
	w.own, w.ofPrompt = slopes(r, 6, 1), slopes(r, 8, 1)
	tally, err := newComparisons(w.study(r, 90), nil, ByItem)
	if err != nil {
		t.Fatal(err)
	}
	for _, sizes := range [][2]float64{{1.5, 0.8}, {0, 2}, {2, 0}, {0, 0}} {
		m := newModel(tally, 0.9)
		annotators := newSource(tally.votes, tally.annotators, annotatorOf)
		prompts := newSource(tally.votes, tally.prompts, promptOf)
		annotators.resize(sizes[0])
		prompts.resize(sizes[1])
		m.between(annotators, prompts)
		lower := mat.NewTriDense(m.k, mat.Lower, nil)
		for i := range m.k {
			lower.SetTri(i, i, 2)
		}
		like, err := m.climb(lower)
		if err != nil {
			t.Fatal(err)
		}
		var all []*float64
		for i := range m.u {
			all = append(all, &m.u[i])
		}
		all = append(all, &m.eta, &m.delta)
		for _, s := range []*source{annotators, prompts} {
			for i := range s.at {
				if s.size > 0 {
					all = append(all, &s.at[i])
				}
			}
		}
		n := len(all)
		h := mat.NewSymDense(n, nil)
		const step = 1e-3
		for i := range n {
			at := *all[i]
			*all[i] = at + step
			up := m.value()
			*all[i] = at - step
			down := m.value()
			*all[i] = at
			slope := (up - down) / (2 * step)
			if i < m.k {
				slope -= m.u[i] / 4 // the prior of u
			}
			near(t, "gradient at the mode", slope, 0, 1e-3)
			for j := i; j < n; j++ {
				sum := 0.0
				for _, s := range [][2]float64{{1, 1}, {1, -1}, {-1, 1}, {-1, -1}} {
					a, b := *all[i], *all[j]
					*all[i] += s[0] * step
					*all[j] += s[1] * step
					sum += s[0] * s[1] * m.value()
					*all[i] = a
					*all[j] = b
				}
				if i == j { // both moved it: steps of two
					*all[i] += 2 * step
					up := m.value()
					*all[i] -= 4 * step
					sum = up + m.value()
					*all[i] += 2 * step
					sum -= 2 * m.value()
				}
				h.SetSym(i, j, -sum/(4*step*step))
			}
		}
		// The information of u with the rest integrated out is the Schur complement.
		rest := mat.NewDense(n-m.k, n-m.k, nil)
		cross := mat.NewDense(n-m.k, m.k, nil)
		for i := range n - m.k {
			for j := range n - m.k {
				rest.Set(i, j, h.At(m.k+i, m.k+j))
			}
			for j := range m.k {
				cross.Set(i, j, h.At(m.k+i, j))
			}
		}
		var solved, taken mat.Dense
		if err := solved.Solve(rest, cross); err != nil {
			t.Fatal(err)
		}
		taken.Mul(cross.T(), &solved)
		logDet, _ := mat.LogDet(rest)
		for i := range m.k {
			for j := range m.k {
				near(t, "information", like.info.At(i, j), h.At(i, j)-taken.At(i, j), 2e-3)
			}
		}
		// At the mode of u the quadratic is the value less half the log-determinant of what was integrated out.
		u := mat.NewVecDense(m.k, m.u)
		value := like.value + mat.Dot(u, mat.NewVecDense(m.k, like.pull)) - mat.Inner(u, like.info, u)/2
		near(t, "value", value, m.value()-logDet/2, 1e-2)
	}
}

// TestEvidenceAndPosteriorAgree: the log marginal likelihood of a Gaussian shape against that of its posterior.
func TestEvidenceAndPosteriorAgree(t *testing.T) {
	like := quadratic{value: -3, pull: []float64{1, -2}, info: mat.NewSymDense(2, []float64{3, 1, 1, 2})}
	lower := mat.NewTriDense(2, mat.Lower, []float64{1.5, 0, 0.3, 0.7})
	mean := []float64{0.4, -0.2}
	part := component{lower: lower, mean: mean, like: &like}
	at, chol, err := part.posterior()
	if err != nil {
		t.Fatal(err)
	}
	// log ∫ = log likelihood + log prior − log posterior at any u; here at the posterior's mean.
	u := mat.NewVecDense(2, nil)
	u.MulVec(lower, at)
	u.AddVec(u, mat.NewVecDense(2, mean))
	value := like.value + mat.Dot(u, mat.NewVecDense(2, like.pull)) - mat.Inner(u, like.info, u)/2
	want := value - mat.Dot(at, at)/2 - chol.LogDet()/2
	near(t, "evidence", part.evidence(), want, 1e-12)
	if math.IsNaN(want) {
		t.Error("not a number")
	}
}
