package decode

import (
	"math"
	"slices"

	"realign/internal/fault"
)

// Models of a pair may have vocabularies of different sizes: padding, or tokens that tuning added. The pair's vocabulary is the
// largest; a model gives −∞ to tokens that it does not have, so what is mixed is what all models of weight ≠ 0 have, and at λ = 0 and 1
// each model is itself. After a token that a model does not have it can say nothing: it forbids everything from there on.

// widened is a model whose vocabulary is smaller than the pair's. It belongs to whoever the model belongs to.
type widened struct {
	Model           // with its own vocabulary
	size  int       // tokens of the pair's vocabulary
	rows  []wideRow // by the row of the pass
}

// wideRow is room for one row with the pair's length.
type wideRow struct {
	logits []float32 // the model's logits, then −∞
	filled bool      // since the last pass of this model
}

// widen makes a model's rows as long as the pair's vocabulary.
func widen(m Model, size int) Model {
	if m.Limits().Vocab == size {
		return m
	}
	return &widened{Model: m, size: size}
}

// Limits are those of the model, but for the vocabulary.
func (w *widened) Limits() Limits {
	l := w.Model.Limits()
	l.Vocab = w.size
	return l
}

// Forward implements Model.
func (w *widened) Forward(rows []Row) error {
	for i := range w.rows {
		w.rows[i].filled = false
	}
	return w.Model.Forward(rows)
}

// Encode implements Encoder, where the model does.
func (w *widened) Encode(source int, tokens []Token) error {
	m, ok := w.Model.(Encoder)
	if !ok {
		return fault.New(fault.Internal, "the model has no encoder")
	}
	return m.Encode(source, tokens)
}

// Logits implements Model.
func (w *widened) Logits(i int) []float32 {
	said := w.Model.Logits(i)
	if said == nil {
		return nil
	}
	for len(w.rows) <= i {
		w.rows = append(w.rows, wideRow{})
	}
	r := &w.rows[i]
	if !r.filled {
		if r.logits == nil {
			r.logits = make([]float32, w.size)
			for v := len(said); v < w.size; v++ {
				r.logits[v] = float32(math.Inf(-1))
			}
		}
		copy(r.logits, said)
		r.filled = true
	}
	return r.logits
}

// lost reports whether a branch has a token that one of its models does not have.
func (b *branch) lost(m int) bool { return int(b.largest) >= b.job.models[m].vocab }

// known reports whether all models of a branch have a token.
func (b *branch) known(t Token) bool {
	return !slices.ContainsFunc(b.job.models, func(s *modelState) bool { return int(t) >= s.vocab })
}

// silence is the row of a model that is lost.
func (e *Engine) silence() []float32 {
	if e.silent == nil {
		e.silent = slices.Repeat([]float32{float32(math.Inf(-1))}, e.vocab.Size())
	}
	return e.silent
}

// checkPrompt wants every model that is read to have the tokens of its prompt.
func (e *Engine) checkPrompt(j *Job) error {
	need := append([]bool{j.request.wantsReference()}, j.request.wants()...)
	need = append(need, make([]bool, len(j.models)-len(need))...)
	j.needParts(need)
	for m, s := range j.models {
		if !need[m] {
			continue
		}
		prompt := j.promptOf(m)
		if j.sources != nil {
			prompt = j.sourceOf(m)
		}
		for _, t := range prompt {
			if int(t) >= s.vocab {
				return fault.Field("prompt", "token %d, %q, is none of the %d that %s has", t, e.vocab.Name(t), s.vocab, s.name)
			}
		}
	}
	return nil
}

// wantsReference reports whether the answer to a request depends on the reference.
func (r *Request) wantsReference() bool {
	if !r.Trace.Off || r.Map != nil || len(r.Evaluate) > 0 {
		return true
	}
	var all []Vector
	for _, l := range r.Lanes {
		all = append(all, l.Lambda)
		for _, c := range l.Changes {
			all = append(all, c.Lambda)
		}
	}
	if r.Score != nil {
		all = append(all, r.Score.Lambda...)
	}
	return slices.ContainsFunc(all, func(v Vector) bool { return weights(nil, v)[0] != 0 })
}
