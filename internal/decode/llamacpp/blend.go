package llamacpp

import (
	"realign/internal/decode"
	"realign/internal/fault"
)

// blend is the reference's weights with adapters over them whose strengths differ from sequence to sequence: a decode.Blend.
// The pair makes one at its first use, closes it, and opens no other.
type blend struct {
	*view
	numbers map[string]int // of adapters, by name; guarded by the context's mutex
}

var _ decode.Blend = (*blend)(nil)
var _ decode.Blender = (*Pair)(nil)

// Blend opens the model that holds λ in its weights, in a context of its own, and lays adapters over it.
func (p *Pair) Blend(names []string) (decode.Blend, error) {
	p.loading.Lock()
	defer p.loading.Unlock()
	if p.closed {
		return nil, fault.New(fault.Unavailable, "the pair is closed")
	}
	for _, name := range names {
		a, ok := p.aligned[name]
		if !ok {
			return nil, fault.New(fault.NotFound, "the pair has no aligned model %q", name)
		}
		if a.path == "" {
			return nil, fault.Field("mix", "weights: %s is the reference with another prompt and no LoRA adapter: use mix logits", name)
		}
		if !a.isAdapter {
			return nil, fault.Field("mix", "weights: %s is a model of its own and no LoRA adapter of the reference: use mix logits", name)
		}
	}
	base, err := p.base()
	if err != nil {
		return nil, err
	}
	if base.source > 0 {
		return nil, fault.Field("mix", "weights: is for pairs without an encoder: use mix logits")
	}
	if p.blend == nil {
		if p.blend, err = newBlend(base, p.spec.Options); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		if err := p.loadAdapter(base, p.aligned[name]); err != nil {
			return nil, err
		}
		p.blend.join(name, p.aligned[name].adapter)
	}
	if !p.blend.holds(names) {
		return nil, fault.Field("mix", "weights: %d adapters are more than one graph of llama.cpp holds: use mix logits", len(names))
	}
	return p.blend, nil
}

// newBlend makes the context; no adapter lies over the weights yet. The error is Invalid and about "mix" for a
// recurrent model.
func newBlend(w *weights, o Options) (*blend, error) {
	s, err := newShared(w, o)
	if err != nil {
		return nil, err
	}
	if !s.context.limits.Forgets {
		s.Close()
		return nil, fault.Field("mix", "weights: the rows of a recurrent model are not told apart by their adapters: use mix logits")
	}
	v := &view{in: s, limits: s.context.limits, adapter: -1, threads: o.Threads}
	return &blend{view: v, numbers: map[string]int{}}, nil
}

// join lays an adapter over the weights, unless it lies there.
func (b *blend) join(name string, a *adapter) {
	b.in.mu.Lock()
	_, there := b.numbers[name]
	b.in.mu.Unlock()
	if !there {
		number := b.in.join(a)
		b.in.mu.Lock()
		b.numbers[name] = number
		b.in.mu.Unlock()
	}
}

// holds reports whether one graph has room for the named adapters.
func (b *blend) holds(names []string) bool {
	b.in.mu.Lock()
	defer b.in.mu.Unlock()
	needed := make([]bool, len(b.in.scaled.adapters))
	for _, name := range names {
		needed[b.numbers[name]] = true
	}
	return b.in.fits(needed)
}

// SetStrengths sets those of a sequence, each times its adapter's scale.
func (b *blend) SetStrengths(seq decode.Seq, names []string, strengths decode.Vector) {
	b.in.mu.Lock()
	of := make([]float32, len(b.in.scaled.adapters))
	for i, name := range names {
		number := b.numbers[name]
		of[number] = float32(strengths[i] * b.in.scaled.adapters[number].scale)
	}
	b.in.mu.Unlock()
	if b.has(seq) {
		b.in.set(seq, of)
	}
}

// Forward runs a pass. Nobody else makes passes of this context, so its logits are no copies.
func (b *blend) Forward(rows []decode.Row) error {
	if len(rows) == 0 {
		return b.view.Forward(nil)
	}
	return b.ForwardJoint([]decode.Model{b.view}, [][]decode.Row{rows})
}
