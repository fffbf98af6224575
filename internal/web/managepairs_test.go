package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"realign/internal/filecache"
	"realign/internal/gguf"
	"realign/internal/gguf/gguftest"
	"realign/internal/pair"
	"realign/internal/pair/manage"
	"realign/internal/pair/modelstore"
)

// Who administers finds, adds, checks and removes pairs by pages that work without scripts. A path that was not found is refused, and
// where nobody administers there are no such pages.
func TestManagePairs(t *testing.T) {
	models, data := t.TempDir(), t.TempDir()
	for name, f := range map[string]*gguftest.File{"tiny-base.gguf": gguftest.Model(1), "tiny-dpo.gguf": gguftest.Model(2)} {
		if err := os.WriteFile(filepath.Join(models, name), f.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(models, "tiny.lora.gguf"), gguftest.Adapter(3).Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for folder, name := range map[string]string{"big-1b": "BigForCausalLM", "big-1b-instruct": "BigForCausalLM"} {
		for file, text := range map[string]string{
			"config.json": `{"architectures":["` + name + `"]}`, "model.safetensors": "weights", "tokenizer.json": `{"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}}`,
		} {
			at := filepath.Join(models, folder, file)
			if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.WriteFile(at, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var removed []string
	finder := &pair.Finder{CheckVocabularies: func(context.Context, *pair.Pair) (map[string][]gguf.Finding, error) {
		return map[string][]gguf.Finding{pair.RoleTemplate: {{Level: gguf.Note, Text: "writes a marker"}}}, nil
	}}
	library := pair.NewLibrary(filepath.Join(data, "pairs"))
	m := manage.New(manage.Config{
		Finder: finder, Removed: func(name string) { removed = append(removed, name) }, Library: library, Folder: filepath.Join(data, "pairs"), Sums: pair.OpenSums(""), Heads: filecache.Open[modelstore.Remembered](""),
		Stores: func() []modelstore.Store { return []modelstore.Store{{Kind: modelstore.Folder, Root: models}} },
		Check:  func(context.Context, string) (string, error) { return "load reference: ok\n", nil },
	})
	defer m.Close()
	w := newWorld(t, setup{manager: m, finder: finder})
	w.Server.library = library
	p := w.person()
	page := p.get("/pairs", http.StatusOK)
	for _, want := range []string{"Found on this machine", "tiny-base.gguf", "/pairs/add?", "Known pairs", "zephyr", "realign pairs add big-1b-instruct --reference "} {
		if !strings.Contains(page, want) {
			t.Errorf("/pairs lacks %q", want)
		}
	}
	reference, aligned := filepath.Join(models, "tiny-base.gguf"), filepath.Join(models, "tiny-dpo.gguf")
	link := "/pairs/add?" + url.Values{"name": {"tiny"}, "reference": {reference}, "aligned": {aligned}, "check": {"1"}}.Encode()
	if page := p.get(link, http.StatusOK); !strings.Contains(page, "note: writes a marker") || !strings.Contains(page, `value="tiny"`) {
		t.Errorf("looking: %.3000s", page)
	}
	fields := []string{"name", "tiny", "reference", reference, "aligned", aligned, "beta", "0.1"}
	if _, body := p.post("/pairs/add", http.StatusOK, append(fields, "check", "1")...); !strings.Contains(body, "How they fit together") {
		t.Error("the findings are not shown")
	}
	if _, err := library.Find("tiny"); err == nil {
		t.Error("looking has added the pair")
	}
	for want, change := range map[string][]string{
		"none of the models": {"aligned", "/etc/passwd"}, "is not a positive number": {"beta", "-1"}, "is not a name": {"name", "../x"},
		"is a whole model": {"scale", "0.5"}, "leave the adapter out": {"scale", "0"}, "is a folder of safetensors": {"aligned", filepath.Join(models, "big-1b")},
	} {
		if _, body := p.post("/pairs/add", http.StatusBadRequest, append(append([]string(nil), fields...), change...)...); !strings.Contains(body, want) {
			t.Errorf("no %q: %.2000s", want, body)
		}
	}
	p.post("/pairs/add", http.StatusSeeOther, fields...)
	if page := p.get("/pairs/tiny", http.StatusOK); !strings.Contains(page, "Check its models") || !strings.Contains(page, "Remove the pair") || !strings.Contains(page, "Chat template") {
		t.Errorf("the pair's page: %.3000s", page)
	}
	if _, body := p.post("/pairs/tiny/check", http.StatusOK); !strings.Contains(body, "load reference: ok") {
		t.Error("the check is not shown")
	}
	if page := p.get("/pairs/tiny", http.StatusOK); !strings.Contains(page, "chat template") || !strings.Contains(page, "note: writes a marker") {
		t.Error("what the vocabularies tell is not shown")
	}
	p.post("/pairs/add", http.StatusSeeOther, "name", "adapted", "reference", reference, "aligned", filepath.Join(models, "tiny.lora.gguf"), "scale", "0.5")
	if adapted, err := library.Find("adapted"); err != nil || adapted.Aligned[0].Scale != 0.5 {
		t.Errorf("%+v, %v", adapted, err)
	}
	p.post("/pairs/pull", http.StatusBadRequest, "model", "/etc/passwd")
	p.post("/pairs/tiny/remove", http.StatusSeeOther)
	p.get("/pairs/tiny", http.StatusNotFound)
	if len(removed) != 1 || removed[0] != "tiny" {
		t.Errorf("unloaded: %v", removed)
	}
	if answer, _ := p.do("POST", "/pairs/add", strings.NewReader("name=x"), "Content-Type", "application/x-www-form-urlencoded"); answer.StatusCode != http.StatusForbidden {
		t.Errorf("a form without its token: %d", answer.StatusCode)
	}

	other := newWorld(t, setup{}).person()
	other.get("/pairs/add", http.StatusNotFound)
	if page := other.get("/pairs", http.StatusOK); strings.Contains(page, "Found on this machine") || !strings.Contains(page, "Known pairs") {
		t.Error("who may only look sees more, or less")
	}
	other.post("/pairs/demo/remove", http.StatusMethodNotAllowed)
}
