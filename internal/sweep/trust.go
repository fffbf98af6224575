package sweep

import (
	"fmt"
	"math"

	"realign/internal/decode"
	"realign/internal/gauge"
	"realign/internal/stat"
)

// Trust is how far token-wise decoding is from whole replies at a decoded λ: the total variation distance, which is the share of replies that would
// be others. It is estimated from the variance, within prompts, of the replies' log weights Σ log Z, and, where the replies were decoded
// with particles, from the share of them that changed. Over prompts of different distances it errs to the far side.
type Trust struct {
	Distance  stat.Interval `json:"distance"`            // share of replies, 0 to 1
	Level     gauge.Level   `json:"level"`               // what the distance means, in three levels
	Corrected bool          `json:"corrected,omitempty"` // the replies were decoded with particles: this is what would be off without
}

// trust is what is said of each decoded λ; nil where token-wise decoding is exact, and where there are fewer than two samples of a prompt.
func (t *table) trust() []*Trust {
	list := make([]*Trust, len(t.lambdas))
	c := &t.setup.Config
	exact := c.Sampling.Exact > 0
	if !exact && !c.WholeReplies() {
		return list
	}
	// A row has, for each λ, the prompt's value and whether it has one.
	rows, r := make([][]float64, len(t.cells)), nowhere()
	for p, row := range t.cells {
		rows[p] = make([]float64, 2*len(row))
		for k := range row {
			x := logWeights(row[k])
			if exact {
				if x = changedOf(row[k]); len(x) == 0 {
					continue
				}
				for _, changed := range x {
					rows[p][2*k] += changed / float64(len(x))
				}
			} else if len(x) < 2 {
				continue
			} else {
				rows[p][2*k] = gauge.Variance(x)
			}
			rows[p][2*k+1] = 1
			r.add(rows[p][2*k])
		}
	}
	for k, i := range t.quotients(rows, r, never) {
		if i == nil || t.lambdas[k] == 0 || t.lambdas[k] == 1 {
			continue
		}
		d := *i
		if !exact {
			d = stat.Interval{Estimate: distance(i.Estimate), Low: distance(i.Low), High: distance(i.High)}
		}
		list[k] = &Trust{Distance: d, Level: gauge.LevelOf(d.Estimate), Corrected: exact}
	}
	return list
}

// distance is gauge.Distance of an end of an interval, which may be below 0 or not known.
func distance(variance float64) float64 {
	if math.IsInf(variance, 0) {
		return variance
	}
	return gauge.Distance(max(0, variance))
}

// logWeights are those of the outputs that have them.
func logWeights(outputs []*Output) (x []float64) {
	for _, o := range outputs {
		if !o.Failed() && !o.Untraced && (o.Finish == decode.EndStop || o.Finish == decode.EndLength) {
			x = append(x, o.LogZ)
		}
	}
	return x
}

// changedOf is 1 for each output that particles changed and 0 for the others.
func changedOf(outputs []*Output) (x []float64) {
	for _, o := range outputs {
		switch {
		case o.Failed() || o.Exact == nil:
		case o.Exact.Changed:
			x = append(x, 1)
		default:
			x = append(x, 0)
		}
	}
	return x
}

// Words says it to people.
func (t *Trust) Words() string {
	if t.Corrected {
		return fmt.Sprintf("Exact λ changed %v of replies", t.Distance)
	}
	is := map[gauge.Level]string{gauge.Close: "is close to whole replies", gauge.Off: "is off", gauge.Far: "is far off"}[t.Level]
	return fmt.Sprintf("Token-wise decoding %s: about %v of replies would be others", is, t.Distance)
}

// trustAt is what is said of the decoded λ nearest to one; nil where nothing is.
func (r *Report) trustAt(lambda float64) *Trust {
	var nearest *LambdaStats
	for i := range r.Lambdas {
		if l := &r.Lambdas[i]; nearest == nil || math.Abs(l.Lambda-lambda) < math.Abs(nearest.Lambda-lambda) {
			nearest = l
		}
	}
	if nearest == nil {
		return nil
	}
	return nearest.Trust
}
