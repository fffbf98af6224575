package template

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

var (
	hello = []decode.Message{{Role: "user", Content: "hi"}}
	noon  = decode.Rendering{Date: time.Date(2024, 7, 6, 15, 4, 5, 0, time.UTC)}
)

// renderer is closed when the test ends.
func renderer(t *testing.T, source string, limit time.Duration) *Renderer {
	r := limited(Template{Source: source, Start: "<s>", End: "</s>"}, limit)
	t.Cleanup(func() { r.Close() })
	return r
}

func TestRender(t *testing.T) {
	for source, want := range map[string]string{
		"{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m['content'] | trim }}{% endfor %}{{ eos_token }}":   "<s>[user]hi</s>",
		"{{ strftime_now('%d %b %Y, %H:%M, 100%%') }}":                                                               "06 Jul 2024, 15:04, 100%",
		"  {% if add_generation_prompt %}\n  yes\n  {% endif %}\n":                                                   "  yes\n",
		"{%- set ns = namespace(n=0) %}{% for m in messages[::-1] %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}": "1",
		"{{ 'a' if tools is defined else 'b' }}{{ messages[-1]['content'].startswith('h') }}":                        "bTrue",
		"{% for i in range(3, 0, -1) %}{{ i }}{% endfor %}":                                                          "321",
		"{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{{ twice('ab') }}":                                          "abab",
		"{% for m in messages %}{% generation %}{{ m.content }}!{% endgeneration %}{% endfor %}":                     "hi!",
	} {
		if got, err := renderer(t, source, maxTime).Render(t.Context(), hello, noon); err != nil || got != want {
			t.Errorf("%q rendered %q, %v", source, got, err)
		}
	}
}

// What a template adds when there is no system turn is there, though parts of it are marked for training.
func TestGenerationKeepsTheSystemTurn(t *testing.T) {
	const source = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}{% for m in messages %}" +
		"<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}" +
		"{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
	const want = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
	if got, err := renderer(t, source, maxTime).Render(t.Context(), hello, noon); err != nil || got != want {
		t.Errorf("rendered %q, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	_, err := renderer(t, "{{ raise_exception('No user may speak') }}", maxTime).Render(t.Context(), hello, noon)
	if f := fault.Of(err); f.Field != "messages" || !strings.Contains(f.Message, "No user may speak") {
		t.Errorf("error is %v", err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{
		"{% if %}", "{{ messages[0]['content'] | no_such_filter }}", "{% generation %}", "{% include '" + secret + "' %}", "{% include '/chat' %}",
		"{% import '" + secret + "' as s %}", "{% from '/chat' import x %}", "{% extends '/chat' %}", "{{ range(10, 20, 0) }}", "{{ range(10**9) }}",
	} {
		text, err := renderer(t, source, maxTime).Render(t.Context(), hello, noon)
		var broken *Broken
		if !errors.As(err, &broken) {
			t.Errorf("%q rendered %q, %v", source, text, err)
		}
	}
}

// Hostile templates are answered with an error soon, and end nothing but the process that ran them.
func TestHostileTemplates(t *testing.T) {
	const limit = 2 * time.Second
	loop := "{% for i in range(60000) %}"
	for name, source := range map[string]string{
		"range":            "{% for i in range(10**9) %}{% endfor %}",
		"nested ranges":    strings.Repeat(loop, 4) + "x" + strings.Repeat("{% endfor %}", 4),
		"silent ranges":    strings.Repeat(loop, 4) + strings.Repeat("{% endfor %}", 4),
		"output":           strings.Repeat(loop, 2) + "{{ 'xxxxxxxxxxxxxxxx' }}" + strings.Repeat("{% endfor %}", 2),
		"repeat":           "{{ 'x' * 1000000000 }}",
		"repeat more":      "{{ ('x' * 1000000000000) | length }}",
		"recursive macro":  "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
		"two macros":       "{% macro f(x) %}{{ g(x) }}{% endmacro %}{% macro g(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ g(1) }}",
		"recursive loop":   "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
		"doubling":         "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s | length }}",
		"doubling ~":       "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
		"doubling lists":   "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s | length }}",
		"doubling nesting": "{% set ns = namespace(s=['x']) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | string | length }}",
		"join":             "{% set ns = namespace(n=0) %}" + strings.Repeat(loop, 2) + "{% set ns.n = (range(60000) | join('xxxxxxxxxxxx')) | length %}" + strings.Repeat("{% endfor %}", 2),
		"replace":          "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s | replace('x', 'xxxx') %}{% endfor %}",
		"deep lists":       "{{ " + strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000) + " }}",
		"deep brackets":    "{{ " + strings.Repeat("(", 200_000) + "1" + strings.Repeat(")", 200_000) + " }}",
		"deep ifs":         strings.Repeat("{% if 1 %}", 50_000),
		"sum of nots":      "{{ " + strings.Repeat("not ", 200_000) + "1 }}",
		"width":            "{{ '%1000000000s' | format('x') }}{{ 'x' | center(1000000000) }}",
		"indent":           "{{ 'x\ny' | indent(1000000000) }}",
		"sort":             "{% set ns = namespace(s=[3,1,2]) %}{% for i in range(40) %}{% set ns.s = (ns.s + ns.s) | sort %}{% endfor %}",
		"lipsum":           "{{ lipsum(n=100000000) | length }}",
		"batch":            "{{ range(60000) | batch(1000000000, 'x') | list | length }}",
		"slice":            "{{ range(10) | slice(1000000000) | list | length }}",
		"self reference":   "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}{{ ns | tojson }}",
		"large":            "{# " + strings.Repeat("x", maxSource) + " #}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			text, err := renderer(t, source, limit).Render(context.Background(), hello, noon)
			var broken *Broken
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %v", took)
			}
			if fault.KindOf(err) != fault.Invalid && !errors.As(err, &broken) {
				t.Errorf("rendered %d bytes, %v", len(text), err)
			}
			t.Logf("%.200s", err)
		})
	}
}

// A template that never ends does so when nobody waits for it, and the next conversation is rendered.
func TestCancel(t *testing.T) {
	r := renderer(t, "{% if messages[0].content == 'hi' %}{% for i in range(60000) %}{% for j in range(60000) %}{% endfor %}{% endfor %}{% endif %}ok", time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := r.Render(ctx, hello, noon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	if text, err := r.Render(t.Context(), []decode.Message{{Role: "user", Content: "there"}}, noon); err != nil || text != "ok" {
		t.Errorf("rendered %q, %v", text, err)
	}
}

// FuzzRender feeds the renderer templates: whatever they are, there is an answer.
func FuzzRender(f *testing.F) {
	for _, source := range []string{
		"{% for m in messages %}{{ m.content }}{% endfor %}", "{{ bos_token * 3 }}", "{% macro f() %}{{ f() }}{% endmacro %}", "{% generation %}{% endgeneration %}",
		"{%- set x = [1,2] | sort -%}{{ x }}", "{% raw %}{{", "{{ messages[0:1] | tojson(indent=2) }}",
	} {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		jinja, err := compile(source)
		if err != nil || strings.ContainsAny(source, "*+~") || strings.Contains(source, "macro") || strings.Contains(source, "loop") {
			return // what may take long is for the sandbox
		}
		_ = render(jinja, question{Template{source, "<s>", "</s>"}, hello, noon.Date, nil})
	})
}
