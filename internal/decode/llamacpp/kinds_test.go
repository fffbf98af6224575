package llamacpp_test

import (
	"path/filepath"
	"slices"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/llamacpp"
	"realign/internal/gguf/gguftest"
)

const terse = "You answer in one short sentence, and never say please."

// openContrast is the demo pair's reference without and with a system prompt.
func openContrast(t *testing.T, c decode.Contrast) *llamacpp.Pair {
	t.Helper()
	p, err := llamacpp.Open(llamacpp.Spec{
		Reference: filepath.Join("..", "..", "..", "models", "demo", "reference-q8_0.gguf"),
		Aligned:   []llamacpp.Aligned{{Name: "with"}}, Contrasts: map[string]decode.Contrast{"with": c},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// One model with two prompts: λ = 1 is the model with the prompt and λ = 0 the model without, token for token; shared lanes are
// plain ones, and a λ-map says what lanes say.
func TestContrastOfRealModel(t *testing.T) {
	for _, c := range []decode.Contrast{{System: terse}, {Context: "The cat is called Mimi, and she is nine years old."}} {
		p := openContrast(t, c)
		e := decode.NewEngine(p, decode.Config{Kernel: llamacpp.Kernel{}})
		other := openContrast(t, c) // for decoding without an engine
		t.Cleanup(func() { e.Close(); other.Close() })
		for i, prompt := range prompts(t)[:6] {
			temperature := []float64{0, 0.8}[i%2]
			r := chat(prompt, uint64(i), temperature, -0.5, 0, 0.5, 1, 2)
			lanes, _ := decoded(t, e, r)
			with := r
			var err error
			if with.Prompt, err = c.Apply(r.Prompt); err != nil {
				t.Fatal(err)
			}
			for lane, want := range map[int][]decode.Token{1: alone(t, other.Reference(), other.Vocabulary(), r), 3: alone(t, other.Reference(), other.Vocabulary(), with)} {
				if got := ids(lanes[lane]); !slices.Equal(got, want) {
					t.Errorf("%q at λ = %v: %v, alone %v", prompt, r.Lanes[lane].Lambda, got, want)
				}
			}
			for n, lane := range r.Lanes {
				one := r
				one.Plain, one.Lanes = true, []decode.Lane{lane}
				plain, _ := decoded(t, e, one)
				if !slices.Equal(ids(plain[n]), ids(lanes[n])) {
					t.Errorf("%q at λ = %v: shared %v, plain %v", prompt, lane.Lambda, ids(lanes[n]), ids(plain[n]))
				}
			}
		}
		checkMap(t, e, chat(prompts(t)[0], 1, 0.8))
	}
}

// checkMap compares a λ-map with lanes in the middle of its spans.
func checkMap(t *testing.T, e *decode.Engine, r decode.Request) {
	t.Helper()
	r.Map, r.Trace = &decode.Map{From: 0, To: 2, Branches: 12}, decode.Trace{}
	r.Sampling.MaxTokens = 12
	var found decode.LambdaMap
	j, err := e.Start(r, func(ev decode.Event) { found.Add(ev) })
	if err != nil {
		t.Fatal(err)
	}
	<-j.Done()
	r.Map = nil
	var whole []decode.Branch
	for _, b := range found.Branches {
		if b.Reason != decode.EndBudget {
			r.Lanes = append(r.Lanes, decode.Lane{Index: len(whole), Lambda: decode.Vector{(b.From + b.To) / 2}})
			whole = append(whole, b)
		}
	}
	if len(whole) < 2 {
		t.Fatalf("%d continuations", len(whole))
	}
	lanes, _ := decoded(t, e, r)
	for i, b := range whole {
		if !slices.Equal(ids(lanes[i]), b.Tokens) {
			t.Errorf("λ = %v: the lane says %v, the map %v", r.Lanes[i].Lambda, ids(lanes[i]), b.Tokens)
		}
	}
}

// next is what a model says after tokens.
func next(t *testing.T, m decode.Model, tokens []decode.Token) []float32 {
	t.Helper()
	m.Trim(0, 0)
	var rows []decode.Row
	for i, token := range tokens {
		rows = append(rows, decode.Row{Token: token, Pos: i, Want: i == len(tokens)-1})
	}
	if err := m.Forward(rows); err != nil {
		t.Fatal(err)
	}
	return m.Logits(len(rows) - 1)
}

// Three models, of which the tuned one has padding: greedy tokens are those of large + λ·(tuned − untuned), and where only one model
// is asked, as at λ = 0, what only that one has can be said.
func TestProxyOfRealModels(t *testing.T) {
	padded := gguftest.Model(2)
	padded.AddToken("[PAD275]", 5)
	large, tuned, untuned := gguftest.Model(1).Write(t, "large.gguf"), padded.Write(t, "tuned.gguf"), gguftest.Model(3).Write(t, "untuned.gguf")
	open := func() *llamacpp.Pair {
		p, err := llamacpp.Open(llamacpp.Spec{
			Reference: large, Aligned: []llamacpp.Aligned{{Name: "proxy", Path: tuned}},
			Untuned: map[string]llamacpp.Aligned{"proxy": {Name: "proxy/untuned", Path: untuned}}, Options: llamacpp.Options{Cells: 512, Batch: 64, Sequences: 8},
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p, e := open(), decode.NewEngine(open(), decode.Config{Kernel: llamacpp.Kernel{}})
	t.Cleanup(func() { e.Close(); p.Close() })
	if n := p.Vocabulary().Size(); n != 276 || p.Vocabulary().Name(275) == "" {
		t.Fatalf("%d tokens, the last %q", n, p.Vocabulary().Name(275))
	}
	var models []decode.Model
	for _, name := range []string{"proxy", "proxy/untuned"} {
		m, err := p.Aligned(name)
		if err != nil {
			t.Fatal(err)
		}
		models = append(models, m)
	}
	r := chat("the man and the hen", 1, 0, -0.5, 0, 0.5, 1, 2)
	r.Sampling.MaxTokens = 10
	lanes, _ := decoded(t, e, r)
	prompt, err := p.Vocabulary().EncodeChat(r.Prompt.Messages)
	if err != nil {
		t.Fatal(err)
	}
	for i, lane := range r.Lanes {
		history := slices.Clone(prompt)
		for n, got := range ids(lanes[i]) {
			a, b, c := slices.Clone(next(t, p.Reference(), history)), slices.Clone(next(t, models[0], history)), next(t, models[1], history)
			best, top := 0, -1e30
			for v := range a { // those that all have
				z := float64(a[v])
				if l := lane.Lambda[0]; l != 0 {
					z += l * (float64(b[v]) - float64(c[v]))
				}
				if z > top {
					best, top = v, z
				}
			}
			if got != decode.Token(best) {
				t.Fatalf("λ = %v, token %d: %v, want %v", lane.Lambda, n, got, best)
			}
			history = append(history, got)
		}
		if len(history) == len(prompt) {
			t.Errorf("λ = %v: nothing was said", lane.Lambda)
		}
	}
}

// A token that only the aligned model has: at λ = 1 that model says it, with and without a trace, and at no other λ is it said.
func TestPaddedVocabulary(t *testing.T) {
	padded := gguftest.Model(2)
	for range 20 {
		padded.AddToken("[PAD"+string(rune('A'+len(padded.Get("tokenizer.ggml.tokens").([]string))-275))+"]", 5)
	}
	p, err := llamacpp.Open(llamacpp.Spec{
		Reference: gguftest.Model(1).Write(t, "reference.gguf"), Aligned: []llamacpp.Aligned{{Name: "padded", Path: padded.Write(t, "padded.gguf")}},
		Options: llamacpp.Options{Cells: 512, Batch: 64, Sequences: 8},
	})
	if err != nil {
		t.Fatal(err)
	}
	e := decode.NewEngine(p, decode.Config{Kernel: llamacpp.Kernel{}})
	t.Cleanup(func() { e.Close() })
	beyond := map[float64]int{}
	for seed := range uint64(8) {
		r := chat("the man and the hen", seed, 1.5, -0.5, 0, 0.5, 1, 2)
		r.Sampling.MaxTokens, r.Sampling.IgnoreEnd = 30, true
		lanes, _ := decoded(t, e, r)
		without := r
		without.Trace, without.Lanes = decode.Trace{Off: true}, []decode.Lane{{Lambda: decode.Vector{1}}}
		if plain, _ := decoded(t, e, without); !slices.Equal(ids(plain[0]), ids(lanes[3])) {
			t.Errorf("λ = 1 says %v with a trace and %v without", ids(lanes[3]), ids(plain[0]))
		}
		for i, lane := range r.Lanes {
			if len(lanes[i]) != r.Sampling.MaxTokens {
				t.Errorf("λ = %v: %d tokens", lane.Lambda, len(lanes[i]))
			}
			for _, event := range lanes[i] {
				if event.ID >= 275 {
					beyond[lane.Lambda[0]]++
					if event.Name == "" && event.Text == "" {
						t.Errorf("token %d has no name", event.ID)
					}
				}
			}
		}
	}
	if len(beyond) != 1 || beyond[1] == 0 {
		t.Errorf("tokens that only the aligned model has, by λ: %v", beyond)
	}
}
