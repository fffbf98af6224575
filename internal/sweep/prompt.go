package sweep

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/prompt"
)

// MaxPromptFile is how many bytes a file of prompts may have.
const MaxPromptFile = 8 << 20

// Row is one prompt of the validation set, with what rewards may need to judge answers to it.
type Row struct {
	Prompt    string `json:"prompt"`
	System    string `json:"system,omitempty"`
	Context   string `json:"context,omitempty"`   // what the answer should rest on
	Reference string `json:"reference,omitempty"` // an answer to compare with
	Category  string `json:"category,omitempty"`  // for filters and tables
}

// Columns of a Row that a reward can need.
const (
	ColumnContext   = "context"
	ColumnReference = "reference"
)

// Has reports whether the row has something in a column.
func (r *Row) Has(column string) bool {
	switch column {
	case ColumnContext:
		return strings.TrimSpace(r.Context) != ""
	case ColumnReference:
		return strings.TrimSpace(r.Reference) != ""
	}
	return false
}

// check refuses a row that cannot be decoded; the words go behind its place.
func (r *Row) check() error {
	if strings.TrimSpace(r.Prompt) == "" {
		return errors.New("the prompt is empty")
	}
	for _, s := range []string{r.Prompt, r.System, r.Context, r.Reference, r.Category} {
		if !utf8.ValidString(s) {
			return errors.New("is not valid UTF-8")
		}
	}
	if n := len(r.Prompt) + len(r.System) + len(r.Context); n > decode.MaxPromptBytes {
		return fmt.Errorf("%d bytes with system prompt and context, at most %d", n, decode.MaxPromptBytes)
	}
	return nil
}

// unfit is an error about a row that is known by its place only.
func unfit(i int, err error) error { return fault.Field(fmt.Sprintf("prompts[%d]", i), "%v", err) }

// Prompts are rows, or the file that has them.
type Prompts struct {
	Path string
	Rows []Row
}

// UnmarshalJSON reads a path, or a list of rows, of which each is an object or the prompt alone.
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
		row, err := parseRow(fmt.Sprintf("prompts[%d]", i), raw)
		if err != nil {
			return err
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

func parseRow(field string, raw []byte) (row Row, err error) {
	if raw = bytes.TrimSpace(raw); len(raw) > 0 && raw[0] == '"' {
		err = Strict(field, raw, &row.Prompt)
	} else {
		err = Strict(field, raw, &row)
	}
	return row, err
}

// ReadPrompts reads a file of prompts by its name's ending: .jsonl (or .ndjson) has a row or a text on each
// line, .json a list of those, .csv a head line with the names of Row's fields, and anything else one prompt
// on each line. Empty lines are passed over. The error is Invalid and names the line.
func ReadPrompts(name string, data []byte) ([]Row, error) {
	data, err := prompt.Clean(data, MaxPromptFile)
	if err != nil {
		return nil, err
	}
	var rows []Row
	var lines []prompt.Row // where each row was; none for a list
	switch strings.ToLower(path.Ext(name)) {
	case ".jsonl", ".ndjson":
		lines = prompt.Lines(data)
		rows, err = readJSONL(lines)
	case ".json":
		var p Prompts
		err = Strict("prompts", data, &p)
		rows = p.Rows
	case ".csv":
		var head []string
		if head, lines, err = prompt.Table(data); err == nil && len(head) > 0 {
			rows, err = readTable(head, lines)
		}
	default:
		lines = prompt.Lines(data)
		for _, line := range lines {
			rows = append(rows, Row{Prompt: line.Text})
		}
	}
	switch {
	case err != nil:
		return nil, err
	case len(rows) == 0:
		return nil, fault.Field("prompts", "there are none in %s", path.Base(name))
	case len(rows) > MaxPrompts:
		return nil, fault.Field("prompts", "%d prompts, at most %d", len(rows), MaxPrompts)
	}
	for i := range rows {
		switch err := rows[i].check(); {
		case err != nil && lines != nil:
			return nil, prompt.At(lines[i].Line, "%v", err)
		case err != nil:
			return nil, unfit(i, err)
		}
	}
	return rows, nil
}

func readJSONL(lines []prompt.Row) ([]Row, error) {
	rows := make([]Row, len(lines))
	for i, line := range lines {
		var err error
		if len(line.Text) > maxRow {
			return nil, prompt.At(line.Line, "has more than %d bytes", maxRow)
		}
		if rows[i], err = parseRow(fmt.Sprintf("prompts, line %d", line.Line), []byte(line.Text)); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// maxRow is how many bytes a row may have in JSON.
const maxRow = 4 * decode.MaxPromptBytes

// rowFields are the columns that a CSV file may have.
func rowFields(r *Row) map[string]*string {
	return map[string]*string{
		"prompt": &r.Prompt, "system": &r.System, ColumnContext: &r.Context, ColumnReference: &r.Reference, "category": &r.Category,
	}
}

func readTable(head []string, lines []prompt.Row) ([]Row, error) {
	names := sortedKeys(rowFields(&Row{}))
	columns := make([]string, len(head))
	for i := range head {
		column := strings.ToLower(strings.TrimSpace(head[i]))
		if !slices.Contains(names, column) {
			return nil, prompt.At(1, "there is no column %q; the nearest is %q", column, Nearest(column, names))
		}
		if slices.Contains(columns, column) {
			return nil, prompt.At(1, "has the column %q twice", column)
		}
		columns[i] = column
	}
	if !slices.Contains(columns, "prompt") {
		return nil, prompt.NoPrompt(head)
	}
	rows := make([]Row, len(lines))
	for i, line := range lines {
		fields := rowFields(&rows[i])
		for k, text := range line.Cells {
			*fields[columns[k]] = text
		}
	}
	return rows, nil
}
