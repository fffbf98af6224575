package preference

import (
	"fmt"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"

	"realign/internal/fault"
)

// flips is how many random changes of sign the test of flatness makes where all of them are too many.
const flips = 999

// flatness tests that the public favours no λ.
//
// Each answer contributes to the score of u at u = 0, freed of what the order effect and ties explain (the effective score).
// Where annotators are a sample their contributions change sign together, whole annotators at once: exact where
// they deviate from a flat public to either side alike, and without it robust (Hemerik, Goeman & Finos 2020). So do
// those of prompts. Where both are samples the test has to reject with both; since neither change of sign sees what the
// other source adds, the observed statistic is divided by how much the variance of the score of both sources (Cameron,
// Gelbach & Miller 2011) is above that of the one.
//
// The statistic is gᵀ(K⁻¹ + I)⁻¹g, with g the score, I its information, and K the covariance of a smooth curve, averaged over
// lengths and scales. For normal g it is twice the log evidence of the process over a flat curve, but for a constant. (The
// score statistic gᵀKg of Liu, Lin & Ghosh 2007 is its limit for small scales; there pairs that are asked about often drown
// the others, and active choice asks most often about λ that are alike.)
func (c *Curve) flatness(level float64) error {
	t := c.comparisons
	random := rand.New(rand.NewPCG(c.seed, 4))
	s := newScores(t)
	c.PValue = 1
	least := int(math.Ceil(1 - math.Log2(level))) // clusters that all go one way
	people, prompts, items := s.by(t.annotators, annotatorOf), s.by(t.prompts, promptOf), s.by(t.clusters(), clusterOf)
	others := items
	if c.Scope.AnyPrompts {
		others = prompts
	}
	one, two := others, others
	if c.Scope.People {
		one = people
	}
	switch {
	case len(t.votes) == 0:
		c.Reason = "no preference found: no answers compare two different λ yet"
		return nil
	case t.decisive() == 0:
		c.Reason = "no preference found: every answer is a tie"
		return nil
	case s.decisive(clusterOf) < least:
		c.Reason = fmt.Sprintf("no preference found: %d independent answers that prefer one side cannot show one (it takes %d)", s.decisive(clusterOf), least)
		return nil
	}
	root, err := s.weigh()
	if err != nil {
		return err
	}
	// Of two sources an answer in both counts once.
	own := []float64{one.spread(root), two.spread(root)}
	total := own[0]
	if c.Scope.People {
		total = own[0] + own[1] - s.spread(root)
	}
	c.PValue = 0
	for i, g := range []*clustered{one, two} {
		c.PValue = max(c.PValue, g.test(root, min(1, own[i]/max(total, 1e-300)), random))
	}
	c.Preference = c.PValue <= level
	these := 1.0
	if c.Scope.People && !c.Preference {
		these = others.test(root, 1, random)
	}
	switch {
	case c.Preference:
		c.Reason = fmt.Sprintf("answers that favour no λ would look like this in %.3g of studies", c.PValue)
	case these <= level:
		c.Reason = fmt.Sprintf("no preference found: these %d annotators favour some λ (p = %.2g), but differ so much among each other that people like them may not (p = %.2g, which is more than %g)",
			c.Scope.Annotators, these, c.PValue, level)
	default:
		c.Reason = fmt.Sprintf("no preference found: answers that favour no λ would look like this or clearer in %.2g of studies, which is more than %g", c.PValue, level)
	}
	return nil
}

// These are what votes are grouped by.
func annotatorOf(v *vote) int { return v.annotator }
func promptOf(v *vote) int    { return v.prompt }
func clusterOf(v *vote) int   { return v.cluster }

// scores are the effective scores of the answers where u is flat.
type scores struct {
	t    *comparisons  // the answers
	each [][]float64   // [votes][levels]
	info *mat.SymDense // effective information of u, levels × levels
}

