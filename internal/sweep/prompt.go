package sweep

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"realign/internal/decode"
	"realign/internal/fault"
)

// MaxPromptFile is how many bytes a file of prompts may have.
const MaxPromptFile = 64 << 20

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

func (r *Row) check(i int) error {
	field := fmt.Sprintf("prompts[%d]", i)
	if strings.TrimSpace(r.Prompt) == "" {
		return fault.Field(field, "the prompt is empty")
	}
	for _, s := range []string{r.Prompt, r.System, r.Context, r.Reference, r.Category} {
		if !utf8.ValidString(s) {
			return fault.Field(field, "is not valid UTF-8")
		}
	}
	if n := len(r.Prompt) + len(r.System) + len(r.Context); n > decode.MaxPromptBytes {
		return fault.Field(field, "%d bytes with system prompt and context, at most %d", n, decode.MaxPromptBytes)
	}
	return nil
}

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
	if len(data) > MaxPromptFile {
		return nil, fault.Field("prompts", "%d bytes, at most %d", len(data), MaxPromptFile)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var rows []Row
	var err error
	switch strings.ToLower(path.Ext(name)) {
	case ".jsonl", ".ndjson":
		rows, err = readLines(data, parseRow)
	case ".json":
		var p Prompts
		err = Strict("prompts", data, &p)
		rows = p.Rows
	case ".csv":
		rows, err = readCSV(data)
	default:
		rows, err = readLines(data, func(_ string, line []byte) (Row, error) { return Row{Prompt: string(line)}, nil })
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
		if err := rows[i].check(i); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func readLines(data []byte, parse func(field string, line []byte) (Row, error)) ([]Row, error) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 4*decode.MaxPromptBytes)
	var rows []Row
	number := 0
	for lines.Scan() {
		number++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		row, err := parse(fmt.Sprintf("prompts, line %d", number), line)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	if lines.Err() != nil {
		return nil, fault.Field("prompts", "line %d has more than %d bytes", number+1, 4*decode.MaxPromptBytes)
	}
	return rows, nil
}

// rowFields are the columns that a CSV file may have.
func rowFields(r *Row) map[string]*string {
	return map[string]*string{
		"prompt": &r.Prompt, "system": &r.System, ColumnContext: &r.Context, ColumnReference: &r.Reference, "category": &r.Category,
	}
}

func readCSV(data []byte) ([]Row, error) {
	lines := csv.NewReader(bytes.NewReader(data))
	head, err := lines.Read()
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Field("prompts", "is not CSV: %v", err)
	}
	names := sortedKeys(rowFields(&Row{}))
	for i := range head {
		head[i] = strings.ToLower(strings.TrimSpace(head[i]))
		if !slices.Contains(names, head[i]) {
			return nil, fault.Field("prompts", "line 1: there is no column %q; the nearest is %q", head[i], Nearest(head[i], names))
		}
		if slices.Contains(head[:i], head[i]) {
			return nil, fault.Field("prompts", "line 1 has the column %q twice", head[i])
		}
	}
	if !slices.Contains(head, "prompt") {
		return nil, fault.Field("prompts", "line 1 has no column \"prompt\"")
	}
	var rows []Row
	for {
		record, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, fault.Field("prompts", "is not CSV: %v", err)
		}
		var row Row
		fields := rowFields(&row)
		for i, text := range record {
			*fields[head[i]] = text
		}
		rows = append(rows, row)
	}
}
