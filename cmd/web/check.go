package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/pair"
	"realign/internal/sandbox"
)

// pairsCheck is `realign pairs check`.
type pairsCheck struct {
	pairFlags
	modelFlags
	renderingFlags
	Name   string `arg:"" help:"Pair."`
	Prompt string `placeholder:"TEXT" help:"Also show what a user's message becomes: the rendered prompt and its tokens, of every model that has another."`
	System string `placeholder:"TEXT" help:"System prompt for --prompt."`
}

// Run reports on each file and on each model, and fails with the first fault. The models are loaded in a process of their
// own, since what is wrong with one may end the process that loads it.
func (c *pairsCheck) Run(ctx context.Context, h env) error {
	p, err := installedPair(c.library(), c.Name)
	if err != nil {
		return err
	}
	sums, first := c.sums(), error(nil)
	say := func(what string, notes []string, err error) {
		verdict := "ok"
		if err != nil {
			verdict = err.Error()
		}
		if first == nil {
			first = err
		}
		fmt.Fprintf(h.stdout, "%s: %s\n", what, verdict)
		for _, note := range notes {
			fmt.Fprintf(h.stdout, "%s: note: %s\n", what, note)
		}
	}
	for _, f := range p.Files() {
		err := p.CheckFile(ctx, f, sums)
		var notes []string
		if err == nil {
			for _, finding := range p.Findings(f) {
				notes = append(notes, finding.Text)
			}
		}
		say(f.Role+" ("+filepath.Base(f.Path)+")", notes, err)
	}
	if first != nil {
		return first
	}
	trial := h.trial(p, c.modelFlags)
	defer trial.Close()
	err = trial.Try(ctx, pair.RoleReference)
	say("load "+pair.RoleReference, nil, err)
	if err != nil {
		return err
	}
	for _, name := range p.Loads() {
		err := trial.Try(ctx, name)
		say("load "+name, nil, err)
		if died(err) {
			return first // and all that was loaded with it
		}
		found, err := trial.Tokens(ctx, name)
		var notes []string
		for _, f := range found {
			if f.Level == gguf.Fault && err == nil {
				err = fault.New(fault.Invalid, "%s", f.Text)
			} else {
				notes = append(notes, f.Text)
			}
		}
		if err != nil || len(notes) > 0 {
			say("tokens of "+name, notes, err)
		}
	}
	notes, err := trial.Chat(ctx)
	say("chat template", notes, err)
	if err != nil || c.Prompt == "" {
		return first
	}
	return cmp.Or(first, c.show(ctx, h, trial))
}

// trial tries out the models of a pair, one after another.
type trial interface {
	// Try loads a model and reads a few tokens with it. The reference is the first.
	Try(ctx context.Context, role string) error

	// Chat renders conversations with the pair's chat template. Notes are what people should know of it.
	Chat(ctx context.Context) (notes []string, err error)

	// Tokens compares the tokenizer of an aligned model with the reference's, on a few hundred texts.
	Tokens(ctx context.Context, name string) ([]gguf.Finding, error)

	// Prompt renders a prompt for every model that has another than those before it.
	Prompt(ctx context.Context, prompt decode.Prompt, with decode.Rendering) ([]shown, error)

	// Close lets go of the models.
	Close() error
}

// show prints what a message becomes.
func (c *pairsCheck) show(ctx context.Context, h env, t trial) error {
	with, err := c.rendering(time.Now())
	if err != nil {
		return err
	}
	messages := []decode.Message{{Role: "user", Content: c.Prompt}}
	if c.System != "" {
		messages = append([]decode.Message{{Role: "system", Content: c.System}}, messages...)
	}
	prompts, err := t.Prompt(ctx, decode.Prompt{Messages: messages}, with)
	if err != nil {
		return err
	}
	printPrompts(h, prompts)
	return nil
}

// opened is a trial in this process.
type opened struct {
	open   func(ctx context.Context) (decode.Pair, error)
	models decode.Pair // nil until the reference is loaded
}

// Try implements trial.
func (o *opened) Try(ctx context.Context, role string) (err error) {
	var m decode.Model
	if role == pair.RoleReference {
		if o.models, err = o.open(ctx); err != nil {
			return err
		}
		m = o.models.Reference()
	} else if m, err = o.models.Aligned(role); err != nil {
		return err
	}
	return reads(m, role)
}

// reads has a model read two tokens, and wants logits that are numbers.
func reads(m decode.Model, role string) error {
	defer m.Trim(0, 0)
	rows := []decode.Row{{Token: 0, Pos: 0, Seq: 0}, {Token: 1, Pos: 1, Seq: 0, Want: true}}
	if e, ok := m.(decode.Encoder); ok {
		if err := e.Encode(0, []decode.Token{0, 1}); err != nil {
			return err
		}
	}
	if err := m.Forward(rows[:min(len(rows), m.Limits().Batch)]); err != nil {
		return err
	}
	for token, logit := range m.Logits(len(rows) - 1) {
		if math.IsNaN(float64(logit)) || math.IsInf(float64(logit), 1) {
			return fault.New(fault.Invalid, "%s gives token %d the logit %v after two tokens: its weights are broken", role, token, logit)
		}
	}
	return nil
}

// chatChecker is a vocabulary that knows what to say of its model's chat template.
type chatChecker interface{ CheckChat() ([]string, error) }

// tokenChecker is models that can compare their tokenizers.
type tokenChecker interface {
	CheckTokens(aligned string) ([]gguf.Finding, error)
}

// Tokens compares the tokenizer of an aligned model with the reference's.
func (o *opened) Tokens(_ context.Context, name string) ([]gguf.Finding, error) {
	if m, ok := o.models.(tokenChecker); ok {
		return m.CheckTokens(name)
	}
	return nil, nil
}

// Chat implements trial.
func (o *opened) Chat(context.Context) ([]string, error) {
	if v, ok := o.models.Vocabulary().(chatChecker); ok {
		return v.CheckChat()
	}
	_, err := o.models.Vocabulary().EncodeChat([]decode.Message{{Role: "user", Content: "Hello."}})
	return nil, err
}

// Close implements trial.
func (o *opened) Close() error {
	if o.models == nil {
		return nil
	}
	return o.models.Close()
}

// died reports whether an error says that the process of a trial ended.
func died(err error) bool {
	var d *sandbox.Death
	return errors.As(err, &d)
}
