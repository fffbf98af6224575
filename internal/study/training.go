package study

import (
	"cmp"
	"encoding/json"
	"io"
	"strconv"
	"strings"

	"realign/internal/decode"
	"realign/internal/preference"
	"realign/internal/run"
)

// Preference is a row of a preference data set as TRL's trainers take it (dataset formats: "preference" with an
// explicit prompt). Prompt, Chosen and Rejected are texts in a study of plain completions and lists of messages
// (TRL's conversational format) in one of chats. The other columns say where the row comes from.
type Preference struct {
	Prompt         any    `json:"prompt"`
	Chosen         any    `json:"chosen"`
	Rejected       any    `json:"rejected"`
	ChosenLambda   float  `json:"chosen_lambda"` // that the output was decoded at
	RejectedLambda float  `json:"rejected_lambda"`
	ChosenSample   int    `json:"chosen_sample"` // its sample: see Output.Sample
	RejectedSample int    `json:"rejected_sample"`
	Seed           string `json:"seed"`     // of the prompt's outputs: 64 bits, decimal
	Rater          string `json:"rater"`    // display name of the annotator
	Order          string `json:"order"`    // what stood first: "chosen_first" or "rejected_first"
	Question       string `json:"question"` // pairwise or ranking
	Item           string `json:"item"`     // the same for all raters of a question
	Category       string `json:"category"` // of the prompt
}

// Label is a row of an unpaired preference data set (TRL: "unpaired preference").
type Label struct {
	Prompt     any    `json:"prompt"`     // as in Preference
	Completion any    `json:"completion"` // one output
	Label      bool   `json:"label"`      // it is a good one
	Lambda     float  `json:"lambda"`     // that the output was decoded at
	Sample     int    `json:"sample"`     // its sample: see Output.Sample
	Seed       string `json:"seed"`       // of the prompt's outputs: 64 bits, decimal
	Rater      string `json:"rater"`      // display name of the annotator
	Question   string `json:"question"`   // pairwise, likert or ranking
	Criterion  string `json:"criterion"`  // of a score, else ""
	Item       string `json:"item"`       // the same for all raters of a question
	Category   string `json:"category"`   // of the prompt
}

// float is a number that is written with a point, so that a reader of the rows takes the column for one of
// floats though some of them are whole.
type float float64

// MarshalJSON writes 1 as 1.0.
func (d float) MarshalJSON() ([]byte, error) {
	s := strconv.FormatFloat(float64(d), 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return []byte(s), nil
}

// Preferences are the rows of a study's ratings: one for each pairwise answer that prefers a side and for each two
// answers of a ranking that were told apart. Catch trials, ties and "both bad" give none, nor do equal texts.
func Preferences(s *Setup, ratings []Rating) []Preference {
	var rows []Preference
	items := preference.Pseudonyms{Format: "%d"}
	for i := range ratings {
		r := &ratings[i]
		item := items.Of(r.Item)
		add := func(chosen, rejected int) {
			a, b := &r.Outputs[chosen], &r.Outputs[rejected]
			if a.Text == b.Text {
				return
			}
			row := Preference{
				Prompt: s.asked(&r.Prompt), Chosen: s.said(a), Rejected: s.said(b), ChosenLambda: float(a.Lambda), RejectedLambda: float(b.Lambda),
				ChosenSample: a.Sample, RejectedSample: b.Sample, Seed: strconv.FormatUint(a.Seed, 10), Rater: r.Name,
				Order: "chosen_first", Question: string(r.Kind), Item: item, Category: r.Prompt.Category,
			}
			if chosen > rejected {
				row.Order = "rejected_first"
			}
			rows = append(rows, row)
		}
		if p, ok := r.Pairwise(); ok && p.Catch == preference.NoCatch {
			switch p.Choice {
			case preference.PreferA:
				add(0, 1)
			case preference.PreferB:
				add(1, 0)
			}
		}
		if ranking, ok := r.Ranking(); ok && ranking.Catch == preference.NoCatch {
			for a := range ranking.Rank {
				for b := range ranking.Rank {
					if ranking.Rank[a] < ranking.Rank[b] {
						add(a, b)
					}
				}
			}
		}
	}
	return rows
}

// Labels are the unpaired rows: the preferred of two is good and the other is not, of "both bad" neither is, the
// best of a ranking is good and its worst is not, and a score is good above the middle of its scale and not below
// it. Ties, scores in the middle and catch trials give none.
func Labels(s *Setup, ratings []Rating) []Label {
	var rows []Label
	items := preference.Pseudonyms{Format: "%d"}
	for i := range ratings {
		r := &ratings[i]
		item := items.Of(r.Item)
		add := func(output int, good bool, criterion string) {
			o := &r.Outputs[output]
			rows = append(rows, Label{
				Prompt: s.asked(&r.Prompt), Completion: s.said(o), Label: good, Lambda: float(o.Lambda), Sample: o.Sample,
				Seed: strconv.FormatUint(o.Seed, 10), Rater: r.Name, Question: string(r.Kind), Criterion: criterion, Item: item, Category: r.Prompt.Category,
			})
		}
		if p, ok := r.Pairwise(); ok && p.Catch == preference.NoCatch && p.Choice != preference.Tie {
			add(0, p.Choice == preference.PreferA, "")
			add(1, p.Choice == preference.PreferB, "")
		}
		for _, score := range r.Scores() {
			if middle := (score.Points + 1) / 2; score.Catch == preference.NoCatch && score.Score != middle {
				add(0, score.Score > middle, score.Criterion)
			}
		}
		if ranking, ok := r.Ranking(); ok && ranking.Catch == preference.NoCatch {
			for k, rank := range ranking.Rank {
				if rank == 1 || rank == len(ranking.Rank) {
					add(k, rank == 1, "")
				}
			}
		}
	}
	return rows
}

// asked is a prompt as TRL takes it.
func (s *Setup) asked(p *Prompt) any {
	if s.Mode == run.Plain {
		return p.Text
	}
	q := p.Given()
	return q.Messages(cmp.Or(p.System, s.System), q.Text)
}

// said is an output as TRL takes it.
func (s *Setup) said(o *Output) any {
	if s.Mode == run.Plain {
		return o.Text
	}
	return []decode.Message{{Role: "assistant", Content: o.Text}}
}

// WriteLines writes rows as JSON lines.
func WriteLines[R any](w io.Writer, rows []R) error {
	j := json.NewEncoder(w)
	j.SetEscapeHTML(false)
	for _, row := range rows {
		if err := j.Encode(row); err != nil {
			return err
		}
	}
	return nil
}
