package sweep

import (
	"math"
	"strings"
	"testing"

	"realign/internal/decode"
)

// TestTextsPart: of two sweeps that differ in what λ mixes, the comparison says by λ how many texts are equal, and how many
// words they share before they part; sweeps that do not differ in that, or have other noise, are not compared so.
func TestTextsPart(t *testing.T) {
	none := func(int, float64, int) map[string]Value { return map[string]Value{"x": Of(1), "y": Of(1)} }
	s, logits := made([]float64{0, 1, 2}, 20, none)
	_, weights := made([]float64{0, 1, 3}, 20, none)
	for i := range logits {
		logits[i].Text = "one two three four"
	}
	for i := range weights {
		o := &weights[i]
		o.Untraced, o.Text = true, "one two three four"
		if o.Lambda == 1 && o.Prompt%2 == 0 {
			o.Text = "one two another word"
		}
	}
	other := *s
	other.Config.Mix = decode.MixWeights
	compare := func(second *Setup) Comparison {
		return Compare(Side{s, Analyse(s, logits), logits}, Side{second, Analyse(second, weights), weights})
	}
	c := compare(&other)
	if len(c.Texts) != 2 || c.Texts[0].Lambda != 0 || c.Texts[1].Lambda != 1 {
		t.Fatalf("%+v", c.Texts)
	}
	if p := c.Texts[0]; p.Texts != 40 || p.Equal.Estimate != 1 || p.Common.Estimate != 1 {
		t.Errorf("λ = 0: %+v, equal %v, common %v", p, p.Equal, p.Common)
	}
	if p := c.Texts[1]; p.Texts != 40 || p.Equal.Estimate != 0.5 || math.Abs(p.Common.Estimate-0.75) > 1e-12 || !(p.Equal.Low < 0.5 && p.Equal.High > 0.5) {
		t.Errorf("λ = 1: %+v, equal %v, common %v", p, p.Equal, p.Common)
	}
	if c := compare(s); c.Texts != nil {
		t.Errorf("the same mix: %+v", c.Texts)
	}
	other.Config.Seed++
	if c := compare(&other); c.Texts != nil {
		t.Errorf("other noise: %+v", c.Texts)
	}
}

// TestMixOfASweep: with λ in the weights nothing is reweighted, and the ticket does not claim a KL that nobody recorded.
func TestMixOfASweep(t *testing.T) {
	s, outputs := made([]float64{0, 0.5, 1, 1.5, 2}, 30, func(p int, l float64, sample int) map[string]Value {
		return map[string]Value{"x": Of(-(l-1.5)*(l-1.5) + wobble(p, sample)), "y": Of(1)}
	})
	s.Config.Sampling, s.Config.Mix = decode.Sampling{MaxTokens: 10, Temperature: 1, TopP: 1}, decode.MixWeights
	for i := range outputs {
		o := &outputs[i]
		o.Untraced, o.KL, o.LogZ = true, 0, 0
	}
	if s.Config.Reweights() || s.Config.WholeReplies() || s.Experiment().Evaluate != nil || s.Experiment().Mix != decode.MixWeights {
		t.Error("it is reweighted")
	}
	r := Analyse(s, outputs)
	if r.Best == nil || r.Mix != decode.MixWeights || r.Lambdas[2].KL != nil {
		t.Fatalf("%+v", r)
	}
	text := r.Recommendation.Markdown()
	for words, want := range map[string]bool{"nats per answer": false, "λ is in the weights": true, "Its gauge": false} {
		if got := strings.Contains(text, words); got != want {
			t.Errorf("the ticket says %q: %v\n%s", words, got, text)
		}
	}
	c := s.Config
	c.Mix = "both"
	if err := c.check(); err == nil {
		t.Error("mix both")
	}
	c.Mix, c.Sampling.Exact = decode.MixWeights, 8
	if err := c.check(); err == nil {
		t.Error("particles with λ in the weights")
	}
}
