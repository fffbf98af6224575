package openai

import (
	"strconv"
	"unicode/utf8"

	"realign/internal/decode"
)

// Completion answers POST /v1/completions, and is one message of its stream.
type Completion struct {
	ID          string             `json:"id"`                           // the same in all chunks of a reply
	Object      string             `json:"object"`                       // text_completion
	Created     int64              `json:"created"`                      // seconds since 1970
	Model       string             `json:"model"`                        // as the call named it
	Fingerprint string             `json:"system_fingerprint,omitempty"` // the build of the server; left out where it is ""
	Choices     []CompletionChoice `json:"choices"`                      // by prompt, then λ, then sample
	Usage       *Usage             `json:"usage,omitempty"`              // in the whole answer, and in a stream only in the last chunk
}

// CompletionChoice is one completion, or what a chunk adds to it.
type CompletionChoice struct {
	Index        int                 `json:"index"`         // among the choices of all prompts
	Text         string              `json:"text"`          // with the prompt before it where the call asks for echo
	Logprobs     *CompletionLogprobs `json:"logprobs"`      // null where the call asks for none
	FinishReason *string             `json:"finish_reason"` // "stop" or "length"; null while the choice goes on
	Lambda       decode.Vector       `json:"lambda"`        // that the choice is decoded at

	PromptTokens   []decode.Token             `json:"prompt_token_ids,omitempty"` // only where the call asks for ids of tokens
	PromptLogprobs []map[string]PromptLogprob `json:"prompt_logprobs,omitempty"`  // at the choice's λ; only where the call asks for them
	TokenIDs       []decode.Token             `json:"token_ids,omitempty"`        // only where the call asks for them
	Realign        *Detail                    `json:"realign,omitempty"`          // in the whole answer or the last chunk, where the call asks for it
}

// CompletionLogprobs are log-probabilities under the mixture, before temperature and truncation. With echo they begin with the
// prompt's tokens, the first of which has none.
// All four lists have one entry a token.
type CompletionLogprobs struct {
	Tokens  []string             `json:"tokens"`
	Logprob []*float64           `json:"token_logprobs"` // nats, never below −9999; null of the prompt's first token
	Top     []map[string]float64 `json:"top_logprobs"`   // by the alternative's text, the chosen token among them
	Offset  []int                `json:"text_offset"`    // characters before the token, in this answer or chunk
}

// PromptLogprob is one token that could have stood in the prompt, in vLLM's shape: by the id of the token.
type PromptLogprob struct {
	Logprob float64 `json:"logprob"`        // nats, never below −9999
	Rank    int     `json:"rank,omitempty"` // 1 is the most probable; absent where it is not among those listed
	Token   string  `json:"decoded_token"`
}

// Completion is the whole answer, once every lane has ended. beta is the β of the only aligned model, 0 if there is none.
func (r *Reply) Completion(beta float64) Completion {
	usage := r.Usage()
	a := r.completion()
	a.Usage = &usage
	for i := range r.choices {
		c := &r.choices[i]
		choice := CompletionChoice{
			Index: i, Text: c.Text(), Logprobs: r.completionLogprobs(i, 0), FinishReason: c.finishReason(), Lambda: c.Lambda,
			PromptTokens: r.promptIDs(c.Prompt), PromptLogprobs: r.promptLogprobs(i), TokenIDs: r.ids(c), Realign: r.detail(c, beta),
		}
		if r.Call.Echo {
			choice.Text = r.promptText(c.Prompt) + choice.Text
		}
		if c.End == nil { // nothing was to be decoded
			reason := "length"
			choice.FinishReason = &reason
		}
		a.Choices = append(a.Choices, choice)
	}
	return a
}

// CompletionChunk is what a choice has that no chunk told yet; false where that is nothing. It marks the choice's tokens as
// told. With log-probabilities it is always true.
func (r *Reply) CompletionChunk(i int, beta float64) (Completion, bool) {
	c := &r.choices[i]
	text, done := r.unsent(c)
	if text == "" && !done && r.Call.Logprobs < 0 {
		return Completion{}, false
	}
	choice := CompletionChoice{Index: i, Text: text, Logprobs: r.completionLogprobs(i, c.sent), FinishReason: c.finishReason(), Lambda: c.Lambda}
	if ids := r.ids(c); ids != nil {
		choice.TokenIDs = ids[c.sent:]
	}
	if done {
		choice.Realign = r.detail(c, beta)
	}
	c.sent = len(c.Tokens)
	a := r.completion()
	a.Choices = append(a.Choices, choice)
	return a, true
}

