package openai

import "realign/internal/decode"

// ChatCompletion answers POST /v1/chat/completions.
type ChatCompletion struct {
	ID          string       `json:"id"`                           // the Reply's
	Object      string       `json:"object"`                       // chat.completion
	Created     int64        `json:"created"`                      // seconds since 1970
	Model       string       `json:"model"`                        // as the call named it
	Fingerprint string       `json:"system_fingerprint,omitempty"` // the build of the server; left out where it is ""
	Choices     []ChatChoice `json:"choices"`                      // by λ, then by sample
	Usage       Usage        `json:"usage"`                        // of the whole call

	PromptTokens   []decode.Token             `json:"prompt_token_ids,omitempty"` // only where the call asks for ids of tokens
	PromptLogprobs []map[string]PromptLogprob `json:"prompt_logprobs,omitempty"`  // at the first λ; the first token has none
}

// ChatChoice is one reply: a lane that has ended.
type ChatChoice struct {
	Index        int            `json:"index"`               // among the choices, from 0
	Message      Message        `json:"message"`             // what the model says
	Logprobs     *ChatLogprobs  `json:"logprobs"`            // null where the call asks for none
	FinishReason *string        `json:"finish_reason"`       // "stop" or "length"
	Lambda       decode.Vector  `json:"lambda"`              // that the lane was decoded at
	TokenIDs     []decode.Token `json:"token_ids,omitempty"` // only where the call asks for them
	Realign      *Detail        `json:"realign,omitempty"`   // only where the call asks for it
}

// Message is what a model says.
type Message struct {
	Role    string  `json:"role"` // assistant
	Content string  `json:"content"`
	Refusal *string `json:"refusal"` // always null: refusals are texts here
}

// ChatLogprobs are log-probabilities under the mixture, before temperature and truncation.
type ChatLogprobs struct {
	Content []TokenLogprob `json:"content"` // one for each token that has log-probabilities
	Refusal *string        `json:"refusal"` // always null
}

// TokenLogprob is one token with its most probable alternatives. Logprob is in nats and never below −9999, Bytes
// are 0 to 255.
type TokenLogprob struct {
	Token   string       `json:"token"` // as tokenName writes it
	Logprob float64      `json:"logprob"`
	Bytes   []int        `json:"bytes"`
	Top     []TopLogprob `json:"top_logprobs"` // most probable first; empty, never null, where none are asked for
}

