package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"realign/internal/decode"
)

// The map that is printed says what decode says at any λ of it.
func TestMap(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	same := []string{"--prompt", "abcabd", "--seed", "7", "--max-tokens", "12", "--temperature", "0.9"}
	code, out, bad := runCommand(t, "", append([]string{"map", "--from", "-1/2", "--to", "2", "--json"}, same...)...)
	if code != 0 {
		t.Fatalf("code %d, %s", code, bad)
	}
	var m struct {
		Type     string
		From, To float64
		Seed     string
		Prompt   []int
		Covered  float64
		Branches []decode.Branch
		Forks    []decode.Fork
		Stats    decode.Stats
	}
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		t.Fatal(err)
	}
	if m.Type != "map" || m.From != -0.5 || m.To != 2 || m.Seed != "7" || len(m.Prompt) == 0 || m.Covered != 1 ||
		len(m.Branches) < 3 || len(m.Forks) != len(m.Branches)-1 || m.Stats.Rows["reference"] == 0 {
		t.Fatalf("map %+v", m)
	}
	for _, b := range m.Branches {
		lambda := fmt.Sprint((b.From + b.To) / 2)
		code, text, bad := runCommand(t, "", append([]string{"decode", "--lambda", lambda}, same...)...)
		want := strings.Join(b.Pieces, "")
		if text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), " […length]"); code != 0 || text != want {
			t.Errorf("λ = %s: code %d %s, decode says %q, the map %q", lambda, code, bad, text, want)
		}
	}
	code, text, bad := runCommand(t, "", append([]string{"map"}, same...)...)
	if code != 0 || !strings.Contains(text, "── λ from 0 to ") || !strings.Contains(text, "below, ") || !strings.Contains(text, "100% of the interval") {
		t.Errorf("code %d, %q, %q", code, text, bad)
	}
}

// The map in JSON says what its prompt was, also one that was read.
func TestMapOfAPromptThatIsRead(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	for _, test := range []struct{ input, prompt string }{{"", "abcabd"}, {"abcabd\n", "-"}} {
		for _, format := range [][]string{nil, {"--text"}} {
			code, out, bad := runCommand(t, test.input, append([]string{"map", "--prompt", test.prompt, "--max-tokens", "2", "--json"}, format...)...)
			var m struct{ Text string }
			if err := json.Unmarshal([]byte(out), &m); code != 0 || err != nil || m.Text != "abcabd" {
				t.Errorf("--prompt %s %v: code %d %s, the text is %q, %v", test.prompt, format, code, bad, m.Text, err)
			}
		}
	}
}

// The README's call of map fits the cells that a pair is opened with by default.
func TestMapOfTheReadme(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^bin/realign (map .*)$`).FindStringSubmatch(string(text))
	if line == nil {
		t.Fatal("the README calls no map")
	}
	var args []string
	for _, m := range regexp.MustCompile(`"([^"]*)"|(\S+)`).FindAllStringSubmatch(line[1], -1) {
		args = append(args, m[1]+m[2])
	}
	if code, out, bad := runCommand(t, "", args...); code != 0 || !strings.Contains(out, "% of the interval") {
		t.Errorf("%v: code %d, %.200q, %q", args, code, out, bad)
	}
}

// Of several aligned models the map is along a line, and says what decode says at the λ of any place on it.
func TestMapAlongALine(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	same := []string{"--pair", "demo:warm,terse", "--prompt", "abcabd", "--seed", "7", "--max-tokens", "12", "--temperature", "0.9"}
	code, out, bad := runCommand(t, "", append([]string{"map", "--from", "-0.5:0.5", "--to", "1.5:0", "--json"}, same...)...)
	if code != 0 {
		t.Fatalf("code %d, %s", code, bad)
	}
	var m struct {
		From, To float64
		Line     *decode.Line
		Branches []decode.Branch
	}
	if err := json.Unmarshal([]byte(out), &m); err != nil || m.Line == nil || m.From != 0 || m.To != 1 || len(m.Branches) < 3 {
		t.Fatalf("map %+v, %v", m, err)
	}
	for _, b := range m.Branches {
		lambda := m.Line.At((b.From + b.To) / 2).String()
		code, text, bad := runCommand(t, "", append([]string{"decode", "--lambda=" + lambda}, same...)...)
		want := strings.Join(b.Pieces, "")
		if text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), " […length]"); code != 0 || text != want {
			t.Errorf("λ = %s: code %d %s, decode says %q, the map %q", lambda, code, bad, text, want)
		}
	}
	code, text, bad := runCommand(t, "", append([]string{"map", "--to", "1:1"}, same...)...)
	if code != 0 || !strings.Contains(text, "── λ from 0:0 to ") || !strings.Contains(text, "to 1:1 ──") {
		t.Errorf("code %d, %q, %q", code, text, bad)
	}
}

func TestBadMaps(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	for _, test := range []struct {
		args []string
		say  string
	}{
		{[]string{"--from", "x"}, "--from"},
		{[]string{"--from", "-6"}, "--from: -6 is outside -5 to 20"},
		{[]string{"--from", "2", "--to", "1"}, "--to: 1 is not above 2"},
		{[]string{"--to", "NaN"}, "--to"},
		{[]string{"--branches=-1"}, "--branches: -1 is outside 1 to 256"},
		{[]string{"--sample", "-1"}, "--sample"},
		{[]string{"--top-k", "40"}, "--top-k: does not go with a λ-map"},
		{[]string{"--top-p", "0.9"}, "--top-p: does not go with a λ-map"},
		{[]string{"--repeat-penalty", "1.1"}, "--repeat-penalty: does not go with a λ-map"},
		{[]string{"--pair", "demo:warm,terse"}, `--to: "2" has 1 values, and there are 2 aligned models`},
		{[]string{"--pair", "demo:warm,terse", "--to", "0:0"}, "--to: is the same as"},
		{[]string{"--pair", "demo:warm,terse", "--to", "0:21"}, "--to: 21 is outside -5 to 20"},
		{[]string{"--pair", "demo:warm,terse", "--to", "1:0, 0:1"}, "--to: has 2 λ"},
		{[]string{"--prompt", ""}, "--prompt: is empty"},
		{[]string{"--branches", "60", "--max-tokens", "400"}, "--max-tokens: 60 texts of 400 tokens, after a prompt of 6, need"},
		{[]string{"--branches", "200"}, "--branches: 200, at most 64"},
	} {
		code, out, bad := runCommand(t, "", append([]string{"map", "--prompt", "abc"}, test.args...)...)
		if code != 2 || !strings.Contains(bad, test.say) || strings.Count(bad, "\n") != 1 || out != "" {
			t.Errorf("%v: code %d, output %q, error %q, want %q", test.args, code, out, bad, test.say)
		}
	}
}
