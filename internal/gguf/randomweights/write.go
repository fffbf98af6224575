package randomweights

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/ollama/ollama/fs/ggml"

	"realign/internal/fault"
	"realign/internal/gguf"
)

// Job is a model and an adapter for it that are to be written.
type Job struct {
	Shape     Shape
	Type      string // one of Types
	Rank      int    // of the adapter, which changes every matrix of every layer: a multiple of 4 up to MaxRank
	Seed      uint64
	Tokenizer *gguf.File // whose vocabulary and chat template they have; it is filled up with tokens that are never read
}

// MaxRank is the largest rank of an adapter.
const MaxRank = 256

// check is Invalid, with the field, for a type or rank that cannot be written.
func (j *Job) check() error {
	if err := checkType(j.Type); err != nil {
		return err
	}
	if j.Rank < 4 || j.Rank > MaxRank || j.Rank%4 != 0 {
		return fault.Field("rank", "%d is no multiple of 4 from 4 to %d", j.Rank, MaxRank)
	}
	return nil
}

// Model writes the model to a file. Errors are Invalid, with the field, or Unavailable where it cannot be written.
func (j *Job) Model(out string) error {
	if err := j.check(); err != nil {
		return err
	}
	s := j.Shape
	keys := ggml.KV{
		"general.architecture": "llama", "general.type": "model", "general.name": "random weights, " + s.Name,
		"general.quantization_version": uint32(2), "general.file_type": map[string]uint32{"f16": 1, "q8_0": 7, "q4_k_m": 15}[j.Type],
		"llama.vocab_size": uint32(s.Vocabulary), "llama.context_length": uint32(s.Context), "llama.embedding_length": uint32(s.Width),
		"llama.block_count": uint32(s.Layers), "llama.feed_forward_length": uint32(s.Inner), "llama.attention.head_count": uint32(s.Heads),
		"llama.attention.head_count_kv": uint32(s.KVHeads), "llama.rope.dimension_count": uint32(s.Depth),
		"llama.attention.key_length": uint32(s.Depth), "llama.attention.value_length": uint32(s.Depth),
		"llama.rope.freq_base": float32(500000), "llama.attention.layer_norm_rms_epsilon": float32(1e-5),
	}
	if err := j.vocabulary(keys); err != nil {
		return err
	}
	return j.write(out, keys, s.tensors(j.Type), 0)
}

// vocabulary takes over a tokenizer and fills it up to the size of the shape.
func (j *Job) vocabulary(keys ggml.KV) error {
	tokens, _ := j.Tokenizer.Metadata["tokenizer.ggml.tokens"].([]string)
	types, _ := j.Tokenizer.Metadata["tokenizer.ggml.token_type"].([]int32)
	if len(tokens) == 0 || len(types) != len(tokens) {
		return fault.Field("tokenizer", "%s has no tokens with their types", j.Tokenizer.Path)
	}
	if len(tokens) > j.Shape.Vocabulary {
		return fault.Field("tokenizer", "%s has %d tokens, and shape %s has room for %d", j.Tokenizer.Path, len(tokens), j.Shape.Name, j.Shape.Vocabulary)
	}
	for name, value := range j.Tokenizer.Metadata {
		if strings.HasPrefix(name, "tokenizer.") {
			keys[name] = value
		}
	}
	const normal = 1 // LLAMA_TOKEN_TYPE_NORMAL
	tokens, types = tokens[:len(tokens):len(tokens)], types[:len(types):len(types)]
	for len(tokens) < j.Shape.Vocabulary {
		tokens, types = append(tokens, fmt.Sprintf("Ġw%d", len(tokens))), append(types, normal)
	}
	keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"] = tokens, types
	return nil
}

// Adapter writes the adapter to a file. What it adds to a product is about a fifth of the product. Errors are as of
// Model.
func (j *Job) Adapter(out string) error {
	if err := j.check(); err != nil {
		return err
	}
	const scale = 2
	keys := ggml.KV{
		"general.architecture": "llama", "general.type": "adapter", "general.name": "random adapter, " + j.Shape.Name,
		"adapter.type": "lora", "adapter.lora.alpha": float32(scale * j.Rank),
	}
	var list []tensor
	for i := range j.Shape.Layers {
		for _, w := range j.Shape.weights() {
			list = append(list,
				tensor{w.name(i) + ".weight.lora_a", dims(w.in, j.Rank), f16, 1 / root(w.in)},
				tensor{w.name(i) + ".weight.lora_b", dims(j.Rank, w.out), f16, 0.2 / (scale * root(j.Rank))},
			)
		}
	}
	return j.write(out, keys, list, 1)
}

// write makes a file; stream tells its numbers from those of the other.
func (j *Job) write(out string, keys ggml.KV, list []tensor, stream uint64) (err error) {
	tensors := make([]*ggml.Tensor, len(list))
	for i, t := range list {
		tensors[i] = &ggml.Tensor{
			Name: t.name, Kind: t.format.kind, Shape: t.shape, WriterTo: written{t, [2]uint64{j.Seed, stream<<32 | uint64(i)}},
		}
	}
	f, err := os.Create(out)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "%s cannot be written", out)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := ggml.WriteGGUF(f, keys, tensors); err != nil {
		return fault.Wrap(err, fault.Unavailable, "%s cannot be written", out)
	}
	return nil
}

// dims is a shape.
func dims(n ...int) []uint64 {
	list := make([]uint64, len(n))
	for i := range n {
		list[i] = uint64(n[i])
	}
	return list
}

// root is the square root of a number of dimensions.
func root(n int) float64 { return math.Sqrt(float64(n)) }

// layer is the name of a weight of layer i, as GGUF has it.
func layer(i int, of string) string { return fmt.Sprintf("blk.%d.%s", i, of) }
