// Package export writes all outputs of a sweep as a file that other programs read: one row for each decoded sample,
// with its prompt, what was said, its log-probabilities and KL, and what the rewards made of it.
package export

import (
	"encoding/json"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/spreadsheet"
	"realign/internal/sweep"
)

// Format is a kind of file.
type Format string

const (
	JSONL   Format = "jsonl"   // one JSON object a line
	CSV     Format = "csv"     // for spreadsheets: with a byte order mark
	Parquet Format = "parquet" // Apache Parquet
)

// Formats lists them.
func Formats() []Format { return []Format{JSONL, CSV, Parquet} }

// Type is the format's media type.
func (f Format) Type() string {
	switch f {
	case CSV:
		return "text/csv; charset=utf-8"
	case Parquet:
		return "application/vnd.apache.parquet"
	default:
		return "application/jsonl; charset=utf-8"
	}
}

// Writer writes one output after another. Close writes what is left.
type Writer interface {
	Write(o sweep.Output) error // in the order in which outputs are to stand in the file
	Close() error               // the file is whole only if it succeeds
}

// New is a writer of a format to w, for the outputs of a sweep. The format is Invalid when it is none.
func New(f Format, w io.Writer, s *sweep.Setup) (Writer, error) {
	columns := columnsOf(s)
	switch f {
	case JSONL:
		return &jsonl{json.NewEncoder(w), s}, nil
	case CSV:
		c := &csvFile{spreadsheet.NewWriter(w), columns}
		head := make([]any, len(columns))
		for i, column := range columns {
			head[i] = column.name
		}
		return c, c.w.Write(head...)
	case Parquet:
		return newParquet(w, s, columns), nil
	}
	return nil, fault.Field("format", "%.20q is none of jsonl, csv and parquet", string(f))
}

// jsonl has an object on each line: a sweep.Output, and of its prompt what the table cannot say by a number.
type jsonl struct {
	w *json.Encoder
	s *sweep.Setup
}

// Write adds a line: the output with its prompt, whatever columns a table would have.
func (j *jsonl) Write(o sweep.Output) error {
	row := j.s.Config.Prompts.Rows[o.Prompt]
	return j.w.Encode(struct {
		sweep.Output
		Text      string                     `json:"text"` // also when empty
		Category  string                     `json:"category,omitempty"`
		Asked     string                     `json:"asked"`
		History   []decode.Message           `json:"history,omitempty"`
		System    string                     `json:"system,omitempty"`
		Context   string                     `json:"context,omitempty"`
		Reference string                     `json:"reference,omitempty"`
		Columns   map[string]json.RawMessage `json:"columns,omitempty"` // others that the prompt came with
	}{o, o.Text, row.Category, row.Text, row.History, row.System, row.Context, row.Reference, row.Other})
}

func (j *jsonl) Close() error { return nil }

// column is one column of a table: text, or a number, of which nil is none.
type column struct {
	name   string
	text   func(o *sweep.Output) string
	number func(o *sweep.Output) *float64
	whole  bool // the number is an integer, and always there
}

