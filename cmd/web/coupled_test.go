//go:build cgo && !nollama

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"gonum.org/v1/gonum/stat"

	"realign/internal/decode"
	"realign/internal/pair"
	"realign/internal/sweep"
	"realign/internal/sweep/reward"
)

// TestCoupledDifferences: on the demo pair the difference of a reward between neighbouring λ must vary at most half as much
// with common random numbers as with seeds of their own. Where a step of λ is a long one, as with the length model of
// β = 0.1, it saves less. What it is at wider steps is in docs/guide.md.
func TestCoupledDifferences(t *testing.T) {
	p, err := pair.Load(filepath.Join("..", "..", "models", "demo"))
	if err != nil {
		t.Fatal(err)
	}
	models, err := openModels(context.Background(), p, modelFlags{GPULayers: "0"}, func(float64) {})
	if err != nil {
		t.Fatal(err)
	}
	engine := decode.NewEngine(models, decode.Config{})
	defer engine.Close()
	data, err := os.ReadFile(filepath.Join("..", "..", "examples", "dialogue.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := sweep.ReadPrompts(bytes.NewReader(data), "dialogue.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	rows := set.Prompts[:40]

	for _, test := range []struct {
		aligned, reward string
		beta, most      float64
	}{{"warmth-b0.1", "sentiment", 0.1, 0.5}, {"length-b0.2", "length", 0.2, 0.5}, {"length-b0.1", "length", 0.1, 0.6}} {
		t.Run(test.aligned, func(t *testing.T) {
			c := sweep.Default()
			c.Prompts.Rows, c.Seed, c.Sampling.MaxTokens = rows, 1, 64
			c.Rewards = []sweep.Reward{{Reward: test.reward, Name: test.reward}}
			rewards, err := reward.Open(t.Context(), &c, reward.Environment{Beta: test.beta})
			if err != nil {
				t.Fatal(err)
			}
			item := sweep.Item{Lambdas: []float64{0.5, 0.6, 0.75, 1, 1.1, 1.25, 1.5}, Samples: []int{0, 1, 2, 3, 4, 5, 6, 7}}
			c.Lambda.Values = item.Lambdas
			e := (&sweep.Setup{Config: c, Aligned: test.aligned}).Experiment()
			// The variances within prompts, added up: of differences with one seed, and with two.
			coupled, apart := map[string]float64{}, map[string]float64{}
			for item.Prompt = range rows {
				outputs := make([]sweep.Output, len(item.Cells()))
				job, err := engine.Start(e.Request(item, ""), func(e decode.Event) {
					if e.Type == decode.EventToken || e.Type == decode.EventEnd {
						outputs[e.Lane].Text += e.Text
					}
					if e.Type == decode.EventToken {
						outputs[e.Lane].Tokens++
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				<-job.Done()
				values := map[float64][]float64{}
				same := make([]sweep.Row, len(outputs))
				for i := range same {
					same[i] = rows[item.Prompt]
				}
				for i, v := range rewards[0].Score(t.Context(), same, outputs) {
					if !v.OK() {
						t.Fatal(v.Missing)
					}
					at := item.Cells()[i].Lambda
					values[at] = append(values[at], v.Value)
				}
				for _, from := range []float64{0.5, 1} {
					for _, step := range []float64{0.1, 0.25, 0.5} {
						a, b := values[from], values[from+step]
						difference := make([]float64, len(a))
						for i := range a {
							difference[i] = b[i] - a[i]
						}
						key := fmt.Sprintf("λ from %g to %g", from, from+step)
						coupled[key] += stat.Variance(difference, nil)
						apart[key] += stat.Variance(a, nil) + stat.Variance(b, nil)
					}
				}
			}
			for _, from := range []float64{0.5, 1} {
				for _, step := range []float64{0.1, 0.25, 0.5} {
					key := fmt.Sprintf("λ from %g to %g", from, from+step)
					ratio := coupled[key] / apart[key]
					t.Logf("%s: %.2f", key, ratio)
					if step == 0.1 && !(ratio <= test.most) {
						t.Errorf("%s: the variance of the paired difference is %.2f of that of independent seeds, want at most %g", key, ratio, test.most)
					}
				}
			}
		})
	}
}
