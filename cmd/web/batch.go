package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"realign/internal/decode"
	"realign/internal/fault"
)

// maxRowBytes is the longest line of --prompts: a prompt of the largest size with every byte escaped, and room.
const maxRowBytes = 8 << 20

// batchRow is one row of --prompts. Fields that are not named here are ignored: files of prompts have them.
type batchRow struct {
	ID       json.RawMessage  `json:"id"` // a string or a number; default: the number of its line
	Prompt   *string          `json:"prompt"`
	Messages []decode.Message `json:"messages"`
	Seed     *uint64          `json:"seed"` // default: --seed

	line   int
	prompt decode.Prompt
}

// rows reads --prompts. Every row is checked before anything is decoded; what is wrong with one names its line.
func (c *decodeCommand) rows(h host, request decode.Request) ([]batchRow, error) {
	request.Prompt = decode.Prompt{Text: "anything"}
	if err := request.Validate(len(request.Aligned)); err != nil { // of no line
		return nil, err
	}
	in := h.stdin
	if c.Prompts != "-" {
		f, err := os.Open(c.Prompts)
		if err != nil {
			return nil, fault.Field("prompts", "%v", err)
		}
		defer f.Close()
		in = f
	}
	var rows []batchRow
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxRowBytes)
	seen := map[any]int{} // ids, with their lines
	n := 0
	for lines.Scan() {
		n++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		row, err := c.row(lines.Bytes(), n, seen)
		if err != nil {
			return nil, err
		}
		request.Prompt = row.prompt
		if err := request.Validate(len(request.Aligned)); err != nil {
			return nil, row.at(err)
		}
		rows = append(rows, row)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fault.Field("prompts", "line %d: is longer than %d bytes", n+1, maxRowBytes)
	case err != nil:
		return nil, fault.Field("prompts", "%v", err)
	case rows == nil:
		return nil, fault.Field("prompts", "has no rows")
	}
	return rows, nil
}

// row reads one line.
func (c *decodeCommand) row(line []byte, n int, seen map[any]int) (batchRow, error) {
	row := batchRow{line: n}
	bad := func(format string, args ...any) (batchRow, error) {
		return row, fault.Field("prompts", "line %d: %s", n, fmt.Sprintf(format, args...))
	}
	if !utf8.Valid(line) {
		return bad("is not valid UTF-8")
	}
	var wrong *json.UnmarshalTypeError
	switch err := json.Unmarshal(line, &row); {
	case errors.As(err, &wrong) && wrong.Field != "":
		return bad("%s: cannot be a JSON %s", wrong.Field, wrong.Value)
	case errors.As(err, &wrong):
		return bad("is a JSON %s, where an object is needed", wrong.Value)
	case err != nil:
		return bad("is not JSON: %v", err)
	}
	if row.ID == nil || string(row.ID) == "null" {
		row.ID = json.RawMessage(strconv.Itoa(n))
	}
	var id any
	if err := json.Unmarshal(row.ID, &id); err != nil {
		return bad("id: %v", err)
	}
	switch id.(type) {
	case string, float64:
	default:
		return bad("id: is neither a string nor a number")
	}
	if first, taken := seen[id]; taken {
		return bad("id: line %d has it already", first)
	}
	seen[id] = n
	var err error
	switch {
	case row.Prompt != nil && row.Messages != nil:
		return bad("has both a prompt and messages")
	case row.Prompt != nil:
		row.prompt, err = c.say(decode.Message{Role: "user", Content: *row.Prompt})
	case row.Messages == nil:
		return bad("has neither a prompt nor messages")
	case len(row.Messages) == 0:
		return bad("messages: is empty")
	case c.Text:
		return bad("messages: need the chat template, which --text leaves out")
	case c.System != "" && row.Messages[0].Role == "system":
		return bad("messages: begin with a system prompt, and --system gives another")
	default:
		row.prompt, err = c.say(row.Messages...)
	}
	return row, err
}

// at says at which line an error about a field arose.
func (r batchRow) at(err error) error {
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.Invalid || f.Field == "" {
		return err
	}
	return fault.Field("prompts", "line %d: %s: %s", r.line, strings.ReplaceAll(f.Field, "_", "-"), f.Message)
}

// batch decodes one row after another, each on all lanes as if it were alone, so that a row's output does not
// depend on what else is in the file.
func (c *decodeCommand) batch(ctx context.Context, engine *decode.Engine, request decode.Request, rows []batchRow, w io.Writer) error {
	out := bufio.NewWriter(w)
	for _, row := range rows {
		if ctx.Err() != nil {
			return errInterrupted
		}
		request.Prompt, request.Seed = row.prompt, c.Seed
		if row.Seed != nil {
			request.Seed = *row.Seed
		}
		var p printer = &replyPrinter{w: out, id: row.ID, lanes: make([]reply, len(request.Lanes))}
		if c.JSON {
			p = jsonPrinter{w: out, row: row.ID}
		}
		err := decodeRun(ctx, engine, request, p)
		if flushed := out.Flush(); err == nil && flushed != nil {
			err = fmt.Errorf("write output: %w", flushed)
		}
		if err != nil {
			return flagged(row.at(err))
		}
	}
	return nil
}

// reply is one lane from its beginning to its end. Log-probabilities, KL divergences and log_z are sums over its
// tokens, the end token included.
type reply struct {
	ID          json.RawMessage `json:"id"`
	Lane        int             `json:"lane"`
	Lambda      decode.Vector   `json:"lambda"`
	Sample      int             `json:"sample"`
	Text        string          `json:"text"`
	Tokens      []decode.Token  `json:"tokens"`
	Reason      string          `json:"reason"`
	Error       *decode.Error   `json:"error,omitempty"`
	Logp        *decode.Logp    `json:"logp,omitempty"`
	KLReference *float64        `json:"kl_reference,omitempty"`
	KLAligned   decode.Vector   `json:"kl_aligned,omitempty"`
	LogZ        *float64        `json:"log_z,omitempty"`

	text strings.Builder
}

// replyPrinter prints an object for each lane of a run, in order, when the run has ended.
type replyPrinter struct {
	w     io.Writer
	id    json.RawMessage
	lanes []reply
}

func (p *replyPrinter) print(e decode.Event) error {
	switch e.Type {
	case decode.EventToken:
		p.lanes[e.Lane].add(e)
	case decode.EventEnd:
		r := &p.lanes[e.Lane]
		r.ID, r.Lane, r.Lambda, r.Sample = p.id, e.Lane, e.Lambda, e.Sample
		r.Text, r.Reason, r.Error = r.text.String(), e.Reason, e.Error
		if r.Tokens == nil {
			r.Tokens = []decode.Token{}
		}
	case decode.EventStats:
		for i := range p.lanes {
			data, err := json.Marshal(&p.lanes[i])
			if err != nil {
				return err
			}
			if _, err := p.w.Write(append(data, '\n')); err != nil {
				return err
			}
		}
	}
	return nil
}

// add counts a token in.
func (r *reply) add(e decode.Event) {
	r.text.WriteString(e.Text)
	r.Tokens = append(r.Tokens, e.ID)
	if e.Logp == nil {
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
