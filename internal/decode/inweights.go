package decode

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"

	"realign/internal/fault"
)

// What a request mixes by λ.
const (
	MixLogits  = "logits"  // what the models say: realignment while decoding, as everywhere where nothing else is said
	MixWeights = "weights" // the models themselves: θ_ref + Σ λᵢ·Δᵢ, of adapters Δᵢ: one row a token in place of one for each model
)

// Blender is a Pair that can hold λ in the weights of one model.
type Blender interface {
	// Blend opens the model, for some aligned models; later calls return the same one. The error is Invalid and about "mix" if
	// one of them is no adapter of the reference.
	Blend(aligned []string) (Blend, error)
}

// Blend is the reference with adapters over it, each of a strength of its own in every sequence.
type Blend interface {
	Model

	// SetStrengths says how strong the named adapters are in the rows of an empty sequence, all others being 0.
	SetStrengths(seq Seq, aligned []string, strengths Vector)
}

// blendName is what the engine calls the model with λ in its weights.
const blendName = "(weights)"

func (r *Request) inWeights() bool { return InWeights(r.Mix) }

// InWeights reports whether a mix is MixWeights.
func InWeights(mix string) bool { return mix == MixWeights }

// CheckMix returns an Invalid error about a field unless mix is "", MixLogits or MixWeights.
func CheckMix(field, mix string) error {
	switch mix {
	case "", MixLogits, MixWeights:
		return nil
	}
	return fault.Field(field, "%.40q is neither %s nor %s", mix, MixLogits, MixWeights)
}

// validateMix checks what is mixed. With λ in the weights the logits at other λ are not known, so that whatever is made of two
// models' logits is refused.
func (r *Request) validateMix() error {
	if err := CheckMix("mix", r.Mix); err != nil {
		return err
	}
	for _, l := range r.Lanes {
		if err := CheckMix("mix", l.Mix); err != nil {
			return err
		}
		if l.Mix != "" && InWeights(l.Mix) != r.inWeights() {
			return fault.Field("mix", "of lane %d is %s, and the request's is %s: ask for it by a request of its own", l.Index, l.Mix, cmp.Or(r.Mix, MixLogits))
		}
	}
	if !r.inWeights() {
		return nil
	}
	const one = "does not go with mix " + MixWeights + ", where one model decodes each λ: use mix " + MixLogits
	switch {
	case r.Map != nil:
		return fault.Field("map", one)
	case r.Score != nil:
		return fault.Field("score", one)
	case r.Totals:
		return fault.Field("totals", one)
	case r.Sampling.Exact > 0:
		return fault.Field("exact", one)
	case slices.ContainsFunc(r.Lanes, func(l Lane) bool { return len(l.Changes) > 0 }):
		return fault.Field("changes", "of λ do not go with mix "+MixWeights+": what was read is of the weights at one λ")
	}
	return nil
}

// prepareBlend opens the model with λ in its weights.
func (e *Engine) prepareBlend(aligned []string) error {
	for _, name := range aligned {
		if !slices.Contains(e.pair.AlignedNames(), name) {
			return fault.New(fault.NotFound, "the pair has no aligned model %q", name)
		}
	}
	pair, ok := e.pair.(Blender)
	if !ok {
		return fault.Field("mix", "%s needs LoRA adapters, which this pair does not have", MixWeights)
	}
	m, err := pair.Blend(aligned)
	if err != nil {
		return err
	}
	if !e.do(func() { e.modelState(blendName).model = m }) {
		return errClosed
	}
	return nil
}

// tune gives a branch whose λ is in the weights its strengths, before anything is read.
func (b *branch) tune(strengths Vector) {
	b.strengths = strengths
	b.job.models[0].model.(Blend).SetStrengths(b.seq, b.job.request.Aligned, strengths)
}

// rootFor is the branch that a lane begins on: one for all lanes, or for those of one λ where that is in the weights, or, plain,
// its own. nil: it is to be made.
func (j *Job) rootFor(roots []*branch, l *lane) *branch {
	for _, b := range roots {
		if !j.request.Plain && (!j.request.inWeights() || b.strengths.Equal(l.lambda)) {
			return b
		}
	}
	return nil
}

// factors are those of a lane's rows in its mixture.
func (l *lane) factors(dst []float64) []float64 {
	if l.job.request.inWeights() {
		return append(dst[:0], 1)
	}
	return weights(dst, l.lambda)
}

// alone leaves of a token's trace what one model knows.
func (event *Event) alone() {
	event.Logp = &Logp{Reference: math.NaN(), Mixture: event.Logp.Mixture}
	event.KLReference, event.KLAligned, event.LogZ = nil, nil, nil
	if event.Top != nil {
		event.Top = &Top{Mixture: event.Top.Mixture}
	}
}

// MarshalJSON writes null for the log-probability under a reference that was not read.
func (l Logp) MarshalJSON() ([]byte, error) {
	type plain Logp
	if !math.IsNaN(l.Reference) {
		return json.Marshal(plain(l))
	}
	return json.Marshal(struct {
		Reference *float64 `json:"reference"`
		Aligned   Vector   `json:"aligned"`
		Mixture   float64  `json:"mixture"`
	}{nil, l.Aligned, l.Mixture})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (l *Logp) UnmarshalJSON(data []byte) error {
	type plain Logp
	read := struct {
		plain
		Reference *float64 `json:"reference"`
	}{}
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*l = Logp(read.plain)
	if l.Reference = math.NaN(); read.Reference != nil {
		l.Reference = *read.Reference
	}
	return nil
}

// read are the rows or passes of a job, by what it read.
func (j *Job) read(n [2]int64) map[string]int64 {
	if j.request.inWeights() {
		return map[string]int64{"weights": n[0]}
	}
	return map[string]int64{"reference": n[0], "aligned": n[1]}
}
