package prompt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"realign/internal/decode"
)

// row is a row as it was found, before it is known to be a prompt.
type row struct {
	text     string                     // the prompt alone, where fields is nil
	fields   map[string]json.RawMessage // by names in small letters; those of other columns as they were written
	names    map[string]string          // how a field's name was written, where that differs
	table    bool                       // a cell that is empty says nothing
	exported bool                       // of one of Realign's own files, of whose columns only those of the prompt are kept
	referred bool                       // set by prompt: the last message was taken for the reference
}

// parseRow reads a row in JSON. Errors have no place.
func parseRow(data []byte) (row, error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return row{}, errors.New("is empty")
	}
	switch data[0] {
	case '"':
		var text string
		err := json.Unmarshal(data, &text)
		return row{text: text}, trouble(err)
	case '[':
		return row{fields: map[string]json.RawMessage{"messages": data}}, nil
	case '{':
	default:
		return row{}, fmt.Errorf("is %s, where a text, an object or a list of messages is needed", kindOf(data))
	}
	var written map[string]json.RawMessage
	if err := json.Unmarshal(data, &written); err != nil {
		return row{}, trouble(err)
	}
	r := row{fields: make(map[string]json.RawMessage, len(written)), names: map[string]string{}}
	for name, value := range written {
		key := fold(name)
		if _, exact := written[key]; exact && key != name {
			key = name // beside one that is written in small letters
		}
		r.fields[key], r.names[key] = value, name
	}
	return r, nil
}

// fold is a column's name as it is looked up.
func fold(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// trouble is an error of encoding/json in words, without its place.
func trouble(err error) error {
	if err == nil {
		return nil
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fmt.Errorf("is a JSON %s, which it cannot be", kind.Value)
	}
	return fmt.Errorf("is not JSON: %s", err)
}

// kindOf names what a value in JSON is.
func kindOf(data json.RawMessage) string {
	switch {
	case len(data) == 0:
		return "nothing"
	case data[0] == '"':
		return "a text"
	case data[0] == '{':
		return "an object"
	case data[0] == '[':
		return "a list"
	case data[0] == 't' || data[0] == 'f':
		return "true or false"
	case data[0] == 'n':
		return "null"
	}
	return "a number"
}

// take removes a field and returns its value: nil where there is none, or null, or an empty cell.
func (r *row) take(name string) json.RawMessage {
	value := bytes.TrimSpace(r.fields[name])
	delete(r.fields, name)
	if len(value) == 0 || string(value) == "null" || r.table && string(value) == `""` {
		return nil
	}
	return value
}

// takeText removes a field that is a text.
func (r *row) takeText(name string) (text string, err error) {
	value := r.take(name)
	if value != nil && json.Unmarshal(value, &text) != nil {
		return "", fmt.Errorf("“%s” is %s, where a text is needed", name, kindOf(value))
	}
	return text, nil
}

// prompt makes a prompt of the row, which is used up.
func (r *row) prompt() (p Prompt, err error) {
	if r.fields == nil {
		p.Text = r.text
		return p, p.check()
	}
	for name, to := range map[string]*string{"system": &p.System, ColumnContext: &p.Context, "category": &p.Category} {
		if *to, err = r.takeText(name); err != nil {
			return p, err
		}
	}
	if err := r.identify(&p); err != nil {
		return p, err
	}
	if p.Reference, err = r.reference(); err != nil {
		return p, err
	}
	if err := r.ask(&p); err != nil {
		return p, err
	}
	if !r.exported {
		r.carry(&p)
	}
	return p, p.check()
}

// asked is the first of the fields that can say what is asked, and its value; nil where there is none.
func (r *row) asked() (name string, value json.RawMessage) {
	for _, name := range []string{"prompt", "turns", "text", "question"} {
		value := json.RawMessage(bytes.TrimSpace(r.fields[name]))
		switch {
		case len(value) == 0 || string(value) == "null":
		case name == "turns" && value[0] != '[': // another column of that name
		case r.table && name != "prompt" && string(value) == `""`:
		default:
			return name, value
		}
	}
	return "", nil
}

// ask finds what is asked.
func (r *row) ask(p *Prompt) error {
	messages := r.take("messages")
	name, value := r.asked()
	switch {
	case messages != nil && name == "prompt":
		return errors.New("has both a prompt and messages")
	case messages != nil:
		return r.converse(p, "messages", messages)
	case value == nil:
		return errors.New("has neither “prompt” nor “messages” nor “turns”")
	}
	if err := r.turns(p); err != nil {
		return err
	}
	delete(r.fields, name)
	switch {
	case name == "turns":
		p.Text = p.Turns[0]
	case value[0] == '[':
		return r.converse(p, name, value)
	case json.Unmarshal(value, &p.Text) != nil:
		return fmt.Errorf("“%s” is %s, where a text or a list of messages is needed", name, kindOf(value))
	}
	if len(p.Turns) == 1 {
		p.Turns = nil
	}
	if history := r.take("history"); history != nil {
		return r.converseBefore(p, history)
	}
	return nil
}

// turns reads what the user says turn by turn, where that is a list of texts.
func (r *row) turns(p *Prompt) error {
	value := bytes.TrimSpace(r.fields["turns"])
	if len(value) == 0 || value[0] != '[' {
		return nil // another column of that name
	}
	delete(r.fields, "turns")
	if err := json.Unmarshal(value, &p.Turns); err != nil {
		return errors.New("“turns” is not a list of texts")
	}
	if len(p.Turns) == 0 {
		return errors.New("“turns” is empty")
	}
	return nil
}

// conversation reads messages: a system prompt may stand first, then user and assistant take turns.
func conversation(name string, data json.RawMessage) (system string, messages []decode.Message, err error) {
	var list []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return "", nil, fmt.Errorf("“%s” is not a list of messages, each {\"role\": …, \"content\": …}", name)
	}
	if len(list) == 0 {
		return "", nil, fmt.Errorf("“%s” is empty", name)
	}
	for i, m := range list {
		content, err := contentText(m.Content)
		if err != nil {
			return "", nil, fmt.Errorf("“%s”: message %d: its content %s", name, i+1, err)
		}
		role := m.Role
		if role == "developer" {
			role = "system"
		}
		if role == "system" && i == 0 {
			system = content
			continue
		}
		if want := [...]string{"user", "assistant"}[len(messages)%2]; role != want {
			return "", nil, fmt.Errorf("“%s”: message %d is of the role %.20q, where %q is expected: a system prompt may stand first, then user and assistant take turns", name, i+1, role, want)
		}
		messages = append(messages, decode.Message{Role: role, Content: content})
	}
	return system, messages, nil
}

