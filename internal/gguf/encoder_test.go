package gguf

import (
	"slices"
	"strings"
	"testing"

	"realign/internal/fault"
)

const testT5 = "../decode/llamacpp/testdata/t5-v1.1.gguf"

// What ends llama.cpp's process in an encoder–decoder model is found in its head, by the name of the key.
func TestCheckEncoder(t *testing.T) {
	fresh := func() *File {
		f, err := Open(testT5)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if err := fresh().CheckModel(); err != nil || !fresh().IsEncoderDecoder() {
		t.Fatalf("a good file: %v", err)
	}
	for name, change := range map[string]func(*File){
		"decoder_block_count":              func(f *File) { f.Metadata["t5.decoder_block_count"] = uint32(3) },
		"relative_buckets_count is 2":      func(f *File) { f.Metadata["t5.attention.relative_buckets_count"] = uint32(2) },
		"relative_buckets_count is 6":      func(f *File) { f.Metadata["t5.attention.relative_buckets_count"] = uint32(6) },
		"relative_buckets_count is <nil>":  func(f *File) { delete(f.Metadata, "t5.attention.relative_buckets_count") },
		"enc.blk.0.attn_rel_b.weight":      func(f *File) { delete(f.index, "enc.blk.0.attn_rel_b.weight") },
		"dec.blk.0.attn_rel_b.weight":      func(f *File) { delete(f.index, "dec.blk.0.attn_rel_b.weight") },
		"head_count_kv":                    func(f *File) { f.Metadata["t5.attention.head_count_kv"] = uint32(1) },
		"value_length":                     func(f *File) { f.Metadata["t5.attention.value_length"] = uint32(8) },
		"decoder_start_token_id is 128":    func(f *File) { f.Metadata["t5.decoder_start_token_id"] = uint32(128) },
		"logit_scale is 0":                 func(f *File) { f.Metadata["t5.logit_scale"] = float32(0) },
		"precompiled_charsmap is no table": func(f *File) { f.Metadata["tokenizer.ggml.precompiled_charsmap"] = []uint8{8, 0, 0, 0, 1, 2, 3, 0} },
	} {
		f := fresh()
		change(f)
		if err := f.CheckModel(); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, table := range map[string][]uint8{"none": {}, "whole": {4, 0, 0, 0, 1, 2, 3, 4, 'a', 0}} {
		f := fresh()
		f.Metadata["tokenizer.ggml.precompiled_charsmap"] = table
		if err := f.CheckModel(); err != nil {
			t.Errorf("a table that is %s: %v", name, err)
		}
	}
	for name, table := range map[string][]uint8{"short": {4}, "without an end": {4, 0, 0, 0, 1, 2, 3, 4, 'a', 'b'}, "of half words": {2, 0, 0, 0, 1, 2, 0, 0}} {
		f := fresh()
		f.Metadata["tokenizer.ggml.precompiled_charsmap"] = table
		if err := f.CheckModel(); fault.KindOf(err) != fault.Invalid {
			t.Errorf("a table that is %s: %v", name, err)
		}
	}
}

// The output layer is the embedding where there is no other, or one of the same bytes.
func TestTiedOutput(t *testing.T) {
	for path, want := range map[string]bool{testT5: false, strings.Replace(testT5, "1.1", "1.0", 1): true} {
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := f.TiedOutput(); err != nil || got != want {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
	f, err := Open(testT5)
	if err != nil {
		t.Fatal(err)
	}
	output, embedding := f.index["output.weight"], f.index["token_embd.weight"]
	f.Tensors[output].Offset = f.Tensors[embedding].Offset
	if got, err := f.TiedOutput(); err != nil || !got {
		t.Errorf("the same bytes twice: %v, %v", got, err)
	}
}

// An encoder–decoder model makes no pair with another kind, even of the same tokens.
func TestCompareKinds(t *testing.T) {
	f, err := Open(testT5)
	if err != nil {
		t.Fatal(err)
	}
	other := *f
	other.Metadata = map[string]any{}
	for key, value := range f.Metadata {
		other.Metadata[key] = value
	}
	other.Metadata["general.architecture"] = "llama"
	for _, both := range [][2]*File{{f, &other}, {&other, f}} {
		if !slices.ContainsFunc(Compare(both[0], both[1]), func(x Finding) bool { return x.Level == Fault && strings.Contains(x.Text, "encoder") }) {
			t.Errorf("%s and %s make a pair", both[0].Architecture(), both[1].Architecture())
		}
		if Compatible(both[0], both[1]) == nil {
			t.Error("no error")
		}
	}
}
