package prompt

import (
	"bytes"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Format says how a text is cut into prompts.
type Format string

const (
	Auto   Format = ""       // found by the name and by what is read
	Lines  Format = "lines"  // one prompt on each line; empty lines say nothing
	Blocks Format = "blocks" // prompts of several lines, between empty lines
	JSONL  Format = "jsonl"  // a row on each line
	JSON   Format = "json"   // a list of rows, one row, or one of Realign's files
	CSV    Format = "csv"    // a table whose first row names its columns, with commas, semicolons or tabs between them
)

// readers are what read each form. They take data that clean has cleaned.
var readers = map[Format]func(*collector, []byte) error{
	Lines: (*collector).lines, Blocks: (*collector).blocks, JSONL: (*collector).jsonLines, JSON: (*collector).json, CSV: (*collector).table,
}

// formatNames lists the forms, Auto left out, for an error.
func formatNames() []string {
	var names []string
	for _, f := range slices.Sorted(maps.Keys(readers)) {
		names = append(names, string(f))
	}
	return names
}

// detect is the form of a file by its name, or else by what is in it.
func detect(name string, data []byte) Format {
	switch strings.ToLower(path.Ext(name)) {
	case ".csv", ".tsv", ".tab":
		return CSV
	case ".jsonl", ".ndjson":
		return JSONL
	case ".json":
		return jsonOrLines(data)
	case ".txt", ".text", ".md":
		return Lines
	}
	switch begin := bytes.TrimSpace(data); {
	case len(begin) > 0 && (begin[0] == '{' || begin[0] == '['):
		return jsonOrLines(data)
	case isTable(data):
		return CSV
	}
	return Lines
}

// jsonOrLines tells one value in JSON from a value on each line.
func jsonOrLines(data []byte) Format {
	if json.Valid(data) {
		return JSON
	}
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if json.Valid(line) {
				return JSONL
			}
			break
		}
	}
	return JSON
}

// clean takes away a byte order mark and carriage returns at the ends of lines, and reads UTF-16 that has a mark, as spreadsheets
// write it. It refuses what is not UTF-8.
func clean(data []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}):
		data = fromUTF16(data[2:], 0, 1)
	case bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		data = fromUTF16(data[2:], 1, 0)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	if !bytes.Contains(data, []byte("\n")) {
		data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		line, column := place(data, i)
		return nil, At(line, column, "is not a text: it holds a zero byte")
	}
	if i := invalid(data); i >= 0 {
		line, column := place(data, i)
		return nil, At(line, column, "is not valid UTF-8: save the file as UTF-8 (spreadsheets call it “CSV UTF-8”)")
	}
	return data, nil
}

// invalid is where data stops being UTF-8, or -1.
func invalid(data []byte) int {
	if utf8.Valid(data) {
		return -1
	}
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// fromUTF16 turns pairs of bytes, of which low and high say the order, into UTF-8.
func fromUTF16(data []byte, low, high int) []byte {
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = uint16(data[2*i+low]) | uint16(data[2*i+high])<<8
	}
	return []byte(string(utf16.Decode(units)))
}

// place is the line and the column of a byte, from 1; columns count characters.
func place(data []byte, at int) (line, column int) {
	at = min(at, len(data))
	begin := bytes.LastIndexByte(data[:at], '\n') + 1
	return 1 + bytes.Count(data[:at], []byte("\n")), 1 + utf8.RuneCount(data[begin:at])
}

// lines takes the lines that say something, without white space around them.
func (c *collector) lines(data []byte) error {
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		if line = strings.TrimSpace(line); line != "" {
			if err := c.add(number, row{text: line}); err != nil {
				return err
			}
		}
	}
	return nil
}

// blocks takes texts of several lines, between empty ones.
func (c *collector) blocks(data []byte) error {
	var block []string
	begin, number := 0, 0
	end := func() error {
		text := strings.Join(block, "\n")
		block = nil
		if text == "" {
			return nil
		}
		return c.add(begin, row{text: text})
	}
	for line := range strings.Lines(string(data)) {
		number++
		if strings.TrimSpace(line) == "" {
			if err := end(); err != nil {
				return err
			}
			continue
		}
		if len(block) == 0 {
			begin = number
		}
		block = append(block, strings.TrimRight(line, " \t\n"))
	}
	return end()
}
