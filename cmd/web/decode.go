package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
)

type decodeCommand struct {
	pairFlags
	modelFlags

	Pair    string `default:"demo" placeholder:"NAME[:ALIGNED,…]" help:"Pair of models, and which of its aligned models."`
	Aligned string `placeholder:"NAME,…" help:"Aligned models of the pair; another way to write it. Default: the pair's."`
	Lambda  string `default:"0,0.5,1" placeholder:"λ,…" help:"Alignment strengths, one lane each; for several aligned models 0.5:0.2,1:0."`

	Prompt  string `required:"" placeholder:"TEXT|-" help:"What to say, or - to read it."`
	System  string `placeholder:"TEXT" help:"System prompt."`
	Text    bool   `help:"Complete the prompt as plain text, without the chat template."`
	Samples int    `default:"1" help:"Samples at each λ."`
	Seed    uint64 `default:"0" help:"Seed of the noise that all lanes share."`

	MaxTokens        int      `default:"128" help:"Most tokens of a lane."`
	Temperature      float64  `default:"0.7" help:"0 always takes the most probable token."`
	TopK             int      `name:"top-k" default:"0" help:"Keep the K most probable tokens; 0 is off."`
	TopP             float64  `name:"top-p" default:"1" help:"Keep the most probable tokens that make up this probability; 1 is off."`
	MinP             float64  `name:"min-p" default:"0" help:"Keep tokens at least this probable relative to the best; 0 is off."`
	RepeatPenalty    float64  `default:"1" help:"Divides the logits of tokens that were generated; 1 is off."`
	PresencePenalty  float64  `default:"0" help:"Subtracted once from the logits of tokens that were generated."`
	FrequencyPenalty float64  `default:"0" help:"Subtracted for each time a token was generated."`
	PenaltyWindow    int      `default:"0" help:"Generated tokens that penalties look back on; 0 is all."`
	Stop             []string `sep:"none" placeholder:"TEXT" help:"Text that ends a lane; may be given several times."`

	JSON         bool `name:"json" help:"Print one JSON object per event."`
	Alternatives int  `default:"0" help:"Most probable tokens to list for each distribution, with --json."`
	Trace        bool `default:"true" negatable:"" help:"Compute log-probabilities and KL divergences; without, lanes at λ 0 and 1 run one model only."`
	Plain        bool `help:"Without lane sharing and speculation: slower, the same output."`
	IgnoreEnd    bool `hidden:"" help:"Decode on after an end token, for measurements."`
}

func (c *decodeCommand) Run(ctx context.Context, h host, log *slog.Logger) error {
	p, request, err := c.request(h)
	if err != nil {
		return flagged(err)
	}
	models, err := h.open(ctx, p, c.modelFlags, func(float64) {})
	if err != nil {
		return err
	}
	engine := decode.NewEngine(models, decode.Config{Log: log})
	defer engine.Close()
	var out printer = &textPrinter{w: h.stdout, lanes: request.Lanes, text: make([]strings.Builder, len(request.Lanes))}
	if c.JSON {
		out = jsonPrinter{h.stdout}
	}
	var failure error
	cancelled := false
	job, err := engine.Start(request, func(e decode.Event) {
		if e.Type == decode.EventEnd && e.Error != nil {
			failure = fault.New(fault.Kind(e.Error.Code), "lane %d: %s", e.Lane, e.Error.Message)
		}
		cancelled = cancelled || e.Reason == decode.EndCancelled
		if err := out.print(e); err != nil && failure == nil {
			failure = fmt.Errorf("write output: %w", err)
		}
	})
	if err != nil {
		return flagged(err)
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

// request turns the flags into a pair and a request. Nothing is loaded before all of it is known to be right.
func (c *decodeCommand) request(h host) (*pair.Pair, decode.Request, error) {
	var r decode.Request
	name, aligned, given := strings.Cut(c.Pair, ":")
	if given && c.Aligned != "" {
		return nil, r, fault.Field("aligned", "is given twice: after the pair's name and as a flag")
	}
	p, err := installedPair(c.library(), name)
	if err != nil {
		return nil, r, err
	}
	for name := range strings.SplitSeq(aligned+c.Aligned, ",") {
		a, err := p.Find(name)
		if err != nil {
			return nil, r, fault.Field("aligned", "%v (there are: %s)", err, strings.Join(p.Names(), ", "))
		}
		r.Aligned = append(r.Aligned, a.Name)
	}
	lambdas, err := parseLambdas(c.Lambda, len(r.Aligned))
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
	if r.Prompt, err = c.prompt(h); err != nil {
		return nil, r, err
	}
	r.Seed = c.Seed
	r.Plain = c.Plain
	r.Trace = decode.Trace{Off: !c.Trace, Alternatives: c.Alternatives}
	r.Sampling = decode.Sampling{
		MaxTokens: c.MaxTokens, Temperature: c.Temperature, TopK: c.TopK, TopP: c.TopP, MinP: c.MinP,
		RepeatPenalty: c.RepeatPenalty, PresencePenalty: c.PresencePenalty, FrequencyPenalty: c.FrequencyPenalty,
		PenaltyWindow: c.PenaltyWindow, Stop: c.Stop, IgnoreEnd: c.IgnoreEnd,
	}
	return p, r, r.Validate(len(r.Aligned))
}

func (c *decodeCommand) prompt(h host) (decode.Prompt, error) {
	text := c.Prompt
	if text == "-" {
		data, err := io.ReadAll(io.LimitReader(h.stdin, decode.MaxPromptBytes+2))
		if err != nil {
			return decode.Prompt{}, fmt.Errorf("read the prompt: %w", err)
		}
		text = strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	}
	if c.Text {
		if c.System != "" {
			return decode.Prompt{}, fault.Field("system", "does not go with --text, which has no chat template")
		}
		return decode.Prompt{Text: text}, nil
	}
	var messages []decode.Message
	if c.System != "" {
		messages = append(messages, decode.Message{Role: "system", Content: c.System})
	}
	return decode.Prompt{Messages: append(messages, decode.Message{Role: "user", Content: text})}, nil
}

// installedPair is a pair that was named on the command line to be loaded.
func installedPair(l *pair.Library, name string) (*pair.Pair, error) {
	p, err := findPair(l, name)
	if err == nil {
		err = p.Installed()
	}
	return p, err
}

// findPair is a pair that was named on the command line: an unknown name is a bad argument.
func findPair(l *pair.Library, name string) (*pair.Pair, error) {
	p, err := l.Find(name)
	if fault.KindOf(err) == fault.NotFound {
		return nil, fault.Field("pair", "%v", err)
	}
	return p, err
}
