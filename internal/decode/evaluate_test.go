package decode_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/fault"
)

// logSoftmax is the definition: log of the softmax of z/T at one entry.
func logSoftmax(z []float64, t decode.Token, temperature float64) float64 {
	top, sum := slices.Max(z)/temperature, 0.0
	for _, x := range z {
		sum += math.Exp(x/temperature - top)
	}
	return z[t]/temperature - top - math.Log(sum)
}

// The totals of a lane are what summing by hand over the table's rows gives, at every λ asked for, whatever the lane's
// own λ, the temperature, and the way it was decoded.
func TestEvaluateEqualsTheDefinition(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	for i := range 24 {
		pair := decodetest.New(decodetest.Options{Seed: uint64(i), EndLogit: -2})
		e := decode.NewEngine(pair, decode.Config{Speculation: speculation(i % 3)})
		defer e.Close()
		warm, err := pair.Aligned("warm")
		if err != nil {
			t.Fatal(err)
		}
		req := request(-0.5, 0, 0.3, 1, 2)
		req.Seed = random.Uint64()
		req.Sampling.Temperature = []float64{0.6, 1, 1.4}[i%3]
		req.Plain = i%5 == 0
		req.Totals, req.Evaluate = true, []float64{-0.5, 0, 0.15, 0.3, 0.5, 1, 1.7, 2}
		got := run(t, e, req)
		prompt := got.all[0].Prompt.Tokens
		for _, lane := range req.Lanes {
			totals := got.end(lane.Index).Totals
			if totals == nil || len(totals.Evaluated) != len(req.Evaluate) {
				t.Fatalf("lane %d ends with totals %+v", lane.Index, totals)
			}
			want := make([]float64, len(req.Evaluate))
			history := slices.Clone(prompt)
			for _, id := range got.tokens(lane.Index) {
				a, b := history[len(history)-2], history[len(history)-1]
				r, w := pair.Table().Next(a, b), warm.(*decodetest.Model).Next(a, b)
				z := make([]float64, len(r))
				for k, l := range req.Evaluate {
					for v := range z {
						z[v] = (1-l)*float64(r[v]) + l*float64(w[v])
					}
					want[k] += logSoftmax(z, id, req.Sampling.Temperature)
				}
				history = append(history, id)
			}
			for k := range want {
				if math.Abs(totals.Evaluated[k]-want[k]) > 1e-9 {
					t.Errorf("case %d, lane at %v: log-probability at λ = %v is %v, want %v", i, lane.Lambda, req.Evaluate[k], totals.Evaluated[k], want[k])
				}
			}
			var logp decode.Logp
			var kl, logZ float64
			logp.Aligned = decode.Vector{0}
			for _, ev := range got.all {
				if ev.Type == decode.EventToken && ev.Lane == lane.Index {
					logp.Reference += ev.Logp.Reference
					logp.Aligned[0] += ev.Logp.Aligned[0]
					logp.Mixture += ev.Logp.Mixture
					kl += *ev.KLReference
					logZ += *ev.LogZ
				}
			}
			if totals.Logp.Reference != logp.Reference || totals.Logp.Aligned[0] != logp.Aligned[0] || totals.Logp.Mixture != logp.Mixture ||
				totals.KLReference != kl || totals.LogZ != logZ {
				t.Errorf("lane %d: totals %+v, and its tokens sum to %+v, KL %v, log Z %v", lane.Index, totals, logp, kl, logZ)
			}
		}
	}
}

// Evaluation changes no token, and a request without it ends without totals.
func TestEvaluateChangesNothing(t *testing.T) {
	e := engine(t, decodetest.Options{}, decode.Config{})
	req := request(0, 0.5, 1, 1.5)
	plain := run(t, e, req)
	req.Totals, req.Evaluate = true, []float64{0.2}
	evaluated := run(t, e, req)
	for i := range req.Lanes {
		if !slices.Equal(plain.tokens(i), evaluated.tokens(i)) {
			t.Errorf("lane %d decodes %v with evaluation, %v without", i, evaluated.tokens(i), plain.tokens(i))
		}
		if plain.end(i).Totals != nil {
			t.Errorf("lane %d has totals that nobody asked for", i)
		}
	}
	data, err := json.Marshal(evaluated.end(0))
	var back decode.Event
	if err := errors.Join(err, json.Unmarshal(data, &back)); err != nil || back.Totals.Evaluated[0] != evaluated.end(0).Totals.Evaluated[0] {
		t.Errorf("totals do not survive JSON: %s, %v", data, err)
	}
}

