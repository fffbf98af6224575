package preference

import (
	"math/rand/v2"
	"slices"

	"realign/internal/fault"
	"realign/internal/stat"
)

// Level is a level of measurement: what the difference of two values means.
type Level string

// Nominal values are the same or not, ordinal ones have an order, interval ones a distance.
const (
	Nominal  Level = "nominal"
	Ordinal  Level = "ordinal"
	Metrical Level = "interval"
)

// Value is what one annotator said of one unit. Units are what several annotators judge: an item, an
// item on a criterion, one answer of a ranking. Of two values of an annotator for a unit the later counts.
type Value struct {
	Unit      string  // what was judged
	Annotator string  // who judged it
	Value     float64 // what they said: a number also at the nominal level
}

// Agreement is how far annotators say the same of the same units.
type Agreement struct {
	Alpha       stat.Interval `json:"alpha"`            // Krippendorff's α: 1 is perfect, 0 what chance gives; meaningful when Defined
	Percent     stat.Interval `json:"percent"`          // share of agreeing pairs of answers among all pairs about one unit, in [0, 1]
	Defined     bool          `json:"defined"`          // whether α exists
	HasInterval bool          `json:"has_interval"`     // whether Alpha and Percent have intervals; else both ends equal the estimate
	Reason      string        `json:"reason,omitempty"` // why α or the intervals do not exist
	Units       int           `json:"units"`            // units that two annotators or more answered: only these count
	Values      int           `json:"values"`           // answers about them
	Annotators  int           `json:"annotators"`       // who gave those
	Resamples   int           `json:"resamples"`        // bootstrap samples in which α exists, of Bootstraps
}

// Bootstraps is how many samples a bootstrap interval rests on.
const Bootstraps = 2000

// Agree computes Krippendorff's α (Krippendorff 2011, "Computing Krippendorff's alpha-reliability": α =
// 1 − Dₒ/Dₑ from the coincidences of values within units; difference functions of its section D) and the
// percentage agreement. The 95% intervals are percentile bootstraps over units (Zapf et al. 2016), with
// percentiles widened for few units (Hesterberg 2015), and the same for the same seed.
//
// α is undefined, and Reason says so, when no unit has two answers and when all answers are the same
// value: agreement by chance is then certain too. An unknown level is fault.Invalid.
func Agree(values []Value, level Level, seed uint64) (Agreement, error) {
	switch level {
	case Nominal, Ordinal, Metrical:
	default:
		return Agreement{}, fault.Field("level", "%q is none of nominal, ordinal, interval", level)
	}
	units, a := gather(values)
	if a.Units == 0 {
		a.Reason = "α is undefined: no unit was answered by two annotators"
		return a, nil
	}
	distinct := []float64{}
	for _, unit := range units {
		distinct = append(distinct, unit...)
	}
	slices.Sort(distinct)
	distinct = slices.Compact(distinct)
	// Coincidences by unit, so that resampling units adds up what is counted already.
	parts := make([]coincidences, len(units))
	total := newCoincidences(len(distinct))
	for k, unit := range units {
		parts[k] = newCoincidences(len(distinct))
		parts[k].count(unit, distinct)
		total.add(parts[k])
	}
	alpha, ok := total.alpha(distinct, level)
	a.Percent = stat.Interval{Estimate: total.agreed / total.pairs, Low: total.agreed / total.pairs, High: total.agreed / total.pairs}
	a.Alpha, a.Defined = stat.Interval{Estimate: alpha, Low: alpha, High: alpha}, ok
	if !ok {
		a.Reason = "α is undefined: all answers are the same value, so chance agrees as often as the annotators did"
	}
	if a.Units < 2 {
		if ok {
			a.Reason = "no interval: it needs two units or more that two annotators answered"
		}
		return a, nil
	}
	// Units are drawn with replacement, with all of their answers.
	random := rand.New(rand.NewPCG(seed, 1))
	var alphas, percents []float64
	for range Bootstraps {
		sample := newCoincidences(len(distinct))
		for range parts {
			sample.add(parts[random.IntN(len(parts))])
		}
		percents = append(percents, sample.agreed/sample.pairs)
		if x, ok := sample.alpha(distinct, level); ok {
			alphas = append(alphas, x)
		}
	}
	a.Resamples = len(alphas)
	a.Percent = stat.Percentile(a.Percent.Estimate, percents, a.Units)
	if !ok {
		return a, nil
	}
	if len(alphas) < Bootstraps/2 {
		a.Reason = "no interval for α: in most bootstrap samples all answers are the same value"
		return a, nil
	}
	a.Alpha, a.HasInterval = stat.Percentile(alpha, alphas, a.Units), true
	return a, nil
}

