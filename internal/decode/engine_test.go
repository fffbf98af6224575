package decode_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/decode/speculate"
	"realign/internal/fault"
)

// recorder keeps the events of one request.
type recorder struct {
	events chan decode.Event
	all    []decode.Event
}

// run decodes a request to its end.
func run(t *testing.T, e *decode.Engine, req decode.Request) *recorder {
	t.Helper()
	r := &recorder{events: make(chan decode.Event, 1<<16)}
	j, err := e.Start(req, func(ev decode.Event) { r.events <- ev })
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	<-j.Done()
	r.drain()
	return r
}

func (r *recorder) drain() {
	for {
		select {
		case e := <-r.events:
			r.all = append(r.all, e)
		default:
			return
		}
	}
}

func (r *recorder) tokens(lane int) (ids []decode.Token) {
	for _, e := range r.all {
		if e.Type == decode.EventToken && e.Lane == lane {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func (r *recorder) text(lane int) string {
	var b strings.Builder
	for _, e := range r.all {
		if e.Type == decode.EventToken && e.Lane == lane {
			b.WriteString(e.Text)
		}
	}
	return b.String()
}

func (r *recorder) end(lane int) decode.Event {
	for _, e := range r.all {
		if e.Type == decode.EventEnd && e.Lane == lane {
			return e
		}
	}
	return decode.Event{}
}

func (r *recorder) stats() decode.Stats { return *r.all[len(r.all)-1].Stats }

// speculation is one of the ways to draft, by number; the fourth is none.
func speculation(i int) func() decode.Speculator {
	return []func() decode.Speculator{speculate.Measured, speculate.Alternating, speculate.Drafting, nil}[i%4]
}

func engine(t *testing.T, o decodetest.Options, c decode.Config) *decode.Engine {
	t.Helper()
	if o.EndLogit == 0 {
		o.EndLogit = -2
	}
	e := decode.NewEngine(decodetest.New(o), c)
	t.Cleanup(func() { e.Close() })
	return e
}

func request(lambdas ...float64) decode.Request {
	r := decode.Request{
		Aligned:  []string{"warm"},
		Prompt:   decode.Prompt{Messages: []decode.Message{{Role: "user", Content: "abcabd"}}},
		Sampling: decode.Sampling{MaxTokens: 40, Temperature: 0.9, TopP: 1},
		Seed:     7,
	}
	for i, l := range lambdas {
		r.Lanes = append(r.Lanes, decode.Lane{Index: i, Lambda: decode.Vector{l}})
	}
	return r
}

func TestPlainKernel(t *testing.T) { decodetest.TestKernel(t, decode.Plain{}) }

// Whatever the request, sharing rows changes nothing: every lane equals the same lane alone, with --plain.
func TestSharedEqualsPlain(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for i := range 60 {
		e := engine(t, decodetest.Options{Seed: uint64(i), Batch: 40}, decode.Config{PrefillChunk: 1 + random.IntN(9), Speculation: speculation(i)})
		req := request()
		req.Seed = random.Uint64()
		req.Aligned = []string{"warm", "terse"}[:1+random.IntN(2)]
		for n := range 1 + random.IntN(9) {
			lane := decode.Lane{Index: n, Sample: random.IntN(2)}
			for range req.Aligned {
				lane.Lambda = append(lane.Lambda, []float64{-0.5, 0, 0.25, 0.5, 1, 1.5, 3}[random.IntN(7)])
			}
			if random.IntN(4) == 0 {
				lane.Prefix = []decode.Token{decodetest.Letters, decodetest.Letters + 1}
			}
			if random.IntN(4) == 0 {
				to := decode.Vector{0.1, 0.2}[:len(req.Aligned)]
				lane.Changes = []decode.Change{{At: random.IntN(20), Lambda: to}}
			}
			req.Lanes = append(req.Lanes, lane)
		}
		s := &req.Sampling
		s.Temperature = []float64{0, 0.7, 1.3}[random.IntN(3)]
		s.TopK = []int{0, 0, 3}[random.IntN(3)]
		s.TopP = []float64{1, 1, 0.8}[random.IntN(3)]
		s.MinP = []float64{0, 0, 0.1}[random.IntN(3)]
		s.RepeatPenalty = []float64{0, 1.2}[random.IntN(2)]
		s.PenaltyWindow = []int{0, 5}[random.IntN(2)]
		if random.IntN(3) == 0 {
			s.Stop = []string{"ab", "éc"}
		}
		req.Trace.Off = random.IntN(2) == 0
		shared := run(t, e, req)
		for _, lane := range req.Lanes {
			alone := req
			alone.Plain, alone.Lanes = true, []decode.Lane{lane}
			want := run(t, e, alone)
			if got := shared.tokens(lane.Index); !slices.Equal(got, want.tokens(lane.Index)) {
				t.Fatalf("case %d lane %+v: %v, alone %v", i, lane, got, want.tokens(lane.Index))
			}
			if got, want := shared.text(lane.Index), want.text(lane.Index); got != want {
				t.Fatalf("case %d lane %+v: %q, alone %q", i, lane, got, want)
			}
			if got, want := shared.end(lane.Index), want.end(lane.Index); got.Reason != want.Reason {
				t.Fatalf("case %d lane %+v ends with %q, alone %q", i, lane, got.Reason, want.Reason)
			}
		}
	}
}

// The engine chooses what the definition chooses: one table look-up a model, mixed by hand.
func TestEngineEqualsTheDefinition(t *testing.T) {
	pair := decodetest.New(decodetest.Options{Seed: 3, EndLogit: -3})
	e := decode.NewEngine(pair, decode.Config{})
	defer e.Close()
	warm, err := pair.Aligned("warm")
	if err != nil {
		t.Fatal(err)
	}
	req := request(-0.5, 0, 0.3, 1, 2)
	req.Sampling.Temperature = 0
	got := run(t, e, req)
	prompt := got.all[0].Prompt.Tokens
	for _, lane := range req.Lanes {
		history := slices.Clone(prompt)
		for i, id := range got.tokens(lane.Index) {
			a, b := history[len(history)-2], history[len(history)-1]
			r, w := pair.Table().Next(a, b), warm.(*decodetest.Model).Next(a, b)
			best, top := 0, math.Inf(-1)
			for v := range r {
				if z := (1-lane.Lambda[0])*float64(r[v]) + lane.Lambda[0]*float64(w[v]); z > top {
					best, top = v, z
				}
			}
			if decode.Token(best) != id {
				t.Fatalf("λ = %v, token %d: %v, want %v", lane.Lambda, i, id, best)
			}
			history = append(history, id)
		}
	}
}

func TestEqualLanesCostOne(t *testing.T) {
	e := engine(t, decodetest.Options{}, decode.Config{})
	one := run(t, e, request(0.5)).stats()
	eight := run(t, e, request(0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)).stats()
	if fmt.Sprint(one.Rows) != fmt.Sprint(eight.Rows) {
		t.Errorf("eight equal lanes decoded %v rows, one %v", eight.Rows, one.Rows)
	}
	if eight.Tokens != 8*one.Tokens {
		t.Errorf("eight lanes emitted %d tokens, one %d", eight.Tokens, one.Tokens)
	}
	plain := request(0.5, 0.5)
	plain.Plain = true
	if s := run(t, e, plain).stats(); s.Rows["reference"] != 2*one.Rows["reference"] {
		t.Errorf("two plain lanes decoded %v rows, one %v", s.Rows, one.Rows)
	}
}

func TestEndsNeedOneModel(t *testing.T) {
	e := engine(t, decodetest.Options{}, decode.Config{})
	for _, c := range []struct {
		lambda             float64
		reference, aligned bool
	}{{0, true, false}, {1, false, true}, {0.5, true, true}} {
		req := request(c.lambda)
		req.Trace.Off = true
		s := run(t, e, req).stats()
		if (s.Rows["reference"] > 0) != c.reference || (s.Rows["aligned"] > 0) != c.aligned {
			t.Errorf("λ = %v without a trace decoded %v", c.lambda, s.Rows)
		}
	}
	// A model that was left behind catches up when λ moves, in chunks smaller than the gap.
	e = engine(t, decodetest.Options{EndLogit: -9}, decode.Config{PrefillChunk: 3})
	req := request(0)
	req.Lanes[0].Changes = []decode.Change{{At: 20, Lambda: decode.Vector{0.5}}}
	traced := run(t, e, req)
	req.Trace.Off = true
	if got := run(t, e, req); !slices.Equal(got.tokens(0), traced.tokens(0)) {
		t.Errorf("without a trace %v, with one %v", got.tokens(0), traced.tokens(0))
	}
}

func TestReplayIsIdentical(t *testing.T) {
	e := engine(t, decodetest.Options{}, decode.Config{})
	req := request(0, 0.5, 1)
	req.Trace.Alternatives = 3
	a, b := run(t, e, req), run(t, e, req)
	for _, r := range []*recorder{a, b} { // which lane is first depends on what drafts were measured to cost
		slices.SortStableFunc(r.all[:len(r.all)-1], func(x, y decode.Event) int { return cmp.Compare(x.Lane, y.Lane) })
	}
	for i := range a.all[:len(a.all)-1] {
		if x, y := fmt.Sprintf("%+v", a.all[i].Logp), fmt.Sprintf("%+v", b.all[i].Logp); a.all[i].ID != b.all[i].ID || a.all[i].Text != b.all[i].Text {
			t.Fatalf("event %d: %v and %v", i, x, y)
		}
	}
	top := a.all[1].Top
	if len(top.Reference) != 3 || len(top.Aligned) != 1 || len(top.Mixture) != 3 {
		t.Errorf("alternatives %+v", top)
	}
	if !slices.IsSortedFunc(top.Mixture, func(x, y decode.Alternative) int { return cmp.Compare(y.Logp, x.Logp) }) {
		t.Errorf("alternatives are not sorted: %+v", top.Mixture)
	}
}

// A λ moved while streaming leaves a mark, and replaying the lane with that change gives the same tokens.
func TestLiveLambdaReplays(t *testing.T) {
	e := engine(t, decodetest.Options{EndLogit: -20, Delay: time.Millisecond}, decode.Config{})
	req := request(0, 0)
	events := make(chan decode.Event, 1<<12)
	j, err := e.Start(req, func(ev decode.Event) { events <- ev })
	if err != nil {
		t.Fatal(err)
	}
	var live []decode.Token
	var mark *decode.Event
	for ev := range events {
		if ev.Type == decode.EventToken && ev.Lane == 1 {
			live = append(live, ev.ID)
			if len(live) == 5 {
				if err := j.SetLambda(1, decode.Vector{3}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if ev.Type == decode.EventLambda {
			mark = &ev
		}
		if ev.Type == decode.EventStats {
			break
		}
	}
	if mark == nil || mark.Lane != 1 || mark.Index < 5 {
		t.Fatalf("mark %+v", mark)
	}
	req.Lanes[1].Changes = []decode.Change{{At: mark.Index, Lambda: mark.Lambda}}
	if again := run(t, e, req); !slices.Equal(again.tokens(1), live) {
		t.Errorf("live %v, replayed %v", live, again.tokens(1))
	}
	if err := j.SetLambda(1, decode.Vector{1}); fault.KindOf(err) != fault.Conflict {
		t.Errorf("moving λ of an ended lane: %v", err)
	}
	if err := j.SetLambda(1, decode.Vector{math.NaN()}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("moving λ to NaN: %v", err)
	}
}

func TestStopCostsAtMostOnePass(t *testing.T) {
	e := engine(t, decodetest.Options{EndLogit: -20, Delay: 100 * time.Millisecond}, decode.Config{})
	req := request(0, 1)
	req.Sampling.MaxTokens = 400
	events := make(chan decode.Event, 1<<12)
	j, err := e.Start(req, func(ev decode.Event) { events <- ev })
	if err != nil {
		t.Fatal(err)
	}
	for ev := range events {
		if ev.Type == decode.EventToken && ev.Index == 3 {
			break
		}
	}
	before := e.Counters().Passes["reference"]
	j.Stop(0)
	j.Stop(-1)
	<-j.Done()
	close(events)
	if after := e.Counters().Passes["reference"]; after > before+2 {
		t.Errorf("two stops took %d passes", after-before)
	}
	ends := 0
	for ev := range events {
		if ev.Type == decode.EventEnd {
			ends++
			if ev.Reason != decode.EndCancelled {
				t.Errorf("lane %d ended with %q", ev.Lane, ev.Reason)
			}
		}
	}
	if ends != 2 {
		t.Errorf("%d lanes ended", ends)
	}
	if err := j.Stop(-1); err != nil { // stopping what has ended does nothing
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	e := engine(t, decodetest.Options{Context: 20, Cells: 200, EndLogit: -20}, decode.Config{})
	full := run(t, e, request(0.5))
	if end := full.end(0); end.Reason != decode.EndLength || end.Index != 20-full.stats().PromptTokens+1 {
		t.Errorf("at the end of the context: %+v", end)
	}
	for name, c := range map[string]struct {
		field string
		edit  func(*decode.Request)
	}{
		"empty prompt":       {"prompt", func(r *decode.Request) { r.Prompt.Messages[0].Content = "  " }},
		"no prompt":          {"prompt", func(r *decode.Request) { r.Prompt = decode.Prompt{} }},
		"long prompt":        {"prompt", func(r *decode.Request) { r.Prompt.Messages[0].Content = strings.Repeat("a", 30) }},
		"token outside":      {"prompt", func(r *decode.Request) { r.Prompt = decode.Prompt{Tokens: []decode.Token{99}} }},
		"λ not a number":     {"lambda", func(r *decode.Request) { r.Lanes[0].Lambda = decode.Vector{math.NaN()} }},
		"λ out of range":     {"lambda", func(r *decode.Request) { r.Lanes[0].Lambda = decode.Vector{20.5} }},
		"λ for two models":   {"lambda", func(r *decode.Request) { r.Lanes[0].Lambda = decode.Vector{1, 1} }},
		"no lanes":           {"lanes", func(r *decode.Request) { r.Lanes = nil }},
		"equal lane numbers": {"lanes", func(r *decode.Request) { r.Lanes = append(r.Lanes, r.Lanes[0]) }},
		"too many lanes": {"lanes", func(r *decode.Request) {
			for i := range decode.MaxLanes {
				r.Lanes = append(r.Lanes, decode.Lane{Index: i + 1, Lambda: decode.Vector{0}})
			}
		}},
		"too many cells": {"max_tokens", func(r *decode.Request) {
			for i := range 30 {
				r.Lanes = append(r.Lanes, decode.Lane{Index: i + 1, Lambda: decode.Vector{0}})
			}
		}},
		"no tokens":           {"max_tokens", func(r *decode.Request) { r.Sampling.MaxTokens = 0 }},
		"cold":                {"temperature", func(r *decode.Request) { r.Sampling.Temperature = -1 }},
		"nothing in top-p":    {"top_p", func(r *decode.Request) { r.Sampling.TopP = 0 }},
		"empty stop":          {"stop", func(r *decode.Request) { r.Sampling.Stop = []string{""} }},
		"prefix token":        {"prefix", func(r *decode.Request) { r.Lanes[0].Prefix = []decode.Token{-1} }},
		"too many alternates": {"alternatives", func(r *decode.Request) { r.Trace.Alternatives = 21 }},
	} {
		req := request(0.5)
		c.edit(&req)
		_, err := e.Start(req, func(decode.Event) {})
		if f := fault.Of(err); err == nil || f.Kind != fault.Invalid || f.Field != c.field {
			t.Errorf("%s: %v, want an invalid %s", name, err, c.field)
		}
	}
	req := request(1)
	req.Aligned = []string{"nobody"}
	if _, err := e.Start(req, func(decode.Event) {}); fault.KindOf(err) != fault.NotFound {
		t.Errorf("unknown aligned model: %v", err)
	}
}

// A failing pass or a NaN ends the lanes it touched with an error; the engine goes on.
func TestFailures(t *testing.T) {
	for name, break_ := range map[string]func(*decodetest.Model){
		"pass": func(m *decodetest.Model) { m.FailAt = 6 },
		"NaN":  func(m *decodetest.Model) { m.NaNAt = 6 },
	} {
		pair := decodetest.New(decodetest.Options{EndLogit: -20})
		break_(pair.Table())
		e := decode.NewEngine(pair, decode.Config{}) // a pass a token
		got := run(t, e, request(0, 0.5))
		for lane := range 2 {
			if end := got.end(lane); end.Reason != decode.EndError || end.Error == nil || len(got.tokens(lane)) != 5 {
				t.Errorf("%s: lane %d ended %+v after %v", name, lane, end, got.tokens(lane))
			}
		}
		if again := run(t, e, request(0.5)); again.end(0).Reason != decode.EndLength {
			t.Errorf("%s: afterwards %+v", name, again.end(0))
		}
		e.Close()
		if used := pair.Table().Used(); used != 0 {
			t.Errorf("%s: %d cells are still used", name, used)
		}
	}
}

// Requests wait for room in order, a full queue says so, and nothing is left behind.
func TestQueue(t *testing.T) {
	pair := decodetest.New(decodetest.Options{Sequences: 4, EndLogit: -20, Delay: 5 * time.Millisecond})
	e := decode.NewEngine(pair, decode.Config{Queue: 3})
	var jobs []*decode.Job
	busy := 0
	for range 8 {
		j, err := e.Start(request(0, 0.5, 1), func(decode.Event) {})
		switch {
		case err == nil:
			jobs = append(jobs, j)
		case fault.KindOf(err) == fault.Busy:
			busy++
		default:
			t.Fatal(err)
		}
	}
	if len(jobs) != 4 || busy != 4 {
		t.Errorf("%d admitted or queued, %d refused", len(jobs), busy)
	}
	jobs[2].Stop(-1) // while it waits
	if err := jobs[3].SetLambda(0, decode.Vector{2}); err != nil {
		t.Errorf("moving λ while waiting: %v", err)
	}
	jobs[3].Stop(1)
	for _, j := range jobs {
		<-j.Done()
	}
	if c := e.Counters(); c.Lanes != 0 || c.Queue != 0 || c.Requests != 4 {
		t.Errorf("counters %+v", c)
	}
	if used := pair.Table().Used(); used != 0 {
		t.Errorf("%d cells are still used", used)
	}
	e.Close()
	if _, err := e.Start(request(0), func(decode.Event) {}); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("after Close: %v", err)
	}
	e.Close()
}

// Close ends what runs and what waits.
func TestCloseEndsEverything(t *testing.T) {
	e := decode.NewEngine(decodetest.New(decodetest.Options{Sequences: 2, EndLogit: -20, Delay: time.Millisecond}), decode.Config{})
	first := make(chan struct{}, 1<<12)
	var jobs []*decode.Job
	for range 3 {
		j, err := e.Start(request(0, 1), func(decode.Event) { first <- struct{}{} })
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, j)
	}
	<-first
	e.Close()
	for _, j := range jobs {
		<-j.Done()
	}
}

func TestLongPromptTellsProgressAndDoesNotStall(t *testing.T) {
	e := engine(t, decodetest.Options{EndLogit: -20}, decode.Config{PrefillChunk: 16})
	short := make(chan decode.Event, 1<<12)
	req := request(0.5)
	req.Sampling.MaxTokens = 300
	j, err := e.Start(req, func(ev decode.Event) { short <- ev })
	if err != nil {
		t.Fatal(err)
	}
	long := request(0.5)
	long.Prompt.Messages[0].Content = strings.Repeat("abc", 120)
	got := run(t, e, long)
	var done []int
	for _, ev := range got.all {
		if ev.Type == decode.EventPrompt {
			done = append(done, ev.Prompt.Done)
		}
	}
	if len(done) < 20 || !slices.IsSorted(done) {
		t.Errorf("progress %v", done)
	}
	<-j.Done()
}
