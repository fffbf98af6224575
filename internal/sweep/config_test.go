package sweep

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/fault"
)

func TestReadPrompts(t *testing.T) {
	want := []Row{{Prompt: "one"}, {Prompt: "two, \"three\"", Context: "c", Reference: "r", Category: "k", System: "s"}}
	for name, text := range map[string]string{
		"a.jsonl": "\ufeff\"one\"\n\n{\"prompt\":\"two, \\\"three\\\"\",\"context\":\"c\",\"reference\":\"r\",\"category\":\"k\",\"system\":\"s\"}\r\n",
		"a.JSON":  `["one", {"prompt":"two, \"three\"","context":"c","reference":"r","category":"k","system":"s"}]`,
		"a.csv":   "Prompt,context,reference,category,system\none,,,,\n\"two, \"\"three\"\"\",c,r,k,s\n",
	} {
		rows, err := ReadPrompts(name, []byte(text))
		if err != nil || !slices.Equal(rows, want) {
			t.Errorf("%s: %+v, %v", name, rows, err)
		}
	}
	if rows, err := ReadPrompts("a.txt", []byte("one\n\n  two  \n")); err != nil || !slices.Equal(rows, []Row{{Prompt: "one"}, {Prompt: "two"}}) {
		t.Errorf("%+v, %v", rows, err)
	}
	for _, test := range []struct{ name, text, says string }{
		{"a.txt", " \n", "there are none"},
		{"a.csv", "", "there are none"},
		{"a.csv", "prompt,contxt\na,b\n", `line 1: there is no column "contxt"; the nearest is "context"`},
		{"a.csv", "context\nb\n", "line 1: no column is called “prompt”"},
		{"a.csv", "prompt,prompt\na,b\n", "twice"},
		{"a.csv", "prompt,context\na\n", "line 2: has another number of columns"},
		{"a.csv", "prompt,context\na,\n\n,b\n", "line 4: the prompt is empty"},
		{"a.csv", "prompt\n\"a\n", "line 2: the row that begins here has a quotation mark"},
		{"a.jsonl", "{\"prompt\":\"a\"}\n{\"promt\":\"b\"}\n", `prompts, line 2.promt: there is no such field; the nearest is "prompt"`},
		{"a.jsonl", "{\"prompt\":1}\n", "is a number where a text is needed"},
		{"a.jsonl", "{\"prompt\":", "is not JSON"},
		{"a.jsonl", "\"a\"\n\n{\"prompt\":\" \"}\n", "line 3: the prompt is empty"},
		{"a.json", "[\"a\",{\"prompt\":\" \"}]", "prompts[1]: the prompt is empty"},
		{"a.txt", "\na\xff", "line 2: is not valid UTF-8"},
		{"a.txt", "a\n" + strings.Repeat("x", decode.MaxPromptBytes+1), "line 2: 262145 bytes with system prompt and context, at most 262144"},
		{"a.jsonl", "\"a\"\n{\"prompt\":\"a\",\"reference\":\"" + strings.Repeat("x", maxRow) + "\"}\n", "line 2: has more than 1048576 bytes"},
	} {
		_, err := ReadPrompts(test.name, []byte(test.text))
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s %q: %v, want one that says %q", test.name, test.text, err, test.says)
		}
	}
}

func FuzzReadPrompts(f *testing.F) {
	f.Add("a.jsonl", []byte("{\"prompt\":\"a\"}"))
	f.Add("a.csv", []byte("prompt,context\na,b"))
	f.Add("a.json", []byte("[\"a\"]"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		rows, err := ReadPrompts(name, data)
		if err == nil && len(rows) == 0 || err != nil && fault.KindOf(err) != fault.Invalid {
			t.Errorf("%d rows, %v", len(rows), err)
		}
	})
}

