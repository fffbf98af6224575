package openai

import (
	"realign/internal/decode"
	"realign/internal/fault"
)

// checkMix refuses what is made of two models' logits where λ is in the weights of one.
// Its errors name the field.
func (c *Call) checkMix() error {
	if c.Mix != decode.MixWeights {
		return nil
	}
	const why = "does not go with mix weights: what is said at another λ, or under the reference, is not known there; leave mix out"
	switch {
	case c.Details:
		return fault.Field("realign", why)
	case c.PromptLogprobs >= 0:
		return fault.Field("prompt_logprobs", why)
	case c.Echo && c.Logprobs >= 0:
		return fault.Field("echo", "with logprobs "+why)
	case c.Store:
		return fault.Field("store", "does not go with mix weights: sessions are of mixed logits; leave one of them out")
	}
	return nil
}
