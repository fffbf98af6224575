package study

import (
	"encoding/json"
	"errors"
	"path"
	"strings"
	"unicode/utf8"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/prompt"
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
	data, err := prompt.Clean(data, MaxPromptFile)
	if err != nil {
		return nil, err
	}
	var prompts []Prompt
	switch format {
	case Lines:
		prompts = texts(prompt.Lines(data))
	case Blocks:
		prompts = texts(prompt.Blocks(data))
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

// check refuses a prompt that cannot be asked, and names its line.
func (p *Prompt) check() error {
	p.Category = strings.Join(strings.Fields(p.Category), " ")
	p.Name = strings.TrimSpace(p.Name)
	switch {
	case strings.TrimSpace(p.Text) == "":
		return prompt.At(p.Line, "the prompt is empty")
	case len(p.Text) > decode.MaxPromptBytes:
		return prompt.At(p.Line, "the prompt has %d bytes, at most %d", len(p.Text), decode.MaxPromptBytes)
	case len(p.System) > decode.MaxPromptBytes:
		return prompt.At(p.Line, "the system prompt has %d bytes, at most %d", len(p.System), decode.MaxPromptBytes)
	case utf8.RuneCountInString(p.Category) > MaxCategory:
		return prompt.At(p.Line, "the category has %d characters, at most %d", utf8.RuneCountInString(p.Category), MaxCategory)
	case utf8.RuneCountInString(p.Name) > MaxCategory:
		return prompt.At(p.Line, "the id has %d characters, at most %d", utf8.RuneCountInString(p.Name), MaxCategory)
	}
	return nil
}

func texts(rows []prompt.Row) []Prompt {
	prompts := make([]Prompt, len(rows))
	for i, r := range rows {
		prompts[i] = Prompt{Line: r.Line, Text: r.Text}
	}
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
	for _, line := range prompt.Lines(data) {
		var row promptRow
		if err := json.Unmarshal([]byte(line.Text), &row); err != nil {
			return nil, prompt.At(line.Line, "%s", jsonTrouble(err))
		}
		p := Prompt{Line: line.Line, Category: row.Category, System: row.System}
		switch {
		case row.Prompt != nil:
			p.Text = *row.Prompt
		case len(row.Turns) > 0:
			p.Text = row.Turns[0]
		case row.Text != nil:
			p.Text = *row.Text
		default:
			return nil, prompt.At(line.Line, `has neither "prompt" nor "turns"`)
		}
		for _, id := range []json.RawMessage{row.ID, row.QuestionID} {
			if name, ok := idText(id); ok {
				p.Name = name
			} else if len(id) > 0 {
				return nil, prompt.At(line.Line, "the id is neither a text nor a number")
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
	head, rows, err := prompt.Table(data)
	if err != nil || len(head) == 0 {
		return nil, err
	}
	column := map[string]int{}
	for i, name := range head {
		if known, ok := csvColumns[strings.ToLower(strings.TrimSpace(name))]; ok {
			if _, twice := column[known]; twice && known == "prompt" && !strings.EqualFold(strings.TrimSpace(name), "prompt") {
				continue
			}
			column[known] = i
		}
	}
	if _, ok := column["prompt"]; !ok {
		return nil, prompt.NoPrompt(head)
	}
	prompts := make([]Prompt, len(rows))
	for n, row := range rows {
		p := &prompts[n]
		p.Line, p.Text = row.Line, row.Cells[column["prompt"]]
		for name, to := range map[string]*string{"category": &p.Category, "system": &p.System, "id": &p.Name} {
			if i, ok := column[name]; ok {
				*to = row.Cells[i]
			}
		}
	}
	return prompts, nil
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
			return prompt.At(p.Line, "%s", fault.Of(err).Error())
		}
	}
	return s.Sized(len(prompts))
}
