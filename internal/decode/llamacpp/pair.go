package llamacpp

/*
#include "bridge.h"
*/
import "C"

import (
	"cmp"
	"slices"
	"sync"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/gpu"
)

// Pair is a loaded pair: a decode.Pair. Open makes it and Close ends it, with all of its models. Aligned, Blend,
// Placements and Close may be called from any goroutine; the models belong to the engine.
type Pair struct {
	spec       Spec         // with the sizes that were not given filled in
	head       *gguf.File   // of the reference
	weights    *weights     // the reference's; aligned models that are adapters use them, too
	reference  decode.Model // opened by Open
	joint      *joint       // the context of the reference and adapters, where they have one; or nil
	vocabulary *vocabulary  // the reference's, extended to the model with the most tokens
	names      []string     // of the aligned models, in the manifest's order; fixed by check

	loading sync.Mutex          // held while a model is opened; guards what follows
	aligned map[string]*aligned // by name, untuned models of proxies included
	plan    gpu.Plan            // of the reference and the first aligned model
	blend   *blend              // the model that holds λ in its weights; nil until it is used
	twin    *weights            // the reference's once more, where adapters are to be on another device; or nil
	closed  bool                // nothing is opened any more

	placing sync.Mutex      // guards placed, which is read while a model is opened
	placed  []gpu.Placement // of all weights, planned or loaded
}

// aligned is an aligned model, opened on first use.
// Pair.loading guards it; path, scale, head and isAdapter are fixed by Pair.check.
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
		p.weights.makeRoom(p.joined())
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
		_ = p.Close() // which has no error
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
		// An untuned model is opened as the aligned ones are, and is not among their names.
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

// progress tells Spec.Progress of one file's loading, or is nil.
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
			if a.model, err = newOwn(a.weights, nil, p.spec.Options); err != nil {
				a.Close()
			}
			return err
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
			a.adapter.place = slices.IndexFunc(p.names, func(name string) bool { return p.aligned[name] == a })
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
	if p.vocabulary != nil {
		p.vocabulary.chat.Close()
	}
	p.weights.Close()
	giveBack()
	return nil
}

// giveBack returns memory that was freed to the system.
func giveBack() { C.realign_give_back() }
