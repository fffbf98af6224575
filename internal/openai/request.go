package openai

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Call is a request for completions, of a conversation or of texts. Every prompt has a choice for each λ and each of N
// samples, in that order. ParseChat, ParseCompletion and ParseScore make it; Owner and Client are the caller's.
type Call struct {
	Chat    bool            // Prompts is then one conversation
	Name    string          // of the model, as it was asked for
	Pair    string          // the pair that Name stands for
	Aligned []string        // names of its aligned models that are mixed
	Prompts []decode.Prompt // at least one
	Lambda  []decode.Vector // the λ of the choices, at least one; each with a number for every aligned model
	N       int             // samples at each λ
	Mix     string          // what λ mixes, as in decode.Request

	// Prefix are tokens that the choices start with instead of choosing them: one list for each choice, or none.
	Prefix [][]decode.Token

	Sampling decode.Sampling // MaxTokens is 0 where only scores of the prompts are wanted
	Seed     *uint64         // nil: any
	RawSeed  bool            // the seed itself is decoded with, and not one that the prompt's tokens are mixed into
	Owner    string          // whose call it is, for the models' cache of prompts
	Client   string          // where it comes from, for serving clients in turn

	// Variables are what the chat template is told beside the conversation: chat_template_kwargs, as vLLM and llama.cpp have it.
	Variables map[string]any

	Stream bool // the answer is sent in chunks, as it is decoded
	Usage  bool // a stream ends with a chunk that has the usage
	Store  bool // keep the call as a session

	// Logprobs is how many alternatives are wanted beside each token's own log-probability; −1: no log-probabilities.
	// PromptLogprobs is the same for the prompt's tokens. Echo repeats the prompt before each completion.
	Logprobs       int
	PromptLogprobs int
	Echo           bool

	TokenIDs bool // the ids of the prompt's and the completion's tokens
	Details  bool // what Realign knows of each token and reply: see Detail
}

// Known is what a server knows of the pair that a model's name stands for.
type Known struct {
	Aligned  []string        // names of the aligned models: those asked for, or the default
	Sampling decode.Sampling // that runs of the pair start from, before what the body says
}

// Resolve finds a pair. Its errors are NotFound with the field "model".
type Resolve func(Model) (Known, error)

// What a call may ask for. Lanes of one prompt are λ × samples, at most decode.MaxLanes.
const (
	MaxPrompts           = 256
	MaxMessages          = 1000
	defaultChatTokens    = 512 // of a reply, where nothing says how many
	defaultTextTokens    = 16  // OpenAI's
	defaultTextLogprobs  = -1
	maxChoices           = decode.MaxLanes
	unsupportedTools     = "Realign's models call no tools"
	unsupportedOutput    = "replies are plain text"
	unsupportedSuffix    = "there is no filling in the middle"
	unsupportedModality  = "Realign's models read and write text only"
	unsupportedReasoning = "Realign's models have no effort of reasoning to choose"
)

// ParseChat reads the body of POST /v1/chat/completions. Errors are Invalid, with the field, or those of resolve.
func ParseChat(data []byte, resolve Resolve) (*Call, error) {
	b, err := parseBody(data)
	if err != nil {
		return nil, err
	}
	c := &Call{Chat: true}
	if err := c.model(b, resolve, defaultChatTokens); err != nil {
		return nil, err
	}
	c.Prompts = []decode.Prompt{{Messages: b.messages()}}
	b.field("chat_template_kwargs", &c.Variables, "an object of texts, numbers, true and false")
	if err := decode.CheckVariables("chat_template_kwargs", c.Variables); err != nil && b.err == nil {
		return nil, err
	}
	limit := 0
	if b.whole("max_completion_tokens", &limit) {
		c.Sampling.MaxTokens = limit
	}
	c.Logprobs = -1
	wanted, top := b.flag("logprobs"), 0
	if b.whole("top_logprobs", &top); wanted {
		c.Logprobs = top
	} else if top != 0 {
		b.fail("top_logprobs", "needs logprobs to be true")
	}
	b.unsupported(unsupportedTools, "tools", "tool_choice", "functions", "function_call", "parallel_tool_calls")
	b.unsupported(unsupportedModality, "audio", "web_search_options", "prediction")
	b.unsupported(unsupportedReasoning, "reasoning_effort", "verbosity")
	b.only("modalities", `["text"]`, unsupportedModality)
	return c, c.finish(b)
}

