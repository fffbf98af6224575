package decode_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/fault"
)

// exactRequest is a request for lanes with n particles each.
func exactRequest(n int, lambdas ...float64) decode.Request {
	r := request(lambdas...)
	r.Sampling.Temperature, r.Sampling.Exact = 1, n
	return r
}

// Whatever the request, sharing rows between particles and lanes changes nothing: every lane equals the same lane alone, with --plain,
// where each particle has rows of its own.
func TestExactSharedEqualsPlain(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 1))
	resampled := 0
	for i := range 40 {
		e := engine(t, decodetest.Options{Seed: uint64(i), Batch: 40, Cells: 1 << 16, EndLogit: []float64{-2, 1}[i%2], Forbidden: []float64{0, 0.2}[i/2%2]},
			decode.Config{PrefillChunk: 1 + random.IntN(9), Speculation: speculation(i)})
		req := exactRequest(2 + random.IntN(7))
		req.Seed = random.Uint64()
		req.Aligned = []string{"warm", "terse"}[:1+random.IntN(2)]
		for n := range 1 + random.IntN(5) {
			lane := decode.Lane{Index: n, Sample: random.IntN(2)}
			for range req.Aligned {
				lane.Lambda = append(lane.Lambda, []float64{-0.5, 0, 0.25, 0.5, 1, 1.5, 3}[random.IntN(7)])
			}
			if random.IntN(4) == 0 {
				lane.Prefix = []decode.Token{decodetest.Letters, decodetest.Letters + 1}
			}
			req.Lanes = append(req.Lanes, lane)
		}
		if random.IntN(3) == 0 {
			req.Sampling.Stop = []string{"ab", "éc"}
		}
		req.Trace.Off = random.IntN(2) == 0
		req.Totals = !req.Trace.Off
		shared := run(t, e, req)
		for _, lane := range req.Lanes {
			alone := req
			alone.Plain, alone.Lanes = true, []decode.Lane{lane}
			plain := run(t, e, alone)
			if got, want := shared.tokens(lane.Index), plain.tokens(lane.Index); !slices.Equal(got, want) {
				t.Fatalf("case %d lane %+v: %v, alone %v", i, lane, got, want)
			}
			if got, want := shared.text(lane.Index), plain.text(lane.Index); got != want {
				t.Fatalf("case %d lane %+v: %q, alone %q", i, lane, got, want)
			}
			got, want := shared.end(lane.Index), plain.end(lane.Index)
			if got.Reason != want.Reason || (got.Exact == nil) != (want.Exact == nil) || (got.Totals == nil) != (want.Totals == nil) {
				t.Fatalf("case %d lane %+v ends %+v, alone %+v", i, lane, got, want)
			}
			if got.Exact != nil {
				if *got.Exact != *want.Exact {
					t.Fatalf("case %d lane %+v: %+v, alone %+v", i, lane, *got.Exact, *want.Exact)
				}
				resampled += got.Exact.Resampled
			}
			if got.Totals != nil && got.Totals.LogZ != want.Totals.LogZ {
				t.Fatalf("case %d lane %+v: log Z %v, alone %v", i, lane, got.Totals.LogZ, want.Totals.LogZ)
			}
		}
	}
	if resampled < 100 {
		t.Errorf("particles were resampled %d times: the test shows too little", resampled)
	}
}

// At λ = 0 and 1 a lane is the one without particles, and so is a mixture of one model among two.
func TestExactEndsArePlainLanes(t *testing.T) {
	e := engine(t, decodetest.Options{}, decode.Config{})
	req := exactRequest(8, 0, 1)
	got := run(t, e, req)
	req.Sampling.Exact = 0
	want := run(t, e, req)
	for lane := range 2 {
		if !slices.Equal(got.tokens(lane), want.tokens(lane)) || got.end(lane).Exact != nil {
			t.Errorf("lane %d: %v, without particles %v", lane, got.tokens(lane), want.tokens(lane))
		}
	}
	if a, b := got.stats(), want.stats(); a.Rows["reference"] != b.Rows["reference"] {
		t.Errorf("rows %v, without particles %v", a.Rows, b.Rows)
	}
	two := exactRequest(8)
	two.Aligned = []string{"warm", "terse"}
	two.Lanes = []decode.Lane{{Lambda: decode.Vector{0, 1}}, {Index: 1, Lambda: decode.Vector{0.5, 0}}}
	got = run(t, e, two)
	if got.end(0).Exact != nil || got.end(1).Exact == nil {
		t.Errorf("ends %+v and %+v", got.end(0), got.end(1))
	}
}

