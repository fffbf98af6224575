package web

import (
	"errors"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/web/templates"
)

// field is a field of a form and where its value belongs. One table of them reads a form and fills it in; how large a number
// may be stands in the table of bounds of the package that checks it.
type field struct {
	name string // in the form, and in errors about it
	to   any    // *string, *int, *float64, *[]float64 (a list), *[]string (lines), *uint64 (a seed; empty is a random one), *bool (ticked)

	optional bool // an empty number leaves what is there
}

// bindForm takes the values of fields from a form. The error is Invalid and has every field that is wrong.
func bindForm(form url.Values, fields []field) error {
	var wrong []error
	for _, f := range fields {
		text := form.Get(f.name)
		if f.optional && strings.TrimSpace(text) == "" {
			continue
		}
		wrong = append(wrong, f.read(text))
	}
	return errors.Join(wrong...)
}

// read takes the value of the field from a form's text. The error is Invalid and names the field.
func (f *field) read(text string) (err error) {
	switch to := f.to.(type) {
	case *string:
		*to = text
	case *bool:
		*to = text != ""
	case *[]string:
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" {
				*to = append(*to, line)
			}
		}
	case *int:
		if *to, err = strconv.Atoi(strings.TrimSpace(text)); err != nil {
			return fault.Field(f.name, "%.30q is not a whole number", text)
		}
	case *uint64:
		if text = strings.TrimSpace(text); text == "" {
			*to = rand.Uint64()
		} else if *to, err = strconv.ParseUint(text, 10, 64); err != nil {
			return fault.Field(f.name, "%.30q is not a whole number from 0 to 2⁶⁴−1", text)
		}
	case *float64:
		*to, err = decode.ParseNumber(f.name, text)
	case *[]float64:
		*to, err = decode.ParseNumbers(f.name, text)
	}
	return err
}

// fillForm puts the values of fields into a form.
func fillForm(form url.Values, fields []field) {
	for _, f := range fields {
		form.Set(f.name, f.text())
	}
}

// text is the field's value as the form shows it: read gives the same value for it.
func (f *field) text() string {
	switch to := f.to.(type) {
	case *string:
		return *to
	case *bool:
		if *to {
			return "on"
		}
	case *[]string:
		return strings.Join(*to, "\n")
	case *int:
		return strconv.Itoa(*to)
	case *uint64:
		return strconv.FormatUint(*to, 10)
	case *float64:
		return decode.FormatNumber(*to)
	case *[]float64:
		return decode.FormatNumbers(*to)
	}
	return ""
}

// samplingFields are those of sampling that forms have.
func samplingFields(s *decode.Sampling) []field {
	return []field{
		{name: "max_tokens", to: &s.MaxTokens}, {name: "temperature", to: &s.Temperature}, {name: "top_k", to: &s.TopK},
		{name: "top_p", to: &s.TopP}, {name: "min_p", to: &s.MinP}, {name: "exact", to: &s.Exact, optional: true},
	}
}

// formErrors is all that is wrong with a form, as it tells it. Fields of a configuration have no prefix there.
func formErrors(err error) (all []templates.FormError) {
	for _, f := range fault.Every(err) {
		name := f.Field
		for _, prefix := range []string{"lambda.", "sampling.", "refine."} {
			name = strings.TrimPrefix(name, prefix)
		}
		all = append(all, templates.FormError{Field: name, Message: f.Message})
	}
	return all
}
