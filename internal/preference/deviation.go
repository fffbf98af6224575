package preference

import "math"

// Annotators and prompts deviate from the public's curve by curves of their own: random coefficients of the first
// Legendre polynomials over the range of λ, which are slope and curvature, so that tops differ in place and in
// sign. deviationRank is how many polynomials that are.
const deviationRank = 2

// deviationShape is the standard deviation of each coefficient where a deviation has size 1.
func deviationShape() [deviationRank]float64 { return [deviationRank]float64{1, 0.6} }

// size is a standard deviation that deviations may have, in log-odds at the ends of the range, with its prior
// probability.
type size struct{ sd, prior float64 }

// sizes that annotators' and prompts' deviations are averaged over: a half-Cauchy distribution of scale 2 in steps of a
// factor of 2 (Gelman 2006), which few annotators do not rule out, beside the possibility that all are alike.
func sizes() []size {
	return []size{{0, 0.25}, {0.5, 0.1}, {1, 0.17}, {2, 0.21}, {4, 0.17}, {8, 0.1}}
}

// deviations are the values of the polynomials at the levels, k × deviationRank, row by row.
func deviations(levels []float64) []float64 {
	k := len(levels)
	low, high := levels[0], levels[k-1]
	middle, half := low/2+high/2, high/2-low/2
	shape := deviationShape()
	values := make([]float64, 0, k*deviationRank)
	for _, lambda := range levels {
		x := (lambda - middle) / half
		values = append(values, shape[0]*x, shape[1]*(3*x*x-1)/2)
	}
	return values
}

// source is where answers come from in groups that are not independent: annotators or prompts.
// It belongs to one model at a time, which moves at and size.
type source struct {
	groups int     // how many there are
	of     []int   // group of each vote
	size   float64 // standard deviation of the deviations, in log-odds at the ends of the range; 0 is none
	// at are the coefficients of each group, groups × deviationRank: independent standard normal before anything
	// is answered.
	at []float64
}

// newSource has no deviations yet. of is a vote's group, from 0.
func newSource(votes []vote, groups int, of func(*vote) int) *source {
	s := &source{groups: groups, of: make([]int, len(votes)), at: make([]float64, groups*deviationRank)}
	for i := range votes {
		s.of[i] = of(&votes[i])
	}
	return s
}

// resize changes the size, and keeps the curves where they are.
func (s *source) resize(size float64) {
	scale := 0.0
	if size > 0 && s.size > 0 {
		scale = s.size / size
	}
	for i := range s.at {
		s.at[i] *= math.Min(scale, 1)
	}
	s.size = size
}
