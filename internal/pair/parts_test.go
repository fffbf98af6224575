package pair

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/gguf/gguftest"
)

// A model in parts is registered and copied whole, and its sum is of all parts.
func TestModelInParts(t *testing.T) {
	paths := gguftest.Model(1).WriteSplit(t, "model", 3)
	sums := OpenSums("")
	before, err := sums.Model(t.Context(), paths[0])
	if err != nil {
		t.Fatal(err)
	}
	p := &Pair{Name: "mine", Reference: Reference{File: paths[0], SHA256: before}, Sampling: decode.DefaultSampling(),
		Aligned: []Aligned{{Name: "a", Adapter: gguftest.Adapter(3).Write(t, "a.gguf"), Scale: 0.5}}}
	for _, f := range p.Files() {
		if err := p.CheckFile(t.Context(), f, sums); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(t.TempDir(), "pairs")
	l := NewLibrary(data)
	if err := l.Register(data, p, true); err != nil {
		t.Fatal(err)
	}
	copied, err := l.Find("mine")
	if err != nil {
		t.Fatal(err)
	}
	file := copied.Files()[0]
	if got := gguf.Parts(file.Path); len(got) != 3 || filepath.Dir(got[2]) != filepath.Join(data, "mine") {
		t.Errorf("parts %v", got)
	}
	if err := copied.CheckFile(t.Context(), file, OpenSums("")); err != nil {
		t.Errorf("the copy: %v", err)
	}
	if _, files, err := (Resolver{Library: l, Sums: sums}).Models(t.Context(), "mine", nil); err != nil || files[0].SHA256 != before {
		t.Errorf("runs are of %+v, %v", files, err)
	}
	if f := copied.Files()[1]; f.Scale != 0.5 || copied.Aligned[0].Scale != 0.5 {
		t.Errorf("%+v", f)
	}
	f, err := os.OpenFile(gguf.Parts(file.Path)[2], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1}, 3000); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	if err := copied.CheckFile(t.Context(), file, OpenSums("")); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "sha256") {
		t.Errorf("a changed third part: %v", err)
	}
}

// A scale belongs to an adapter.
func TestScaleOfAModel(t *testing.T) {
	text := strings.Replace(good, `"file":"sub/whole.gguf"`, `"file":"sub/whole.gguf","scale":2`, 1)
	if _, err := Parse([]byte(text), ""); fault.KindOf(err) != fault.Invalid || fault.Of(err).Field != "aligned.scale" {
		t.Errorf("%v", err)
	}
}
