package openai

import (
	"slices"
	"strings"
	"unicode/utf8"

	"realign/internal/decode"
)

// Choice is one completion: a lane of a run. Gathered is what its events added up to.
type Choice struct {
	Prompt int           // its place among the call's prompts
	Lambda decode.Vector // one number for each aligned model
	Sample int           // from 0 at each λ

	*decode.Gathered
	sent int // tokens that a stream has told of
}

// Reply gathers what becomes of a call: its runs' events and its prompts' scores. It is used by one goroutine. NewReply
// makes it; Event and Scored fill it, and then its other methods write what the client reads.
type Reply struct {
	Call    *Call
	ID      string // of the answer, in every chunk of it
	Created int64  // seconds since 1970
	Build   string // of the server, as system_fingerprint

	choices []Choice                // by prompt, then λ, then sample: see index
	runs    []decode.Gather         // by prompt
	started []decode.PromptProgress // by prompt: its tokens with their pieces; zero until its run has started or it is scored
	stats   []decode.Stats          // by prompt: zero until its run's stats have come
	scores  [][]decode.Scored       // by prompt: one for each token from the second on, and one for the next token; nil until Scored
}

// NewReply is the reply to a call of which nothing is known yet.
func NewReply(c *Call, id string, created int64, build string) *Reply {
	r := &Reply{
		Call: c, ID: id, Created: created, Build: build,
		started: make([]decode.PromptProgress, len(c.Prompts)), stats: make([]decode.Stats, len(c.Prompts)), scores: make([][]decode.Scored, len(c.Prompts)),
	}
	r.runs = make([]decode.Gather, len(c.Prompts))
	for p := range c.Prompts {
		run := &r.runs[p]
		run.Tokens = true
		for k, v := range c.Lambda {
			for sample := range c.N {
				r.choices = append(r.choices, Choice{Prompt: p, Lambda: v, Sample: sample, Gathered: run.Lane(k*c.N + sample)})
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
	case decode.EventToken, decode.EventEnd:
		r.runs[prompt].Add(e)
		return r.index(prompt, e.Lane)
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
		lane := i % (len(r.Call.Lambda) * r.Call.N)
		k := lane / r.Call.N
		last := scores[len(scores)-1]
		best := last.Top[k][0]
		e := decode.Event{Type: decode.EventToken, Lane: lane, ID: best.ID, Name: best.Name, Logp: &decode.Logp{Mixture: best.Logp}, Top: &decode.Top{Mixture: last.Top[k]}}
		reason := decode.EndLength
		if end(best.ID) {
			reason = decode.EndStop
		} else {
			e.Text = best.Name
		}
		r.Event(c.Prompt, e)
		r.Event(c.Prompt, decode.Event{Type: decode.EventEnd, Lane: lane, Reason: reason, Index: 1})
	}
}

// Failure is the first error that a lane ended with, nil where none did.
func (r *Reply) Failure() *decode.Error {
	for _, c := range r.choices {
		if c.End != nil && c.End.Error != nil {
			return c.End.Error
		}
	}
	return nil
}

// finishReason is OpenAI's word for why a lane ended; nil while it goes on.
func (c *Choice) finishReason() *string {
	if c.End == nil {
		return nil
	}
	reason := "stop"
	if c.End.Reason == decode.EndLength {
		reason = "length"
	}
	return &reason
}

// Usage is what a call cost, in tokens.
type Usage struct {
	Prompt     int `json:"prompt_tokens"`     // each prompt once, however many choices it has
	Completion int `json:"completion_tokens"` // of all choices
	Total      int `json:"total_tokens"`      // the two together
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
		u.Completion += len(c.Tokens)
	}
	u.Total = u.Prompt + u.Completion
	return u
}

// Detail is what Realign knows beyond OpenAI's fields, where a call asks for it with "realign": true. Numbers are
// in nats.
type Detail struct {
	Seed   *uint64        `json:"seed,string,omitempty"`    // with which `realign decode` gives the same reply
	Totals *decode.Totals `json:"totals,omitempty"`         // sums over the reply: log-probabilities, KL divergences, log Z
	Exact  *decode.Exact  `json:"exact,omitempty"`          // of a reply that was decoded by particles
	Beta   *float64       `json:"effective_beta,omitempty"` // effective β, β/λ; only of one aligned model with a known β, at λ > 0
	Tokens []DetailToken  `json:"tokens"`
}

// DetailToken is a token of a reply under each distribution, before temperature and truncation, in nats.
type DetailToken struct {
	ID          decode.Token  `json:"id"`
	Logp        *decode.Logp  `json:"logp"`
	KLReference *float64      `json:"kl_reference"` // of the mixture to the reference; null where it is not traced
	KLAligned   decode.Vector `json:"kl_aligned"`   // of the mixture to each aligned model
	LogZ        *float64      `json:"log_z"`        // log of the normalizer of the mixture
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
	if c.End != nil {
		d.Totals, d.Exact = c.End.Totals, c.End.Exact
	}
	if beta > 0 && len(c.Lambda) == 1 && c.Lambda[0] > 0 {
		effective := beta / c.Lambda[0]
		d.Beta = &effective
	}
	for _, e := range c.Tokens {
		d.Tokens = append(d.Tokens, DetailToken{ID: e.ID, Logp: e.Logp, KLReference: e.KLReference, KLAligned: e.KLAligned, LogZ: e.LogZ})
	}
	return d
}

// ids of a choice's tokens, where they are asked for.
func (r *Reply) ids(c *Choice) []decode.Token {
	if !r.Call.TokenIDs {
		return nil
	}
	ids := make([]decode.Token, len(c.Tokens))
	for i, e := range c.Tokens {
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

// logprob is a log-probability in nats that JSON can hold: −9999 stands for −∞ and all below it.
func logprob(x float64) float64 { return max(x, -9999) }
