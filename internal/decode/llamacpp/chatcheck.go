package llamacpp

import (
	"errors"
	"fmt"
	"regexp"

	"realign/internal/decode"
	"realign/internal/decode/template"
)

// probes are conversations that every chat template should render.
var probes = [][]decode.Message{
	{{Role: "user", Content: "Hello."}},
	{{Role: "user", Content: "Hello."}, {Role: "assistant", Content: "Good day."}, {Role: "user", Content: "Why?"}},
}

// withSystem is a conversation that some templates refuse.
var withSystem = []decode.Message{{Role: "system", Content: "Be brief."}, {Role: "user", Content: "Hello."}}

// marker is what templates write around turns.
var marker = regexp.MustCompile(`<\|[A-Za-z0-9_]+\|>|</?[a-z][a-z_]*>|\[/?[A-Z_]+\]|<｜[^<>]{1,40}｜>`)

// CheckChat renders conversations with the model's chat template. The error says why it cannot be used; notes are what
// people should know of it. There are none for a model without a template.
func (v *vocabulary) CheckChat() (notes []string, err error) {
	if v.chat == nil && v.closing >= 0 {
		return []string{"there is no chat template: a prompt is one text, which the encoder reads"}, nil
	}
	if v.chat == nil {
		return []string{"there is no chat template: prompts are texts to be completed"}, nil
	}
	var broken *template.Broken
	if v.chat.known {
		notes = append(notes, fmt.Sprintf("the template is llama.cpp's %q, in place of the model's", v.chat.source))
	} else if _, err := v.chat.run(probes[0], decode.Rendering{}); errors.As(err, &broken) {
		notes = append(notes, fmt.Sprintf("the template cannot be run (%v): the well-known layout that it looks like is used, without what else the template adds", broken))
	} else if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, messages := range probes {
		text, err := v.chat.render(messages, decode.Rendering{})
		if err != nil {
			return nil, err
		}
		if _, err := v.EncodeChat(messages); err != nil {
			return nil, err
		}
		for _, m := range marker.FindAllString(text, -1) {
			if seen[m] {
				continue
			}
			seen[m] = true
			if tokens, err := v.Encode(m, true); err == nil && len(tokens) > 1 {
				notes = append(notes, fmt.Sprintf("the template writes %s, which is no token of the model: it becomes %d tokens", m, len(tokens)))
			}
		}
	}
	if _, err := v.chat.render(withSystem, decode.Rendering{}); err != nil {
		notes = append(notes, fmt.Sprintf("a system message is refused: %v", err))
	}
	return notes, nil
}
