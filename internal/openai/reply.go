package openai

import (
	"slices"
	"strings"
	"unicode/utf8"

	"realign/internal/decode"
)

// Choice is one completion: a lane of a run.
type Choice struct {
	Prompt int // its place among the call's prompts
	Lambda decode.Vector
	Sample int

	text   strings.Builder
	tokens []decode.Event // of type token
	sent   int            // tokens that a stream has told of
	end    *decode.Event
}

// Reply gathers what becomes of a call: its runs' events and its prompts' scores. It is used by one goroutine.
type Reply struct {
	Call    *Call
	ID      string
	Created int64 // seconds since 1970
	Build   string

	choices []Choice
	started []decode.PromptProgress // by prompt
	stats   []decode.Stats
	scores  [][]decode.Scored
}

// NewReply is the reply to a call of which nothing is known yet.
func NewReply(c *Call, id string, created int64, build string) *Reply {
	r := &Reply{
		Call: c, ID: id, Created: created, Build: build,
		started: make([]decode.PromptProgress, len(c.Prompts)), stats: make([]decode.Stats, len(c.Prompts)), scores: make([][]decode.Scored, len(c.Prompts)),
	}
	for p := range c.Prompts {
		for _, v := range c.Lambda {
			for sample := range c.N {
				r.choices = append(r.choices, Choice{Prompt: p, Lambda: v, Sample: sample})
			}
		}
	}
	return r
}

// index is the place among all choices of a lane of a prompt's run.
func (r *Reply) index(prompt, lane int) int { return prompt*len(r.Call.Lambda)*r.Call.N + lane }

// Event takes the next event of a prompt's run. It returns the choice that changed, or −1.
func (r *Reply) Event(prompt int, e decode.Event) int {
	switch e.Type {
	case decode.EventStart:
		if e.Prompt != nil {
			r.started[prompt] = *e.Prompt
		}
	case decode.EventToken:
		i := r.index(prompt, e.Lane)
		c := &r.choices[i]
		c.text.WriteString(e.Text)
		c.tokens = append(c.tokens, e)
		return i
	case decode.EventEnd:
		i := r.index(prompt, e.Lane)
		r.choices[i].end = &e
		return i
	case decode.EventStats:
		if e.Stats != nil {
			r.stats[prompt] = *e.Stats
		}
	}
	return -1
}

// Scored sets the scores of a prompt, at the call's λ in their order.
func (r *Reply) Scored(prompt int, tokens []decode.Token, scores []decode.Scored) {
	r.scores[prompt] = scores
	r.started[prompt].Tokens, r.started[prompt].Total = tokens, len(tokens)
}

// Next makes the choices of a call that GreedyNext: one token each, from the scores. end tells tokens that end a reply.
func (r *Reply) Next(end func(decode.Token) bool) {
	for i := range r.choices {
		c := &r.choices[i]
		scores := r.scores[c.Prompt]
		k := (i / r.Call.N) % len(r.Call.Lambda)
		last := scores[len(scores)-1]
		best := last.Top[k][0]
		e := decode.Event{Type: decode.EventToken, ID: best.ID, Name: best.Name, Logp: &decode.Logp{Mixture: best.Logp}, Top: &decode.Top{Mixture: last.Top[k]}}
		reason := decode.EndLength
		if end(best.ID) {
			reason = decode.EndStop
		} else {
			e.Text = best.Name
			c.text.WriteString(e.Text)
		}
		c.tokens = []decode.Event{e}
		c.end = &decode.Event{Type: decode.EventEnd, Reason: reason, Index: 1}
	}
}

// Failure is the first error that a lane ended with, nil where none did.
func (r *Reply) Failure() *decode.Error {
	for _, c := range r.choices {
		if c.end != nil && c.end.Error != nil {
			return c.end.Error
		}
	}
	return nil
}