// newScores estimates the order effect and ν where u is flat, and takes out of each vote's score what they explain.
func newScores(t *comparisons) *scores {
	k := len(t.lambdas)
	eta, delta := t.flatFit()
	// Information of u with (δ, η), of (δ, η), and of u.
	cross, info := mat.NewDense(k, 2, nil), mat.NewSymDense(k, nil)
	nuisance := mat.NewSymDense(2, []float64{1 / (deltaSD * deltaSD), 0, 0, 1 / (etaSD * etaSD)})
	part := func(v *vote) (d, e, dd, de, ee float64) {
		first, second, tie, _ := outcome(v.first*delta, eta)
		lean := first - second
		d, e = v.weight*(v.y-lean)/2, -v.weight*tie
		if v.y == 0 {
			e += v.weight
		}
		return d, e, v.weight * (first + second - lean*lean) / 4, -v.weight * lean * tie / 2, v.weight * tie * (1 - tie)
	}
	for i := range t.votes {
		v := &t.votes[i]
		_, _, dd, de, ee := part(v)
		for _, x := range []struct {
			level int
			sign  float64
		}{{v.i, 1}, {v.j, -1}} {
			cross.Set(x.level, 0, cross.At(x.level, 0)+x.sign*dd*v.first)
			cross.Set(x.level, 1, cross.At(x.level, 1)+x.sign*de)
			info.SetSym(x.level, x.level, info.At(x.level, x.level)+dd)
		}
		info.SetSym(v.i, v.j, info.At(v.i, v.j)-dd)
		nuisance.SetSym(0, 0, nuisance.At(0, 0)+dd)
		nuisance.SetSym(0, 1, nuisance.At(0, 1)+de*v.first)
		nuisance.SetSym(1, 1, nuisance.At(1, 1)+ee)
	}
	// A = cross·nuisance⁻¹
	det := nuisance.At(0, 0)*nuisance.At(1, 1) - nuisance.At(0, 1)*nuisance.At(0, 1)
	inverse := mat.NewDense(2, 2, []float64{nuisance.At(1, 1) / det, -nuisance.At(0, 1) / det, -nuisance.At(0, 1) / det, nuisance.At(0, 0) / det})
	var a mat.Dense
	a.Mul(cross, inverse)
	var explained mat.Dense
	explained.Mul(&a, cross.T())
	for i := range k {
		for j := i; j < k; j++ {
			info.SetSym(i, j, info.At(i, j)-explained.At(i, j))
		}
	}
	s := &scores{t: t, info: info, each: make([][]float64, len(t.votes))}
	for i := range t.votes {
		v := &t.votes[i]
		d, e, _, _, _ := part(v)
		g := make([]float64, k)
		for x := range g {
			g[x] = -a.At(x, 0)*d*v.first - a.At(x, 1)*e
		}
		g[v.i] += d
		g[v.j] -= d
		s.each[i] = g
	}
	return s
}

// flatFit is log ν and the order effect where u is flat, at the mode.
func (t *comparisons) flatFit() (eta, delta float64) {
	eta = etaMean
	for range 50 {
		ge, gd := -(eta-etaMean)/(etaSD*etaSD), -delta/(deltaSD*deltaSD)
		ee, dd, de := 1/(etaSD*etaSD), 1/(deltaSD*deltaSD), 0.0
		for i := range t.votes {
			v := &t.votes[i]
			first, second, tie, _ := outcome(v.first*delta, eta)
			lean := first - second
			gd += v.weight * (v.y - lean) / 2 * v.first
			ge -= v.weight * tie
			if v.y == 0 {
				ge += v.weight
			}
			dd += v.weight * (first + second - lean*lean) / 4
			de -= v.weight * lean * tie / 2 * v.first
			ee += v.weight * tie * (1 - tie)
		}
		det := ee*dd - de*de
		stepEta, stepDelta := (dd*ge-de*gd)/det, (ee*gd-de*ge)/det
		// The log-likelihood is concave, and steps this short do not overshoot.
		shrink := min(1, 2/max(math.Abs(stepEta), math.Abs(stepDelta), 1e-300))
		eta, delta = eta+shrink*stepEta, delta+shrink*stepDelta
		if max(math.Abs(stepEta), math.Abs(stepDelta)) < 1e-10 {
			break
		}
	}
	return eta, delta
}

// clustered are scores summed by cluster.
type clustered struct {
	k       int         // levels
	scores  [][]float64 // [clusters][levels]
	weights []float64   // of the answers of each
}

// by sums the votes' scores by what of says, of which there are count.
func (s *scores) by(count int, of func(*vote) int) *clustered {
	k := len(s.t.lambdas)
	c := &clustered{k: k, scores: make([][]float64, count), weights: make([]float64, count)}
	for i := range c.scores {
		c.scores[i] = make([]float64, k)
	}
	for i := range s.t.votes {
		at := of(&s.t.votes[i])
		c.weights[at] += s.t.votes[i].weight
		to := c.scores[at]
		for x, g := range s.each[i] {
			to[x] += g
		}
	}
	return c
}

// decisive is how many clusters have an answer that prefers a side.
func (s *scores) decisive(of func(*vote) int) int {
	seen := map[int]bool{}
	for i := range s.t.votes {
		if v := &s.t.votes[i]; v.y != 0 {
			seen[of(v)] = true
		}
	}
	return len(seen)
}

// spread is the statistic's mean where only what clusters differ by moves it: the variance of their scores about the mean
// score of an answer.
func (c *clustered) spread(root *mat.Dense) float64 {
	mean, weight := make([]float64, c.k), 0.0
	for i, g := range c.scores {
		weight += c.weights[i]
		for x := range g {
			mean[x] += g[x]
		}
	}
	sum := 0.0
	for i, g := range c.scores {
		for j := range c.k {
			y := 0.0
			for x := range g {
				y += root.At(x, j) * (g[x] - c.weights[i]/weight*mean[x])
			}
			sum += y * y
		}
	}
	return sum
}

