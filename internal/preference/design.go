package preference

import (
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mat"

	"realign/internal/fault"
)

// Pair is two λ to be compared, Low < High.
type Pair struct{ Low, High float64 }

// Pairs are all pairs of the distinct λ of a grid, ascending.
func Pairs(grid []float64) []Pair {
	grid = slices.Clone(grid)
	slices.Sort(grid)
	grid = slices.Compact(grid)
	var pairs []Pair
	for i := range grid {
		for j := i + 1; j < len(grid); j++ {
			pairs = append(pairs, Pair{grid[i], grid[j]})
		}
	}
	return pairs
}

// Balanced is the next n pairs of a design that asks about every pair equally often: those asked least
// so far, counting the ones it has just chosen, in a random order within equals that depends on seed
// alone. asked counts answers and questions that are out. No candidates give none.
func Balanced(candidates []Pair, asked map[Pair]int, n int, seed uint64) []Pair {
	if len(candidates) == 0 {
		return nil
	}
	random := rand.New(rand.NewPCG(seed, 5))
	order := random.Perm(len(candidates))
	counts := make([]int, len(candidates))
	for i, p := range candidates {
		counts[i] = asked[p]
	}
	var next []Pair
	for range n {
		least := order[0]
		for _, i := range order {
			if counts[i] < counts[least] {
				least = i
			}
		}
		counts[least]++
		next = append(next, candidates[least])
	}
	return next
}

// Next is the n pairs among the candidates that are expected to narrow the interval of the most preferred
// λ most, one after the other, each taking the answers to the earlier ones as on their way. A pair whose
// λ are not levels of the curve (in Options.Grid or rated) is passed over.
//
// The interval's width is about four posterior standard deviations of the top λ*, and what one answer
// takes off its variance is Var E[λ* | answer]. For one answer, which says little, that is to first order
// Cov(λ*, d)²/(Var d + 1/I), with d = u(λ_A) − u(λ_B) and I the Fisher information of an answer at the
// mean of d: the best linear predictor of λ* from a noisy d. Covariances are those of the posterior
// samples, so curves with several tops count as they are. After each choice the covariances are updated
// as for a Gaussian (Kalman 1960). This is the gain of Bayesian experimental design for a quadratic loss
// (Chaloner & Verdinelli 1995), λ* taking the place of a linear parameter.
//
// Always asking about the pair of the greatest gain asks about a few pairs only, and finds the top later (docs/studies.md
// has the numbers): gains are those of a curve that is still wrong. So answers are shared out among pairs in proportion
// to the square of their gains, by highest averages as seats are (Sainte-Laguë): next is the pair with the greatest
// gain²/(a + ½), a being the answers about it so far.
func (c *Curve) Next(candidates []Pair, n int) []Pair {
	k := len(c.comparisons.lambdas)
	mean, cov := c.moments()
	type option struct {
		pair  Pair
		i, j  int
		info  float64 // of one answer
		asked float64 // so far
	}
	asked := map[[2]int]float64{}
	for _, cell := range c.comparisons.cells {
		asked[[2]int{cell.i, cell.j}] = cell.first + cell.second + cell.ties
	}
	var options []option
	for _, p := range candidates {
		i, oki := slices.BinarySearch(c.comparisons.lambdas, p.Low)
		j, okj := slices.BinarySearch(c.comparisons.lambdas, p.High)
		if oki && okj && i != j {
			// Scaled as the posterior's answers are.
			options = append(options, option{p, i, j, information(mean[i]-mean[j], math.Log(c.Nu)) / c.DesignEffect, asked[[2]int{i, j}]})
		}
	}
	if len(options) == 0 {
		return nil
	}
	var next []Pair
	gain := make([]float64, k+1)
	for range n {
		best, most := &options[0], -1.0
		for q := range options {
			o := &options[q]
			d := cov.At(o.i, o.i) + cov.At(o.j, o.j) - 2*cov.At(o.i, o.j)
			with := cov.At(o.i, k) - cov.At(o.j, k)
			gain := with * with / (d + 1/o.info)
			if claim := gain * gain / (o.asked + 0.5); claim > most {
				best, most = o, claim
			}
		}
		best.asked++
		next = append(next, best.pair)
		noise := cov.At(best.i, best.i) + cov.At(best.j, best.j) - 2*cov.At(best.i, best.j) + 1/best.info
		for i := range gain {
			gain[i] = cov.At(i, best.i) - cov.At(i, best.j)
		}
		for i := range gain {
			for j := i; j < len(gain); j++ {
				cov.SetSym(i, j, cov.At(i, j)-gain[i]*gain[j]/noise)
			}
		}
	}
	return next
}

// moments are the posterior mean and covariance of u at the levels and, last, of the top.
func (c *Curve) moments() ([]float64, *mat.SymDense) {
	k := len(c.comparisons.lambdas)
	mean := make([]float64, k+1)
	cov := mat.NewSymDense(k+1, nil)
	row := func(d draw, i int) float64 {
		if i == k {
			return d.top
		}
		return d.u[i]
	}
	for _, d := range c.samples {
		for i := range mean {
			mean[i] += row(d, i) / float64(len(c.samples))
		}
	}
	for _, d := range c.samples {
		for i := range mean {
			for j := i; j <= k; j++ {
				cov.SetSym(i, j, cov.At(i, j)+(row(d, i)-mean[i])*(row(d, j)-mean[j])/float64(len(c.samples)))
			}
		}
	}
	return mean, cov
}

