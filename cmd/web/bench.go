package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
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

// benchCase is a run whose time is compared with that of its bare passes.
type benchCase struct {
	name    string
	lambdas []float64
	trace   decode.Trace
}

var (
	oneLambda    = []float64{0.5}
	eightLambdas = []float64{0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2}
	pageTrace    = decode.Trace{Alternatives: 5}
	noTrace      = decode.Trace{Off: true}
)

var benchCases = []benchCase{
	{"one lane, no trace", oneLambda, noTrace},
	{"one lane, traced as the pages do", oneLambda, pageTrace},
	{"eight lanes, no trace", eightLambdas, noTrace},
	{"eight lanes, traced as the pages do", eightLambdas, pageTrace},
}

// Run prints a table in Markdown.
func (c *benchCommand) Run(ctx context.Context, h host) error {
	p, err := installedPair(c.library(), c.Pair)
	if err != nil {
		return flagged(err)
	}
	fmt.Fprintf(h.stdout, "Pair `%s`, %d processors, %s, %s.\n\n", p.Name, runtime.NumCPU(), h.engine(), time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintln(h.stdout, "| engine ÷ bare passes of the same shapes | ratio | 95% interval | engine | bare | tokens/s |")
	fmt.Fprintln(h.stdout, "|---|---|---|---|---|---|")
	for _, b := range benchCases {
		models, err := h.open(ctx, p, c.modelFlags, func(float64) {})
		if err != nil {
			return err
		}
		if err := b.run(ctx, h.stdout, models, p.Names()[:1], c.Pairs); err != nil {
			return err
		}
	}
	return nil
}

func (b benchCase) run(ctx context.Context, out io.Writer, models decode.Pair, aligned []string, pairs int) error {
	recording := bench.Record(models)
	e := decode.NewEngine(recording, decode.Config{})
	defer e.Close()
	request := decode.Request{
		Aligned:  aligned,
		Prompt:   decode.Prompt{Messages: []decode.Message{{Role: "user", Content: "What did you think of the film?"}}},
		Sampling: decode.Sampling{MaxTokens: 100, Temperature: 0.7, TopP: 1, IgnoreEnd: true},
		Seed:     7, Trace: b.trace,
	}
	for i, l := range b.lambdas {
		request.Lanes = append(request.Lanes, decode.Lane{Index: i, Lambda: decode.Vector{l}})
	}
	var tokens int
	engine := func() error {
		recording.Reset()
		tokens = 0
		job, err := e.Start(request, func(ev decode.Event) {
			if ev.Type == decode.EventToken {
				tokens++
			}
		})
		if err != nil {
			return err
		}
		<-job.Done()
		e.Counters() // waits for the end of the step, when the models are nobody's
		return ctx.Err()
	}
	r, err := bench.Compare(pairs, engine, recording.Replay)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "| %s | %.3f | %.3f–%.3f | %v | %v | %.0f |\n", b.name, r.Median, r.Low, r.High,
		r.A.Round(time.Millisecond), r.B.Round(time.Millisecond), float64(tokens)/r.A.Seconds())
	return nil
}
