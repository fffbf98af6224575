package decode

import "math"

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
func mix(z, w []float64, rows [][]float32) {
	first := true
	for i, row := range rows {
		switch {
		case w[i] == 0:
			continue
		case first && w[i] == 1:
			for v, x := range row[:len(z)] {
				z[v] = float64(x)
			}
		case first && w[i] > 0:
			for v, x := range row[:len(z)] {
				z[v] = w[i] * float64(x)
			}
		case first:
			for v, x := range row[:len(z)] {
				z[v] = product(w[i], x)
			}
		case w[i] < 0:
			for v, x := range row[:len(z)] {
				z[v] += product(w[i], x)
			}
		default:
			for v, x := range row[:len(z)] {
				z[v] += float64(w[i] * float64(x)) // the conversion keeps it from being fused
			}
		}
		first = false
	}
}

// product is w·x rounded. −Inf stays −Inf, as what a model forbids is forbidden whatever its weight, and +Inf, which no model may
// say, does not become −Inf.
func product(w float64, x float32) float64 {
	p := w * float64(x)
	if p-p != 0 && w < 0 {
		if p > 0 {
			return math.Inf(-1)
		}
		return math.NaN()
	}
	return p
}