// What would make the log-probabilities wrong is refused by name.
func TestEvaluateRefuses(t *testing.T) {
	e := engine(t, decodetest.Options{}, decode.Config{})
	for field, change := range map[string]func(r *decode.Request){
		"temperature":       func(r *decode.Request) { r.Sampling.Temperature = 0 },
		"top_k":             func(r *decode.Request) { r.Sampling.TopK = 3 },
		"top_p":             func(r *decode.Request) { r.Sampling.TopP = 0.9 },
		"min_p":             func(r *decode.Request) { r.Sampling.MinP = 0.1 },
		"repeat_penalty":    func(r *decode.Request) { r.Sampling.RepeatPenalty = 1.1 },
		"presence_penalty":  func(r *decode.Request) { r.Sampling.PresencePenalty = 1 },
		"frequency_penalty": func(r *decode.Request) { r.Sampling.FrequencyPenalty = 1 },
		"bias":              func(r *decode.Request) { r.Sampling.Bias = map[decode.Token]float64{5: 1} },
		"evaluate":          func(r *decode.Request) { r.Evaluate = []float64{math.NaN()} },
		"totals":            func(r *decode.Request) { r.Trace.Off = true },
	} {
		req := request(0, 1)
		req.Totals, req.Evaluate = true, []float64{0.5}
		change(&req)
		_, err := e.Start(req, func(decode.Event) {})
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Invalid || f.Field != field {
			t.Errorf("%s: %v, want it refused by that name", field, err)
		}
	}
	for name, change := range map[string]func(r *decode.Request){
		"two aligned models": func(r *decode.Request) {
			r.Aligned = []string{"warm", "terse"}
			r.Lanes = []decode.Lane{{Lambda: decode.Vector{1, 0}}}
		},
		"no totals":  func(r *decode.Request) { r.Totals = false },
		"a prefix":   func(r *decode.Request) { r.Lanes[0].Prefix = []decode.Token{decodetest.Letters} },
		"a move":     func(r *decode.Request) { r.Lanes[0].Changes = []decode.Change{{At: 1, Lambda: decode.Vector{1}}} },
		"too many λ": func(r *decode.Request) { r.Evaluate = make([]float64, decode.MaxEvaluate+1) },
	} {
		req := request(0, 1)
		req.Totals, req.Evaluate = true, []float64{0.5}
		change(&req)
		if _, err := e.Start(req, func(decode.Event) {}); fault.Of(err) == nil || fault.Of(err).Field != "evaluate" {
			t.Errorf("%s: %v, want a refusal of evaluate", name, err)
		}
	}
}

// While another request is decoded a background one rests; it ends with the tokens that it has alone.
func TestBackgroundRests(t *testing.T) {
	o := decodetest.Options{EndLogit: -30, Delay: time.Millisecond}
	e := engine(t, o, decode.Config{})
	want := run(t, engine(t, o, decode.Config{}), request(0, 0.5, 1))
	behind := request(0, 0.5, 1)
	behind.Background = true
	events := make(chan string, 1<<12)
	tell := func(name string, first chan<- struct{}) func(decode.Event) {
		return func(ev decode.Event) {
			if ev.Type == decode.EventToken || ev.Type == decode.EventStats {
				events <- name + " " + ev.Type
				select {
				case first <- struct{}{}:
				default:
				}
			}
		}
	}
	var r recorder
	r.events = make(chan decode.Event, 1<<12)
	first := make(chan struct{}, 1)
	note := tell("behind", first)
	j, err := e.Start(behind, func(ev decode.Event) { r.events <- ev; note(ev) })
	if err != nil {
		t.Fatal(err)
	}
	<-first
	ahead, err := e.Start(request(0.2, 0.8), tell("ahead", make(chan struct{}, 1)))
	if err != nil {
		t.Fatal(err)
	}
	<-ahead.Done()
	<-j.Done()
	close(events)
	seen, mixed := "", 0
	for name := range events {
		switch {
		case name == "ahead token":
			seen = "ahead"
		case name == "ahead stats":
			seen = ""
		case seen == "ahead":
			mixed++
		}
	}
	if mixed > 0 {
		t.Errorf("%d events of the background request between those of the other", mixed)
	}
	r.drain()
	for i := range 3 {
		if !slices.Equal(r.tokens(i), want.tokens(i)) {
			t.Errorf("lane %d decoded %v after a rest, %v without", i, r.tokens(i), want.tokens(i))
		}
	}
}
