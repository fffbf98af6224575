package gguf

import "slices"

// hybrid architectures keep a state in some layers and a cache of tokens in others.
var hybrid = []string{"jamba", "falcon-h1", "plamo2", "granitehybrid", "lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe", "qwen3next"}

// State is the bytes of state that a model keeps for each sequence, in 32 bits a number; 0 for models without. It is what
// llama.cpp reserves (llama_hparams::n_embd_r and n_embd_s), for all layers where the file does not say which have one.
func (f *File) State() int64 {
	if !f.IsRecurrent() && !slices.Contains(hybrid, f.Architecture()) {
		return 0
	}
	get := func(name string) int64 {
		n, _ := f.Integer(f.key(name))
		return max(n, 0)
	}
	width, numbers := get("embedding_length"), int64(0)
	switch head, convolution := get("wkv.head_size"), get("shortconv.l_cache"); {
	case head > 0: // RWKV: two shifted tokens, or one, and a matrix for each head
		shifts := get("token_shift_count")
		if shifts == 0 {
			shifts = 2
		}
		numbers = shifts*width + width*head
	case convolution > 0:
		numbers = width * (convolution - 1)
	default: // Mamba: the inputs of the convolution, and the state
		inner, state := get("ssm.inner_size"), get("ssm.state_size")
		numbers = max(get("ssm.conv_kernel")-1, 0)*(inner+2*get("ssm.group_count")*state) + state*inner
	}
	return 4 * numbers * f.stateLayers()
}

// stateLayers is the number of layers with a state: those without heads of keys, where the file lists each layer's;
// else all.
func (f *File) stateLayers() int64 {
	layers, _ := f.Integer(f.key("block_count"))
	groups, err := f.perLayer("attention.head_count_kv")
	if err != nil || len(groups) < 2 {
		return layers
	}
	n := int64(0)
	for _, g := range groups {
		if g == 0 {
			n++
		}
	}
	return n
}
