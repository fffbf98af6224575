package decode

import (
	"math"

	"realign/internal/fault"
)

// MaxEvaluate is how many λ a request may have its samples evaluated at.
const MaxEvaluate = 256

// Totals are sums over the tokens that a lane chose, the end token included.
type Totals struct {
	// Evaluated is, for each λ of the request's Evaluate, the log-probability of the lane's tokens where that λ alone
	// had decoded them with the same temperature: the density that importance weights are made of. NaN where a
	// model's logits give no distribution at that λ.
	Evaluated Vector `json:"evaluated,omitempty"`

	// The rest is of the distributions before temperature and truncation, as in token events: sums over the
	// tokens, in nats. One that would overflow is the largest float64.
	Logp        Logp    `json:"logp"`
	KLReference float64 `json:"kl_reference"`
	KLAligned   Vector  `json:"kl_aligned"`
	LogZ        float64 `json:"log_z"` // Σ log Z_t: the weight of the lane as a whole reply, as a logarithm
}

// validateEvaluate checks that the log-probability of a token under another λ is the mixture's softmax at the
// request's temperature and nothing else. Truncation keeps other tokens at another λ, so a sample may be impossible
// there, and penalties depend on its past: both are refused. So are lanes with a forced prefix, whose tokens no λ chose.
func (r *Request) validateEvaluate(n int) error {
	if r.Totals && r.Trace.Off {
		return fault.Field("totals", "need the trace")
	}
	if len(r.Evaluate) == 0 {
		return nil
	}
	s := &r.Sampling
	switch {
	case !r.Totals:
		return fault.Field("evaluate", "is part of the totals, which are not asked for")
	case len(r.Evaluate) > MaxEvaluate:
		return fault.Field("evaluate", "%d λ, at most %d", len(r.Evaluate), MaxEvaluate)
	case n != 1:
		return fault.Field("evaluate", "needs one aligned model, and there are %d", n)
	case r.Map != nil:
		return fault.Field("evaluate", "is for lanes, not for a λ-map")
	case s.Temperature == 0:
		return fault.Field("temperature", "0 is greedy, and its samples have no density at another λ")
	case s.TopK > 0:
		return fault.Field("top_k", "%d truncates, and a truncated sample has no density at another λ", s.TopK)
	case s.TopP < 1:
		return fault.Field("top_p", "%v truncates, and a truncated sample has no density at another λ", s.TopP)
	case s.MinP > 0:
		return fault.Field("min_p", "%v truncates, and a truncated sample has no density at another λ", s.MinP)
	case repeatOn(s):
		return fault.Field("repeat_penalty", "%v: penalties do not go together with evaluation at other λ", s.RepeatPenalty)
	case s.PresencePenalty != 0:
		return fault.Field("presence_penalty", "%v: penalties do not go together with evaluation at other λ", s.PresencePenalty)
	case s.FrequencyPenalty != 0:
		return fault.Field("frequency_penalty", "%v: penalties do not go together with evaluation at other λ", s.FrequencyPenalty)
	case len(s.Bias) > 0:
		return fault.Field("bias", "does not go together with evaluation at other λ")
	}
	for _, x := range r.Evaluate {
		if err := CheckLambda("evaluate", Vector{x}, 1); err != nil {
			return err
		}
	}
	for _, l := range r.Lanes {
		if len(l.Prefix) > 0 || len(l.Changes) > 0 {
			return fault.Field("evaluate", "lane %d has a prefix or moves of λ, and no single λ to have been sampled at", l.Index)
		}
	}
	return nil
}

// evaluate finds, for each λ of a branch's request, the log of Σ_v exp(z_v(λ)/T): what its lanes share whatever they
// choose.
func (x *mixer) evaluate(b *branch) {
	request := &b.job.request
	b.normalisers = b.normalisers[:0]
	if n := len(b.rows.rows[0]); len(x.z) != n {
		x.z = make([]float64, n)
	}
	for _, l := range request.Evaluate {
		x.w = tempered(x.w, l, request.Sampling.Temperature)
		_, top := x.kernel.Mix(x.z, x.w, b.rows.rows)
		logSum := math.NaN()
		if usable(top) == nil {
			logSum = top + math.Log(x.kernel.Expect(nil, x.z, top, nil))
		}
		b.normalisers = append(b.normalisers, logSum)
	}
}

// tempered are the weights of a mixture of two models divided by the temperature.
func tempered(dst []float64, lambda, temperature float64) []float64 {
	return append(dst[:0], (1-lambda)/temperature, lambda/temperature)
}

// total adds the token that a lane of the branch has just chosen to what its end event will tell. It is called
// after choose and before the lane follows its choice.
func (b *branch) total(l *lane) {
	request := &b.job.request
	if !request.Totals || l.choice.err != nil {
		return
	}
	event, rows := &l.choice.event, b.rows.rows
	if l.totals == nil {
		n := len(request.Aligned)
		l.totals = &Totals{Evaluated: make(Vector, len(request.Evaluate)), Logp: Logp{Aligned: make(Vector, n)}, KLAligned: make(Vector, n)}
	}
	t := l.totals
	var room [2]float64
	for i, lambda := range request.Evaluate {
		w := tempered(room[:0], lambda, request.Sampling.Temperature)
		// The token's log-probability under the mixture at the temperature: Σ w·logit less the normaliser.
		logp := -b.normalisers[i]
		for m, row := range rows {
			if w[m] != 0 {
				logp += product(w[m], row[event.ID])
			}
		}
		t.Evaluated[i] = finite(t.Evaluated[i] + logp)
	}
	add := func(to *float64, x float64) { *to = finite(*to + x) }
	add(&t.Logp.Reference, event.Logp.Reference)
	add(&t.Logp.Mixture, event.Logp.Mixture)
	add(&t.KLReference, *event.KLReference)
	add(&t.LogZ, *event.LogZ)
	for i := range t.KLAligned {
		add(&t.Logp.Aligned[i], event.Logp.Aligned[i])
		add(&t.KLAligned[i], event.KLAligned[i])
	}
}
