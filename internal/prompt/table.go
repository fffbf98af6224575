package prompt

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
)

// separators are what may stand between columns.
const separators = ",;\t"

// askedColumns are the columns of a table that can have the prompt, the best first.
var askedColumns = []string{"prompt", "prompt_text", "asked", "messages", "turns", "text", "question"}

// isTable reports whether a text without a name is one: two columns or more, of which one has prompts.
func isTable(data []byte) bool {
	_, _, head := separator(data)
	return len(head) > 1 && hasPrompt(head)
}

// hasPrompt reports whether one of the columns can have the prompt.
func hasPrompt(head []string) bool {
	return slices.ContainsFunc(head, func(name string) bool { return slices.Contains(askedColumns, fold(name)) })
}

// separator finds what stands between the columns, by the first row or by the line "sep=;" that spreadsheets know: the one that
// makes a column for prompts and, of those, most columns. It returns the rest of the text and its first row, too.
func separator(data []byte) (sep rune, rest []byte, head []string) {
	if line, after, _ := bytes.Cut(data, []byte("\n")); len(line) == 5 && strings.EqualFold(string(line[:4]), "sep=") && line[4] < 0x80 {
		sep = rune(line[4])
		head, _ = reader(after, sep).Read()
		return sep, after, head
	}
	best := -1
	for _, s := range separators {
		names, err := reader(data, s).Read()
		score := len(names)
		if hasPrompt(names) {
			score += 1 << 20
		}
		if err == nil && score > best {
			sep, head, best = s, names, score
		}
	}
	if sep == 0 {
		sep = ','
	}
	return sep, data, head
}

// reader reads a table with that separator; one that cannot separate is taken for a comma.
func reader(data []byte, sep rune) *csv.Reader {
	r := csv.NewReader(bytes.NewReader(data))
	if sep != '"' && sep != '\n' && sep != '\r' && sep != 0 {
		r.Comma = sep
	}
	return r
}

// table takes the rows of a CSV file below its first, which names the columns.
func (c *collector) table(data []byte) error {
	sep, rest, _ := separator(data)
	before := bytes.Count(data[:len(data)-len(rest)], []byte("\n")) // lines
	r := reader(rest, sep)
	head, err := r.Read()
	switch {
	case err == io.EOF:
		return nil
	case err != nil:
		return tableTrouble(err, before)
	case !hasPrompt(head):
		return noPrompt(before+1, head)
	}
	if err := twice(before+1, head); err != nil {
		return err
	}
	for {
		cells, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return tableTrouble(err, before)
		}
		line, _ := r.FieldPos(0)
		made, err := tableRow(head, cells)
		if err != nil {
			return At(before+line, 0, "%s", err)
		}
		if err := c.add(before+line, made); err != nil {
			return err
		}
	}
}

// twice refuses a head, in some line, with two columns of one name.
func twice(line int, head []string) error {
	seen := map[string]bool{}
	for _, name := range head {
		if key := fold(name); key != "" && seen[key] {
			return At(line, 0, "has the column %q twice", key)
		}
		seen[fold(name)] = true
	}
	return nil
}

// tableRow is a row of a table as one in JSON.
func tableRow(head, cells []string) (row, error) {
	r := row{fields: make(map[string]json.RawMessage, len(head)), names: map[string]string{}, table: true}
	for i, name := range head {
		key := fold(name)
		if key == "" {
			continue
		}
		r.names[key] = strings.TrimSpace(name)
		cell := cells[i]
		if slices.Contains([]string{"messages", "turns", "history"}, key) && strings.HasPrefix(cell, "[") && json.Valid([]byte(cell)) {
			r.fields[key] = json.RawMessage(cell)
			continue
		}
		value, err := json.Marshal(cell)
		if err != nil {
			return r, err
		}
		r.fields[key] = value
	}
	return r, r.export()
}

// tableTrouble is an error of encoding/csv in words. before is the number of lines above what it read.
func tableTrouble(err error, before int) error {
	var at *csv.ParseError
	if !errors.As(err, &at) {
		return At(1, 0, "cannot be read: %v", err)
	}
	switch {
	case errors.Is(err, csv.ErrFieldCount):
		return At(before+at.Line, 0, "has another number of columns than the first row: a text with a comma or semicolon in it stands in quotation marks")
	case errors.Is(err, csv.ErrQuote), errors.Is(err, csv.ErrBareQuote):
		return At(before+at.StartLine, 0, "the row that begins here has a quotation mark too many, or too few, at line %d, column %d", before+at.Line, at.Column)
	}
	return At(before+at.Line, at.Column, "%v", at.Err)
}
