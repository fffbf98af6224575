package prompt

import (
	"bytes"
	"encoding/json"
	"errors"
)

// jsonLines takes a row from each line that is not empty.
func (c *collector) jsonLines(data []byte) error {
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if line = bytes.TrimRight(line, "\n"); len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := c.jsonRow(number, line); err != nil {
			return err
		}
	}
	return nil
}

// jsonRow takes one row that begins at a line.
func (c *collector) jsonRow(line int, data []byte) error {
	if len(data) > MaxRow {
		return At(line, 0, "is longer than %d bytes", MaxRow)
	}
	if err := syntax(data, line); err != nil {
		return err
	}
	r, err := parseRow(data)
	if err != nil {
		return At(line, 0, "%s", err)
	}
	if r.fields != nil {
		if err := r.export(); err != nil {
			return At(line, 0, "%s", err)
		}
	}
	return c.add(line, r)
}

// syntax is an error at the place in data, whose first line has a number, where it stops being one value in JSON.
func syntax(data []byte, first int) error {
	if json.Valid(data) {
		return nil
	}
	var raw json.RawMessage
	err := json.Unmarshal(data, &raw)
	var at *json.SyntaxError
	if !errors.As(err, &at) {
		return At(first, 0, "is not JSON: %v", err)
	}
	line, column := place(data, int(at.Offset)-1)
	return At(first+line-1, column, "is not JSON: %s", at)
}

// json takes a list of rows, one row, or the prompts in one of Realign's own files.
func (c *collector) json(data []byte) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	if err := syntax(data, 1); err != nil {
		return err
	}
	begin := len(data) - len(bytes.TrimLeft(data, " \t\n"))
	if data[begin] == '{' {
		var whole struct {
			Format  string          `json:"format"`
			Runs    json.RawMessage `json:"runs"`
			Prompts json.RawMessage `json:"prompts"`
		}
		if err := json.Unmarshal(data, &whole); err == nil {
			switch {
			case whole.Format == "realign-session":
				return c.session(whole.Runs)
			case bytes.HasPrefix(whole.Prompts, []byte("[")): // the file of a sweep
				return c.list(data, bytes.Index(data, whole.Prompts))
			}
		}
	}
	if data[begin] != '[' || isConversation(data) {
		line, _ := place(data, begin)
		return c.jsonRow(line, bytes.TrimSpace(data))
	}
	return c.list(data, begin)
}

// list takes the rows of the list that begins at a byte.
func (c *collector) list(data []byte, begin int) error {
	d := json.NewDecoder(bytes.NewReader(data[begin:]))
	if _, err := d.Token(); err != nil {
		return At(1, 0, "is not JSON: %v", err)
	}
	counted, line := 0, 1 // lines before the byte counted
	for d.More() {
		var element json.RawMessage
		if err := d.Decode(&element); err != nil {
			return At(line, 0, "is not JSON: %v", err)
		}
		at := begin + int(d.InputOffset()) - len(element)
		line += bytes.Count(data[counted:at], []byte("\n"))
		counted = at
		if err := c.jsonRow(line, element); err != nil {
			return err
		}
	}
	return nil
}

// isConversation reports whether a list is one of messages.
func isConversation(data []byte) bool {
	var list []struct {
		Role    *string          `json:"role"`
		Content *json.RawMessage `json:"content"`
	}
	return json.Unmarshal(data, &list) == nil && len(list) > 0 && list[0].Role != nil && list[0].Content != nil
}