// contentText is the content of a message: a text, or a list of parts that are texts.
func contentText(data json.RawMessage) (string, error) {
	var text string
	if json.Unmarshal(data, &text) == nil && len(data) > 0 && data[0] == '"' {
		return text, nil
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(data, &parts) != nil || parts == nil {
		return "", fmt.Errorf("is %s, where a text is needed", kindOf(data))
	}
	var all strings.Builder
	for _, part := range parts {
		if part.Type != "text" {
			return "", fmt.Errorf("has a part of the type %.20q, where only texts can be asked", part.Type)
		}
		all.WriteString(part.Text)
	}
	return all.String(), nil
}

// converse takes a conversation for what is asked.
func (r *row) converse(p *Prompt, name string, data json.RawMessage) error {
	system, messages, err := conversation(name, data)
	if err != nil {
		return err
	}
	if err := p.under(system); err != nil {
		return err
	}
	if n := len(messages); n > 0 && messages[n-1].Role == "assistant" {
		if p.Reference == "" {
			p.Reference, r.referred = messages[n-1].Content, true
		}
		messages = messages[:n-1]
	}
	if len(messages) == 0 {
		return fmt.Errorf("“%s” has no message of the user's", name)
	}
	p.Text, p.History = messages[len(messages)-1].Content, messages[:len(messages)-1]
	if len(p.History) == 0 {
		p.History = nil
	}
	return nil
}

// converseBefore takes a conversation for what was said before the prompt.
func (r *row) converseBefore(p *Prompt, data json.RawMessage) error {
	system, messages, err := conversation("history", data)
	switch {
	case err != nil:
		return err
	case len(messages)%2 != 0:
		return errors.New("“history” ends with a message of the user's, where the prompt should follow an answer")
	}
	p.History = messages
	return p.under(system)
}

// under gives the prompt the system prompt that its conversation begins with.
func (p *Prompt) under(system string) error {
	if system != "" && p.System != "" && system != p.System {
		return errors.New("has two system prompts: “system”, and the first of its messages")
	}
	if system != "" {
		p.System = system
	}
	return nil
}

// identify reads the id and the seed.
func (r *row) identify(p *Prompt) error {
	question, id := r.take("question_id"), r.take("id")
	if id == nil {
		id = question
	}
	if id != nil && kindOf(id) != "a text" && kindOf(id) != "a number" {
		return fmt.Errorf("“id” is %s, where a text or a number is needed", kindOf(id))
	}
	p.ID = id
	seed := r.take("seed")
	if seed == nil || r.exported {
		return nil // that of an export is of its outputs
	}
	text := string(seed)
	_ = json.Unmarshal(seed, &text) // a text: numbers above 2⁵³ are written so
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return fmt.Errorf("“seed” is %.30s, which is not a whole number from 0 to 2⁶⁴−1", seed)
	}
	p.Seed = &n
	return nil
}

// reference reads an answer to compare with: a text, or the first of a list of those for several turns.
func (r *row) reference() (string, error) {
	var list []string
	if value := bytes.TrimSpace(r.fields[ColumnReference]); len(value) > 0 && value[0] == '[' && json.Unmarshal(value, &list) == nil {
		delete(r.fields, ColumnReference)
		if len(list) > 0 {
			return list[0], nil
		}
		return "", nil
	}
	return r.takeText(ColumnReference)
}

// carry keeps the columns that are left.
func (r *row) carry(p *Prompt) {
	for key, value := range r.fields {
		name := key
		if written, ok := r.names[key]; ok {
			name = written
		}
		if p.Other == nil {
			p.Other = map[string]json.RawMessage{}
		}
		p.Other[name] = value
	}
}

// check refuses what cannot be asked.
func (p *Prompt) check() error {
	if strings.TrimSpace(p.Text) == "" {
		return errors.New("the prompt is empty")
	}
	for _, s := range []string{p.Text, p.System, p.Context, p.Reference, p.Category} {
		if !utf8.ValidString(s) {
			return errors.New("is not valid UTF-8")
		}
	}
	return nil
}
