package study

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"
)

// WriteCSV writes ratings as a table: a row for each output that was shown, so that a pair has two and a ranking
// up to five. Columns: rating (its number), question, item, annotator, at, prompt (place), category, prompt_text,
// catch, position (1 is what stood first), lambda, sample, seed, text; then what was said: choice (of the pair,
// with a as the first), preferred (1 and 0 where the pair has one), rank, a column for each criterion, comment, and
// the reason why it was skipped.
//
// What people or models wrote and a spreadsheet would take for a formula begins with an apostrophe. The JSON lines
// of Export have every text as it is.
func WriteCSV(w io.Writer, s *Setup, ratings []Rating) error {
	c := csv.NewWriter(w)
	head := []string{
		"rating", "question", "item", "annotator", "at", "prompt", "category", "prompt_text", "catch",
		"position", "lambda", "sample", "seed", "text", "choice", "preferred", "rank",
	}
	var criteria []string
	if s.Likert != nil {
		criteria = s.Likert.Criteria
	}
	for _, name := range criteria {
		head = append(head, "score: "+name)
	}
	if err := c.Write(append(head, "comment", "skipped")); err != nil {
		return err
	}
	items := names{format: "%d"}
	for i := range ratings {
		r := &ratings[i]
		item := items.of(r.Item)
		for k := range r.Outputs {
			o := &r.Outputs[k]
			row := []string{
				strconv.Itoa(i + 1), string(r.Kind), item, inert(r.Name), r.At.UTC().Format(time.RFC3339Nano), strconv.Itoa(r.Prompt.Place),
				inert(r.Prompt.Category), inert(r.Prompt.Text), string(r.Catch), strconv.Itoa(k + 1), strconv.FormatFloat(o.Lambda, 'g', -1, 64),
				strconv.Itoa(o.Sample), strconv.FormatUint(o.Seed, 10), inert(o.Text), string(r.Answer.Choice), preferred(r.Answer.Choice, k), "",
			}
			if k < len(r.Answer.Rank) {
				row[len(row)-1] = strconv.Itoa(r.Answer.Rank[k])
			}
			for _, name := range criteria {
				score := ""
				if n, ok := r.Answer.Scores[name]; ok {
					score = strconv.Itoa(n)
				}
				row = append(row, score)
			}
			if err := c.Write(append(row, inert(r.Answer.Comment), inert(r.Answer.Skip))); err != nil {
				return err
			}
		}
	}
	c.Flush()
	return c.Error()
}

// preferred says whether an answer of a pair was preferred to the other.
func preferred(choice Choice, position int) string {
	switch {
	case choice == PreferA && position == 0, choice == PreferB && position == 1:
		return "1"
	case choice == PreferA, choice == PreferB:
		return "0"
	}
	return ""
}

// inert is a text that no spreadsheet computes (OWASP, "CSV injection").
func inert(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}
