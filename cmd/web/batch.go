package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/prompt"
)

// maxPromptsBytes is how large --prompts may be: its rows are all in memory while they are decoded.
const maxPromptsBytes = 1 << 30

// batchRow is one row of --prompts.
type batchRow struct {
	prompt.Prompt
	id    json.RawMessage // default: the number of its line
	asked decode.Prompt   // what the models are given
}

// rows reads --prompts. Every row is checked before anything is decoded; what is wrong with one names its line.
func (c *decodeCommand) rows(h env, request decode.Request) ([]batchRow, error) {
	request.Prompt = decode.Prompt{Text: "anything"}
	if err := request.Validate(len(request.Aligned)); err != nil { // of no line
		return nil, err
	}
	in, name := h.stdin, ""
	if c.Prompts != "-" {
		f, err := os.Open(c.Prompts)
		if err != nil {
			return nil, fault.Field("prompts", "%v", err)
		}
		defer f.Close()
		in, name = f, c.Prompts
	}
	set, err := prompt.Read(in, name, prompt.Options{MaxBytes: maxPromptsBytes})
	if err != nil {
		return nil, err
	}
	for _, note := range set.Notes {
		fmt.Fprintf(h.stderr, "realign: --prompts: %s\n", note)
	}
	seen := map[any]int{} // ids, with their lines
	rows := make([]batchRow, len(set.Prompts))
	for i, p := range set.Prompts {
		row := &rows[i]
		row.Prompt, row.id = p, p.ID
		if row.id == nil {
			row.id = json.RawMessage(strconv.Itoa(p.Line))
		}
		var id any
		if err := json.Unmarshal(row.id, &id); err != nil {
			return nil, prompt.At(p.Line, 0, "id: %v", err)
		}
		if first, taken := seen[id]; taken {
			return nil, prompt.At(p.Line, 0, "id: line %d has it already", first)
		}
		seen[id] = p.Line
		if row.asked, err = c.ask(&p); err != nil {
			return nil, err
		}
		request.Prompt = row.asked
		if err := request.Validate(len(request.Aligned)); err != nil {
			return nil, row.at(err)
		}
	}
	return rows, nil
}

// ask is what a row asks the models.
func (c *decodeCommand) ask(p *prompt.Prompt) (decode.Prompt, error) {
	switch {
	case c.Text && (len(p.History) > 0 || p.System != ""):
		return decode.Prompt{}, prompt.At(p.Line, 0, "a conversation and a system prompt need the chat template, which --text leaves out")
	case c.System != "" && p.System != "":
		return decode.Prompt{}, prompt.At(p.Line, 0, "begins with a system prompt, and --system gives another")
	}
	return c.say(p.Messages(p.System, p.Asked())...)
}

// at says at which line an error about a field arose.
func (r batchRow) at(err error) error {
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.Invalid || f.Field == "" {
		return err
	}
	return fault.Field("prompts", "line %d: %s: %s", r.Line, strings.ReplaceAll(f.Field, "_", "-"), f.Message)
}

// batch decodes one row after another, each on all lanes as if it were alone, so that a row's output does not
// depend on what else is in the file.
func (c *decodeCommand) batch(ctx context.Context, engine *decode.Engine, request decode.Request, rows []batchRow, w io.Writer) error {
	out := bufio.NewWriter(w)
	for _, row := range rows {
		if ctx.Err() != nil {
			return errInterrupted
		}
		request.Prompt, request.Seed = row.asked, c.Seed
		if row.Seed != nil {
			request.Seed = *row.Seed
		}
		var p printer = &replyPrinter{w: out, id: row.id, lanes: len(request.Lanes), gather: decode.Gather{Tokens: true}}
		if c.JSON {
			p = jsonPrinter{w: out, row: row.id}
		}
		err := decodeRun(ctx, engine, request, p)
		if flushed := out.Flush(); err == nil && flushed != nil {
			err = fmt.Errorf("write output: %w", flushed)
		}
		if err != nil {
			return asFlagError(row.at(err))
		}
	}
	return nil
}

// reply is one lane from its beginning to its end. Log-probabilities, KL divergences and log_z are sums over its
// tokens, the end token included.
type reply struct {
	ID          json.RawMessage `json:"id"`
	Lane        int             `json:"lane"` // from 0
	Lambda      decode.Vector   `json:"lambda"`
	Sample      int             `json:"sample"`
	Text        string          `json:"text"`
	Tokens      []decode.Token  `json:"tokens"` // of the reply, the end token included
	Reason      string          `json:"reason"` // why it ended: one of decode.End…
	Error       *decode.Error   `json:"error,omitempty"`
	Logp        *decode.Logp    `json:"logp,omitempty"`         // Σ over the tokens, nats; of one model without a reference
	KLReference *float64        `json:"kl_reference,omitempty"` // Σ over the tokens, nats
	KLAligned   decode.Vector   `json:"kl_aligned,omitempty"`
	LogZ        *float64        `json:"log_z,omitempty"`
	Exact       *decode.Exact   `json:"exact,omitempty"`
}

// replyPrinter prints an object for each lane of a run, in order, when the run has ended.
type replyPrinter struct {
	w      io.Writer
	id     json.RawMessage // of the row
	lanes  int
	gather decode.Gather
}

// print gathers an event; with the run's last one it prints.
func (p *replyPrinter) print(e decode.Event) error {
	p.gather.Add(e)
	if e.Type != decode.EventStats {
		return nil
	}
	for i := range p.lanes {
		data, err := json.Marshal(newReply(p.id, p.gather.Lane(i)))
		if err != nil {
			return err
		}
		if _, err := p.w.Write(append(data, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// newReply is the reply of a lane that has ended.
func newReply(id json.RawMessage, l *decode.Gathered) *reply {
	e := l.End
	r := &reply{
		ID: id, Lane: e.Lane, Lambda: e.Lambda, Sample: e.Sample, Text: l.Text(), Tokens: []decode.Token{},
		Reason: e.Reason, Error: e.Error, Exact: e.Exact,
	}
	for _, t := range l.Tokens {
		r.add(t)
	}
	return r
}

// add counts a token in.
func (r *reply) add(e decode.Event) {
	r.Tokens = append(r.Tokens, e.ID)
	if e.Logp == nil {
		return
	}
	if e.KLReference == nil { // of a single model
		if r.Logp == nil {
			r.Logp = &decode.Logp{Reference: math.NaN()}
		}
		sum(&r.Logp.Mixture, e.Logp.Mixture)
		return
	}
	if r.Logp == nil {
		r.Logp = &decode.Logp{Aligned: make(decode.Vector, len(e.Logp.Aligned))}
		r.KLAligned = make(decode.Vector, len(e.KLAligned))
		r.KLReference, r.LogZ = new(float64), new(float64)
	}
	sum(&r.Logp.Reference, e.Logp.Reference)
	sum(&r.Logp.Mixture, e.Logp.Mixture)
	sum(r.KLReference, *e.KLReference)
	sum(r.LogZ, *e.LogZ)
	for i := range e.KLAligned {
		sum(&r.Logp.Aligned[i], e.Logp.Aligned[i])
		sum(&r.KLAligned[i], e.KLAligned[i])
	}
}

// sum adds within what JSON can hold.
func sum(to *float64, x float64) {
	*to = max(min(*to+x, math.MaxFloat64), -math.MaxFloat64)
}
