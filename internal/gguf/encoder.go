package gguf

import (
	"bytes"
	"math"
	"os"
	"slices"
)

// encoderDecoders are the architectures whose prompt an encoder reads.
var encoderDecoders = []string{"t5"}

// IsEncoderDecoder reports whether the model reads its prompt with an encoder and decodes a text of its own.
func (f *File) IsEncoderDecoder() bool { return slices.Contains(encoderDecoders, f.Architecture()) }

// Limits of what an encoder–decoder model may say of its relative positions. Positions up to llama.cpp's fixed distance of 128 are put in buckets.
const (
	minBuckets = 4
	maxBuckets = 256
)

// checkEncoder reports, for an encoder–decoder model, what llama.cpp ends the process on, or what it decodes
// wrongly.
func (f *File) checkEncoder() error {
	if !f.IsEncoderDecoder() {
		return nil
	}
	encoder, _ := f.Integer(f.key("block_count"))
	if decoder, ok := f.Integer(f.key("decoder_block_count")); ok && (decoder < 1 || decoder > encoder) {
		return f.invalid("%s is %d and %s %d: llama.cpp makes a cache for as many layers as the encoder has, so the decoder cannot have more",
			f.key("decoder_block_count"), decoder, f.key("block_count"), encoder)
	}
	if n, ok := f.Integer(f.key("attention.relative_buckets_count")); !ok || n < minBuckets || n > maxBuckets || n%4 != 0 {
		return f.invalid("%s is %v, not a multiple of 4 from %d to %d", f.key("attention.relative_buckets_count"), f.Metadata[f.key("attention.relative_buckets_count")], minBuckets, maxBuckets)
	}
	for _, name := range []string{"enc.blk.0.attn_rel_b.weight", "dec.blk.0.attn_rel_b.weight"} {
		if _, ok := f.Tensor(name); !ok {
			return f.invalid("has no %q, the bias of relative positions", name)
		}
	}
	heads, _ := f.perLayer("attention.head_count")
	groups, _ := f.perLayer("attention.head_count_kv")
	key, hasKey := f.Integer(f.key("attention.key_length"))
	value, hasValue := f.Integer(f.key("attention.value_length"))
	switch {
	case len(heads) != 1 || len(groups) > 1 || len(groups) == 1 && groups[0] != heads[0]:
		return f.invalid("the layers of an encoder–decoder model have one number of heads, also for keys and values: %s is %v, %s %v",
			f.key("attention.head_count"), heads, f.key("attention.head_count_kv"), groups)
	case hasKey != hasValue || key != value:
		return f.invalid("%s and %s are %v and %v: llama.cpp needs one number", f.key("attention.key_length"), f.key("attention.value_length"), key, value)
	}
	if id, ok := f.Integer(f.key("decoder_start_token_id")); ok && (id < 0 || id >= int64(f.Tokens())) {
		return f.invalid("%s is %d, but there are %d tokens", f.key("decoder_start_token_id"), id, f.Tokens())
	}
	if value, ok := f.Metadata[f.key("logit_scale")]; ok {
		if scale, float := value.(float32); !float || !(scale > 0) || math.IsInf(float64(scale), 0) {
			return f.invalid("%s is %v, not a 32-bit float above 0", f.key("logit_scale"), value)
		}
	}
	return nil
}

// checkCharacters keeps the tokenizer of T5 from reading beyond its table of characters: a length in four bytes, so many bytes, and texts
// that each end with a zero.
func (f *File) checkCharacters() error {
	const key = "tokenizer.ggml.precompiled_charsmap"
	var table []byte
	switch value := f.Metadata[key].(type) {
	case []uint8:
		table = value
	case []int8:
		for _, b := range value {
			table = append(table, byte(b))
		}
	}
	if len(table) == 0 {
		return nil
	}
	size := uint64(0)
	for i := range min(4, len(table)) {
		size |= uint64(table[i]) << (8 * i)
	}
	if len(table) < 6 || size%4 != 0 || size+4 >= uint64(len(table)) || table[len(table)-1] != 0 {
		return f.invalid("%s is no table of %d bytes and the texts behind it", key, size)
	}
	return nil
}

// comparedBytes is how much of two matrices is compared to learn whether they are one.
const comparedBytes = 1 << 20

// TiedOutput reports whether the model's output layer is its token embedding: there is no output.weight, or one with the
// same values. Of values the first MiB is compared. It is false where the two are not in the file at Path.
func (f *File) TiedOutput() (bool, error) {
	output, own := f.Tensor("output.weight")
	embedding, ok := f.Tensor("token_embd.weight")
	if !own || !ok {
		return !own, nil
	}
	if output.Type != embedding.Type || output.Shape != embedding.Shape || f.Path == "" || max(f.index["output.weight"], f.index["token_embd.weight"]) >= f.own {
		return false, nil
	}
	file, err := os.Open(f.Path)
	if err != nil {
		return false, f.invalid("cannot be read: %v", err)
	}
	defer file.Close()
	n := min(output.Bytes, comparedBytes)
	var both [2][]byte
	for i, t := range []Tensor{output, embedding} {
		both[i] = make([]byte, n)
		if _, err := file.ReadAt(both[i], f.Data+int64(t.Offset)); err != nil {
			return false, f.invalid("%q cannot be read: %v", t.Name, err)
		}
	}
	return bytes.Equal(both[0], both[1]), nil
}

// compareKinds finds a pair of an encoder–decoder model and one of another kind, whose prompts are not the same tokens.
func compareKinds(reference, aligned *File) []Finding {
	if reference.IsEncoderDecoder() == aligned.IsEncoderDecoder() {
		return nil
	}
	text := "it reads its prompt with an encoder, and the reference does not"
	if reference.IsEncoderDecoder() {
		text = "the reference reads its prompt with an encoder, and it does not"
	}
	return []Finding{{Fault, text}}
}
