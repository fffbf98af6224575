package preference

import "realign/internal/fault"

// ActiveFrom is how many answers active choice needs before it begins.
const ActiveFrom = 20

// minPlanned is how many pairs active choice plans at least, since it may be a while until the curve is fitted again.
const minPlanned = 24

// RefitAfter is after how many more answers active choice fits the curve again, once it has some: a tenth part more.
func RefitAfter(answers int) int { return max(1, answers/10) }

// WantedPairs are the pairs of λ that active choice asks for next, after some answers; none where there are no two λ.
func WantedPairs(answers []Pairwise, grid []float64, seed uint64) ([]Pair, error) {
	curve, err := FitCurve(answers, Options{Grid: grid, Seed: seed, Samples: 1000})
	if fault.KindOf(err) == fault.Conflict {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return curve.Next(Pairs(grid), max(minPlanned, RefitAfter(len(answers)))), nil
}
