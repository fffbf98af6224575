package prompt

import (
	"bytes"
	"encoding/json"
	"errors"

	"realign/internal/spreadsheet"
)

// has reports whether the row has a field that is neither null nor empty.
func (r *row) has(names ...string) bool {
	for _, name := range names {
		if value := bytes.TrimSpace(r.fields[name]); len(value) == 0 || string(value) == "null" {
			return false
		}
	}
	return true
}

// export recognises rows that Realign writes, by columns that nobody else's have together, and gives what was asked the name
// "prompt". It refuses those that do not say what was asked.
func (r *row) export() error {
	rename := func(from string) {
		r.fields["prompt"] = r.fields[from]
		delete(r.fields, from)
		r.exported = true
	}
	switch {
	case r.has("asked", "lambda", "sample"): // a sweep's outputs
		rename("asked")
		r.unguard()
		delete(r.fields, "text")
	case r.has("prompt_text", "annotator", "rating"): // a study's ratings
		rename("prompt_text")
		r.unguard()
		delete(r.fields, "text")
		delete(r.fields, "question")
	case r.has("prompt", "chosen_lambda", "rejected_lambda"), r.has("prompt", "completion", "lambda", "rater"): // rows for training
		r.exported = true
		delete(r.fields, "question")
	case r.has("prompt", "prompt_tokens", "lanes", "digest") || r.has("prompt", "prompt_tokens", "lanes", "sampling"): // a comparison
		r.exported = true
	case r.has("place", "line", "prompt") && r.is("type", "prompt"): // a study's prompt
		r.exported = true
		if name, ok := r.fields["name"]; ok {
			r.fields["id"] = name
		}
	case r.has("lane", "lambda", "tokens", "text") && !r.has("prompt"):
		return errors.New("is a reply, and does not say what was asked: take the file that was decoded")
	}
	return nil
}

// unguard takes away the apostrophes that keep spreadsheets from computing texts.
func (r *row) unguard() {
	for _, name := range []string{"prompt", "category"} {
		var text string
		if r.table && json.Unmarshal(r.fields[name], &text) == nil {
			r.fields[name], _ = json.Marshal(spreadsheet.Plain(text)) // texts always encode
		}
	}
}

// is reports whether a field is a text.
func (r *row) is(name, text string) bool {
	var value string
	return json.Unmarshal(r.fields[name], &value) == nil && value == text
}

// skip passes over the rows of an exported study that are no prompts, and notes the system prompt of its setup.
func (c *collector) skip(r row) bool {
	switch {
	case r.is("type", "study") && r.is("format", "realign-study"):
		var setup struct {
			System string `json:"system"`
		}
		if json.Unmarshal(r.fields["setup"], &setup) == nil {
			c.system = setup.System
		}
		return true
	case r.is("type", "output") && r.has("id", "lambda"), r.is("type", "rating") && r.has("item", "shown"):
		return true
	}
	return false
}

// session takes what was asked in each run of an exported session.
func (c *collector) session(data json.RawMessage) error {
	var runs []struct {
		Spec map[string]json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(data, &runs); err != nil {
		return At(1, 0, "is not an exported session: %s", trouble(err))
	}
	for _, run := range runs {
		r := row{fields: map[string]json.RawMessage{}, exported: true}
		for _, name := range []string{"prompt", "system", "history"} {
			r.fields[name] = run.Spec[name]
		}
		if err := c.add(1, r); err != nil {
			return err
		}
	}
	return nil
}
