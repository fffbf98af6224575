package decode_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
)

// Guesses change no token: 200 seeds at seven λ, greedy and sampled.
func TestSpeculationEqualsPlain(t *testing.T) {
	for name, scheme := range map[string]decode.Speculation{"alternating": decode.Alternating, "drafting": decode.Drafting} {
		t.Run(name, func(t *testing.T) { testSpeculation(t, scheme) })
	}
}

func testSpeculation(t *testing.T, scheme decode.Speculation) {
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
		t.Errorf("%d of %d tokens were guessed; %d passes, plain %d", accepted, tokens, passes, plainPasses)
	}
}

// With guesses, what is sampled has the mixture's distribution: the first two tokens of 12,800 samples against their
// exact probabilities.
func TestSpeculationSamplesTheMixture(t *testing.T) {
	pair := decodetest.New(decodetest.Options{Seed: 2, Letters: 3, EndLogit: -1})
	e := decode.NewEngine(pair, decode.Config{Speculation: decode.Alternating})
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

// Requests that are steered, stopped and forked at random leave nothing behind: no sequence, no cell, no goroutine.
// REALIGN_SOAK says how long, 2 s by default.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(cmp.Or(os.Getenv("REALIGN_SOAK"), "2s"))
	if err != nil {
		t.Fatal(err)
	}
	goroutines := runtime.NumGoroutine()
	for _, speculation := range []decode.Speculation{decode.Alternating, decode.Drafting, decode.Measured} {
		options := decodetest.Options{Seed: 3, EndLogit: -4, Cells: 2000, Sequences: 40}
		pair := decodetest.New(options)
		e := decode.NewEngine(pair, decode.Config{Speculation: speculation, PrefixCells: 600, Queue: 100})
		ctx, stop := context.WithTimeout(t.Context(), length/3)
		var wait sync.WaitGroup
		for client := range 6 {
			wait.Go(func() {
				random := rand.New(rand.NewPCG(uint64(client), 5))
				for ctx.Err() == nil {
					soak(t, e, random)
				}
			})
		}
		wait.Wait()
		stop()
		last := request(0, 1)
		last.Prompt = decode.Prompt{Text: "abc"}
		last.Lanes = nil
		for i := range 40 { // needs every sequence, so nothing may be lost
			last.Lanes = append(last.Lanes, decode.Lane{Index: i, Sample: i, Lambda: decode.Vector{0.5}})
		}
		last.Sampling.IgnoreEnd = true
		if s := run(t, e, last).stats(); s.Tokens != 40*last.Sampling.MaxTokens {
			t.Errorf("%d tokens on 40 lanes", s.Tokens)
		}
		if c := e.Counters(); c.Lanes != 0 || c.Queue != 0 {
			t.Errorf("at the end %d lanes and %d waiting", c.Lanes, c.Queue)
		}
		if used := pair.Table().Used(); used > 600 {
			t.Errorf("%d cells are in use, at most 600 are kept", used)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	for range 100 {
		if runtime.NumGoroutine() <= goroutines {
			return
		}
		runtime.Gosched()
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d at the beginning", runtime.NumGoroutine(), goroutines)
}

// soak is one request that is interfered with.
func soak(t *testing.T, e *decode.Engine, random *rand.Rand) {
	req := request()
	if random.IntN(6) == 0 {
		req = mapRequest(0, 2)
		req.Map.Branches = 1 + random.IntN(12)
	}
	req.Owner = fmt.Sprint(random.IntN(3))
	req.Seed = random.Uint64()
	req.Prompt = conversation("abcdefgabc"[:1+random.IntN(10)])
	req.Sampling.MaxTokens = 1 + random.IntN(40)
	req.Sampling.Temperature = []float64{0, 0.8}[random.IntN(2)]
	req.Trace.Off = random.IntN(2) == 0
	if req.Map == nil {
		for i := range 1 + random.IntN(8) {
			req.Lanes = append(req.Lanes, decode.Lane{Index: i, Sample: random.IntN(2), Lambda: decode.Vector{random.Float64()*3 - 0.5}})
		}
	}
	ends, branches := 0, 0
	var mu sync.Mutex
	first := make(chan struct{})
	var once sync.Once
	j, err := e.Start(req, func(ev decode.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch ev.Type {
		case decode.EventEnd:
			ends++
		case decode.EventBranch:
			branches++
		case decode.EventToken, decode.EventStats:
			once.Do(func() { close(first) })
		}
	})
	if err != nil {
		t.Errorf("Start: %v", err)
		return
	}
	if random.IntN(2) == 0 {
		<-first
	}
	for range random.IntN(4) {
		lane := random.IntN(8)
		switch random.IntN(4) {
		case 0:
			_ = j.Stop(lane)
		case 1:
			_ = j.Stop(-1)
		default:
			_ = j.SetLambda(lane, decode.Vector{random.Float64() * 2}) // refused for a lane that ended
		}
	}
	<-j.Done()
	mu.Lock()
	defer mu.Unlock()
	if ends != len(req.Lanes) || (branches > 0) != (req.Map != nil) {
		t.Errorf("%d lanes and map %v: %d ends, %d branches", len(req.Lanes), req.Map, ends, branches)
	}
}
