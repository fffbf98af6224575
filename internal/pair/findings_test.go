package pair

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/filecache"
	"realign/internal/gguf"
	"realign/internal/gguf/gguftest"
)

// Vocabularies are loaded once for files that stay as they are, and not at all for models whose heads do not fit.
func TestFinder(t *testing.T) {
	dir, folder := t.TempDir(), t.TempDir()
	reference, aligned := gguftest.Model(1).Write(t, "r.gguf"), gguftest.Model(2).Write(t, "a.gguf")
	l := NewLibrary(folder)
	if err := l.Register(folder, &Pair{Name: "mine", Reference: Reference{File: reference}, Aligned: []Aligned{{Name: "a", File: aligned}}, Sampling: decode.DefaultSampling()}, false); err != nil {
		t.Fatal(err)
	}
	checks := 0
	var failure error
	finder := func() *Finder {
		return &Finder{Known: filecache.Open[VocabularyFindings](filepath.Join(dir, "vocabularies.json")), CheckVocabularies: func(context.Context, *Pair) (map[string][]gguf.Finding, error) {
			checks++
			return map[string][]gguf.Finding{"a": {{Level: gguf.Note, Text: "other tokens"}}, RoleTemplate: {{Level: gguf.Fault, Text: "never ends"}}}, failure
		}}
	}
	find := func() []Found {
		t.Helper()
		p, err := l.Find("mine")
		if err != nil {
			t.Fatal(err)
		}
		found, err := finder().Find(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for range 2 {
		if found := find(); len(found) != 2 || found[0].Role != "a" || found[0].Faulty() || found[1].Role != RoleTemplate || !found[1].Faulty() {
			t.Errorf("%+v", found)
		}
	}
	if checks != 1 {
		t.Errorf("%d checks of the same files", checks)
	}
	if err := os.WriteFile(aligned, gguftest.Model(3).Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if find(); checks != 2 {
		t.Errorf("%d checks after a file was changed", checks)
	}
	p := &Pair{Name: "draft", Reference: Reference{File: reference}, Aligned: []Aligned{{Name: "a", File: aligned}}}
	failure = fault.New(fault.Invalid, "%s: llama.cpp cannot load its vocabulary", reference)
	if found, err := finder().Find(t.Context(), p); err != nil || len(found) != 1 || !found[0].Faulty() || strings.Contains(found[0].Text, filepath.Dir(reference)) {
		t.Errorf("%+v, %v", found, err)
	}
	failure = fault.New(fault.Busy, "later")
	if _, err := finder().Find(t.Context(), p); fault.KindOf(err) != fault.Busy {
		t.Error(err)
	}
	wrong := gguftest.Model(4)
	wrong.Set("tokenizer.ggml.pre", "qwen2")
	p.Aligned[0].File, checks = wrong.Write(t, "w.gguf"), 0
	if found, err := finder().Find(t.Context(), p); err != nil || checks != 0 || len(found) != 1 || !found[0].Faulty() {
		t.Errorf("%d checks, %+v, %v", checks, found, err)
	}
	if found, err := (*Finder)(nil).Find(t.Context(), p); err != nil || len(found) != 1 {
		t.Errorf("heads alone: %+v, %v", found, err)
	}
}
