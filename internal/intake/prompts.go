package intake

import (
	"bytes"
	"path"
	"strings"

	"realign/internal/fault"
)

// Limits on files of prompts and configurations, beside their bytes: readers keep tens of bytes for each line and cell.
const (
	MaxLines = 250_000
	MaxCells = 2_000_000 // commas
	MaxMarks = 250_000   // of YAML's or JSON's structure in a configuration: each may make a node of hundreds of bytes
)

// Config returns an Invalid error of a field when a configuration, in YAML or JSON, may have more parts than a reader is
// given. Marks inside texts count, too.
func Config(field string, data []byte) error {
	marks := 0
	for _, mark := range []string{"\n", ",", "- ", ": ", "? ", "[", "{"} {
		marks += bytes.Count(data, []byte(mark))
	}
	if marks > MaxMarks {
		return fault.Field(field, "%d lines, commas, dashes, colons and brackets, at most %d: put the prompts in a file", marks, MaxMarks)
	}
	return nil
}

// Text returns an Invalid error of a field when a text has more lines or commas than a reader is given.
func Text(field string, data []byte) error {
	if n := max(bytes.Count(data, []byte{'\n'}), bytes.Count(data, []byte{'\r'})); n > MaxLines {
		return fault.Field(field, "%d lines, at most %d: leave out empty ones, or send it in parts", n, MaxLines)
	}
	if n := bytes.Count(data, []byte{','}); n > MaxCells {
		return fault.Field(field, "%d commas, at most %d: send it in parts", n, MaxCells)
	}
	return nil
}

// Entries that arrays and objects may have in a row of prompts, and in one of Realign's files, whose logs are long.
const (
	rowEntries  = 1024
	fileEntries = MaxLines
)

// Prompts checks a file of prompts, by its name's ending, before it is read: its lines and cells, and in JSON what each
// row may unfold to. rows is how many prompts a JSON list may have; 0 stands for one object, a row or one of Realign's
// files. The error is Invalid, of field "prompts".
func Prompts(name string, data []byte, rows int) error {
	if err := Text("prompts", data); err != nil {
		return err
	}
	row := Shape{Depth: 8, Entries: rowEntries}
	switch strings.ToLower(path.Ext(name)) {
	case ".jsonl", ".ndjson":
		n := 0
		for line := range bytes.Lines(data) {
			n++
			if err := row.Check(line); err != nil {
				return fault.Field("prompts", "line %d: %s", n, fault.Of(err).Error())
			}
		}
	case ".json":
		row.Named = map[string]int{"": max(rows, rowEntries)} // a list may be one conversation, too
		if rows == 0 {
			row = Shape{Depth: 32, Entries: fileEntries}
		}
		if err := row.Check(data); err != nil {
			return fault.Field("prompts", "%s", fault.Of(err).Error())
		}
	}
	return nil
}
