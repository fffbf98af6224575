package decode

import "math"

// Kernel is the arithmetic over a whole vocabulary: what a step does for every token of every lane. The
// engine's own is plain Go; a package with vector instructions can bring a faster one. The mixture must be the
// same bit for bit whatever the kernel, as tokens are chosen from it; sums may differ in the order of their
// terms. Methods are called from several goroutines at the same time.
type Kernel interface {
	// Mix writes Σ w[i]·rows[i] to z, in float64 with every product and sum rounded (none fused), in the order of
	// the rows, and returns the largest entry with its first position. Rows of weight 0 are not read and may be
	// nil; a first row of weight 1 is copied. A token to which a row that is read gives −Inf is forbidden: its entry is
	// −Inf, whatever the sign of the row's weight. top is NaN if an entry of a row that is read is NaN or +Inf.
	Mix(z, w []float64, rows [][]float32) (at int, top float64)

	// Sum returns the largest entry of a row and log Σ exp(row[v]). top is NaN as for Mix.
	Sum(row []float32) (top, logSum float64)

	// Expect returns Σ exp(z[v]−top) and, for each of the rows after the first, Σ exp(z[v]−top)·(rows[i][v]−rows[0][v]),
	// written to means. A token whose exponential is 0 counts nothing, even where a row holds −Inf.
	Expect(means, z []float64, top float64, rows [][]float32) (total float64)

	// Candidates appends to dst, in order, every token v with z[v] ≥ cutoff whose score (z[v]−top)·inverse + g(v) reaches
	// the given one, and perhaps a few that do not: whether noise can be large enough is told from a bound, not from the noise
	// itself. top is the largest of z.
	Candidates(dst []Token, z []float64, cutoff, top, inverse, score float64, g Noise) []Token

	// Top fills best with the tokens whose entries of z are the largest: the largest first, equal ones in the order of tokens. z has
	// at least as many entries as best, none of them NaN. TopOfRow is the same for a row of logits.
	Top(best []Token, z []float64)
	TopOfRow(best []Token, row []float32)
}

// Plain is the kernel in plain Go: the twin that every faster one must agree with.
type Plain struct{}

// Mix implements Kernel.
func (Plain) Mix(z, w []float64, rows [][]float32) (at int, top float64) {
	mix(z, w, rows)
	return maximum(z)
}

// Sum implements Kernel.
func (Plain) Sum(row []float32) (top, logSum float64) {
	_, top = maximum(row)
	var p [block]float64
	var sum float64
	for len(row) > 0 {
		n := min(len(row), block)
		sum += exps(p[:], row[:n], top, 1)
		row = row[n:]
	}
	return top, top + math.Log(sum)
}

// Expect implements Kernel.
func (Plain) Expect(means, z []float64, top float64, rows [][]float32) (total float64) {
	clear(means)
	var p [block]float64
	for from := 0; from < len(z); from += block {
		n := min(len(z)-from, block)
		total += exps(p[:], z[from:from+n], top, 1)
		for i := range means {
			means[i] += meanDifference(p[:n], rows[i+1][from:], rows[0][from:])
		}
	}
	return total
}

// Candidates implements Kernel.
func (Plain) Candidates(dst []Token, z []float64, cutoff, top, inverse, score float64, g Noise) []Token {
	for v, x := range z {
		if x >= cutoff && (x-top)*inverse+gumbelBound(g.bits(v)) >= score {
			dst = append(dst, Token(v))
		}
	}
	return dst
}

// Top implements Kernel.
func (Plain) Top(best []Token, z []float64) { largest(best, z) }

// TopOfRow implements Kernel.
func (Plain) TopOfRow(best []Token, row []float32) { largest(best, row) }

// largest is Top of either kind.
func largest[F float32 | float64](best []Token, z []F) {
	n := 0
	for v, x := range z {
		if n == len(best) && (n == 0 || x <= z[best[n-1]]) {
			continue
		}
		n = min(n+1, len(best))
		i := n - 1
		for ; i > 0 && z[best[i-1]] < x; i-- {
			best[i] = best[i-1]
		}
		best[i] = Token(v)
	}
}

// block is how many tokens are worked on at a time: few enough to stay in the fastest cache.
const block = 1024

// maximum is the largest entry and its first position; top is NaN if an entry is NaN or +Inf.
func maximum[F float32 | float64](z []F) (at int, top float64) {
	largest := F(math.Inf(-1))
	var bad F
	for v, x := range z {
		if x > largest {
			at, largest = v, x
		}
		bad += x * 0 // NaN once any entry is NaN or infinite
	}
	if bad != bad {
		for _, x := range z {
			if x != x || math.IsInf(float64(x), 1) {
				return 0, math.NaN()
			}
		}
	}
	return at, float64(largest)
}

// meanDifference is Σ p_v·(a_v − r_v). A token of probability 0 counts nothing, even where a logit is −Inf.
func meanDifference(p []float64, a, r []float32) (sum float64) {
	a, r = a[:len(p)], r[:len(p)]
	for v, q := range p {
		if q != 0 {
			sum += q * (float64(a[v]) - float64(r[v]))
		}
	}
	return sum
}
