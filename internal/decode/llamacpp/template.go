package llamacpp

/*
#include <stdlib.h>
#include "bridge.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unsafe"

	"github.com/nikolalohinski/gonja/v2"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"

	"realign/internal/decode"
	"realign/internal/fault"
)

// chat renders conversations. A template is a Jinja program; where the interpreter used here cannot run
// it, llama.cpp's list of well-known templates is asked, which knows their layout but not what they add
// (such as a default system message).
type chat struct {
	source     string
	start, end string         // spellings of the start and end tokens
	jinja      *exec.Template // nil when the source could not be read
	problem    error          // why not
	now        func() time.Time
}

// newChat is nil when there is no template.
func newChat(source, start, end string) *chat {
	if source == "" {
		return nil
	}
	c := &chat{source: source, start: start, end: end, now: time.Now}
	// As transformers reads templates. The loader holds nothing else: a template cannot read files.
	settings := config.New()
	settings.TrimBlocks, settings.LeftStripBlocks = true, true
	c.problem = guard(func() (err error) {
		loader, err := loaders.NewMemoryLoader(map[string]string{"/chat": source})
		if err != nil {
			return err
		}
		c.jinja, err = exec.NewTemplate("/chat", settings, loader, gonja.DefaultEnvironment)
		return err
	})
	return c
}

// render writes the conversation and the opening of an assistant's turn.
func (c *chat) render(messages []decode.Message) (string, error) {
	if c.problem != nil {
		return c.wellKnown(messages, c.problem)
	}
	var list turns
	for _, m := range messages {
		list = append(list, map[string]any{"role": m.Role, "content": m.Content})
	}
	var refusal error // what the template itself objects to
	var text string
	err := guard(func() (err error) {
		text, err = c.jinja.ExecuteToString(exec.NewContext(map[string]any{
			"messages":              list,
			"add_generation_prompt": true,
			"bos_token":             c.start,
			"eos_token":             c.end,
			"raise_exception": func(reason string) (string, error) {
				refusal = fault.Field("messages", "the model's chat template refuses them: %s", reason)
				return "", refusal
			},
			"strftime_now": func(layout string) string { return strftime(c.now(), layout) },
		}))
		return err
	})
	switch {
	case refusal != nil:
		return "", refusal
	case err != nil:
		return c.wellKnown(messages, err)
	}
	return text, nil
}

// turns are messages as a template sees them.
type turns []map[string]any

// GetItem finds a turn by its number, or from the end by a negative one: the interpreter's own way misses
// the first of a list when it is counted from the end.
func (t turns) GetItem(key any) (*exec.Value, bool) {
	i, ok := key.(int)
	if i < 0 {
		i += len(t)
	}
	if !ok || i < 0 || i >= len(t) {
		return exec.AsValue(nil), false
	}
	return exec.AsValue(t[i]), true
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
		n := int(C.llama_chat_apply_template(source, list, C.size_t(len(messages)), true, (*C.char)(unsafe.Pointer(&buffer[0])), C.int32_t(size)))
		if n < 0 {
			return "", fault.Wrap(problem, fault.Invalid, "the model's chat template can neither be run nor recognised: use a plain text to complete")
		}
		if n <= size {
			return string(buffer[:n]), nil
		}
		size = n
	}
}

// guard turns a panic of the template interpreter into an error: templates come from files.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New(fmt.Sprint(r))
		}
	}()
	return f()
}

// strftime formats a time as C's function of that name does, for the directives that templates use.
func strftime(t time.Time, layout string) string {
	var b strings.Builder
	for i := 0; i < len(layout); i++ {
		if layout[i] != '%' || i+1 == len(layout) {
			b.WriteByte(layout[i])
			continue
		}
		i++
		form, ok := map[byte]string{
			'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'e': "_2", 'B': "January", 'b': "Jan", 'A': "Monday", 'a': "Mon",
			'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'j': "002", 'F': "2006-01-02", 'T': "15:04:05", 'Z': "MST",
		}[layout[i]]
		switch {
		case ok:
			b.WriteString(t.Format(form))
		case layout[i] == '%':
			b.WriteByte('%')
		default:
			b.WriteString(layout[i-1 : i+1])
		}
	}
	return b.String()
}
