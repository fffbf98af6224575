// Package randomweights writes models of known shapes with random weights, and LoRA adapters for them. Time and memory are
// those of a real model of the shape and type; what such a model says means nothing. It is for measurements: nothing that
// it writes is kept or shipped.
package randomweights

import (
	"slices"
	"strings"

	"realign/internal/fault"
)

// Shape is the shape of a Llama model, in numbers of dimensions, layers and heads.
type Shape struct {
	Name                                        string
	Width, Inner, Layers, Heads, KVHeads, Depth int  // Depth is of a head
	Vocabulary                                  int  // tokens
	Tied                                        bool // the embedding is the output layer, too
	Context                                     int  // it claims to be trained for
}

// Shapes are those that can be written. The larger ones are of Llama 3.1 8B, 3.2 1B and 3.2 3B, by their config.json.
func Shapes() []Shape {
	return []Shape{
		{"tiny", 256, 512, 2, 4, 2, 64, 4608, true, 65536},
		{"llama-1b", 2048, 8192, 16, 32, 8, 64, 128256, true, 131072},
		{"llama-3b", 3072, 8192, 28, 24, 8, 128, 128256, true, 131072},
		{"llama-8b", 4096, 14336, 32, 32, 8, 128, 128256, false, 131072},
	}
}

// ShapeOf finds a shape by name. The error is Invalid and names those that there are.
func ShapeOf(name string) (Shape, error) {
	var names []string
	for _, s := range Shapes() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Shape{}, fault.Field("shape", "%.40q is none of %s", name, strings.Join(names, ", "))
}

// Types are the types of weights that can be written, as quantize calls them.
func Types() []string { return []string{"f16", "q8_0", "q4_k_m"} }

// checkType returns an Invalid error for a type that cannot be written.
func checkType(name string) error {
	if !slices.Contains(Types(), name) {
		return fault.Field("type", "%.40q is none of %s", name, strings.Join(Types(), ", "))
	}
	return nil
}

// tensor is a tensor to be written, its fastest-varying dimension first. deviation is the standard deviation of its
// values;
// 0 is for ones.
type tensor struct {
	name      string
	shape     []uint64
	format    format
	deviation float64
}

// tensors are those of a model, each of the format that llama.cpp's quantize gives it in a file of the type.
func (s Shape) tensors(kind string) []tensor {
	list := []tensor{
		{"token_embd.weight", dims(s.Width, s.Vocabulary), s.embedding(kind), logitDeviation / root(s.Width)},
		{"output_norm.weight", dims(s.Width), f32, 0},
	}
	if !s.Tied {
		list = append(list, tensor{"output.weight", dims(s.Width, s.Vocabulary), formatOf(kind, true), logitDeviation / root(s.Width)})
	}
	for i := range s.Layers {
		for _, w := range s.weights() {
			larger := w.sensitive && s.moreBits(i)
			list = append(list, tensor{w.name(i) + ".weight", dims(w.in, w.out), formatOf(kind, larger), 1 / root(w.in)})
		}
		for _, norm := range []string{"attn_norm", "ffn_norm"} {
			list = append(list, tensor{layer(i, norm) + ".weight", dims(s.Width), f32, 0})
		}
	}
	return list
}

// logitDeviation is how far logits spread.
const logitDeviation = 3

// weight is a matrix of a layer.
type weight struct {
	of        string // its name in GGUF, without the layer
	in, out   int    // rows are of in values, and there are out of them
	sensitive bool   // quantize gives it more bits in some layers
}

// name is that of the weight in layer i, without ".weight".
func (w weight) name(i int) string { return layer(i, w.of) }

// weights are the matrices of each layer.
func (s Shape) weights() []weight {
	q, kv := s.Heads*s.Depth, s.KVHeads*s.Depth
	return []weight{
		{"attn_q", s.Width, q, false}, {"attn_k", s.Width, kv, false}, {"attn_v", s.Width, kv, true}, {"attn_output", q, s.Width, false},
		{"ffn_gate", s.Width, s.Inner, false}, {"ffn_up", s.Width, s.Inner, false}, {"ffn_down", s.Inner, s.Width, true},
	}
}

// moreBits says in which layers Q4_K_M has Q6_K where it matters: llama-quant.cpp, use_more_bits.
func (s Shape) moreBits(i int) bool {
	n := s.Layers
	return i < n/8 || i >= 7*n/8 || (i-n/8)%3 == 2
}

// embedding is the format of the embedding, which is that of the output layer where it is one.
func (s Shape) embedding(kind string) format { return formatOf(kind, s.Tied) }

// Parameters is how many weights the shape has.
func (s Shape) Parameters() (n float64) {
	for _, t := range s.tensors("f16") {
		values := 1.0
		for _, x := range t.shape {
			values *= float64(x)
		}
		n += values
	}
	return n
}
