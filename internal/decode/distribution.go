package decode

import (
	"errors"
	"math"
	"slices"
)

// Why a lane cannot go on.
var (
	errNotFinite   = errors.New("the model's logits are not finite: one is NaN or +∞")
	errNothingLeft = errors.New("no token is left: each is forbidden (−∞) by one of the models that are mixed")
)

// usable returns an error unless top, the largest of some logits, is a number.
func usable(top float64) error {
	switch {
	case math.IsInf(top, -1):
		return errNothingLeft
	case math.IsNaN(top) || math.IsInf(top, 1):
		return errNotFinite
	}
	return nil
}

// divergence holds what the mixture at one prefix says beyond the token. All is in nats, and of the
// distributions before temperature and truncation.
type divergence struct {
	logSum      float64   // log Σ exp z
	logZ        float64   // log Σ_v π_ref^{1−Σλ} Π π_alᵢ^{λᵢ}
	klReference float64   // KL(π_λ ‖ π_ref)
	klAligned   []float64 // KL(π_λ ‖ π_alᵢ), one per aligned model
	means       []float64 // E[log π_alᵢ − log π_ref] under the mixture
}

// fill computes the exact divergences of the mixture from each of its models. rows are the raw logits,
// logSums their log-sum-exps, z the mixture, w its weights.
//
// With s_i = log π_i(v) − log π_ref(v) the mixture is log π_λ = log π_ref + Σ λᵢ·s_i − log Z, so that
// KL(π_λ‖π_ref) = Σ λᵢ·E[s_i] − log Z and KL(π_λ‖π_j) = KL(π_λ‖π_ref) − E[s_j], with expectations under
// π_λ: one pass over the vocabulary for all of them.
//
// What a model of weight ≠ 0 forbids (−∞) has no probability in the mixture, so it counts nothing: Z is the sum over the tokens
// that all such models allow. A model of weight 0 may forbid what the mixture says; then its KL is infinite.
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
		if w[i+1] != 0 {
			kl += w[i+1] * d.means[i]
		}
	}
	if slices.ContainsFunc(d.means, func(mean float64) bool { return math.IsInf(mean, 0) || math.IsNaN(mean) }) {
		d.forbidden(z, top, total, w, rows, logSums)
		return
	}
	d.klReference = max(kl, 0)
	d.klAligned = d.klAligned[:0]
	for _, mean := range d.means {
		d.klAligned = append(d.klAligned, max(kl-mean, 0))
	}
}

// forbidden is fill where a model of weight 0 forbids what the mixture says: differences to the reference are then of no use, and
// those to a model that is mixed are taken.
// It is slower: it goes over the vocabulary once for each model.
func (d *divergence) forbidden(z []float64, top, total float64, w []float64, rows [][]float32, logSums []float64) {
	base := slices.IndexFunc(w, func(x float64) bool { return x != 0 })
	kls := make([]float64, len(rows)) // first E[log π_i − log π_base], then the divergences
	own := -d.logZ                    // KL(π_λ‖π_base)
	for i, row := range rows {
		if i == base {
			continue
		}
		for v, x := range z {
			if p := math.Exp(x - top); p > 0 {
				kls[i] += p * (float64(row[v]) - float64(rows[base][v]))
			}
		}
		kls[i] = kls[i]/total - (logSums[i] - logSums[base])
		if w[i] != 0 {
			own += w[i] * kls[i]
		}
	}
	for i := range kls {
		kls[i] = max(own-kls[i], 0)
	}
	d.klReference, d.klAligned = kls[0], append(d.klAligned[:0], kls[1:]...)
}
