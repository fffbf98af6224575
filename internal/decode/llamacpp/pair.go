package llamacpp

/*
#include "bridge.h"
*/
import "C"

import (
	"runtime"
	"sync"

	"realign/internal/decode"
	"realign/internal/decode/gguf"
	"realign/internal/fault"
)

// Spec says which files make a pair.
type Spec struct {
	Reference string    // a GGUF model
	Aligned   []Aligned // in the manifest's order
	Options   Options

	// Progress, when set, is told how far loading is: what is loaded and a fraction from 0 to 1. It is
	// called by the goroutine that called Open or Aligned.
	Progress func(label string, fraction float64)
}

// Aligned is one aligned model: a GGUF model of its own, or a LoRA adapter for the reference's weights.
type Aligned struct {
	Name string
	Path string
}

// Options are the sizes of every context of a pair. A zero means the default.
type Options struct {
	Cells     int // cache cells, shared by the sequences: 8192
	Batch     int // rows in one pass: 256
	Sequences int // sequences held at once: 128, at most 256
	Threads   int // for each context: 1, at most the number of processors
	GPULayers int // layers to hold on a GPU, -1 for all: none

	// Float32Cache keeps keys and values in full, for comparing with other implementations. Half
	// precision is the default.
	Float32Cache bool

	NoFlash bool // use the plain attention kernels even where a fused one exists
}

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
	if o.GPULayers < 0 {
		o.GPULayers = 999 // llama.cpp takes as many as there are
	}
	return o, nil
}

// Pair is a loaded pair: a decode.Pair.
type Pair struct {
	spec       Spec
	weights    *weights
	reference  *Model
	vocabulary *vocabulary
	names      []string

	mu      sync.Mutex // guards what follows
	aligned map[string]*aligned
	closed  bool
}

// aligned is an aligned model, opened on first use.
type aligned struct {
	path      string
	isAdapter bool
	weights   *weights // its own, or nil
	adapter   *adapter // or nil
	model     *Model   // nil until it is used
}

var _ decode.Pair = (*Pair)(nil)

// Open checks all files of a pair and loads the reference. Files that are broken, or do not fit together,
// are errors of kind Invalid that name the file.
func Open(spec Spec) (*Pair, error) {
	var err error
	if spec.Options, err = spec.Options.withDefaults(); err != nil {
		return nil, err
	}
	p := &Pair{spec: spec, aligned: map[string]*aligned{}}
	template, err := p.check()
	if err != nil {
		return nil, err
	}
	if p.weights, err = loadWeights(spec.Reference, spec.Options.GPULayers, p.progress("reference model")); err != nil {
		return nil, err
	}
	if p.reference, err = newModel(p.weights, nil, spec.Options); err != nil {
		p.weights.Close()
		return nil, err
	}
	p.vocabulary = newVocabulary(p.weights, template)
	return p, nil
}

// check reads the heads of all files and compares them. It returns the chat template: the reference's, or
// else that of the first aligned model that has one.
func (p *Pair) check() (template string, err error) {
	reference, err := gguf.Open(p.spec.Reference)
	if err != nil {
		return "", err
	}
	if err := reference.CheckModel(); err != nil {
		return "", err
	}
	template = reference.ChatTemplate()
	for _, a := range p.spec.Aligned {
		if _, twice := p.aligned[a.Name]; twice || a.Name == "" {
			return "", fault.New(fault.Invalid, "aligned model name %q is empty or there twice", a.Name)
		}
		file, err := gguf.Open(a.Path)
		if err != nil {
			return "", err
		}
		if file.IsAdapter() {
			err = gguf.CheckAdapter(reference, file)
		} else if err = file.CheckModel(); err == nil {
			err = gguf.Compatible(reference, file)
		}
		if err != nil {
			return "", err
		}
		if template == "" {
			template = file.ChatTemplate()
		}
		p.names = append(p.names, a.Name)
		p.aligned[a.Name] = &aligned{path: a.Path, isAdapter: file.IsAdapter()}
	}
	return template, nil
}

func (p *Pair) progress(label string) func(float32) {
	if p.spec.Progress == nil {
		return nil
	}
	return func(fraction float32) { p.spec.Progress(label, float64(fraction)) }
}

// Vocabulary is shared by the models of the pair.
func (p *Pair) Vocabulary() decode.Vocabulary { return p.vocabulary }

// Reference is the model at λ = 0.
func (p *Pair) Reference() decode.Model { return p.reference }

// AlignedNames lists the aligned models in the manifest's order. The caller does not change the list.
func (p *Pair) AlignedNames() []string { return p.names }

// Aligned opens an aligned model on its first use, which takes as long as loading its file.
func (p *Pair) Aligned(name string) (decode.Model, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fault.New(fault.Unavailable, "the pair is closed")
	}
	a, ok := p.aligned[name]
	if !ok {
		return nil, fault.New(fault.NotFound, "the pair has no aligned model %q", name)
	}
	if a.model == nil {
		if err := p.open(name, a); err != nil {
			a.Close()
			return nil, err
		}
	}
	return a.model, nil
}

func (p *Pair) open(name string, a *aligned) (err error) {
	on, progress := p.weights, p.progress("aligned model "+name)
	if a.isAdapter {
		if a.adapter, err = loadAdapter(p.weights, a.path); err != nil {
			return err
		}
		if progress != nil {
			progress(1)
		}
	} else {
		if a.weights, err = loadWeights(a.path, p.spec.Options.GPULayers, progress); err != nil {
			return err
		}
		on = a.weights
	}
	a.model, err = newModel(on, a.adapter, p.spec.Options)
	return err
}

// Close frees what is loaded, in the order llama.cpp needs. Its models are not used afterwards.
func (a *aligned) Close() {
	if a.model != nil {
		a.model.Close()
	}
	if a.adapter != nil {
		a.adapter.Close()
	}
	if a.weights != nil {
		a.weights.Close()
	}
	a.model, a.adapter, a.weights = nil, nil, nil
}

// Close frees the pair, its models included. It is safe to call twice.
func (p *Pair) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	for _, a := range p.aligned {
		a.Close()
	}
	p.reference.Close()
	p.weights.Close()
	giveBack()
	return nil
}

// giveBack returns memory that was freed to the system.
func giveBack() { C.realign_give_back() }
