package llamacpp

/*
#include <stdlib.h>
#include "bridge.h"
*/
import "C"

import (
	"context"
	"errors"
	"maps"
	"time"
	"unsafe"

	"realign/internal/decode"
	"realign/internal/decode/template"
	"realign/internal/fault"
)

// chat renders conversations. A template is a Jinja program; where the interpreter used here cannot run
// it, llama.cpp's list of well-known templates is asked, which knows their layout but not what they add
// (such as a default system message).
type chat struct {
	source   string             // a Jinja program, or a name where known is set
	renderer *template.Renderer // runs it in a process of its own
	now      func() time.Time   // the clock of requests that give no date

	known     bool           // source is the name of one of llama.cpp's templates
	variables map[string]any // of the pair
}

// newChat is nil when there is no template. start and end are the spellings of the tokens that begin and end a
// text.
func newChat(source, start, end string) *chat {
	if source == "" {
		return nil
	}
	return &chat{source: source, now: time.Now, renderer: template.New(template.Template{Source: source, Start: start, End: end})}
}

// Close ends the process that renders.
func (c *chat) Close() {
	if c != nil {
		c.renderer.Close()
	}
}

// render writes the conversation and the opening of an assistant's turn.
func (c *chat) render(messages []decode.Message, with decode.Rendering) (string, error) {
	if c.known {
		return c.wellKnown(messages, unrunnable)
	}
	text, err := c.run(messages, with)
	var broken *template.Broken
	if errors.As(err, &broken) {
		return c.wellKnown(messages, broken)
	}
	return text, err
}

// run renders with the template itself.
func (c *chat) run(messages []decode.Message, with decode.Rendering) (string, error) {
	with = with.At(c.now())
	if len(c.variables) > 0 {
		all := maps.Clone(c.variables)
		maps.Copy(all, with.Variables)
		with.Variables = all
	}
	return c.renderer.Render(context.Background(), messages, with)
}

// wellKnown renders with llama.cpp's own idea of the template, after problem kept it from being run.
func (c *chat) wellKnown(messages []decode.Message, problem error) (string, error) {
	source := C.CString(c.source)
	defer C.free(unsafe.Pointer(source))
	turns := make([]C.struct_llama_chat_message, len(messages)+1) // never empty
	size := 256
	for i, m := range messages {
		turns[i].role, turns[i].content = C.CString(m.Role), C.CString(m.Content)
		defer C.free(unsafe.Pointer(turns[i].role))
		defer C.free(unsafe.Pointer(turns[i].content))
		size += 2*len(m.Content) + 64
	}
	// The list holds pointers, so it must lie in C's memory.
	bytes := C.size_t(len(turns)) * C.size_t(unsafe.Sizeof(turns[0]))
	list := (*C.struct_llama_chat_message)(C.malloc(bytes))
	defer C.free(unsafe.Pointer(list))
	copy(unsafe.Slice(list, len(turns)), turns)

	for {
		buffer := make([]byte, size)
		n := int(C.realign_known_chat(source, list, C.size_t(len(messages)), (*C.char)(unsafe.Pointer(&buffer[0])), C.int32_t(size)))
		if n < 0 {
			return "", fault.Wrap(problem, fault.Invalid, "the model's chat template can neither be run nor recognised: use a plain text to complete")
		}
		if n <= size {
			return string(buffer[:n]), nil
		}
		size = n
	}
}
