package main

import (
	"fmt"
	"io"
	"strings"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
)

// requestFlags say what is decoded, but for λ: on which models, and how it is sampled.
type requestFlags struct {
	Pair    string `default:"demo" placeholder:"NAME[:ALIGNED,…]" help:"Pair of models, and which of its aligned models."`
	Aligned string `placeholder:"NAME,…" help:"Aligned models of the pair; another way to write it. Default: the pair's."`
	System  string `placeholder:"TEXT" help:"System prompt."`
	Text    bool   `help:"Complete the prompt as plain text, without the chat template."`
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
	IgnoreEnd        bool     `hidden:"" help:"Decode on after an end token, for measurements."`
}

// request turns the flags into a pair and a request without its prompt and without λ.
func (c *requestFlags) request(l *pair.Library) (*pair.Pair, decode.Request, error) {
	var r decode.Request
	name, aligned, given := strings.Cut(c.Pair, ":")
	if given && c.Aligned != "" {
		return nil, r, fault.Field("aligned", "is given twice: after the pair's name and as a flag")
	}
	p, err := installedPair(l, name)
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
	r.Seed = c.Seed
	r.Sampling = decode.Sampling{
		MaxTokens: c.MaxTokens, Temperature: c.Temperature, TopK: c.TopK, TopP: c.TopP, MinP: c.MinP,
		RepeatPenalty: c.RepeatPenalty, PresencePenalty: c.PresencePenalty, FrequencyPenalty: c.FrequencyPenalty,
		PenaltyWindow: c.PenaltyWindow, Stop: c.Stop, IgnoreEnd: c.IgnoreEnd,
	}
	return p, r, nil
}

// prompt is what a user says, "-" meaning the standard input.
func (c *requestFlags) prompt(h host, text string) (decode.Prompt, error) {
	if text == "-" {
		data, err := io.ReadAll(io.LimitReader(h.stdin, decode.MaxPromptBytes+2))
		if err != nil {
			return decode.Prompt{}, fmt.Errorf("read the prompt: %w", err)
		}
		text = strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	}
	return c.say(decode.Message{Role: "user", Content: text})
}

// say makes a prompt of messages, under the system prompt, or of the text of one.
func (c *requestFlags) say(messages ...decode.Message) (decode.Prompt, error) {
	if c.Text {
		if c.System != "" {
			return decode.Prompt{}, fault.Field("system", "does not go with --text, which has no chat template")
		}
		return decode.Prompt{Text: messages[0].Content}, nil
	}
	if c.System != "" {
		messages = append([]decode.Message{{Role: "system", Content: c.System}}, messages...)
	}
	return decode.Prompt{Messages: messages}, nil
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
