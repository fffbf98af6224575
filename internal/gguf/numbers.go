package gguf

import (
	"math"
	"slices"
	"strings"
)

// Limits of llama.cpp.
const (
	maxLayers      = 512
	maxExperts     = 512
	dataAlignment  = 32      // of weights that are used where they lie in the file
	maxMeasurement = 1 << 24 // of a dimension, a number of heads and the like: far above any model
)

// ropeScalings are the words of <architecture>.rope.scaling.type.
var ropeScalings = []string{"none", "linear", "yarn", "longrope"}

// checkNumbers reports numbers of the model's shape on which llama.cpp ends the process instead of giving an error.
func (f *File) checkNumbers() error {
	for _, check := range []func() error{f.checkSizes, f.checkHeads, f.checkExperts, f.checkEpsilons, f.checkRope, f.checkEncoder, f.checkAlignment} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// key is a key of the metadata that belongs to the architecture.
func (f *File) key(name string) string { return f.Architecture() + "." + name }

// checkSizes checks the numbers that say how large the model is; absent ones are llama.cpp's to refuse.
func (f *File) checkSizes() error {
	for _, size := range []struct {
		name string
		most int64
	}{
		{"block_count", maxLayers}, {"embedding_length", maxMeasurement}, {"context_length", math.MaxInt32 / 2}, {"vocab_size", maxMeasurement},
	} {
		key := f.key(size.name)
		value, ok := f.Metadata[key]
		if !ok {
			continue
		}
		if n, whole := f.Integer(key); !whole || n <= 0 || n > size.most {
			return f.invalid("%s is %v, not a whole number from 1 to %d", key, value, size.most)
		}
	}
	return nil
}

// perLayer is a number that holds for all layers, as a list of one, or one for each of them. It is nil when the key
// is absent.
func (f *File) perLayer(name string) ([]int64, error) {
	key := f.key(name)
	value, ok := f.Metadata[key]
	if !ok {
		return nil, nil
	}
	var list []int64
	switch v := value.(type) {
	case []uint32:
		for _, n := range v {
			list = append(list, int64(n))
		}
	case []int32:
		for _, n := range v {
			list = append(list, int64(n))
		}
	default:
		n, whole := f.Integer(key)
		if !whole {
			return nil, f.invalid("%s is no whole number, nor a list of 32-bit ones", key)
		}
		list = []int64{n}
	}
	for _, n := range list {
		if n < 0 || n > maxMeasurement {
			return nil, f.invalid("%s is %d, not between 0 and %d", key, n, maxMeasurement)
		}
	}
	return list, nil
}

// recurrent architectures have no attention heads, or none in some layers.
var recurrent = []string{"mamba", "mamba2", "rwkv6", "rwkv7", "rwkv6qwen2", "arwkv7"}

// IsRecurrent reports whether the model keeps a state for each sequence instead of a cache of tokens.
func (f *File) IsRecurrent() bool { return slices.Contains(recurrent, f.Architecture()) }

// checkHeads checks the heads of attention: a layer's heads are a multiple of its heads of keys and values.
func (f *File) checkHeads() error {
	heads, err := f.perLayer("attention.head_count")
	if err != nil {
		return err
	}
	groups, err := f.perLayer("attention.head_count_kv")
	if err != nil {
		return err
	}
	if _, err := f.perLayer("feed_forward_length"); err != nil {
		return err
	}
	if f.IsRecurrent() {
		return nil
	}
	if len(heads) > 0 && slices.Max(heads) == 0 {
		return f.invalid("%s is 0", f.key("attention.head_count"))
	}
	for i, n := range heads {
		if n == 0 || len(groups) == 0 {
			continue
		}
		if kv := groups[min(i, len(groups)-1)]; kv > n || kv > 0 && n%kv != 0 {
			return f.invalid("%s is %d, which is no multiple of the %d of %s", f.key("attention.head_count"), n, kv, f.key("attention.head_count_kv"))
		}
	}
	return nil
}

// checkExperts checks the numbers of a mixture of experts.
func (f *File) checkExperts() error {
	read := func(name string) (n int64) {
		n, _ = f.Integer(f.key(name))
		return n
	}
	experts, used := read("expert_count"), read("expert_used_count")
	groups, groupsUsed := read("expert_group_count"), read("expert_group_used_count")
	switch count := f.key("expert_count"); {
	case experts < 0 || experts > maxExperts:
		return f.invalid("%s is %d, not between 0 and %d", count, experts, maxExperts)
	case used < 0 || used > experts || experts > 0 && used == 0:
		return f.invalid("%s is %d of %d experts", f.key("expert_used_count"), used, experts)
	case groups < 0 || groups > 0 && groups >= experts || groups > 1 && experts%groups != 0:
		return f.invalid("%s is %d, for %d experts", f.key("expert_group_count"), groups, experts)
	case groups > 1 && (groupsUsed <= 0 || groupsUsed >= groups):
		return f.invalid("%s is %d of %d groups", f.key("expert_group_used_count"), groupsUsed, groups)
	}
	return nil
}

// checkEpsilons checks the small numbers that keep normalisations from dividing by zero.
func (f *File) checkEpsilons() error {
	for key, value := range f.Metadata {
		if !strings.HasPrefix(key, f.key("")) || !strings.HasSuffix(key, "_epsilon") {
			continue
		}
		if e, ok := value.(float32); !ok || !(e >= 0) || math.IsInf(float64(e), 0) {
			return f.invalid("%s is %v, not a 32-bit float of at least 0", key, value)
		}
	}
	return nil
}

// checkRope checks how positions enter attention: the kind of scaling, and an even number of dimensions.
func (f *File) checkRope() error {
	key := f.key("rope.scaling.type")
	if value, ok := f.Metadata[key]; ok {
		if word, text := value.(string); !text || !slices.Contains(ropeScalings, word) {
			return f.invalid("%s is %.40q, none of %q", key, value, ropeScalings)
		}
	}
	key = f.key("rope.dimension_count")
	value, ok := f.Metadata[key]
	if !ok {
		return nil
	}
	n, whole := f.Integer(key)
	if !whole || n < 0 || n > maxMeasurement || n%2 != 0 {
		return f.invalid("%s is %v, not an even number", key, value)
	}
	return nil
}

// checkAlignment wants weights to lie where the processor can use them without a copy.
func (f *File) checkAlignment() error {
	for _, part := range f.parts {
		if err := part.checkAlignment(); err != nil {
			return err
		}
	}
	for _, t := range f.Tensors[:f.own] {
		if at := uint64(f.Data) + t.Offset; at%dataAlignment != 0 {
			return f.invalid("general.alignment is %v, and llama.cpp needs %d: tensor %q lies at byte %d", f.Metadata["general.alignment"], dataAlignment, t.Name, at)
		}
	}
	return nil
}