// ParseCompletion reads the body of POST /v1/completions.
func ParseCompletion(data []byte, resolve Resolve) (*Call, error) {
	b, err := parseBody(data)
	if err != nil {
		return nil, err
	}
	c := &Call{}
	if err := c.model(b, resolve, defaultTextTokens); err != nil {
		return nil, err
	}
	c.Prompts = b.prompts()
	c.Echo = b.flag("echo")
	c.Logprobs = defaultTextLogprobs
	b.whole("logprobs", &c.Logprobs)
	best := c.N
	if b.whole("best_of", &best); best != c.N {
		b.fail("best_of", "%d is not n (%d): samples are not ranked", best, c.N)
	}
	b.unsupported(unsupportedSuffix, "suffix")
	return c, c.finish(b)
}

// model reads what both kinds of body share: the model with its λ, sampling, and how to answer. tokens is how many a
// completion has where the body does not say.
func (c *Call) model(b *body, resolve Resolve, tokens int) error {
	c.Name = b.text("model")
	if b.err != nil {
		return b.err
	}
	if c.Name == "" {
		return fault.Field("model", "is missing: /v1/models lists those there are")
	}
	m, err := ParseModel(c.Name)
	if err != nil {
		return err
	}
	known, err := resolve(m)
	if err != nil {
		return err
	}
	c.Pair, c.Aligned = m.Pair, known.Aligned
	n := len(c.Aligned)
	switch c.Lambda = b.lambdas(c.Aligned, n); {
	case c.Lambda != nil:
	case m.Lambda != nil:
		c.Lambda = []decode.Vector{m.Lambda}
	case n == 1:
		c.Lambda = []decode.Vector{{1}}
	default:
		return fault.Field("lambda", "is missing: with %d aligned models there is no default", n)
	}
	for _, v := range c.Lambda {
		if len(v) != n {
			return fault.Field("model", "has λ for %d aligned models, and %d are mixed", len(v), n)
		}
	}
	c.Sampling = known.Sampling
	c.Sampling.MaxTokens = tokens
	s := &c.Sampling
	b.whole("max_tokens", &s.MaxTokens)
	b.number("temperature", &s.Temperature)
	b.number("top_p", &s.TopP)
	b.number("min_p", &s.MinP)
	if b.whole("top_k", &s.TopK); s.TopK == -1 { // as vLLM writes "off"
		s.TopK = 0
	}
	b.number("repeat_penalty", &s.RepeatPenalty)
	b.number("repetition_penalty", &s.RepeatPenalty) // vLLM's name
	b.number("presence_penalty", &s.PresencePenalty)
	b.number("frequency_penalty", &s.FrequencyPenalty)
	b.whole("penalty_window", &s.PenaltyWindow)
	b.whole("exact", &s.Exact)
	b.field("ignore_eos", &s.IgnoreEnd, "true or false")
	s.Bias = b.bias()
	s.Stop = nil
	if stops := b.texts("stop"); len(stops) > 0 {
		s.Stop = stops
	}
	c.N = 1
	if b.whole("n", &c.N); c.N < 1 {
		b.fail("n", "%d is not at least 1", c.N)
	}
	c.Prefix = b.prefixes(len(c.Lambda) * c.N)
	c.PromptLogprobs = -1
	b.whole("prompt_logprobs", &c.PromptLogprobs)
	c.Seed = b.seed()
	byPrompt := true
	b.field("seed_by_prompt", &byPrompt, "true or false")
	c.RawSeed = !byPrompt
	c.Stream, c.Store, c.Mix = b.flag("stream"), b.flag("store"), b.text("mix")
	c.TokenIDs, c.Details = b.flag("return_token_ids"), b.flag("realign")
	var options struct {
		Usage       bool `json:"include_usage"`
		Obfuscation bool `json:"include_obfuscation"`
	}
	if b.field("stream_options", &options, "an object") && !c.Stream {
		b.fail("stream_options", "go with stream only")
	}
	c.Usage = options.Usage
	b.only("response_format", `{"type":"text"}`, unsupportedOutput)
	b.ignored("user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key")
	return b.err
}

