package decode

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestExpNeg(t *testing.T) {
	worst := 0.0
	for i := range 200_000 {
		x := -float64(i) * 0.0034567
		if got, want := expNeg(x), math.Exp(x); want > 0x1p-1000 {
			worst = max(worst, math.Abs(got/want-1))
		}
	}
	if worst > 1e-13 {
		t.Errorf("largest relative error %g", worst)
	}
	for _, x := range []float64{-701, math.Inf(-1), math.NaN()} {
		if expNeg(x) != 0 {
			t.Errorf("expNeg(%v) = %v, want 0", x, expNeg(x))
		}
	}
	if expNeg(0) != 1 {
		t.Errorf("expNeg(0) = %v", expNeg(0))
	}
}

// rows makes the logits of a reference and n aligned models.
func rows(r *rand.Rand, vocab, n int) [][]float32 {
	out := make([][]float32, n+1)
	for i := range out {
		out[i] = make([]float32, vocab)
		for v := range out[i] {
			out[i][v] = float32(3 * r.NormFloat64())
		}
	}
	return out
}

// softmax is the plain definition, in the plain order.
func softmax(z []float64) []float64 {
	top, sum := math.Inf(-1), 0.0
	for _, x := range z {
		top = max(top, x)
	}
	p := make([]float64, len(z))
	for v, x := range z {
		p[v] = math.Exp(x - top)
		sum += p[v]
	}
	for v := range p {
		p[v] /= sum
	}
	return p
}

func floats(row []float32) []float64 {
	z := make([]float64, len(row))
	for v, x := range row {
		z[v] = float64(x)
	}
	return z
}

func mixed(lambda Vector, r [][]float32) []float64 {
	z := make([]float64, len(r[0]))
	mix(z, weights(nil, lambda), r)
	return z
}

func diverged(t *testing.T, lambda Vector, r [][]float32) divergence {
	t.Helper()
	z := mixed(lambda, r)
	_, top := maximum(z)
	var sums []float64
	for _, row := range r {
		_, sum := Plain{}.Sum(row)
		sums = append(sums, sum)
	}
	var d divergence
	d.fill(Plain{}, z, top, weights(nil, lambda), r, sums)
	return d
}

func TestMixEndsAreExact(t *testing.T) {
	r := rows(rand.New(rand.NewPCG(1, 2)), 100, 2)
	for i, lambda := range []Vector{{0, 0}, {1, 0}, {0, 1}} {
		z := mixed(lambda, r)
		for v := range z {
			if float32(z[v]) != r[i][v] {
				t.Fatalf("λ = %v, token %d: %v, want model %d's %v", lambda, v, z[v], i, r[i][v])
			}
		}
	}
	r[1] = nil // a model of weight 0 is not read
	mixed(Vector{0, 1}, r)
}

func TestDivergenceEqualsItsDefinition(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		r := rows(random, 60, 2)
		lambda := Vector{3*random.Float64() - 1, 2 * random.Float64()}
		d := diverged(t, lambda, r)
		p := softmax(mixed(lambda, r))
		ref, one, two := softmax(floats(r[0])), softmax(floats(r[1])), softmax(floats(r[2]))
		var kl, klOne, klTwo, z float64
		for v := range p {
			kl += p[v] * math.Log(p[v]/ref[v])
			klOne += p[v] * math.Log(p[v]/one[v])
			klTwo += p[v] * math.Log(p[v]/two[v])
			z += math.Pow(ref[v], 1-lambda[0]-lambda[1]) * math.Pow(one[v], lambda[0]) * math.Pow(two[v], lambda[1])
		}
		for _, c := range []struct {
			name      string
			got, want float64
		}{
			{"KL to reference", d.klReference, kl}, {"KL to first", d.klAligned[0], klOne},
			{"KL to second", d.klAligned[1], klTwo}, {"log Z", d.logZ, math.Log(z)},
		} {
			if math.Abs(c.got-c.want) > 1e-9*(1+math.Abs(c.want)) {
				t.Errorf("λ = %v: %s is %v, want %v", lambda, c.name, c.got, c.want)
			}
		}
	}
}

func TestShiftChangesNothing(t *testing.T) {
	r := rows(rand.New(rand.NewPCG(5, 6)), 80, 1)
	before := diverged(t, Vector{1.7}, r)
	for v := range r[0] {
		r[0][v] += 64 // exact in float32 at this size
		r[1][v] -= 32
	}
	after := diverged(t, Vector{1.7}, r)
	if math.Abs(before.klReference-after.klReference) > 1e-4 || math.Abs(before.logZ-after.logZ) > 1e-4 {
		t.Errorf("KL %v became %v, log Z %v became %v", before.klReference, after.klReference, before.logZ, after.logZ)
	}
}

// At one prefix KL(π_λ‖π_ref) is non-decreasing in λ ≥ 0 with derivative λ·Var[log π_al/π_ref], and log Z is
// ≤ 0 on [0, 1] and ≥ 0 outside.
func TestDivergenceAlongLambda(t *testing.T) {
	r := rows(rand.New(rand.NewPCG(7, 8)), 50, 1)
	last := -1.0
	for i := range 60 {
		lambda := float64(i) / 20
		d := diverged(t, Vector{lambda}, r)
		if d.klReference < last-1e-12 {
			t.Errorf("KL falls at λ = %v", lambda)
		}
		last = d.klReference
		if inside := lambda <= 1; inside && d.logZ > 1e-9 || !inside && d.logZ < -1e-9 {
			t.Errorf("log Z(%v) = %v", lambda, d.logZ)
		}
		p := softmax(mixed(Vector{lambda}, r))
		var mean, square float64
		for v := range p {
			s := float64(r[1][v]) - float64(r[0][v])
			mean += p[v] * s
			square += p[v] * s * s
		}
		const h = 1e-4
		slope := (diverged(t, Vector{lambda + h}, r).klReference - diverged(t, Vector{lambda - h}, r).klReference) / (2 * h)
		if want := lambda * (square - mean*mean); math.Abs(slope-want) > 1e-4*(1+want) {
			t.Errorf("λ = %v: slope %v, want %v", lambda, slope, want)
		}
	}
	if d := diverged(t, Vector{0}, r); d.klReference > 1e-12 || math.Abs(d.logZ) > 1e-12 {
		t.Errorf("at λ = 0 KL is %v and log Z %v", d.klReference, d.logZ)
	}
	if d := diverged(t, Vector{1}, r); d.klAligned[0] > 1e-12 {
		t.Errorf("at λ = 1 KL to the aligned model is %v", d.klAligned[0])
	}
}

func BenchmarkMixStep49k(b *testing.B) {
	r := rows(rand.New(rand.NewPCG(1, 1)), 49152, 1)
	z := make([]float64, 49152)
	w := weights(nil, Vector{0.5})
	sums := make([]float64, 2)
	var d divergence
	var c chooser
	s := Sampling{Temperature: 0.7, TopP: 1}
	k := Plain{}
	for b.Loop() {
		for i := range r {
			_, sums[i] = k.Sum(r[i])
		}
		at, top := k.Mix(z, w, r)
		d.fill(k, z, top, w, r, sums)
		c.choose(Plain{}, z, at, top, &s, NewNoise(1, 0, 0))
	}
}
