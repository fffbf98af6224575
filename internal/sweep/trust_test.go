package sweep

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/gauge"
)

// What is said of a λ is what the outputs' weights, or their particles, say: the distance of the law that they were drawn from, within its
// interval, and nothing at λ = 0 and 1, of one sample a prompt, and under truncation.
func TestTrust(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	of := func(edit func(*Config), samples int) *Report {
		c := Default()
		c.Pair, c.Samples, c.Lambda.Values = "table", samples, []float64{0, 0.25, 0.5, 1, 2}
		for range 200 {
			c.Prompts.Rows = append(c.Prompts.Rows, Row{Text: "a"})
		}
		edit(&c)
		sd := map[float64]float64{0.25: 0.1, 0.5: 0.5, 2: 1.5}
		changed := map[float64]float64{0.25: 0.05, 0.5: 0.2, 2: 0.6}
		var outputs []Output
		for p := range c.Prompts.Rows {
			shift := 3 * random.NormFloat64() // log Z of the prompt
			for _, l := range c.Lambda.Values {
				for s := range samples {
					o := Output{Cell: Cell{Prompt: p, Lambda: l, Sample: s}, Tokens: 9, Finish: decode.EndStop, LogZ: shift + sd[l]*random.NormFloat64()}
					if c.Sampling.Exact > 0 && sd[l] > 0 {
						o.Exact = &decode.Exact{Particles: 8, Changed: random.Float64() < changed[l]}
					}
					outputs = append(outputs, o)
				}
			}
		}
		return Analyse(&Setup{Config: c, Aligned: "warm"}, outputs)
	}
	plain := of(func(*Config) {}, 4)
	for i, want := range []gauge.Level{"", gauge.Close, gauge.Off, "", gauge.Far} {
		got := plain.Lambdas[i].Trust
		if want == "" {
			if got != nil {
				t.Errorf("λ = %v: %+v", plain.Lambdas[i].Lambda, got)
			}
			continue
		}
		sd := map[gauge.Level]float64{gauge.Close: 0.1, gauge.Off: 0.5, gauge.Far: 1.5}[want]
		true_ := gauge.Distance(sd * sd)
		if got == nil || got.Level != want || got.Corrected || got.Distance.Low > true_ || got.Distance.High < true_ || math.Abs(got.Distance.Estimate-true_) > 0.03 {
			t.Errorf("λ = %v: %+v, want %s, %.3f", plain.Lambdas[i].Lambda, got, want, true_)
		}
	}
	exact := of(func(c *Config) { c.Sampling.Exact = 8 }, 2)
	for i, want := range []float64{0, 0.05, 0.2, 0, 0.6} {
		if got := exact.Lambdas[i].Trust; want > 0 && (got == nil || !got.Corrected || math.Abs(got.Distance.Estimate-want) > 0.06 || !strings.Contains(got.Words(), "changed")) {
			t.Errorf("λ = %v: %+v, want %v", exact.Lambdas[i].Lambda, got, want)
		}
	}
	for name, r := range map[string]*Report{
		"one sample": of(func(*Config) {}, 1), "truncated": of(func(c *Config) { c.Sampling.TopK = 3 }, 4), "cold": of(func(c *Config) { c.Sampling.Temperature = 0.7 }, 4),
	} {
		for _, l := range r.Lambdas {
			if l.Trust != nil {
				t.Errorf("%s: %+v", name, l.Trust)
			}
		}
	}
}
