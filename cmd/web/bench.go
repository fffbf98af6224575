package main

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"realign/internal/bench"
	"realign/internal/decode"
	"realign/internal/decode/speculate"
	"realign/internal/fault"
	"realign/internal/pair"
)

// benchCommand is `realign bench`: it times pairs of ways to do the same, as a ratio with its spread.
type benchCommand struct {
	pairFlags
	modelFlags

	Pair   string   `default:"demo" placeholder:"NAME" help:"Pair of models."`
	Pairs  int      `default:"20" help:"Times that each of two things is timed, in turns."`
	Exact  []int    `default:"2,4,8,16" placeholder:"N,…" help:"Particles whose cost is measured, under as many seeds as --pairs says."`
	Tokens int      `default:"100" help:"Tokens of a lane; maps have 40."`
	Prompt int      `default:"400" placeholder:"N" help:"Tokens of the prompt of the tables memory, attention and products; large pairs are measured with 4000."`
	Long   []int    `placeholder:"N,…" help:"Also compare kernels of attention and of products, and one pass and two contexts, after histories of so many tokens."`
	Only   []string `placeholder:"TABLE,…" enum:"bare,rows,models,onepass,memory,attention,products,drafts,lanes,prefix,map,score,exact,busy,start,api" help:"Tables to print: ${enum}. Default: all."`
}

// Traces: what the pages ask for, and none.
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
func (c *benchCommand) Run(ctx context.Context, h env) error {
	p, err := installedPair(c.library(), c.Pair)
	if err != nil {
		return asFlagError(err)
	}
	switch {
	case c.Pairs < 1:
		return fault.Field("--pairs", "%d, at least 1", c.Pairs)
	case c.Tokens < 2:
		return fault.Field("--tokens", "%d, at least 2", c.Tokens)
	case c.Prompt < 1:
		return fault.Field("--prompt", "%d, at least 1", c.Prompt)
	case slices.ContainsFunc(c.Long, func(n int) bool { return n < 1 }):
		return fault.Field("--long", "%v, each at least 1", c.Long)
	}
	fmt.Fprintf(h.stdout, "Pair `%s`, %d processors, %s, %d tokens a lane, %s.\n", p.Name, runtime.NumCPU(), h.engine(), c.Tokens, time.Now().UTC().Format(time.DateOnly))
	if c.prints("bare") {
		if err := c.bare(ctx, h, p); err != nil {
			return err
		}
	}
	if c.prints("memory") { // while nothing else is loaded
		if err := c.memory(ctx, h, p); err != nil {
			return err
		}
		if len(c.Only) == 1 {
			return nil
		}
	}
	models, err := h.open(ctx, p, c.modelFlags, func(float64) {})
	if err != nil {
		return err
	}
	printPlacements(h, models)
	aligned, err := models.Aligned(p.Names()[0])
	if err != nil {
		return err
	}
	r := benchRun{ctx: ctx, engine: decode.NewEngine(models, decode.Config{Kernel: h.kernel}), aligned: p.Names()[:1], tokens: c.Tokens}
	defer r.engine.Close()
	drafting := r // on the same models: one of the two is always idle
	drafting.engine = decode.NewEngine(models, decode.Config{Kernel: h.kernel, Speculation: speculate.Measured})
	defer drafting.engine.Close()
	tables := []table{
		{"rows", "κ(n): a pass of n rows ÷ a pass of one, on all threads", "this", "one row", passes(models.Reference(), aligned)},
		{"models", "two models ÷ one", "two", "one", r.models()},
		{"drafts", "drafts where they pay ÷ none", "drafts", "none", drafting.drafts(&r)},
		{"attention", "attention in blocks of keys ÷ one key after another", "blocks", "one key", r.kernels(h.cpuKernels.attendInBlocks, !c.PlainAttention, c.histories())},
		{"products", "products of weights in tiles ÷ by ggml's kernels", "tiles", "ggml", r.kernels(h.cpuKernels.multiplyInTiles, !c.PlainProducts, c.histories())},
		{"lanes", "lanes of one run ÷ as many runs", "lanes", "runs", r.several()},
		{"prefix", "first token of a repeated prompt of 400 tokens ÷ of a new one", "repeated", "new", r.repeated()},
		{"map", "λ-map of [0, 2] to 40 tokens ÷ 21 runs", "map", "runs", r.mapped()},
		{"score", "a prompt of 400 tokens scored at nine λ at once ÷ nine times, each at one", "at once", "nine times", r.scored()},
		{"busy", "time beside programs that keep a processor busy each ÷ without", "beside", "without", r.busy()},
		{"start", "a process that loads the pair and decodes, its threads waiting for each other as briefly as here ÷ as libgomp would", "briefly", "libgomp", c.starts(ctx, h)},
	}
	if c.prints("onepass") {
		more, stop, err := c.onePass(ctx, h, p)
		defer stop()
		if err != nil {
			return err
		}
		tables = append(tables, more...)
	}
	if c.prints("api") {
		s, err := c.startServer(ctx)
		if err != nil {
			return err
		}
		defer s.stop()
		tables = append(tables, table{"api", "the API of a server ÷ the engine alone, as realign decode has it", "API", "engine", r.api(s, p.Name)})
	}
	for _, t := range tables {
		if !c.prints(t.name) {
			continue
		}
		fmt.Fprint(h.stdout, tableHead(t.head, t.a, t.b))
		for _, row := range t.rows {
			ratio, err := bench.Compare(ctx, c.Pairs, row.one, row.other)
			if err != nil {
				return err
			}
			fmt.Fprint(h.stdout, tableRow(row.name, ratio))
		}
	}
	if c.prints("exact") {
		return r.printExact(h, c.Exact, c.Pairs)
	}
	return nil
}

