package preference

import (
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mat"
	gonumstat "gonum.org/v1/gonum/stat"

	"realign/internal/fault"
	"realign/internal/stat"
)

// Options of a curve.
type Options struct {
	Grid    []float64 // λ that can be rated, whether or not they were
	Beta    float64   // β the aligned model was trained with; 0 when nobody says
	Cluster Cluster   // which answers are not independent; empty is ByItem
	Active  bool      // pairs were chosen by what was answered before
	Samples int       // posterior samples; 0 is 2000
	Seed    uint64    // of the samples: the same seed and answers give the same curve
}

// Curve is u(λ): how much answers at λ are preferred, as log-odds against the curve's own mean, with a 95% band,
// on evenly spaced λ from the lowest to the highest that was rated or is in the grid. FitCurve makes it; then it
// does not change. What is read from JSON has the exported fields only, and cannot be asked for Next, Halving or
// WinRates.
type Curve struct {
	Lambda []float64 `json:"lambda"` // curvePoints of them, ascending
	Mean   []float64 `json:"mean"`   // posterior mean of u, less its mean over the points
	Low    []float64 `json:"low"`    // pointwise: mean − 1.96 posterior standard deviations, or more as of Student's t (see steps),
	High   []float64 `json:"high"`   // and mean + as many

	// Preference says whether flatness was rejected; PValue is the test's (see FitCurve). Without it Best
	// and Beta are nil, and Reason says so: a place of the top is not a finding when there is no top.
	Preference bool    `json:"preference"`
	PValue     float64 `json:"p_value"`
	Reason     string  `json:"reason"` // why Preference is what it is, in words

	Best   *stat.Interval `json:"best,omitempty"`    // the most preferred λ: posterior median and 2.5% and 97.5% quantiles of the top
	AtEdge bool           `json:"at_edge,omitempty"` // the interval reaches an end of the λ that were rated: the best may lie beyond it
	Beta   *BetaRange     `json:"beta,omitempty"`    // of Best; nil also where nobody says β or the best λ is surely 0 or below

	Scope Scope  `json:"scope"` // whom Preference, Best and the band speak for
	For   string `json:"for"`   // the same in words

	Nu           float64 `json:"nu"`            // Davidson's ν at the posterior mode
	Answers      float64 `json:"answers"`       // sum of weights of the answers that count
	DesignEffect float64 `json:"design_effect"` // each answer counts 1/DesignEffect, because clusters agree with themselves

	comparisons *comparisons  // the answers
	best        stat.Interval // as Best, also where there is no preference
	levels      []shape       // priors that are averaged over
	plans       []plan        // sizes of deviations that are averaged over
	model       *model        // as the last fit left it
	parts       []component   // by weight, the heaviest first
	factors     []*factor     // by shape; nil where no part needs it
	samples     []draw        // of the posterior, in the order of parts
	seed        uint64        // of Options
}

// BetaRange is the effective β of the most preferred λ, β₀/λ: Low belongs to the upper end of λ.
type BetaRange struct {
	Estimate float64 `json:"estimate"` // 0 where NoEstimate
	Low      float64 `json:"low"`      // β₀ over the upper end of λ
	High     float64 `json:"high"`     // 0 where NoHigh
	// NoEstimate and NoHigh: the λ in question is 0 or below, where no KL strength corresponds to it.
	NoEstimate bool `json:"no_estimate,omitempty"`
	NoHigh     bool `json:"no_high,omitempty"`
}

// draw is one sample of the posterior.
type draw struct {
	u   []float64 // at the levels of the comparisons
	top float64   // λ of the top of the curve
}

// curvePoints is how many λ a curve is worked out at.
const curvePoints = 81

