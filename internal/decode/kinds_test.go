package decode_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/fault"
)

// kindOfPair is a pair as brute force sees it: what the reference and the aligned model say after the prompt and some tokens.
type kindOfPair struct {
	options decodetest.Options
	prompt  decode.Prompt
	models  func(p *decodetest.Pair, prompts [2][]decode.Token, said []decode.Token) (reference, aligned []float64)
}

// table opens a model of a table pair.
func table(p *decodetest.Pair, name string) *decodetest.Model {
	if name == "reference" {
		return p.Table()
	}
	m, err := p.Aligned(name)
	if err != nil {
		panic(err)
	}
	return m.(*decodetest.Model)
}

// after is what a model says, −∞ for tokens that it does not have, and everywhere once such a token was said.
func after(p *decodetest.Pair, name string, prompt, said []decode.Token) []float64 {
	m, row := table(p, name), make([]float64, p.Size())
	for v := range row {
		row[v] = math.Inf(-1)
	}
	history := slices.Concat(prompt, said)
	if int(slices.Max(history)) < m.Limits().Vocab {
		for v, x := range m.After(history) {
			row[v] = float64(x)
		}
	}
	return row
}

var kinds = map[string]kindOfPair{
	"system prompt": {
		options: decodetest.Options{Deep: true, Contrasts: map[string]decode.Contrast{"warm": {System: "fedc"}}},
		prompt:  decode.Prompt{Messages: []decode.Message{{Role: "user", Content: "abcabd"}}},
		models:  twoModels("reference", "reference"),
	},
	"context": {
		options: decodetest.Options{Deep: true, Contrasts: map[string]decode.Contrast{"warm": {Context: strings.Repeat("fedcba", 9)}}},
		prompt:  decode.Prompt{Text: "abc"},
		models:  twoModels("reference", "reference"),
	},
	"proxy": {
		options: decodetest.Options{Deep: true, Untuned: map[string]string{"warm": "warm/untuned"}, Forbidden: 0.2},
		prompt:  decode.Prompt{Text: "abcabd"},
		models: func(p *decodetest.Pair, prompts [2][]decode.Token, said []decode.Token) (reference, aligned []float64) {
			large, tuned, untuned := after(p, "reference", prompts[0], said), after(p, "warm", prompts[0], said), after(p, "warm/untuned", prompts[0], said)
			aligned = make([]float64, len(large))
			for v := range aligned {
				aligned[v] = math.Inf(-1)
				if !math.IsInf(large[v], -1) && !math.IsInf(tuned[v], -1) && !math.IsInf(untuned[v], -1) {
					aligned[v] = float64(float32(large[v] + tuned[v] - untuned[v]))
				}
			}
			return large, aligned
		},
	},
	"padded reference": {
		options: decodetest.Options{Letters: 9, Sizes: map[string]int{"warm": int(decodetest.Letters) + 6}},
		prompt:  decode.Prompt{Text: "abcabd"},
		models:  twoModels("reference", "warm"),
	},
	"padded aligned model": {
		options: decodetest.Options{Letters: 9, Sizes: map[string]int{"reference": int(decodetest.Letters) + 6}, Forbidden: 0.2, Deep: true},
		prompt:  decode.Prompt{Text: "abcabd"},
		models:  twoModels("reference", "warm"),
	},
}

func twoModels(reference, aligned string) func(*decodetest.Pair, [2][]decode.Token, []decode.Token) ([]float64, []float64) {
	return func(p *decodetest.Pair, prompts [2][]decode.Token, said []decode.Token) ([]float64, []float64) {
		return after(p, reference, prompts[0], said), after(p, aligned, prompts[1], said)
	}
}

// mixed is (1−λ)·r + λ·a; what a model of weight ≠ 0 forbids is forbidden.
func mixed(lambda float64, r, a []float64) []float64 {
	z := make([]float64, len(r))
	for v := range z {
		switch {
		case lambda == 0:
			z[v] = r[v]
		case lambda == 1:
			z[v] = a[v]
		case math.IsInf(r[v], -1) || math.IsInf(a[v], -1):
			z[v] = math.Inf(-1)
		default:
			z[v] = (1-lambda)*r[v] + lambda*a[v]
		}
	}
	return z
}

// best is the token of the highest score, and the score.
func best(z []float64, s *decode.Sampling, seed uint64, index int) (at decode.Token, top float64) {
	top = math.Inf(-1)
	for v, x := range z {
		if s.Temperature > 0 {
			x = x/s.Temperature + decode.Gumbel(seed, 0, index, decode.Token(v))
		}
		if x > top {
			at, top = decode.Token(v), x
		}
	}
	return at, top
}

