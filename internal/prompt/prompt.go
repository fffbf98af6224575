// Package prompt cuts files of prompts from outside into rows and says where each begins: lines, blocks, and tables. What a row's
// fields are called, which of them must be there, and how long they may be is for those who ask for prompts, not for this package.
//
// Every error is Invalid, of the field "prompts", and names the line.
package prompt

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"realign/internal/fault"
)

const field = "prompts"

// Row is one row of a file.
type Row struct {
	Line  int      // where it begins, counted from 1
	Text  string   // of a line or a block
	Cells []string // of a table: as many as its head has
}

// At is an error about a line.
func At(line int, format string, args ...any) error {
	return fault.Field(field, "line %d: "+format, append([]any{line}, args...)...)
}

// Clean takes away a byte order mark and carriage returns before line feeds. It refuses what has more bytes than most and what
// is not UTF-8.
func Clean(data []byte, most int) ([]byte, error) {
	if len(data) > most {
		return nil, fault.Field(field, "%d bytes, at most %d", len(data), most)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	if i := invalid(data); i >= 0 {
		return nil, At(1+bytes.Count(data[:i], []byte("\n")), "is not valid UTF-8")
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

// Lines are the lines that say something, without white space around them.
func Lines(data []byte) (rows []Row) {
	number := 0
	for line := range strings.SplitSeq(string(data), "\n") {
		number++
		if line = strings.TrimSpace(line); line != "" {
			rows = append(rows, Row{Line: number, Text: line})
		}
	}
	return rows
}

// Blocks are texts of several lines, between empty ones.
func Blocks(data []byte) (rows []Row) {
	var block []string
	begin := 0
	end := func() {
		if len(block) > 0 {
			rows = append(rows, Row{Line: begin, Text: strings.Join(block, "\n")})
			block = nil
		}
	}
	for i, line := range strings.Split(string(data), "\n") {
		if strings.TrimSpace(line) == "" {
			end()
			continue
		}
		if len(block) == 0 {
			begin = i + 1
		}
		block = append(block, strings.TrimRight(line, " \t"))
	}
	end()
	return rows
}

// Table is a CSV file: the names in its first row, and the others. A file without a row has no head.
func Table(data []byte) (head []string, rows []Row, err error) {
	r := csv.NewReader(bytes.NewReader(data))
	if head, err = r.Read(); err == io.EOF {
		return nil, nil, nil
	}
	for err == nil {
		var cells []string
		if cells, err = r.Read(); err == nil {
			line, _ := r.FieldPos(0)
			rows = append(rows, Row{Line: line, Cells: cells})
		}
	}
	if err != io.EOF {
		return nil, nil, trouble(err)
	}
	return head, rows, nil
}

func trouble(err error) error {
	var at *csv.ParseError
	if !errors.As(err, &at) {
		return fault.Field(field, "cannot be read: %s", err)
	}
	switch {
	case errors.Is(err, csv.ErrFieldCount):
		return At(at.Line, "has another number of columns than the first row")
	case errors.Is(err, csv.ErrQuote), errors.Is(err, csv.ErrBareQuote):
		return At(at.StartLine, "the row that begins here has a quotation mark too many, or too few")
	}
	return At(at.Line, "%s", at.Err)
}

// NoPrompt is the error about a table whose head has no column for prompts.
func NoPrompt(head []string) error {
	names := slices.Clone(head[:min(len(head), 8)])
	for i, name := range names {
		if utf8.RuneCountInString(name) > 30 {
			name = string([]rune(name)[:30]) + "…"
		}
		names[i] = "“" + name + "”"
	}
	return At(1, "no column is called “prompt”: the first row names the columns, and has %s", strings.Join(names, ", "))
}
