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
// itself bit for bit, and its row may be nil.
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
	if first { // Σλᵢ = 1 with every λᵢ = 0 cannot be; kept for a vector of zero length
		clear(z)
	}
}

// maximum is the largest entry and its first position. The error is errNotFinite if an entry is NaN or
// +Inf, or all are −Inf.
func maximum(z []float64) (at int, top float64, err error) {
	top = math.Inf(-1)
	bad := 0.0
	for v, x := range z {
		if x > top {
			at, top = v, x
		}
		bad += x * 0 // NaN once any entry is NaN or infinite
	}
	if bad != 0 || math.IsNaN(bad) {
		for _, x := range z {
			if math.IsNaN(x) || math.IsInf(x, 1) {
				return 0, 0, errNotFinite
			}
		}
	}
	if math.IsInf(top, -1) {
		return 0, 0, errNotFinite
	}
	return at, top, nil
}

// logSumExp is log Σ exp(z_v), given the largest entry.
func logSumExp(z []float64, top float64) float64 {
	var sum float64
	for _, x := range z {
		sum += expNeg(x - top)
	}
	return top + math.Log(sum)
}

// logSumExpRow is logSumExp of one model's logits.
func logSumExpRow(row []float32) (float64, error) {
	top := float32(math.Inf(-1))
	var bad float32
	for _, x := range row {
		if x > top {
			top = x
		}
		bad += x * 0
	}
	if bad != 0 || bad != bad || math.IsInf(float64(top), 0) {
		for _, x := range row {
			if x != x || math.IsInf(float64(x), 1) {
				return 0, errNotFinite
			}
		}
		if math.IsInf(float64(top), -1) {
			return 0, errNotFinite
		}
	}
	var sum float64
	t := float64(top)
	for _, x := range row {
		sum += expNeg(float64(x) - t)
	}
	return t + math.Log(sum), nil
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
func diverge(d *divergence, z []float64, top float64, w []float64, rows [][]float32, logSums []float64, scratch []float64) {
	n := len(rows) - 1
	sums := scratch[:n]
	clear(sums)
	var total float64
	if n == 1 {
		r, a := rows[0][:len(z)], rows[1][:len(z)]
		var s float64
		for v, x := range z {
			p := expNeg(x - top)
			if p == 0 {
				continue // 0·∞ is 0 here: a token neither distribution holds
			}
			total += p
			s += p * (float64(a[v]) - float64(r[v]))
		}
		sums[0] = s
	} else {
		for v, x := range z {
			p := expNeg(x - top)
			if p == 0 {
				continue
			}
			total += p
			for i := range sums {
				sums[i] += p * (float64(rows[i+1][v]) - float64(rows[0][v]))
			}
		}
	}
	d.logSum = top + math.Log(total)
	d.logZ = d.logSum
	for i, s := range logSums {
		d.logZ -= w[i] * s
	}
	d.klAligned = d.klAligned[:0]
	kl := -d.logZ
	for i, s := range sums {
		sums[i] = s/total - (logSums[i+1] - logSums[0])
		kl += w[i+1] * sums[i]
	}
	d.klReference = max(kl, 0)
	for _, mean := range sums {
		d.klAligned = append(d.klAligned, max(kl-mean, 0))
	}
}
