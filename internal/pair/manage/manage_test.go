package manage

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/filecache"
	"realign/internal/gguf/gguftest"
	"realign/internal/pair"
	"realign/internal/pair/fetch"
	"realign/internal/pair/fetch/fetchtest"
	"realign/internal/pair/modelstore"
)

// manager manages the pairs of a new folder, with models in another.
func manager(t *testing.T, edit func(*Config)) (m *Manager, models string) {
	t.Helper()
	models, data := t.TempDir(), t.TempDir()
	for name, f := range map[string]*gguftest.File{"base.gguf": gguftest.Model(1), "dpo.gguf": gguftest.Model(2), "warm.gguf": gguftest.Adapter(3)} {
		if err := os.WriteFile(filepath.Join(models, name), f.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := gguftest.Model(4)
	other.Set("tokenizer.ggml.pre", "qwen2")
	if err := os.WriteFile(filepath.Join(models, "other.gguf"), other.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Config{
		Library: pair.NewLibrary(filepath.Join(data, "shipped"), filepath.Join(data, "pairs")), Folder: filepath.Join(data, "pairs"), Sums: pair.OpenSums(""),
		Stores: func() []modelstore.Store { return []modelstore.Store{{Kind: modelstore.Folder, Root: models}} }, Heads: filecache.Open[modelstore.Remembered](""),
		Check: func(_ context.Context, name string) (string, error) { return "load " + name + ": ok\n", nil },
	}
	if edit != nil {
		edit(&c)
	}
	m = New(c)
	t.Cleanup(func() { m.Close() })
	return m, models
}

// A model in parts is added with a sum that a check of the pair accepts.
func TestAddModelInParts(t *testing.T) {
	paths := gguftest.Model(1).WriteSplit(t, "model", 3)
	m, models := manager(t, func(c *Config) {
		stores := append(c.Stores(), modelstore.Store{Kind: modelstore.Folder, Root: filepath.Dir(paths[0])})
		c.Stores = func() []modelstore.Store { return stores }
	})
	if _, _, err := m.Found(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Add(t.Context(), &Draft{Name: "parts", Reference: paths[0], Aligned: filepath.Join(models, "warm.gguf"), Beta: 0.1}); err != nil {
		t.Fatal(err)
	}
	p, err := m.config.Library.Find("parts")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range p.Files() {
		if err := p.CheckFile(t.Context(), f, m.config.Sums); err != nil || f.SHA256 == "" {
			t.Errorf("%s: %v", f.Role, err)
		}
	}
}

// A pair of models that were found is looked at, added, checked and removed; what was not found cannot be added, whatever path it is.
func TestAddAndRemove(t *testing.T) {
	m, models := manager(t, nil)
	ctx := t.Context()
	listing, _, err := m.Found(ctx)
	if err != nil || len(listing.Models) != 4 {
		t.Fatalf("%+v, %v", listing, err)
	}
	at := func(name string) string { return filepath.Join(models, name) }
	d := Draft{Name: "mine", Reference: at("base.gguf"), Aligned: at("dpo.gguf"), Beta: 0.1}
	if found, err := m.Findings(ctx, &d); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	adapted := d
	adapted.Aligned = at("warm.gguf")
	if found, err := m.Findings(ctx, &adapted); err != nil || len(found) != 1 || !strings.Contains(found[0].Text, "rank 4") {
		t.Errorf("%v, %v", found, err)
	}
	wrong := d
	wrong.Aligned = at("other.gguf")
	if found, err := m.Findings(ctx, &wrong); err != nil || len(found) != 1 || found[0].Level != "fault" {
		t.Errorf("%v, %v", found, err)
	}
	outside := filepath.Join(t.TempDir(), "outside.gguf")
	if err := os.WriteFile(outside, gguftest.Model(2).Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*Draft){
		"aligned":   func(d *Draft) { d.Aligned = outside },
		"reference": func(d *Draft) { d.Reference = models + "/../" + filepath.Base(models) + "/base.gguf" },
		"name":      func(d *Draft) { d.Name = "../mine" },
		"untuned":   func(d *Draft) { d.Untuned = outside },
		"contrast":  func(d *Draft) { d.Aligned, d.Contrast = "", decode.Contrast{System: "a", Context: "b"} },
	} {
		bad := d
		change(&bad)
		if err := m.Add(ctx, &bad); fault.KindOf(err) != fault.Invalid || fault.Of(err).Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := m.Add(ctx, &wrong); fault.KindOf(err) != fault.Invalid || strings.Contains(err.Error(), models) {
		t.Errorf("a pair that does not fit, or a path that is told: %v", err)
	}
	if err := m.Add(ctx, &d); err != nil {
		t.Fatal(err)
	}
	if err := m.Add(ctx, &d); fault.KindOf(err) != fault.Conflict {
		t.Errorf("twice: %v", err)
	}
	p, err := m.config.Library.Find("mine")
	if err != nil || p.Aligned[0].Beta != 0.1 || len(p.Reference.SHA256) != 64 || len(p.Aligned[0].SHA256) != 64 || !m.Removable(p) {
		t.Errorf("%+v, %v", p, err)
	}
	two := Draft{Name: "two", Reference: at("base.gguf"), Contrast: decode.Contrast{System: "Be brief."}}
	if err := m.Add(ctx, &two); err != nil {
		t.Error(err)
	}
	if lines, err := m.Check(ctx, "mine"); err != nil || lines != "load mine: ok\n" {
		t.Errorf("%q, %v", lines, err)
	}
	if err := m.Remove("mine"); err != nil {
		t.Error(err)
	}
	if _, err := m.config.Library.Find("mine"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("after it was removed: %v", err)
	}
	if _, err := os.Stat(at("dpo.gguf")); err != nil {
		t.Error("the model went with the pair")
	}
	shipped := filepath.Join(filepath.Dir(m.config.Folder), "shipped", "demo")
	if err := os.MkdirAll(shipped, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(shipped, pair.ManifestName), []byte(`{"name":"demo","reference":{"file":"r"},"aligned":[{"name":"a","file":"b"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove("demo"); fault.KindOf(err) != fault.Conflict {
		t.Errorf("a pair that came with the program: %v", err)
	}
}

// Fetches go on by themselves, are told how far they are, go on where they were cut off, and ask no host that a page names.
func TestPull(t *testing.T) {
	server := fetchtest.New(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	server.Repositories["org/model"] = map[string][]byte{"model-Q8_0.gguf": content}
	server.CutAfter, server.Cuts = 30_000, 5
	m, _ := manager(t, func(c *Config) {
		c.Hub = fetch.Hub{Endpoint: server.URL, Cache: t.TempDir(), Options: fetch.Options{Range: 64 << 10, Wait: func(context.Context, time.Duration) error { return nil }}}
		c.Registry = fetch.Registry{Endpoint: server.URL, Store: t.TempDir()}
	})
	for _, name := range []string{"", "model.gguf", "/etc/passwd", "ollama:evil.example/ns/model", "ollama:http://x", "file:x"} {
		if err := m.Pull(name); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %v", name, err)
		}
	}
	const name = "hf:org/model:Q8_0"
	if err := m.Pull(name); err != nil {
		t.Fatal(err)
	}
	ended := func() Pull {
		t.Helper()
		for range 3000 {
			if p := m.Pulls()[0]; p.State != "running" {
				return p
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatal("it does not end")
		return Pull{}
	}
	if p := ended(); p.State != "done" || p.Got == "" || p.Done != int64(len(content)) || p.Done != p.Total {
		t.Errorf("%+v", p)
	}
	if err := m.Pull("hf:org/nothing"); err != nil {
		t.Fatal(err)
	}
	if p := ended(); p.State != "failed" || p.Error == "" {
		t.Errorf("%+v", p)
	}
	if err := m.StopPull(name); fault.KindOf(err) != fault.NotFound {
		t.Errorf("stopping what has ended: %v", err)
	}
	if n := len(m.Pulls()); n != 2 {
		t.Errorf("%d fetches are remembered", n)
	}
}
