// Package prompt is the one reader of prompts from outside: what a command, a study or a sweep is given as a file or as pasted text,
// whatever form it comes in. It decodes nothing and stores nothing, and how long a prompt may be is for those who ask the models.
//
// Forms: a text with a prompt on each line, or with prompts between empty lines; CSV with commas, semicolons or tabs; JSON and JSON
// lines. A row is a text, a conversation (a list of messages), or an object with some of these fields (columns of a table go by the
// same names, in any case):
//
//	prompt     a text, or a conversation as TRL writes it; also called text, question
//	messages   a conversation; a last message of the assistant's is taken for the reference
//	turns      what a user says turn by turn (MT-Bench): the first is asked, the others are kept
//	history    the conversation before the prompt
//	system, context, reference, category, id (or question_id), seed
//
// Every other field is carried along in Other. Realign's own exports (studies, their rows for training, sweeps, sessions) are read
// for the prompts in them, each once.
//
// Every error is Invalid, of the field "prompts", and names the line, and the column where there is one.
package prompt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/intake"
)

// field is what errors are about.
const field = "prompts"

// MaxRow is how many bytes a row may have: a prompt of the largest size with every byte escaped, and room.
const MaxRow = 8 << 20

// Prompt is what a model is asked, with what was given beside it.
type Prompt struct {
	ID        json.RawMessage            // a JSON text or number as it was written; nil without one
	Text      string                     // what the user says last: it is to be answered
	History   []decode.Message           // the conversation before it: user and assistant take turns
	System    string                     // system prompt; empty leaves it to whoever asks
	Context   string                     // what the answer should rest on
	Reference string                     // an answer to compare with
	Category  string                     // for tables and filters
	Turns     []string                   // all the user's turns, the first of which is Text; nil where there is only one
	Seed      *uint64                    // of its decoding, for those who take one; nil without
	Other     map[string]json.RawMessage // every other column, by its name

	Line int // where it begins in what was read, from 1
}

// Names of the columns that a reward can need.
const (
	ColumnContext   = "context"
	ColumnReference = "reference"
)

// Has reports whether the prompt has something in a column.
func (p *Prompt) Has(column string) bool {
	switch column {
	case ColumnContext:
		return strings.TrimSpace(p.Context) != ""
	case ColumnReference:
		return strings.TrimSpace(p.Reference) != ""
	}
	return false
}

// Name is the id as a text.
func (p *Prompt) Name() string {
	var text string
	if json.Unmarshal(p.ID, &text) == nil {
		return text
	}
	return string(p.ID)
}

// SetName makes a text the id; "" takes it away.
func (p *Prompt) SetName(name string) {
	p.ID = nil
	if name != "" {
		p.ID, _ = json.Marshal(name) // texts always encode
	}
}

// Asked is the text with its context before it, and an empty line between.
func (p *Prompt) Asked() string {
	if p.Context == "" {
		return p.Text
	}
	return p.Context + "\n\n" + p.Text
}

// Messages is the conversation that is to be answered, its last turn saying text, under a system prompt unless that is empty.
func (p *Prompt) Messages(system, text string) []decode.Message {
	var messages []decode.Message
	if system != "" {
		messages = append(messages, decode.Message{Role: "system", Content: system})
	}
	return append(append(messages, p.History...), decode.Message{Role: "user", Content: text})
}

// MarshalJSON writes an object that is read as the same prompt; other columns stand beside the known ones.
func (p Prompt) MarshalJSON() ([]byte, error) {
	all := maps.Clone(p.Other)
	if all == nil {
		all = map[string]json.RawMessage{}
	}
	add := func(name string, x any) (err error) {
		all[name], err = json.Marshal(x)
		return err
	}
	err := add("prompt", p.Text)
	for name, text := range map[string]string{"system": p.System, "context": p.Context, "reference": p.Reference, "category": p.Category} {
		if text != "" && err == nil {
			err = add(name, text)
		}
	}
	if len(p.History) > 0 && err == nil {
		err = add("history", p.History)
	}
	if len(p.Turns) > 0 && err == nil {
		err = add("turns", p.Turns)
	}
	if p.Seed != nil && err == nil {
		err = add("seed", *p.Seed)
	}
	if err != nil {
		return nil, err
	}
	if p.ID != nil {
		all["id"] = p.ID
	}
	return json.Marshal(all)
}

// UnmarshalJSON reads a row: a text, a conversation or an object. The error has no line.
func (p *Prompt) UnmarshalJSON(data []byte) error {
	row, err := parseRow(data)
	if err != nil {
		return fault.Field(field, "%s", err)
	}
	*p, err = row.prompt()
	if err != nil {
		return fault.Field(field, "%s", err)
	}
	return nil
}

// binary are endings of files that hold tables and texts, but are none.
var binary = []string{".xlsx", ".xls", ".xlsm", ".ods", ".numbers", ".parquet", ".arrow", ".docx", ".odt", ".pdf", ".zip", ".gz", ".gguf"}

// Options say how much is read and how. Zero limits are none.
type Options struct {
	Format     Format // Auto finds it by the name, or else by what is read
	MaxBytes   int64  // of the file; more is an error
	MaxPrompts int    // more is an error
}