// gather puts values by unit, in the order of first appearance, and keeps units with two or more.
func gather(values []Value) ([][]float64, Agreement) {
	type key struct{ unit, annotator string }
	last := map[key]float64{}
	var order []key
	for _, v := range values {
		k := key{v.Unit, v.Annotator}
		if _, ok := last[k]; !ok {
			order = append(order, k)
		}
		// An annotator's later value of a unit replaces an earlier one.
		last[k] = v.Value
	}
	perUnit := map[string]int{}
	for _, k := range order {
		perUnit[k.unit]++
	}
	var (
		a         Agreement
		units     [][]float64
		index     = map[string]int{}
		annotator = map[string]bool{}
	)
	for _, k := range order {
		if perUnit[k.unit] < 2 {
			continue
		}
		if _, ok := index[k.unit]; !ok {
			index[k.unit] = len(units)
			units = append(units, nil)
		}
		units[index[k.unit]] = append(units[index[k.unit]], last[k])
		annotator[k.annotator] = true
		a.Values++
	}
	a.Units, a.Annotators = len(units), len(annotator)
	return units, a
}

// coincidences are the pairs of values within units: o[c·v+k] counts c beside k, each unit of m answers
// weighing m in all (Krippendorff 2011, section C).
type coincidences struct {
	v             int       // distinct values
	o             []float64 // v × v, row by row
	agreed, pairs float64   // unweighted ordered pairs of answers about one unit; agreed ones say the same
}

// newCoincidences counts nothing yet, of v distinct values.
func newCoincidences(v int) coincidences { return coincidences{v: v, o: make([]float64, v*v)} }

// count adds one unit's values, all of which are among the distinct ones.
func (c *coincidences) count(unit, distinct []float64) {
	for i, x := range unit {
		for j, y := range unit {
			if i == j {
				continue
			}
			a, _ := slices.BinarySearch(distinct, x)
			b, _ := slices.BinarySearch(distinct, y)
			c.o[a*c.v+b] += 1 / float64(len(unit)-1)
			c.pairs++
			if a == b {
				c.agreed++
			}
		}
	}
}

// add adds what another has counted, of the same distinct values.
func (c *coincidences) add(d coincidences) {
	for k, x := range d.o {
		c.o[k] += x
	}
	c.agreed += d.agreed
	c.pairs += d.pairs
}

// alpha is α at a level of measurement, by the difference functions of Krippendorff 2011, section D. It is false
// when all values are the same: chance then agrees, too.
func (c *coincidences) alpha(distinct []float64, level Level) (float64, bool) {
	n := make([]float64, c.v)
	total := 0.0
	for i := range n {
		for j := range n {
			n[i] += c.o[i*c.v+j]
		}
		total += n[i]
	}
	observed, expected := 0.0, 0.0
	for i := range n {
		between := n[i] / 2
		for j := i + 1; j < c.v; j++ {
			between += n[j] / 2
			d := 1.0
			switch level {
			case Ordinal:
				d = between
			case Metrical:
				d = distinct[j] - distinct[i]
			}
			between += n[j] / 2
			observed += c.o[i*c.v+j] * d * d
			expected += n[i] * n[j] * d * d
		}
	}
	if !(expected > 0) {
		return 0, false
	}
	return 1 - (total-1)*observed/expected, true
}

// ChoiceValues are pairwise answers as nominal values: which of the two outputs, or neither, whatever
// the order they stood in. "Both bad" is a value of its own. Catch trials are left out; so is an answer
// about two outputs of one λ without names, which cannot be told apart.
func ChoiceValues(answers []Pairwise) []Value {
	var values []Value
	for _, r := range answers {
		if r.Catch != NoCatch || r.A == r.B {
			continue
		}
		swapped := r.A.Lambda > r.B.Lambda || r.A.Lambda == r.B.Lambda && r.A.Output > r.B.Output
		v := Value{Unit: r.Item, Annotator: r.Annotator}
		switch r.Choice {
		case PreferA, PreferB:
			v.Value = 1
			if (r.Choice == PreferA) != swapped {
				v.Value = 0
			}
		case Tie:
			v.Value = 2
		default:
			v.Value = 3
		}
		values = append(values, v)
	}
	return values
}

// ScoreValues are the scores on one criterion; catch trials are left out.
func ScoreValues(scores []Likert, criterion string) []Value {
	var values []Value
	for _, r := range scores {
		if r.Catch == NoCatch && r.Criterion == criterion {
			values = append(values, Value{r.Item, r.Annotator, float64(r.Score)})
		}
	}
	return values
}

// RankValues are the ranks of each answer of each ranking, an ordinal value; catch trials are left out.
func RankValues(rankings []Ranking) []Value {
	var values []Value
	for _, r := range rankings {
		if r.Catch != NoCatch || r.Check() != nil {
			continue
		}
		for i, side := range r.Sides {
			values = append(values, Value{r.Item + "\x00" + side.String(), r.Annotator, float64(r.Rank[i])})
		}
	}
	return values
}