// table is what is timed for one table of the output.
type table struct {
	name, head, a, b string // name: of --only; head: what the ratio is of; a, b: what the two ways are called
	rows             []timed
}

// bare prints how the engine compares with its bare passes.
func (c *benchCommand) bare(ctx context.Context, h env, p *pair.Pair) error {
	fmt.Fprint(h.stdout, tableHead("engine ÷ bare passes of the same shapes", "engine", "bare"))
	for _, b := range bareCases {
		models, err := h.open(ctx, p, c.modelFlags, func(float64) {})
		if err != nil {
			return err
		}
		recording := bench.Record(models)
		r := benchRun{ctx: ctx, engine: decode.NewEngine(recording, decode.Config{Kernel: h.kernel}), aligned: p.Names()[:1], tokens: c.Tokens}
		ratio, err := bench.Compare(ctx, c.Pairs, func() error {
			recording.Reset()
			return r.run(r.lanes(spread(b.lanes), b.trace))
		}, recording.Replay)
		if err := cmp.Or(err, r.engine.Close()); err != nil {
			return err
		}
		fmt.Fprint(h.stdout, tableRow(b.name, ratio))
	}
	return nil
}

// prints reports whether a table was asked for.
func (c *benchCommand) prints(table string) bool {
	return len(c.Only) == 0 || slices.Contains(c.Only, table)
}

// tableHead begins a table in Markdown.
func tableHead(what, a, b string) string {
	return fmt.Sprintf("\n| %s | ratio | 95%% interval | %s | %s |\n|---|--:|--:|--:|--:|\n", what, a, b)
}

// tableRow is one ratio with its interval and the medians of both times.
func tableRow(name string, r bench.Ratio) string {
	return fmt.Sprintf("| %s | %.3f | %.3f–%.3f | %v | %v |\n", name, r.Median, r.Low, r.High,
		r.A.Round(100*time.Microsecond), r.B.Round(100*time.Microsecond))
}

// benchRun is an engine that runs are timed on.
type benchRun struct {
	ctx     context.Context
	engine  *decode.Engine
	aligned []string // names of the aligned models
	tokens  int      // of a lane
}

