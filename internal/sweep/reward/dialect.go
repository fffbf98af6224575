package reward

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// dialect is how an OpenAI-compatible endpoint wants to be asked: endpoints differ in what they take, and newer models in what
// they refuse.
// A dialect does not change: adapt puts another in its place.
type dialect struct {
	limit       string // name of the field with the longest answer; "none" leaves it out
	temperature bool   // whether it is said: 0
	format      string // "json_schema", "json_object" or "none"
	system      bool   // whether there is a system message; otherwise its text stands before the question
}

// firstDialect is what is tried first.
func firstDialect(p *judgeParameters) *dialect {
	d := &dialect{limit: p.LimitName, temperature: p.Greedy, format: "json_schema", system: true}
	if d.limit == "auto" {
		d.limit = "max_tokens"
	}
	if !p.Structured {
		d.format = "none"
	}
	return d
}

// base is the address of an endpoint without what every path below it begins with; its query stays.
func base(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	u.Path, u.RawPath = strings.TrimSuffix(strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/chat/completions"), "/"), ""
	return u.String()
}

// message is one of a question, as OpenAI's chat completions have it.
type message struct {
	Role    string `json:"role"` // system or user
	Content string `json:"content"`
}

// completion is the body of a question to OpenAI's chat completions; what a dialect does not know is left out.
type completion struct {
	Model               string          `json:"model"`
	Messages            []message       `json:"messages"`
	Temperature         *float64        `json:"temperature,omitempty"`
	MaxTokens           int             `json:"max_tokens,omitempty"`
	MaxCompletionTokens int             `json:"max_completion_tokens,omitempty"`
	Format              json.RawMessage `json:"response_format,omitempty"`
}

// body is a question in a dialect.
func (j *judge) body(d *dialect, task, schema string) ([]byte, error) {
	question := completion{Model: j.Model, Messages: []message{{"system", neutral}, {"user", task}}}
	if !d.system {
		question.Messages = []message{{"user", neutral + "\n\n" + task}}
	}
	if d.temperature {
		question.Temperature = new(float64)
	}
	switch d.limit {
	case "max_tokens":
		question.MaxTokens = j.MaxTokens
	case "max_completion_tokens":
		question.MaxCompletionTokens = j.MaxTokens
	}
	switch d.format {
	case "json_schema":
		question.Format = json.RawMessage(`{"type":"json_schema","json_schema":{"name":"verdict","strict":true,"schema":` + schema + `}}`)
	case "json_object":
		question.Format = json.RawMessage(`{"type":"json_object"}`)
	}
	return json.Marshal(question)
}

// change is a step from one dialect to one that asks for less. Its names are what a refusal that is about it mentions.
type change struct {
	names []string
	apply func(d *dialect, auto bool) bool // makes the change; false where there is nothing to change. auto: the name of the limit was not given
}

// changes are tried in this order where an endpoint refuses a question and does not say why.
func changes() []change {
	return []change{
		{[]string{"response_format", "json_schema", "json_object", "structured output", "guided", "grammar"}, func(d *dialect, _ bool) bool {
			next := map[string]string{"json_schema": "json_object", "json_object": "none"}[d.format]
			if next == "" {
				return false
			}
			d.format = next
			return true
		}},
		{[]string{"max_tokens", "max_completion_tokens"}, func(d *dialect, auto bool) bool {
			next := map[string]string{"max_tokens": "max_completion_tokens", "max_completion_tokens": "none"}[d.limit]
			if next == "" || !auto {
				return false
			}
			d.limit = next
			return true
		}},
		{[]string{"temperature"}, func(d *dialect, _ bool) bool {
			changed := d.temperature
			d.temperature = false
			return changed
		}},
		{[]string{"system", "messages[0].role", "developer", "alternate"}, func(d *dialect, _ bool) bool {
			changed := d.system
			d.system = false
			return changed
		}},
	}
}

// adapt changes the dialect after a refusal of a question that was asked in one. It reports whether to ask again. Every change
// asks for less than before, so there is an end.
func (j *judge) adapt(asked *dialect, no refused) bool {
	if now := j.dialect.Load(); now != asked {
		return true // another question has learned meanwhile
	}
	switch no.code {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusNotImplemented:
	default:
		return false
	}
	next := *asked
	if !next.lessen(string(no.answer), j.LimitName == "auto", !j.proven.Load()) {
		return false
	}
	j.dialect.CompareAndSwap(asked, &next)
	return true
}

// lessen makes the change that a refusal is about: that of the parameter it names, or else the first it mentions, or else the
// first there is, where guess allows that: an endpoint that has answered before means the question.
func (d *dialect) lessen(answer string, auto, guess bool) bool {
	if mentionsOther(strings.ToLower(answer)) {
		return false
	}
	var structured struct {
		Error struct {
			Param   string `json:"param"`
			Message string `json:"message"`
		} `json:"error"`
	}
	_ = json.Unmarshal([]byte(answer), &structured) // others say it in words
	all := changes()
	for _, words := range []string{structured.Error.Param, structured.Error.Message, answer} {
		words = strings.ToLower(words)
		first, at := -1, len(words)
		for i, c := range all {
			for _, name := range c.names {
				if k := strings.Index(words, name); k >= 0 && k < at {
					first, at = i, k
				}
			}
		}
		if first >= 0 && all[first].apply(d, auto) {
			return true
		}
	}
	return guess && slices.ContainsFunc(all, func(c change) bool { return c.apply(d, auto) })
}

// mentionsOther reports whether a refusal is about something that no dialect changes.
func mentionsOther(answer string) bool {
	return slices.ContainsFunc([]string{"no such", "not found", "does not exist", "unknown model", "invalid model", "context length", "quota", "billing"}, func(words string) bool {
		return strings.Contains(answer, words)
	})
}

// usage is what an answer cost in tokens.
// In are the tokens that were read, and Out those that were written.
type usage struct {
	Usage struct {
		In  float64 `json:"prompt_tokens"`
		Out float64 `json:"completion_tokens"`
	} `json:"usage"`
}

// verdict asks for a verdict, and what all answers cost, those that were of no use included. Answers are kept by the question in
// the first dialect, so that one that has to be learned anew finds them.
func (j *judge) verdict(ctx context.Context, task, schema string, check func(v *verdict) error) (cost float64, err error) {
	address := j.address("/chat/completions")
	first, err := j.body(firstDialect(&j.judgeParameters), task, schema)
	if err != nil {
		return 0, err
	}
	for {
		d := j.dialect.Load()
		body, err := j.body(d, task, schema)
		if err != nil {
			return cost, err
		}
		fresh, err := j.ask(ctx, j.key(address, first), address, body, func(answer []byte) error { return readVerdict(answer, check) })
		for _, answer := range fresh {
			j.proven.Store(true)
			var u usage
			if json.Unmarshal(answer, &u) == nil {
				cost += (u.Usage.In*j.PriceIn + u.Usage.Out*j.PriceOut) / 1e6
			}
		}
		var no refused
		if errors.As(err, &no) && j.adapt(d, no) {
			continue
		}
		return cost, err
	}
}
