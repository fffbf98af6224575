package main

import (
	"context"
	"fmt"
	"log/slog"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
)

// decodeCommand is `realign decode`: one prompt, or with --prompts many, on a lane for each λ and sample.
type decodeCommand struct {
	pairFlags
	modelFlags
	requestFlags

	Lambda string `default:"0,0.5,1" placeholder:"λ,…" help:"Alignment strengths, one lane each; for several aligned models 0.5:0.2,1:0."`

	Prompt  string `required:"" xor:"prompt" placeholder:"TEXT|-" help:"What to say, or - to read it."`
	Prompts string `required:"" xor:"prompt" placeholder:"FILE|-" help:"Prompts or conversations to decode, one after another: a text with one on each line, CSV, JSON or JSON lines; prints a JSON line for each reply."`
	Samples int    `default:"1" help:"Samples at each λ."`

	JSON         bool   `name:"json" help:"Print one JSON object per event, with --prompts too."`
	Alternatives int    `default:"0" help:"Most probable tokens to list for each distribution, with --json."`
	Trace        bool   `default:"true" negatable:"" help:"With --json or --prompts, compute log-probabilities and KL divergences; without, lanes at λ 0 and 1 run one model only."`
	Mix          string `default:"logits" enum:"logits,weights" help:"What λ mixes: what the models say (logits), or, of LoRA adapters, the weights themselves (weights): one model then decodes each λ, and a trace has its log-probabilities only."`
	Plain        bool   `help:"Without lane sharing, vector instructions and anything at the same time: slower, the same output."`
}

// Run decodes and prints. Everything that can be wrong with the flags and the prompts is told before models are
// loaded.
func (c *decodeCommand) Run(ctx context.Context, h env, log *slog.Logger) error {
	p, request, err := c.request(ctx, h)
	if err != nil {
		return asFlagError(err)
	}
	var rows []batchRow
	if c.Prompts != "" {
		rows, err = c.rows(h, request)
	} else if request.Prompt, err = c.prompt(h, c.Prompt); err == nil {
		err = request.Validate(len(request.Aligned))
	}
	if err != nil {
		return asFlagError(err)
	}
	models, err := h.open(ctx, p, c.modelFlags, func(float64) {})
	if err != nil {
		return err
	}
	config := decode.Config{Log: log, Kernel: h.kernel, Speculation: c.speculation()}
	if c.Plain {
		config.Kernel, config.Serial = decode.Plain{}, true
	}
	engine := decode.NewEngine(models, config)
	defer engine.Close()
	if rows != nil {
		return c.batch(ctx, engine, request, rows, h.stdout)
	}
	var out printer = &textPrinter{w: h.stdout, lanes: request.Lanes}
	if c.JSON {
		out = jsonPrinter{w: h.stdout}
	}
	return asFlagError(decodeRun(ctx, engine, request, out))
}

// decodeRun decodes a request to its end, or to that of ctx, and prints it. The error is that of Start, of a lane,
// or of printing.
func decodeRun(ctx context.Context, engine *decode.Engine, request decode.Request, out printer) error {
	var failure error
	cancelled := false
	job, err := engine.Start(request, func(e decode.Event) {
		if e.Error != nil {
			where := fmt.Sprintf("lane %d", e.Lane)
			if e.Branch != nil {
				where = fmt.Sprintf("λ from %g to %g", e.Branch.From, e.Branch.To)
			}
			failure = fault.New(fault.Kind(e.Error.Code), "%s: %s", where, e.Error.Message)
		}
		cancelled = cancelled || e.Reason == decode.EndCancelled || e.Branch != nil && e.Branch.Reason == decode.EndCancelled
		if err := out.print(e); err != nil && failure == nil {
			failure = fmt.Errorf("write output: %w", err)
		}
	})
	if err != nil {
		return err
	}
	select {
	case <-job.Done():
	case <-ctx.Done():
		if err := job.Stop(-1); err != nil {
			return err
		}
		<-job.Done()
	}
	if failure == nil && cancelled {
		return errInterrupted
	}
	return failure
}

// request turns the flags into a pair and a request without its prompt. Nothing is loaded before all of it is known
// to be right.
func (c *decodeCommand) request(ctx context.Context, h env) (*pair.Pair, decode.Request, error) {
	p, r, err := c.requestFlags.request(ctx, h, c.pairFlags)
	if err != nil {
		return nil, r, err
	}
	lambdas, err := decode.ParseLambdas("--lambda", c.Lambda, len(r.Aligned))
	if err != nil {
		return nil, r, err
	}
	if c.Samples < 1 || c.Samples > decode.MaxLanes || c.Samples*len(lambdas) > decode.MaxLanes {
		return nil, r, fault.Field("samples", "%d samples at %d λ; from 1 sample up to %d lanes in all are possible", c.Samples, len(lambdas), decode.MaxLanes)
	}
	for _, v := range lambdas {
		for sample := range c.Samples {
			r.Lanes = append(r.Lanes, decode.Lane{Index: len(r.Lanes), Lambda: v, Sample: sample})
		}
	}
	r.Plain, r.Mix = c.Plain, c.Mix
	r.Trace = decode.Trace{Off: !c.Trace || !c.JSON && c.Prompts == "", Alternatives: c.Alternatives}
	return p, r, nil
}
