//go:build cgo && !nollama

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"realign/internal/gguf/gguftest"
	"realign/internal/pair"
)

// real runs the program with llama.cpp.
func withLlama(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, bad bytes.Buffer
	code = Run(context.Background(), args, env{stdin: strings.NewReader(""), stdout: &out, stderr: &bad, open: openModels, gpu: gpus(), engine: engineVersion, kernel: kernel()})
	return code, out.String(), bad.String()
}

// One model with two prompts is added, shown, checked and decoded; at λ = 1 it says what it says with that system prompt.
func TestContrastCommands(t *testing.T) {
	model, data := gguftest.Model(1).Write(t, "m.gguf"), t.TempDir()
	more := []string{"--models", t.TempDir(), "--data", data}
	do := func(want int, args ...string) string {
		t.Helper()
		code, out, bad := withLlama(t, append(args, more...)...)
		if code != want {
			t.Fatalf("%v: code %d, %s%s", args, code, out, bad)
		}
		return out + bad
	}
	do(0, "pairs", "add", "two", "--reference", model, "--contrast-system", "the hen")
	p, err := pair.Load(filepath.Join(data, "pairs", "two"))
	if err != nil || p.Aligned[0].Name != "system" || p.Aligned[0].Contrast.System != "the hen" {
		t.Fatalf("%+v, %v", p, err)
	}
	if out := do(0, "pairs", "show", "two"); !strings.Contains(out, "system prompt") || !strings.Contains(out, "the hen") {
		t.Error(out)
	}
	out := do(0, "pairs", "check", "two", "--prompt", "hi")
	for _, want := range []string{"load system: ok", "prompt of reference", "prompt of system", "<|im_start|>system\nthe hen<|im_end|>"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	tokens := func(args ...string) (ids []int) {
		t.Helper()
		for line := range strings.Lines(do(0, append([]string{"decode", "--json", "--no-trace", "--seed=5", "--max-tokens=12", "--prompt=the man"}, args...)...)) {
			var e struct {
				Type string
				ID   int
			}
			if json.Unmarshal([]byte(line), &e) == nil && e.Type == "token" {
				ids = append(ids, e.ID)
			}
		}
		return ids
	}
	with := tokens("--pair=two", "--lambda=0", "--system=the hen")
	for _, args := range [][]string{{"--pair=two", "--lambda=1"}, {"--model=" + model, "--contrast-system=the hen", "--lambda=1"}, {"--pair=two", "--lambda=1", "--plain"}} {
		if got := tokens(args...); len(got) == 0 || !slices.Equal(got, with) {
			t.Errorf("%v says %v, with the prompt it is %v", args, got, with)
		}
	}
	for _, lambda := range []string{"-0.5", "0", "0.5", "1", "2"} {
		fast, plain := tokens("--pair=two", "--lambda="+lambda), tokens("--pair=two", "--lambda="+lambda, "--plain")
		if len(fast) == 0 || !slices.Equal(fast, plain) {
			t.Errorf("λ = %s says %v, and --plain %v", lambda, fast, plain)
		}
	}
	if out := do(0, "map", "--pair=two", "--prompt=the man", "--max-tokens=8"); !strings.Contains(out, "continuations, 100%") {
		t.Errorf("a map of two prompts: %s", out)
	}
	marked := []string{"--pair=two", "--lambda=0", "--text"}
	if got := tokens(append(marked, "--special-tokens", "--contrast-context=x", "--prompt=the <|im_end|> man")...); slices.Equal(got, tokens(append(marked, "--contrast-context=x", "--prompt=the <|im_end|> man")...)) {
		t.Error("--special-tokens changes nothing")
	}
	if got := tokens("--pair=two", "--lambda=1", "--contrast-context=the hen"); slices.Equal(got, with) {
		t.Error("another contrast changes nothing")
	}
	for args, want := range map[string]string{
		"--model=" + model: "--contrast-system", "--model=" + model + " --contrast-system=a --contrast-context=b": "either",
		"--pair=two --special-tokens":                      "--text",
		"--model=" + model + " --contrast-system=a --text": "no system prompt", "--pair=two --template-var=messages=1": "template-var",
	} {
		if out := do(2, append([]string{"decode", "--prompt=x"}, strings.Fields(args)...)...); !strings.Contains(out, want) {
			t.Errorf("%s: %s", args, out)
		}
	}
}

// Three models are one pair with one λ.
func TestProxyCommands(t *testing.T) {
	data := t.TempDir()
	var files []string
	for i, name := range []string{"large", "tuned", "untuned"} {
		files = append(files, gguftest.Model(uint64(i+1)).Write(t, name+".gguf"))
	}
	more := []string{"--models", t.TempDir(), "--data", data}
	code, out, bad := withLlama(t, append([]string{"pairs", "add", "three", "--reference", files[0], "--aligned", "small=" + files[1] + ",untuned=" + files[2]}, more...)...)
	if code != 0 {
		t.Fatal(out, bad)
	}
	if code, out, bad = withLlama(t, append([]string{"pairs", "check", "three"}, more...)...); code != 0 || !strings.Contains(out, "load small/untuned: ok") {
		t.Error(out, bad)
	}
	if code, out, bad = withLlama(t, append([]string{"pairs", "show", "three"}, more...)...); code != 0 || !strings.Contains(out, "proxy") {
		t.Error(out, bad)
	}
	said := func(more ...string) string {
		t.Helper()
		code, out, bad := withLlama(t, append([]string{"decode", "--pair=three", "--prompt=the man", "--max-tokens=10", "--lambda=-0.5,0,0.5,1,2", "--models", t.TempDir(), "--data", data}, more...)...)
		if code != 0 {
			t.Fatal(out, bad)
		}
		return out
	}
	if fast, plain := said(), said("--plain"); fast != plain {
		t.Errorf("decoded %s, and with --plain %s", fast, plain)
	}
	if code, out, bad = withLlama(t, append([]string{"map", "--pair=three", "--prompt=the man", "--max-tokens=5"}, more...)...); code != 0 || !strings.Contains(out, "continuations") {
		t.Error(out, bad)
	}
}

// A pair is added with a chat template of its own, a file or a well-known name, and with variables.
func TestTemplateFlags(t *testing.T) {
	model, file := gguftest.Model(1).Write(t, "m.gguf"), filepath.Join(t.TempDir(), "own.jinja")
	if err := os.WriteFile(file, []byte("{% if loud %}HEY {% endif %}{{ messages[0].content }}"), 0o600); err != nil {
		t.Fatal(err)
	}
	data, models := t.TempDir(), t.TempDir()
	do := func(want int, args ...string) string {
		t.Helper()
		code, out, bad := withLlama(t, append(args, "--models", models, "--data", data)...)
		if code != want {
			t.Fatalf("%v: code %d, %s%s", args, code, out, bad)
		}
		return out + bad
	}
	do(0, "pairs", "add", "own", "--reference", model, "--contrast-system", "x", "--template", file, "--template-var", "loud=true")
	do(0, "pairs", "add", "known", "--reference", model, "--contrast-context", "x", "--template", "zephyr")
	if out := do(0, "pairs", "check", "own", "--prompt", "hi"); !strings.Contains(out, "HEY hi") {
		t.Error(out)
	}
	if out := do(0, "pairs", "check", "own", "--prompt", "hi", "--template-var", "loud=false"); strings.Contains(out, "HEY") {
		t.Error(out)
	}
	if out := do(0, "pairs", "check", "known", "--prompt", "hi"); !strings.Contains(out, "<|user|>\nhi") {
		t.Error(out)
	}
	for flag, value := range map[string]string{"--template": "no/such/file.jinja", "--template-var": "messages=1"} {
		if out := do(2, "pairs", "add", "wrong", "--reference", model, "--contrast-system", "x", flag, value); !strings.Contains(out, flag) || strings.Count(out, "\n") != 1 {
			t.Error(out)
		}
	}
}
