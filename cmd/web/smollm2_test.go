//go:build cgo && !nollama

package main

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"realign/internal/decode"
	"realign/internal/pair"
)

// golden is what training/smollm2/parity.py computed for the larger reference in float32.
type golden struct {
	Prompts []struct {
		Prompt    string
		Tokens    []decode.Token
		Reference struct {
			IDs    []decode.Token `json:"ids"`
			Logits []float64      // less the mean over the vocabulary
		}
	}
}

// openLarger loads the larger reference, twice: as a pair with itself. Without its file the test is skipped.
func openLarger(t *testing.T) (decode.Pair, golden) {
	t.Helper()
	p := &pair.Pair{Name: "smollm2", Dir: filepath.Join("..", "..", "models", "smollm2")}
	text, err := os.ReadFile(filepath.Join(p.Dir, "reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &p.Reference); err != nil {
		t.Fatal(err)
	}
	if err := p.Installed(); err != nil {
		t.Skip(err)
	}
	p.Aligned = []pair.Aligned{{Name: "itself", File: p.Reference.File}}
	for _, f := range p.Files()[:1] {
		if err := p.CheckFile(t.Context(), f, pair.OpenSums("")); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(filepath.Join("testdata", "smollm2.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	models, err := openModels(context.Background(), p, modelFlags{Threads: 1, Cells: 1024, GPULayers: "0"}, func(float64) {})
	if err != nil {
		t.Fatal(err)
	}
	return models, g
}

// The larger reference gives what PyTorch gives on the same weights: the prompts' tokens, and the largest
// logits. llama.cpp rounds what it multiplies with quantised weights to eight bits, PyTorch does not, so
// logits are near and not equal.
func TestLargerReferenceEqualsPyTorch(t *testing.T) {
	models, g := openLarger(t)
	defer models.Close()
	worst := 0.0
	for _, p := range g.Prompts {
		tokens, err := models.Vocabulary().EncodeChat([]decode.Message{{Role: "user", Content: p.Prompt}})
		if err != nil || !slices.Equal(tokens, p.Tokens) {
			t.Errorf("%q is %v (%v), want %v", p.Prompt, tokens, err, p.Tokens)
			continue
		}
		logits, err := lastLogits(models.Reference(), p.Tokens)
		if err != nil {
			t.Fatal(err)
		}
		mean := 0.0
		for _, z := range logits {
			mean += float64(z) / float64(len(logits))
		}
		want := p.Reference.Logits
		for i, id := range p.Reference.IDs {
			worst = max(worst, math.Abs(float64(logits[id])-mean-want[i])/want[0])
		}
	}
	t.Logf("%d prompts, largest difference over the largest logit %.3f", len(g.Prompts), worst)
	if !(worst < 0.05) {
		t.Error("the file is not the model that PyTorch read")
	}
}

// A pair of equal models is that model at every λ, token for token: what the engine decodes greedily is what
// a loop over the model's own logits gives.
func TestLargerReferenceAtEveryLambda(t *testing.T) {
	models, g := openLarger(t)
	const length = 24
	prompt, m := g.Prompts[0], models.Reference()
	var want []decode.Token
	logits, err := lastLogits(m, prompt.Tokens)
	if err != nil {
		t.Fatal(err)
	}
	for {
		best := decode.Token(0)
		for id, z := range logits {
			if z > logits[best] {
				best = decode.Token(id)
			}
		}
		want = append(want, best)
		if models.Vocabulary().End(best) || len(want) == length {
			break
		}
		next := decode.Row{Token: best, Pos: len(prompt.Tokens) + len(want) - 1, Want: true}
		if err := m.Forward([]decode.Row{next}); err != nil {
			t.Fatal(err)
		}
		logits = m.Logits(0)
	}
	m.Trim(0, 0)
	engine := decode.NewEngine(models, decode.Config{})
	defer engine.Close()
	for _, lambda := range []float64{0, 0.5, 1, 2} {
		var got []decode.Token
		job, err := engine.Start(decode.Request{
			Aligned:  []string{"itself"},
			Prompt:   decode.Prompt{Messages: []decode.Message{{Role: "user", Content: prompt.Prompt}}},
			Sampling: decode.Sampling{MaxTokens: length, TopP: 1},
			Lanes:    []decode.Lane{{Lambda: decode.Vector{lambda}}},
		}, func(e decode.Event) {
			if e.Type == decode.EventToken {
				got = append(got, e.ID)
			}
			if e.Error != nil {
				t.Error(e.Error.Message)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		<-job.Done()
		if !slices.Equal(got, want) {
			t.Errorf("λ = %v:\n got %v\nwant %v", lambda, got, want)
		}
	}
}
