package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"realign/internal/decode"
)

// --exact decodes by particles, as JSON, as text and over files of prompts; --plain says the same; and what it does not go with is refused at its
// flag, with what to do.
func TestDecodeExact(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	flags := []string{"decode", "--lambda", "0,0.5,1.5", "--exact", "5", "--temperature", "1", "--max-tokens", "20", "--seed", "4"}
	ends := func(more ...string) (all []string, lines string) {
		t.Helper()
		code, out, bad := runCommand(t, "", append(append(flags, "--json", "--prompt", "abc"), more...)...)
		if code != 0 {
			t.Fatalf("exit %d: %s", code, bad)
		}
		for line := range strings.Lines(out) {
			var e struct {
				Type  string
				Exact *decode.Exact
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			if e.Type == "end" {
				all = append(all, fmt.Sprintf("%+v", e.Exact))
			}
			if e.Type == "token" {
				lines += line
			}
		}
		return all, lines
	}
	shared, tokens := ends()
	if len(shared) != 3 || !strings.Contains(strings.Join(shared, ""), "Particles:5") || strings.Count(strings.Join(shared, ""), "nil") != 1 || tokens == "" {
		t.Errorf("ends %q", shared)
	}
	if plain, _ := ends("--plain"); len(plain) != 3 {
		t.Errorf("plain ends %q", plain)
	}
	if code, out, _ := runCommand(t, "", append(flags, "--prompt", "abc")...); code != 0 || strings.Count(out, "one of 5 particles") != 2 {
		t.Errorf("exit %d, text:\n%s", code, out)
	}
	if code, out, bad := runCommand(t, "abc\nbcd\n", append(flags, "--prompts", "-")...); code != 0 || strings.Count(out, `"exact":{"particles":5`) != 4 {
		t.Errorf("exit %d, prompts:\n%s%s", code, out, bad)
	}
	for _, c := range []struct{ args, say string }{
		{"--temperature 0.7", "--temperature: 0.7 with exact 5: exact λ is for temperature 1 without truncation and penalties: set temperature to 1, or exact to 0"},
		{"--top-k 3", "--top-k: 3 with exact 5"}, {"--exact 1", "--exact: one particle corrects nothing"}, {"--exact 65", "--exact: 65 is outside 0 to 64"},
	} {
		code, _, bad := runCommand(t, "", append(append(append([]string{}, flags...), "--prompt", "abc"), strings.Fields(c.args)...)...)
		if code != 2 || !strings.Contains(bad, c.say) {
			t.Errorf("%s: exit %d, %q", c.args, code, bad)
		}
	}
}

// MT-Bench on the table, with a judge on this machine: scores by category over λ, by single answers and by pairs.
func TestMTBench(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	judge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		verdict := `{\"explanation\":\"\",\"score\":6}`
		if strings.Contains(body.String(), "ANSWER A") {
			verdict = `{\"explanation\":\"\",\"winner\":\"A\"}` // whatever stands first
		}
		fmt.Fprintf(w, `{"choices":[{"message":{"role":"assistant","content":"%s"}}]}`, verdict)
	}))
	defer judge.Close()
	file := filepath.Join(t.TempDir(), "questions.jsonl")
	text := `{"question_id":81,"category":"writing","turns":["abc","bcd"]}` + "\n" + `{"question_id":111,"category":"math","turns":["ca","ab"],"reference":["a","b"]}` + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := []string{"mtbench", "--questions", file, "--lambda", "0,1,2", "--max-tokens", "8", "--judge-url", judge.URL + "/v1", "--judge-model", "m"}
	code, out, bad := runCommand(t, "", flags...)
	if code != 0 || !strings.Contains(out, "| λ | all | turn 1 | turn 2 | math | writing | missing |") || strings.Count(out, "6.00") < 12 {
		t.Errorf("exit %d, %s%s", code, out, bad)
	}
	if code, out, bad = runCommand(t, "", append(flags, "--mode", "pairwise", "--json")...); code != 0 || strings.Count(out, `"scores":[0.5]`) != 6 || !strings.Contains(out, `"rows":[{`) {
		t.Errorf("exit %d, %s%s", code, out, bad)
	}
	for _, c := range []struct{ args, say string }{
		{"--mode pairwise --lambda 0,2", "--lambda: has no 1"}, {"--exact 8", "--exact: 8 needs --temperature 1"}, {"--temperature 1 --exact 1", "--exact"},
		{"--questions nowhere.jsonl", "--questions"}, {"--judge-url x", "url"},
	} {
		if code, _, bad := runCommand(t, "", append(append([]string{}, flags...), strings.Fields(c.args)...)...); code != 2 || !strings.Contains(bad, c.say) {
			t.Errorf("%s: exit %d, %q", c.args, code, bad)
		}
	}
}