// promptsOf are those of the reference and of the aligned model, as a run tells them.
func promptsOf(r *recorder) (prompts [2][]decode.Token) {
	start := r.all[0].Prompt
	prompts = [2][]decode.Token{start.Tokens, start.Tokens}
	if start.Aligned != nil {
		prompts[1] = start.Aligned[0]
	}
	return prompts
}

// Pairs with two prompts, proxies and mixed vocabularies: at every λ, with guesses and without, shared and plain, twice so that the
// second run begins with what the first has read, the tokens are those of brute force, and so are KL and log-probabilities.
func TestKindsOfPairs(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			beyond := 0 // tokens that one of the models does not have
			for i := range 12 {
				o := kind.options
				o.Seed, o.EndLogit, o.Sequences, o.Cells = uint64(i), -2, 128, 1<<14
				p := decodetest.New(o)
				e := decode.NewEngine(p, decode.Config{Speculation: speculation(i), PrefillChunk: []int{0, 3, 40}[i%3]})
				defer e.Close()
				req := request(-0.5, 0, 0.5, 1, 2)
				req.Prompt, req.Owner = kind.prompt, "somebody"
				req.Seed, req.Plain, req.Trace.Off = uint64(i), i%5 == 0, i%4 == 3
				req.Sampling.Temperature = []float64{0, 0.8, 1.2}[i%3]
				if req.Sampling.Temperature > 0 && !req.Trace.Off {
					req.Totals, req.Evaluate = true, []float64{0, 0.5, 1, 2}
				}
				for again := range 2 {
					got := run(t, e, req)
					if again == 1 && !req.Plain && got.stats().Cached == 0 {
						t.Error("nothing of the first run was of use to the second")
					}
					prompts := promptsOf(got)
					for _, lane := range req.Lanes {
						beyond += kind.check(t, p, &req, prompts, got, lane)
						if t.Failed() {
							t.Fatalf("case %d, λ = %v, run %d", i, lane.Lambda, again)
						}
					}
				}
			}
			if strings.HasPrefix(name, "padded") != (beyond > 0) {
				t.Errorf("%d tokens beyond the smaller vocabulary", beyond)
			}
		})
	}
}

// check compares a lane with brute force and counts tokens that one of the models does not have.
func (kind kindOfPair) check(t *testing.T, p *decodetest.Pair, req *decode.Request, prompts [2][]decode.Token, got *recorder, lane decode.Lane) (beyond int) {
	if end := got.end(lane.Index); end.Error != nil {
		t.Error(end.Error)
	}
	var said []decode.Token
	evaluated := make([]float64, len(req.Evaluate))
	for _, event := range got.all {
		if event.Type != decode.EventToken || event.Lane != lane.Index {
			continue
		}
		r, a := kind.models(p, prompts, said)
		z := mixed(lane.Lambda[0], r, a)
		if want, _ := best(z, &req.Sampling, req.Seed, event.Index); event.ID != want {
			t.Errorf("token %d: %v, want %v", event.Index, event.ID, want)
			return beyond
		}
		if !req.Trace.Off {
			mixture, reference, aligned := probabilities(z), probabilities(r), probabilities(a)
			for _, x := range []struct {
				what      string
				got, want float64
			}{
				{"log p", event.Logp.Mixture, math.Log(mixture[event.ID])},
				{"log p under the reference", event.Logp.Reference, math.Log(reference[event.ID])},
				{"log p under the aligned model", event.Logp.Aligned[0], math.Log(aligned[event.ID])},
				{"KL to the reference", *event.KLReference, kl(mixture, reference)},
				{"KL to the aligned model", event.KLAligned[0], kl(mixture, aligned)},
			} {
				if math.IsInf(x.want, 0) || math.IsNaN(x.want) { // nothing is possible under a model that is lost
					if math.Abs(x.got) < math.MaxFloat64 {
						t.Errorf("token %d: %s %v, want %v", event.Index, x.what, x.got, x.want)
					}
				} else if !near(x.got, x.want) {
					t.Errorf("token %d: %s %v, want %v", event.Index, x.what, x.got, x.want)
				}
			}
		}
		for i, lambda := range req.Evaluate {
			z := mixed(lambda, r, a)
			for v := range z {
				z[v] /= req.Sampling.Temperature
			}
			evaluated[i] += math.Log(probabilities(z)[event.ID])
		}
		for _, n := range p.Sizes() {
			if int(event.ID) >= n {
				beyond++
			}
		}
		said = append(said, event.ID)
	}
	if len(said) == 0 {
		t.Error("nothing was said")
	}
	for i, want := range evaluated {
		if got := got.end(lane.Index).Totals.Evaluated[i]; !math.IsInf(want, 0) && !math.IsNaN(want) && !near(got, want) {
			t.Errorf("log-probability at λ = %v: %v, want %v", req.Evaluate[i], got, want)
		}
	}
	return beyond
}