// columnsOf are the columns of a table: those that every sweep has, then two for each reward, its value and why it is
// missing.
func columnsOf(s *sweep.Setup) []column {
	row := func(o *sweep.Output) *sweep.Row { return &s.Config.Prompts.Rows[o.Prompt] }
	whole := func(name string, x func(o *sweep.Output) int) column {
		return column{name: name, whole: true, number: func(o *sweep.Output) *float64 { n := float64(x(o)); return &n }}
	}
	text := func(name string, x func(o *sweep.Output) string) column { return column{name: name, text: x} }
	// What a failed output, or one that was not traced, has no number for is empty, as zero would be a number.
	said := func(name string, x func(o *sweep.Output) float64) column {
		return column{name: name, number: func(o *sweep.Output) *float64 {
			if o.Failed() || o.Untraced {
				return nil
			}
			n := x(o)
			return &n
		}}
	}
	all := []column{
		whole("prompt", func(o *sweep.Output) int { return o.Prompt }),
		text("category", func(o *sweep.Output) string { return row(o).Category }),
		text("asked", func(o *sweep.Output) string { return row(o).Text }),
		{name: "lambda", number: func(o *sweep.Output) *float64 { return &o.Lambda }},
		whole("sample", func(o *sweep.Output) int { return o.Sample }),
		text("text", func(o *sweep.Output) string { return o.Text }),
		whole("tokens", func(o *sweep.Output) int { return o.Tokens }),
		text("finish", func(o *sweep.Output) string { return o.Finish }),
		text("error", func(o *sweep.Output) string { return o.Error }),
		said("kl", func(o *sweep.Output) float64 { return o.KL }),
		said("log_z", func(o *sweep.Output) float64 { return o.LogZ }),
		said("logp_reference", func(o *sweep.Output) float64 { return o.LogpReference }),
		said("logp_aligned", func(o *sweep.Output) float64 { return o.LogpAligned }),
	}
	for _, j := range s.RewardInfos {
		all = append(all,
			column{name: "reward: " + j.Name, number: func(o *sweep.Output) *float64 {
				v, ok := o.Rewards[j.Name]
				if !ok || !v.OK() {
					return nil
				}
				return &v.Value
			}},
			text("missing: "+j.Name, func(o *sweep.Output) string { return o.Rewards[j.Name].Missing }))
	}
	return all
}

// csvFile writes outputs as CSV.
type csvFile struct {
	w       *spreadsheet.Writer
	columns []column
}

// Write adds a row. A number that is not there is an empty field.
func (c *csvFile) Write(o sweep.Output) error {
	record := make([]any, len(c.columns))
	for i, column := range c.columns {
		if column.text != nil {
			record[i] = column.text(&o)
		} else if n := column.number(&o); n != nil {
			record[i] = *n
		}
	}
	return c.w.Write(record...)
}

func (c *csvFile) Close() error { return c.w.Close() }

// parquetFile writes the columns with their names as top-level columns of a Parquet file.
type parquetFile struct {
	w       *parquet.GenericWriter[any]
	columns []column // in the file's order, which is that of their names
}

// newParquet is an empty file. Text and whole numbers are always there; other numbers may be null.
func newParquet(w io.Writer, s *sweep.Setup, columns []column) *parquetFile {
	group := parquet.Group{}
	for _, c := range columns {
		switch {
		case c.text != nil:
			group[c.name] = parquet.String()
		case c.whole:
			group[c.name] = parquet.Int(64)
		default:
			group[c.name] = parquet.Optional(parquet.Leaf(parquet.DoubleType))
		}
		group[c.name] = parquet.Compressed(group[c.name], &parquet.Zstd)
	}
	schema := parquet.NewSchema("sweep", group)
	f := &parquetFile{w: parquet.NewGenericWriter[any](w, schema)}
	for _, path := range schema.Columns() {
		f.columns = append(f.columns, columns[slices.IndexFunc(columns, func(c column) bool { return c.name == path[0] })])
	}
	return f
}

// Write adds a row. The levels say whether a value is there: 1 in a column that may be null, else 0.
func (f *parquetFile) Write(o sweep.Output) error {
	row := make(parquet.Row, len(f.columns))
	for i, c := range f.columns {
		switch {
		case c.text != nil:
			row[i] = parquet.ValueOf(c.text(&o)).Level(0, 0, i)
		case c.whole:
			row[i] = parquet.ValueOf(int64(*c.number(&o))).Level(0, 0, i)
		default:
			if n := c.number(&o); n != nil {
				row[i] = parquet.ValueOf(*n).Level(0, 1, i)
			} else {
				row[i] = parquet.Value{}.Level(0, 0, i)
			}
		}
	}
	_, err := f.w.WriteRows([]parquet.Row{row})
	return err
}

func (f *parquetFile) Close() error { return f.w.Close() }
