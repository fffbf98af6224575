package decode_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/fault"
)

// twin is a request to a decoder-only pair with Deep that must say what an encoder–decoder pair with the same tables says: the source and
// the start token are its prompt.
func twin(req decode.Request) decode.Request {
	req.Prompt = decode.Prompt{Tokens: append(slices.Clone(req.Prompt.Tokens), decodetest.Start)}
	return req
}

// source is a prompt for an encoder.
func source(random *rand.Rand) decode.Prompt {
	var tokens []decode.Token
	for range 1 + random.IntN(9) {
		tokens = append(tokens, decodetest.Letters+decode.Token(random.IntN(7)))
	}
	return decode.Prompt{Tokens: append(tokens, decodetest.End)}
}

// Whatever is asked for, lanes of an encoder–decoder pair say what lanes of a decoder-only pair say whose logits are the same function of
// source and text: shared or plain, with particles, moves of λ, prefixes, several requests at once.
func TestEncoderDecoderEqualsItsTwin(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 1))
	for i := range 40 {
		o := decodetest.Options{Seed: uint64(i), Cells: 1 << 14, EndLogit: []float64{-2, 1}[i%2], Forbidden: []float64{0, 0.2}[i/2%2]}
		with, without := o, o
		with.Sources, without.Deep = 1+random.IntN(3), true
		e, deep := engine(t, with, decode.Config{Speculation: speculation(i)}), engine(t, without, decode.Config{})
		for range 4 {
			req := request()
			req.Prompt, req.Seed, req.Plain, req.Owner = source(random), random.Uint64(), random.IntN(3) == 0, []string{"", "ann", "bob"}[random.IntN(3)]
			for n := range 1 + random.IntN(5) {
				lane := decode.Lane{Index: n, Sample: random.IntN(2), Lambda: decode.Vector{[]float64{-0.5, 0, 0.5, 1, 2}[random.IntN(5)]}}
				if random.IntN(4) == 0 {
					lane.Prefix = []decode.Token{decodetest.Letters, decodetest.Letters + 1}
				}
				req.Lanes = append(req.Lanes, lane)
			}
			if random.IntN(3) == 0 {
				req.Sampling.Temperature, req.Sampling.Exact = 1, 4
			}
			req.Trace.Off = random.IntN(2) == 0
			got, want := run(t, e, req), run(t, deep, twin(req))
			for _, lane := range req.Lanes {
				if a, b := got.tokens(lane.Index), want.tokens(lane.Index); !slices.Equal(a, b) {
					t.Fatalf("case %d lane %+v: %v, the twin %v", i, lane, a, b)
				}
			}
			if n := got.stats().PromptTokens; n != len(req.Prompt.Tokens) || !slices.Equal(got.all[0].Prompt.Tokens, req.Prompt.Tokens) {
				t.Fatalf("a prompt of %v is told as %d tokens, %v", req.Prompt.Tokens, n, got.all[0].Prompt.Tokens)
			}
		}
	}
}

// A λ-map of an encoder–decoder pair is that of its twin.
func TestEncoderDecoderMaps(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 2))
	for i := range 10 {
		with, without := bigTable(uint64(i)), bigTable(uint64(i))
		with.Sources, without.Deep = 2, true
		req := mapRequest(0, 2)
		req.Prompt = source(random)
		got, _ := mapped(t, engine(t, with, decode.Config{}), req)
		want, _ := mapped(t, engine(t, without, decode.Config{}), twin(req))
		if !slices.EqualFunc(got.Branches, want.Branches, sameBranch) {
			t.Fatalf("case %d: %d branches, the twin %d", i, len(got.Branches), len(want.Branches))
		}
	}
}

// An encoder reads a source once for its owner, as long as there is room for it, and again for another owner.
func TestSourcesAreReadOnce(t *testing.T) {
	pair := decodetest.New(decodetest.Options{Sources: 2, EndLogit: -3})
	e := decode.NewEngine(pair, decode.Config{})
	t.Cleanup(func() { e.Close() })
	req := request(0, 0.5)
	ask := func(owner, text string) int {
		before := pair.Table().Encodes()
		req.Owner, req.Prompt = owner, decode.Prompt{Text: text}
		run(t, e, req)
		return pair.Table().Encodes() - before
	}
	for i, step := range []struct {
		owner, text string
		want        int
	}{{"ann", "abc", 1}, {"ann", "abc", 0}, {"ann", "cab", 1}, {"ann", "abc", 0}, {"bob", "abc", 1}, {"ann", "abc", 0}, {"ann", "bca", 1}, {"bob", "abc", 1}} {
		if got := ask(step.owner, step.text); got != step.want {
			t.Errorf("step %d, %s %s: read %d times, want %d", i, step.owner, step.text, got, step.want)
		}
	}
}

// More requests than there are places for sources wait for one.
func TestSourcesAreWaitedFor(t *testing.T) {
	e := engine(t, decodetest.Options{Sources: 2, EndLogit: -3}, decode.Config{})
	var jobs []*decode.Job
	for i := range 7 {
		req := request(0, 1)
		req.Prompt = decode.Prompt{Text: strings.Repeat("a", i+1)}
		j, err := e.Start(req, func(decode.Event) {})
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, j)
	}
	for _, j := range jobs {
		<-j.Done()
	}
}

// A contrast gives the encoder another source, and the aligned model is asked with it from a λ on that is moved, too.
func TestContrastOfSources(t *testing.T) {
	e := engine(t, decodetest.Options{Sources: 1, Aligned: []string{"told"}, Contrasts: map[string]decode.Contrast{"told": {Context: "abc"}}}, decode.Config{})
	req := request(0.5)
	req.Aligned, req.Prompt = []string{"told"}, decode.Prompt{Text: "de"}
	r := run(t, e, req)
	prompts := promptsOf(r)
	if len(prompts[0]) != 3 || len(prompts[1]) != 6 || prompts[1][5] != decodetest.End {
		t.Errorf("sources %v", prompts)
	}
	req.Lanes[0].Lambda, req.Trace.Off = decode.Vector{0}, true
	req.Lanes[0].Changes = []decode.Change{{At: 3, Lambda: decode.Vector{1}}}
	if end := run(t, e, req).end(0); end.Error != nil {
		t.Error(end.Error)
	}
}

func TestEncoderDecoderRefuses(t *testing.T) {
	e := engine(t, decodetest.Options{Sources: 1, Context: 20}, decode.Config{})
	for field, change := range map[string]func(*decode.Request){
		"score":  func(r *decode.Request) { r.Lanes, r.Score = nil, &decode.Score{Lambda: []decode.Vector{{1}}} },
		"mix":    func(r *decode.Request) { r.Mix = decode.MixWeights },
		"prompt": func(r *decode.Request) { r.Prompt.Text = strings.Repeat("a", 20) },
	} {
		req := request(0.5)
		req.Prompt = decode.Prompt{Text: "abc"}
		req.Sampling.MaxTokens = 5
		change(&req)
		if _, err := e.Start(req, func(decode.Event) {}); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