// finish checks what only the whole call shows: fields that nobody read, how many choices there are, what does not go
// together, and each request as decoding checks it.
func (c *Call) finish(b *body) error {
	if err := b.finish(); err != nil {
		return err
	}
	if lanes := len(c.Lambda) * c.N; lanes > maxChoices {
		return fault.Field("n", "%d choices for each of %d λ are %d, at most %d", c.N, len(c.Lambda), lanes, maxChoices)
	}
	for field, top := range map[string]int{"logprobs": c.Logprobs, "prompt_logprobs": c.PromptLogprobs} {
		if top < -1 || top > decode.MaxAlternatives {
			return fault.Field(field, "%d alternatives, where 0 to %d can be listed", top, decode.MaxAlternatives)
		}
	}
	if err := c.checkMix(); err != nil {
		return err
	}
	s := c.Sampling
	switch {
	case s.MaxTokens == 0 && (c.Echo || c.PromptLogprobs >= 0): // scores the prompt and decodes nothing
		s.MaxTokens = 1
	case s.MaxTokens == 0:
		return fault.Field("max_tokens", "0 asks for nothing, unless the prompt is echoed")
	case c.Stream && (c.Echo || c.PromptLogprobs >= 0):
		return fault.Field("stream", "does not go with echo or prompt_logprobs")
	}
	if err := s.Validate(); err != nil {
		return err
	}
	for _, r := range c.Requests() {
		if err := r.Validate(len(c.Aligned)); err != nil {
			return err
		}
	}
	return nil
}

