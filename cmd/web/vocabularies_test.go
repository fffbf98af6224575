//go:build cgo && !nollama

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"realign/internal/gguf"
	"realign/internal/gguf/gguftest"
	"realign/internal/pair"
)

// What check finds by loading the models' vocabularies, show tells as well, as values: a level and words by role. It loads them once.
func TestVocabularies(t *testing.T) {
	models, data := t.TempDir(), t.TempDir()
	other := gguftest.Model(2)
	types := slices.Clone(other.Get("tokenizer.ggml.token_type").([]int32))
	types[gguftest.MessageStart] = gguf.Normal
	other.Set("tokenizer.ggml.token_type", types)
	marked := gguftest.Model(3)
	marked.Set("tokenizer.chat_template", "{% for m in messages %}<|turn|>{{ m.content }}{% endfor %}")
	checks := 0
	run := func(want int, args ...string) string {
		t.Helper()
		var out, bad bytes.Buffer
		h := env{stdin: strings.NewReader(""), stdout: &out, stderr: &bad, open: openModels, gpu: gpus(), engine: engineVersion, kernel: kernel()}
		h.checkVocabularies = func(ctx context.Context, p *pair.Pair) (map[string][]gguf.Finding, error) {
			checks++
			return checkVocabularies(ctx, p)
		}
		if code := Run(t.Context(), append(args, "--models", models, "--data", data), h); code != want {
			t.Fatalf("%v: code %d, %s%s", args, code, out.String(), bad.String())
		}
		return out.String()
	}
	run(0, "pairs", "add", "mine", "--reference", marked.Write(t, "r.gguf"), "--aligned", "same="+gguftest.Model(2).Write(t, "a.gguf"))
	var shown struct{ Findings map[string][]gguf.Finding }
	for range 2 {
		if err := json.Unmarshal([]byte(run(0, "pairs", "show", "mine", "--json")), &shown); err != nil {
			t.Fatal(err)
		}
	}
	if checks != 2 { // when the pair was added, and when it was shown for the first time
		t.Errorf("%d checks of the vocabularies", checks)
	}
	if list := shown.Findings[pair.RoleTemplate]; len(list) == 0 || list[0].Level != gguf.Note || !strings.Contains(list[0].Text, "<|turn|>") {
		t.Errorf("%+v", shown.Findings)
	}
	check := run(0, "pairs", "check", "mine")
	for role, list := range shown.Findings {
		for _, f := range list {
			if !strings.Contains(check, f.Text) {
				t.Errorf("check does not tell %s: %q\n%s", role, f.Text, check)
			}
		}
	}
	if text := run(0, "pairs", "show", "mine"); !strings.Contains(text, "chat template: note: the template writes <|turn|>") {
		t.Error(text)
	}
	p := &pair.Pair{Name: "x", Reference: pair.Reference{File: gguftest.Model(1).Write(t, "x.gguf")}, Aligned: []pair.Aligned{{Name: "other", File: other.Write(t, "o.gguf")}}}
	found, err := checkVocabularies(t.Context(), p)
	if err != nil || len(found["other"]) != 1 || found["other"][0].Level != gguf.Note || !strings.Contains(found["other"][0].Text, "texts with special tokens become other tokens") {
		t.Errorf("%+v, %v", found, err)
	}
}
