// Package template renders conversations with models' chat templates. A template is a program in the language Jinja that
// comes with a model, so it is run in a process of its own (package sandbox) with limits of time, memory and depth.
package template

import (
	"context"
	"strings"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/sandbox"
)

// Limits of a template and of what it writes.
const (
	maxSource = 1 << 20         // bytes of a template
	maxOutput = 16 << 20        // bytes of a rendered conversation
	maxRange  = 1 << 16         // numbers in one range()
	maxTime   = 5 * time.Second // of one rendering: thousands of messages take a tenth of one
	maxMemory = 768 << 20       // bytes of the process
)

// Template is a chat template with the spellings of the model's special tokens that it may write.
type Template struct {
	Source     string // in Jinja
	Start, End string // of the start token and the end token; "" for none
}

// Renderer runs one template. Its methods may be called from any goroutine.
type Renderer struct {
	template Template
	process  *sandbox.Process
}

// New prepares a template. What is wrong with it is told when it is rendered.
func New(t Template) *Renderer { return limited(t, maxTime) }

// limited is New with another limit of time, for tests.
func limited(t Template, time time.Duration) *Renderer {
	return &Renderer{t, sandbox.New(program, "the model's chat template", sandbox.Limits{Time: time, Memory: maxMemory})}
}

// question is what a rendering depends on. It goes to the process as JSON.
type question struct {
	Template  Template
	Messages  []decode.Message
	Now       time.Time      // with the zone that the template's clock is in
	Variables map[string]any // beside the conversation
}

// answer is a rendering, or why there is none: one of the three is not "".
type answer struct {
	Text    string
	Refusal string // what the template itself objects to in the messages
	Broken  string // why the template cannot be run
}

// Broken is the error for a template that cannot be run, whatever the messages are: what it says is not understood by the
// interpreter, or a limit was broken.
type Broken struct{ Why string }

// Error is why.
func (b *Broken) Error() string { return b.Why }

// Render writes the messages and the opening of an assistant's turn, as it is at the rendering's date. The error is a *Broken for a template
// that cannot be run, Invalid with the field messages for messages that the template refuses, and Invalid for one that
// breaks a limit.
func (r *Renderer) Render(ctx context.Context, messages []decode.Message, with decode.Rendering) (string, error) {
	if len(r.template.Source) > maxSource {
		return "", fault.New(fault.Invalid, "the model's chat template is %d bytes long, the limit is %d", len(r.template.Source), maxSource)
	}
	var a answer
	if err := r.process.Call(ctx, question{r.template, messages, fixed(with.Date), with.Variables}, &a); err != nil {
		return "", err
	}
	switch {
	case a.Refusal != "":
		return "", fault.Field("messages", "the model's chat template refuses them: %s", a.Refusal)
	case a.Broken != "":
		return "", &Broken{a.Broken}
	}
	return a.Text, nil
}

// Close ends the process that renders, if there is one.
func (r *Renderer) Close() error { return r.process.Close() }

// fixed is a time in a zone that is nothing but its offset, so that a template writes the same wherever it is run.
func fixed(t time.Time) time.Time {
	if _, offset := t.Zone(); offset != 0 {
		return t.In(time.FixedZone("", offset))
	}
	return t.UTC()
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