// CompletionUsage is the chunk behind the last one, where the call asks for it.
func (r *Reply) CompletionUsage() Completion {
	a := r.completion()
	usage := r.Usage()
	a.Usage = &usage
	return a
}

// completion is an answer of this reply without choices.
func (r *Reply) completion() Completion {
	return Completion{ID: r.ID, Object: "text_completion", Created: r.Created, Model: r.Call.Name, Fingerprint: r.Build, Choices: []CompletionChoice{}}
}

// promptText is the prompt that echo repeats: its text, or the pieces of its tokens where it came as token ids.
func (r *Reply) promptText(prompt int) string {
	p := r.Call.Prompts[prompt]
	if p.Tokens == nil {
		return p.Text
	}
	var all []byte
	for _, piece := range r.started[prompt].Pieces {
		all = append(all, piece...)
	}
	return string(all)
}

// completionLogprobs are those of a choice from one of its tokens on, behind those of an echoed prompt.
func (r *Reply) completionLogprobs(i, from int) *CompletionLogprobs {
	if r.Call.Logprobs < 0 {
		return nil
	}
	c := &r.choices[i]
	l := &CompletionLogprobs{Tokens: []string{}, Logprob: []*float64{}, Top: []map[string]float64{}, Offset: []int{}}
	at := 0
	add := func(token string, length int, logp *float64, top map[string]float64) {
		l.Tokens, l.Logprob, l.Top, l.Offset = append(l.Tokens, token), append(l.Logprob, logp), append(l.Top, top), append(l.Offset, at)
		at += length
	}
	if r.Call.Echo {
		k := r.lambdaOf(i)
		started := r.started[c.Prompt]
		for j, id := range started.Tokens {
			var logp *float64
			var top map[string]float64
			text := ""
			if j < len(started.Pieces) {
				text = string(started.Pieces[j])
			}
			if j > 0 {
				s := r.scores[c.Prompt][j-1]
				text = string(s.Text)
				x := logprob(s.Mixture[k])
				logp, top = &x, tops(s.Top[k][:min(r.Call.Logprobs, len(s.Top[k]))], id, tokenText(s.Name, s.Text), x)
			}
			add(tokenText("", []byte(text)), utf8.RuneCountInString(text), logp, top)
		}
	}
	for _, e := range c.Tokens[from:] {
		if e.Logp == nil {
			continue
		}
		x := logprob(e.Logp.Mixture)
		var alternatives []decode.Alternative
		if e.Top != nil {
			alternatives = e.Top.Mixture[:min(r.Call.Logprobs, len(e.Top.Mixture))]
		}
		add(tokenName(e), utf8.RuneCountInString(e.Text), &x, tops(alternatives, e.ID, tokenName(e), x))
	}
	return l
}

// lambdaOf is the place of a choice's λ among the call's.
func (r *Reply) lambdaOf(i int) int { return i / r.Call.N % len(r.Call.Lambda) }

// tokenText is a token of a prompt as clients show it: its bytes, or shown where it has none, as a control token.
func tokenText(shown string, piece []byte) string {
	if len(piece) == 0 {
		return shown
	}
	return name("", piece)
}

// tops are alternatives by their texts, the chosen token among them with the very number that token_logprobs has. Where
// two tokens have one text the more probable one stays.
func tops(list []decode.Alternative, chosen decode.Token, text string, logp float64) map[string]float64 {
	top := map[string]float64{}
	for _, a := range list {
		if x, ok := top[a.Name]; !ok || logprob(a.Logp) > x {
			top[a.Name] = logprob(a.Logp)
		}
	}
	if x, ok := top[text]; !ok || logp > x {
		top[text] = logp
	}
	return top
}

// promptLogprobs are those of a choice's prompt at its λ, in vLLM's shape: null, then an object for each further token.
func (r *Reply) promptLogprobs(i int) []map[string]PromptLogprob {
	if r.Call.PromptLogprobs < 0 {
		return nil
	}
	prompt, k := r.choices[i].Prompt, r.lambdaOf(i)
	list := []map[string]PromptLogprob{nil}
	scores := r.scores[prompt]
	for _, s := range scores[:max(0, len(scores)-1)] {
		by := map[string]PromptLogprob{}
		for rank, a := range s.Top[k][:min(r.Call.PromptLogprobs, len(s.Top[k]))] {
			by[strconv.Itoa(int(a.ID))] = PromptLogprob{Logprob: logprob(a.Logp), Rank: rank + 1, Token: a.Name}
		}
		own := strconv.Itoa(int(s.ID))
		if _, listed := by[own]; !listed {
			by[own] = PromptLogprob{Logprob: logprob(s.Mixture[k]), Token: tokenText(s.Name, s.Text)}
		}
		list = append(list, by)
	}
	return list
}
