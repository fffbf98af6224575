package llamacpp

/*
#include "bridge.h"
*/
import "C"

import (
	"cmp"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/gpu"
)

// Spec says which files make a pair.
type Spec struct {
	Reference string    // a GGUF model
	Aligned   []Aligned // in the manifest's order
	Options   Options

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
	Name  string
	Path  string
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
func (o Options) context() gpu.Context {
	c := gpu.Context{Cells: o.Cells, Batch: o.Batch, Sequences: o.Sequences, CacheBytes: 2}
	if o.Float32Cache {
		c.CacheBytes = 4
	}
	return c
}

// A recurrent model keeps a state for each sequence that there may be, used or not. By default the states of a context take
// at most maxStates bytes, and there are minSequences at least.
const (
	maxStates    = 1 << 30
	minSequences = 16
)

// bounded is the number of sequences of a pair's contexts by default.
func (p *Pair) bounded() int {
	state := p.head.State()
	for _, a := range p.aligned {
		if !a.isAdapter {
			state = max(state, a.head.State())
		}
	}
	return sequencesFor(state, p.spec.Options.Sequences)
}

// sequencesFor is how many sequences, of most, there is room for whose states take so many bytes each.
func sequencesFor(state int64, most int) int {
	if state == 0 {
		return most
	}
	return int(max(min(maxStates/state, int64(most)), minSequences))
}

// Plan is where the models of a pair would go on these devices, from the heads of their files. Models beyond the
// reference and the first aligned one are planned when they are opened, with what is free then.
func Plan(spec Spec, devices []gpu.Device) (gpu.Plan, error) {
	p, _, err := prepare(spec)
	if err != nil {
		return gpu.Plan{}, err
	}
	return gpu.NewPlan(devices, p.needs(), spec.Options.Offload)
}

// prepare checks the files of a pair and fills in the sizes that were not given. Nothing is loaded.
func prepare(spec Spec) (p *Pair, template string, err error) {
	given := spec.Options.Sequences > 0
	if spec.Options, err = spec.Options.withDefaults(); err != nil {
		return nil, "", err
	}
	p = &Pair{spec: spec, aligned: map[string]*aligned{}}
	if template, err = p.check(); err == nil && !given {
		p.spec.Options.Sequences = p.bounded()
	}
	return p, template, err
}

// adapters is what placements call the adapters of a pair, which have weights in common.
const adapters = "adapters"

// needs is those of the reference and of the first aligned model. All adapters count with the first, since a device that
// holds its weights gets their contexts too.
func (p *Pair) needs() []gpu.Need {
	if p.spec.Options.OnePass == OnePassOn && p.joined() > 0 {
		return []gpu.Need{p.jointNeed()}
	}
	o := p.spec.Options.context()
	needs := []gpu.Need{gpu.NeedOf("reference", p.head, o, 1)}
	if len(p.names) == 0 {
		return needs
	}
	first := p.aligned[p.names[0]]
	if !first.isAdapter {
		return append(needs, gpu.NeedOf(p.names[0], first.head, o, 1))
	}
	n := 0
	for _, a := range p.aligned {
		if a.isAdapter {
			n++
		}
	}
	need := gpu.NeedOf(adapters, p.head, o, n)
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
	plan    gpu.Plan // of the reference and the first aligned model
	blend   *blend   // the model that holds λ in its weights; nil until it is used
	twin    *weights // the reference's once more, where adapters are to be on another device; or nil
	closed  bool

	placing sync.Mutex      // guards placed, which is read while a model is opened
	placed  []gpu.Placement // of all weights, planned or loaded
}

// aligned is an aligned model, opened on first use.
type aligned struct {
	path      string       // "" for the reference with another prompt
	scale     float64      // of the adapter's strength
	head      *gguf.File   // nil without a path
	isAdapter bool         // it uses the reference's weights
	weights   *weights     // its own, or nil
	adapter   *adapter     // or nil
	model     decode.Model // nil until it is used
}

var _ decode.Pair = (*Pair)(nil)

// Open checks all files of a pair and loads the reference. Files that are broken, or do not fit together,
// are errors of kind Invalid that name the file.
func Open(spec Spec) (*Pair, error) {
	p, template, err := prepare(spec)
	if err != nil {
		return nil, err
	}
	spec = p.spec
	var devices []gpu.Device
	if !spec.Options.Offload.None {
		devices, _ = Devices() // without those that do not work
	}
	if p.plan, err = gpu.NewPlan(devices, p.needs(), spec.Options.Offload); err != nil {
		return nil, err
	}
	for _, m := range p.plan.Models {
		p.placed = append(p.placed, m.Placement)
	}
	err = p.offloaded(&p.plan.Models[0], func(on gpu.Model) error {
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
	if p.vocabulary, err = p.newVocabulary(template); err != nil {
		p.reference.Close()
		p.weights.Close()
		return nil, err
	}
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
func (p *Pair) offloaded(on *gpu.Model, load func(gpu.Model) error) error {
	err := load(*on)
	if err == nil || on.Count == 0 || p.spec.Options.Offload.Layers != gpu.Auto {
		return err
	}
	why := fmt.Sprintf("%s does not work: %v", on.Devices[0].Name, err)
	slog.Warn("a model cannot be loaded on a GPU: it is decoded on the CPU", "model", on.Model, "device", on.Devices[0].Name, "error", err)
	*on = gpu.Model{Placement: gpu.Placement{Model: on.Model, Layers: on.Layers, Note: why}}
	return load(*on)
}

// shares reports whether a model that is planned like this can use the reference's weights where they are.
func (p *Pair) shares(on gpu.Model) bool {
	reference := p.plan.Models[0]
	return on.Count == reference.Count && slices.Equal(on.Devices, reference.Devices) || reference.Count == 0
}

// shared is the placement of adapters on the reference's weights.
func (p *Pair) shared() gpu.Placement {
	on := measured(p.plan.Models[0].Placement, p.weights)
	on.Model, on.Note = adapters, "on the reference's weights"
	return on
}

// place notes where a model is, in place of what was planned.
func (p *Pair) place(at gpu.Placement) {
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
func (p *Pair) Placements() []gpu.Placement {
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
		if a.Path == "" {
			if c := p.spec.Contrasts[a.Name]; c.Validate("contrast") != nil {
				return "", fault.New(fault.Invalid, "aligned model %q has neither a file nor a prompt of its own", a.Name)
			}
			p.names = append(p.names, a.Name)
			p.aligned[a.Name] = &aligned{isAdapter: true}
			continue
		}
		file, err := p.fits(a.Path)
		if err != nil {
			return "", err
		}
		if u, ok := p.spec.Untuned[a.Name]; ok {
			untuned, err := p.fits(u.Path)
			if err != nil {
				return "", err
			}
			p.aligned[u.Name] = &aligned{path: u.Path, head: untuned, isAdapter: untuned.IsAdapter()}
		}
		if template == "" {
			template = file.ChatTemplate()
		}
		p.names = append(p.names, a.Name)
		p.aligned[a.Name] = &aligned{path: a.Path, scale: cmp.Or(a.Scale, 1), head: file, isAdapter: file.IsAdapter()}
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
		err = p.offloaded(&on, func(on gpu.Model) (err error) {
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

// loadAdapter loads an adapter's file for some weights, unless it is loaded or the aligned model is the reference with another prompt.
func (p *Pair) loadAdapter(base *weights, a *aligned) (err error) {
	if a.adapter == nil && a.path != "" {
		if a.adapter, err = loadAdapter(base, a.path); err == nil {
			a.adapter.scale = a.scale
		}
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
func (p *Pair) planned(name string, a *aligned) (gpu.Model, error) {
	if len(p.plan.Models) > 1 && p.plan.Models[1].Model == name {
		return p.plan.Models[1], nil
	}
	var devices []gpu.Device
	if !p.spec.Options.Offload.None {
		devices, _ = Devices() // without those that do not work
	}
	plan, err := gpu.NewPlan(devices, []gpu.Need{gpu.NeedOf(name, a.head, p.spec.Options.context(), 1)}, p.spec.Options.Offload)
	if err != nil {
		return gpu.Model{}, err
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
		if err != nil && p.spec.Options.Offload.Layers != gpu.Auto {
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
