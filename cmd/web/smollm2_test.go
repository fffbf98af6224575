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

// golden is what training/smollm2/parity.py computed for the pair in float32.
type golden struct {
	Adapter string
	Prompts []struct {
		Prompt             string
		Tokens             []decode.Token
		Reference, Aligned struct {
			IDs    []decode.Token `json:"ids"`
			Logits []float64      // less the mean over the vocabulary
		}
	}
}

// openLarger loads the larger pair, or skips the test.
func openLarger(t *testing.T) (decode.Pair, golden) {
	t.Helper()
	p, err := pair.Load(filepath.Join("..", "..", "models", "smollm2"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Installed(); err != nil {
		t.Skip(err)
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

// The larger pair gives what PyTorch gives on the same weights: the prompts' tokens, and the largest logits
// of the reference and of the adapter's model. llama.cpp rounds what it multiplies with quantised weights
// to eight bits, PyTorch does not, so logits are near and not equal.
func TestLargerPairEqualsPyTorch(t *testing.T) {
	models, g := openLarger(t)
	defer models.Close()
	aligned, err := models.Aligned(g.Adapter)
	if err != nil {
		t.Fatal(err)
	}
	worst := 0.0
	for _, p := range g.Prompts {
		tokens, err := models.Vocabulary().EncodeChat([]decode.Message{{Role: "user", Content: p.Prompt}})
		if err != nil || !slices.Equal(tokens, p.Tokens) {
			t.Errorf("%q is %v (%v), want %v", p.Prompt, tokens, err, p.Tokens)
			continue
		}
		for _, m := range []struct {
			decode.Model
			ids  []decode.Token
			want []float64
		}{{models.Reference(), p.Reference.IDs, p.Reference.Logits}, {aligned, p.Aligned.IDs, p.Aligned.Logits}} {
			logits, err := lastLogits(m.Model, p.Tokens, nil)
			if err != nil {
				t.Fatal(err)
			}
			mean := 0.0
			for _, z := range logits {
				mean += float64(z) / float64(len(logits))
			}
			for i, id := range m.ids {
				worst = max(worst, math.Abs(float64(logits[id])-mean-m.want[i])/m.want[0])
			}
		}
	}
	t.Logf("%d prompts, largest difference over the largest logit %.3f", len(g.Prompts), worst)
	if !(worst < 0.05) {
		t.Error("the files and the models that were trained are not the same")
	}
}

// λ = 0 is the reference and λ = 1 the aligned model, token for token, here too: what the engine decodes
// greedily is what a loop over one model's logits gives.
func TestLargerPairEnds(t *testing.T) {
	models, g := openLarger(t)
	aligned, err := models.Aligned(g.Adapter)
	if err != nil {
		t.Fatal(err)
	}
	const length = 24
	prompt := g.Prompts[0]
	var want [2][]decode.Token
	for lane, m := range []decode.Model{models.Reference(), aligned} {
		logits, err := lastLogits(m, prompt.Tokens, nil)
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
			want[lane] = append(want[lane], best)
			if models.Vocabulary().End(best) || len(want[lane]) == length {
				break
			}
			next := decode.Row{Token: best, Pos: len(prompt.Tokens) + len(want[lane]) - 1, Want: true}
			if err := m.Forward([]decode.Row{next}); err != nil {
				t.Fatal(err)
			}
			logits = m.Logits(0)
		}
		m.Trim(0, 0)
	}
	if slices.Equal(want[0], want[1]) {
		t.Errorf("the adapter changes nothing in %d tokens", length)
	}
	engine := decode.NewEngine(models, decode.Config{})
	defer engine.Close()
	for lane, tokens := range want {
		var got []decode.Token
		job, err := engine.Start(decode.Request{
			Aligned:  []string{g.Adapter},
			Prompt:   decode.Prompt{Messages: []decode.Message{{Role: "user", Content: prompt.Prompt}}},
			Sampling: decode.Sampling{MaxTokens: length, TopP: 1},
			Lanes:    []decode.Lane{{Lambda: decode.Vector{float64(lane)}}},
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
		if !slices.Equal(got, tokens) {
			t.Errorf("λ = %d:\n got %v\nwant %v", lane, got, tokens)
		}
	}
}
