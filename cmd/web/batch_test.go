package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/prompt"
)

// TestBadRows: each ends with one line that names the row's line, before anything is decoded.
func TestBadRows(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	good := `{"prompt":"abc"}` + "\n"
	for _, test := range []struct {
		rows string
		say  string
		args []string
	}{
		{"", "--prompts: give at least one", nil},
		{"\n \n", "--prompts: give at least one", nil},
		{good + "\nabc\n", "--prompts: line 3, column 1: is not JSON", nil},
		{good + `{"prompt":"abc"`, "--prompts: line 2, column 15: is not JSON", nil},
		{good + `{"prompt":"abc"} x`, "--prompts: line 2, column 18: is not JSON", nil},
		{good + `["abc"]`, "--prompts: line 2: “messages” is not a list of messages", nil},
		{good + `{"id":"x"}`, "--prompts: line 2: has neither “prompt” nor “messages”", nil},
		{good + `null`, "--prompts: line 2: is null, where a text, an object", nil},
		{`{"prompt":"abc","messages":[{"role":"user","content":"abc"}]}`, "--prompts: line 1: has both", nil},
		{`{"messages":[]}`, "--prompts: line 1: “messages” is empty", nil},
		{`{"prompt":7}`, "--prompts: line 1: “prompt” is a number", nil},
		{`{"messages":[{"role":"user","content":7}]}`, "--prompts: line 1: “messages”: message 1: its content is a number", nil},
		{`{"messages":[{"role":"robot","content":"abc"}]}`, `--prompts: line 1: “messages”: message 1 is of the role "robot"`, nil},
		{`{"prompt":" "}`, "--prompts: line 1: the prompt is empty", nil},
		{"{\"prompt\":\"\xff\"}", "--prompts: line 1, column 12: is not valid UTF-8", nil},
		{`{"prompt":"` + strings.Repeat("a", decode.MaxPromptBytes+1) + `"}`, "--prompts: line 1: prompt:", nil},
		{good + strings.Repeat("a", prompt.MaxRow+1), "--prompts: line 2: is longer than", nil},
		{`{"prompt":"abc","seed":-1}`, "--prompts: line 1: “seed” is -1, which is not a whole number", nil},
		{`{"prompt":"abc","id":true}`, "--prompts: line 1: “id” is true or false", nil},
		{`{"prompt":"abc","id":"a"}` + "\n\n" + `{"prompt":"abc","id":"\u0061"}`, "--prompts: line 3: id: line 1 has it already", nil},
		{good + `{"prompt":"abc","id":1}`, "--prompts: line 2: id: line 1 has it already", nil},
		{`{"messages":[{"role":"system","content":"abc"},{"role":"user","content":"abc"}]}`, "--prompts: line 1: a conversation and a system prompt need the chat template", []string{"--text"}},
		{`{"messages":[{"role":"system","content":"abc"},{"role":"user","content":"abc"}]}`, "--prompts: line 1: begins with a system prompt", []string{"--system", "a"}},
		{good, "--max-tokens: 0 is outside", []string{"--max-tokens", "0"}},
		{good, "--lambda", []string{"--lambda", "x"}},
	} {
		code, out, bad := runCommand(t, test.rows, append([]string{"decode", "--prompts", "-"}, test.args...)...)
		if code != 2 || !strings.Contains(bad, test.say) || strings.Count(bad, "\n") != 1 || out != "" {
			t.Errorf("%.80q %v: code %d, output %q, error %q, want %q", test.rows, test.args, code, out, bad, test.say)
		}
	}
	for _, args := range [][]string{{"--prompts", "/nowhere.jsonl"}, {"--prompts", t.TempDir()}, {"--prompts", "-", "--prompt", "abc"}} {
		if code, out, bad := runCommand(t, good, append([]string{"decode"}, args...)...); code != 2 || !strings.Contains(bad, "--prompts") || out != "" {
			t.Errorf("%v: code %d, %q, %q", args, code, out, bad)
		}
	}
}

// TestRowTooLong: what only the models can know is told with the line as well, and the rows before it stand.
func TestRowTooLong(t *testing.T) {
	rows := `{"id":"a","prompt":"abc"}` + "\n\n" + `{"id":"b","prompt":"` + strings.Repeat("a", 600) + `"}`
	code, out, bad := runCommand(t, rows, "decode", "--models", models(t), "--prompts", "-", "--lambda", "1", "--max-tokens", "3")
	if code != 2 || !strings.HasPrefix(bad, "realign: --prompts: line 3: prompt: 603 tokens") || !strings.HasPrefix(out, `{"id":"a"`) || strings.Count(out, "\n") != 1 {
		t.Errorf("code %d: %q, %q", code, out, bad)
	}
}

const threeRows = `{"id":"film","prompt":"abc","category":"ignored"}

{"id":7.50,"messages":[{"role":"user","content":"ab"},{"role":"assistant","content":"ba"},{"role":"user","content":"c"}],"seed":11}
{"prompt":"abc"}
`