// run decodes requests one after another.
func (r *benchRun) run(requests ...decode.Request) error {
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
func (r *benchRun) lanes(lambdas []float64, trace decode.Trace) decode.Request {
	request := decode.Request{
		Aligned:  r.aligned,
		Prompt:   decode.Prompt{Messages: []decode.Message{{Role: "user", Content: "What did you think of the film?"}}},
		Sampling: decode.Sampling{MaxTokens: r.tokens, Temperature: 0.7, TopP: 1, IgnoreEnd: true},
		Seed:     7, Trace: trace,
	}
	for i, l := range lambdas {
		request.Lanes = append(request.Lanes, decode.Lane{Index: i, Lambda: decode.Vector{l}})
	}
	return request
}

// alone is one request for each λ.
func (r *benchRun) alone(lambdas []float64, trace decode.Trace) (requests []decode.Request) {
	for _, l := range lambdas {
		requests = append(requests, r.lanes([]float64{l}, trace))
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
	one, other func() error // the time of one over that of the other is printed
}

// timing makes a function to time of requests.
func (r *benchRun) timing(requests ...decode.Request) func() error {
	return func() error { return r.run(requests...) }
}

// passes compares passes of bare models with passes of one row of the reference on all threads: of more rows of one
// sequence, and of one row of each model at the same time, on the threads that each was opened with.
func passes(reference, aligned decode.Model) (list []timed) {
	one := series(reference, runtime.GOMAXPROCS(0), 1)
	for n := 2; n <= 16; n++ {
		list = append(list, timed{fmt.Sprintf("κ(%d)", n), series(reference, runtime.GOMAXPROCS(0), n), one})
	}
	return append(list, timed{"both models at once, a row each", func() error {
		var both errgroup.Group
		both.Go(series(reference, 0, 1))
		both.Go(series(aligned, 0, 1))
		return both.Wait()
	}, one})
}

// series is passes of n rows on so many threads: several, as one is soon over.
func series(m decode.Model, threads, n int) func() error {
	var rows []decode.Row
	for p := range n {
		rows = append(rows, decode.Row{Token: decode.Token(16 + p), Pos: p, Want: true})
	}
	return func() error {
		m.SetThreads(threads)
		defer m.SetThreads(0)
		if e, ok := m.(decode.Encoder); ok {
			if err := e.Encode(0, []decode.Token{16, 17, 18, 19, 20, 21, 22, 23}); err != nil {
				return err
			}
		}
		for range 32 {
			if err := m.Forward(rows); err != nil {
				return err
			}
			m.Trim(0, 0)
		}
		return nil
	}
}

// models compares decoding with two models and with one.
func (r *benchRun) models() []timed {
	return []timed{{"λ = 0.5 ÷ λ = 0", r.timing(r.lanes([]float64{0.5}, noTrace)), r.timing(r.lanes([]float64{0}, noTrace))}}
}

// drafts compares decoding with drafts, where they are measured to pay, and without.
func (r *benchRun) drafts(without *benchRun) (list []timed) {
	for _, temperature := range []float64{0, 0.7} {
		for _, lambda := range []float64{0.25, 0.5, 0.75, 1, 1.5} {
			request := r.lanes([]float64{lambda}, pageTrace)
			request.Sampling.Temperature = temperature
			list = append(list, timed{fmt.Sprintf("λ = %g, temperature %g", lambda, temperature), r.timing(request), without.timing(request)})
		}
	}
	return list
}

// several compares lanes of one run and runs of one lane.
func (r *benchRun) several() (list []timed) {
	for _, n := range []int{1, 2, 4, 8, 16} {
		list = append(list, timed{
			fmt.Sprintf("%d over [0, 2]", n), r.timing(r.lanes(spread(n), pageTrace)), r.timing(r.alone(spread(n), pageTrace)...),
		})
	}
	return append(list, timed{
		"8 equal ones ÷ 1", r.timing(r.lanes(slices.Repeat([]float64{0.5}, 8), pageTrace)), r.timing(r.lanes([]float64{0.5}, pageTrace)),
	})
}

// repeated compares a prompt that its owner has sent before and one that is new.
func (r *benchRun) repeated() []timed {
	return []timed{{"λ = 0.5", r.firstToken("reader"), r.firstToken("")}}
}

// firstToken decodes the first token after a prompt of 400 tokens, which is kept for its owner's next requests if it has one.
func (r *benchRun) firstToken(owner string) func() error {
	request := r.lanes([]float64{0.5}, noTrace)
	request.Owner, request.Prompt, request.Sampling.MaxTokens = owner, longPrompt(), 1
	return r.timing(request)
}

// longPrompt is a prompt of about 400 tokens.
func longPrompt() decode.Prompt {
	return decode.Prompt{Messages: []decode.Message{{Role: "user", Content: strings.Repeat("What did you think of the film? ", 50)}}}
}

// scored compares the scores of a prompt at nine λ, which the models' passes do not depend on, with those at one λ after another.
// No prompt is known from before, neither are its scores.
func (r *benchRun) scored() []timed {
	requests := 0
	score := func(lambdas ...float64) decode.Request {
		requests++
		request := decode.Request{Owner: fmt.Sprint("scorer ", requests), Aligned: r.aligned, Prompt: longPrompt(), Score: &decode.Score{}, Sampling: decode.Sampling{MaxTokens: 1, TopP: 1}}
		for _, l := range lambdas {
			request.Score.Lambda = append(request.Score.Lambda, decode.Vector{l})
		}
		return request
	}
	grid := spread(9)
	return []timed{{
		"λ = 0, 0.25 … 2",
		func() error { return r.run(score(grid...)) },
		func() error {
			for _, l := range grid {
				if err := r.run(score(l)); err != nil {
					return err
				}
			}
			return nil
		},
	}}
}

// mapped compares a λ-map and runs at 21 λ.
func (r *benchRun) mapped() []timed {
	short := *r
	short.tokens = 40
	whole := short.lanes(nil, noTrace)
	whole.Map = &decode.Map{From: 0, To: 2, Branches: 64}
	return []timed{{"one seed", r.timing(whole), r.timing(short.alone(spread(21), noTrace)...)}}
}