// FitCurve fits the preference curve of the public. The prior of u is a mixture of Gaussian processes over λ itself (see
// shapes), not over its logarithm: logits are linear in λ, and λ = 0 and below are allowed. The likelihood of an answer is
// Davidson's (1970) with d = u(λ_A) − u(λ_B) + δ, δ being the order effect and log ν and δ having normal priors.
//
// Annotators and prompts are samples of the people and prompts that the curve is about. Each deviates from it by a slope and
// a curvature of its own, drawn from normal distributions of unknown size, so that answers of one agree. Of fewer than
// LeastAnnotators annotators or LeastPrompts prompts nothing is said but of themselves: then they do not deviate. Scope says so.
//
// The deviations are integrated out by Laplace's approximation (Chu & Ghahramani 2005; Rasmussen & Williams 2006, §3.4), and
// shapes and sizes averaged by prior times marginal likelihood (their eq. 3.32) instead of trusting the best, so that
// the band and the interval also say how little is known about them. The top's interval is taken from joint samples of whole
// curves. Where annotators or prompts surely differ, the band reaches further (see steps).
//
// Answers of one cluster (Options.Cluster) may agree beyond this. The design effect is the sum of squared residual
// scores of clusters over that of single answers, G/(G−1) of it for G clusters; above 1, each answer
// counts for 1/effect (a composite likelihood with adjusted weight: Pauli, Racugno & Ventura 2011).
//
// Flatness is the null hypothesis that the public favours no λ, tested at 5% (see flatness). Where pairs were chosen by
// earlier answers the test is not exact and errs too often, so it is at 2.5%; docs/studies.md has how often it errs then.
//
// No answers give the prior, with no preference. Fewer than two λ in grid and answers together is
// fault.Conflict; an answer or option that is no such thing is fault.Invalid.
func FitCurve(answers []Pairwise, o Options) (*Curve, error) {
	if !(o.Beta >= 0) || math.IsInf(o.Beta, 0) {
		return nil, fault.Field("beta", "β must be a finite number above 0, or 0 for unknown, not %g", o.Beta)
	}
	if o.Samples == 0 {
		o.Samples = 2000
	}
	if o.Samples < 100 || o.Samples > 100000 {
		return nil, fault.Field("samples", "%d is not from 100 to 100000", o.Samples)
	}
	t, err := newComparisons(answers, o.Grid, o.Cluster)
	if err != nil {
		return nil, err
	}
	k := len(t.lambdas)
	if k < 2 {
		return nil, fault.New(fault.Conflict, "a preference curve needs answers at two λ or more")
	}
	c := &Curve{comparisons: t, Answers: t.weight, DesignEffect: 1, Scope: t.scope(), For: t.scope().String(), seed: o.Seed}
	low, width := t.lambdas[0], t.lambdas[k-1]-t.lambdas[0]
	for p := range curvePoints {
		c.Lambda = append(c.Lambda, low+width*float64(p)/(curvePoints-1))
	}
	if err := c.fit(); err != nil {
		return nil, err
	}
	if c.DesignEffect, err = c.effect(); err != nil {
		return nil, err
	}
	// The effect is measured with answers at full weight, and then the curve is fitted again with less.
	if c.DesignEffect > 1 {
		if err := c.fit(); err != nil {
			return nil, err
		}
	}
	if err := c.sample(o.Samples); err != nil {
		return nil, err
	}
	if err := c.flatness(o.level()); err != nil {
		return nil, err
	}
	if c.Preference {
		best := c.best
		c.Best = &best
		c.AtEdge = best.Low <= c.Lambda[0] || best.High >= c.Lambda[curvePoints-1]
		c.Beta = effectiveBeta(o.Beta, best)
	}
	return c, nil
}

// level is the p-value up to which flatness is rejected.
func (o Options) level() float64 {
	if o.Active {
		return 0.025
	}
	return 0.05
}

// effectiveBeta is β₀/λ over the interval of the best λ; nil where β₀ is not known, or all of the interval
// is at 0 or below.
func effectiveBeta(beta float64, best stat.Interval) *BetaRange {
	if beta == 0 || best.High <= 0 {
		return nil
	}
	r := &BetaRange{Low: beta / best.High, NoEstimate: best.Estimate <= 0, NoHigh: best.Low <= 0}
	if !r.NoEstimate {
		r.Estimate = beta / best.Estimate
	}
	if !r.NoHigh {
		r.High = beta / best.Low
	}
	return r
}

