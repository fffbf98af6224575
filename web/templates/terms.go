package templates

import (
	"context"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/a-h/templ"
)

// wordForms are how headings, labels and helps write the words that are explained, in lower case; where one begins with another,
// the longer is first.
var wordForms = []struct{ form, word string }{
	{"effective sample size", "effective sample size"}, {"effective β", "effective β"},
	{"β ticket", "recommendation"}, {"β", "β"},
	{"λ-maps", "λ-map"}, {"λ-map", "λ-map"}, {"λ", "λ"},
	{"kl", "KL"}, {"nats", "nat"}, {"nat", "nat"}, {"log-ratio", "log-ratio"}, {"log z", "log Z"},
	{"catch trials", "catch trial"}, {"catch trial", "catch trial"},
	{"ties", "tie"}, {"tie", "tie"}, {"davidson", "Davidson's model"}, {"strengths", "strength"}, {"strength", "strength"},
	{"just-noticeable difference", "just-noticeable difference"},
	{"krippendorff’s α", "agreement"}, {"agreement", "agreement"}, {"annotators", "annotator"}, {"annotator", "annotator"},
	{"rewards", "reward"}, {"reward", "reward"}, {"objective", "objective"}, {"evaluation", "hold-out"}, {"refinement", "refinement"},
	{"lanes", "lane"}, {"lane", "lane"}, {"samples", "sample"}, {"sample", "sample"},
	{"tokens", "token"}, {"token", "token"}, {"seed", "seed"}, {"temperature", "temperature"},
	{"top-k", "top-k"}, {"top-p", "top-p"}, {"min-p", "min-p"}, {"penalties", "penalty"}, {"penalty", "penalty"},
	{"particles", "particle"}, {"exact λ", "exact"}, {"aligned models", "aligned model"}, {"aligned model", "aligned model"}, {"reference model", "reference model"},
	{"logits", "logits row"}, {"sweeps", "sweep"}, {"sweep", "sweep"}, {"fork", "fork"},
}

// wordsAlone are labels that are words as a whole: within a sentence they say something else.
var wordsAlone = map[string]string{"Exact": "exact", "Pair": "pair", "Pairs": "pair", "Items": "item"}

// textRun is a run of text in which a word may be.
type textRun struct {
	text string
	word string // that it stands for; "" is none
}

// wordRuns cuts a text where it has words that are explained.
func wordRuns(text string) (runs []textRun) {
	if word := wordsAlone[text]; word != "" {
		return []textRun{{text, word}}
	}
	low := strings.ToLower(text)
	if len(low) != len(text) {
		return []textRun{{text: text}}
	}
	begin := 0
	for i := 0; i < len(low); {
		form, word := formAt(low, i)
		if form == "" {
			_, n := utf8.DecodeRuneInString(low[i:])
			i += n
			continue
		}
		if i > begin {
			runs = append(runs, textRun{text: text[begin:i]})
		}
		i += len(form)
		runs = append(runs, textRun{text[i-len(form) : i], word})
		begin = i
	}
	if begin < len(text) {
		runs = append(runs, textRun{text: text[begin:]})
	}
	return runs
}

// formAt is the form of a word that begins at a place of a text and ends there as a word does.
func formAt(low string, i int) (form, word string) {
	if before, _ := utf8.DecodeLastRuneInString(low[:i]); i > 0 && unicode.IsLetter(before) {
		return "", ""
	}
	for _, f := range wordForms {
		rest, ok := strings.CutPrefix(low[i:], f.form)
		if after, _ := utf8.DecodeRuneInString(rest); ok && (rest == "" || !unicode.IsLetter(after)) {
			return f.form, f.word
		}
	}
	return "", ""
}

// explainedKey is where a page's context has the words that were explained: map[string]bool.
type explainedKey struct{}

// WithWords lets a page lead to what a word means where the word stands on it first. Without it no word leads anywhere.
func WithWords(ctx context.Context) context.Context {
	return context.WithValue(ctx, explainedKey{}, map[string]bool{})
}

// leads reports whether a word is to lead to its meaning here, and that it has done so from now on.
func leads(ctx context.Context, word string) bool {
	explained, _ := ctx.Value(explainedKey{}).(map[string]bool)
	if explained == nil || word == "" || explained[word] {
		return false
	}
	explained[word] = true
	return true
}

// unexplained is a part of a page that stands alone: nothing in it leads to words.
func unexplained(part templ.Component) templ.Component {
	return templ.ComponentFunc(func(ctx context.Context, w io.Writer) error {
		return part.Render(context.WithValue(ctx, explainedKey{}, nil), w)
	})
}
