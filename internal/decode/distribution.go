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

// usable returns errNotFinite unless top, the largest of some logits, is a number.
func usable(top float64) error {
	if math.IsNaN(top) || math.IsInf(top, 0) {
		return errNotFinite
	}
	return nil
}

// divergence holds what the mixture at one prefix says beyond the token.
type divergence struct {
	logSum      float64 // log Σ exp z
	logZ        float64 // log Σ_v π_ref^{1−Σλ} Π π_alᵢ^{λᵢ}
	klReference float64 // KL(π_λ ‖ π_ref)
	klAligned   []float64
	means       []float64 // E[log π_alᵢ − log π_ref] under the mixture
}

// fill computes the exact divergences of the mixture from each of its models. rows are the raw logits,
// logSums their log-sum-exps, z the mixture, w its weights.
//
// With s_i = log π_i(v) − log π_ref(v) the mixture is log π_λ = log π_ref + Σ λᵢ·s_i − log Z, so that
// KL(π_λ‖π_ref) = Σ λᵢ·E[s_i] − log Z and KL(π_λ‖π_j) = KL(π_λ‖π_ref) − E[s_j], with expectations under
// π_λ: one pass over the vocabulary for all of them.
func (d *divergence) fill(k Kernel, z []float64, top float64, w []float64, rows [][]float32, logSums []float64) {
	d.means = append(d.means[:0], make([]float64, len(rows)-1)...)
	total := k.Expect(d.means, z, top, rows)
	d.logSum = top + math.Log(total)
	d.logZ = d.logSum
	for i, s := range logSums {
		d.logZ -= w[i] * s
	}
	kl := -d.logZ
	for i := range d.means {
		d.means[i] = d.means[i]/total - (logSums[i+1] - logSums[0])
		kl += w[i+1] * d.means[i]
	}
	d.klReference = max(kl, 0)
	d.klAligned = d.klAligned[:0]
	for _, mean := range d.means {
		d.klAligned = append(d.klAligned, max(kl-mean, 0))
	}
}
