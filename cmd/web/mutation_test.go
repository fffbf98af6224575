//go:build cgo && !nollama

package main

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"realign/internal/gguf/gguftest"
)

// check runs `pairs check` with llama.cpp on a pair of files, and returns what it printed.
func check(t *testing.T, reference, aligned, adapter []byte) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	folder := filepath.Join(dir, "models", "broken")
	manifest := `{"name":"broken","reference":{"file":"r.gguf"},"aligned":[{"name":"other","file":"o.gguf"},{"name":"adapted","adapter":"a.gguf"}]}`
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"pair.json": []byte(manifest), "r.gguf": reference, "o.gguf": aligned, "a.gguf": adapter} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, bad bytes.Buffer
	args := []string{"pairs", "check", "broken", "--models=" + filepath.Join(dir, "models"), "--data=" + filepath.Join(dir, "data"), "--cells=256", "--gpu-layers=0"}
	code = Run(t.Context(), args, env{stdout: &out, stderr: &bad, open: openModels, try: tryApart(), gpu: gpus(), engine: engineVersion})
	return code, out.String(), bad.String()
}

func TestCheckOfAGoodPair(t *testing.T) {
	code, out, bad := check(t, gguftest.Model(1).Bytes(), gguftest.Model(2).Bytes(), gguftest.Adapter(3).Bytes())
	if code != 0 || strings.Count(out, "note") != 1 || !strings.Contains(out, "note: rank 4, alpha 8: applied at 2") || strings.Count(out, ": ok\n") != 7 {
		t.Errorf("code %d\n%s%s", code, out, bad)
	}
}

// The check renders: a template that hangs is a fault of the pair, and one whose markers are no tokens is noted.
func TestCheckOfTemplates(t *testing.T) {
	f := gguftest.Model(1)
	f.Set("tokenizer.chat_template", "{% for i in range(60000) %}{% for j in range(60000) %}{% endfor %}{% endfor %}")
	code, out, bad := check(t, f.Bytes(), gguftest.Model(2).Bytes(), gguftest.Adapter(3).Bytes())
	if code != 2 || !strings.Contains(out, "chat template: the model's chat template took longer") || strings.Count(bad, "\n") != 1 {
		t.Errorf("code %d\n%s%s", code, out, bad)
	}
	f = gguftest.Model(1)
	types := f.Get("tokenizer.ggml.token_type").([]int32)
	types[gguftest.MessageStart] = 1
	g := gguftest.Model(2)
	g.Set("tokenizer.ggml.token_type", types)
	code, out, _ = check(t, f.Bytes(), g.Bytes(), gguftest.Adapter(3).Bytes())
	if code != 0 || !strings.Contains(out, "<|im_start|>, which is no token of the model") {
		t.Errorf("code %d\n%s", code, out)
	}
}

// Whatever is wrong with a model file, the check says it in one line, with a code that says what it was, and nothing that
// llama.cpp does to the process that loads it is seen here. REALIGN_MUTATIONS says how many files are tried.
func TestMutatedModels(t *testing.T) {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("REALIGN_MUTATIONS"), "48"))
	if err != nil {
		t.Fatal(err)
	}
	codes := map[int]int{}
	deaths := map[string]int{}
	for i := range n {
		r := rand.New(rand.NewPCG(uint64(i), 17))
		reference, aligned, adapter := gguftest.Model(1).Bytes(), gguftest.Model(2).Bytes(), gguftest.Adapter(3).Bytes()
		switch i % 4 {
		case 0:
			adapter = gguftest.Mutate(r, gguftest.Adapter(3))
		case 1:
			aligned = gguftest.Mutate(r, gguftest.Model(2))
		default: // both, so that they fit together
			reference = gguftest.Mutate(r, gguftest.Model(1))
			aligned = reference
		}
		began := time.Now()
		code, out, bad := check(t, reference, aligned, adapter)
		codes[code]++
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("file %d took %v", i, took)
		}
		if code == 1 || code < 0 || code > exitAborted || code != 0 && strings.Count(bad, "\n") != 1 {
			t.Errorf("file %d: code %d\n%s%s", i, code, out, bad)
		}
		if code == exitAborted {
			deaths[bad]++
			t.Logf("file %d: %s", i, bad)
		}
	}
	t.Logf("%d files by exit code: %v", n, codes)
	for words, times := range deaths {
		t.Errorf("%d files that the check of their heads let through ended the process that loaded them: %s", times, words)
	}
}
