package sweep

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/prompt"
)

// MaxPromptFile is how many bytes a file of prompts may have.
const MaxPromptFile = 8 << 20

// Row is one prompt of the validation set, with what rewards may need to judge answers to it.
type Row = prompt.Prompt

// Columns of a Row that a reward can need.
const (
	ColumnContext   = prompt.ColumnContext
	ColumnReference = prompt.ColumnReference
)

// checkRow refuses a prompt that cannot be decoded under a configuration; the words go behind its place.
func (c *Config) checkRow(r *Row) error {
	n := len(r.Text) + len(r.System) + len(r.Context)
	for _, m := range r.History {
		n += len(m.Content)
	}
	switch {
	case strings.TrimSpace(r.Text) == "":
		return errors.New("the prompt is empty")
	case n > decode.MaxPromptBytes:
		return fmt.Errorf("%d bytes with system prompt, context and the conversation before it, at most %d", n, decode.MaxPromptBytes)
	case c.Mode == "plain" && len(r.History) > 0:
		return errors.New("a conversation needs the chat template, which the mode plain leaves out")
	}
	return nil
}

// unfit is an error about a row: by its line where it came from a file, and else by its place.
func unfit(i int, r *Row, err error) error {
	if r.Line > 0 {
		return prompt.At(r.Line, 0, "%v", err)
	}
	return fault.Field(fmt.Sprintf("prompts[%d]", i), "%v", err)
}

// Prompts are rows, or the file that has them.
type Prompts struct {
	Path string // of a file; "" where Rows are given
	Rows []Row  // nil until the file is read
}

// UnmarshalJSON reads a path, or a list of rows in any form that package prompt reads.
func (p *Prompts) UnmarshalJSON(b []byte) error {
	*p = Prompts{}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &p.Path)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return fault.Field("prompts", "is neither the path of a file nor a list")
	}
	for i, raw := range list {
		var row Row
		if err := row.UnmarshalJSON(bytes.TrimSpace(raw)); err != nil {
			return fault.Field(fmt.Sprintf("prompts[%d]", i), "%s", fault.Of(err).Message)
		}
		p.Rows = append(p.Rows, row)
	}
	return nil
}

// MarshalJSON writes the rows where there are any, and else the path.
func (p Prompts) MarshalJSON() ([]byte, error) {
	if p.Rows == nil && p.Path != "" {
		return json.Marshal(p.Path)
	}
	return json.Marshal(p.Rows)
}

// ReadPrompts reads a file of prompts, within the limits of a sweep. The error is Invalid and names the line.
func ReadPrompts(r io.Reader, name string) (*prompt.Set, error) {
	return prompt.Read(r, name, prompt.Options{MaxBytes: MaxPromptFile, MaxPrompts: MaxPrompts})
}
