// Package spreadsheet writes tables as CSV that spreadsheets open as they are meant: with a byte order mark, without which Excel
// takes UTF-8 for something else, and with texts that nobody computes. It reads nothing; package prompt reads tables.
package spreadsheet

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Writer writes one table. Its first row names the columns. It is used by one goroutine; Close must be called.
type Writer struct {
	w     io.Writer
	csv   *csv.Writer
	begun bool     // the byte order mark is written
	row   []string // cells of the row being written, kept to be used again
}

// NewWriter makes a writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w, csv: csv.NewWriter(w)} }

// Write writes a row. A cell is a text, which is made Inert; an integer or a float64, which is not; or nil, which is empty, as is a
// number that is not finite.
func (t *Writer) Write(cells ...any) error {
	if !t.begun {
		t.begun = true
		if _, err := io.WriteString(t.w, "\ufeff"); err != nil {
			return err
		}
	}
	t.row = t.row[:0]
	for _, cell := range cells {
		text := ""
		switch x := cell.(type) {
		case nil:
		case string:
			text = Inert(x)
		case float64:
			if !math.IsNaN(x) && !math.IsInf(x, 0) {
				text = strconv.FormatFloat(x, 'g', -1, 64)
			}
		case int, int64, uint64:
			text = fmt.Sprint(x)
		default:
			return fmt.Errorf("a cell cannot be a %T", x)
		}
		t.row = append(t.row, text)
	}
	return t.csv.Write(t.row)
}

// Close writes what is left. It does not close what is written to.
func (t *Writer) Close() error {
	t.csv.Flush()
	return t.csv.Error()
}

// formula begins what a spreadsheet may compute (OWASP, "CSV injection").
const formula = "=+-@\t\r\n＝＋－＠"

// Inert is a text that no spreadsheet computes: with an apostrophe before it where it would.
func Inert(text string) string {
	if first, n := utf8.DecodeRuneInString(text); n > 0 && strings.ContainsRune(formula, first) {
		return "'" + text
	}
	return text
}

// Plain is the text that Inert was given.
func Plain(text string) string {
	if rest, ok := strings.CutPrefix(text, "'"); ok && Inert(rest) != rest {
		return rest
	}
	return text
}