// only refuses a field with any other value than one, by its JSON without white space.
func (b *body) only(name, value, why string) {
	b.read[name] = true
	raw := b.fields[name]
	if len(raw) == 0 || string(raw) == "null" {
		return
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil || compact.String() != value {
		b.fail(name, "%s is not supported: %s", short(string(raw)), why)
	}
}

// seed reads a whole number of 64 bits, negative ones included.
func (b *body) seed() *uint64 {
	var n json.Number
	if !b.field("seed", &n, "a whole number") {
		return nil
	}
	text := n.String()
	var u uint64
	if strings.HasPrefix(text, "-") {
		var i int64
		if json.Unmarshal([]byte(text), &i) != nil {
			b.fail("seed", "%s is not a whole number of 64 bits", short(text))
		}
		u = uint64(i)
	} else if json.Unmarshal([]byte(text), &u) != nil {
		b.fail("seed", "%s is not a whole number of 64 bits", short(text))
	}
	return &u
}

// messages reads a conversation. Content is a text or a list of parts of type text.
func (b *body) messages() []decode.Message {
	var raw []struct {
		Role      string          `json:"role"`
		Content   json.RawMessage `json:"content"`
		ToolCalls json.RawMessage `json:"tool_calls"`
	}
	if !b.field("messages", &raw, "a list of messages") || len(raw) == 0 {
		b.fail("messages", "are missing")
		return nil
	}
	if len(raw) > MaxMessages {
		b.fail("messages", "are %d, at most %d", len(raw), MaxMessages)
		return nil
	}
	messages := make([]decode.Message, 0, len(raw))
	for i, m := range raw {
		role := m.Role
		switch role {
		case "system", "user", "assistant":
		case "developer":
			role = "system"
		case "tool", "function":
			b.fail("messages", "message %d is of a tool: %s", i+1, unsupportedTools)
		default:
			b.fail("messages", "message %d has the role %q, which is none of system, developer, user and assistant", i+1, short(role))
		}
		if calls := bytes.TrimSpace(m.ToolCalls); len(calls) > 0 && string(calls) != "null" && string(calls) != "[]" {
			b.fail("messages", "message %d calls tools: %s", i+1, unsupportedTools)
		}
		messages = append(messages, decode.Message{Role: role, Content: b.content(m.Content, i)})
	}
	return messages
}

// content reads the content of message i: a text, null, or a list of parts, whose texts it joins. A part of another
// type is an error.
func (b *body) content(raw json.RawMessage, i int) string {
	raw = bytes.TrimSpace(raw)
	var text string
	if len(raw) == 0 || string(raw) == "null" || json.Unmarshal(raw, &text) == nil {
		return text
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		b.fail("messages", "the content of message %d is neither a text nor a list of parts", i+1)
		return ""
	}
	var all strings.Builder
	for _, p := range parts {
		if p.Type != "text" {
			b.fail("messages", "message %d has a part of type %q: %s", i+1, short(p.Type), unsupportedModality)
		}
		all.WriteString(p.Text)
	}
	return all.String()
}

// prompts reads the field "prompt": a text, texts, token ids, or lists of them.
func (b *body) prompts() []decode.Prompt {
	raw := bytes.TrimSpace(b.fields["prompt"])
	b.read["prompt"] = true
	const what = "is neither a text, nor a list of token ids, nor a list of texts or of lists of token ids"
	var items []json.RawMessage
	switch {
	case len(raw) == 0 || string(raw) == "null":
		b.fail("prompt", "is missing")
		return nil
	case raw[0] == '"':
		items = []json.RawMessage{raw}
	case json.Unmarshal(raw, &items) != nil:
		b.fail("prompt", what)
		return nil
	}
	if len(items) > 0 && items[0][0] != '"' && items[0][0] != '[' { // one prompt of token ids
		items = []json.RawMessage{raw}
	}
	if len(items) == 0 || len(items) > MaxPrompts {
		b.fail("prompt", "has %d prompts, where 1 to %d can be sent at once", len(items), MaxPrompts)
		return nil
	}
	prompts := make([]decode.Prompt, len(items))
	for i, item := range items {
		p := &prompts[i]
		var err error
		if item[0] == '"' {
			p.Special = true
			err = json.Unmarshal(item, &p.Text)
		} else {
			p.Tokens, err = tokenIDs(item)
		}
		if err != nil {
			b.fail("prompt", what)
			return nil
		}
	}
	return prompts
}

// tokenIDs reads a list of token ids, in which null is none: encoding/json takes it for 0.
func tokenIDs(list json.RawMessage) (ids []decode.Token, err error) {
	var each []*decode.Token
	if err := json.Unmarshal(list, &each); err != nil {
		return nil, err
	}
	for i, id := range each {
		if id == nil {
			return nil, fault.New(fault.Invalid, "item %d is null", i)
		}
		ids = append(ids, *id)
	}
	return ids, nil
}

// prefixes reads the field "prefix": token ids that every choice starts with, or a list of them for each choice.
func (b *body) prefixes(choices int) [][]decode.Token {
	raw := bytes.TrimSpace(b.fields["prefix"])
	b.read["prefix"] = true
	if len(raw) == 0 || string(raw) == "null" || choices < 1 || choices > maxChoices {
		return nil
	}
	var each [][]decode.Token
	var every []decode.Token
	switch {
	case json.Unmarshal(raw, &every) == nil:
		return slices.Repeat([][]decode.Token{every}, choices)
	case json.Unmarshal(raw, &each) != nil:
		b.fail("prefix", "is neither a list of token ids nor a list of such lists")
	case len(each) != choices:
		b.fail("prefix", "has %d lists for %d choices: one for each λ and sample, in that order", len(each), choices)
	}
	return each
}

// Requests are the runs that a call asks for, one a prompt; none where only scores of the prompts are wanted.
func (c *Call) Requests() []decode.Request {
	if c.Sampling.MaxTokens == 0 {
		return nil
	}
	all := make([]decode.Request, len(c.Prompts))
	for i, p := range c.Prompts {
		r := c.request(p)
		for _, v := range c.Lambda {
			for sample := range c.N {
				lane := decode.Lane{Index: len(r.Lanes), Lambda: v, Sample: sample}
				if c.Prefix != nil {
					lane.Prefix = c.Prefix[lane.Index]
				}
				r.Lanes = append(r.Lanes, lane)
			}
		}
		r.Sampling = c.Sampling
		r.SeedByPrompt, r.Mix = !c.RawSeed, c.Mix
		r.Totals = c.Details
		r.Trace = decode.Trace{Off: c.Logprobs < 0 && !c.Details, Alternatives: max(c.Logprobs, 0), Bytes: c.Logprobs >= 0}
		all[i] = r
	}
	return all
}

// Scores are the requests that score the prompts, at the call's λ and at others that may be asked for next. Nil where
// nobody wants log-probabilities of prompts.
func (c *Call) Scores(others []decode.Vector) []decode.Request {
	if c.PromptLogprobs < 0 && !(c.Echo && c.Logprobs >= 0) {
		return nil
	}
	all := make([]decode.Request, len(c.Prompts))
	for i, p := range c.Prompts {
		r := c.request(p)
		r.Sampling = decode.DefaultSampling()
		r.Score = &decode.Score{Lambda: append(append([]decode.Vector(nil), c.Lambda...), others...), Alternatives: max(c.PromptLogprobs, c.Logprobs, 1)}
		r.Trace.Off = !c.Details
		all[i] = r
	}
	return all
}

// request is what runs and scores of a prompt share.
func (c *Call) request(p decode.Prompt) decode.Request {
	r := decode.Request{Aligned: c.Aligned, Owner: c.Owner, Client: c.Client, Prompt: p, Rendering: decode.Rendering{Variables: c.Variables}}
	if c.Seed != nil {
		r.Seed = *c.Seed
	}
	return r
}

// GreedyNext reports whether the completion follows from the scores of the prompt alone: one token, the most probable.
func (c *Call) GreedyNext() bool {
	s := c.Sampling
	return s.MaxTokens == 1 && s.Temperature == 0 && c.N == 1 && len(s.Bias) == 0 && c.Scores(nil) != nil && !c.Details
}
