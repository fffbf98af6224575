package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
)

// requestFlags say what is decoded, but for λ: on which models, and how it is sampled.
type requestFlags struct {
	Pair    string `default:"demo" placeholder:"NAME[:ALIGNED,…]" help:"Pair of models, and which of its aligned models."`
	Aligned string `placeholder:"NAME,…" help:"Aligned models of the pair; another way to write it. Default: the pair's. With --reference: the aligned model."`

	Reference string   `placeholder:"WHERE" help:"Decode on a pair that is registered nowhere: the reference model as a GGUF file, a folder of safetensors, ollama:NAME[:TAG] or hf:ORG/REPO[:FILE or QUANT], with --aligned or --adapter in the same form."`
	Adapter   []string `sep:"none" placeholder:"WHERE" help:"With --reference: a LoRA adapter of it, as a GGUF file or a PEFT folder. May be given several times."`
	Quantize  string   `placeholder:"TYPE" help:"With --reference: quantise models that are folders of safetensors, to q8_0, q4_k_m and the like."`

	Model string `placeholder:"WHERE" help:"Decode on one model with two prompts, in the same form as --reference: without and with --contrast-system or --contrast-context."`
	contrastFlags

	renderingFlags

	System string `placeholder:"TEXT" help:"System prompt."`
	Text   bool   `help:"Complete the prompt as plain text, without the chat template."`

	SpecialTokens bool `help:"With --text: what is spelled like a special token of the model is that token."`

	Seed uint64 `default:"0" help:"Seed of the noise that all lanes share."`

	samplingFlags

	IgnoreEnd bool `hidden:"" help:"Decode on after an end token, for measurements."`
}

// samplingFlags change the sampling that a pair recommends.
type samplingFlags struct {
	MaxTokens        *int     `placeholder:"N" help:"Most tokens of a lane. This and what follows: default is what the pair recommends, else 128 tokens at temperature 0.7."`
	Temperature      *float64 `placeholder:"T" help:"0 always takes the most probable token."`
	TopK             *int     `name:"top-k" placeholder:"K" help:"Keep the K most probable tokens; 0 is off."`
	TopP             *float64 `name:"top-p" placeholder:"P" help:"Keep the most probable tokens that make up this probability; 1 is off."`
	MinP             *float64 `name:"min-p" placeholder:"P" help:"Keep tokens at least this probable relative to the best; 0 is off."`
	RepeatPenalty    *float64 `placeholder:"X" help:"Multiplies the log-probabilities of tokens that were generated; 1 is off."`
	PresencePenalty  *float64 `placeholder:"X" help:"Subtracted once from the logits of tokens that were generated; 0 is off."`
	FrequencyPenalty *float64 `placeholder:"X" help:"Subtracted for each time a token was generated; 0 is off."`
	PenaltyWindow    *int     `placeholder:"N" help:"Generated tokens that penalties look back on; 0 is all."`
	Exact            *int     `placeholder:"N" help:"Decode each lane by N particles, so that whole replies follow λ and not each token by itself; 0 is off. Needs temperature 1 and no truncation."`
	Stop             []string `sep:"none" placeholder:"TEXT" help:"Text that ends a lane; may be given several times."`
}

// request turns the flags into a pair and a request without its prompt and without λ.
func (c *requestFlags) request(ctx context.Context, h env, f pairFlags) (*pair.Pair, decode.Request, error) {
	p, aligned, err := c.models(ctx, h, f)
	r := decode.Request{Aligned: aligned}
	if err != nil {
		return nil, r, err
	}
	if r.Contrast, err = c.contrast(); err != nil {
		return nil, r, err
	}
	if r.Rendering, err = c.rendering(time.Now()); err != nil {
		return nil, r, err
	}
	r.Seed = c.Seed
	r.Sampling = c.sampling(p.Sampling)
	r.Sampling.IgnoreEnd = c.IgnoreEnd
	return p, r, nil
}

// models are the pair and the names of its aligned models that the flags ask for.
func (c *requestFlags) models(ctx context.Context, h env, f pairFlags) (*pair.Pair, []string, error) {
	if c.Model != "" {
		p, err := c.contrasted(ctx, h, f)
		if err != nil {
			return nil, nil, err
		}
		return p, p.Names(), nil
	}
	if c.Reference != "" {
		p, err := f.unregistered(ctx, h, c.Quantize, c.Reference, c.Aligned, c.Adapter)
		if err != nil {
			return nil, nil, err
		}
		return p, p.Names(), nil
	}
	if len(c.Adapter) > 0 {
		return nil, nil, fault.Field("adapter", "needs --reference, the model that it is for")
	}
	if c.Quantize != "" {
		return nil, nil, fault.Field("quantize", "needs --reference: a pair's files are as they are")
	}
	name, aligned, given := strings.Cut(c.Pair, ":")
	if given && c.Aligned != "" {
		return nil, nil, fault.Field("aligned", "is given twice: after the pair's name and as a flag")
	}
	p, err := installedPair(f.library(), name)
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for name := range strings.SplitSeq(aligned+c.Aligned, ",") {
		a, err := p.Find(name)
		if err != nil {
			return nil, nil, fault.Field("aligned", "%v (there are: %s)", err, strings.Join(p.Names(), ", "))
		}
		names = append(names, a.Name)
	}
	return p, names, nil
}

// sampling is what the flags make of the sampling that a pair recommends.
func (c *samplingFlags) sampling(s decode.Sampling) decode.Sampling {
	given(&s.MaxTokens, c.MaxTokens)
	given(&s.Temperature, c.Temperature)
	given(&s.TopK, c.TopK)
	given(&s.TopP, c.TopP)
	given(&s.MinP, c.MinP)
	given(&s.RepeatPenalty, c.RepeatPenalty)
	given(&s.PresencePenalty, c.PresencePenalty)
	given(&s.FrequencyPenalty, c.FrequencyPenalty)
	given(&s.PenaltyWindow, c.PenaltyWindow)
	given(&s.Exact, c.Exact)
	if len(c.Stop) > 0 {
		s.Stop = c.Stop
	}
	return s
}

// given replaces x by the value of a flag that was given.
func given[T any](x, flag *T) {
	if flag != nil {
		*x = *flag
	}
}

// prompt is what a user says, "-" meaning the standard input.
func (c *requestFlags) prompt(h env, text string) (decode.Prompt, error) {
	text, err := promptText(h, text)
	if err != nil {
		return decode.Prompt{}, err
	}
	return c.say(decode.Message{Role: "user", Content: text})
}

// promptText is the text of --prompt, which for - is read.
func promptText(h env, text string) (string, error) {
	if text != "-" {
		return text, nil
	}
	data, err := io.ReadAll(io.LimitReader(h.stdin, decode.MaxPromptBytes+2))
	if err != nil {
		return "", fmt.Errorf("read the prompt: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}

// say makes a prompt of messages, under the system prompt, or of the text of one.
func (c *requestFlags) say(messages ...decode.Message) (decode.Prompt, error) {
	if c.Text {
		if c.System != "" {
			return decode.Prompt{}, fault.Field("system", "does not go with --text, which has no chat template")
		}
		return decode.Prompt{Text: messages[0].Content, Special: c.SpecialTokens}, nil
	}
	if c.SpecialTokens {
		return decode.Prompt{}, fault.Field("special-tokens", "is for --text: in a conversation the chat template writes special tokens, and nobody else can")
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
