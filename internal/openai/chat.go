package openai

import "realign/internal/decode"

// ChatCompletion answers POST /v1/chat/completions.
type ChatCompletion struct {
	ID          string       `json:"id"`
	Object      string       `json:"object"` // chat.completion
	Created     int64        `json:"created"`
	Model       string       `json:"model"`
	Fingerprint string       `json:"system_fingerprint,omitempty"`
	Choices     []ChatChoice `json:"choices"`
	Usage       Usage        `json:"usage"`

	PromptTokens   []decode.Token             `json:"prompt_token_ids,omitempty"`
	PromptLogprobs []map[string]PromptLogprob `json:"prompt_logprobs,omitempty"` // at the first λ; the first token has none
}

// ChatChoice is one reply.
type ChatChoice struct {
	Index        int            `json:"index"`
	Message      Message        `json:"message"`
	Logprobs     *ChatLogprobs  `json:"logprobs"`
	FinishReason *string        `json:"finish_reason"`
	Lambda       decode.Vector  `json:"lambda"`
	TokenIDs     []decode.Token `json:"token_ids,omitempty"`
	Realign      *Detail        `json:"realign,omitempty"`
}

// Message is what a model says.
type Message struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"` // always null: refusals are texts here
}

// ChatLogprobs are log-probabilities under the mixture, before temperature and truncation.
type ChatLogprobs struct {
	Content []TokenLogprob `json:"content"`
	Refusal *string        `json:"refusal"`
}

// TokenLogprob is one token with its most probable alternatives.
type TokenLogprob struct {
	Token   string       `json:"token"`
	Logprob float64      `json:"logprob"`
	Bytes   []int        `json:"bytes"`
	Top     []TopLogprob `json:"top_logprobs"`
}

// TopLogprob is an alternative.
type TopLogprob struct {
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

// ChatChunk is one message of a stream.
type ChatChunk struct {
	ID          string        `json:"id"`
	Object      string        `json:"object"` // chat.completion.chunk
	Created     int64         `json:"created"`
	Model       string        `json:"model"`
	Fingerprint string        `json:"system_fingerprint,omitempty"`
	Choices     []ChunkChoice `json:"choices"`
	Usage       *Usage        `json:"usage,omitempty"`
}

// ChunkChoice is what a chunk adds to a reply.
type ChunkChoice struct {
	Index        int            `json:"index"`
	Delta        Delta          `json:"delta"`
	Logprobs     *ChatLogprobs  `json:"logprobs,omitempty"`
	FinishReason *string        `json:"finish_reason"`
	Lambda       decode.Vector  `json:"lambda"`
	TokenIDs     []decode.Token `json:"token_ids,omitempty"`
	Realign      *Detail        `json:"realign,omitempty"`
}

// Delta is a part of a message.
type Delta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

// ChatCompletion is the whole answer, once every lane has ended. beta is the β of the only aligned model, if it has one.
func (r *Reply) ChatCompletion(beta float64) ChatCompletion {
	a := ChatCompletion{ID: r.ID, Object: "chat.completion", Created: r.Created, Model: r.Call.Name, Fingerprint: r.Build, Usage: r.Usage(), PromptTokens: r.promptIDs(0), PromptLogprobs: r.promptLogprobs(0)}
	for i := range r.choices {
		c := &r.choices[i]
		a.Choices = append(a.Choices, ChatChoice{
			Index: i, Message: Message{Role: "assistant", Content: c.text.String()}, Logprobs: r.chatLogprobs(c, 0),
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
	c.sent = len(c.tokens)
	return r.chatChunk(choice), true
}

// ChatUsage is the chunk behind the last one, where the call asks for it.
func (r *Reply) ChatUsage() ChatChunk {
	chunk := r.chatChunk()
	usage := r.Usage()
	chunk.Usage = &usage
	return chunk
}

func (r *Reply) chatChunk(choices ...ChunkChoice) ChatChunk {
	if choices == nil {
		choices = []ChunkChoice{}
	}
	return ChatChunk{ID: r.ID, Object: "chat.completion.chunk", Created: r.Created, Model: r.Call.Name, Fingerprint: r.Build, Choices: choices}
}

// unsent is the text of the tokens that no chunk told of, and whether the choice has ended.
func (r *Reply) unsent(c *Choice) (text string, done bool) {
	for _, e := range c.tokens[c.sent:] {
		text += e.Text
	}
	return text, c.end != nil
}

func (r *Reply) chatLogprobs(c *Choice, from int) *ChatLogprobs {
	if r.Call.Logprobs < 0 {
		return nil
	}
	l := &ChatLogprobs{Content: []TokenLogprob{}}
	for _, e := range c.tokens[from:] {
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
