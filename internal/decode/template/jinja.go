package template

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"

	"realign/internal/sandbox"
)

// program is the name of this computation among those of the sandbox.
const program = "template"

// The child process compiles a template when it is first asked for, and again when its source is another.
func init() {
	var last compiled // the process serves one model
	sandbox.Serve(program, func(q question) (answer, error) {
		if last.source != q.Template.Source || last.jinja == nil {
			jinja, err := compile(q.Template.Source)
			if err != nil {
				return answer{Broken: err.Error()}, nil
			}
			last = compiled{q.Template.Source, jinja}
		}
		return render(last.jinja, q), nil
	})
}

// compiled is a template that was read.
type compiled struct {
	source string // what it was made of
	jinja  *exec.Template
}

// statements are those that a template may use. Those that would read another template are not among them.
var statements = []string{
	"autoescape", "block", "break", "call", "continue", "do", "filter", "for", "if", "macro", "raw", "set", "with",
}

// compile reads a template as transformers does: blocks leave no white space, statements are only those above. The error
// does not repeat the template.
func compile(source string) (jinja *exec.Template, err error) {
	err = guard(func() error {
		allowed := map[string]parser.ControlStructureParser{"generation": parseGeneration}
		for _, name := range statements {
			if parse, ok := builtins.ControlStructures.Get(name); ok {
				allowed[name] = parse
			}
		}
		environment := &exec.Environment{
			Context:           exec.EmptyContext().Update(builtins.GlobalFunctions).Update(builtins.GlobalVariables),
			Filters:           builtins.Filters,
			Tests:             builtins.Tests,
			ControlStructures: exec.NewControlStructureSet(allowed),
			Methods:           builtins.Methods,
		}
		environment.Context.Set("range", numbers)
		settings := config.New()
		settings.TrimBlocks, settings.LeftStripBlocks = true, true
		loader, err := loaders.NewMemoryLoader(map[string]string{"/chat": source})
		if err != nil {
			return err
		}
		jinja, err = exec.NewTemplate("/chat", settings, loader, environment)
		return err
	})
	if err != nil { // which begins with the whole template
		text := err.Error()
		if _, why, ok := strings.Cut(text, source+"': "); ok {
			text = why
		}
		err = errors.New(text)
	}
	return jinja, err
}

// render runs a template.
func render(jinja *exec.Template, q question) (a answer) {
	var list turns
	for _, m := range q.Messages {
		list = append(list, map[string]any{"role": m.Role, "content": m.Content})
	}
	var text output
	err := guard(func() error {
		all := variables(q.Variables)
		maps.Copy(all, map[string]any{
			"messages":              list,
			"add_generation_prompt": true,
			"bos_token":             q.Template.Start,
			"eos_token":             q.Template.End,
			"raise_exception": func(reason string) (string, error) {
				a.Refusal = reason
				if a.Refusal == "" {
					a.Refusal = "it does not say why"
				}
				return "", errors.New(reason)
			},
			"strftime_now": func(layout string) string { return strftime(fixed(q.Now), layout) },
		})
		return jinja.Execute(&text, exec.NewContext(all))
	})
	if err != nil {
		if a.Refusal == "" {
			a.Broken = err.Error()
		}
		return a
	}
	return answer{Text: text.b.String()}
}

// variables are those of a question, as templates know them: JSON has one kind of number, and templates tell whole ones apart.
func variables(given map[string]any) map[string]any {
	all := make(map[string]any, len(given)+8)
	for name, value := range given {
		if x, ok := value.(float64); ok && x == math.Trunc(x) && math.Abs(x) < 1<<53 {
			value = int(x)
		}
		all[name] = value
	}
	return all
}

// output is what a template writes, up to maxOutput.
type output struct{ b strings.Builder }

// Write fails where more than maxOutput would be written.
func (o *output) Write(p []byte) (int, error) {
	if o.b.Len()+len(p) > maxOutput {
		return 0, fmt.Errorf("it writes more than %d bytes", maxOutput)
	}
	return o.b.Write(p)
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

// numbers is range(). The interpreter's own leaves a goroutine behind when a loop over it is left.
func numbers(_ *exec.Evaluator, arguments *exec.VarArgs) ([]int, error) {
	start, stop, step := 0, 0, 1
	for _, a := range arguments.Args {
		if !a.IsInteger() {
			return nil, errors.New("range() takes whole numbers")
		}
	}
	switch a := arguments.Args; len(a) {
	case 1:
		stop = a[0].Integer()
	case 2:
		start, stop = a[0].Integer(), a[1].Integer()
	case 3:
		start, stop, step = a[0].Integer(), a[1].Integer(), a[2].Integer()
	default:
		return nil, errors.New("range() takes one to three whole numbers")
	}
	if step == 0 {
		return nil, errors.New("the step of a range() is 0")
	}
	list := []int{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(list) == maxRange {
			return nil, fmt.Errorf("a range() of more than %d numbers", maxRange)
		}
		list = append(list, i)
	}
	return list, nil
}

// generation is the statement that marks what an assistant says, for training. It means nothing when a conversation is
// rendered.
type generation struct {
	at   *tokens.Token
	body *nodes.Wrapper // up to endgeneration
}

// Position and String implement nodes.ControlStructure.
func (g *generation) Position() *tokens.Token { return g.at }
func (g *generation) String() string {
	return fmt.Sprintf("generation(Line=%d Col=%d)", g.at.Line, g.at.Col)
}

// Execute implements exec.ControlStructure.
func (g *generation) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	return r.Inherit().ExecuteWrapper(g.body)
}

// parseGeneration reads {% generation %} up to {% endgeneration %}.
func parseGeneration(p, arguments *parser.Parser) (nodes.ControlStructure, error) {
	g := &generation{at: p.Current()}
	body, end, err := p.WrapUntil("endgeneration")
	if err != nil {
		return nil, err
	}
	if !arguments.End() || !end.End() {
		return nil, arguments.Error("generation takes no arguments", arguments.Current())
	}
	g.body = body
	return g, nil
}

// guard turns a panic of the interpreter into an error.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New(fmt.Sprint(r))
		}
	}()
	return f()
}
