package gpu

import (
	"slices"
	"strconv"
	"strings"

	"realign/internal/gguf"
)

// Need is what a model takes of a device's memory, in bytes.
type Need struct {
	Model  string  // reference, or the aligned model's name
	Layers []Layer // those that repeat, in order; the last is the output layer

	// Work is what each context needs on every device it uses, for what it computes.
	Work int64 // bytes that each context needs on every device it uses, for what it computes

	// Contexts on these weights.
	Contexts int // how many there are on these weights

	// OnReference says that the weights are the reference's, with an adapter: they are not needed twice on the devices
	// that hold the reference.
	OnReference bool
}

// Layer is one layer's part, in bytes.
type Layer struct {
	Weights int64
	Cache   int64 // keys and values, or states, of each context; for the output layer, its logits
}

// Context is what is known of the contexts to be made.
type Context struct {
	Cells, Batch int // tokens of all sequences that a cache holds; Batch: tokens of a pass, at most
	CacheBytes   int // of one key or value
	Sequences    int // for each of which a recurrent model keeps a state
	Sources      int // of an encoder–decoder model, which has a context for each; 0 for other models
}

// NeedOf is what a model of a file needs. It rounds up: what is not in the file's head is estimated.
func NeedOf(model string, file *gguf.File, c Context, contexts int) Need {
	get := func(key string, otherwise int64) int64 {
		if n, ok := file.Integer(file.Architecture() + "." + key); ok {
			return n
		}
		return otherwise
	}
	blocks := get("block_count", 0)
	width := get("embedding_length", 0)
	heads := max(get("attention.head_count", 1), 1)
	key := get("attention.key_length", width/heads)
	value := get("attention.value_length", width/heads)
	keyHeads := get("attention.head_count_kv", heads) // some models have one number for each layer: then that of heads
	inner := get("feed_forward_length", 4*width)

	n := Need{Model: model, Layers: make([]Layer, blocks+1), Contexts: contexts * max(1, c.Sources)}
	output, embedding := int64(0), int64(0)
	vocabulary := int64(0)
	for _, t := range file.Tensors {
		name := strings.TrimPrefix(strings.TrimPrefix(t.Name, "enc."), "dec.") // a layer of the encoder goes with the decoder's of its number
		name, _ = strings.CutPrefix(name, "blk.")
		number, _, _ := strings.Cut(name, ".")
		if i, err := strconv.Atoi(number); err == nil && name != t.Name && i >= 0 && int64(i) < blocks {
			n.Layers[i].Weights += int64(t.Bytes)
			continue
		}
		switch {
		case t.Name == "token_embd.weight":
			embedding = int64(t.Bytes)
			vocabulary = int64(t.Shape[1])
		case strings.HasPrefix(t.Name, "output"):
			output += int64(t.Bytes)
		}
	}
	if _, own := file.Tensor("output.weight"); !own {
		output += embedding // the output layer gets a copy
	}
	cells, batch := int64(c.Cells), int64(c.Batch)
	state := file.State() * int64(c.Sequences)
	for i := range blocks {
		if !file.IsRecurrent() {
			n.Layers[i].Cache = cells * keyHeads * (key + value) * int64(c.CacheBytes)
		}
		n.Layers[i].Cache += (state + blocks - 1) / blocks
	}
	n.Layers[blocks] = Layer{Weights: output, Cache: batch * vocabulary * 4}
	// A layer's intermediate results are reused by the next, and attention's mask is as wide as the cache.
	n.Work = batch * 4 * (8*width + 3*inner + cells)
	return n
}

// total is the number of layers, the output layer included.
func (n Need) total() int { return len(n.Layers) }

// take is the memory that n layers of a model, counted from its end, take of each of several devices, and how many layers
// each gets, when they are split in the proportion of weights as llama.cpp does (load_tensors in llama-model.cpp, to the
// float32).
func (n Need) take(layers int, weights []float64) (bytes []int64, counts []int) {
	bytes, counts = make([]int64, len(weights)), make([]int, len(weights))
	splits := make([]float32, len(weights))
	sum := float32(0)
	for i, w := range weights {
		sum += float32(w)
		splits[i] = sum
	}
	for i := range splits {
		splits[i] /= sum
	}
	repeating := n.total() - 1
	start, act := max(repeating-layers, 0), min(layers, repeating+1)
	for il := start; il <= repeating && il-start < act; il++ {
		at := float32(il-start) / float32(act)
		device := slices.IndexFunc(splits, func(s float32) bool { return s > at }) // the last is 1, which is more
		bytes[device] += n.Layers[il].Weights + int64(n.Contexts)*n.Layers[il].Cache
		counts[device]++
	}
	for i := range bytes {
		if counts[i] > 0 {
			bytes[i] += int64(n.Contexts) * n.Work
		}
	}
	return bytes, counts
}

// withoutWeights is what the contexts alone need, on weights that are there.
func (n Need) withoutWeights() Need {
	n.Layers = slices.Clone(n.Layers)
	for i := range n.Layers {
		n.Layers[i].Weights = 0
	}
	return n
}
