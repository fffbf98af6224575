package decode

import (
	"errors"
	"math"
)

// errNotFinite ends a lane whose model produced a NaN or an infinity that no mixture can hold.
var errNotFinite = errors.New("the model's logits are not finite")

// weights are the factors of the reference and of each aligned model in the mixture: 1 − Σλᵢ, λ₁, λ₂ …
func weights(dst []float64, lambda Vector) []float64 {
	rest := 1.0
	dst = append(dst[:0], 0)
	for _, l := range lambda {
		rest -= l
		dst = append(dst, l)
	}
	dst[0] = rest
	return dst
}

// mix writes Σ wᵢ·rows[i] to z. A model of weight 0 is not read at all, so that both ends are the model
// itself bit for bit, and its row may be nil. Weights sum to 1, so some model is read.
func mix(z []float64, w []float64, rows [][]float32) {
	first := true
	for i, row := range rows {
		switch {
		case w[i] == 0:
			continue
		case first && w[i] == 1:
			for v, x := range row[:len(z)] {
				z[v] = float64(x)
			}
		case first:
			for v, x := range row[:len(z)] {
				z[v] = w[i] * float64(x)
			}
		default:
			for v, x := range row[:len(z)] {
				z[v] += w[i] * float64(x)
			}
		}
		first = false
	}
}

// maximum is the largest entry and its first position. The error is errNotFinite if an entry is NaN or
// +Inf, or all are −Inf.
func maximum[F float32 | float64](z []F) (at int, top float64, err error) {
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
				return 0, 0, errNotFinite
			}
		}
	}
	if math.IsInf(float64(largest), -1) {
		return 0, 0, errNotFinite
	}
	return at, float64(largest), nil
}

// logSumExp is log Σ exp(z_v), given the largest entry. It writes exp(z_v − top) to p.
func logSumExp[F float32 | float64](p []float64, z []F, top float64) float64 {
	return top + math.Log(exps(p, z, top, 1))
}

// divergence holds what the mixture at one prefix says beyond the token.
type divergence struct {
	logSum      float64 // log Σ exp z
	logZ        float64 // log Σ_v π_ref^{1−Σλ} Π π_alᵢ^{λᵢ}
	klReference float64 // KL(π_λ ‖ π_ref)
	klAligned   []float64
}

// diverge computes the exact divergences of the mixture from each of its models. rows are the raw logits,
// logSums their log-sum-exps, z the mixture, w its weights.
//
// With s_i = log π_i(v) − log π_ref(v) the mixture is log π_λ = log π_ref + Σ λᵢ·s_i − log Z, so that
// KL(π_λ‖π_ref) = Σ λᵢ·E[s_i] − log Z and KL(π_λ‖π_j) = KL(π_λ‖π_ref) − E[s_j], with expectations under
// π_λ: one pass over the vocabulary for all of them.
func diverge(d *divergence, z []float64, top float64, w []float64, rows [][]float32, logSums []float64, b *buffers) {
	n := len(rows) - 1
	p := b.p[:len(z)]
	total := exps(p, z, top, 1)
	d.logSum = top + math.Log(total)
	d.logZ = d.logSum
	for i, s := range logSums {
		d.logZ -= w[i] * s
	}
	b.means = b.means[:0]
	kl := -d.logZ
	for i := range n {
		mean := meanDifference(p, rows[i+1], rows[0])/total - (logSums[i+1] - logSums[0])
		b.means = append(b.means, mean)
		kl += w[i+1] * mean
	}
	d.klReference = max(kl, 0)
	d.klAligned = d.klAligned[:0]
	for _, mean := range b.means {
		d.klAligned = append(d.klAligned, max(kl-mean, 0))
	}
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

// buffers are what computing divergences needs besides.
type buffers struct {
	p     []float64 // of the size of the vocabulary
	means []float64
}
