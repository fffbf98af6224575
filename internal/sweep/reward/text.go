package reward

import (
	"strings"
	"unicode"
)

// words are the words of a text, lower-cased: runs of letters, digits and marks, with apostrophes inside.
func words(text string) []string {
	var list []string
	var b strings.Builder
	flush := func() {
		if w := strings.TrimRight(b.String(), "'"); w != "" {
			list = append(list, w)
		}
		b.Reset()
	}
	for _, r := range strings.ToLower(text) {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r):
			b.WriteRune(r)
		case (r == '\'' || r == '’') && b.Len() > 0:
			b.WriteByte('\'')
		default:
			flush()
		}
	}
	flush()
	return list
}

// grams are the n-grams of a sequence with their counts, joined by blanks.
func grams(words []string, n int) map[string]int {
	counts := map[string]int{}
	for i := 0; i+n <= len(words); i++ {
		counts[strings.Join(words[i:i+n], " ")]++
	}
	return counts
}

// sentences splits a text after ., !, ? and … that a blank or the end follows, and at empty lines.
func sentences(text string) []string {
	var list []string
	var b strings.Builder
	flush := func() {
		if s := strings.TrimSpace(b.String()); len(words(s)) > 0 {
			list = append(list, s)
		}
		b.Reset()
	}
	runes := []rune(text)
	for i, r := range runes {
		b.WriteRune(r)
		end := i+1 == len(runes) || unicode.IsSpace(runes[i+1]) || strings.ContainsRune("\"'”’)", runes[i+1])
		if strings.ContainsRune(".!?…", r) && end || r == '\n' && i > 0 && runes[i-1] == '\n' {
			flush()
		}
	}
	flush()
	return list
}
