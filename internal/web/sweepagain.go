package web

import (
	"bytes"
	"encoding/json"
	"net/url"

	"realign/internal/fault"
	"realign/internal/prompt"
	"realign/internal/sweep"
)

// formOf is a configuration in the fields of the form, and the whole of it as JSON where the fields cannot say all.
func formOf(c *sweep.Config) (form url.Values, whole string, err error) {
	form = filledSweep(c, rangeOf(c.Lambda.Values))
	for name, value := range map[string]string{
		"pair": c.Pair + ":" + c.Aligned, "objective": c.Objective, "evaluation": c.Evaluation,
		"prompts_format": string(prompt.JSONL), "prompts": rowsJSONL(c.Prompts.Rows),
	} {
		form.Set(name, value)
	}
	for _, r := range c.Rewards {
		form.Add("reward", r.Reward)
		var parameters map[string]json.RawMessage
		if len(r.Parameters) > 0 && json.Unmarshal(r.Parameters, &parameters) != nil {
			continue // then the form says something else, and the whole is shown
		}
		for name, value := range parameters {
			form.Set("param."+r.Reward+"."+name, parameterText(value))
		}
	}
	if saysAll(form, c) {
		return form, "", nil
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, "", fault.Wrap(err, fault.Internal, "the configuration cannot be shown")
	}
	return form, string(text), nil
}

// rangeOf is the range that has as many λ as a grid, between the same ends.
func rangeOf(grid []float64) sweep.Range {
	if len(grid) == 0 {
		return sweep.Range{}
	}
	return sweep.Range{From: grid[0], To: grid[len(grid)-1], Points: len(grid)}
}

// parameterText is a parameter as it is typed: a text without its quotes.
func parameterText(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil && !json.Valid([]byte(text)) {
		return text
	}
	return string(value)
}

// saysAll reports whether a form asks for the very same configuration.
func saysAll(form url.Values, c *sweep.Config) bool {
	asked, err := formConfig(form)
	return err == nil && bytes.Equal(canonical(asked), canonical(c))
}

// canonical is a configuration as JSON with its keys in order.
func canonical(c *sweep.Config) []byte {
	var whole any
	text, err := json.Marshal(c)
	if err == nil {
		err = json.Unmarshal(text, &whole)
	}
	if err != nil {
		return nil
	}
	text, _ = json.Marshal(whole)
	return text
}

// rowsJSONL are prompts as they can be typed: an object on each line.
func rowsJSONL(rows []sweep.Row) string {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	for _, row := range rows {
		_ = encoder.Encode(row) // what was read as JSON always encodes
	}
	return string(bytes.TrimRight(buf.Bytes(), "\n"))
}
