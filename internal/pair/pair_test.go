package pair

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gguf/gguftest"
)

const good = `{"name":"demo","title":"Demo","licence":"MIT","sampling":{"min_p":0.1},"later":{"x":1},
 "reference":{"name":"base","file":"base.gguf"},
 "aligned":[{"name":"half","adapter":"half.gguf","beta":0.5},
            {"name":"tenth","adapter":"tenth.gguf","beta":0.1,"reward":"warmth","default":true},
            {"name":"whole","file":"sub/whole.gguf"}]}`

func TestParseManifest(t *testing.T) {
	p, err := Parse([]byte(good), "/models/demo")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Names(); !reflect.DeepEqual(got, []string{"tenth", "half", "whole"}) {
		t.Errorf("names %v: the default must come first", got)
	}
	want := []File{
		{Role: "reference", Path: "/models/demo/base.gguf"},
		{Role: "tenth", Path: "/models/demo/tenth.gguf", Adapter: true},
		{Role: "half", Path: "/models/demo/half.gguf", Adapter: true},
		{Role: "whole", Path: "/models/demo/sub/whole.gguf"},
	}
	if got := p.Files(); !reflect.DeepEqual(got, want) {
		t.Errorf("files %v", got)
	}
	recommended := decode.DefaultSampling()
	recommended.MinP = 0.1
	if !reflect.DeepEqual(p.Sampling, recommended) {
		t.Errorf("sampling %+v, want %+v", p.Sampling, recommended)
	}
	if a, err := p.Find("half"); err != nil || a.Beta != 0.5 {
		t.Errorf("half: %v, %v", a, err)
	}
	if _, err := p.Find("none"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("none: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for name, text := range map[string]string{
		"manifest":          `{"name":`,
		"name":              replace(`"demo"`, `"../demo"`),
		"reference.file":    replace(`base.gguf`, `../../etc/passwd`),
		"aligned":           `{"name":"a","reference":{"file":"b"},"aligned":[]}`,
		"aligned.name":      replace(`"half"`, `"reference"`),
		"aligned.file":      replace(`"file":"sub/whole.gguf"`, `"reward":"x"`),
		"aligned.beta":      replace(`"beta":0.5`, `"beta":-1`),
		"aligned.default":   replace(`"beta":0.5`, `"default":true`),
		"reference.install": replace(`"file":"base.gguf"`, `"file":"base.gguf","install":"make it\u001b[2J"`),
		"sampling":          replace(`"min_p":0.1`, `"min_p":2`),
		"sha256":            replace(`"beta":0.5`, `"sha256":"12"`),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(text), "")
			if f := fault.Of(err); f == nil || f.Kind != fault.Invalid || f.Field != name {
				t.Errorf("got %v, want an invalid %s", err, name)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"name":"a","reference":{"file":"b"},"aligned":[{"name":"c","file":"/d"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data, "/models/x")
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("a bad manifest must be invalid: %v", err)
			}
			return
		}
		for i, file := range p.Files() {
			text := p.Reference.File
			if i > 0 {
				a := p.Of(file)
				if text = a.File + a.Adapter; file.Untuned() {
					text = a.Untuned
				}
			}
			if !filepath.IsAbs(text) && !strings.HasPrefix(file.Path, "/models/x") {
				t.Fatalf("%q leads out of the folder: %s", text, file.Path)
			}
		}
		again, err := p.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		q, err := Parse(again, "/models/x")
		if err != nil || !reflect.DeepEqual(p, q) {
			t.Fatalf("%+v came back as %+v, %v", p, q, err)
		}
	})
}

