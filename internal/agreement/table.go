package agreement

import (
	"errors"
	"io"

	"realign/internal/spreadsheet"
)

// WriteTable writes the report as CSV: a row for each reward over all prompts, and one for each category. Cells of what is not
// known are empty.
func (r *Report) WriteTable(out io.Writer) error {
	w := spreadsheet.NewWriter(out)
	err := w.Write("sweep", "reward", "category", "pairs", "weight", "reward_ties", "unjudged", "prompts", "annotators", "share", "low", "high", "correlation")
	for i := range r.Rewards {
		reward := &r.Rewards[i]
		for k, p := range append([]Part{reward.Overall}, reward.Parts...) {
			row := []any{reward.Sweep, reward.Name, p.Category, p.Pairs, p.Weight, p.RewardTies, p.Unjudged, p.Prompts, p.Annotators, nil, nil, nil, nil}
			if p.Share != nil {
				row[9], row[10], row[11] = p.Share.Estimate, p.Share.Low, p.Share.High
			}
			if k == 0 && reward.Correlation != nil {
				row[12] = *reward.Correlation
			}
			err = errors.Join(err, w.Write(row...))
		}
	}
	return errors.Join(err, w.Close())
}
