package config_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"realign/internal/fault"
	"realign/internal/sweep/config"
)

const whole = `
name: length
pair: demo
aligned: length-b0.1
prompts:
  - what is your favourite film?
  - {prompt: who wrote it, context: "A. Writer wrote it.", reference: A. Writer, category: books}
lambda: {from: 0, to: 2, step: 0.25}
rewards:
  - length
  - reward: sentiment-check
    name: check
    parameters: {a: 1}
evaluation: check
samples: 3
sampling: {max_tokens: 40}
seed: 18446744073709551615
budget: 100_000
refine: {rounds: 1, width: 0.2}
`

func TestParse(t *testing.T) {
	c, err := config.Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if want := []float64{0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2}; !slices.Equal(c.Lambda.Values, want) {
		t.Errorf("λ %v, want %v", c.Lambda.Values, want)
	}
	if c.Seed != 1<<64-1 || c.Budget != 100000 || c.Samples != 3 || c.Sampling.MaxTokens != 40 || c.Sampling.Temperature != 1 || c.Sampling.TopP != 1 {
		t.Errorf("%+v", c)
	}
	if len(c.Prompts.Rows) != 2 || c.Prompts.Rows[1].Category != "books" || c.Objective != "length" || c.Rewards[1].Name != "check" {
		t.Errorf("%+v", c)
	}
	if c.Refine.Rounds != 1 || c.Refine.Width != 0.2 {
		t.Errorf("%+v", c.Refine)
	}
}

// TestDocumentation: the file that the documentation shows is one.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../../docs/sweeps.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	c, err := config.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if c.Prompts.Path != "prompts.jsonl" || len(c.Rewards) != 3 || c.Evaluation != "sentiment-check" || c.Refine.Width != 0.2 {
		t.Errorf("%+v", c)
	}
}

// TestRefusals changes one thing of a good configuration at a time: each must be refused by the name of its
// field, with the limit or the nearest valid name.
func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct{ old, new, field, says string }{
		"unknown field":           {"samples: 3", "smaples: 3", "smaples", `nearest is "samples"`},
		"unknown nested field":    {"max_tokens: 40", "max_token: 40", "sampling.max_token", `nearest is "max_tokens"`},
		"unknown range field":     {"step: 0.25", "stp: 0.25", "lambda.stp", `nearest is "step"`},
		"unknown reward field":    {"name: check", "nmae: check", "rewards.nmae", `nearest is "name"`},
		"reversed range":          {"from: 0, to: 2", "from: 2, to: 0", "lambda", "reversed: from 2 is above to 0"},
		"empty range":             {"from: 0, to: 2", "from: 2, to: 2", "lambda", "empty"},
		"too fine":                {"step: 0.25", "step: 0.01", "lambda.step", "at most 33"},
		"λ outside":               {"to: 2", "to: 200, points: 3", "lambda", "both"},
		"λ beyond":                {"to: 2, step: 0.25", "to: 200, points: 3", "lambda", "outside -5 to 20"},
		"no prompts":              {"\n  - what is your favourite film?\n  - {prompt: who wrote it, context: \"A. Writer wrote it.\", reference: A. Writer, category: books}", " []", "prompts", "give at least one"},
		"prompts of a wrong sort": {"prompts:", "prompts: {a: 1}\nignored:", "ignored", "no such field"},
		"empty prompt":            {"what is your favourite film?", "\"  \"", "prompts[0]", "empty"},
		"no pair":                 {"pair: demo", "", "pair", "missing"},
		"no such evaluation":      {"evaluation: check", "evaluation: chek", "evaluation", `nearest is "check"`},
		"evaluation is objective": {"evaluation: check", "evaluation: length", "evaluation", "objective itself"},
		"samples":                 {"samples: 3", "samples: 0", "samples", "1 to 64"},
		"samples of a wrong sort": {"samples: 3", "samples: many", "samples", "whole number"},
		"sampling":                {"max_tokens: 40", "temperature: -1", "sampling.temperature", "outside 0 to 100"},
		"budget":                  {"budget: 100_000", "budget: 1079", "budget", "too few for one prompt, which may take 1080"},
		"negative budget":         {"budget: 100_000", "budget: -1", "budget", "from 0"},
		"rounds":                  {"rounds: 1", "rounds: 21", "refine.rounds", "0 to 20"},
		"width":                   {"width: 0.2", "width: -0.2", "refine.width", "from 0"},
		"not YAML":                {"samples: 3", "samples: [3", "config", "YAML"},
		"a number for a key":      {"samples: 3", "3: 3", "config", ""},
		"mode":                    {"samples: 3", "mode: loud", "mode", "neither chat nor plain"},
		"template":                {"samples: 3", "template: hello", "template", "{prompt}"},
		"two of a name":           {"name: check", "name: length", "rewards", "two are called"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(whole, test.old, test.new, 1)
			if text == whole {
				t.Fatal("nothing was changed")
			}
			c, err := config.Parse([]byte(text))
			if err == nil {
				err = c.Validate()
			}
			f := fault.Of(err)
			if f == nil || f.Kind != fault.Invalid || f.Field != test.field || !strings.Contains(f.Error(), test.says) {
				t.Errorf("%v, want an invalid %s that says %q", err, test.field, test.says)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(`{"pair":"demo","lambda":[0,1],"prompts":["a"],"rewards":["length"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse(data)
		if err != nil {
			if k := fault.KindOf(err); k != fault.Invalid {
				t.Errorf("%v is of kind %s", err, k)
			}
			return
		}
		if len(c.Evaluate()) < 2 {
			t.Errorf("a grid of %v", c.Lambda.Values)
		}
	})
}
