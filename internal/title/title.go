package title

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"realign/internal/fault"
)

// Max is how many characters a title may have.
const Max = 200

// Clean is a title as it is kept: one line, without control characters. It is Invalid when empty or
// longer than Max characters.
func Clean(title string) (string, error) {
	title = oneLine(title)
	if title == "" {
		return "", fault.Field("title", "is empty")
	}
	if n := utf8.RuneCountInString(title); n > Max {
		return "", fault.Field("title", "%d characters, at most %d", n, Max)
	}
	return title, nil
}

// Of is the title a session gets from its first prompt.
func Of(prompt string) string { return Shorten(prompt, 80) }

// Shorten is a text on one line, of n characters at most, cut between words where it can be.
func Shorten(text string, n int) string {
	text = oneLine(text)
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	text = string([]rune(text)[:n-1])
	if i := strings.LastIndexByte(text, ' '); i > n/2 {
		text = text[:i]
	}
	return text + "…"
}

// oneLine replaces control characters and runs of space by single spaces.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}
