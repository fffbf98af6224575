package decode_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/fault"
)

// scoreRequest scores a prompt of random tokens at some λ.
func scoreRequest(seed uint64, length int, lambdas ...float64) decode.Request {
	random := rand.New(rand.NewPCG(seed, 1))
	r := decode.Request{Sampling: decode.DefaultSampling(), Score: &decode.Score{}}
	for range length {
		r.Prompt.Tokens = append(r.Prompt.Tokens, decode.Token(3+random.IntN(8)))
	}
	for _, l := range lambdas {
		r.Score.Lambda = append(r.Score.Lambda, decode.Vector{l})
	}
	return r
}

func scored(r *recorder) (all []*decode.Scored) {
	for i := range r.all {
		if r.all[i].Type == decode.EventScore {
			all = append(all, r.all[i].Scored)
		}
	}
	return all
}

// A score is what the definition gives from the table's rows, whatever the chunks in which the prompt is read.
func TestScoreEqualsTheDefinition(t *testing.T) {
	lambdas := []float64{-1, 0, 0.4, 1, 2.5}
	for i, chunk := range []int{1, 3, 7, 128} {
		pair := decodetest.New(decodetest.Options{Seed: uint64(i), EndLogit: -2})
		e := decode.NewEngine(pair, decode.Config{PrefillChunk: chunk})
		defer e.Close()
		warm, err := pair.Aligned("warm")
		if err != nil {
			t.Fatal(err)
		}
		req := scoreRequest(uint64(i), 40, lambdas...)
		req.Score.Alternatives = 3
		got := run(t, e, req)
		list := scored(got)
		tokens := req.Prompt.Tokens
		if len(list) != len(tokens) || got.end(0).Reason != decode.EndStop {
			t.Fatalf("%d scores for %d tokens, end %+v", len(list), len(tokens), got.end(0))
		}
		for at := 1; at < len(tokens); at++ {
			before := decode.Token(0)
			if at > 1 {
				before = tokens[at-2]
			} else {
				continue // the table's row at the first position depends on how it pads: the lanes' test has it
			}
			s := list[at-1]
			r, w := pair.Table().Next(before, tokens[at-1]), warm.(*decodetest.Model).Next(before, tokens[at-1])
			z := make([]float64, len(r))
			for k, l := range lambdas {
				for v := range z {
					z[v] = (1-l)*float64(r[v]) + l*float64(w[v])
				}
				want := logSoftmax(z, tokens[at], 1)
				if s.ID != tokens[at] || math.Abs(s.Mixture[k]-want) > 1e-9 {
					t.Errorf("chunks of %d, token %d at λ = %v: %+v, want %v", chunk, at, l, s, want)
				}
				if len(s.Top[k]) != 3 || s.Top[k][0].Logp < s.Top[k][1].Logp {
					t.Errorf("alternatives %+v", s.Top[k])
				}
			}
			if math.Abs(s.Reference[0]-s.Mixture[1]) > 1e-9 || math.Abs(s.Aligned[0]-s.Mixture[3]) > 1e-9 {
				t.Errorf("token %d: %v and %v under the models, %v at λ = 0 and 1", at, s.Reference, s.Aligned, s.Mixture)
			}
		}
	}
}

// Scores are what lanes say that are made to write the same text: the plain twin. The token after the prompt is what a
// greedy lane writes first.
func TestScoreEqualsLanes(t *testing.T) {
	for i := range uint64(8) {
		e := engine(t, decodetest.Options{Seed: i}, decode.Config{PrefillChunk: 5})
		lambdas := []float64{0.5, 0, 1, 1.5}
		req := scoreRequest(i, 30, lambdas...)
		list := scored(run(t, e, req))
		lanes := request(lambdas...)
		lanes.Prompt = decode.Prompt{Tokens: req.Prompt.Tokens[:1]}
		lanes.Sampling.Temperature, lanes.Sampling.MaxTokens = 0, len(req.Prompt.Tokens)
		lanes.Plain = i%2 == 0
		for k := range lanes.Lanes {
			lanes.Lanes[k].Prefix = req.Prompt.Tokens[1:]
		}
		for _, ev := range run(t, e, lanes).all {
			if ev.Type != decode.EventToken {
				continue
			}
			s := list[ev.Index]
			last := ev.Index == len(req.Prompt.Tokens)-1
			switch {
			case last && ev.Lane > 0: // the token after the prompt is the first λ's
			case s.ID != ev.ID, s.Mixture[ev.Lane] != ev.Logp.Mixture, s.Reference[0] != ev.Logp.Reference, s.Aligned[0] != ev.Logp.Aligned[0]:
				t.Errorf("token %d at λ = %v: scored %+v, decoded %+v", ev.Index, ev.Lambda, s, ev)
			}
		}
	}
}

