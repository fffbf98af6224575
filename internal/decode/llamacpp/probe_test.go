package llamacpp

import (
	"slices"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/gguf"
	"realign/internal/gguf/gguftest"
)

// The tokenizers of two models are compared by what they make of texts, whatever their heads say.
func TestProbes(t *testing.T) {
	if n := len(Probes()); n < 300 {
		t.Errorf("%d probing texts", n)
	}
	for name, c := range map[string]struct {
		change func(*gguftest.File)
		want   []string // level and part of the words, for each finding
	}{
		"the same":       {func(*gguftest.File) {}, nil},
		"another merge":  {func(f *gguftest.File) { merges(f)[0] = "x y" }, []string{"fault: probing texts"}},
		"order of merge": {func(f *gguftest.File) { m := merges(f); m[0], m[13] = m[13], m[0] }, []string{"fault: probing texts"}},
		"ordinary marker": {func(f *gguftest.File) {
			types := slices.Clone(f.Get("tokenizer.ggml.token_type").([]int32))
			types[gguftest.MessageStart] = gguf.Normal
			f.Set("tokenizer.ggml.token_type", types)
		}, []string{"note: special tokens"}},
		"padding": {func(f *gguftest.File) { f.AddToken("[PAD275]", gguf.Unused) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := gguftest.Model(1)
			c.change(f)
			var vocabularies []*vocabulary
			for _, path := range []string{gguftest.Model(1).Write(t, "r.gguf"), f.Write(t, "a.gguf")} {
				w, err := loadVocabulary(path)
				if err != nil {
					t.Fatal(err)
				}
				defer w.Close()
				vocabularies = append(vocabularies, newVocabulary(w, ""))
			}
			found := compareTokenizers(vocabularies[0], vocabularies[1])
			if len(found) != len(c.want) {
				t.Fatalf("%v, want %v", found, c.want)
			}
			for i, f := range found {
				level, words, _ := strings.Cut(c.want[i], ": ")
				if string(f.Level) != level || !strings.Contains(f.Text, words) {
					t.Errorf("%v, want %v", f, c.want[i])
				}
			}
		})
	}
}

func merges(f *gguftest.File) []string {
	list := slices.Clone(f.Get("tokenizer.ggml.merges").([]string))
	f.Set("tokenizer.ggml.merges", list)
	return list
}

// A pair's own template, and its variables, stand in place of the model's.
func TestOverride(t *testing.T) {
	path := gguftest.Model(1).Write(t, "r.gguf")
	for name, c := range map[string]struct {
		template Template
		want     string // rendered, or the error
	}{
		"known":   {Template{Name: "zephyr"}, "<|user|>\nhi<|endoftext|>\n<|assistant|>\n"},
		"source":  {Template{Source: "{% if loud %}HEY {% endif %}{{ messages[0].content }} {{ level + 1 }}"}, "HEY hi 3"},
		"unknown": {Template{Name: "nobody"}, "chatml"},
	} {
		p, err := Open(Spec{Reference: path, Aligned: []Aligned{{Name: "z", Path: gguftest.Adapter(3).Write(t, "z.gguf")}}, Options: small, Template: c.template,
			Variables: map[string]any{"loud": true, "level": 2.0}})
		if err != nil {
			if name != "unknown" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		defer p.Close()
		got, err := p.Rendered(hi, nothing)
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

var (
	hi      = []decode.Message{{Role: "user", Content: "hi"}}
	nothing decode.Rendering
)
