package decode_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/fault"
)

// mapped decodes a λ-map.
func mapped(t *testing.T, e *decode.Engine, req decode.Request) (*decode.LambdaMap, decode.Stats) {
	t.Helper()
	var m decode.LambdaMap
	r := run(t, e, req)
	for _, ev := range r.all {
		m.Add(ev)
	}
	for i, b := range m.Branches {
		if i > 0 && b.From != m.Branches[i-1].To || !(b.From < b.To) {
			t.Fatalf("branch %d is of [%v, %v], the one before ends at %v", i, b.From, b.To, m.Branches[max(i-1, 0)].To)
		}
		if len(b.Pieces) != len(b.Tokens) {
			t.Fatalf("branch %d has %d tokens and %d texts", i, len(b.Tokens), len(b.Pieces))
		}
	}
	if n := len(m.Branches); n == 0 || m.Branches[0].From != req.Map.From || m.Branches[n-1].To != req.Map.To {
		t.Fatalf("%d branches do not cover [%v, %v]", n, req.Map.From, req.Map.To)
	}
	return &m, r.stats()
}

func mapRequest(from, to float64) decode.Request {
	r := request()
	r.Map = &decode.Map{From: from, To: to, Branches: 256}
	r.Sampling.MaxTokens = 12
	return r
}

// bigTable has room for maps of many branches.
func bigTable(seed uint64) decodetest.Options {
	return decodetest.Options{Seed: seed, Sequences: 256, Cells: 1 << 14, EndLogit: -1}
}

// On the table model the map is what brute force says on a grid of 10,000 λ: the definition, token by token.
func TestMapEqualsBruteForce(t *testing.T) {
	for seed := range uint64(4) {
		pair := decodetest.New(bigTable(seed))
		e := decode.NewEngine(pair, decode.Config{})
		defer e.Close()
		warm, err := pair.Aligned("warm")
		if err != nil {
			t.Fatal(err)
		}
		for _, temperature := range []float64{0, 0.8} {
			req := mapRequest(-0.5, 2.5)
			req.Sampling.Temperature = temperature
			m, _ := mapped(t, e, req)
			if m.Covered() != 1 || len(m.Branches) < 4 {
				t.Fatalf("%d branches cover %v", len(m.Branches), m.Covered())
			}
			prompt, err := pair.EncodeChat(req.Prompt.Messages)
			if err != nil {
				t.Fatal(err)
			}
			const grid = 10_000
			for i := range grid {
				lambda := -0.5 + 3*(float64(i)+0.5)/grid
				history := slices.Clone(prompt)
				for n := 0; n < req.Sampling.MaxTokens && history[len(history)-1] != decodetest.End; n++ {
					a, b := history[len(history)-2], history[len(history)-1]
					r, w := pair.Table().Next(a, b), warm.(*decodetest.Model).Next(a, b)
					best, top := 0, math.Inf(-1)
					for v := range r {
						z := (1-lambda)*float64(r[v]) + lambda*float64(w[v])
						if temperature > 0 {
							z = z/temperature + decode.Gumbel(req.Seed, 0, n, decode.Token(v))
						}
						if z > top {
							best, top = v, z
						}
					}
					history = append(history, decode.Token(best))
				}
				if got := m.At(lambda).Tokens; !slices.Equal(got, history[len(prompt):]) {
					t.Fatalf("seed %d, temperature %v, λ = %v: %v, by brute force %v", seed, temperature, lambda, got, history[len(prompt):])
				}
			}
		}
	}
}

// Whatever the request, a map's text at a λ is that of a lane at that λ, alone, with --plain.
func TestMapEqualsLanes(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for i := range 40 {
		e := engine(t, bigTable(uint64(i)), decode.Config{PrefillChunk: 1 + random.IntN(9)})
		req := mapRequest(-1+random.Float64(), 1+2*random.Float64())
		req.Seed, req.Map.Sample = random.Uint64(), random.IntN(3)
		s := &req.Sampling
		s.Temperature = []float64{0, 0.7, 1.3}[random.IntN(3)]
		s.MinP = []float64{0, 0.05, 0.3}[random.IntN(3)]
		s.PresencePenalty = []float64{0, 0.5}[random.IntN(2)]
		s.FrequencyPenalty = []float64{0, -0.2}[random.IntN(2)]
		if random.IntN(3) == 0 {
			s.Bias = map[decode.Token]float64{decodetest.Letters: math.Inf(-1), decodetest.Letters + 2: 1.5}
		}
		if random.IntN(3) == 0 {
			s.Stop = []string{"ab", "éc"}
		}
		m, _ := mapped(t, e, req)
		lanes := req
		lanes.Map, lanes.Plain = nil, true
		for n := range 16 {
			lambda := req.Map.From + random.Float64()*(req.Map.To-req.Map.From)
			if f := len(m.Forks); n < 8 && f > 0 { // close to a fork, on either side
				lambda = m.Forks[random.IntN(f)].Lambda + 1e-9*float64(2*(n%2)-1)
			}
			lanes.Lanes = append(lanes.Lanes, decode.Lane{
				Index: n, Sample: req.Map.Sample, Lambda: decode.Vector{min(max(lambda, req.Map.From), req.Map.To)},
			})
		}
		want := run(t, e, lanes)
		for _, l := range lanes.Lanes {
			b := m.At(l.Lambda[0])
			if !slices.Equal(b.Tokens, want.tokens(l.Index)) {
				t.Fatalf("case %d (%+v), λ = %v: %v, a lane says %v", i, *s, l.Lambda, b.Tokens, want.tokens(l.Index))
			}
			if got, text := strings.Join(b.Pieces, ""), want.text(l.Index); got != text || b.Reason != want.end(l.Index).Reason {
				t.Fatalf("case %d, λ = %v: %q (%s), a lane says %q (%s)", i, l.Lambda, got, b.Reason, text, want.end(l.Index).Reason)
			}
		}
	}
}

