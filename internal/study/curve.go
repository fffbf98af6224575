package study

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"realign/internal/fault"
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

// Curve is u(λ): how much answers at λ are preferred, as log-odds against the curve's own mean, with a
// 95% band, on evenly spaced λ from the lowest to the highest that was rated or is in the grid.
type Curve struct {
	Lambda []float64 `json:"lambda"`
	Mean   []float64 `json:"mean"`
	Low    []float64 `json:"low"`  // pointwise: mean − 1.96 posterior standard deviations
	High   []float64 `json:"high"` // and mean + 1.96

	// Preference says whether flatness was rejected; PValue is the test's (see FitCurve). Without it Best
	// and Beta are nil, and Reason says so: a place of the top is not a finding when there is no top.
	Preference bool    `json:"preference"`
	PValue     float64 `json:"p_value"`
	Reason     string  `json:"reason"`

	Best   *Interval  `json:"best,omitempty"`    // the most preferred λ: posterior median and 2.5% and 97.5% quantiles of the top
	AtEdge bool       `json:"at_edge,omitempty"` // the interval reaches an end of the λ that were rated: the best may lie beyond it
	Beta   *BetaRange `json:"beta,omitempty"`

	Nu           float64 `json:"nu"`            // Davidson's ν at the posterior mode
	Answers      float64 `json:"answers"`       // sum of weights of the answers that count
	DesignEffect float64 `json:"design_effect"` // each answer counts 1/DesignEffect, because clusters agree with themselves

	tally   *tally
	best    Interval
	parts   []component
	samples []draw
	seed    uint64
}