// More is how much longer a study would have to go on.
type More struct {
	Answers int    `json:"answers"`            // further answers that are expected to halve the interval of the most preferred λ
	AtLeast bool   `json:"at_least,omitempty"` // it takes more than Answers; how many more was not looked for
	Reason  string `json:"reason"`             // why there is no number, or how it was found
}

// moreLimit is how many times the present answers More looks ahead.
const moreLimit = 64

// Halving is how many further answers, spread over pairs, annotators and prompts as the present ones are, would halve the
// interval of the most preferred λ: with further annotators and prompts, since what these differ by does not shrink
// with answers of the same. It is found by simulation from the posterior, not by a 1/√n law,
// which holds for neither a top at the end of the range nor a prior that still matters: for each number
// of answers, possible future posteriors are drawn (of the likeliest component, as Gaussians: the mean's
// spread is what the variance will have lost) and their intervals averaged.
func (c *Curve) Halving() More {
	if !c.Preference {
		return More{Reason: "no number: no preference was found, so there is no interval to halve"}
	}
	if c.best.Width() < c.Lambda[1]-c.Lambda[0] {
		return More{Reason: "no number: the interval is as narrow as the λ that the curve tells apart"}
	}
	part := &c.parts[0]
	present, err := c.future(part, 0)
	if err != nil || !(present > 0) {
		return More{Reason: "no number: the likeliest curve alone already puts the top at one point"}
	}
	wide := func(times float64) bool {
		width, err := c.future(part, times)
		return err != nil || width > present/2
	}
	low, high := 0.0, math.Log(1+moreLimit)
	if wide(moreLimit) {
		return More{Answers: int(moreLimit * c.Answers), AtLeast: true, Reason: "simulated from the posterior"}
	}
	for range 8 {
		mid := (low + high) / 2
		if wide(math.Exp(mid) - 1) {
			low = mid
		} else {
			high = mid
		}
	}
	return More{Answers: int(math.Ceil((math.Exp(high) - 1) * c.Answers)), Reason: "simulated from the posterior"}
}

// future is the mean width of the interval after times as many answers again, with the same random
// numbers for every times.
func (c *Curve) future(part *component, times float64) (float64, error) {
	const outer, inner = 24, 160
	f := c.factors[part.shape]
	k := f.k
	random := rand.New(rand.NewPCG(c.seed, 6))
	// Posterior precision P; after: P + times·(P − 1). The mean moves with covariance P⁻¹ − after⁻¹.
	before := within(part.lower, part.like.info)
	precision := mat.NewSymDense(k, nil)
	for i := range k {
		for j := i; j < k; j++ {
			prior := 0.0
			if i == j {
				prior = 1
			}
			precision.SetSym(i, j, before.At(i, j)+times*(before.At(i, j)-prior))
		}
	}
	center, now, err := part.posterior()
	if err != nil {
		return 0, err
	}
	var after, move mat.Cholesky
	var covBefore, covAfter mat.SymDense
	singular := fault.New(fault.Internal, "the precision of %d λ is not positive definite", k)
	if !after.Factorize(precision) || now.InverseTo(&covBefore) != nil || after.InverseTo(&covAfter) != nil {
		return 0, singular
	}
	moved := mat.NewSymDense(k, nil)
	for i := range k {
		for j := i; j < k; j++ {
			moved.SetSym(i, j, covBefore.At(i, j)-covAfter.At(i, j))
		}
		moved.SetSym(i, i, moved.At(i, i)+1e-10)
	}
	if !move.Factorize(moved) {
		return 0, singular
	}
	var lower mat.TriDense
	move.LTo(&lower)
	normal := func() *mat.VecDense {
		v := mat.NewVecDense(k, nil)
		for i := range k {
			v.SetVec(i, random.NormFloat64())
		}
		return v
	}
	// outer future means, and for each of them inner curves of its posterior, whose tops have a width.
	u, tops, rest := make([]float64, curvePoints), make([]float64, inner), make([]float64, f.r)
	width := 0.0
	next := mat.NewVecDense(k, nil)
	for range outer {
		next.MulVec(&lower, normal())
		next.AddVec(next, center)
		for s := range tops {
			z := normal()
			for j := range rest {
				rest[j] = random.NormFloat64()
			}
			if err := z.SolveVec(after.RawU(), z); err != nil {
				return 0, fault.Wrap(err, fault.Internal, "a sample of a future curve")
			}
			z.AddVec(z, next)
			f.curve(u, z.RawVector().Data, rest)
			c.levels[part.shape].add(u, c.Lambda, 1)
			tops[s] = top(c.Lambda, u)
		}
		width += quantiles(tops).Width() / outer
	}
	return width, nil
}
