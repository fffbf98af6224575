package main

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"realign/internal/bench"
	"realign/internal/decode"
)

type benchCommand struct {
	pairFlags
	modelFlags

	Pair  string `default:"demo" placeholder:"NAME" help:"Pair of models."`
	Pairs int    `default:"20" help:"Times that each of two things is timed, in turns."`
}

var (
	pageTrace = decode.Trace{Alternatives: 5}
	noTrace   = decode.Trace{Off: true}
)

// bareCases are runs whose time is compared with that of their bare passes.
var bareCases = []struct {
	name  string
	lanes int
	trace decode.Trace
}{
	{"one lane, no trace", 1, noTrace},
	{"one lane, traced as the pages do", 1, pageTrace},
	{"eight lanes, no trace", 8, noTrace},
	{"eight lanes, traced as the pages do", 8, pageTrace},
}

// Run prints tables in Markdown.
func (c *benchCommand) Run(ctx context.Context, h host) error {
	p, err := installedPair(c.library(), c.Pair)
	if err != nil {
		return flagged(err)
	}
	fmt.Fprintf(h.stdout, "Pair `%s`, %d processors, %s, %s.\n\n", p.Name, runtime.NumCPU(), h.engine(), time.Now().UTC().Format(time.DateOnly))
	fmt.Fprint(h.stdout, tableHead("engine ÷ bare passes of the same shapes", "engine", "bare"))
	for _, b := range bareCases {
		models, err := h.open(ctx, p, c.modelFlags, func(float64) {})
		if err != nil {
			return err
		}
		recording := bench.Record(models)
		r := rig{ctx: ctx, engine: decode.NewEngine(recording, decode.Config{Kernel: h.kernel}), aligned: p.Names()[:1]}
		ratio, err := bench.Compare(c.Pairs, func() error {
			recording.Reset()
			return r.run(r.lanes(spread(b.lanes), 100, b.trace))
		}, recording.Replay)
		if err := cmp.Or(err, r.engine.Close()); err != nil {
			return err
		}
		fmt.Fprint(h.stdout, tableRow(b.name, ratio))
	}
	models, err := h.open(ctx, p, c.modelFlags, func(float64) {})
	if err != nil {
		return err
	}
	printPlacements(h, models)
	r := rig{ctx: ctx, engine: decode.NewEngine(models, decode.Config{Kernel: h.kernel}), aligned: p.Names()[:1]}
	defer r.engine.Close()
	never := r // on the same models: one of the two is always idle
	never.engine = decode.NewEngine(models, decode.Config{Kernel: h.kernel, Speculation: decode.Never})
	defer never.engine.Close()
	fmt.Fprint(h.stdout, "\n", tableHead("one ÷ the other", "one", "other"))
	for _, b := range r.pairs(&never) {
		ratio, err := bench.Compare(c.Pairs, b.one, b.other)
		if err != nil {
			return err
		}
		fmt.Fprint(h.stdout, tableRow(b.name, ratio))
	}
	return nil
}

func tableHead(what, a, b string) string {
	return fmt.Sprintf("| %s | ratio | 95%% interval | %s | %s |\n|---|--:|--:|--:|--:|\n", what, a, b)
}

func tableRow(name string, r bench.Ratio) string {
	return fmt.Sprintf("| %s | %.3f | %.3f–%.3f | %v | %v |\n", name, r.Median, r.Low, r.High,
		r.A.Round(time.Millisecond), r.B.Round(time.Millisecond))
}

// rig is an engine that runs are timed on.
type rig struct {
	ctx     context.Context
	engine  *decode.Engine
	aligned []string
}

// run decodes requests one after another.
func (r *rig) run(requests ...decode.Request) error {
	for _, request := range requests {
		job, err := r.engine.Start(request, func(decode.Event) {})
		if err != nil {
			return err
		}
		<-job.Done()
		r.engine.Counters() // waits for the end of the step, when the models are nobody's
	}
	return r.ctx.Err()
}

// lanes is a request of one lane for each λ.
func (r *rig) lanes(lambdas []float64, tokens int, trace decode.Trace) decode.Request {
	request := decode.Request{
		Aligned:  r.aligned,
		Prompt:   decode.Prompt{Messages: []decode.Message{{Role: "user", Content: "What did you think of the film?"}}},
		Sampling: decode.Sampling{MaxTokens: tokens, Temperature: 0.7, TopP: 1, IgnoreEnd: true},
		Seed:     7, Trace: trace,
	}
	for i, l := range lambdas {
		request.Lanes = append(request.Lanes, decode.Lane{Index: i, Lambda: decode.Vector{l}})
	}
	return request
}

// alone is one request for each λ.
func (r *rig) alone(lambdas []float64, tokens int, trace decode.Trace) (requests []decode.Request) {
	for _, l := range lambdas {
		requests = append(requests, r.lanes([]float64{l}, tokens, trace))
	}
	return requests
}

// spread is n values of λ over [0, 2], ends included; one value is 0.5.
func spread(n int) []float64 {
	if n == 1 {
		return []float64{0.5}
	}
	lambdas := make([]float64, n)
	for i := range lambdas {
		lambdas[i] = 2 * float64(i) / float64(n-1)
	}
	return lambdas
}

// timed is two ways to do about the same.
type timed struct {
	name       string
	one, other func() error
}

func (r *rig) pairs(never *rig) []timed {
	run := func(requests ...decode.Request) func() error { return func() error { return r.run(requests...) } }
	plain := func(request decode.Request) func() error { return func() error { return never.run(request) } }
	list := []timed{
		{"λ = 0.5 without guesses ÷ λ = 0, which needs one model", plain(r.lanes([]float64{0.5}, 100, noTrace)), plain(r.lanes([]float64{0}, 100, noTrace))},
	}
	for _, temperature := range []float64{0, 0.7} {
		for _, lambda := range []float64{0.25, 0.5, 0.75, 1, 1.5} {
			request := r.lanes([]float64{lambda}, 100, pageTrace)
			request.Sampling.Temperature = temperature
			list = append(list, timed{
				fmt.Sprintf("guesses ÷ none, λ = %g, temperature %g", lambda, temperature), run(request), plain(request),
			})
		}
	}
	for _, n := range []int{2, 4, 8, 16} {
		list = append(list, timed{
			fmt.Sprintf("%d lanes over [0, 2] ÷ %d runs", n, n),
			run(r.lanes(spread(n), 60, pageTrace)), run(r.alone(spread(n), 60, pageTrace)...),
		})
	}
	long := r.lanes([]float64{0.5}, 1, noTrace)
	long.Prompt = decode.Prompt{Messages: []decode.Message{{Role: "user", Content: strings.Repeat("What did you think of the film? ", 50)}}}
	requests := 0
	read := func(again bool) func() error {
		return func() error {
			request := long
			request.Owner = "reader"
			if !again {
				requests++
				request.Owner = fmt.Sprint("reader ", requests)
			}
			return r.run(request)
		}
	}
	list = append(list, timed{"first token of a repeated prompt of 400 tokens ÷ of a new one", read(true), read(false)})
	whole := r.lanes(nil, 40, noTrace)
	whole.Map = &decode.Map{From: 0, To: 2, Branches: 64}
	return append(list, timed{"λ-map of [0, 2] to 40 tokens ÷ 21 runs", run(whole), run(r.alone(spread(21), 40, noTrace)...)})
}
