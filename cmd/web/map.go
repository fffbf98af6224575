package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"realign/internal/decode"
)

type mapCommand struct {
	pairFlags
	modelFlags
	requestFlags

	Prompt   string `required:"" placeholder:"TEXT|-" help:"What to say, or - to read it."`
	From     string `default:"0" placeholder:"λ" help:"One end of the interval of λ."`
	To       string `default:"2" placeholder:"λ" help:"The other end."`
	Sample   int    `default:"0" help:"Number of the sample: each has noise of its own."`
	Branches int    `default:"64" help:"Most continuations that are followed, the widest spans of λ first."`
	JSON     bool   `name:"json" help:"Print the map as one JSON object."`
}

// Help is shown by --help.
func (*mapCommand) Help() string {
	return `Every distinct reply for every λ of an interval, with the exact λ at which the text changes: what "decode" says at any
λ between --from and --to. Sampling may be greedy, at a temperature, and with --min-p; --top-k, --top-p and --repeat-penalty
have no exact map.`
}

func (c *mapCommand) Run(ctx context.Context, h env, log *slog.Logger) error {
	p, request, err := c.requestFlags.request(ctx, c.pairFlags)
	if err != nil {
		return asFlagError(err)
	}
	request.Trace.Off = true
	request.Map = &decode.Map{Sample: c.Sample, Branches: c.Branches}
	if request.Map.From, err = decode.ParseNumber("--from", c.From); err != nil {
		return err
	}
	if request.Map.To, err = decode.ParseNumber("--to", c.To); err != nil {
		return err
	}
	if request.Prompt, err = c.prompt(h, c.Prompt); err == nil {
		err = request.Validate(len(request.Aligned))
	}
	if err != nil {
		return asFlagError(err)
	}
	models, err := h.open(ctx, p, c.modelFlags, func(float64) {})
	if err != nil {
		return err
	}
	engine := decode.NewEngine(models, decode.Config{Log: log, Kernel: h.kernel})
	defer engine.Close()
	collected := &mapPrinter{request: request}
	if err := decodeRun(ctx, engine, request, collected); err != nil {
		return asFlagError(err)
	}
	if c.JSON {
		return json.NewEncoder(h.stdout).Encode(collected.object())
	}
	return collected.text(h.stdout)
}

// mapPrinter gathers a map, which is shown when it is whole.
type mapPrinter struct {
	request decode.Request
	found   decode.LambdaMap
	prompt  []decode.Token
	stats   decode.Stats
}

func (p *mapPrinter) print(e decode.Event) error {
	p.found.Add(e)
	switch e.Type {
	case decode.EventStart:
		p.prompt = e.Prompt.Tokens
	case decode.EventStats:
		p.stats = *e.Stats
	}
	return nil
}

// object is the map as JSON has it.
func (p *mapPrinter) object() any {
	return struct {
		Type    string         `json:"type"`
		Aligned []string       `json:"aligned"`
		From    float64        `json:"from"`
		To      float64        `json:"to"`
		Seed    uint64         `json:"seed,string"`
		Prompt  []decode.Token `json:"prompt"`
		Covered float64        `json:"covered"`
		decode.LambdaMap
		Stats decode.Stats `json:"stats"`
	}{"map", p.request.Aligned, p.request.Map.From, p.request.Map.To, p.request.Seed, p.prompt, p.found.Covered(), p.found, p.stats}
}

// text shows the spans of λ one under another, each with what is said on it and, but for the first, what changes where
// it begins.
func (p *mapPrinter) text(w io.Writer) error {
	var b strings.Builder
	for i, branch := range p.found.Branches {
		if i > 0 {
			f := p.found.Forks[i-1]
			fmt.Fprintf(&b, "   token %d: %q below, %q above\n", f.Index+1, f.Below.Name, f.Above.Name)
		}
		fmt.Fprintf(&b, "── λ from %.6g to %.6g ──\n%s", branch.From, branch.To, printable(strings.Join(branch.Pieces, "")))
		if branch.Reason != decode.EndStop {
			fmt.Fprintf(&b, " […%s]", branch.Reason)
		}
		b.WriteString("\n")
	}
	rows := p.stats.Rows["reference"] + p.stats.Rows["aligned"]
	fmt.Fprintf(&b, "\n%d continuations, %.4g%% of the interval, %d rows of both models, %.2f s\n",
		len(p.found.Branches), 100*p.found.Covered(), rows, p.stats.Seconds)
	_, err := io.WriteString(w, b.String())
	return err
}