func TestLibrary(t *testing.T) {
	shipped, data := t.TempDir(), filepath.Join(t.TempDir(), "pairs")
	put(t, filepath.Join(shipped, "demo", ManifestName), good)
	put(t, filepath.Join(shipped, "bad", ManifestName), "{")
	put(t, filepath.Join(shipped, "README"), "a file among the folders")
	l := NewLibrary(shipped, data)
	pairs, err := l.List()
	if len(pairs) != 1 || err == nil || !strings.Contains(err.Error(), "bad") {
		t.Fatalf("%v, %v", pairs, err)
	}
	if _, err := l.Find("nobody"); fault.KindOf(err) != fault.NotFound || !strings.Contains(err.Error(), "demo") {
		t.Errorf("an unknown pair: %v", err)
	}

	model := filepath.Join(t.TempDir(), "m.gguf")
	put(t, model, "weights")
	p := &Pair{Name: "mine", Reference: Reference{File: model}, Aligned: []Aligned{{Name: "a", Adapter: model, Beta: 0.1}},
		Sampling: decode.DefaultSampling()}
	if err := l.Register(data, p, false); err != nil {
		t.Fatal(err)
	}
	if err := l.Register(data, p, false); fault.KindOf(err) != fault.Conflict {
		t.Errorf("twice: %v", err)
	}
	found, err := l.Find("mine")
	if err != nil || found.Files()[1].Path != model || found.Aligned[0].Beta != 0.1 {
		t.Errorf("%+v, %v", found, err)
	}
	copied := *p
	copied.Name = "copied"
	if err := l.Register(data, &copied, true); err != nil {
		t.Fatal(err)
	}
	found, err = l.Find("copied")
	if err != nil || filepath.Dir(found.Files()[1].Path) != filepath.Join(data, "copied") {
		t.Errorf("%+v, %v", found, err)
	}
	missing := *p
	missing.Name, missing.Reference.File = "missing", model+"x"
	if err := l.Register(data, &missing, false); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a missing file: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(data, ".new-*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

// A pair whose reference is still to be fetched is listed, and says how; any other missing file is no
// matter of installing.
func TestPairThatIsNotInstalled(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "large", ManifestName), strings.NewReplacer(`"demo"`, `"large"`,
		`"file":"base.gguf"`, `"file":"base/large.gguf","install":"make large"`).Replace(good))
	put(t, filepath.Join(dir, "demo", ManifestName), good)
	l := NewLibrary(dir)
	pairs, err := l.List()
	if err != nil || len(pairs) != 2 {
		t.Fatalf("%v, %v", pairs, err)
	}
	demo, large := pairs[0], pairs[1]
	if err := demo.Installed(); err != nil {
		t.Errorf("a pair that nothing installs: %v", err)
	}
	err = large.Installed()
	if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "large.gguf") || !strings.Contains(err.Error(), "make large") {
		t.Errorf("not installed: %v", err)
	}
	put(t, filepath.Join(dir, "large", "base", "large.gguf"), "weights")
	if err := large.Installed(); err != nil {
		t.Errorf("installed: %v", err)
	}
}

func TestSums(t *testing.T) {
	dir := t.TempDir()
	path, store := filepath.Join(dir, "f"), filepath.Join(dir, "sums.json")
	put(t, path, "abc")
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	for range 2 {
		if got, err := OpenSums(store).SHA256(context.Background(), path); got != abc || err != nil {
			t.Fatalf("%s, %v", got, err)
		}
	}
	// The remembered sum is used while size and time stay the same, and only then.
	info, _ := os.Stat(path)
	put(t, path, "abd")
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if got, _ := OpenSums(store).SHA256(context.Background(), path); got != abc {
		t.Error("hashed again although nothing seems changed")
	}
	if err := os.Chtimes(path, time.Now(), info.ModTime().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if got, _ := OpenSums(store).SHA256(context.Background(), path); got == abc {
		t.Error("a changed file kept its sum")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := OpenSums("").SHA256(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Findings are the same for the command and for the page: what is noted, what is a fault, and no path of this machine.
func TestFindings(t *testing.T) {
	reference := gguftest.Model(1).Write(t, "reference.gguf")
	other := gguftest.Model(2)
	other.Set("tokenizer.ggml.eos_token_id", uint32(0))
	wrong := gguftest.Model(2)
	wrong.Set("tokenizer.ggml.pre", "qwen2")
	p := &Pair{Name: "x", Reference: Reference{File: reference}, Aligned: []Aligned{
		{Name: "other", File: other.Write(t, "other.gguf")}, {Name: "wrong", File: wrong.Write(t, "wrong.gguf")},
		{Name: "adapted", Adapter: gguftest.Adapter(3).Write(t, "adapted.gguf")}, {Name: "gone", File: filepath.Join(t.TempDir(), "gone.gguf")},
	}}
	want := map[string]string{
		"other": "note: tokenizer.ggml.eos_token_id is 0", "wrong": "fault: tokenizer.ggml.pre", "adapted": "note: rank 4, alpha 8", "gone": "fault: gone.gguf: no such file",
	}
	for _, f := range p.Files() {
		findings := p.Findings(f)
		if want[f.Role] == "" {
			if len(findings) > 0 {
				t.Errorf("%s: %v", f.Role, findings)
			}
			continue
		}
		if len(findings) != 1 || !strings.HasPrefix(string(findings[0].Level)+": "+findings[0].Text, want[f.Role]) || strings.Contains(findings[0].Text, filepath.Dir(f.Path)) {
			t.Errorf("%s: %v, want %q", f.Role, findings, want[f.Role])
		}
	}
}
