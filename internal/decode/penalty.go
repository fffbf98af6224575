package decode

import "slices"

// penalties applies bias and repetition penalties to mixed logits, in place, and remembers what it changed, so
// that the trace can report the distribution before them. It belongs to a mixer; apply and undo are called in
// turn.
type penalties struct {
	counts map[Token]int // how often each token is in the window, of one call
	saved  []savedLogit  // in the order in which they were changed, so undo goes backwards
}

// savedLogit is a logit as it was before penalties.
type savedLogit struct {
	token Token // whose it is
	value float64
}

// penalised reports whether sampling parameters ask for penalties or bias.
func penalised(s *Sampling) bool {
	return len(s.Bias) > 0 || s.PresencePenalty != 0 || s.FrequencyPenalty != 0 || repeatOn(s)
}

// repeatOn reports whether there is a repeat penalty; 0 and 1 are none.
func repeatOn(s *Sampling) bool { return s.RepeatPenalty != 0 && s.RepeatPenalty != 1 }

// apply changes the logits of biased tokens and of tokens among the generated ones. The repeat penalty
// multiplies log-probabilities (logit − logSum), not raw logits: what it does must not depend on a constant
// added to a model's logits, and a raw logit's sign does.
func (p *penalties) apply(z []float64, logSum float64, generated []Token, s *Sampling) {
	p.saved = p.saved[:0]
	for t, b := range s.Bias {
		if int(t) >= 0 && int(t) < len(z) {
			p.save(z, t)
			z[t] += b
		}
	}
	if s.PenaltyWindow > 0 && len(generated) > s.PenaltyWindow {
		generated = generated[len(generated)-s.PenaltyWindow:]
	}
	if p.counts == nil {
		p.counts = make(map[Token]int)
	}
	clear(p.counts)
	for _, t := range generated {
		p.counts[t]++
	}
	for t, n := range p.counts {
		p.save(z, t)
		if repeatOn(s) {
			z[t] = logSum + (z[t]-logSum)*s.RepeatPenalty
		}
		z[t] -= s.PresencePenalty + float64(n)*s.FrequencyPenalty
	}
}

// save remembers a logit as it is now.
func (p *penalties) save(z []float64, t Token) {
	p.saved = append(p.saved, savedLogit{t, z[t]})
}

// undo restores the logits apply changed.
func (p *penalties) undo(z []float64) {
	for _, s := range slices.Backward(p.saved) {
		z[s.token] = s.value
	}
	p.saved = p.saved[:0]
}
