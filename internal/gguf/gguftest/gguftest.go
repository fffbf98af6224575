// Package gguftest writes small GGUF files for tests: a random two-layer llama model with a byte-level
// vocabulary, LoRA adapters for it, and whatever broken file a test wants. The same seed gives the same
// file. Nothing here is fit for text that means something.
package gguftest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// Key is one entry of the metadata. Value is a uint16, uint32, int32, float32, bool, string, []string, []int32 or
// []float32.
type Key struct {
	Name  string
	Value any
}

// Tensor is one tensor of float32 values, fastest-varying dimension first.
type Tensor struct {
	Name   string
	Shape  []uint64
	Values []float32
}

// File is a GGUF file to be written.
type File struct {
	Keys    []Key // in the order in which they are written
	Tensors []Tensor
}

// Set replaces a key of the metadata, or adds it.
func (f *File) Set(name string, value any) {
	for i := range f.Keys {
		if f.Keys[i].Name == name {
			f.Keys[i].Value = value
			return
		}
	}
	f.Keys = append(f.Keys, Key{name, value})
}

// Get is a key's value, nil when it is absent.
func (f *File) Get(name string) any {
	for _, k := range f.Keys {
		if k.Name == name {
			return k.Value
		}
	}
	return nil
}

// Remove drops a key of the metadata, if it is there.
func (f *File) Remove(name string) {
	for i := range f.Keys {
		if f.Keys[i].Name == name {
			f.Keys = append(f.Keys[:i:i], f.Keys[i+1:]...)
			return
		}
	}
}

// Bytes is the file as it lies on a disk.
func (f *File) Bytes() []byte {
	var b bytes.Buffer
	put := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			panic(err) // a bytes.Buffer takes everything that has a fixed size
		}
	}
	text := func(s string) {
		put(uint64(len(s)))
		b.WriteString(s)
	}
	alignment := 32
	if a, ok := f.Get("general.alignment").(uint32); ok && a > 0 && a <= 4096 {
		alignment = int(a)
	}
	b.WriteString("GGUF")
	put(uint32(3))
	put(uint64(len(f.Tensors)))
	put(uint64(len(f.Keys)))
	for _, k := range f.Keys {
		text(k.Name)
		// The numbers before a value are GGUF's types: 9 is a list, then the type of what is in it.
		switch v := k.Value.(type) {
		case uint32:
			put(uint32(4))
			put(v)
		case uint16:
			put(uint32(2))
			put(v)
		case int32:
			put(uint32(5))
			put(v)
		case float32:
			put(uint32(6))
			put(v)
		case bool:
			put(uint32(7))
			put(v)
		case string:
			put(uint32(8))
			text(v)
		case []int32:
			put([]uint32{9, 5})
			put(uint64(len(v)))
			put(v)
		case []float32:
			put([]uint32{9, 6})
			put(uint64(len(v)))
			put(v)
		case []string:
			put([]uint32{9, 8})
			put(uint64(len(v)))
			for _, s := range v {
				text(s)
			}
		default:
			panic(fmt.Sprintf("gguftest: cannot write a %T", v))
		}
	}
	// Offsets count from where the first tensor begins. Type 0 is F32.
	offset := uint64(0)
	for _, t := range f.Tensors {
		text(t.Name)
		put(uint32(len(t.Shape)))
		put(t.Shape)
		put(uint32(0))
		put(offset)
		offset += uint64(len(t.Values)*4+alignment-1) / uint64(alignment) * uint64(alignment)
	}
	pad := func() { b.Write(make([]byte, (alignment-b.Len()%alignment)%alignment)) }
	pad()
	for _, t := range f.Tensors {
		put(t.Values)
		pad()
	}
	return b.Bytes()
}

// Write puts the file into a folder that the test's end removes, and returns its path.
func (f *File) Write(t testing.TB, name string) string {
	t.Helper()
	return WriteBytes(t, name, f.Bytes())
}

