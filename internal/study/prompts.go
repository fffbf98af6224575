package study

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/session"
)

// Limits on prompts from outside.
const (
	MaxPromptFile = 8 << 20 // bytes
	MaxCategory   = 60      // characters
)

// Format says how a text is cut into prompts.
type Format string

const (
	Lines  Format = "lines"  // one prompt on each line; empty lines say nothing
	Blocks Format = "blocks" // prompts of several lines, between empty lines
	JSONL  Format = "jsonl"  // one object a line
	CSV    Format = "csv"    // a table whose first row names its columns
)

// FormatOf is the format of a file by its name; Invalid for names that say nothing.
func FormatOf(name string) (Format, error) {
	switch strings.ToLower(path.Ext(name)) {
	case ".jsonl", ".ndjson", ".json":
		return JSONL, nil
	case ".csv":
		return CSV, nil
	case ".txt":
		return Lines, nil
	}
	return "", fault.Field("file", "%.60q ends in none of .csv, .jsonl and .txt", name)
}

// ParsePrompts reads prompts and numbers them. A JSONL object or a CSV row has "prompt" and may have
// "category", "system" and "id"; also taken are the names of MT-Bench's and Vicuna's question files: "turns", of
// which the first is asked, "text" and "question_id". Other columns are ignored. An error is Invalid, of
// field "prompts", and names the line.
func ParsePrompts(data []byte, format Format) ([]Prompt, error) {
	if len(data) > MaxPromptFile {
		return nil, fault.Field("prompts", "%d bytes, at most %d", len(data), MaxPromptFile)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	if i := invalidUTF8(data); i >= 0 {
		return nil, atLine(1+bytes.Count(data[:i], []byte("\n")), "is not valid UTF-8")
	}
	var prompts []Prompt
	var err error
	switch format {
	case Lines:
		for i, line := range strings.Split(string(data), "\n") {
			if line = strings.TrimSpace(line); line != "" {
				prompts = append(prompts, Prompt{Line: i + 1, Text: line})
			}
		}
	case Blocks:
		prompts = blocks(string(data))
	case JSONL:
		prompts, err = parseJSONL(data)
	case CSV:
		prompts, err = parseCSV(data)
	default:
		err = fault.Field("format", "%.20q is none of lines, blocks, jsonl, csv", string(format))
	}
	if err != nil {
		return nil, err
	}
	if len(prompts) == 0 {
		return nil, fault.Field("prompts", "there are none")
	}
	if len(prompts) > MaxPrompts {
		return nil, fault.Field("prompts", "%d prompts, at most %d", len(prompts), MaxPrompts)
	}
	for i := range prompts {
		prompts[i].Place = i + 1
		if err := prompts[i].check(); err != nil {
			return nil, err
		}
	}
	return prompts, nil
}

func atLine(line int, format string, args ...any) error {
	return fault.Field("prompts", "line %d: "+format, append([]any{line}, args...)...)
}

// check refuses a prompt that cannot be asked, and names its line.
func (p *Prompt) check() error {
	p.Category = strings.Join(strings.Fields(p.Category), " ")
	p.Name = strings.TrimSpace(p.Name)
	switch {
	case strings.TrimSpace(p.Text) == "":
		return atLine(p.Line, "the prompt is empty")
	case len(p.Text) > decode.MaxPromptBytes:
		return atLine(p.Line, "the prompt has %d bytes, at most %d", len(p.Text), decode.MaxPromptBytes)
	case len(p.System) > decode.MaxPromptBytes:
		return atLine(p.Line, "the system prompt has %d bytes, at most %d", len(p.System), decode.MaxPromptBytes)
	case utf8.RuneCountInString(p.Category) > MaxCategory:
		return atLine(p.Line, "the category has %d characters, at most %d", utf8.RuneCountInString(p.Category), MaxCategory)
	case utf8.RuneCountInString(p.Name) > MaxCategory:
		return atLine(p.Line, "the id has %d characters, at most %d", utf8.RuneCountInString(p.Name), MaxCategory)
	}
	return nil
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

func blocks(text string) (prompts []Prompt) {
	var block []string
	begin := 0
	end := func() {
		if len(block) > 0 {
			prompts = append(prompts, Prompt{Line: begin, Text: strings.Join(block, "\n")})
			block = nil
		}
	}
	for i, line := range strings.Split(text, "\n") {
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
	return prompts
}

// promptRow is a prompt as sets of them are published.
type promptRow struct {
	Prompt     *string         `json:"prompt"`
	Text       *string         `json:"text"`  // Vicuna's name for it
	Turns      []string        `json:"turns"` // MT-Bench's
	Category   string          `json:"category"`
	System     string          `json:"system"`
	ID         json.RawMessage `json:"id"`
	QuestionID json.RawMessage `json:"question_id"`
}

func parseJSONL(data []byte) ([]Prompt, error) {
	var prompts []Prompt
	for i, line := range bytes.Split(data, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var row promptRow
		if err := json.Unmarshal(line, &row); err != nil {
			return nil, atLine(i+1, "%s", jsonTrouble(err))
		}
		p := Prompt{Line: i + 1, Category: row.Category, System: row.System}
		switch {
		case row.Prompt != nil:
			p.Text = *row.Prompt
		case len(row.Turns) > 0:
			p.Text = row.Turns[0]
		case row.Text != nil:
			p.Text = *row.Text
		default:
			return nil, atLine(i+1, `has neither "prompt" nor "turns"`)
		}
		for _, id := range []json.RawMessage{row.ID, row.QuestionID} {
			if name, ok := idText(id); ok {
				p.Name = name
			} else if len(id) > 0 {
				return nil, atLine(i+1, "the id is neither a text nor a number")
			}
		}
		prompts = append(prompts, p)
	}
	return prompts, nil
}

// idText is an id in JSON, a text or a number.
func idText(id json.RawMessage) (string, bool) {
	var text string
	var number json.Number
	switch {
	case len(id) == 0:
		return "", false
	case json.Unmarshal(id, &text) == nil:
		return text, true
	case json.Unmarshal(id, &number) == nil:
		return number.String(), true
	}
	return "", false
}

func jsonTrouble(err error) string {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		if kind.Field == "" {
			return "is not an object"
		}
		return "“" + kind.Field + "” is a " + kind.Value + ", which it cannot be"
	}
	return "is not JSON: " + err.Error()
}

// csvColumns are the columns that count, by the names that they go by.
var csvColumns = map[string]string{
	"prompt": "prompt", "text": "prompt", "question": "prompt", "category": "category", "system": "system", "id": "id", "question_id": "id",
}

func parseCSV(data []byte) ([]Prompt, error) {
	r := csv.NewReader(bytes.NewReader(data))
	header, err := r.Read()
	if err == io.EOF {
		return nil, nil
	}
	if err != nil {
		return nil, csvTrouble(err)
	}
	column := map[string]int{}
	for i, name := range header {
		if known, ok := csvColumns[strings.ToLower(strings.TrimSpace(name))]; ok {
			if _, twice := column[known]; twice && known == "prompt" && !strings.EqualFold(strings.TrimSpace(name), "prompt") {
				continue
			}
			column[known] = i
		}
	}
	if _, ok := column["prompt"]; !ok {
		return nil, atLine(1, "no column is called “prompt”: the first row names the columns, and has %s", strings.Join(quoted(header), ", "))
	}
	var prompts []Prompt
	for {
		row, err := r.Read()
		if err == io.EOF {
			return prompts, nil
		}
		if err != nil {
			return nil, csvTrouble(err)
		}
		line, _ := r.FieldPos(0)
		p := Prompt{Line: line, Text: row[column["prompt"]]}
		for name, to := range map[string]*string{"category": &p.Category, "system": &p.System, "id": &p.Name} {
			if i, ok := column[name]; ok {
				*to = row[i]
			}
		}
		prompts = append(prompts, p)
	}
}

func quoted(names []string) []string {
	names = slices.Clone(names[:min(len(names), 8)])
	for i, name := range names {
		if utf8.RuneCountInString(name) > 30 {
			name = string([]rune(name)[:30]) + "…"
		}
		names[i] = "“" + name + "”"
	}
	return names
}

func csvTrouble(err error) error {
	var at *csv.ParseError
	if !errors.As(err, &at) {
		return fault.Field("prompts", "cannot be read: %s", err)
	}
	switch {
	case errors.Is(err, csv.ErrFieldCount):
		return atLine(at.Line, "has another number of columns than the first row")
	case errors.Is(err, csv.ErrQuote), errors.Is(err, csv.ErrBareQuote):
		return atLine(at.StartLine, "the row that begins here has a quotation mark too many, or too few")
	}
	return atLine(at.Line, "%s", at.Err)
}

// spec is the run that decodes some λ of a prompt.
func (s *Setup) spec(p *Prompt) session.Spec {
	spec := session.Spec{
		Pair: s.Pair, Aligned: []string{s.Aligned}, System: s.System, Prompt: p.Text, Mode: s.Mode,
		Sampling: s.Sampling, Seed: s.PromptSeed(p.Place),
	}
	if p.System != "" {
		spec.System = p.System
	}
	return spec
}

// CheckPrompts checks that prompts can be asked under a setup. The error names the line.
func (s *Setup) CheckPrompts(prompts []Prompt) error {
	for i := range prompts {
		p := &prompts[i]
		spec := s.spec(p)
		spec.Lanes = []decode.Lane{{Lambda: decode.Vector{s.Grid[0]}}}
		if err := spec.Validate(); err != nil {
			return atLine(p.Line, "%s", fault.Of(err).Error())
		}
	}
	return s.Sized(len(prompts))
}
