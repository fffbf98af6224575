package reward

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"realign/internal/fault"
	"realign/internal/sweep"
)

// schemaParameters are those of the JSON reward, as its Schema describes them.
type schemaParameters struct {
	Schema json.RawMessage `json:"schema"` // a JSON Schema as an object; without one valid JSON is enough
	Fenced bool            `json:"fenced"` // JSON inside a ``` block counts
}

// nowhere refuses to load schemas that a schema refers to: a sweep reads no file and no address for one.
type nowhere struct{}

// Load implements jsonschema's loader.
func (nowhere) Load(url string) (any, error) {
	return nil, errors.New("a schema may refer to itself only, not to " + url)
}

// where is the schema's own address: a relative one would become a path of this machine, and errors name it.
const where = "schema:"

// schema is whether an answer is JSON, and fits a JSON Schema where there is one.
func schema() maker {
	return simple(Info{
		Name: "json", Title: "Valid JSON", Direction: sweep.Higher,
		About: "1 where the answer is valid JSON, and fits the JSON Schema if one is given; 0 elsewhere.",
		Schema: []Parameter{
			{"schema", "JSON Schema (2020-12 unless $schema says otherwise) as an object", ""},
			{"fenced", "whether JSON inside a ``` block counts", "false"},
		},
	}, schemaParameters{}, func(p *schemaParameters, _ Environment, _ *Info) (func(*sweep.Row, *sweep.Output) sweep.Value, error) {
		var compiled *jsonschema.Schema
		if len(p.Schema) > 0 && string(p.Schema) != "null" {
			doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(p.Schema)))
			if err != nil {
				return nil, fault.Field("schema", "is not JSON: %v", err)
			}
			c := jsonschema.NewCompiler()
			c.UseLoader(nowhere{})
			if err := c.AddResource(where, doc); err != nil {
				return nil, fault.Field("schema", "%v", err)
			}
			if compiled, err = c.Compile(where); err != nil {
				return nil, fault.Field("schema", "is no JSON Schema: %v", err)
			}
		}
		return func(_ *sweep.Row, o *sweep.Output) sweep.Value {
			text := o.Text
			if p.Fenced {
				text = unfence(text)
			}
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
			if err != nil || compiled != nil && compiled.Validate(value) != nil {
				return sweep.Of(0)
			}
			return sweep.Of(1)
		}, nil
	})
}

// unfence is what is inside the first ``` block, or the text itself without one.
func unfence(text string) string {
	_, after, ok := strings.Cut(text, "```")
	if !ok {
		return text
	}
	if line, rest, ok := strings.Cut(after, "\n"); ok && !strings.ContainsAny(line, "{[\"") {
		after = rest
	}
	inside, _, _ := strings.Cut(after, "```")
	return inside
}
