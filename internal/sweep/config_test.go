package sweep

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/experiment"
	"realign/internal/fault"
)

// TestPrompts: rows in a configuration are read as those of a file are, conversations and other columns with them, and what
// cannot be decoded is named by its place.
func TestPrompts(t *testing.T) {
	text := `["one", {"prompt":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"two"}],"source":"web","category":"k"}]`
	var p Prompts
	if err := json.Unmarshal([]byte(text), &p); err != nil || len(p.Rows) != 2 || p.Rows[1].Text != "two" || len(p.Rows[1].History) != 2 || string(p.Rows[1].Other["source"]) != `"web"` {
		t.Fatalf("%+v, %v", p, err)
	}
	c := Default()
	c.Prompts = p
	if m := c.Prompt(1).Messages; len(m) != 3 || m[0].Content != "a" || m[1].Role != "assistant" || m[2].Content != "two" {
		t.Errorf("%+v", m)
	}
	set, err := ReadPrompts(strings.NewReader("id,prompt,category,source\n1,one,k,web\n"), "a.csv")
	if err != nil || set.Prompts[0].Text != "one" || string(set.Prompts[0].Other["source"]) != `"web"` {
		t.Errorf("%+v, %v", set, err)
	}
	for _, test := range []struct{ mode, rows, says string }{
		{"chat", `["a",{"prompt":" "}]`, "prompts[1]: the prompt is empty"},
		{"chat", `["a","` + strings.Repeat("x", decode.MaxPromptBytes+1) + `"]`, "prompts[1]: 262145 bytes with system prompt"},
		{"plain", text, "prompts[1]: a conversation needs the chat template"},
	} {
		_, err := Parse([]byte(`{"pair":"demo","mode":"` + test.mode + `","prompts":` + test.rows + `,"lambda":[0,1],"rewards":["length"]}`))
		if err == nil {
			c, _ := Parse([]byte(`{"pair":"demo","mode":"` + test.mode + `","prompts":` + test.rows + `,"lambda":[0,1],"rewards":["length"]}`))
			err = c.Validate()
		}
		if fault.KindOf(err) != fault.Invalid || !strings.HasPrefix(err.Error(), test.says) {
			t.Errorf("%.80s: %v, want one that says %q", test.rows, err, test.says)
		}
	}
}

func TestGrid(t *testing.T) {
	for text, want := range map[string][]float64{
		`[1, 0, 0.5]`:                    {0, 0.5, 1},
		`["1/2", 0, "1"]`:                {0, 0.5, 1},
		`"0, 1/2, 1"`:                    {0, 0.5, 1},
		`{"from":0,"to":0.3,"step":0.1}`: {0, 0.1, 0.2, 0.3},
		`{"from":-1,"to":1,"points":3}`:  {-1, 0, 1},
		`{"from":0,"to":2}`:              {0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2},
		`{"from":0,"to":1,"step":0.3}`:   {0, 0.3, 0.6, 0.9},
	} {
		var g Grid
		if err := json.Unmarshal([]byte(text), &g); err != nil || !slices.Equal(g.Values, want) {
			t.Errorf("%s is %v (%v), want %v", text, g.Values, err, want)
		}
		fine := experiment.EvaluationGrid(g.Values)
		if !slices.IsSorted(fine) || len(slices.Compact(slices.Clone(fine))) != len(fine) || len(fine) <= 40 {
			t.Errorf("%s: %v", text, fine)
		}
		for _, l := range want {
			if !slices.Contains(fine, l) {
				t.Errorf("%s: the fine grid lacks %g", text, l)
			}
		}
	}
	for _, text := range []string{`[]`, `[0, 0]`, `{"from":0}`, `{"from":1,"to":0}`, `{"from":0,"to":1,"step":-1}`, `{"from":0,"to":1,"step":2}`, `{"from":0,"to":1,"step":1,"points":2}`, `"all"`, `"0,5"`, `["0,5", 1]`, `[[1], 2]`} {
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
	c.Prompts.Rows = []Row{{Text: "who?", Context: "it was her"}, {Text: "{context}", Context: "{prompt}", System: "be brief"}}
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
}

func TestState(t *testing.T) {
	if !Running.Can(Paused) || !Paused.Can(Running) || Done.Can(Running) || Cancelled.Can(Running) || !Done.Ended() || Paused.Ended() {
		t.Error("states")
	}
}
