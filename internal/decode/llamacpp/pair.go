package llamacpp

/*
#include "bridge.h"
*/
import "C"

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"

	"realign/internal/decode"
	"realign/internal/decode/gguf"
	"realign/internal/fault"
	"realign/internal/offload"
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

	// Offload says which layers are held on which GPUs. The zero value is none; see offload.Parse for the usual choice.
	Offload offload.Choice

	// Float32Cache keeps keys and values in full, for comparing with other implementations. Half
	// precision is the default.
	Float32Cache bool

	NoFlash bool // use the plain attention kernels even where a fused one exists

	OnePass OnePass
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
	return o, nil
}

// context is what planning has to know of contexts of these sizes.
func (o Options) context() offload.Context {
	c := offload.Context{Cells: o.Cells, Batch: o.Batch, CacheBytes: 2}
	if o.Float32Cache {
		c.CacheBytes = 4
	}
	return c
}

// Plan is where the models of a pair would go on these devices, from the heads of their files. Models beyond the
// reference and the first aligned one are planned when they are opened, with what is free then.
func Plan(spec Spec, devices []offload.Device) (offload.Plan, error) {
	var err error
	if spec.Options, err = spec.Options.withDefaults(); err != nil {
		return offload.Plan{}, err
	}
	p := &Pair{spec: spec, aligned: map[string]*aligned{}}
	if _, err := p.check(); err != nil {
		return offload.Plan{}, err
	}
	return offload.Make(devices, p.needs(), spec.Options.Offload)
}

// adapters is what placements call the adapters of a pair, which have weights in common.
const adapters = "adapters"

// needs is those of the reference and of the first aligned model. All adapters count with the first, since a device that
// holds its weights gets their contexts too.
func (p *Pair) needs() []offload.Need {
	if p.spec.Options.OnePass == OnePassOn && p.joined() > 0 {
		return []offload.Need{p.jointNeed()}
	}
	o := p.spec.Options.context()
	needs := []offload.Need{offload.Of("reference", p.head, o, 1)}
	if len(p.names) == 0 {
		return needs
	}
	first := p.aligned[p.names[0]]
	if !first.isAdapter {
		return append(needs, offload.Of(p.names[0], first.head, o, 1))
	}
	n := 0
	for _, a := range p.aligned {
		if a.isAdapter {
			n++
		}
	}
	need := offload.Of(adapters, p.head, o, n)
	need.OnReference = true
	return append(needs, need)
}

// Pair is a loaded pair: a decode.Pair.
type Pair struct {
	spec       Spec
	head       *gguf.File // of the reference
	weights    *weights
	reference  decode.Model
	joint      *joint // the context of the reference and adapters, where they have one; or nil
	vocabulary *vocabulary
	names      []string

	loading sync.Mutex // held while a model is opened; guards what follows
	aligned map[string]*aligned
	plan    offload.Plan // of the reference and the first aligned model
	blend   *blend       // the model that holds λ in its weights; nil until it is used
	twin    *weights     // the reference's once more, where adapters are to be on another device; or nil
	closed  bool

	placing sync.Mutex          // guards placed, which is read while a model is opened
	placed  []offload.Placement // of all weights, planned or loaded
}

