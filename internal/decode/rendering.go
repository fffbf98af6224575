package decode

import (
	"maps"
	"math"
	"regexp"
	"slices"
	"time"

	"realign/internal/fault"
)

// Rendering is what a chat template writes beside a conversation. With it a prompt is the same tokens at any time and on any machine.
type Rendering struct {
	// Date is what the template takes for now, in the zone that its clock shows. Zero is the worker's clock.
	Date time.Time `json:"date,omitzero"`

	// Variables are texts, numbers and truth values that the template may ask for, such as enable_thinking. They come before those
	// of the pair.
	Variables map[string]any `json:"variables,omitempty"`
}

// Limits on Rendering.Variables.
const (
	maxVariables = 32
	maxVariable  = 4096 // bytes of a text
)

// variableName is what a template can name.
var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

	// reserved are the names that mean something to every template.
	reserved = []string{"messages", "add_generation_prompt", "bos_token", "eos_token", "raise_exception", "strftime_now", "tools", "documents"}
)

// Validate returns an Invalid error unless a template can be given all of it.
func (r *Rendering) Validate() error { return CheckVariables("variables", r.Variables) }

// CheckVariables returns an Invalid error for the field unless a template can be given the variables.
func CheckVariables(field string, variables map[string]any) error {
	if n := len(variables); n > maxVariables {
		return fault.Field(field, "%d variables of the chat template, at most %d", n, maxVariables)
	}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if !variableName.MatchString(name) || slices.Contains(reserved, name) {
			return fault.Field(field, "%.80q is no name for a variable of a chat template: up to 64 letters, digits and underscores, and none of its own words", name)
		}
		switch value := variables[name].(type) {
		case bool:
		case float64:
			if math.IsNaN(value) || math.IsInf(value, 0) {
				return fault.Field(field, "%s is no number", name)
			}
		case string:
			if len(value) > maxVariable {
				return fault.Field(field, "%s has %d bytes, at most %d", name, len(value), maxVariable)
			}
		default:
			return fault.Field(field, "%s is neither a text, nor a number, nor true or false", name)
		}
	}
	return nil
}

// At is a rendering with a date, to the second: its own, or else the given one.
func (r Rendering) At(now time.Time) Rendering {
	if r.Date.IsZero() {
		r.Date = now.Truncate(time.Second)
		if _, offset := r.Date.Zone(); offset == 0 {
			r.Date = r.Date.UTC()
		}
	}
	return r
}

// Chatting is a Vocabulary whose template writes more than the conversation.
type Chatting interface {
	// EncodeRendered is EncodeChat with what the template is to be told.
	EncodeRendered(messages []Message, r Rendering) ([]Token, error)
}

// encodeChat turns a conversation into tokens.
func (e *Engine) encodeChat(messages []Message, r Rendering) ([]Token, error) {
	if v, ok := e.vocab.(Chatting); ok {
		return v.EncodeRendered(messages, r)
	}
	return e.vocab.EncodeChat(messages)
}
