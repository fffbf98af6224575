package openai

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"realign/internal/decode"
	"realign/internal/fault"
)

// body is a JSON object whose fields are read one by one, so that each error names its field and what nobody read is known.
type body struct {
	fields map[string]json.RawMessage // by name: the JSON as it came
	read   map[string]bool            // names that some method read, or passed over on purpose; finish refuses the others
	err    error                      // the first one
}

// parseBody reads an object without two fields of one name and not deeper than OpenAI's are.
func parseBody(data []byte) (*body, error) {
	b := &body{fields: map[string]json.RawMessage{}, read: map[string]bool{}}
	if !utf8.Valid(data) {
		return nil, fault.Field("body", "is not valid UTF-8")
	}
	if depth(data) > maxDepth {
		return nil, fault.Field("body", "is nested deeper than %d", maxDepth)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fault.Field("body", "is not a JSON object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, fault.Field("body", "is not valid JSON: %v", err)
		}
		name := key.(string) // between braces the decoder gives nothing else
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fault.Field(short(name), "is not valid JSON: %v", err)
		}
		if _, twice := b.fields[name]; twice {
			return nil, fault.Field(short(name), "is given twice")
		}
		b.fields[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, fault.Field("body", "is not valid JSON: %v", err)
	}
	if d.More() {
		return nil, fault.Field("body", "has something behind its JSON object")
	}
	return b, nil
}

// maxDepth is how deep objects and lists of a body may be nested; those of OpenAI's API are less deep.
const maxDepth = 16

// depth is how deep a JSON text is nested, whether or not it is valid.
func depth(data []byte) (deepest int) {
	now, text := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// field reads a field into v; it reports whether it is there and not null.
func (b *body) field(name string, v any, what string) bool {
	raw, ok := b.fields[name]
	b.read[name] = true
	if !ok || string(raw) == "null" {
		return false
	}
	if err := json.Unmarshal(raw, v); err != nil {
		b.fail(name, "is not %s", what)
		return false
	}
	return true
}

// fail keeps the first error: Invalid, with the field.
func (b *body) fail(field, format string, args ...any) {
	if b.err == nil {
		b.err = fault.Field(field, format, args...)
	}
}

// number, flag and text read a field of their type. Where the field is missing, null or of another type, v stays as it is,
// and flag and text return false and "".
func (b *body) number(name string, v *float64) bool { return b.field(name, v, "a number") }
func (b *body) flag(name string) (v bool)           { b.field(name, &v, "true or false"); return v }
func (b *body) text(name string) (v string)         { b.field(name, &v, "a text"); return v }

// whole reads a whole number, also one that is written as 5.0.
func (b *body) whole(name string, v *int) bool {
	var x float64
	if !b.number(name, &x) {
		return false
	}
	if x != math.Trunc(x) || math.Abs(x) > math.MaxInt32 {
		b.fail(name, "%v is not a whole number", x)
		return false
	}
	*v = int(x)
	return true
}

// unsupported refuses fields that would change the answer and mean nothing here, unless their value is one that asks for
// nothing.
func (b *body) unsupported(why string, names ...string) {
	for _, name := range names {
		b.read[name] = true
		switch raw := string(bytes.TrimSpace(b.fields[name])); raw {
		case "", "null", "[]", "false", `"none"`, `"auto"`:
		default:
			b.fail(name, "is not supported: %s", why)
		}
	}
}

// ignored are fields that change nothing here and do no harm.
func (b *body) ignored(names ...string) {
	for _, name := range names {
		b.read[name] = true
	}
}

// finish refuses what nobody read: a name that is misspelt must not be passed over in silence.
func (b *body) finish() error {
	if b.err != nil {
		return b.err
	}
	var unknown []string
	for name := range b.fields {
		if !b.read[name] {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return fault.Field(short(unknown[0]), "is not a field of this request")
}

// texts reads a text or a list of texts.
func (b *body) texts(name string) []string {
	raw := bytes.TrimSpace(b.fields[name])
	if len(raw) > 0 && raw[0] == '"' {
		return []string{b.text(name)}
	}
	var list []string
	b.field(name, &list, "a text or a list of texts")
	return list
}

// lambdas reads the field "lambda" for n aligned models with the given names: a number, a list of numbers (one choice for each;
// with several aligned models the list is of lists or objects), or an object with a λ by aligned model.
func (b *body) lambdas(names []string, n int) []decode.Vector {
	raw := bytes.TrimSpace(b.fields["lambda"])
	b.read["lambda"] = true
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	items := []json.RawMessage{raw}
	if raw[0] == '[' {
		if err := json.Unmarshal(raw, &items); err != nil || len(items) == 0 {
			b.fail("lambda", "is neither a number, nor a list of them, nor an object with one for each aligned model")
			return nil
		}
	}
	var all []decode.Vector
	for _, item := range items {
		v, ok := oneLambda(item, names, n)
		if !ok {
			b.fail("lambda", "%s is not λ for %d aligned models: a number where there is one, else a list or an object with one for each", short(string(item)), n)
			return nil
		}
		if err := decode.CheckLambda("lambda", v, n); err != nil {
			b.fail("lambda", "%s", fault.Of(err).Message)
			return nil
		}
		all = append(all, v)
	}
	return all
}

// oneLambda reads a number (for one aligned model), a text such as "1/6", a list with one for each, or an object by name.
func oneLambda(raw json.RawMessage, names []string, n int) (decode.Vector, bool) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0:
		return nil, false
	case raw[0] == '{':
		var by map[string]float64
		if json.Unmarshal(raw, &by) != nil || len(names) != n {
			return nil, false
		}
		v := make(decode.Vector, n)
		for name, l := range by {
			i := slices.Index(names, name)
			if i < 0 {
				return nil, false
			}
			v[i] = l
		}
		return v, true
	case raw[0] == '[':
		var v []float64
		if json.Unmarshal(raw, &v) != nil || len(v) != n {
			return nil, false
		}
		return v, true
	case raw[0] == '"':
		var text string
		if n != 1 || json.Unmarshal(raw, &text) != nil {
			return nil, false
		}
		l, err := parseLambda(text)
		return decode.Vector{l}, err == nil
	}
	var l float64
	if n != 1 || json.Unmarshal(raw, &l) != nil {
		return nil, false
	}
	return decode.Vector{l}, true
}

// forbidden is a bias that no logit outweighs. It is finite, since JSON has no infinity.
const forbidden = -1e30

// bias reads logit_bias: by token, −100 to 100, −100 forbidding it as it does at OpenAI.
func (b *body) bias() map[decode.Token]float64 {
	var by map[string]float64
	if !b.field("logit_bias", &by, "an object with a number for each token's id") || len(by) == 0 {
		return nil
	}
	bias := make(map[decode.Token]float64, len(by))
	for text, x := range by {
		id, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
		switch {
		case err != nil || id < 0:
			b.fail("logit_bias", "%q is not the id of a token", short(text))
		case math.IsNaN(x) || x < -100 || x > 100:
			b.fail("logit_bias", "%v is outside -100 to 100", x)
		case x == -100:
			x = forbidden
		}
		bias[decode.Token(id)] = x
	}
	return bias
}
