package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"realign/internal/gguf/gguftest"
	"realign/internal/pair/fetch/fetchtest"
)

// hub lays a file out as the Hugging Face cache does, in the home folder of the test.
func hub(t *testing.T, repository, file string, data []byte) {
	t.Helper()
	dir := filepath.Join(os.Getenv("HF_HUB_CACHE"), "models--"+strings.Replace(repository, "/", "--", 1))
	for path, content := range map[string][]byte{"refs/main": []byte("c0ffee"), "snapshots/c0ffee/" + file: data} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestModelsOfStores: what find proposes can be added by the command that it prints, and decoded on without.
func TestModelsOfStores(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	t.Setenv("REALIGN_MODELS", t.TempDir())
	t.Setenv("REALIGN_DATA", t.TempDir())
	hub(t, "org/Tiny-SFT-GGUF", "tiny-sft.gguf", gguftest.Model(1).Bytes())
	hub(t, "org/Tiny-DPO-GGUF", "tiny-dpo.gguf", gguftest.Model(2).Bytes())
	hub(t, "org/Folder", "config.json", []byte(`{}`))
	hub(t, "org/Folder", "model.safetensors", nil)

	code, out, bad := runCommand(t, "", "pairs", "find", "--json")
	var found struct {
		Models []struct{ Name string }
		Pairs  []struct{ Name, Command string }
	}
	if err := json.Unmarshal([]byte(out), &found); code != 0 || err != nil || len(found.Models) != 3 || len(found.Pairs) != 1 {
		t.Fatalf("code %d, %q, %v: %s", code, bad, err, out)
	}
	if code, out, _ := runCommand(t, "", "pairs", "find"); code != 0 || !strings.Contains(out, found.Pairs[0].Command) {
		t.Errorf("code %d:\n%s", code, out)
	}
	if code, _, bad := runCommand(t, "", strings.Fields(found.Pairs[0].Command)[1:]...); code != 0 {
		t.Errorf("%s: code %d, %q", found.Pairs[0].Command, code, bad)
	}
	if code, out, _ := runCommand(t, "", "pairs", "show", found.Pairs[0].Name); code != 0 || !strings.Contains(out, "tiny-dpo.gguf") {
		t.Errorf("code %d:\n%s", code, out)
	}
	decode := func(args ...string) (int, string, string) {
		return runCommand(t, "", append([]string{"decode", "--prompt", "abc", "--max-tokens", "3"}, args...)...)
	}
	if code, out, bad := decode("--reference", "hf:org/tiny-sft-gguf", "--aligned", "warm=hf:org/Tiny-DPO-GGUF"); code != 0 || out == "" {
		t.Errorf("code %d, %q", code, bad)
	}
	sft := "hf:org/Tiny-SFT-GGUF"
	for _, test := range []struct {
		args []string
		say  string
	}{
		{[]string{"--reference", sft}, "--reference: needs an aligned model"},
		{[]string{"--adapter", sft}, "--adapter: needs --reference"},
		{[]string{"--reference", sft, "--adapter", sft}, "--adapter: hf:org/Tiny-SFT-GGUF is a whole model"},
		{[]string{"--reference", sft, "--aligned", "hf:org/None"}, "--aligned: \"hf:org/None\" is in no store"},
		{[]string{"--reference", sft, "--aligned", "hf:org/Folder"}, "names no architecture"},
		{[]string{"--reference", "ollama:", "--aligned", sft}, "ollama:NAME"},
	} {
		if code, _, bad := decode(test.args...); code != 2 || !strings.Contains(bad, test.say) || strings.Count(bad, "\n") != 1 {
			t.Errorf("%v: code %d, %q, want %q", test.args, code, bad, test.say)
		}
	}
	if code, _, bad := runCommand(t, "", "pairs", "find", "/no/such/folder"); code != 2 || !strings.Contains(bad, "DIR") {
		t.Errorf("code %d, %q", code, bad)
	}
	t.Setenv("HF_HUB_CACHE", "/nowhere")
	if code, out, _ := runCommand(t, "", "pairs", "find"); code != 0 || !strings.Contains(out, "Name a folder") {
		t.Errorf("code %d: %s", code, out)
	}
}

// TestPull: what is fetched can be used by the name that is printed.
func TestPull(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	t.Setenv("HF_TOKEN", "")
	t.Setenv("OLLAMA_MODELS", t.TempDir())
	t.Setenv("REALIGN_DATA", t.TempDir())
	s := fetchtest.New(t)
	s.Repositories["org/sft"] = map[string][]byte{"sft-Q8_0.gguf": gguftest.Model(1).Bytes()}
	s.Models["library/tuned:latest"] = []fetchtest.Layer{{MediaType: "application/vnd.ollama.image.model", Content: gguftest.Model(2).Bytes()}}
	t.Setenv("HF_ENDPOINT", s.URL)
	t.Setenv("REALIGN_OLLAMA_REGISTRY", s.URL)
	code, out, bad := runCommand(t, "", "pairs", "pull", "hf:org/sft:q8_0", "ollama:tuned")
	if code != 0 || out != "hf:org/sft:sft-Q8_0.gguf\nollama:tuned:latest\n" {
		t.Fatalf("code %d, %q, %q", code, out, bad)
	}
	names := strings.Fields(out)
	if code, _, bad := runCommand(t, "", "pairs", "add", "mine", "--reference", names[0], "--aligned", "tuned="+names[1]); code != 0 {
		t.Errorf("code %d, %q", code, bad)
	}
	for name, want := range map[string]int{"hf:org/none": 3, "hf:org/sft:Q2_K": 3, "zephyr": 2, "x": 2, "ollama:none": 3} {
		if code, _, bad := runCommand(t, "", "pairs", "pull", name); code != want || strings.Count(bad, "\n") != 1 {
			t.Errorf("%s: code %d, %q", name, code, bad)
		}
	}
	s.Gated = true
	s.Repositories["org/gated"] = map[string][]byte{"x.gguf": gguftest.Model(3).Bytes()}
	if code, _, bad := runCommand(t, "", "pairs", "pull", "hf:org/gated"); code != 6 || !strings.Contains(bad, "HF_TOKEN") {
		t.Errorf("code %d, %q", code, bad)
	}
}

func TestCatalogue(t *testing.T) {
	if code, out, _ := runCommand(t, "", "pairs", "catalogue"); code != 0 || !strings.Contains(out, "zephyr") {
		t.Errorf("code %d: %s", code, out)
	}
	if code, out, _ := runCommand(t, "", "pairs", "catalogue", "zephyr"); code != 0 || !strings.Contains(out, "realign pairs pull hf:") || !strings.Contains(out, "0.1/λ") {
		t.Errorf("code %d: %s", code, out)
	}
	if code, out, _ := runCommand(t, "", "pairs", "catalogue", "--json"); code != 0 || !json.Valid([]byte(out)) {
		t.Errorf("code %d: %s", code, out)
	}
	if code, _, _ := runCommand(t, "", "pairs", "catalogue", "nobody"); code != 3 {
		t.Errorf("code %d", code)
	}
}
