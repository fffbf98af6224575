package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/pair"
)

// footprint is what one process that loads a pair and decodes a lane takes.
type footprint struct {
	Load  float64 `json:"load"`  // seconds
	First float64 `json:"first"` // seconds to the first token
	Rate  float64 `json:"rate"`  // tokens a second after it
	Peak  float64 `json:"peak"`  // MiB of main memory, at most; 0 where the system does not say
}

// footprintCommand is the process: its peak is its own.
type footprintCommand struct {
	pairFlags
	modelFlags
	Pair   string
	Alone  bool // the reference at λ = 0
	Prompt int  // tokens of the prompt
	Tokens int  // of the lane
}

// Run prints a footprint.
func (c *footprintCommand) Run(ctx context.Context, h env) error {
	p, err := installedPair(c.library(), c.Pair)
	if err != nil {
		return asFlagError(err)
	}
	began := time.Now()
	models, err := h.open(ctx, p, c.modelFlags, func(float64) {})
	if err != nil {
		return err
	}
	lambda := 0.5
	if c.Alone {
		lambda = 0
	} else if _, err := models.Aligned(p.Names()[0]); err != nil {
		return err
	}
	f := footprint{Load: time.Since(began).Seconds()}
	engine := decode.NewEngine(models, decode.Config{Kernel: h.kernel})
	defer engine.Close()
	r := benchRun{ctx: ctx, engine: engine, aligned: p.Names()[:1], tokens: c.Tokens}
	request := r.lanes([]float64{lambda}, noTrace)
	request.Prompt = decode.Prompt{Tokens: numbered(c.Prompt)}
	var first time.Time
	began = time.Now()
	var failure error
	job, err := engine.Start(request, func(e decode.Event) {
		if e.Type == decode.EventToken && e.Index == 0 {
			first = time.Now()
		}
		if e.Error != nil {
			failure = fault.New(fault.Kind(e.Error.Code), "%s", e.Error.Message)
		}
	})
	if err != nil {
		return err
	}
	if <-job.Done(); failure != nil {
		return failure
	}
	f.First, f.Rate, f.Peak = first.Sub(began).Seconds(), float64(c.Tokens-1)/time.Since(first).Seconds(), peakMiB()
	return json.NewEncoder(h.stdout).Encode(f)
}

// numbered is a prompt of n tokens that every vocabulary has.
func numbered(n int) []decode.Token {
	tokens := make([]decode.Token, n)
	for i := range tokens {
		tokens[i] = decode.Token(16 + i*7%1000)
	}
	return tokens
}

// peakMiB is the most memory that this process has had; 0 where the system does not say.
func peakMiB() float64 {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseFloat(fields[0], 64)
	return kib / 1024
}

// memory prints what a pair and its reference alone take: memory, loading, the first token after a long prompt, and how fast
// weights are read. The caches hold as many tokens in each case: the reference alone has one as large as both models' together.
func (c *benchCommand) memory(ctx context.Context, h env, p *pair.Pair) error {
	weights, err := readWeights(p)
	if err != nil {
		return err
	}
	prompt := c.Prompt
	cells := cmp.Or(c.Cells, prompt+c.Tokens+64)
	fmt.Fprintf(h.stdout, "\n| λ = 0.5, caches of %d tokens for each model, medians of %d processes | peak memory, MiB | ÷ reference | load, s | first token after %d tokens, s | tokens a second | weights read, GB/s |\n|---|--:|--:|--:|--:|--:|--:|\n",
		cells, c.processes(), prompt)
	alone := 0.0
	for _, way := range []struct {
		name    string
		onePass string
		alone   bool
		caches  int
		reads   float64 // of the weights, for a token
	}{
		{"reference alone, λ = 0", "off", true, 2, 1}, {"two contexts", "off", false, 1, 2}, {"one pass", "on", false, 1, 1},
	} {
		flags := c.modelFlags
		flags.OnePass, flags.Cells = way.onePass, way.caches*cells
		var all []footprint
		for range c.processes() {
			f, err := c.footprint(ctx, h, flags, way.alone)
			if err != nil {
				return err
			}
			all = append(all, f)
		}
		f := middle(all)
		alone = cmp.Or(alone, f.Peak)
		fmt.Fprintf(h.stdout, "| %s | %.0f | %.3f | %.1f | %.2f | %.1f | %.1f |\n",
			way.name, f.Peak, f.Peak/alone, f.Load, f.First, f.Rate, f.Rate*way.reads*float64(weights)/1e9)
	}
	return nil
}

// processes is how often each way is tried: loading is slow.
func (c *benchCommand) processes() int { return min(3, c.Pairs) }

// footprint runs the process, with this one's environment and more.
func (c *benchCommand) footprint(ctx context.Context, h env, flags modelFlags, alone bool, environment ...string) (f footprint, err error) {
	if h.program == "" {
		return f, fault.New(fault.Unavailable, "memory is measured of a process of its own, and the path of this program is not known")
	}
	args := append([]string{"footprint", "--data=" + c.Data, "--pair=" + c.Pair, fmt.Sprint("--prompt=", c.Prompt), fmt.Sprint("--tokens=", c.Tokens)}, flags.args()...)
	if c.Models != "" {
		args = append(args, "--models="+c.Models)
	}
	if alone {
		args = append(args, "--alone")
	}
	cmd := exec.CommandContext(ctx, h.program, args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.Env = append(os.Environ(), environment...)
	if err := cmd.Run(); err != nil {
		return f, fault.New(fault.Unavailable, "a process that loads the pair failed: %v: %s", err, said.String())
	}
	return f, json.Unmarshal(out.Bytes(), &f)
}

// middle is the median of each number.
func middle(all []footprint) (f footprint) {
	of := func(get func(footprint) float64) float64 {
		x := make([]float64, len(all))
		for i := range all {
			x[i] = get(all[i])
		}
		slices.Sort(x)
		return x[len(x)/2]
	}
	return footprint{
		of(func(f footprint) float64 { return f.Load }), of(func(f footprint) float64 { return f.First }),
		of(func(f footprint) float64 { return f.Rate }), of(func(f footprint) float64 { return f.Peak }),
	}
}

// readWeights is how many bytes of the reference a pass of one row reads: all but an embedding that is not the output layer.
func readWeights(p *pair.Pair) (n uint64, err error) {
	f, err := gguf.Open(p.Files()[0].Path)
	if err != nil {
		return 0, err
	}
	_, output := f.Tensor("output.weight")
	for _, t := range f.Tensors {
		if t.Name != "token_embd.weight" || !output {
			n += t.Bytes
		}
	}
	return n, nil
}