// A map along a line between two mixtures says at any place what a lane says, alone, at the λ of that place.
func TestMapAlongALineEqualsLanes(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	branches := 0
	for i := range 40 {
		options := bigTable(uint64(i))
		options.Aligned = []string{"warm", "terse", "third"}[:1+i%3]
		e := engine(t, options, decode.Config{})
		req := mapRequest(0, 1)
		req.Aligned = options.Aligned
		end := func(fixed float64) decode.Vector { // some models have weight 0 at an end
			v := make(decode.Vector, len(req.Aligned))
			for j := range v {
				v[j] = []float64{fixed, 3*random.Float64() - 1}[random.IntN(2)]
			}
			return v
		}
		req.Map.Line = &decode.Line{From: end(0), To: end(1)}
		if req.Map.Line.From.Equal(req.Map.Line.To) {
			continue
		}
		req.Seed = random.Uint64()
		req.Sampling.Temperature = []float64{0, 0.7, 1.3}[random.IntN(3)]
		req.Sampling.MinP = []float64{0, 0.05}[random.IntN(2)]
		m, _ := mapped(t, e, req)
		branches += len(m.Branches)
		lanes := req
		lanes.Map, lanes.Plain = nil, true
		var places []float64
		for n := range 16 {
			place := random.Float64()
			if f := len(m.Forks); n < 8 && f > 0 { // close to a fork, on either side
				place = m.Forks[random.IntN(f)].Lambda + 1e-9*float64(2*(n%2)-1)
			}
			places = append(places, min(max(place, 0), 1))
			lanes.Lanes = append(lanes.Lanes, decode.Lane{Index: n, Lambda: req.Map.At(places[n])})
		}
		want := run(t, e, lanes)
		for n, place := range places {
			if b := m.At(place); !slices.Equal(b.Tokens, want.tokens(n)) {
				t.Fatalf("case %d, place %v on %+v: %v, a lane says %v", i, place, *req.Map.Line, b.Tokens, want.tokens(n))
			}
		}
		// At a fork both tokens have the same score by the log-probabilities of the two mixtures.
		for _, f := range m.Forks {
			score := func(c decode.Candidate) float64 {
				s := (1-f.Lambda)*c.Logp.Reference + f.Lambda*c.Logp.Aligned
				if req.Sampling.Temperature > 0 {
					s = s/req.Sampling.Temperature + c.Noise
				}
				return s
			}
			if d := score(f.Above) - score(f.Below); math.Abs(d) > 1e-6 && req.Sampling.MinP == 0 {
				t.Errorf("case %d: the scores at the fork %v are %v apart", i, f.Lambda, d)
			}
		}
	}
	if branches < 200 {
		t.Errorf("%d branches in all: the lines are too plain to tell", branches)
	}
}

// Between two branches lies the fork that parts them, and there both tokens have the same score.
func TestForksPartTheBranches(t *testing.T) {
	e := engine(t, bigTable(3), decode.Config{})
	req := mapRequest(0, 2)
	m, stats := mapped(t, e, req)
	if len(m.Forks) != len(m.Branches)-1 {
		t.Fatalf("%d forks between %d branches", len(m.Forks), len(m.Branches))
	}
	for i, f := range m.Forks {
		below, above := m.Branches[i], m.Branches[i+1]
		if f.Lambda != above.From || !slices.Equal(below.Tokens[:f.Index], above.Tokens[:f.Index]) ||
			below.Tokens[f.Index] != f.Below.ID || above.Tokens[f.Index] != f.Above.ID || f.Below.ID == f.Above.ID {
			t.Errorf("fork %+v parts %v from %v at λ = %v", f, below.Tokens, above.Tokens, above.From)
		}
		score := func(c decode.Candidate) float64 {
			return ((1-f.Lambda)*c.Logp.Reference+f.Lambda*c.Logp.Aligned)/req.Sampling.Temperature + c.Noise
		}
		if d := score(f.Below) - score(f.Above); math.Abs(d) > 1e-9 {
			t.Errorf("fork at λ = %v: scores differ by %v", f.Lambda, d)
		}
	}
	histories := map[string]bool{}
	for _, b := range m.Branches {
		for i := range b.Tokens {
			histories[fmt.Sprint(b.Tokens[:i])] = true
		}
	}
	// One row for each distinct history, the first of which is the prompt's.
	if got, want := stats.Rows["reference"], int64(len(histories)-1+stats.PromptTokens); got != want {
		t.Errorf("%d rows for %d distinct histories of a prompt of %d", got, len(histories), stats.PromptTokens)
	}
}

