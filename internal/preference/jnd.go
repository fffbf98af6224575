package preference

import (
	"fmt"
	"math"
	"slices"

	"realign/internal/stat"
)

// JND is the just-noticeable difference in λ: how far apart two λ must be for annotators to tell their
// answers apart half of the times that they would not say "no difference" by chance.
type JND struct {
	Difference stat.Interval `json:"difference"`       // of λ: posterior median, 2.5% and 97.5% quantiles; meaningful when Defined
	Chance     stat.Interval `json:"chance"`           // share of same-λ trials in which one side was preferred all the same
	Defined    bool          `json:"defined"`          // there is a difference
	Beyond     bool          `json:"beyond,omitempty"` // the upper end lies beyond the widest difference that was asked about: a guess
	Reason     string        `json:"reason,omitempty"` // why there is none, or how far to trust it
	Same       int           `json:"same"`             // trials at one λ
	Near       int           `json:"near"`             // and at two
}

// NoticeableDifference fits a psychometric function to how often one side is preferred, tie being "no
// difference seen": P(Δ) = γ + (1−γ)(1 − 2^−(Δ/δ)^b), Weibull's with guess rate γ (Wichmann & Hill
// 2001) in terms of δ, the difference where half of what chance leaves is told apart; Δ = |λ_A −
// λ_B|, and same-λ trials (Δ = 0) hold γ. "Both bad" says nothing about a difference and is left out, as
// are trials with a spoilt answer. It is the whole posterior on a grid, not a mode, because few Δ leave it
// lopsided: uniform prior of γ, of log δ from a quarter of the least Δ to four times the greatest, and
// log b normal about log 2 with standard deviation ½. Trials are taken as independent.
//
// Two answers at different λ can be told apart and still be equally good; what is measured is the
// difference that makes people choose. Undefined, with a reason, without trials at one λ or at two; an
// answer that Check refuses is fault.Invalid.
func NoticeableDifference(answers []Pairwise) (JND, error) {
	type count struct{ apart, trials float64 }
	counts := map[float64]count{}
	var j JND
	for _, r := range answers {
		if err := r.Check(); err != nil {
			return JND{}, err
		}
		if r.Choice == BothBad || r.Catch == BrokenA || r.Catch == BrokenB {
			continue
		}
		at := math.Abs(r.A.Lambda - r.B.Lambda)
		c := counts[at]
		c.trials += r.weight()
		if r.Choice != Tie {
			c.apart += r.weight()
		}
		counts[at] = c
		if at == 0 {
			j.Same++
		} else {
			j.Near++
		}
	}
	j.Chance = stat.Wilson(counts[0].apart, counts[0].trials)
	if j.Same == 0 || j.Near == 0 {
		j.Reason = fmt.Sprintf("no just-noticeable difference: it takes trials at one λ and at two, and there are %d and %d", j.Same, j.Near)
		return j, nil
	}
	var gaps []float64
	for at := range counts {
		gaps = append(gaps, at)
	}
	slices.Sort(gaps)
	const deltas, guesses, shapes = 81, 40, 9
	low, high := math.Log(gaps[1]/4), math.Log(gaps[len(gaps)-1]*4)
	logs := make([]float64, 0, deltas*guesses*shapes)
	for d := range deltas {
		delta := math.Exp(low + (high-low)*float64(d)/(deltas-1))
		for s := range shapes {
			off := float64(s-shapes/2) / float64(shapes/2) * 2 // in standard deviations
			shape := 2 * math.Exp(off/2)
			miss := make([]float64, len(gaps))
			for k, at := range gaps {
				miss[k] = math.Exp2(-math.Pow(at/delta, shape))
			}
			for g := range guesses {
				gamma := (float64(g) + 0.5) / guesses
				sum := -off * off / 2
				for k, at := range gaps {
					p := 1 - (1-gamma)*miss[k]
					p = min(max(p, 1e-12), 1-1e-12)
					c := counts[at]
					sum += c.apart*math.Log(p) + (c.trials-c.apart)*math.Log(1-p)
				}
				logs = append(logs, sum)
			}
		}
	}
	most := slices.Max(logs)
	mass := make([]float64, deltas)
	total := 0.0
	for i, x := range logs {
		mass[i/(guesses*shapes)] += math.Exp(x - most)
		total += math.Exp(x - most)
	}
	quantile := func(p float64) float64 {
		sum := 0.0
		for d, m := range mass {
			if sum+m >= p*total { // inside cell d, which reaches half a step to each side
				part := (p*total - sum) / m
				return math.Exp(low + (high-low)*(float64(d)+part-0.5)/(deltas-1))
			}
			sum += m
		}
		return math.Exp(high)
	}
	j.Difference, j.Defined = stat.Interval{Estimate: quantile(0.5), Low: quantile(0.025), High: quantile(0.975)}, true
	if j.Beyond = j.Difference.High > gaps[len(gaps)-1]; j.Beyond {
		j.Reason = fmt.Sprintf("the upper end lies beyond the widest difference asked about, %g: it rests on the prior", gaps[len(gaps)-1])
	}
	return j, nil
}