// TopLogprob is an alternative to a chosen token. Its bytes are those of its name, since a trace has no others.
type TopLogprob struct {
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

// ChatChunk is one message of a stream. The first of each choice has its role, the last the reason of its end; one with the
// usage and without choices may follow.
type ChatChunk struct {
	ID          string        `json:"id"`                           // the same in all chunks of a reply
	Object      string        `json:"object"`                       // chat.completion.chunk
	Created     int64         `json:"created"`                      // seconds since 1970; the same in all chunks of a reply
	Model       string        `json:"model"`                        // as the call named it
	Fingerprint string        `json:"system_fingerprint,omitempty"` // the build of the server; left out where it is ""
	Choices     []ChunkChoice `json:"choices"`                      // one, or none in the chunk with the usage
	Usage       *Usage        `json:"usage,omitempty"`              // only in the chunk that ChatUsage makes
}

// ChunkChoice is what a chunk adds to a reply.
type ChunkChoice struct {
	Index        int            `json:"index"`               // among the choices, from 0
	Delta        Delta          `json:"delta"`               // text that is new
	Logprobs     *ChatLogprobs  `json:"logprobs,omitempty"`  // of the tokens this chunk tells of
	FinishReason *string        `json:"finish_reason"`       // null but in the last chunk of the choice
	Lambda       decode.Vector  `json:"lambda"`              // that the choice is decoded at
	TokenIDs     []decode.Token `json:"token_ids,omitempty"` // of the tokens this chunk tells of
	Realign      *Detail        `json:"realign,omitempty"`   // in the last chunk of the choice only
}

// Delta is a part of a message.
type Delta struct {
	Role    string  `json:"role,omitempty"`    // in the first chunk of a choice only
	Content *string `json:"content,omitempty"` // nil where the chunk adds no text
}

// ChatCompletion is the whole answer, once every lane has ended. beta is the β of the only aligned model, if it has one.
func (r *Reply) ChatCompletion(beta float64) ChatCompletion {
	a := ChatCompletion{ID: r.ID, Object: "chat.completion", Created: r.Created, Model: r.Call.Name, Fingerprint: r.Build, Usage: r.Usage(), PromptTokens: r.promptIDs(0), PromptLogprobs: r.promptLogprobs(0)}
	for i := range r.choices {
		c := &r.choices[i]
		a.Choices = append(a.Choices, ChatChoice{
			Index: i, Message: Message{Role: "assistant", Content: c.Text()}, Logprobs: r.chatLogprobs(c, 0),
			FinishReason: c.finishReason(), Lambda: c.Lambda, TokenIDs: r.ids(c), Realign: r.detail(c, beta),
		})
	}
	return a
}

// ChatStart is the first chunk of each choice, which has the role.
func (r *Reply) ChatStart() []ChatChunk {
	chunks := make([]ChatChunk, len(r.choices))
	for i := range r.choices {
		empty := ""
		chunks[i] = r.chatChunk(ChunkChoice{Index: i, Delta: Delta{Role: "assistant", Content: &empty}, Lambda: r.choices[i].Lambda})
	}
	return chunks
}

// ChatChunk is what a choice has that no chunk told yet; false where that is nothing. The last one has the reason of its end.
// It marks the choice's tokens as told. With log-probabilities it is always true.
func (r *Reply) ChatChunk(i int, beta float64) (ChatChunk, bool) {
	c := &r.choices[i]
	text, done := r.unsent(c)
	if text == "" && !done && r.Call.Logprobs < 0 {
		return ChatChunk{}, false
	}
	choice := ChunkChoice{Index: i, Logprobs: r.chatLogprobs(c, c.sent), Lambda: c.Lambda, FinishReason: c.finishReason()}
	if text != "" {
		choice.Delta.Content = &text
	}
	if ids := r.ids(c); ids != nil {
		choice.TokenIDs = ids[c.sent:]
	}
	if done {
		choice.Realign = r.detail(c, beta)
	}
	c.sent = len(c.Tokens)
	return r.chatChunk(choice), true
}

// ChatUsage is the chunk behind the last one, where the call asks for it.
func (r *Reply) ChatUsage() ChatChunk {
	chunk := r.chatChunk()
	usage := r.Usage()
	chunk.Usage = &usage
	return chunk
}

// chatChunk is a chunk of this reply with the given choices; without any it has an empty list, never null.
func (r *Reply) chatChunk(choices ...ChunkChoice) ChatChunk {
	if choices == nil {
		choices = []ChunkChoice{}
	}
	return ChatChunk{ID: r.ID, Object: "chat.completion.chunk", Created: r.Created, Model: r.Call.Name, Fingerprint: r.Build, Choices: choices}
}

// unsent is the text of the tokens that no chunk told of, and whether the choice has ended.
func (r *Reply) unsent(c *Choice) (text string, done bool) {
	for _, e := range c.Tokens[c.sent:] {
		text += e.Text
	}
	return text, c.End != nil
}

// chatLogprobs are those of a choice's tokens from one on; nil where the call asks for none.
func (r *Reply) chatLogprobs(c *Choice, from int) *ChatLogprobs {
	if r.Call.Logprobs < 0 {
		return nil
	}
	l := &ChatLogprobs{Content: []TokenLogprob{}}
	for _, e := range c.Tokens[from:] {
		if e.Logp == nil {
			continue
		}
		t := TokenLogprob{Token: tokenName(e), Logprob: logprob(e.Logp.Mixture), Bytes: integers(tokenBytes(e)), Top: []TopLogprob{}}
		if e.Top != nil {
			for _, a := range e.Top.Mixture {
				t.Top = append(t.Top, TopLogprob{Token: a.Name, Logprob: logprob(a.Logp), Bytes: integers([]byte(a.Name))})
			}
		}
		l.Content = append(l.Content, t)
	}
	return l
}

// tokenName is a token as clients show it.
func tokenName(e decode.Event) string {
	if len(e.Bytes) == 0 && e.Name != "" {
		return e.Name // a control token
	}
	return name(e.Text, e.Bytes)
}

// tokenBytes are the bytes of a token, which need not be whole characters; those of its text where the trace has
// none.
func tokenBytes(e decode.Event) []byte {
	if e.Bytes != nil {
		return e.Bytes
	}
	return []byte(e.Text)
}

// integers are bytes as OpenAI writes them.
func integers(b []byte) []int {
	list := make([]int, len(b))
	for i, x := range b {
		list[i] = int(x)
	}
	return list
}