// sample draws curves from the components in proportion to their weights, and takes from them the band
// (about the mean of each curve over λ: only differences of u mean anything) and the interval of the top.
func (c *Curve) sample(count int) error {
	random := rand.New(rand.NewPCG(c.seed, 3))
	k, m := len(c.comparisons.lambdas), curvePoints
	c.factors = make([]*factor, len(c.levels))
	sum, squares := make([]float64, m), make([]float64, m)
	c.Mean = make([]float64, m)
	u := make([]float64, m)
	c.samples = make([]draw, 0, count)
	// Systematic sampling: part by part as many curves as the weights so far ask for, from a random start. Parts are sorted
	// by weight; the last 0.2% are left out.
	done, due, left := 0, random.Float64(), 1.0
	for i := range c.parts {
		part := &c.parts[i]
		if left < 2e-3 {
			break
		}
		left -= part.weight
		f := c.factors[part.shape]
		if f == nil {
			f = newFactor(c.comparisons.lambdas, c.Lambda, c.levels[part.shape].of, part.lower)
			c.factors[part.shape] = f
		}
		center, chol, err := part.posterior()
		if err != nil {
			return err
		}
		shape := &c.levels[part.shape]
		f.curve(u, center.RawVector().Data, nil)
		shape.add(u, c.Lambda, 1)
		mean := gonumstat.Mean(u, nil)
		for p := range u {
			c.Mean[p] += part.weight * (u[p] - mean)
		}
		due += part.weight * float64(count)
		// z is the curve at the rated λ, in the prior's coordinates; rest what the prior leaves open between them.
		z, rest := mat.NewVecDense(k, nil), make([]float64, f.r)
		for ; done < int(due) && done < count; done++ {
			for j := range k {
				z.SetVec(j, random.NormFloat64())
			}
			for j := range rest {
				rest[j] = random.NormFloat64()
			}
			if err := z.SolveVec(chol.RawU(), z); err != nil {
				return fault.Wrap(err, fault.Internal, "a sample of the curve")
			}
			z.AddVec(z, center)
			f.curve(u, z.RawVector().Data, rest)
			shape.add(u, c.Lambda, 1)
			level := mat.NewVecDense(k, nil)
			level.MulVec(part.lower, z)
			shape.add(level.RawVector().Data, c.comparisons.lambdas, 1)
			c.samples = append(c.samples, draw{u: level.RawVector().Data, top: top(c.Lambda, u)})
			mean := gonumstat.Mean(u, nil)
			for p := range u {
				sum[p] += u[p] - mean
				squares[p] += (u[p] - mean) * (u[p] - mean)
			}
		}
	}
	// The band is about the exact mean; only its width is from the samples.
	n, steps := float64(len(c.samples)), steps(c.Scope, c.plans)
	for p := range c.Mean {
		sd := math.Sqrt(max(0, squares[p]/n-sum[p]/n*sum[p]/n))
		c.Low = append(c.Low, c.Mean[p]-steps*sd)
		c.High = append(c.High, c.Mean[p]+steps*sd)
	}
	tops := make([]float64, len(c.samples))
	for i := range c.samples {
		tops[i] = c.samples[i].top
	}
	c.best = quantiles(tops)
	return nil
}

// quantiles is the median and the central 95%, without interpolating: a value between two modes, or
// between the end of the range and the inside, is not where anything was.
func quantiles(x []float64) stat.Interval {
	slices.Sort(x)
	q := func(p float64) float64 { return gonumstat.Quantile(p, gonumstat.Empirical, x, nil) }
	return stat.Interval{Estimate: q(0.5), Low: q(0.025), High: q(0.975)}
}
