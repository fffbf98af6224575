package main

import (
	"context"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
)

// contrastFlags say what the aligned model's prompt has beyond the reference's, where both are one model. With a registered pair they
// take the place of its own contrast.
type contrastFlags struct {
	ContrastSystem  string `placeholder:"TEXT" help:"For one model with two prompts: the system prompt that it has at λ = 1, and not at λ = 0."`
	ContrastContext string `placeholder:"TEXT" help:"For one model with two prompts: a context that it has at λ = 1, and not at λ = 0. λ above 1 holds answers to it."`
}

// contrast is what the flags say, nil if nothing.
func (c *contrastFlags) contrast() (*decode.Contrast, error) {
	if c.ContrastSystem == "" && c.ContrastContext == "" {
		return nil, nil
	}
	contrast := decode.Contrast{System: c.ContrastSystem, Context: c.ContrastContext}
	field := "--contrast-system"
	if c.ContrastSystem == "" || c.ContrastContext != "" {
		field = "--contrast-context"
	}
	return &contrast, contrast.Validate(field)
}

// contrasted is the pair that --model makes: one model, registered nowhere, with two prompts.
func (c *requestFlags) contrasted(ctx context.Context, h env, f pairFlags) (*pair.Pair, error) {
	contrast, err := c.contrast()
	switch {
	case err != nil:
		return nil, err
	case c.Reference != "" || c.Aligned != "" || len(c.Adapter) > 0:
		return nil, fault.Field("model", "is one model with two prompts: it does not go with --reference, --aligned and --adapter")
	case contrast == nil:
		return nil, fault.Field("model", "needs --contrast-system or --contrast-context, which tell its two prompts apart")
	}
	p := pair.NewContrast("unregistered", c.Model, *contrast)
	if err := f.locate(ctx, h, c.Quantize, p); err != nil {
		return nil, err
	}
	return p, p.CheckFile(ctx, p.Files()[0], nil)
}
