package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"realign/internal/decode"
	"realign/internal/fault"
)

// mapCommand is `realign map`.
type mapCommand struct {
	pairFlags
	modelFlags
	requestFlags

	Prompt   string `required:"" placeholder:"TEXT|-" help:"What to say, or - to read it."`
	From     string `default:"0" placeholder:"λ" help:"One end of the interval of λ; of several aligned models, one end of a line: 0:0."`
	To       string `default:"2" placeholder:"λ" help:"The other end; of several aligned models as 1.5:0.5."`
	Sample   int    `default:"0" help:"Number of the sample: each has noise of its own."`
	Branches int    `default:"0" help:"Most continuations that are followed, the widest spans of λ first. 0: 64, or as many as fit."`
	JSON     bool   `name:"json" help:"Print the map as one JSON object."`
}

// Help is shown by --help.
func (*mapCommand) Help() string {
	return `Every distinct reply for every λ of an interval, with the exact λ at which the text changes: what "decode" says at any
λ between --from and --to. Sampling may be greedy, at a temperature, and with --min-p; --top-k, --top-p and --repeat-penalty
have no exact map.

Over several aligned models the map is along a line between two mixtures: --from 0:0 --to 1.5:0.5 is every reply on the way from the
reference to λ = 1.5 of the first model and 0.5 of the second.`
}

// lineFlagError is an error about an end of a line, with the flag in the place of the request's field: line.from is --from, as it is of
// a map of one λ.
func lineFlagError(err error) error {
	f := *fault.Of(err)
	if end, ok := strings.CutPrefix(f.Field, "line."); ok {
		f.Field, f.Message = end, strings.ReplaceAll(f.Message, "line.from", "--from")
		return &f
	}
	return err
}

// Run finds the whole map before it prints anything.
func (c *mapCommand) Run(ctx context.Context, h env, log *slog.Logger) error {
	p, request, err := c.requestFlags.request(ctx, h, c.pairFlags)
	if err != nil {
		return asFlagError(err)
	}
	request.Trace.Off = true
	request.Map = &decode.Map{Sample: c.Sample, Branches: c.Branches}
	if c.Branches == 0 {
		request.Map.Branches, request.Map.Fit = 64, true
	}
	if err = c.interval(&request); err != nil {
		return err
	}
	text, err := promptText(h, c.Prompt)
	if err == nil {
		request.Prompt, err = c.say(decode.Message{Role: "user", Content: text})
	}
	if err == nil {
		err = request.Validate(len(request.Aligned))
	}
	if err != nil {
		return asFlagError(lineFlagError(err))
	}
	models, err := h.open(ctx, p, c.modelFlags, func(float64) {})
	if err != nil {
		return err
	}
	engine := decode.NewEngine(models, decode.Config{Log: log, Kernel: h.kernel, Speculation: c.speculation()})
	defer engine.Close()
	collected := &mapPrinter{pair: p.Name, text: text, request: request}
	if err := decodeRun(ctx, engine, request, collected); err != nil {
		return asFlagError(err)
	}
	if c.JSON {
		return json.NewEncoder(h.stdout).Encode(collected.object())
	}
	return collected.list(h.stdout)
}

// interval reads the interval of λ, or of several aligned models the line between two mixtures: 0 for an end is 0 of each.
func (c *mapCommand) interval(r *decode.Request) (err error) {
	n := len(r.Aligned)
	if n < 2 {
		if r.Map.From, err = decode.ParseNumber("--from", c.From); err == nil {
			r.Map.To, err = decode.ParseNumber("--to", c.To)
		}
		return err
	}
	line := &decode.Line{}
	for _, end := range []struct {
		flag, text string
		to         *decode.Vector
	}{{"--from", c.From, &line.From}, {"--to", c.To, &line.To}} {
		if end.text == "0" {
			*end.to = make(decode.Vector, n)
			continue
		}
		list, err := decode.ParseLambdas(end.flag, end.text, n)
		if err != nil {
			return err
		}
		if len(list) != 1 {
			return fault.Field(end.flag, "has %d λ, where one end of the line belongs", len(list))
		}
		*end.to = list[0]
	}
	r.Map.Line, r.Map.From, r.Map.To = line, 0, 1
	return nil
}

// mapPrinter gathers a map, which is shown when it is whole.
type mapPrinter struct {
	pair    string
	text    string // of the prompt
	request decode.Request
	found   decode.LambdaMap // the map as it has grown so far
	prompt  []decode.Token   // its tokens
	stats   decode.Stats
}

// print adds an event to the map. It prints nothing.
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
		Type     string          `json:"type"`
		Pair     string          `json:"pair"`
		Text     string          `json:"text"` // of the prompt
		Sampling decode.Sampling `json:"sampling"`

		Aligned []string       `json:"aligned"`
		From    float64        `json:"from"`
		To      float64        `json:"to"`
		Line    *decode.Line   `json:"line,omitempty"` // of which from and to are places
		Seed    uint64         `json:"seed,string"`
		Prompt  []decode.Token `json:"prompt"`
		Covered float64        `json:"covered"`
		decode.LambdaMap
		Stats decode.Stats `json:"stats"`
	}{"map", p.pair, p.text, p.request.Sampling, p.request.Aligned, p.request.Map.From, p.request.Map.To, p.request.Map.Line, p.request.Seed, p.prompt, p.found.Covered(), p.found, p.stats}
}

// lambda is λ at a place of the map, with six digits.
func (p *mapPrinter) lambda(place float64) string {
	words := make([]string, 0, 4)
	for _, x := range p.request.Map.At(place) {
		words = append(words, strconv.FormatFloat(x, 'g', 6, 64))
	}
	return strings.Join(words, ":")
}

// list shows the spans of λ one under another, each with what is said on it and, but for the first, what changes where
// it begins.
func (p *mapPrinter) list(w io.Writer) error {
	var b strings.Builder
	for i, branch := range p.found.Branches {
		if i > 0 {
			f := p.found.Forks[i-1]
			fmt.Fprintf(&b, "   token %d: %q below, %q above\n", f.Index+1, f.Below.Name, f.Above.Name)
		}
		fmt.Fprintf(&b, "── λ from %s to %s ──\n%s", p.lambda(branch.From), p.lambda(branch.To), printable(strings.Join(branch.Pieces, "")))
		if branch.Reason != decode.EndStop {
			fmt.Fprintf(&b, " […%s]", branch.Reason)
		}
		b.WriteString("\n")
	}
	rows := p.stats.Rows["reference"] + p.stats.Rows["aligned"]
	fmt.Fprintf(&b, "\n%d continuations, %.4g%% of the interval, %d tokens read by the two models together, %.2f s\n",
		len(p.found.Branches), 100*p.found.Covered(), rows, p.stats.Seconds)
	_, err := io.WriteString(w, b.String())
	return err
}
