package pair

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The larger pair of the repository: its manifest, and every file that it does not leave to be fetched.
func TestShippedLargerPair(t *testing.T) {
	p, err := Load(filepath.Join("..", "..", "models", "smollm2"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "smollm2" || p.Reference.Install != "make smollm2" || p.Reference.SHA256 == "" || p.Licence == "" {
		t.Errorf("%+v", p)
	}
	betas, sums := map[string][]float64{}, OpenSums("")
	for i, f := range p.Files()[1:] {
		a := p.Aligned[i]
		betas[a.Reward] = append(betas[a.Reward], a.Beta)
		if got, err := sums.SHA256(context.Background(), f.Path); err != nil || got != f.SHA256 || a.Adapter == "" {
			t.Errorf("%s: %s, and the manifest says %s (%v)", f.Path, got, f.SHA256, err)
		}
		if _, err := os.Stat(strings.TrimSuffix(f.Path, ".lora.gguf") + ".md"); err != nil {
			t.Errorf("%s has no card: %v", a.Name, err)
		}
	}
	for reward, list := range betas {
		if len(list) < 2 {
			t.Errorf("%s has β %v: two at least", reward, list)
		}
	}
	reference := p.Files()[0]
	err = p.CheckFile(context.Background(), reference, sums)
	switch {
	case p.Installed() != nil:
		t.Skip("the files that do not need the reference were checked: ", p.Installed())
	case err != nil:
		t.Error(err)
	}
	for _, f := range p.Files()[1:] {
		if err := p.CheckFile(context.Background(), f, nil); err != nil {
			t.Error(err)
		}
	}
}