// BetaRange is the effective β of the most preferred λ, β₀/λ: Low belongs to the upper end of λ.
type BetaRange struct {
	Estimate float64 `json:"estimate"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	// NoEstimate and NoHigh: the λ in question is 0 or below, where no KL strength corresponds to it.
	NoEstimate bool `json:"no_estimate,omitempty"`
	NoHigh     bool `json:"no_high,omitempty"`
}

// component is the posterior for one length and scale of the process.
type component struct {
	f      *factor
	scale  float64
	weight float64 // posterior probability
	z      []float64
	eta    float64
	lower  mat.TriDense // L·Lᵀ is the precision of (z, η)
}

// draw is one sample of the posterior.
type draw struct {
	u   []float64 // at the levels of the tally
	top float64   // λ of the top of the curve
}

const (
	curvePoints = 81
	etaMean     = -0.7 // prior of log ν: ν about ½,
	etaSD       = 2.0  // give or take a factor of 7
)

// Lengths, in ranges of λ, and scales, in log-odds, that the curve averages over.
func lengths() []float64 { return []float64{0.5, 0.8} }
func scales() []float64  { return []float64{1, 2, 4} }

// FitCurve fits the preference curve. The prior of u is a Gaussian process with mean 0 and a Matérn-5/2
// kernel over λ itself, not its logarithm: logits are linear in λ, and λ = 0 and below are allowed. The
// likelihood of an answer is Davidson's (1970) with d = u(λ_A) − u(λ_B), log ν having a normal prior. For
// each of 2 lengths × 3 scales the posterior is Laplace's approximation (Chu & Ghahramani 2005;
// Rasmussen & Williams 2006, §3.4), and these are averaged by their marginal likelihoods (their eq. 3.32,
// equal priors) instead of trusting the best one, so that the band and the interval also say how little is
// known about the smoothness. The top's interval is taken from joint samples of whole curves.
//
// Answers of one cluster may agree beyond the model. The design effect is the sum of squared residual
// scores of clusters over that of single answers, G/(G−1) of it for G clusters; above 1, each answer
// counts for 1/effect (a composite likelihood with adjusted weight: Pauli, Racugno & Ventura 2011).
//
// Flatness is the null hypothesis that the answers favour no λ, tested at 5%: the statistic gᵀ(K⁻¹ + I)⁻¹g, with g
// the score and I the information at u = 0 and K the process's covariance, averaged over lengths and scales, against
// 999 random changes of sign, whole clusters at once. For normal g it is twice the log evidence of the
// process over a flat curve, but for a constant. (The score statistic gᵀKg of Liu, Lin & Ghosh 2007 is its limit
// for small scales; there pairs that are asked about often drown the others, and active choice asks most often
// about λ that are alike.) Where pairs were chosen by earlier answers the test is not exact and errs too often, so it
// is at 2.5%; docs/studies.md has how often it errs then.
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
	t, err := newTally(answers, o.Grid, o.Cluster)
	if err != nil {
		return nil, err
	}
	k := len(t.lambdas)
	if k < 2 {
		return nil, fault.New(fault.Conflict, "a preference curve needs answers at two λ or more")
	}
	c := &Curve{tally: t, Answers: t.weight, DesignEffect: 1, seed: o.Seed}
	low, width := t.lambdas[0], t.lambdas[k-1]-t.lambdas[0]
	for p := range curvePoints {
		c.Lambda = append(c.Lambda, low+width*float64(p)/(curvePoints-1))
	}
	var factors []*factor
	for _, length := range lengths() {
		f, err := newFactor(t.lambdas, c.Lambda, length*width)
		if err != nil {
			return nil, err
		}
		factors = append(factors, f)
	}
	if err := c.posterior(factors); err != nil {
		return nil, err
	}
	if c.DesignEffect = c.effect(); c.DesignEffect > 1 {
		if err := c.posterior(factors); err != nil {
			return nil, err
		}
	}
	c.sample(o.Samples)
	if err := c.flatness(factors, o.level()); err != nil {
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

func effectiveBeta(beta float64, best Interval) *BetaRange {
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

// posterior fits every component and weighs them.
func (c *Curve) posterior(factors []*factor) error {
	c.parts = c.parts[:0]
	var logs []float64
	for _, f := range factors {
		for _, scale := range scales() {
			part, evidence, err := laplace(c.tally, f, scale, 1/c.DesignEffect)
			if err != nil {
				return err
			}
			c.parts = append(c.parts, part)
			logs = append(logs, evidence)
		}
	}
	most, total := slices.Max(logs), 0.0
	for i := range c.parts {
		c.parts[i].weight = math.Exp(logs[i] - most)
		total += c.parts[i].weight
	}
	for i := range c.parts {
		c.parts[i].weight /= total
	}
	c.Nu = math.Exp(c.likeliest().eta)
	return nil
}

func (c *Curve) likeliest() *component {
	best := 0
	for i := range c.parts {
		if c.parts[i].weight > c.parts[best].weight {
			best = i
		}
	}
	return &c.parts[best]
}

// laplace is the normal approximation at the mode, in coordinates z in which the prior of u = scale·L·z is
// standard normal, and its log marginal likelihood, up to what all components share.
func laplace(t *tally, f *factor, scale, temper float64) (component, float64, error) {
	k := f.k
	x := make([]float64, k+1)
	x[k] = etaMean
	u, gu := make([]float64, k), make([]float64, k+1)
	hu := mat.NewSymDense(k+1, nil)
	half := make([]float64, (k+1)*k)
	value := 0.0
	chol, err := newton(x, func(x, g []float64, h *mat.SymDense) float64 {
		f.rated(u, x[:k], scale)
		clear(gu)
		hu.Zero()
		value = t.likelihood(u, x[k], temper, gu, hu)
		for j := range k { // half = H·(scale·L), rows of u and of η
			for i := range k + 1 {
				sum := 0.0
				for m := j; m < k; m++ {
					sum += hu.At(i, m) * f.l[m*k+j]
				}
				half[i*k+j] = scale * sum
			}
		}
		for i := range k {
			slope := 0.0
			for m := i; m < k; m++ {
				slope += f.l[m*k+i] * gu[m]
			}
			g[i] = scale*slope - x[i]
			value -= x[i] * x[i] / 2
			for j := i; j < k; j++ {
				sum := 0.0
				for m := i; m < k; m++ {
					sum += f.l[m*k+i] * half[m*k+j]
				}
				h.SetSym(i, j, scale*sum)
			}
			h.SetSym(i, i, h.At(i, i)+1)
			h.SetSym(i, k, half[k*k+i])
		}
		off := (x[k] - etaMean) / etaSD
		g[k] = gu[k] - off/etaSD
		h.SetSym(k, k, hu.At(k, k)+1/(etaSD*etaSD))
		value -= off * off / 2
		return value
	})
	if err != nil {
		return component{}, 0, err
	}
	part := component{f: f, scale: scale, z: x[:k:k], eta: x[k]}
	chol.LTo(&part.lower)
	return part, value - chol.LogDet()/2, nil
}

// draw samples z of the component into z, given k+1 random normals in e, which it overwrites.
func (p *component) draw(z, e []float64) {
	raw := p.lower.RawTriangular()
	backward(raw.Data, raw.Stride, e)
	for i := range z {
		z[i] = p.z[i] + e[i]
	}
}

// backward solves Lᵀ·x = e in place for a lower triangle.
func backward(l []float64, stride int, e []float64) {
	for i := len(e) - 1; i >= 0; i-- {
		for j := i + 1; j < len(e); j++ {
			e[i] -= l[j*stride+i] * e[j]
		}
		e[i] /= l[i*stride+i]
	}
}

// sample draws curves from the components in proportion to their weights, and takes from them the band
// (about the mean of each curve over λ: only differences of u mean anything) and the interval of the top.
func (c *Curve) sample(count int) {
	random := rand.New(rand.NewPCG(c.seed, 3))
	k, m := len(c.tally.lambdas), curvePoints
	sum, squares := make([]float64, m), make([]float64, m)
	c.Mean = make([]float64, m)
	u, z, e := make([]float64, m), make([]float64, k), make([]float64, k+1)
	c.samples = make([]draw, 0, count)
	done, due := 0, random.Float64()
	for i := range c.parts {
		part := &c.parts[i]
		part.f.curve(u, part.z, nil, part.scale)
		mean := stat.Mean(u, nil)
		for p := range u {
			c.Mean[p] += part.weight * (u[p] - mean)
		}
		due += part.weight * float64(count)
		rest := make([]float64, part.f.r)
		for ; done < int(due) && done < count; done++ {
			for j := range e {
				e[j] = random.NormFloat64()
			}
			for j := range rest {
				rest[j] = random.NormFloat64()
			}
			part.draw(z, e)
			part.f.curve(u, z, rest, part.scale)
			d := draw{u: make([]float64, k), top: top(c.Lambda, u)}
			part.f.rated(d.u, z, part.scale)
			c.samples = append(c.samples, d)
			mean := stat.Mean(u, nil)
			for p := range u {
				sum[p] += u[p] - mean
				squares[p] += (u[p] - mean) * (u[p] - mean)
			}
		}
	}
	n := float64(len(c.samples))
	for p := range c.Mean {
		sd := math.Sqrt(max(0, squares[p]/n-sum[p]/n*sum[p]/n))
		c.Low = append(c.Low, c.Mean[p]-z95*sd)
		c.High = append(c.High, c.Mean[p]+z95*sd)
	}
	tops := make([]float64, len(c.samples))
	for i := range c.samples {
		tops[i] = c.samples[i].top
	}
	c.best = quantiles(tops)
}

// quantiles is the median and the central 95%, without interpolating: a value between two modes, or
// between the end of the range and the inside, is not where anything was.
func quantiles(x []float64) Interval {
	slices.Sort(x)
	q := func(p float64) float64 { return stat.Quantile(p, stat.Empirical, x, nil) }
	return Interval{q(0.5), q(0.025), q(0.975)}
}

// effect is the design effect of the clusters at the likeliest component's mode, at least 1.
func (c *Curve) effect() float64 {
	t, part := c.tally, c.likeliest()
	clusters := 0
	for _, v := range t.votes {
		clusters = max(clusters, v.cluster+1)
	}
	if clusters == len(t.votes) || clusters < 2 {
		return 1
	}
	k := len(t.lambdas)
	u := make([]float64, k)
	part.f.rated(u, part.z, part.scale)
	scores := make([]float64, clusters*k)
	single := 0.0
	for _, v := range t.votes {
		p, q, _, _ := outcome(u[v.i]-u[v.j], part.eta)
		s := v.weight * (v.y - (p - q)) / 2
		scores[v.cluster*k+v.i] += s
		scores[v.cluster*k+v.j] -= s
		single += 2 * s * s
	}
	together := 0.0
	for _, s := range scores {
		together += s * s
	}
	if single == 0 {
		return 1
	}
	return max(1, together/single*float64(clusters)/float64(clusters-1))
}

// flips is how many random changes of sign the test of flatness makes.
const flips = 999

// flatness tests that no λ is favoured.
func (c *Curve) flatness(factors []*factor, level float64) error {
	t := c.tally
	k := len(t.lambdas)
	votes := slices.Clone(t.votes)
	votes = slices.DeleteFunc(votes, func(v vote) bool { return v.y == 0 })
	slices.SortStableFunc(votes, func(a, b vote) int { return a.cluster - b.cluster })
	decisive := 0
	for i := range votes {
		if i == 0 || votes[i].cluster != votes[i-1].cluster {
			decisive++
		}
	}
	weigh, err := shrink(k, votes, factors)
	if err != nil {
		return err
	}
	statistic := func(g []float64) (q float64) {
		for i := range g {
			for j := range g {
				q += g[i] * weigh.At(i, j) * g[j]
			}
		}
		return q
	}
	g := make([]float64, k)
	for _, v := range votes {
		g[v.i] += v.y * v.weight
		g[v.j] -= v.y * v.weight
	}
	observed := statistic(g)
	random := rand.New(rand.NewPCG(c.seed, 4))
	above := 1
	for range flips {
		clear(g)
		sign, bits, left := 1.0, uint64(0), 0
		for i := range votes {
			v := &votes[i]
			if i == 0 || v.cluster != votes[i-1].cluster {
				if left == 0 {
					bits, left = random.Uint64(), 64
				}
				sign = float64(int(bits&1)*2 - 1)
				bits, left = bits>>1, left-1
			}
			g[v.i] += sign * v.y * v.weight
			g[v.j] -= sign * v.y * v.weight
		}
		// Rounding must not tell a statistic from its own mirror image.
		if statistic(g) >= observed*(1-1e-9) {
			above++
		}
	}
	c.PValue = float64(above) / (flips + 1)
	c.Preference = c.PValue <= level
	least := int(math.Ceil(1 - math.Log2(level))) // answers that all go one way
	switch {
	case c.Preference:
		c.Reason = fmt.Sprintf("answers that favour no λ would look like this in %.3g of studies", c.PValue)
	case len(t.votes) == 0:
		c.Reason = "no preference found: no answers compare two different λ yet"
	case len(votes) == 0:
		c.Reason = "no preference found: every answer is a tie"
	case decisive < least:
		c.Reason = fmt.Sprintf("no preference found: %d independent answers that prefer one side cannot show one (it takes %d)", decisive, least)
	default:
		c.Reason = fmt.Sprintf("no preference found: answers that favour no λ would look like this or clearer in %.2g of studies, which is more than %g", c.PValue, level)
	}
	return nil
}

// shrink is the mean over lengths and scales of (K⁻¹ + I)⁻¹, I being the information in answers that prefer a side where
// u is flat: ¼ each.
func shrink(k int, votes []vote, factors []*factor) (*mat.Dense, error) {
	info := mat.NewDense(k, k, nil)
	for _, v := range votes {
		info.Set(v.i, v.i, info.At(v.i, v.i)+v.weight/4)
		info.Set(v.j, v.j, info.At(v.j, v.j)+v.weight/4)
		info.Set(v.i, v.j, info.At(v.i, v.j)-v.weight/4)
		info.Set(v.j, v.i, info.At(v.j, v.i)-v.weight/4)
	}
	sum := mat.NewDense(k, k, nil)
	for _, f := range factors {
		lower := mat.NewDense(k, k, f.l)
		for _, scale := range scales() {
			var kernel, a, m mat.Dense
			kernel.Mul(lower, lower.T())
			kernel.Scale(scale*scale, &kernel)
			a.Mul(info, &kernel)
			for i := range k {
				a.Set(i, i, a.At(i, i)+1)
			}
			// K·(1 + I·K)⁻¹, transposed.
			if err := m.Solve(a.T(), kernel.T()); err != nil {
				return nil, fault.Wrap(err, fault.Internal, "the test of flatness over %d λ", k)
			}
			sum.Add(sum, &m)
		}
	}
	return sum, nil
}