// What a lane that did not change says is what it says without particles; one that changed says something else, unless a particle that
// replaced number 0 came to the same.
func TestExactChanged(t *testing.T) {
	e := engine(t, decodetest.Options{EndLogit: 1}, decode.Config{})
	same, other := 0, 0
	for seed := range 200 {
		req := exactRequest(6, 0.5, 1.5)
		req.Seed = uint64(seed)
		got := run(t, e, req)
		req.Sampling.Exact = 0
		want := run(t, e, req)
		for lane := range 2 {
			equal := slices.Equal(got.tokens(lane), want.tokens(lane))
			if x := got.end(lane).Exact; !x.Changed && !equal {
				t.Fatalf("seed %d lane %d: %v, token by token %v, and %+v", seed, lane, got.tokens(lane), want.tokens(lane), x)
			} else if x.Changed && equal && x.Resampled == 0 {
				t.Fatalf("seed %d lane %d: %v is said to have changed", seed, lane, got.tokens(lane))
			} else if equal {
				same++
			} else {
				other++
			}
		}
	}
	if same < 50 || other < 50 {
		t.Errorf("%d lanes stayed and %d changed: the test shows too little", same, other)
	}
}

// Tokens that were told before a lane ended are a beginning of what the lane says in the end, and events come in their order.
func TestExactTellsWhatIsCertain(t *testing.T) {
	e := engine(t, decodetest.Options{EndLogit: -1}, decode.Config{})
	early := 0
	for seed := range 50 {
		req := exactRequest(4, 0.5)
		req.Seed = uint64(seed)
		got := run(t, e, req)
		for i, ev := range got.all {
			if ev.Type == decode.EventToken && ev.Index != i-1 {
				t.Fatalf("event %d is token %d", i, ev.Index)
			}
		}
		if end := got.end(0); end.Index != len(got.tokens(0)) || end.Exact.Particles != 4 {
			t.Fatalf("end %+v", end)
		}
		if s := got.stats(); s.Tokens != len(got.tokens(0)) {
			t.Errorf("%d tokens told, %d counted", len(got.tokens(0)), s.Tokens)
		}
	}
	// A lane that is stopped has told a beginning of what it says when it is not.
	e = engine(t, decodetest.Options{EndLogit: -20, Delay: time.Millisecond, Cells: 1 << 16}, decode.Config{})
	for seed := range 8 {
		req := exactRequest(3, 0.5)
		req.Seed, req.Sampling.MaxTokens = uint64(seed), 150
		events := make(chan decode.Event, 1<<12)
		j, err := e.Start(req, func(ev decode.Event) { events <- ev })
		if err != nil {
			t.Fatal(err)
		}
		var told []decode.Token
		for ev := range events {
			if ev.Type == decode.EventToken {
				if told = append(told, ev.ID); len(told) == 10 {
					j.Stop(-1)
				}
			}
			if ev.Type == decode.EventStats {
				break
			}
		}
		if len(told) < 150 {
			early++
		}
		if whole := run(t, e, req).tokens(0); !slices.Equal(told, whole[:len(told)]) {
			t.Errorf("seed %d: %v were told of %v", seed, told, whole)
		}
		if err := j.SetLambda(0, decode.Vector{1}); fault.KindOf(err) != fault.Conflict {
			t.Errorf("moving λ of an exact lane: %v", err)
		}
	}
	if early == 0 {
		t.Error("no lane told a token before its end")
	}
}

// The same run gives the same again, and a lane does not depend on those beside it.
func TestExactReplays(t *testing.T) {
	e := engine(t, decodetest.Options{EndLogit: 0}, decode.Config{})
	req := exactRequest(8, 0.25, 0.5, 1.5, 2)
	a, b := run(t, e, req), run(t, e, req)
	for lane, l := range req.Lanes {
		alone := req
		alone.Lanes = []decode.Lane{l}
		c := run(t, e, alone)
		if !slices.Equal(a.tokens(lane), b.tokens(lane)) || !slices.Equal(a.tokens(lane), c.tokens(lane)) || *a.end(lane).Exact != *c.end(lane).Exact {
			t.Errorf("λ = %v: %v, again %v, alone %v", l.Lambda, a.tokens(lane), b.tokens(lane), c.tokens(lane))
		}
	}
}

// Particles share rows: eight cost fewer rows than eight lanes of their own, and lanes at close λ share them, too.
func TestExactSharesRows(t *testing.T) {
	e := engine(t, decodetest.Options{EndLogit: -1, Cells: 1 << 16}, decode.Config{})
	rows := func(plain bool, lambdas ...float64) (sum int64) {
		for seed := range 40 {
			req := exactRequest(8, lambdas...)
			req.Seed, req.Plain = uint64(seed), plain
			sum += run(t, e, req).stats().Rows["reference"]
		}
		return sum
	}
	shared, plain := rows(false, 0.5), rows(true, 0.5)
	if float64(shared) > 0.9*float64(plain) {
		t.Errorf("%d rows shared, %d plain", shared, plain)
	}
	if two := rows(false, 0.5, 0.55); float64(two) > 1.6*float64(shared) {
		t.Errorf("%d rows at two close λ, %d at one", two, shared)
	}
}

