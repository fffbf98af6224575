package gguftest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// Dimensions of the recurrent models made here.
const (
	stateSize = 8
	kernel    = 4
	stepRank  = 4
)

// MambaState is the bytes of state that such a model keeps for a sequence.
const MambaState = 4 * layers * ((kernel-1)*2*width + stateSize*2*width)

// Mamba is a random recurrent model with the vocabulary of Model.
func Mamba(seed uint64) *File {
	f := Model(seed)
	f.Set("general.architecture", "mamba")
	for _, key := range []string{"block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count", "attention.head_count_kv",
		"attention.layer_norm_rms_epsilon", "rope.dimension_count", "rope.freq_base", "vocab_size"} {
		f.Remove("llama." + key)
	}
	for key, value := range map[string]uint32{
		"block_count": layers, "context_length": Context, "embedding_length": width, "feed_forward_length": 0, "attention.head_count": 0,
		"ssm.conv_kernel": kernel, "ssm.inner_size": 2 * width, "ssm.state_size": stateSize, "ssm.time_step_rank": stepRank,
	} {
		f.Set("mamba."+key, value)
	}
	f.Set("mamba.attention.layer_norm_rms_epsilon", float32(1e-5))
	embedding := f.Tensors[0]
	f.Tensors = []Tensor{embedding}
	random := rand.New(rand.NewPCG(seed, 3))
	f.ones("output_norm.weight", width)
	for i := range layers {
		block := fmt.Sprintf("blk.%d.", i)
		f.ones(block+"attn_norm.weight", width)
		f.random(random, block+"ssm_in.weight", 0.2, width, 4*width)
		f.random(random, block+"ssm_conv1d.weight", 0.3, kernel, 2*width)
		f.random(random, block+"ssm_conv1d.bias", 0.1, 2*width)
		f.random(random, block+"ssm_x.weight", 0.2, 2*width, stepRank+2*stateSize)
		f.random(random, block+"ssm_dt.weight", 0.3, stepRank, 2*width)
		f.random(random, block+"ssm_dt.bias", 0.1, 2*width)
		f.ones(block+"ssm_d", 2*width)
		f.random(random, block+"ssm_out.weight", 0.2, 2*width, width)
		a := Tensor{block + "ssm_a", []uint64{stateSize, 2 * width}, make([]float32, stateSize*2*width)}
		for i := range a.Values {
			a.Values[i] = -float32(1 + i%stateSize)
		}
		f.Tensors = append(f.Tensors, a)
	}
	return f
}

// Split is a model in parts, as llama.cpp's gguf-split cuts it: the metadata in the first, tensors in all.
func (f *File) Split(parts int) (files []*File) {
	size := (len(f.Tensors) + parts - 1) / parts
	for i := range parts {
		part := &File{Tensors: f.Tensors[min(i*size, len(f.Tensors)):min((i+1)*size, len(f.Tensors))]}
		if i == 0 {
			part.Keys = append(part.Keys, f.Keys...)
		}
		part.Set("split.no", uint16(i))
		part.Set("split.count", uint16(parts))
		part.Set("split.tensors.count", int32(len(f.Tensors)))
		files = append(files, part)
	}
	return files
}

// WriteSplit writes a model in parts and returns their paths.
func (f *File) WriteSplit(t testing.TB, stem string, parts int) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for i, part := range f.Split(parts) {
		path := filepath.Join(dir, fmt.Sprintf("%s-%05d-of-%05d.gguf", stem, i+1, parts))
		if err := os.WriteFile(path, part.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}