// TestBatch: each row's replies are what the row decoded alone gives, and the sums are those of its tokens.
func TestBatch(t *testing.T) {
	dir := models(t)
	flags := []string{"--models", dir, "--pair", "demo:warm,terse", "--lambda", "0.5:0.2,1:0,0:0", "--samples", "2", "--seed", "7", "--max-tokens", "6", "--temperature", "1"}
	file := filepath.Join(t.TempDir(), "prompts.jsonl")
	if err := os.WriteFile(file, []byte(threeRows), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, bad := runCommand(t, "", append([]string{"decode", "--prompts", file}, flags...)...)
	if code != 0 || bad != "" {
		t.Fatalf("code %d: %s", code, bad)
	}
	_, events, _ := runCommand(t, threeRows, append([]string{"decode", "--prompts", "-", "--json"}, flags...)...)
	_, alone, _ := runCommand(t, "abc", append([]string{"decode", "--prompt", "-", "--json"}, flags...)...)

	// The first and the last row are the prompt alone, but for the row's id.
	for _, id := range []string{`"film"`, "4"} {
		var b strings.Builder
		for line := range strings.Lines(events) {
			if rest, ours := strings.CutPrefix(line, `{"row":`+id+`,`); ours {
				b.WriteString("{" + rest)
			}
		}
		if a, b := sorted(alone), sorted(b.String()); a != b || a == "" {
			t.Errorf("row %s:\n%s\nalone:\n%s", id, b, a)
		}
	}
	if !strings.Contains(events, `{"row":7.50,"type":"stats"`) {
		t.Error("an id is not written as it was read")
	}

	type key struct {
		id   string
		lane int
	}
	want := map[key]*reply{}
	for line := range strings.Lines(events) {
		var e struct {
			Row json.RawMessage
			decode.Event
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		k := key{string(e.Row), e.Lane}
		switch e.Type {
		case "token":
			r := want[k]
			if r == nil {
				r = &reply{Logp: &decode.Logp{Aligned: decode.Vector{0, 0}}, KLAligned: decode.Vector{0, 0}, KLReference: new(float64), LogZ: new(float64)}
				want[k] = r
			}
			r.Text += e.Text
			r.Tokens = append(r.Tokens, e.ID)
			r.Logp.Reference += e.Logp.Reference
			r.Logp.Mixture += e.Logp.Mixture
			*r.KLReference += *e.KLReference
			*r.LogZ += *e.LogZ
			for i := range r.KLAligned {
				r.Logp.Aligned[i] += e.Logp.Aligned[i]
				r.KLAligned[i] += e.KLAligned[i]
			}
		case "end":
			r := want[k]
			r.Reason, r.Lambda, r.Sample, r.Lane, r.ID = e.Reason, e.Lambda, e.Sample, e.Lane, e.Row
		}
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 18 || len(want) != 18 {
		t.Fatalf("%d replies, %d in the events; want 18", len(lines), len(want))
	}
	for i, line := range lines {
		var got reply
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if lane := i % 6; got.Lane != lane || !strings.HasPrefix(line, fmt.Sprintf(`{"id":%s,"lane":%d,`, []string{`"film"`, "7.50", "4"}[i/6], lane)) {
			t.Errorf("line %d is out of order: %s", i, line)
		}
		r := want[key{string(got.ID), got.Lane}]
		if data, _ := json.Marshal(r); string(data) != line {
			t.Errorf("reply %s\nwant  %s", line, data)
		}
		if l := got.Logp; math.Abs(l.Mixture-(l.Reference+dot(got.Lambda, l.Aligned, l.Reference)-*got.LogZ)) > 1e-9 {
			t.Errorf("log π_λ is not the mixture of the others less log Z: %s", line)
		}
	}

	// --seed is what a row without a seed of its own has.
	replies := func(rows, seed string) string {
		_, out, _ := runCommand(t, rows, "decode", "--models", dir, "--prompts", "-", "--lambda", "1", "--max-tokens", "40", "--seed", seed)
		return out
	}
	if a, b := replies(`{"id":1,"prompt":"abc","seed":11}`, "7"), replies(`{"id":1,"prompt":"abc"}`, "11"); a != b || a == replies(`{"id":1,"prompt":"abc"}`, "7") {
		t.Error("a row's own seed is not what --seed would be")
	}
	// --text and --system reach every row.
	for _, flag := range [][]string{{"--text"}, {"--system", "cab"}} {
		_, a, _ := runCommand(t, threeRows[:strings.Index(threeRows, "\n")], append(append([]string{"decode", "--prompts", "-", "--json"}, flags...), flag...)...)
		_, b, _ := runCommand(t, "", append(append([]string{"decode", "--prompt", "abc", "--json"}, flags...), flag...)...)
		if a = strings.ReplaceAll(a, `"row":"film",`, ""); sorted(a) != sorted(b) {
			t.Errorf("%v: not as with --prompt", flag)
		}
	}
	// Without a trace there is nothing to sum.
	if _, out, _ := runCommand(t, threeRows, "decode", "--models", dir, "--prompts", "-", "--no-trace", "--max-tokens", "3"); strings.Contains(out, "logp") || !strings.Contains(out, `"tokens":[`) {
		t.Errorf("--no-trace: %s", out)
	}
}

// dot is Σ λᵢ (aᵢ − r).
func dot(lambda, a decode.Vector, r float64) (x float64) {
	for i := range a {
		x += lambda[i] * (a[i] - r)
	}
	return x
}

// TestBatchInterrupt: what was decoded is printed, and no further row is begun.
func TestBatchInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := cancelWriter{cancel: cancel}
	var bad bytes.Buffer
	code := Run(ctx, []string{"decode", "--models", models(t), "--prompts", "-", "--lambda", "1", "--max-tokens", "3"},
		env{stdin: strings.NewReader(threeRows), stdout: &out, stderr: &bad, open: openTable})
	if code != 130 || !strings.HasPrefix(out.String(), `{"id":"film"`) || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("code %d: %s%s", code, out.String(), bad.String())
	}
}

// cancelWriter cancels once something was written.
type cancelWriter struct {
	bytes.Buffer
	cancel func()
}

func (w *cancelWriter) Write(b []byte) (int, error) {
	w.cancel()
	return w.Buffer.Write(b)
}