// finishReason is OpenAI's word for why a lane ended; nil while it goes on.
func (c *Choice) finishReason() *string {
	if c.end == nil {
		return nil
	}
	reason := "stop"
	if c.end.Reason == decode.EndLength {
		reason = "length"
	}
	return &reason
}

// Usage is what a call cost, in tokens.
type Usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
	Details    struct {
		Cached int `json:"cached_tokens"` // read already for an earlier call of the same client
	} `json:"prompt_tokens_details"`
}

// Usage of the whole call.
func (r *Reply) Usage() (u Usage) {
	for i, s := range r.stats {
		u.Prompt += max(s.PromptTokens, r.started[i].Total)
		u.Details.Cached += s.Cached
	}
	for _, c := range r.choices {
		u.Completion += len(c.tokens)
	}
	u.Total = u.Prompt + u.Completion
	return u
}

// Detail is what Realign knows beyond OpenAI's fields, where a call asks for it with "realign": true.
type Detail struct {
	Seed   *uint64        `json:"seed,string,omitempty"` // with which `realign decode` gives the same reply
	Totals *decode.Totals `json:"totals,omitempty"`      // sums over the reply: log-probabilities, KL divergences, log Z
	Exact  *decode.Exact  `json:"exact,omitempty"`       // of a reply that was decoded by particles
	Beta   *float64       `json:"effective_beta,omitempty"`
	Tokens []DetailToken  `json:"tokens"`
}

// DetailToken is a token of a reply under each distribution, before temperature and truncation, in nats.
type DetailToken struct {
	ID          decode.Token  `json:"id"`
	Logp        *decode.Logp  `json:"logp"`
	KLReference *float64      `json:"kl_reference"`
	KLAligned   decode.Vector `json:"kl_aligned"`
	LogZ        *float64      `json:"log_z"`
}

// detail of a choice. beta is the β of the only aligned model, 0 where there is none.
func (r *Reply) detail(c *Choice, beta float64) *Detail {
	if !r.Call.Details {
		return nil
	}
	d := &Detail{Seed: r.started[c.Prompt].Seed}
	if r.Call.RawSeed {
		d.Seed = r.Call.Seed
	}
	if c.end != nil {
		d.Totals, d.Exact = c.end.Totals, c.end.Exact
	}
	if beta > 0 && len(c.Lambda) == 1 && c.Lambda[0] > 0 {
		effective := beta / c.Lambda[0]
		d.Beta = &effective
	}
	for _, e := range c.tokens {
		d.Tokens = append(d.Tokens, DetailToken{ID: e.ID, Logp: e.Logp, KLReference: e.KLReference, KLAligned: e.KLAligned, LogZ: e.LogZ})
	}
	return d
}

// ids of a choice's tokens, where they are asked for.
func (r *Reply) ids(c *Choice) []decode.Token {
	if !r.Call.TokenIDs {
		return nil
	}
	ids := make([]decode.Token, len(c.tokens))
	for i, e := range c.tokens {
		ids[i] = e.ID
	}
	return ids
}

// promptIDs are a prompt's tokens, where they are asked for.
func (r *Reply) promptIDs(prompt int) []decode.Token {
	if !r.Call.TokenIDs {
		return nil
	}
	return slices.Clone(r.started[prompt].Tokens)
}

// name is a token as clients show it: its text if that is whole characters, else bytes as OpenAI writes them.
func name(text string, piece []byte) string {
	if len(piece) == 0 || utf8.Valid(piece) {
		if len(piece) > 0 {
			return string(piece)
		}
		return text
	}
	var b strings.Builder
	b.WriteString("bytes:")
	for _, x := range piece {
		const hex = "0123456789abcdef"
		b.WriteString(`\x`)
		b.WriteByte(hex[x>>4])
		b.WriteByte(hex[x&15])
	}
	return b.String()
}

// logprob never is what JSON cannot hold.
func logprob(x float64) float64 { return max(x, -9999) }
