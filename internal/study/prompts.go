package study

import (
	"cmp"
	"io"
	"strings"
	"unicode/utf8"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/prompt"
	"realign/internal/run"
)

// Limits on prompts from outside.
const (
	MaxPromptFile = 8 << 20 // bytes
	MaxCategory   = 60      // characters
)

// ReadPrompts reads prompts in a format, or in that which the name of their file tells (see package prompt), and numbers them. The
// notes are for people. An error is Invalid and names the line.
func ReadPrompts(r io.Reader, name string, format prompt.Format) (prompts []Prompt, notes []string, err error) {
	set, err := prompt.Read(r, name, prompt.Options{Format: format, MaxBytes: MaxPromptFile, MaxPrompts: MaxPrompts})
	if err != nil {
		return nil, nil, err
	}
	for i := range set.Prompts {
		q := &set.Prompts[i]
		p := Prompt{
			Place: i + 1, Line: q.Line, Name: strings.TrimSpace(q.Name()), Text: q.Asked(), System: q.System, History: q.History, Turns: q.Turns,
			Category: strings.Join(strings.Fields(q.Category), " "), Reference: q.Reference, Other: q.Other,
		}
		if err := p.check(); err != nil {
			return nil, nil, err
		}
		prompts = append(prompts, p)
	}
	return prompts, set.Notes, nil
}

// Given is the prompt as package prompt has it.
func (p *Prompt) Given() prompt.Prompt {
	q := prompt.Prompt{
		Text: p.Text, System: p.System, History: p.History, Turns: p.Turns, Category: p.Category, Reference: p.Reference, Other: p.Other, Line: p.Line,
	}
	q.SetName(p.Name)
	return q
}

// check refuses a prompt that cannot be asked, and names its line.
func (p *Prompt) check() error {
	switch {
	case len(p.Text) > decode.MaxPromptBytes:
		return prompt.At(p.Line, 0, "the prompt has %d bytes, at most %d", len(p.Text), decode.MaxPromptBytes)
	case len(p.System) > decode.MaxPromptBytes:
		return prompt.At(p.Line, 0, "the system prompt has %d bytes, at most %d", len(p.System), decode.MaxPromptBytes)
	case utf8.RuneCountInString(p.Category) > MaxCategory:
		return prompt.At(p.Line, 0, "the category has %d characters, at most %d", utf8.RuneCountInString(p.Category), MaxCategory)
	case utf8.RuneCountInString(p.Name) > MaxCategory:
		return prompt.At(p.Line, 0, "the id has %d characters, at most %d", utf8.RuneCountInString(p.Name), MaxCategory)
	}
	return nil
}

// spec is the run that decodes some λ of a prompt.
func (s *Setup) spec(p *Prompt) run.Spec {
	return run.Spec{
		Pair: s.Pair, Aligned: []string{s.Aligned}, System: cmp.Or(p.System, s.System), Prompt: p.Text, History: p.History, Mode: s.Mode,
		Sampling: s.Sampling, Seed: s.PromptSeed(p.Place),
	}
}

// CheckPrompts checks that prompts can be asked under a setup. The error names the line.
func (s *Setup) CheckPrompts(prompts []Prompt) error {
	for i := range prompts {
		p := &prompts[i]
		if s.Mode == run.Plain && len(p.History) > 0 {
			return prompt.At(p.Line, 0, "a conversation needs the chat template, which this study leaves out: prompts are given as texts to complete")
		}
		spec := s.spec(p)
		spec.Lanes = []decode.Lane{{Lambda: decode.Vector{s.Grid[0]}}}
		if err := spec.Validate(); err != nil {
			return prompt.At(p.Line, 0, "%s", fault.Of(err).Error())
		}
	}
	return s.Sized(len(prompts))
}
