package gguftest

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// Mutate is a model or an adapter that is broken in one or two places: numbers of the metadata that are wrong, of another
// type, missing or new, tensors of another name, shape or order, bytes that were changed, a file that was cut. The same
// random numbers give the same file.
func Mutate(r *rand.Rand, f *File) []byte {
	g := &File{Keys: slices.Clone(f.Keys), Tensors: slices.Clone(f.Tensors)}
	for range 1 + r.IntN(2) {
		switch r.IntN(10) {
		case 0, 1, 2, 3:
			g.mutateNumber(r)
		case 4:
			g.mutateList(r)
		case 5:
			g.Remove(g.Keys[r.IntN(len(g.Keys))].Name)
		case 6:
			extra := extraKeys[r.IntN(len(extraKeys))]
			g.Set(extra.Name, extra.Value)
		case 7:
			g.mutateTensor(r)
		default: // in the bytes, below
		}
	}
	data := g.Bytes()
	switch r.IntN(8) {
	case 0:
		return data[:r.IntN(len(data))]
	case 1:
		for range 1 + r.IntN(4) {
			data[r.IntN(min(len(data), 16<<10))] = byte(r.Uint32())
		}
	case 2: // weights: infinite, not numbers, anything
		at := len(data) - 4 - 4*r.IntN(len(data)/8)
		binary.LittleEndian.PutUint32(data[at&^3:], []uint32{0x7F800000, 0x7FC00000, r.Uint32()}[r.IntN(3)])
	}
	return data
}

// extraKeys are keys that models may have and these do not, with values that are not theirs.
var extraKeys = []Key{
	{"general.alignment", uint32(8)}, {"general.alignment", uint32(16)}, {"general.alignment", uint32(64)},
	{"llama.expert_count", uint32(8)}, {"llama.expert_count", uint32(1000)}, {"llama.expert_used_count", uint32(2)}, {"llama.expert_group_count", uint32(3)},
	{"llama.rope.scaling.type", "wide"}, {"llama.rope.scaling.type", "yarn"}, {"llama.rope.scaling.factor", float32(-1)},
	{"llama.rope.scaling.original_context_length", uint32(0)}, {"llama.attention.key_length", uint32(7)}, {"llama.attention.value_length", uint32(0)},
	{"llama.attention.key_length", uint32(1 << 20)}, {"llama.attention.sliding_window", uint32(4)}, {"llama.attention.scale", float32(math.NaN())},
	{"llama.attention.causal", false}, {"llama.pooling_type", uint32(77)}, {"llama.attention.layer_norm_epsilon", float32(-1)},
	{"tokenizer.ggml.add_space_prefix", true}, {"tokenizer.ggml.precompiled_charsmap", "x"}, {"tokenizer.ggml.scores", []float32{1}},
	{"tokenizer.ggml.eot_token_id", uint32(1 << 31)}, {"tokenizer.ggml.model", "llama"}, {"tokenizer.ggml.model", "none"}, {"tokenizer.ggml.model", "t5"},
	{"tokenizer.ggml.model", "rwkv"}, {"tokenizer.ggml.model", "bert"}, {"tokenizer.ggml.model", "plamo2"}, {"tokenizer.ggml.pre", "default"},
	{"tokenizer.ggml.pre", "qwen2"}, {"tokenizer.chat_template", "{% for i in range(60000) %}{% for j in range(60000) %}{% endfor %}{% endfor %}"},
	{"split.count", uint32(0)}, {"split.count", uint32(2)}, {"split.no", uint32(9)}, {"general.name", "phi-3"}, {"general.type", "adapter"},
}

// architectures that read the same tensors in another way.
var architectures = []string{"qwen2", "qwen3", "gemma", "gemma2", "phi3", "mamba", "bert", "t5", "gptneox", "falcon", "clip", "olmo2", "llama4", "deepseek2", "nothing"}

// mutateNumber gives one key a wrong value: an odd number, another type, another architecture, other types of
// tokens.
func (f *File) mutateNumber(r *rand.Rand) {
	k := &f.Keys[r.IntN(len(f.Keys))]
	integers := []uint32{0, 1, 2, 3, 7, 31, 63, 65, 513, 1 << 16, 1 << 24, 1 << 31, math.MaxUint32}
	floats := []float32{0, -1, 1e-30, 1e30, float32(math.NaN()), float32(math.Inf(1)), -1e-5}
	switch v := k.Value.(type) {
	case uint32:
		switch r.IntN(6) {
		case 0:
			k.Value = float32(v)
		case 1:
			k.Value = []int32{int32(v)}
		default:
			k.Value = integers[r.IntN(len(integers))]
		}
	case float32:
		if r.IntN(6) == 0 {
			k.Value = uint32(1)
		} else {
			k.Value = floats[r.IntN(len(floats))]
		}
	case bool:
		k.Value = []any{!v, uint32(1)}[r.IntN(2)]
	case string:
		if k.Name == "general.architecture" {
			k.Value = architectures[r.IntN(len(architectures))]
			f.rename(v, k.Value.(string))
		} else {
			k.Value = []any{"", strings.Repeat("x", 1000), uint32(1), "{{"}[r.IntN(4)]
		}
	case []int32:
		v = slices.Clone(v)
		for range 1 + r.IntN(4) {
			v[r.IntN(len(v))] = int32(r.IntN(9)) - 1
		}
		k.Value = v
	}
}

// rename gives the keys of an architecture another's name, as a model of that one would have them.
func (f *File) rename(from, to string) {
	for i := range f.Keys {
		if rest, ok := strings.CutPrefix(f.Keys[i].Name, from+"."); ok {
			f.Keys[i].Name = to + "." + rest
		}
	}
}

// mutateList breaks one entry of a list of texts, or cuts the list.
func (f *File) mutateList(r *rand.Rand) {
	k := &f.Keys[r.IntN(len(f.Keys))]
	for tries := 0; tries < 50; tries++ {
		if _, ok := k.Value.([]string); ok {
			break
		}
		k = &f.Keys[r.IntN(len(f.Keys))]
	}
	v, ok := k.Value.([]string)
	if !ok {
		return
	}
	v = slices.Clone(v)
	switch i := r.IntN(len(v)); r.IntN(4) {
	case 0:
		v[i] = ""
	case 1:
		v[i] = "\xff\xc3(" // no characters
	case 2:
		v = v[:i]
	default:
		v[i] = strings.Repeat("y", 1+r.IntN(5000))
	}
	k.Value = v
}

// mutateTensor removes a tensor, or gives it another name or shape.
func (f *File) mutateTensor(r *rand.Rand) {
	i := r.IntN(len(f.Tensors))
	t := &f.Tensors[i]
	switch r.IntN(4) {
	case 0:
		f.Tensors = slices.Delete(f.Tensors, i, i+1)
	case 1:
		t.Name = []string{"blk.0.attn_q.bias", "blk.99.attn_q.weight", "output.weight", "x"}[r.IntN(4)]
	case 2:
		t.Shape = slices.Clone(t.Shape)
		slices.Reverse(t.Shape)
	default:
		t.Shape = []uint64{uint64(len(t.Values))}
	}
}
