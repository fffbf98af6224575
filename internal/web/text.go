package web

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
)

// What comes in as text is text: valid UTF-8 without the zero character, which databases and C programs end a text at. It is
// refused before a handler runs, where its field is known, and not replaced, since what is stored should be what was sent.

// checkText is an Invalid error for a text that is none.
func checkText(field, text string) error {
	switch {
	case !utf8.ValidString(text):
		return fault.Field(field, "is not valid UTF-8")
	case strings.ContainsRune(text, 0):
		return fault.Field(field, "has a zero character (U+0000)")
	}
	return nil
}

// checkTexts is an Invalid error for the first name or value that is no text.
func checkTexts(values url.Values) error {
	for field, all := range values {
		if checkText("", field) != nil {
			return fault.New(fault.Invalid, "a field's name is not text")
		}
		for _, text := range all {
			if err := checkText(field, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// textAddress refuses addresses whose path or query is no text.
func textAddress(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		if err := checkText("address", u.Path); err != nil {
			return err
		}
		query, err := url.ParseQuery(u.RawQuery)
		if err != nil {
			return fault.New(fault.Invalid, "the address has a query that cannot be read")
		}
		if err := checkTexts(query); err != nil {
			return err
		}
		return next(c)
	}
}

// textForm refuses forms with fields that are no text. It comes after what reads the form.
func textForm(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := checkTexts(c.Request().Form); err != nil {
			return err
		}
		return next(c)
	}
}

// zeroInJSON reports whether a JSON text writes the zero character in a string.
func zeroInJSON(data []byte) bool {
	for i := 0; i+1 < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		if i++; data[i] == 'u' && i+4 < len(data) && string(data[i+1:i+5]) == "0000" {
			return true
		}
	}
	return false
}
