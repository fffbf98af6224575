package reward

import (
	"strings"
	"unicode"

	"realign/internal/fault"
	"realign/internal/sweep"
)

// readabilityParameters are those of readability, as its Schema describes them.
type readabilityParameters struct {
	Formula string `json:"formula"` // ease or grade
}

// readability is for English. "ease" is Flesch's reading ease (1948), "grade" Flesch and Kincaid's grade level
// (Kincaid et al. 1975): both of words per sentence and syllables per word, as textstat computes them, but for words that are
// not in the CMU dictionary, of which textstat takes the hyphens.
func readability() maker {
	return simple(Info{
		Name: "readability", Title: "Readability", Unit: "points", Direction: sweep.Higher,
		About:  "Flesch reading ease of English text, or the Flesch–Kincaid school grade (lower is easier). Syllables are those of a dictionary, and of the spelling where it lacks a word.",
		Schema: []Parameter{{"formula", "ease (higher is easier) or grade (lower is easier)", "ease"}},
	}, readabilityParameters{"ease"}, func(p *readabilityParameters, _ Environment, info *Info) (func(*sweep.Row, *sweep.Output) sweep.Value, error) {
		if err := oneOf("formula", p.Formula, "ease", "grade"); err != nil {
			return nil, err
		}
		if p.Formula == "grade" {
			info.Unit, info.Direction = "grade", sweep.Lower
		}
		known, err := pronounced()
		if err != nil {
			return nil, err
		}
		return func(_ *sweep.Row, o *sweep.Output) sweep.Value {
			said, sentences := readable(o.Text)
			count := 0
			for _, w := range said {
				if n, ok := known[w]; ok {
					count += int(n)
				} else {
					count += spelled(w)
				}
			}
			if count == 0 {
				return sweep.Missing("the answer has no words")
			}
			n := float64(len(said))
			perSentence, perWord := n/float64(sentences), float64(count)/n
			if p.Formula == "grade" {
				return sweep.Of(0.39*perSentence + 11.8*perWord - 15.59)
			}
			return sweep.Of(206.835 - 1.015*perSentence - 84.6*perWord)
		}, nil
	})
}

// distinctParameters are those of distinct: the length of its n-grams in words.
type distinctParameters struct {
	N int `json:"n"`
}

// distinct is the share of distinct n-grams (Li et al. 2016, §5): 1 says nothing twice.
func distinct() maker {
	return simple(Info{
		Name: "distinct", Title: "Distinct n-grams", Direction: sweep.Higher,
		About:  "Distinct n-grams of words over all of them, within one answer: little where it repeats itself.",
		Schema: []Parameter{{"n", "words in an n-gram", "2"}},
	}, distinctParameters{2}, func(p *distinctParameters, _ Environment, _ *Info) (func(*sweep.Row, *sweep.Output) sweep.Value, error) {
		if p.N < 1 || p.N > 8 {
			return nil, fault.Field("n", "%d is not from 1 to 8", p.N)
		}
		return func(_ *sweep.Row, o *sweep.Output) sweep.Value {
			said := words(o.Text)
			if len(said) < p.N {
				return sweep.Missing("the answer has fewer than %d words", p.N)
			}
			return sweep.Of(float64(len(grams(said, p.N))) / float64(len(said)-p.N+1))
		}, nil
	})
}

// groundingParameters are those of grounding, as its Schema describes them.
type groundingParameters struct {
	Unit string `json:"unit"` // ngrams or entities
	N    int    `json:"n"`    // words in an n-gram
}

// grounding is how much of the answer the context supports, by the letter: n-grams, or entities, which are numbers and
// words with a capital that do not begin a sentence, neighbours taken together.
func grounding() maker {
	return simple(Info{
		Name: "grounding", Title: "Grounding in the context", Direction: sweep.Higher, Needs: []string{sweep.ColumnContext},
		About: "Share of the answer's n-grams of words, or of its names and numbers, that occur in the context.",
		Schema: []Parameter{
			{"unit", "ngrams or entities", "ngrams"},
			{"n", "words in an n-gram", "2"},
		},
	}, groundingParameters{"ngrams", 2}, func(p *groundingParameters, _ Environment, _ *Info) (func(*sweep.Row, *sweep.Output) sweep.Value, error) {
		if err := oneOf("unit", p.Unit, "ngrams", "entities"); err != nil {
			return nil, err
		}
		if p.N < 1 || p.N > 8 {
			return nil, fault.Field("n", "%d is not from 1 to 8", p.N)
		}
		return func(row *sweep.Row, o *sweep.Output) sweep.Value {
			context := words(row.Context)
			if p.Unit == "entities" {
				return supported(entities(o.Text), " "+strings.Join(context, " ")+" ")
			}
			said, n := words(o.Text), p.N
			if len(said) < n {
				return sweep.Missing("the answer has fewer than %d words", n)
			}
			there, hits, all := grams(context, n), 0, 0
			for gram, times := range grams(said, n) {
				all += times
				if there[gram] > 0 {
					hits += times
				}
			}
			return sweep.Of(float64(hits) / float64(all))
		}, nil
	})
}

// supported is the share of entities that a context has. Both are of lower-case words; the context begins and ends
// with a blank.
func supported(entities []string, context string) sweep.Value {
	if len(entities) == 0 {
		return sweep.Missing("the answer names nothing: it has no names and no numbers")
	}
	hits := 0
	for _, e := range entities {
		if strings.Contains(context, " "+e+" ") {
			hits++
		}
	}
	return sweep.Of(float64(hits) / float64(len(entities)))
}

// entities are the names and numbers of a text, lower-cased, as words joined by blanks.
func entities(text string) []string {
	var list, run []string
	flush := func() {
		if len(run) > 0 {
			list = append(list, strings.Join(run, " "))
		}
		run = nil
	}
	for _, sentence := range sentences(text) {
		for i, field := range strings.Fields(sentence) {
			bare := strings.TrimFunc(field, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
			parts := words(bare)
			first := []rune(bare + " ")[0]
			number := unicode.IsDigit(first)
			name := unicode.IsUpper(first) && i > 0 && bare != "I" && !strings.HasPrefix(bare, "I'") && !strings.HasPrefix(bare, "I’")
			if len(parts) > 0 && (number || name) {
				run = append(run, parts...)
			} else {
				flush()
			}
			if strings.HasSuffix(field, ",") || strings.HasSuffix(field, ";") || strings.HasSuffix(field, ":") {
				flush()
			}
		}
		flush()
	}
	return list
}
