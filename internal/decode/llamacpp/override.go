package llamacpp

/*
#include "bridge.h"
*/
import "C"

import (
	"strings"
	"unsafe"

	"realign/internal/decode"
	"realign/internal/decode/template"
	"realign/internal/fault"
)

// Template is a chat template by its source, or one of llama.cpp's by its name. The zero value is none.
type Template struct {
	Source string // a Jinja program
	Name   string // as knownTemplates lists them; not used where Source is set
}

// override puts a template in the place of the model's.
func (v *vocabulary) override(t Template) error {
	if t == (Template{}) {
		return nil
	}
	v.chat.Close()
	if t.Source != "" {
		v.chat = newChat(t.Source, v.spell(C.llama_vocab_bos(v.weights.vocabulary())), v.spell(C.llama_vocab_eos(v.weights.vocabulary())))
		return nil
	}
	v.chat = newChat(t.Name, "", "")
	v.chat.known = true
	if _, err := v.chat.render([]decode.Message{{Role: "user", Content: "Hello."}}, decode.Rendering{}); err != nil {
		return fault.Field("template", "%.80q is no file and none of the templates that llama.cpp knows: %s", t.Name, strings.Join(knownTemplates(), ", "))
	}
	return nil
}

// knownTemplates are the names of llama.cpp's templates.
func knownTemplates() []string {
	n := C.llama_chat_builtin_templates(nil, 0)
	list := make([]*C.char, n+1)
	C.llama_chat_builtin_templates((**C.char)(unsafe.Pointer(&list[0])), C.size_t(n))
	names := make([]string, n)
	for i := range names {
		names[i] = C.GoString(list[i])
	}
	return names
}

// Rendered is a conversation as the pair's template writes it, with the opening of an assistant's turn.
func (p *Pair) Rendered(messages []decode.Message, with decode.Rendering) (string, error) {
	if p.vocabulary.chat == nil {
		return "", fault.New(fault.Invalid, "the model has no chat template: use a plain text to complete")
	}
	return p.vocabulary.chat.render(messages, with)
}

var _ decode.Chatting = (*vocabulary)(nil)

// unrunnable is the error of a template that is known by its name only, and not to llama.cpp.
var unrunnable = &template.Broken{Why: "it is no template that llama.cpp knows"}
