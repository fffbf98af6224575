package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"realign/internal/gguf/gguftest"
	"realign/internal/pair/fetch/fetchtest"
	"realign/internal/racetest"
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
	got := strings.Fields(out)
	if code, _, bad := runCommand(t, "", "pairs", "add", "mine", "--reference", got[0], "--aligned", "tuned="+got[1]); code != 0 {
		t.Errorf("code %d, %q", code, bad)
	}
	for name, want := range map[string]int{"hf:org/none": 3, "hf:org/sft:Q2_K": 3, "zephyr": 3, "x": 2, "ollama:none": 3} {
		if code, _, bad := runCommand(t, "", "pairs", "pull", name); code != want || strings.Count(bad, "\n") != 1 {
			t.Errorf("%s: code %d, %q", name, code, bad)
		}
	}
	s.Repositories["mav23/mistral-7b-sft-beta-GGUF"] = map[string][]byte{"mistral-7b-sft-beta.Q8_0.gguf": gguftest.Model(3).Bytes(), "mistral-7b-sft-beta.Q4_K_M.gguf": gguftest.Model(4).Bytes()}
	s.Repositories["TheBloke/zephyr-7B-beta-GGUF"] = map[string][]byte{"zephyr-7b-beta.Q8_0.gguf": gguftest.Model(4).Bytes()}
	code, out, bad = runCommand(t, "", "pairs", "pull", "zephyr")
	names, command, _ := strings.Cut(strings.TrimSpace(out), "\n\n")
	if code != 0 || names != "hf:mav23/mistral-7b-sft-beta-GGUF:mistral-7b-sft-beta.Q8_0.gguf\nhf:TheBloke/zephyr-7B-beta-GGUF:zephyr-7b-beta.Q8_0.gguf" || !strings.HasSuffix(command, ",beta=0.1") {
		t.Fatalf("code %d, %q, %q", code, out, bad)
	}
	if code, _, bad := runCommand(t, "", strings.Fields(command)[1:]...); code != 0 {
		t.Errorf("%s: code %d, %q", command, code, bad)
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
	if code, out, _ := runCommand(t, "", "pairs", "catalogue", "zephyr"); code != 0 || !strings.Contains(out, "realign pairs pull zephyr") || !strings.Contains(out, "7.7 GB as Q8_0") || !strings.Contains(out, "0.1/λ") {
		t.Errorf("code %d: %s", code, out)
	}
	if code, out, _ := runCommand(t, "", "pairs", "catalogue", "--json"); code != 0 || !json.Valid([]byte(out)) {
		t.Errorf("code %d: %s", code, out)
	}
	if code, _, _ := runCommand(t, "", "pairs", "catalogue", "nobody"); code != 3 {
		t.Errorf("code %d", code)
	}
}

// TestThousandFiles: of a thousand files, each of which might be a pair with another, find takes less than two seconds once it knows
// their heads, which REALIGN_SIMULATIONS judges.
func TestThousandFiles(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("REALIGN_DATA", t.TempDir())
	models := t.TempDir()
	data := [2][]byte{gguftest.Model(1).Bytes(), gguftest.Model(2).Bytes()}
	for i := range 1000 {
		path := filepath.Join(models, fmt.Sprint(i%50), fmt.Sprintf("model-%d-%s.gguf", i/2, []string{"base", "instruct"}[i%2]))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data[i%2], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var took [4]time.Duration
	for i := range took {
		began := time.Now()
		code, out, bad := runCommand(t, "", "pairs", "find", models, "--json")
		took[i] = time.Since(began)
		var found struct{ Models, Pairs []json.RawMessage }
		if err := json.Unmarshal([]byte(out), &found); code != 0 || err != nil || len(found.Models) != 1000 || len(found.Pairs) != 500 {
			t.Fatalf("code %d, %q, %v: %d models, %d pairs", code, bad, err, len(found.Models), len(found.Pairs))
		}
	}
	warm := slices.Min(took[1:]) // other programs may take the processor at times
	t.Logf("1000 files: %.2f s the first time, %.2f s then", took[0].Seconds(), warm.Seconds())
	most := 10 * time.Second
	if os.Getenv("REALIGN_SIMULATIONS") != "" {
		most = 2 * time.Second
	}
	if warm > most && !racetest.Enabled {
		t.Errorf("%v", warm)
	}
}

// TestRemove: a pair that was added is taken away, its models stay; one that came with the program is not.
func TestRemove(t *testing.T) {
	models, data := t.TempDir(), t.TempDir()
	t.Setenv("REALIGN_MODELS", models)
	t.Setenv("REALIGN_DATA", data)
	reference, aligned := gguftest.Model(1).Write(t, "r.gguf"), gguftest.Model(2).Write(t, "a.gguf")
	if code, _, bad := runCommand(t, "", "pairs", "add", "mine", "--reference", reference, "--aligned", "dpo="+aligned); code != 0 {
		t.Fatal(bad)
	}
	if code, out, bad := runCommand(t, "", "pairs", "remove", "mine"); code != 0 || out != "removed mine\n" {
		t.Errorf("code %d, %q, %q", code, out, bad)
	}
	if _, err := os.Stat(aligned); err != nil {
		t.Error("the model went with the pair")
	}
	if code, _, bad := runCommand(t, "", "pairs", "remove", "mine"); code != 2 || strings.Count(bad, "\n") != 1 {
		t.Errorf("twice: code %d, %q", code, bad)
	}
	shipped := filepath.Join(models, "shipped")
	if err := os.MkdirAll(shipped, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(shipped, "pair.json"), []byte(`{"name":"shipped","reference":{"file":"r"},"aligned":[{"name":"a","file":"b"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, bad := runCommand(t, "", "pairs", "remove", "shipped"); code != 4 || !strings.Contains(bad, "came with the program") {
		t.Errorf("code %d, %q", code, bad)
	}
}
