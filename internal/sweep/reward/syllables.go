package reward

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// lexicon has the words of the CMU Pronouncing Dictionary by their number of syllables, a line each, written by
// testdata/readability.py. The dictionary's terms are in syllables.LICENSE.
//
//go:embed syllables.txt.gz
var lexicon []byte

// pronounced are the syllables of words as they are pronounced first.
var pronounced = sync.OnceValues(func() (map[string]int8, error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(lexicon))
	if err != nil {
		return nil, err
	}
	known := make(map[string]int8, 125_000)
	lines := bufio.NewScanner(unpacked)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		number, words, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseInt(number, 10, 8)
		if err != nil {
			return nil, err
		}
		for word := range strings.SplitSeq(words, " ") {
			known[word] = int8(n)
		}
	}
	return known, lines.Err()
})

// spelled counts groups of vowels, without a silent e, at least one: for words that are in no dictionary.
func spelled(word string) int {
	vowel := func(r rune) bool { return strings.ContainsRune("aeiouyàáâäèéêëìíîïòóôöùúûü", r) }
	n, before := 0, false
	for _, r := range word {
		is := vowel(r)
		if is && !before {
			n++
		}
		before = is
	}
	if n > 1 {
		runes := []rune(word)
		last := len(runes) - 1
		silent := runes[last] == 'e' && !(runes[last-1] == 'l' && last > 1 && !vowel(runes[last-2])) && !vowel(runes[last-1])
		plural := strings.HasSuffix(word, "ed") && !strings.ContainsRune("td", runes[max(0, last-2)]) ||
			strings.HasSuffix(word, "es") && !strings.ContainsRune("sxzcg", runes[max(0, last-2)]) && !strings.HasSuffix(word, "shes") && !strings.HasSuffix(word, "ches") && !(runes[max(0, last-2)] == 'l' && last > 2 && !vowel(runes[last-3]))
		if silent || plural && !vowel(runes[max(0, last-2)]) {
			n--
		}
	}
	return max(1, n)
}

// readable are the words and the number of sentences of a text as textstat counts them: punctuation is taken away, so
// that hyphens join words, but for apostrophes before endings such as ’s and n’t; a sentence reaches to the next
// ., ! or ?, and counts if it has more than two words.
func readable(text string) (said []string, sentences int) {
	runes := []rune(text)
	for i := 0; i < len(runes); {
		if !inWord(runes[i]) {
			i++
			continue
		}
		end := i
		for end < len(runes) && !closes(runes[end]) {
			end++
		}
		if len(bare(runes[i:end])) > 2 {
			sentences++
		}
		i = end
	}
	return bare(runes), max(1, sentences)
}

// inWord reports whether a character is part of a word, and closes whether it ends a sentence.
func inWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }
func closes(r rune) bool { return r == '.' || r == '!' || r == '?' }

// bare are the words of a text in lower case without punctuation.
func bare(runes []rune) []string {
	var b strings.Builder
	for i, r := range runes {
		if inWord(r) || unicode.IsSpace(r) || r == '\'' && contracts(runes[i+1:]) {
			b.WriteRune(r)
		}
	}
	return strings.Fields(strings.ToLower(b.String()))
}

// contracts reports whether what follows an apostrophe begins like the ending of a contraction.
func contracts(after []rune) bool {
	next := string(after[:min(2, len(after))])
	return next != "" && strings.ContainsRune("tsd", rune(next[0])) || next == "ve" || next == "ll" || next == "re"
}
