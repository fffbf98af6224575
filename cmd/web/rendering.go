package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
)

// renderingFlags say what the chat template writes beside a conversation.
type renderingFlags struct {
	TemplateVar []string `name:"template-var" sep:"none" placeholder:"NAME=VALUE" help:"Variable of the chat template, such as enable_thinking=false. May be given several times."`
	Date        string   `placeholder:"TIME" help:"What the chat template takes for now, as 2006-01-02 or 2006-01-02T15:04:05Z. Default: now."`
}

// rendering is what the flags say, with a date in any case.
func (f *renderingFlags) rendering(now time.Time) (decode.Rendering, error) {
	var r decode.Rendering
	for _, text := range f.TemplateVar {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return r, fault.Field("--template-var", "%.80q is not NAME=VALUE", text)
		}
		if r.Variables == nil {
			r.Variables = map[string]any{}
		}
		var x any
		if json.Unmarshal([]byte(value), &x) != nil || x == nil {
			x = value // a text, which needs no quotation marks
		}
		r.Variables[name] = x
	}
	if f.Date != "" {
		var err error
		if r.Date, err = time.ParseInLocation(time.DateOnly, f.Date, time.UTC); err != nil {
			if r.Date, err = time.Parse(time.RFC3339, f.Date); err != nil {
				return r, fault.Field("--date", "%.40q is neither a day, as 2006-01-02, nor a time, as 2006-01-02T15:04:05Z", f.Date)
			}
		}
	}
	return r.At(now), decode.CheckVariables("--template-var", r.Variables)
}

// shown is a prompt as a model gets it.
type shown struct {
	Who    string         // "reference", or the aligned model's name where its prompt is another
	Text   string         // as the template writes it; "" for a text to be completed
	Tokens []decode.Token // and their names
	Names  []string
}

// renderer is models that can tell what their chat template writes.
type renderer interface {
	Rendered(messages []decode.Message, with decode.Rendering) (string, error)
}

// showPrompt renders a prompt for the reference and for each aligned model that has another.
func showPrompt(models decode.Pair, prompt decode.Prompt, with decode.Rendering) ([]shown, error) {
	prompts := []shown{{Who: pair.RoleReference}}
	all := []decode.Prompt{prompt}
	if c, ok := models.(decode.Contrasted); ok {
		for _, name := range models.AlignedNames() {
			contrast, ok := c.Contrast(name)
			if !ok {
				continue
			}
			p, err := contrast.Apply(prompt)
			if err != nil {
				return nil, err
			}
			prompts, all = append(prompts, shown{Who: name}), append(all, p)
		}
	}
	v := models.Vocabulary()
	for i := range prompts {
		s, err := &prompts[i], error(nil)
		switch r, ok := models.(renderer); {
		case all[i].Text != "":
			s.Tokens, err = v.EncodePlain(all[i].Text)
		case ok:
			if s.Text, err = r.Rendered(all[i].Messages, with); err == nil {
				s.Tokens, err = encodeRendered(v, all[i].Messages, with)
			}
		default:
			s.Tokens, err = encodeRendered(v, all[i].Messages, with)
		}
		if err != nil {
			return nil, err
		}
		for _, t := range s.Tokens {
			s.Names = append(s.Names, v.Name(t))
		}
	}
	return prompts, nil
}

// encodeRendered is the tokens of a conversation, with what the template is told where the vocabulary takes that.
func encodeRendered(v decode.Vocabulary, messages []decode.Message, with decode.Rendering) ([]decode.Token, error) {
	if c, ok := v.(decode.Chatting); ok {
		return c.EncodeRendered(messages, with)
	}
	return v.EncodeChat(messages)
}

// Prompt shows a prompt as the models get it.
func (o *opened) Prompt(_ context.Context, prompt decode.Prompt, with decode.Rendering) ([]shown, error) {
	return showPrompt(o.models, prompt, with)
}

// printPrompts shows prompts with their tokens, one a line.
func printPrompts(h env, prompts []shown) {
	for _, p := range prompts {
		fmt.Fprintf(h.stdout, "\nprompt of %s, %d tokens\n", p.Who, len(p.Tokens))
		if p.Text != "" {
			fmt.Fprintf(h.stdout, "%s\n", printable(p.Text))
		}
		for i, t := range p.Tokens {
			fmt.Fprintf(h.stdout, "%8d  %q\n", t, p.Names[i])
		}
	}
}