// aligned is an aligned model, opened on first use.
type aligned struct {
	path      string
	head      *gguf.File
	isAdapter bool
	weights   *weights     // its own, or nil
	adapter   *adapter     // or nil
	model     decode.Model // nil until it is used
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
	var devices []offload.Device
	if !spec.Options.Offload.None {
		devices, _ = Devices() // without those that do not work
	}
	if p.plan, err = offload.Make(devices, p.needs(), spec.Options.Offload); err != nil {
		return nil, err
	}
	for _, m := range p.plan.Models {
		p.placed = append(p.placed, m.Placement)
	}
	err = p.offloaded(&p.plan.Models[0], func(on offload.Model) error {
		if p.weights, err = loadWeights(spec.Reference, on, p.progress("reference model")); err != nil {
			return err
		}
		if err = p.openReference(); err != nil {
			p.closeAdapters()
			p.weights.Close()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if p.joint != nil || len(p.plan.Models) > 1 && p.plan.Models[1].Model == adapters && p.shares(p.plan.Models[1]) {
		p.place(p.shared())
	}
	p.place(measured(p.plan.Models[0].Placement, p.weights))
	p.vocabulary = newVocabulary(p.weights, template)
	for _, a := range p.aligned { // a lane ends where any of its models would end
		if !a.isAdapter {
			for _, token := range a.head.Ends() {
				p.vocabulary.last[token] = true
			}
		}
	}
	return p, nil
}

// offloaded loads as planned. If that fails on a device, and how much goes there was not told, it loads on the CPU.
func (p *Pair) offloaded(on *offload.Model, load func(offload.Model) error) error {
	err := load(*on)
	if err == nil || on.Count == 0 || p.spec.Options.Offload.Layers != offload.Auto {
		return err
	}
	why := fmt.Sprintf("%s does not work: %v", on.Devices[0].Name, err)
	slog.Warn("a model cannot be loaded on a GPU: it is decoded on the CPU", "model", on.Model, "device", on.Devices[0].Name, "error", err)
	*on = offload.Model{Placement: offload.Placement{Model: on.Model, Layers: on.Layers, Note: why}}
	return load(*on)
}

// shares reports whether a model that is planned like this can use the reference's weights where they are.
func (p *Pair) shares(on offload.Model) bool {
	reference := p.plan.Models[0]
	return on.Count == reference.Count && slices.Equal(on.Devices, reference.Devices) || reference.Count == 0
}

// shared is the placement of adapters on the reference's weights.
func (p *Pair) shared() offload.Placement {
	on := measured(p.plan.Models[0].Placement, p.weights)
	on.Model, on.Note = adapters, "on the reference's weights"
	return on
}

// place notes where a model is, in place of what was planned.
func (p *Pair) place(at offload.Placement) {
	p.placing.Lock()
	defer p.placing.Unlock()
	for i := range p.placed {
		if p.placed[i].Model == at.Model {
			p.placed[i] = at
			return
		}
	}
	p.placed = append(p.placed, at)
}

// Placements tells where the pair's weights are, and where those that are not loaded yet are planned to go.
func (p *Pair) Placements() []offload.Placement {
	p.placing.Lock()
	defer p.placing.Unlock()
	return slices.Clone(p.placed)
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
	p.head = reference
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
		p.aligned[a.Name] = &aligned{path: a.Path, head: file, isAdapter: file.IsAdapter()}
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

// Aligned opens an aligned model on its first use, which takes as long as loading its file. The pair's other models may
// decode meanwhile.
func (p *Pair) Aligned(name string) (decode.Model, error) {
	p.loading.Lock()
	defer p.loading.Unlock()
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

// open loads an aligned model; p.loading is held.
func (p *Pair) open(name string, a *aligned) error {
	if !a.isAdapter {
		on, err := p.planned(name, a)
		if err != nil {
			return err
		}
		err = p.offloaded(&on, func(on offload.Model) (err error) {
			if a.weights, err = loadWeights(a.path, on, p.progress("aligned model "+name)); err != nil {
				return err
			}
			m, err := newModel(a.weights, nil, p.spec.Options)
			if err != nil {
				a.Close()
				return err
			}
			a.model = m
			return nil
		})
		if err == nil {
			p.place(measured(on.Placement, a.weights))
		}
		return err
	}
	base, err := p.base()
	if err != nil {
		return err
	}
	if err = p.loadAdapter(base, a); err != nil {
		return err
	}
	if p.spec.Progress != nil {
		p.spec.Progress("aligned model "+name, 1)
	}
	a.model, err = p.openAdapted(base, a.adapter)
	return err
}

// loadAdapter loads an adapter's file for some weights, unless it is loaded.
func (p *Pair) loadAdapter(base *weights, a *aligned) (err error) {
	if a.adapter == nil {
		a.adapter, err = loadAdapter(base, a.path)
	}
	return err
}

// closeAdapters frees adapters that no model uses.
func (p *Pair) closeAdapters() {
	for _, a := range p.aligned {
		if a.adapter != nil && a.model == nil {
			a.adapter.Close()
			a.adapter = nil
		}
	}
}

// planned is where an aligned model with weights of its own goes; p.loading is held.
func (p *Pair) planned(name string, a *aligned) (offload.Model, error) {
	if len(p.plan.Models) > 1 && p.plan.Models[1].Model == name {
		return p.plan.Models[1], nil
	}
	var devices []offload.Device
	if !p.spec.Options.Offload.None {
		devices, _ = Devices() // without those that do not work
	}
	plan, err := offload.Make(devices, []offload.Need{offload.Of(name, a.head, p.spec.Options.context(), 1)}, p.spec.Options.Offload)
	if err != nil {
		return offload.Model{}, err
	}
	return plan.Models[0], nil
}

// base is the weights that adapters are laid over: the reference's, or the same once more on another device. p.loading is held.
func (p *Pair) base() (*weights, error) {
	if len(p.plan.Models) < 2 || p.plan.Models[1].Model != adapters || p.shares(p.plan.Models[1]) {
		return p.weights, nil
	}
	if p.twin == nil {
		on := p.plan.Models[1]
		twin, err := loadWeights(p.spec.Reference, on, nil)
		if err != nil && p.spec.Options.Offload.Layers != offload.Auto {
			return nil, err
		}
		if err != nil {
			slog.Warn("the weights cannot be loaded a second time, on another GPU: adapters use the reference's", "device", on.Devices[0].Name, "error", err)
			p.plan.Models[1] = p.plan.Models[0]
			p.plan.Models[1].Model = adapters
			p.place(p.shared())
			return p.weights, nil
		}
		p.twin = twin
		p.place(measured(on.Placement, twin))
	}
	return p.twin, nil
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
	p.loading.Lock()
	defer p.loading.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	if p.joint != nil {
		p.joint.Close()
	}
	if p.blend != nil {
		p.blend.in.Close()
	}
	for _, a := range p.aligned {
		a.Close()
	}
	if p.twin != nil {
		p.twin.Close()
	}
	p.reference.Close()
	p.vocabulary.chat.Close()
	p.weights.Close()
	giveBack()
	return nil
}

// giveBack returns memory that was freed to the system.
func giveBack() { C.realign_give_back() }
