package decode

import (
	"slices"
	"unicode/utf8"

	"realign/internal/fault"
)

// Contrast is what the prompt of an aligned model has beyond the reference's, where both are one set of weights: λ is then how
// strongly it applies. 0 is the model without it, 1 the model with it, token for token; with a context, λ above 1 is context-aware
// decoding (Shi et al., "Trusting Your Evidence: Hallucinate Less with Context-aware Decoding", 2024, with λ = 1 + α). Exactly one of the two is set.
type Contrast struct {
	System  string `json:"system,omitempty"`  // system prompt, before one that the conversation has
	Context string `json:"context,omitempty"` // text before a conversation's first message, or before a text to be completed
}

// Contrasted is a Pair some of whose aligned models are the reference with another prompt.
type Contrasted interface {
	// Contrast is what sets the prompt of an aligned model apart, and false for a model that has the reference's.
	Contrast(aligned string) (Contrast, bool)
}

// contrastGap stands between a contrast and what follows it.
const contrastGap = "\n\n"

// Validate returns an Invalid error for the field unless exactly one text is set and it can be part of a prompt.
func (c Contrast) Validate(field string) error {
	text := c.System + c.Context
	switch {
	case (c.System == "") == (c.Context == ""):
		return fault.Field(field, "needs either a system prompt or a context")
	case len(text) > MaxPromptBytes:
		return fault.Field(field, "%d bytes, at most %d", len(text), MaxPromptBytes)
	case !utf8.ValidString(text):
		return fault.Field(field, "is not valid UTF-8")
	}
	return nil
}

// Apply is a prompt with the contrast. The error is Invalid where the prompt has no place for it.
func (c Contrast) Apply(p Prompt) (Prompt, error) {
	switch {
	case len(p.Tokens) > 0:
		return p, fault.Field("prompt", "is given as tokens, and the aligned model has another prompt than the reference: give messages or a text")
	case p.Text != "" && c.System != "":
		return p, fault.Field("prompt", "is a text to be completed, which has no system prompt, and the pair contrasts a model with and without one: give messages")
	case p.Text != "":
		p.Text = c.Context + contrastGap + p.Text
		return p, nil
	case c.System != "":
		if len(p.Messages) > 0 && p.Messages[0].Role == "system" {
			p.Messages = slices.Clone(p.Messages)
			p.Messages[0].Content = c.System + contrastGap + p.Messages[0].Content
		} else {
			p.Messages = append([]Message{{Role: "system", Content: c.System}}, p.Messages...)
		}
		return p, nil
	}
	p.Messages = slices.Clone(p.Messages)
	for i := range p.Messages {
		if m := &p.Messages[i]; m.Role == "user" {
			m.Content = c.Context + contrastGap + m.Content
			return p, nil
		}
	}
	return p, fault.Field("prompt", "has no message of a user, before which the context would stand")
}

// contrast is what sets the prompt of an aligned model of a request apart.
func (e *Engine) contrast(r *Request, aligned string) (Contrast, bool) {
	pair, ok := e.pair.(Contrasted)
	if !ok {
		return Contrast{}, false
	}
	c, ok := pair.Contrast(aligned)
	if ok && r.Contrast != nil {
		c = *r.Contrast
	}
	return c, ok
}

// encodeAligned turns a request's prompt into tokens for each aligned model that has another prompt than the reference; nil stands for
// the reference's. The whole is nil if none has.
func (e *Engine) encodeAligned(r *Request) ([][]Token, error) {
	var prompts [][]Token
	for i, name := range r.Aligned {
		c, ok := e.contrast(r, name)
		if !ok {
			continue
		}
		if r.Score != nil {
			return nil, fault.Field("score", "given texts have no log-probabilities here: %s is the reference after a longer prompt, so a text stands in two places. Decode with a trace instead, or score on a pair of two models", name)
		}
		if r.Encode && len(r.Prompt.Tokens) > 0 { // what tokens stand for is asked, and nothing is decoded
			continue
		}
		p, err := c.Apply(r.Prompt)
		if err == nil {
			err = p.validate()
		}
		if err != nil {
			return nil, err
		}
		tokens, err := e.encode(p, r.Rendering)
		if err != nil {
			return nil, err
		}
		if prompts == nil {
			prompts = make([][]Token, len(r.Aligned))
		}
		prompts[i] = tokens
	}
	if r.Contrast != nil && prompts == nil && !r.Encode {
		return nil, fault.Field("contrast", "the pair's aligned models are models of their own: a contrast is for pairs of one model and two prompts")
	}
	return prompts, nil
}

// promptOf is the prompt of a model of the job, by its slot.
func (j *Job) promptOf(m int) []Token {
	if j.prompts == nil || j.prompts[m] == nil {
		return j.prompt
	}
	return j.prompts[m]
}

// longest is the number of tokens of the longest prompt that a model of the job has.
func (j *Job) longest() int {
	n := len(j.prompt)
	for _, p := range j.prompts {
		n = max(n, len(p))
	}
	return n
}

// length is how many tokens a branch has for one of its models: that model's prompt and what was generated.
func (b *branch) length(m int) int {
	return len(b.tokens) - len(b.job.prompt) + len(b.job.promptOf(m))
}

// token is what a branch has for one of its models at a position.
func (b *branch) token(m, position int) Token {
	if b.job.prompts == nil {
		return b.tokens[position]
	}
	prompt := b.job.promptOf(m)
	if position < len(prompt) {
		return prompt[position]
	}
	return b.tokens[position-len(prompt)+len(b.job.prompt)]
}

// history is what a branch has for one of its models: the model's own prompt, then what was generated. It may
// be the branch's own slice and is not to be written to.
func (b *branch) history(m int) []Token {
	if b.job.prompts == nil || b.job.prompts[m] == nil {
		return b.tokens
	}
	return slices.Concat(b.job.prompts[m], b.tokens[len(b.job.prompt):])
}

// alignedPrompts are those of the request's aligned models, or nil where all have the reference's.
func (j *Job) alignedPrompts() [][]Token {
	prompts := j.prompts
	if j.sources != nil {
		prompts = j.sources
	}
	if len(prompts) < 2 {
		return nil
	}
	return prompts[1 : len(j.request.Aligned)+1]
}