// With too few branches the widest spans are followed, and the map says what it leaves open.
func TestMapWithinABudget(t *testing.T) {
	e := engine(t, bigTable(3), decode.Config{})
	req := mapRequest(0, 2)
	whole, _ := mapped(t, e, req)
	req.Map.Branches = 3
	m, _ := mapped(t, e, req)
	if c := m.Covered(); c <= 0 || c >= 1 {
		t.Errorf("three branches of %d cover %v", len(whole.Branches), c)
	}
	followed := 0
	for _, b := range m.Branches {
		full := whole.At((b.From + b.To) / 2)
		if !slices.Equal(b.Tokens, full.Tokens[:len(b.Tokens)]) || b.Reason != decode.EndBudget && len(b.Tokens) != len(full.Tokens) {
			t.Errorf("[%v, %v] %s: %v is not a beginning of %v", b.From, b.To, b.Reason, b.Tokens, full.Tokens)
		}
		if b.Reason != decode.EndBudget {
			followed++
		}
	}
	if followed < 3 {
		t.Errorf("%d branches were followed to their end", followed)
	}
}

func TestMapIsRefused(t *testing.T) {
	e := engine(t, bigTable(0), decode.Config{})
	for field, change := range map[string]func(*decode.Request){
		"to":             func(r *decode.Request) { r.Map.To = r.Map.From },
		"from":           func(r *decode.Request) { r.Map.From = -6 },
		"branches":       func(r *decode.Request) { r.Map.Branches = 257 },
		"sample":         func(r *decode.Request) { r.Map.Sample = -1 },
		"top_k":          func(r *decode.Request) { r.Sampling.TopK = 5 },
		"top_p":          func(r *decode.Request) { r.Sampling.TopP = 0.9 },
		"repeat_penalty": func(r *decode.Request) { r.Sampling.RepeatPenalty = 1.1 },
		"aligned":        func(r *decode.Request) { r.Aligned = []string{"warm", "terse"} },
		"line.from":      func(r *decode.Request) { r.Map.Line = &decode.Line{From: decode.Vector{0, 0}, To: decode.Vector{1}} },
		"line.to":        func(r *decode.Request) { r.Map.Line = &decode.Line{From: decode.Vector{1}, To: decode.Vector{1}} },
		"lanes":          func(r *decode.Request) { r.Lanes = request(1).Lanes },
		"plain":          func(r *decode.Request) { r.Plain = true },
	} {
		req := mapRequest(0, 2)
		change(&req)
		_, err := e.Start(req, func(decode.Event) {})
		if f, ok := err.(*fault.Error); !ok || f.Kind != fault.Invalid || f.Field != field {
			t.Errorf("%s: error %v", field, err)
		}
	}
}

// A map can be stopped like a run, and a failed pass ends its branches.
func TestMapEndsEarly(t *testing.T) {
	options := bigTable(1)
	pair := decodetest.New(options)
	pair.Table().FailAt = 4
	e := decode.NewEngine(pair, decode.Config{})
	defer e.Close()
	for _, b := range mustMap(t, e).Branches {
		if b.Reason != decode.EndError && b.Reason != decode.EndStop {
			t.Errorf("[%v, %v] ends with %q after a failed pass", b.From, b.To, b.Reason)
		}
	}
	if used := pair.Table().Used(); used != 0 {
		t.Errorf("%d cells are in use", used)
	}
	if m := mustMap(t, e); m.Covered() != 1 {
		t.Errorf("the next map covers %v", m.Covered())
	}
	tokens := make(chan struct{}, 1<<12)
	req := mapRequest(0, 2)
	req.Sampling.MaxTokens, req.Sampling.IgnoreEnd, req.Map.Branches = 300, true, 8
	var last decode.Event
	j, err := e.Start(req, func(ev decode.Event) { last = ev; tokens <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	<-tokens
	if err := j.Stop(-1); err != nil {
		t.Fatal(err)
	}
	<-j.Done()
	if last.Type != decode.EventStats {
		t.Errorf("the last event is %q", last.Type)
	}
}

func mustMap(t *testing.T, e *decode.Engine) *decode.LambdaMap {
	m, _ := mapped(t, e, mapRequest(0, 2))
	return m
}