// Set is what was read.
type Set struct {
	Format  Format // that it was read as
	Prompts []Prompt
	Notes   []string // what people should know of the reading, for instance turns that are not asked
}

// Read reads prompts. name is that of the file, for its ending; without one, or with an ending that says nothing, the form is found
// by what is read. No more than the limits is held in memory.
func Read(r io.Reader, name string, o Options) (*Set, error) {
	if o.MaxBytes > 0 {
		r = io.LimitReader(r, o.MaxBytes+1)
	}
	if ending := path.Ext(name); slices.Contains(binary, strings.ToLower(ending)) {
		return nil, fault.Field(field, "%.60q is not a text: save it as CSV (UTF-8), JSON lines or a text", path.Base(name))
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fault.Field(field, "cannot be read: %v", err)
	}
	if o.MaxBytes > 0 && int64(len(data)) > o.MaxBytes {
		return nil, fault.Field(field, "more than %d bytes: split the file", o.MaxBytes)
	}
	if data, err = clean(data); err != nil {
		return nil, err
	}
	format := o.Format
	if format == Auto {
		format = detect(name, data)
	}
	if err := bounded(format, data, o.MaxPrompts); err != nil {
		return nil, err
	}
	c := collector{most: o.MaxPrompts, set: Set{Format: format}}
	read, known := readers[format]
	if !known {
		return nil, fault.Field("format", "%.20q is none of %s", string(format), strings.Join(formatNames(), ", "))
	}
	if err := read(&c, data); err != nil {
		return nil, err
	}
	if len(c.set.Prompts) == 0 {
		return nil, fault.Field(field, "give at least one")
	}
	c.notes()
	return &c.set, nil
}

// bounded refuses, before anything is decoded, what may unfold to far more than its bytes. rows is how many prompts there may
// be, 0 for no limit but that of lines.
func bounded(format Format, data []byte, rows int) error {
	if rows == 0 {
		rows = intake.MaxLines
	}
	if format == JSON && !bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) { // one row, or one of Realign's files
		rows = 0
	}
	return intake.Prompts("."+string(format), data, rows)
}

// collector takes the rows of a file one after another. It lasts for one Read.
type collector struct {
	set  Set // what Read returns
	most int // prompts; 0 is no limit

	system    string          // of an exported study, for prompts without one of their own
	seen      map[string]bool // prompts of an export, by all that is asked
	repeated  int             // rows of an export with a prompt that is there already
	referred  int             // conversations whose last message was taken for the reference
	laterTurn int             // prompts with turns that are not asked
}

// add takes a row that begins at a line.
func (c *collector) add(line int, r row) error {
	if c.skip(r) {
		return nil
	}
	p, err := r.prompt()
	if err != nil {
		return At(line, 0, "%s", err)
	}
	p.Line = line
	if r.exported {
		if p.System == "" {
			p.System = c.system
		}
		if c.repeats(&p) {
			c.repeated++
			return nil
		}
	}
	if r.referred {
		c.referred++
	}
	if len(p.Turns) > 1 {
		c.laterTurn++
	}
	if c.most > 0 && len(c.set.Prompts) == c.most {
		return At(line, 0, "more than %d prompts: take fewer, or split them", c.most)
	}
	c.set.Prompts = append(c.set.Prompts, p)
	return nil
}

// repeats reports whether the same was asked above.
func (c *collector) repeats(p *Prompt) bool {
	asked, err := json.Marshal(Prompt{Text: p.Text, History: p.History, System: p.System, Context: p.Context, Category: p.Category})
	if err != nil {
		return false
	}
	if c.seen == nil {
		c.seen = map[string]bool{}
	}
	known := c.seen[string(asked)]
	c.seen[string(asked)] = true
	return known
}

// notes says what people should know.
func (c *collector) notes() {
	say := func(n int, format string) {
		if n > 0 {
			c.set.Notes = append(c.set.Notes, fmt.Sprintf(format, n))
		}
	}
	say(c.laterTurn, "%d prompts have several turns: the first is asked, and the later ones are kept beside it")
	say(c.referred, "%d conversations end with an answer: it is kept as the reference, and what stands before it is asked")
	say(c.repeated, "%d rows are about a prompt that stands above: each is taken once")
}

// At is an error at a line and, unless it is 0, a column, both counted from 1.
func At(line, column int, format string, args ...any) error {
	where := fmt.Sprintf("line %d", line)
	if column > 0 {
		where += fmt.Sprintf(", column %d", column)
	}
	return fault.Field(field, "%s: %s", where, fmt.Sprintf(format, args...))
}

// noPrompt is the error about a table whose head has no column for prompts.
func noPrompt(line int, head []string) error {
	names := slices.Clone(head[:min(len(head), 8)])
	for i, name := range names {
		if runes := []rune(name); len(runes) > 30 {
			name = string(runes[:30]) + "…"
		}
		names[i] = "“" + name + "”"
	}
	return At(line, 0, "no column is called “prompt”: the first row names the columns, and has %s", strings.Join(names, ", "))
}
