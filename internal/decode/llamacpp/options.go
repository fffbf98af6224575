package llamacpp

import (
	"runtime"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/gpu"
)

// Spec says which files make a pair.
type Spec struct {
	Reference string    // a GGUF model
	Aligned   []Aligned // in the manifest's order
	Options   Options   // zeros are defaults; see Options

	// Contrasts are the aligned models without a path: the reference with another prompt. Untuned are the untuned models of
	// those that are proxies, by the aligned model's name.
	Contrasts map[string]decode.Contrast
	Untuned   map[string]Aligned

	// Template, where it is set, is used in place of the models' chat templates; Variables are what the template is told
	// beside a conversation, unless a request tells other values.
	Template  Template
	Variables map[string]any

	// Progress, when set, is told how far loading is: what is loaded and a fraction from 0 to 1. It is
	// called by the goroutine that called Open or Aligned.
	Progress func(label string, fraction float64)
}

// Aligned is one aligned model: a GGUF model of its own, a LoRA adapter for the reference's weights, or, without a path, the reference
// with another prompt.
type Aligned struct {
	Name  string  // unique in the pair
	Path  string  // of a GGUF file; "" for the reference with another prompt
	Scale float64 // multiplies an adapter's strength; 0 is 1
}

// Options are the sizes of every context of a pair. A zero means the default.
type Options struct {
	Cells     int // cache cells, shared by the sequences: 8192
	Batch     int // rows in one pass: 256
	Sequences int // sequences held at once: 128, or fewer for recurrent models (see bounded), at most 256
	Threads   int // for each context: 1, at most the number of processors

	// Offload says which layers are held on which GPUs. The zero value is none; see gpu.ParseChoice for the usual choice.
	Offload gpu.Choice

	// Float32Cache keeps keys and values in full and uses the plain attention kernels, for comparing with other
	// implementations. Half precision is the default.
	Float32Cache bool

	NoFlash bool // use the plain attention kernels even where a fused one exists

	OnePass OnePass // see OnePass; OnePassAuto by default
}

// withDefaults puts the defaults in place of zeros. The error is Invalid and names what is out of range.
func (o Options) withDefaults() (Options, error) {
	for _, limit := range []struct {
		value         *int
		name          string
		standard, max int
	}{
		{&o.Cells, "cells", 8192, 1 << 20},
		{&o.Batch, "batch", 256, 4096},
		{&o.Sequences, "sequences", 128, 256},
		{&o.Threads, "threads", 1, runtime.NumCPU()},
	} {
		if *limit.value == 0 {
			*limit.value = limit.standard
		}
		if *limit.value < 1 || *limit.value > limit.max {
			return o, fault.Field(limit.name, "%d is not between 1 and %d", *limit.value, limit.max)
		}
	}
	return o, nil
}

// context is what planning has to know of contexts of these sizes.
func (o Options) context() gpu.Context {
	c := gpu.Context{Cells: o.Cells, Batch: o.Batch, Sequences: o.Sequences, CacheBytes: 2}
	if o.Float32Cache {
		c.CacheBytes = 4
	}
	return c
}

// contextOf is what planning has to know of contexts on the weights of a file.
func (o Options) contextOf(head *gguf.File) gpu.Context {
	c := o.context()
	if head.IsEncoderDecoder() {
		length, _ := head.Integer(head.Architecture() + ".context_length")
		c.Sources, c.Batch = maxSources, max(c.Batch, min(int(length), maxSource))
	}
	return c
}