// spread is clustered.spread of single votes.
func (s *scores) spread(root *mat.Dense) float64 {
	c := &clustered{k: len(s.t.lambdas), scores: s.each, weights: make([]float64, len(s.each))}
	for i := range c.weights {
		c.weights[i] = s.t.votes[i].weight
	}
	return c.spread(root)
}

// weigh is R with R·Rᵀ the matrix of the statistic.
func (s *scores) weigh() (*mat.Dense, error) {
	t := s.t
	k := len(t.lambdas)
	width := t.lambdas[k-1] - t.lambdas[0]
	sum := mat.NewDense(k, k, nil)
	for _, length := range []float64{0.5, 0.8} {
		for _, size := range []float64{1, 2, 4} {
			var a, m mat.Dense
			cov := process(matern, length*width, size).at(t.lambdas)
			a.Mul(s.info, cov)
			for i := range k {
				a.Set(i, i, a.At(i, i)+1)
			}
			// K·(1 + I·K)⁻¹, transposed.
			if err := m.Solve(a.T(), cov); err != nil {
				return nil, fault.Wrap(err, fault.Internal, "the test of flatness over %d λ", k)
			}
			sum.Add(sum, &m)
		}
	}
	symmetric := mat.NewSymDense(k, nil)
	for i := range k {
		for j := i; j < k; j++ {
			symmetric.SetSym(i, j, (sum.At(i, j)+sum.At(j, i))/2)
		}
	}
	var eigen mat.EigenSym
	var vectors mat.Dense
	if !eigen.Factorize(symmetric, true) {
		return nil, fault.New(fault.Internal, "the test of flatness over %d λ has no eigenvalues", k)
	}
	root := mat.NewDense(k, k, nil)
	eigen.VectorsTo(&vectors)
	for j, x := range eigen.Values(nil) {
		for i := range k {
			root.Set(i, j, vectors.At(i, j)*math.Sqrt(max(0, x)))
		}
	}
	return root, nil
}

// test is how often changes of sign of whole clusters make the statistic at least shrink times the observed one. Of few
// clusters all patterns are tried. Five clusters have too few patterns for any p-value below 1/16: rotations of their
// scores, which mix the clusters as changes of sign do (Langsrud 2005), are right where the scores are normal and of one variance.
func (c *clustered) test(root *mat.Dense, shrink float64, random *rand.Rand) float64 {
	h := make([][]float64, 0, len(c.scores)) // scores in coordinates in which the statistic is a square
	for _, g := range c.scores {
		x := make([]float64, c.k)
		some := false
		for j := range x {
			for i, y := range g {
				x[j] += root.At(i, j) * y
			}
			some = some || x[j] != 0
		}
		if some {
			h = append(h, x)
		}
	}
	n := len(h)
	sum := make([]float64, c.k)
	statistic := func(weight func(i int) float64) (q float64) {
		clear(sum)
		for i, x := range h {
			w := weight(i)
			for j, y := range x {
				sum[j] += w * y
			}
		}
		for _, x := range sum {
			q += x * x
		}
		return q
	}
	if n < LeastAnnotators {
		return rotate(statistic, n, shrink, random)
	}
	return flip(statistic, n, shrink, random)
}

// rotate is how often random rotations of n clusters make a statistic at least shrink times the observed one.
func rotate(statistic func(weight func(i int) float64) float64, n int, shrink float64, random *rand.Rand) float64 {
	observed := statistic(func(int) float64 { return 1 }) * shrink * (1 - 1e-9)
	above := 1
	weights := make([]float64, n)
	for range flips {
		norm := 0.0
		for i := range weights {
			weights[i] = random.NormFloat64()
			norm += weights[i] * weights[i]
		}
		norm = math.Sqrt(float64(n) / norm)
		if statistic(func(i int) float64 { return weights[i] * norm }) >= observed {
			above++
		}
	}
	return float64(above) / (flips + 1)
}

// flip is how often changes of sign of n clusters do: all of them where they are few.
func flip(statistic func(weight func(i int) float64) float64, n int, shrink float64, random *rand.Rand) float64 {
	// Rounding must not tell a statistic from its own mirror image.
	observed := statistic(func(int) float64 { return 1 }) * shrink * (1 - 1e-9)
	if n <= 10 {
		above, patterns := 0, 1<<max(0, n-1)
		for p := range patterns {
			if statistic(func(i int) float64 { return float64(1 - 2*(p>>i&1)) }) >= observed {
				above++
			}
		}
		return float64(above) / float64(patterns)
	}
	above := 1
	signs := make([]uint64, (n+63)/64)
	for range flips {
		for i := range signs {
			signs[i] = random.Uint64()
		}
		if statistic(func(i int) float64 { return float64(int(signs[i/64]>>(i%64)&1)*2 - 1) }) >= observed {
			above++
		}
	}
	return float64(above) / (flips + 1)
}