func TestGrid(t *testing.T) {
	for text, want := range map[string][]float64{
		`[1, 0, 0.5]`:                    {0, 0.5, 1},
		`{"from":0,"to":0.3,"step":0.1}`: {0, 0.1, 0.2, 0.3},
		`{"from":-1,"to":1,"points":3}`:  {-1, 0, 1},
		`{"from":0,"to":2}`:              {0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2},
		`{"from":0,"to":1,"step":0.3}`:   {0, 0.3, 0.6, 0.9},
	} {
		var g Grid
		if err := json.Unmarshal([]byte(text), &g); err != nil || !slices.Equal(g.Values, want) {
			t.Errorf("%s is %v (%v), want %v", text, g.Values, err, want)
		}
		fine := g.fine(evaluatePoints)
		if !slices.IsSorted(fine) || len(slices.Compact(slices.Clone(fine))) != len(fine) || len(fine) <= evaluatePoints {
			t.Errorf("%s: %v", text, fine)
		}
		for _, l := range want {
			if !slices.Contains(fine, l) {
				t.Errorf("%s: the fine grid lacks %g", text, l)
			}
		}
	}
	for _, text := range []string{`[]`, `[0, 0]`, `{"from":0}`, `{"from":1,"to":0}`, `{"from":0,"to":1,"step":-1}`, `{"from":0,"to":1,"step":2}`, `{"from":0,"to":1,"step":1,"points":2}`, `"all"`} {
		var g Grid
		if err := json.Unmarshal([]byte(text), &g); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestConfigJSON: a configuration that was kept as JSON is the same configuration.
func TestConfigJSON(t *testing.T) {
	c, err := Parse([]byte(`{"pair":"demo","prompts":["a"],"lambda":{"from":0,"to":2},"rewards":["length",{"reward":"pattern","name":"p","parameters":{"pattern":"x"}}],"evaluation":"p","template":"{context} {prompt}","refine":{"rounds":0}}`))
	if err != nil {
		t.Fatal(err)
	}
	first, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	if second, _ := json.Marshal(again); string(second) != string(first) {
		t.Errorf("%s\nis read as\n%s", first, second)
	}
}

func TestReweights(t *testing.T) {
	c := Default()
	if !c.Reweights() {
		t.Error("the default sampling is from whole distributions")
	}
	for name, change := range map[string]func(c *Config){
		"greedy": func(c *Config) { c.Sampling.Temperature = 0 }, "top-k": func(c *Config) { c.Sampling.TopK = 5 },
		"top-p": func(c *Config) { c.Sampling.TopP = 0.9 }, "min-p": func(c *Config) { c.Sampling.MinP = 0.1 },
		"penalty": func(c *Config) { c.Sampling.RepeatPenalty = 1.1 },
	} {
		c := Default()
		change(&c)
		if c.Reweights() {
			t.Errorf("%s: reweighting is offered", name)
		}
	}
}

func TestPrompt(t *testing.T) {
	c := Default()
	c.System = "be kind"
	c.Prompts.Rows = []Row{{Prompt: "who?", Context: "it was her"}, {Prompt: "{context}", Context: "{prompt}", System: "be brief"}}
	m := c.Prompt(0).Messages
	if len(m) != 2 || m[0].Content != "be kind" || m[1].Content != "it was her\n\nwho?" {
		t.Errorf("%+v", m)
	}
	c.Template = "{prompt} | {context}"
	if m = c.Prompt(1).Messages; m[0].Content != "be brief" || m[1].Content != "{context} | {prompt}" {
		t.Errorf("%+v: what stands in a prompt is no template", m)
	}
	c.Mode, c.System = "plain", ""
	if p := c.Prompt(0); p.Text != "who? | it was her" || p.Messages != nil {
		t.Errorf("%+v", p)
	}
	if c.PromptSeed(0) == c.PromptSeed(1) {
		t.Error("prompts share their noise")
	}
}

func TestState(t *testing.T) {
	if !Running.Can(Paused) || !Paused.Can(Running) || Done.Can(Running) || Cancelled.Can(Running) || !Done.Ended() || Paused.Ended() {
		t.Error("states")
	}
}