// WriteBytes is Write for a file that is already bytes, for tests that break one.
func WriteBytes(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Dimensions of the models made here.
const (
	width   = 64
	inner   = 96
	layers  = 2
	heads   = 4
	Context = 512 // tokens of context the models claim
	rank    = 4
)

// Model is a random model. Its chat template is the one commonly called ChatML.
func Model(seed uint64) *File {
	tokens, types, merges := vocabulary()
	f := &File{Keys: []Key{
		{"general.architecture", "llama"},
		{"general.type", "model"},
		{"general.name", fmt.Sprintf("random %d", seed)},
		{"llama.block_count", uint32(layers)},
		{"llama.context_length", uint32(Context)},
		{"llama.embedding_length", uint32(width)},
		{"llama.feed_forward_length", uint32(inner)},
		{"llama.attention.head_count", uint32(heads)},
		{"llama.attention.head_count_kv", uint32(heads)},
		{"llama.attention.layer_norm_rms_epsilon", float32(1e-5)},
		{"llama.rope.dimension_count", uint32(width / heads)},
		{"llama.rope.freq_base", float32(10000)},
		{"llama.vocab_size", uint32(len(tokens))},
		{"tokenizer.ggml.model", "gpt2"},
		{"tokenizer.ggml.pre", "smollm"},
		{"tokenizer.ggml.tokens", tokens},
		{"tokenizer.ggml.token_type", types},
		{"tokenizer.ggml.merges", merges},
		{"tokenizer.ggml.bos_token_id", uint32(1)},
		{"tokenizer.ggml.eos_token_id", uint32(2)},
		{"tokenizer.ggml.unknown_token_id", uint32(0)},
		{"tokenizer.ggml.add_bos_token", false},
		{"tokenizer.ggml.add_space_prefix", false},
		{"tokenizer.chat_template", template},
	}}
	random := rand.New(rand.NewPCG(seed, 1))
	f.random(random, "token_embd.weight", 1, width, uint64(len(tokens)))
	f.ones("output_norm.weight", width)
	for i := range layers {
		block := fmt.Sprintf("blk.%d.", i)
		f.ones(block+"attn_norm.weight", width)
		for _, name := range []string{"attn_q", "attn_k", "attn_v", "attn_output"} {
			f.random(random, block+name+".weight", 0.2, width, width)
		}
		f.ones(block+"ffn_norm.weight", width)
		f.random(random, block+"ffn_gate.weight", 0.2, width, inner)
		f.random(random, block+"ffn_up.weight", 0.2, width, inner)
		f.random(random, block+"ffn_down.weight", 0.2, inner, width)
	}
	return f
}

// Adapter is a random LoRA adapter for the models made here.
func Adapter(seed uint64) *File {
	f := &File{Keys: []Key{
		{"general.type", "adapter"},
		{"general.architecture", "llama"},
		{"adapter.type", "lora"},
		{"adapter.lora.alpha", float32(2 * rank)},
	}}
	random := rand.New(rand.NewPCG(seed, 2))
	for i := range layers {
		for _, name := range []string{"attn_q", "attn_v", "attn_output"} {
			weight := fmt.Sprintf("blk.%d.%s.weight", i, name)
			f.random(random, weight+".lora_a", 0.3, width, rank)
			f.random(random, weight+".lora_b", 0.3, rank, width)
		}
	}
	return f
}

// random adds a tensor of normal values; scale is their standard deviation.
func (f *File) random(r *rand.Rand, name string, scale float64, shape ...uint64) {
	n := uint64(1)
	for _, d := range shape {
		n *= d
	}
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(scale * r.NormFloat64())
	}
	f.Tensors = append(f.Tensors, Tensor{name, shape, values})
}

// ones adds a vector of ones.
func (f *File) ones(name string, n uint64) {
	values := make([]float32, n)
	for i := range values {
		values[i] = 1
	}
	f.Tensors = append(f.Tensors, Tensor{name, []uint64{n}, values})
}