func near(a, b float64) bool { return math.Abs(a-b) <= 2e-5*max(1, math.Abs(a), math.Abs(b)) }

// A λ-map of such pairs says at every λ what a lane there says.
func TestMapsOfKinds(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			for i := range 4 {
				o := kind.options
				o.Seed, o.EndLogit, o.Sequences, o.Cells = uint64(i), -2, 128, 1<<14
				e := decode.NewEngine(decodetest.New(o), decode.Config{})
				defer e.Close()
				req := request()
				req.Prompt, req.Seed, req.Sampling.MaxTokens = kind.prompt, uint64(i), 8
				req.Map = &decode.Map{From: 0, To: 2, Branches: 128}
				var found decode.LambdaMap
				for _, event := range run(t, e, req).all {
					found.Add(event)
				}
				if len(found.Branches) < 2 || found.Covered() != 1 {
					t.Fatalf("%d branches, %v of the interval", len(found.Branches), found.Covered())
				}
				req.Map = nil
				for n, b := range found.Branches[:min(20, len(found.Branches))] {
					req.Lanes = append(req.Lanes, decode.Lane{Index: n, Lambda: decode.Vector{(b.From + b.To) / 2}})
				}
				lanes := run(t, e, req)
				for n := range req.Lanes {
					if got := lanes.tokens(n); !slices.Equal(got, found.Branches[n].Tokens) {
						t.Errorf("λ = %v: the lane says %v, the map %v", req.Lanes[n].Lambda, got, found.Branches[n].Tokens)
					}
				}
			}
		})
	}
}

// The contrast of a request stands in place of the pair's, and the limits hold for the longer prompt.
func TestContrastOfRequest(t *testing.T) {
	o := decodetest.Options{Deep: true, Aligned: []string{"with", "other"}, Contrasts: map[string]decode.Contrast{"with": {System: "fedc"}}}
	e := engine(t, o, decode.Config{})
	req := request(1)
	req.Aligned = []string{"with"}
	alone := req
	alone.Lanes = []decode.Lane{{Lambda: decode.Vector{0}}}
	for _, c := range []decode.Contrast{{System: "fedc"}, {System: "gg"}, {Context: "dd"}} {
		req.Contrast = &c
		var err error
		if alone.Prompt, err = c.Apply(req.Prompt); err != nil {
			t.Fatal(err)
		}
		if got, want := run(t, e, req).text(0), run(t, e, alone).text(0); got != want {
			t.Errorf("%+v: λ = 1 says %q, the model with that prompt %q", c, got, want)
		}
	}
	for field, change := range map[string]func(*decode.Request){
		"contrast": func(r *decode.Request) { r.Aligned = []string{"other"} },
		"prompt":   func(r *decode.Request) { r.Prompt, r.Contrast = decode.Prompt{Text: "ab"}, nil },
		"score":    func(r *decode.Request) { r.Lanes, r.Score = nil, &decode.Score{Lambda: []decode.Vector{{1}}} },
		"context":  nil,
	} {
		wrong := req
		if change == nil { // longer than the context, in the aligned model only
			wrong.Contrast, field = &decode.Contrast{Context: strings.Repeat("ab", 300)}, "prompt"
		} else {
			change(&wrong)
		}
		if _, err := e.Start(wrong, func(decode.Event) {}); fault.KindOf(err) != fault.Invalid || fault.Of(err).Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, c := range []decode.Contrast{{}, {System: "a", Context: "b"}, {System: "\xff"}, {Context: strings.Repeat("x", decode.MaxPromptBytes+1)}} {
		if err := c.Validate("contrast"); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%.40s: %v", fmt.Sprint(c), err)
		}
	}
}

// A prompt whose tokens one of the models does not have is refused, unless that model is not asked.
func TestPromptBeyondVocabulary(t *testing.T) {
	e := engine(t, decodetest.Options{Letters: 9, Sizes: map[string]int{"reference": int(decodetest.Letters) + 6}}, decode.Config{})
	req := request(1)
	req.Prompt = decode.Prompt{Text: "abi"}
	if _, err := e.Start(req, func(decode.Event) {}); fault.KindOf(err) != fault.Invalid || fault.Of(err).Field != "prompt" {
		t.Errorf("error is %v", err)
	}
	req.Trace.Off = true
	if got := run(t, e, req); got.text(0) == "" {
		t.Error("nothing was said at λ = 1, which does not ask the reference")
	}
}
