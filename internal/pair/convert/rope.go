package convert

import (
	"math"

	"github.com/ollama/ollama/fs/ggml"
)

// ropeFactors is the tensor that divides frequencies one by one.
const ropeFactors = "rope_freqs.weight"

// keys are the metadata of positions.
func (r rope) keys(c *config, set func(string, any)) {
	set("rope.freq_base", float32(r.base))
	switch r.kind {
	case "linear":
		set("rope.scaling.type", "linear")
		set("rope.scaling.factor", float32(r.factor))
	case "yarn":
		set("rope.scaling.type", "yarn")
		set("rope.scaling.factor", float32(r.factor))
		set("rope.scaling.original_context_length", uint32(r.original))
		set("rope.scaling.yarn_beta_fast", float32(r.fast))
		set("rope.scaling.yarn_beta_slow", float32(r.slow))
		if r.attention != 0 { // llama.cpp multiplies it by what the kind has by itself
			set("rope.scaling.attn_factor", float32(r.attention/(0.1*math.Log(r.factor)+1)))
		}
	case "longrope":
		set("rope.scaling.attn_factor", float32(r.longAttention(c)))
	}
}

// longAttention is the factor of attention of longrope.
func (r rope) longAttention(c *config) float64 {
	if r.attention != 0 {
		return r.attention
	}
	longer := float64(c.uint("max_position_embeddings")) / float64(max(r.original, 1))
	if longer <= 1 || r.original <= 1 {
		return 1
	}
	return math.Sqrt(1 + math.Log(longer)/math.Log(float64(r.original)))
}

// tensors are the factors of single frequencies.
func (r rope) tensors(c *config) (out []*ggml.Tensor) {
	add := func(name string, factors []float64) {
		if len(factors) == 0 {
			return
		}
		values := make(plain, len(factors))
		for i, f := range factors {
			values[i] = float32(f)
		}
		out = append(out, &ggml.Tensor{Name: name, Kind: kindF32, Shape: []uint64{uint64(len(values))}, WriterTo: values})
	}
	switch r.kind {
	case "llama3":
		add(ropeFactors, r.llama3(int(float64(c.headSize())*r.part)))
	case "longrope":
		add("rope_factors_long.weight", r.long)
		add("rope_factors_short.weight", r.short)
	}
	return out
}

// llama3 is what each frequency is divided by: low ones by the factor, high ones not at all, and smoothly between.
func (r rope) llama3(dimensions int) (factors []float64) {
	original := float64(r.original)
	if original == 0 {
		original = 8192
	}
	for i := 0; i < dimensions; i += 2 {
		wave := 2 * math.Pi * math.Pow(r.base, float64(i)/float64(dimensions))
		switch {
		case wave < original/r.high:
			factors = append(factors, 1)
		case wave > original/r.low:
			factors = append(factors, r.factor)
		default:
			smooth := (original/wave - r.low) / (r.high - r.low)
			factors = append(factors, 1/((1-smooth)/r.factor+smooth))
		}
	}
	return factors
}
