package llamacpp

import (
	"fmt"
	"log/slog"
	"slices"

	"realign/internal/gpu"
)

// Where the weights of a pair go: planned from the heads of the files before anything is loaded, and noted once they are loaded.

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

// adapters is what placements call the adapters of a pair, which have weights in common.
const adapters = "adapters"

// needs is those of the reference and of the first aligned model. All adapters count with the first, since a device that
// holds its weights gets their contexts too.
func (p *Pair) needs() []gpu.Need {
	if p.spec.Options.OnePass == OnePassOn && p.joined() > 0 && !p.head.IsEncoderDecoder() {
		return []gpu.Need{p.jointNeed()}
	}
	o := p.spec.Options
	needs := []gpu.Need{gpu.NeedOf("reference", p.head, o.contextOf(p.head), 1)}
	if len(p.names) == 0 {
		return needs
	}
	first := p.aligned[p.names[0]]
	if !first.isAdapter {
		return append(needs, gpu.NeedOf(p.names[0], first.head, o.contextOf(first.head), 1))
	}
	n := 0
	for _, a := range p.aligned {
		if a.isAdapter {
			n++
		}
	}
	need := gpu.NeedOf(adapters, p.head, o.contextOf(p.head), n)
	need.OnReference = true
	return append(needs, need)
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

// planned is where an aligned model with weights of its own goes; p.loading is held.
func (p *Pair) planned(name string, a *aligned) (gpu.Model, error) {
	if len(p.plan.Models) > 1 && p.plan.Models[1].Model == name {
		return p.plan.Models[1], nil
	}
	var devices []gpu.Device
	if !p.spec.Options.Offload.None {
		devices, _ = Devices() // without those that do not work
	}
	plan, err := gpu.NewPlan(devices, []gpu.Need{gpu.NeedOf(name, a.head, p.spec.Options.contextOf(a.head), 1)}, p.spec.Options.Offload)
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
		twin.makeRoom(1)
		p.twin = twin
		p.place(measured(on.Placement, twin))
	}
	return p.twin, nil
}
