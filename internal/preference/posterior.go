package preference

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
)

// fit finds the posterior of the public's curve: a mixture over shapes of the curve and over plans, which are sizes of the
// annotators' and prompts' deviations, weighed by their marginal likelihoods.
//
// For each plan the likelihood of u is expanded once, at its mode under a normal prior with the mean covariance
// of the shapes: first their mean by prior probability, which weighs shapes and plans roughly, then by what they
// weigh. A shape then costs one small factorisation.
func (c *Curve) fit() error {
	t := c.comparisons
	m := newModel(t, 1/c.DesignEffect)
	c.levels = shapes(t.lambdas)
	covs, lowers, weights := make([]*mat.SymDense, len(c.levels)), make([]*mat.TriDense, len(c.levels)), make([]float64, len(c.levels))
	means := make([][]float64, len(c.levels))
	for i := range c.levels {
		s := &c.levels[i]
		covs[i], weights[i] = s.of.at(t.lambdas), s.prior
		var err error
		if lowers[i], err = triangle(covs[i]); err != nil {
			return err
		}
		if s.mean != nil {
			means[i] = make([]float64, m.k)
			s.add(means[i], t.lambdas, 1)
			covs[i].SymRankOne(covs[i], 1, mat.NewVecDense(m.k, means[i])) // for the mean of all shapes, second moments
		}
	}
	// Roughly first: it tells which plans are worth a mode of their own.
	plans := t.plans()
	if err := roughly(m, plans, covs, weights, c.levels, lowers, means); err != nil {
		return err
	}
	middle, err := triangle(meanCovariance(covs, weights))
	if err != nil {
		return err
	}
	c.parts = c.parts[:0]
	var logs []float64
	// Each plan that is left has its likelihood expanded once, and each shape beside it its evidence.
	for i := range plans {
		if plans[i].weight < 2e-3 {
			continue
		}
		plans[i].apply(m)
		like, err := m.climb(middle)
		if err != nil {
			return err
		}
		for s := range c.levels {
			part := component{shape: s, plan: i, lower: lowers[s], mean: means[s], like: &like}
			c.parts = append(c.parts, part)
			logs = append(logs, part.evidence()+math.Log(plans[i].prior*c.levels[s].prior))
		}
	}
	for i := range plans {
		plans[i].weight = 0
	}
	for i, w := range shares(logs) {
		c.parts[i].weight = w
		plans[c.parts[i].plan].weight += w
	}
	slices.SortStableFunc(c.parts, func(a, b component) int { return cmp.Compare(b.weight, a.weight) })
	c.plans, c.model = plans, m
	c.Nu = math.Exp(c.parts[0].like.eta)
	return nil
}

// roughly weighs the plans with the shapes' mean, and the shapes with the likeliest plan.
func roughly(m *model, plans []plan, covs []*mat.SymDense, weights []float64, levels []shape, lowers []*mat.TriDense, means [][]float64) error {
	middle, err := triangle(meanCovariance(covs, weights))
	if err != nil {
		return err
	}
	logs := make([]float64, len(plans))
	var best quadratic
	for i := range plans {
		plans[i].apply(m)
		like, err := m.climb(middle)
		if err != nil {
			return err
		}
		part := component{lower: middle, like: &like}
		logs[i] = part.evidence() + math.Log(plans[i].prior)
		if i == 0 || logs[i] >= slices.Max(logs[:i]) {
			best = like
		}
	}
	for i, w := range shares(logs) {
		plans[i].weight = w
	}
	logs = logs[:0]
	for s := range levels {
		part := component{lower: lowers[s], mean: means[s], like: &best}
		logs = append(logs, part.evidence()+math.Log(levels[s].prior))
	}
	copy(weights, shares(logs))
	return nil
}

// shares are the probabilities in proportion to what logs are the logarithms of.
func shares(logs []float64) []float64 {
	most, total := slices.Max(logs), 0.0
	list := make([]float64, len(logs))
	for i, x := range logs {
		list[i] = math.Exp(x - most)
		total += list[i]
	}
	for i := range list {
		list[i] /= total
	}
	return list
}

// meanCovariance is Σ weights[i]·covs[i].
func meanCovariance(covs []*mat.SymDense, weights []float64) *mat.SymDense {
	k := covs[0].SymmetricDim()
	sum := mat.NewSymDense(k, nil)
	for i, cov := range covs {
		for x := range k {
			for y := x; y < k; y++ {
				sum.SetSym(x, y, sum.At(x, y)+weights[i]*cov.At(x, y))
			}
		}
	}
	return sum
}

// plan is one pair of sizes of the deviations.
type plan struct {
	annotators, prompts *source    // nil: the result is about these
	size                [2]float64 // of annotators and prompts
	prior               float64    // prior probability
	weight              float64    // posterior probability
}

// plans are the sizes to average over: of annotators and of prompts where the study speaks for more than those.
func (t *comparisons) plans() []plan {
	scope := t.scope()
	var annotators, prompts *source
	ofAnnotators, ofPrompts := []size{{0, 1}}, []size{{0, 1}}
	if scope.People {
		annotators, ofAnnotators = newSource(t.votes, t.annotators, func(v *vote) int { return v.annotator }), sizes()
	}
	// By what prompts with one answer differ is a part of the noise of an answer.
	if scope.AnyPrompts && 2*t.prompts < len(t.votes) {
		prompts, ofPrompts = newSource(t.votes, t.prompts, func(v *vote) int { return v.prompt }), sizes()
	}
	var list []plan
	for _, a := range ofAnnotators {
		for _, p := range ofPrompts {
			list = append(list, plan{annotators, prompts, [2]float64{a.sd, p.sd}, a.prior * p.prior, 0})
		}
	}
	return list
}

// apply gives a model the plan's sizes. The deviations are where the model was before.
func (p *plan) apply(m *model) {
	for i, s := range []*source{p.annotators, p.prompts} {
		if s != nil {
			s.resize(p.size[i])
		}
	}
	m.between(p.annotators, p.prompts)
}

// effect is the design effect of the clusters at the mode of the likeliest plan, at least 1: by what answers of a cluster
// agree beyond what the public's curve and the deviations explain.
func (c *Curve) effect() (float64, error) {
	t, m := c.comparisons, c.model
	clusters := t.clusters()
	if clusters == len(t.votes) || clusters < 2 {
		return 1, nil
	}
	best := &c.parts[0]
	c.plans[best.plan].apply(m)
	if _, err := m.climb(best.lower); err != nil {
		return 0, err
	}
	k := m.k
	scores := make([]float64, clusters*k)
	single := 0.0
	for i, v := range t.votes {
		p, q, _, _ := outcome(m.difference(i), m.eta)
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
		return 1, nil
	}
	return max(1, together/single*float64(clusters)/float64(clusters-1)), nil
}
