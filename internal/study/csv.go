package study

import (
	"io"
	"time"

	"realign/internal/preference"
	"realign/internal/spreadsheet"
)

// WriteCSV writes ratings as a table: a row for each output that was shown, so that a pair has two and a ranking
// up to five. Columns: rating (its number), question, item, annotator, at, prompt (place), category, prompt_text,
// catch, position (1 is what stood first), lambda, sample, seed, text; then what was said: choice (of the pair,
// with a as the first), preferred (1 and 0 where the pair has one), rank, a column for each criterion, comment, and
// the reason why it was skipped.
//
// It is written as package spreadsheet does: what people or models wrote and a spreadsheet would take for a formula begins with an apostrophe. The JSON lines
// of Export have every text as it is.
func WriteCSV(w io.Writer, s *Setup, ratings []Rating) error {
	t := spreadsheet.NewWriter(w)
	head := []any{
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
	if err := t.Write(append(head, "comment", "skipped")...); err != nil {
		return err
	}
	items := preference.Pseudonyms{Format: "%d"}
	for i := range ratings {
		r := &ratings[i]
		item := items.Of(r.Item)
		for k := range r.Outputs {
			o := &r.Outputs[k]
			row := []any{
				i + 1, string(r.Kind), item, r.Name, r.At.UTC().Format(time.RFC3339Nano), r.Prompt.Place,
				r.Prompt.Category, r.Prompt.Text, string(r.Catch), k + 1, o.Lambda, o.Sample, o.Seed, o.Text, string(r.Answer.Choice), preferred(r.Answer.Choice, k), nil,
			}
			if k < len(r.Answer.Rank) {
				row[len(row)-1] = r.Answer.Rank[k]
			}
			for _, name := range criteria {
				if n, ok := r.Answer.Scores[name]; ok {
					row = append(row, n)
				} else {
					row = append(row, nil)
				}
			}
			if err := t.Write(append(row, r.Answer.Comment, r.Answer.Skip)...); err != nil {
				return err
			}
		}
	}
	return t.Close()
}

// preferred says whether an answer of a pair was preferred to the other.
func preferred(choice preference.Choice, position int) string {
	switch {
	case choice == preference.PreferA && position == 0, choice == preference.PreferB && position == 1:
		return "1"
	case choice == preference.PreferA, choice == preference.PreferB:
		return "0"
	}
	return ""
}
