package decode_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/decode/speculate"
	"realign/internal/racetest"
)

// Guesses change no token: 200 seeds at seven λ, greedy and sampled.
func TestSpeculationEqualsPlain(t *testing.T) {
	if racetest.Enabled {
		t.Skip("minutes under the race detector, for tokens that depend on no other thread")
	}
	for name, scheme := range map[string]func() decode.Speculator{"alternating": speculate.Alternating, "drafting": speculate.Drafting} {
		t.Run(name, func(t *testing.T) { testSpeculation(t, scheme) })
	}
}

func testSpeculation(t *testing.T, scheme func() decode.Speculator) {
	pair := decodetest.New(decodetest.Options{Seed: 11, EndLogit: -2})
	e := decode.NewEngine(pair, decode.Config{Speculation: scheme})
	defer e.Close()
	accepted, tokens, passes, plainPasses := int64(0), 0, int64(0), int64(0)
	for seed := range uint64(200) {
		for _, lambda := range []float64{-0.5, 0, 0.3, 0.5, 0.8, 1, 1.5} {
			req := request(lambda)
			req.Seed, req.Sampling.Temperature = seed, []float64{0, 0.7}[seed%2]
			if seed%5 == 0 {
				req.Sampling.TopP, req.Sampling.FrequencyPenalty, req.Sampling.Stop = 0.9, 0.3, []string{"ab"}
			}
			got := run(t, e, req)
			req.Plain = true
			want := run(t, e, req)
			if !slices.Equal(got.tokens(0), want.tokens(0)) || got.text(0) != want.text(0) {
				t.Fatalf("seed %d, λ = %v: %v, plain %v", seed, lambda, got.tokens(0), want.tokens(0))
			}
			a, b := got.stats(), want.stats()
			if fmt.Sprint(a.Rows) != fmt.Sprint(b.Rows) {
				t.Fatalf("seed %d, λ = %v: rows %v, plain %v", seed, lambda, a.Rows, b.Rows)
			}
			accepted, tokens = accepted+a.Accepted, tokens+a.Tokens
			passes, plainPasses = passes+a.Passes["reference"]+a.Passes["aligned"], plainPasses+b.Passes["reference"]+b.Passes["aligned"]
		}
	}
	if accepted == 0 || passes >= plainPasses {
		t.Errorf("%d of %d tokens were accepted; %d passes, plain %d", accepted, tokens, passes, plainPasses)
	}
}

// With drafts, what is sampled has the mixture's distribution: the first two tokens of 12,800 samples against their
// exact probabilities.
func TestSpeculationSamplesTheMixture(t *testing.T) {
	pair := decodetest.New(decodetest.Options{Seed: 2, Letters: 3, EndLogit: -1})
	e := decode.NewEngine(pair, decode.Config{Speculation: speculate.Alternating})
	defer e.Close()
	warm, err := pair.Aligned("warm")
	if err != nil {
		t.Fatal(err)
	}
	const lambda, lanes, runs = 0.6, 64, 200
	req := request()
	req.Sampling = decode.Sampling{MaxTokens: 2, Temperature: 1, TopP: 1}
	counts := map[string]float64{}
	var prompt []decode.Token
	for i := range runs {
		req.Seed, req.Lanes = 77, nil
		for n := range lanes {
			req.Lanes = append(req.Lanes, decode.Lane{Index: n, Sample: i*lanes + n, Lambda: decode.Vector{lambda}})
		}
		got := run(t, e, req)
		prompt = got.all[0].Prompt.Tokens
		for n := range lanes {
			counts[fmt.Sprint(got.tokens(n))]++
		}
	}
	mixture := func(a, b decode.Token) []float64 {
		r, w := pair.Table().Next(a, b), warm.(*decodetest.Model).Next(a, b)
		p, sum := make([]float64, len(r)), 0.0
		for v := range p {
			p[v] = math.Exp((1-lambda)*float64(r[v]) + lambda*float64(w[v]))
			sum += p[v]
		}
		for v := range p {
			p[v] /= sum
		}
		return p
	}
	chi, cells, rest, restSeen := 0.0, 0, 1.0, float64(lanes*runs)
	add := func(p, seen float64) {
		want := p * lanes * runs
		if want < 8 {
			return // pooled
		}
		chi += (seen - want) * (seen - want) / want
		cells++
		rest, restSeen = rest-p, restSeen-seen
	}
	last := prompt[len(prompt)-1]
	for v, p := range mixture(prompt[len(prompt)-2], last) {
		x := decode.Token(v)
		if x == decodetest.End {
			add(p, counts[fmt.Sprint([]decode.Token{x})])
			continue
		}
		for w, q := range mixture(last, x) {
			add(p*q, counts[fmt.Sprint([]decode.Token{x, decode.Token(w)})])
		}
	}
	if want := rest * lanes * runs; want > 1 {
		chi += (restSeen - want) * (restSeen - want) / want
		cells++
	}
	if limit := (distuv.ChiSquared{K: float64(cells - 1)}).Quantile(0.999); chi > limit || cells < 10 {
		t.Errorf("χ² = %.1f over %d cells, 99.9%% of samples of the mixture are below %.1f", chi, cells, limit)
	}
}