func TestExactLimits(t *testing.T) {
	e := engine(t, decodetest.Options{Sequences: 20}, decode.Config{})
	for name, c := range map[string]struct {
		field string
		edit  func(*decode.Request)
	}{
		"cold":          {"temperature", func(r *decode.Request) { r.Sampling.Temperature = 0.7 }},
		"greedy":        {"temperature", func(r *decode.Request) { r.Sampling.Temperature = 0 }},
		"top-k":         {"top_k", func(r *decode.Request) { r.Sampling.TopK = 5 }},
		"top-p":         {"top_p", func(r *decode.Request) { r.Sampling.TopP = 0.9 }},
		"min-p":         {"min_p", func(r *decode.Request) { r.Sampling.MinP = 0.1 }},
		"repeat":        {"repeat_penalty", func(r *decode.Request) { r.Sampling.RepeatPenalty = 1.1 }},
		"presence":      {"presence_penalty", func(r *decode.Request) { r.Sampling.PresencePenalty = 1 }},
		"frequency":     {"frequency_penalty", func(r *decode.Request) { r.Sampling.FrequencyPenalty = 1 }},
		"bias":          {"bias", func(r *decode.Request) { r.Sampling.Bias = map[decode.Token]float64{decodetest.Letters: 1} }},
		"one particle":  {"exact", func(r *decode.Request) { r.Sampling.Exact = 1 }},
		"too many":      {"exact", func(r *decode.Request) { r.Sampling.Exact = decode.MaxParticles + 1 }},
		"negative":      {"exact", func(r *decode.Request) { r.Sampling.Exact = -1 }},
		"no room":       {"exact", func(r *decode.Request) { r.Sampling.Exact = 11 }},
		"map":           {"exact", func(r *decode.Request) { r.Lanes, r.Map = nil, &decode.Map{To: 1, Branches: 4} }},
		"other λ":       {"evaluate", func(r *decode.Request) { r.Totals, r.Evaluate = true, []float64{1} }},
		"moves of λ":    {"changes", func(r *decode.Request) { r.Lanes[0].Changes = []decode.Change{{At: 1, Lambda: decode.Vector{0}}} }},
		"cache for all": {"max_tokens", func(r *decode.Request) { r.Sampling.MaxTokens = 400 }},
	} {
		req := exactRequest(8, 0.5, 1.5)
		c.edit(&req)
		_, err := e.Start(req, func(decode.Event) {})
		if f := fault.Of(err); err == nil || f.Kind != fault.Invalid || f.Field != c.field {
			t.Errorf("%s: %v, want an invalid %s", name, err, c.field)
		} else if c.field != "max_tokens" && !strings.Contains(f.Error(), "exact") {
			t.Errorf("%s: %q says nothing of exact", name, f.Error())
		}
	}
}

// A failing pass or a NaN ends lanes with particles as it ends others, and everything that they held comes back.
func TestExactFailures(t *testing.T) {
	for name, break_ := range map[string]func(*decodetest.Model){
		"pass": func(m *decodetest.Model) { m.FailAt = 6 },
		"NaN":  func(m *decodetest.Model) { m.NaNAt = 6 },
	} {
		pair := decodetest.New(decodetest.Options{EndLogit: -20, Cells: 1 << 16})
		break_(pair.Table())
		e := decode.NewEngine(pair, decode.Config{})
		got := run(t, e, exactRequest(4, 0.3, 0.5))
		for lane := range 2 {
			if end := got.end(lane); end.Reason != decode.EndError || end.Error == nil || end.Exact != nil {
				t.Errorf("%s: lane %d ended %+v", name, lane, end)
			}
		}
		if again := run(t, e, exactRequest(4, 0.5)); again.end(0).Reason != decode.EndLength {
			t.Errorf("%s: afterwards %+v", name, again.end(0))
		}
		if c := e.Counters(); c.Lanes != 0 {
			t.Errorf("%s: %d lanes are left", name, c.Lanes)
		}
		e.Close()
		if used := pair.Table().Used(); used != 0 {
			t.Errorf("%s: %d cells are still used", name, used)
		}
	}
}

// The engine gives every sequence back, however often particles were resampled.
func TestExactGivesSequencesBack(t *testing.T) {
	pair := decodetest.New(decodetest.Options{EndLogit: -2, Cells: 1 << 16, Sequences: 16})
	e := decode.NewEngine(pair, decode.Config{PrefixCells: -1})
	defer e.Close()
	for i := range 60 {
		req := exactRequest(8, 0.5, []float64{1, 2}[i%2])
		req.Seed, req.Plain = uint64(i), i%3 == 0
		if i%2 == 1 {
			run(t, e, req)
			continue
		}
		j, err := e.Start(req, func(decode.Event) {})
		if err != nil {
			t.Fatal(err)
		}
		j.Stop(i%4/2 - 1)
		<-j.Done()
	}
	if used := pair.Table().Used(); used != 0 {
		t.Errorf("%d cells are still used", used)
	}
	req := request()
	for i := range 16 {
		req.Lanes = append(req.Lanes, decode.Lane{Index: i, Sample: i, Lambda: decode.Vector{0.5}})
	}
	if got := run(t, e, req); math.IsNaN(got.stats().Seconds) || got.stats().Tokens == 0 {
		t.Errorf("%+v", got.stats())
	}
}