// Without a trace a model that no λ needs is not read, and what it would say is null in JSON.
func TestScoreReadsWhatIsNeeded(t *testing.T) {
	e := engine(t, decodetest.Options{}, decode.Config{})
	req := scoreRequest(1, 10, 0)
	req.Trace.Off = true
	got := run(t, e, req)
	if rows := got.stats().Rows; rows["aligned"] != 0 || rows["reference"] != 10 {
		t.Errorf("rows %v", rows)
	}
	s := scored(got)[0]
	text, err := json.Marshal(s)
	if err != nil || !math.IsNaN(s.Aligned[0]) || !strings.Contains(string(text), `"aligned":null`) {
		t.Errorf("%s, %v", text, err)
	}
}

// Scores and lanes of others go on beside each other, and a score can be stopped.
func TestScoreBesideLanes(t *testing.T) {
	e := engine(t, decodetest.Options{}, decode.Config{PrefillChunk: 2})
	alone := run(t, e, request(0, 0.5, 1))
	want := scored(run(t, e, scoreRequest(3, 60, 0.5)))
	score := &recorder{events: make(chan decode.Event, 1<<12)}
	job, err := e.Start(scoreRequest(3, 60, 0.5), func(ev decode.Event) { score.events <- ev })
	if err != nil {
		t.Fatal(err)
	}
	beside := run(t, e, request(0, 0.5, 1))
	<-job.Done()
	score.drain()
	for lane := range 3 {
		if alone.text(lane) != beside.text(lane) {
			t.Errorf("lane %d: %q alone, %q beside a score", lane, alone.text(lane), beside.text(lane))
		}
	}
	for i, s := range scored(score) {
		if s.Mixture[0] != want[i].Mixture[0] {
			t.Errorf("token %d: %v beside lanes, %v alone", i, s.Mixture, want[i].Mixture)
		}
	}

	stopped := &recorder{events: make(chan decode.Event, 1<<12)}
	job, err = e.Start(scoreRequest(4, 400, 0.5), func(ev decode.Event) { stopped.events <- ev })
	if err != nil {
		t.Fatal(err)
	}
	if err := job.Stop(-1); err != nil {
		t.Fatal(err)
	}
	<-job.Done()
	stopped.drain()
	if end := stopped.end(0); end.Type == "" || stopped.all[len(stopped.all)-1].Type != decode.EventStats {
		t.Errorf("a stopped score ends with %+v", stopped.all)
	}
	if c := e.Counters(); c.Lanes != 0 {
		t.Errorf("%d lanes are left", c.Lanes)
	}
}

func TestScoreRefuses(t *testing.T) {
	e := engine(t, decodetest.Options{}, decode.Config{})
	for field, change := range map[string]func(*decode.Request){
		"score":        func(r *decode.Request) { r.Lanes = request(0).Lanes },
		"lambda":       func(r *decode.Request) { r.Score.Lambda = nil },
		"plain":        func(r *decode.Request) { r.Plain = true },
		"alternatives": func(r *decode.Request) { r.Score.Alternatives = 21 },
		"prompt":       func(r *decode.Request) { r.Prompt.Tokens = nil },
	} {
		req := scoreRequest(1, 5, 0.5)
		change(&req)
		if _, err := e.Start(req, func(decode.Event) {}); fault.Of(err) == nil || fault.Of(err).Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	req := scoreRequest(1, 5, 0.5)
	req.Score.Lambda[0] = decode.Vector{21}
	if _, err := e.Start(req, func(decode.Event) {}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("λ = 21: %v", err)
	}
}

// A request that only encodes tells the prompt's tokens and decodes nothing; with the seed by the prompt, two prompts see
// different noise, and the seed that the run tells gives the same run without it.
func TestEncodeAndSeedByPrompt(t *testing.T) {
	e := engine(t, decodetest.Options{}, decode.Config{})
	got := run(t, e, decode.Request{Prompt: decode.Prompt{Text: "abc"}, Encode: true})
	started := got.all[0].Prompt
	if len(got.all) != 2 || len(started.Tokens) == 0 || len(started.Pieces) != len(started.Tokens) || got.stats().Rows["reference"] != 0 {
		t.Errorf("%+v", got.all)
	}
	seeds := map[uint64]bool{}
	for _, text := range []string{"abc", "abd", "ab"} {
		req := request(0, 0.5, 1)
		req.Prompt, req.SeedByPrompt = decode.Prompt{Text: text}, true
		first := run(t, e, req)
		seed := *first.all[0].Prompt.Seed
		seeds[seed] = true
		req.SeedByPrompt, req.Seed = false, seed
		second := run(t, e, req)
		for lane := range 3 {
			if first.text(lane) != second.text(lane) {
				t.Errorf("%q: %q and %q", text, first.text(lane), second.text(lane))
			}
		}
	}
	if len(seeds) != 3 {
		t.Errorf("seeds %v", seeds)
	}
}
