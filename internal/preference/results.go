package preference

import (
	"cmp"
	"fmt"
	"slices"

	"realign/internal/fault"
	"realign/internal/stat"
)

// Results are everything that a study's answers say. They can be written as JSON and read back.
// Compute makes them; nothing changes them then.
type Results struct {
	Grid   []float64 `json:"grid"`   // λ that could be rated, ascending
	Beta   float64   `json:"beta"`   // β the aligned model was trained with; 0 when nobody says
	Counts Counts    `json:"counts"` // how much was answered

	Overall    Part   `json:"overall"`    // of all answers
	Categories []Part `json:"categories"` // of prompts, by name; empty unless there are two
	Annotators []Part `json:"annotators"` // by name

	Agreement []Reliability      `json:"agreement"` // by kind of question, and by criterion
	Records   []AnnotatorQuality `json:"records"`   // of the annotators, by name
	Sides     Sides              `json:"sides"`     // what standing first did
	JND       JND                `json:"jnd"`       // of the pairwise answers
}

// Answers are the ratings of a study sorted by kind, in the order in which they were given.
type Answers struct {
	Pairwise []Pairwise
	Scores   []Likert
	Rankings []Ranking
}

// Counts say how much was answered.
type Counts struct {
	Pairwise   int `json:"pairwise"`   // without catch trials
	Likert     int `json:"likert"`     // scores, without catch trials
	Rankings   int `json:"rankings"`   // without catch trials
	Catch      int `json:"catch"`      // answers to catch trials, of any kind
	Annotators int `json:"annotators"` // who answered anything, catch trials included
	Prompts    int `json:"prompts"`    // that anything was answered about; an item without a prompt counts as one
}

// Answers is all of them but catch trials.
func (c Counts) Answers() int { return c.Pairwise + c.Likert + c.Rankings }

// Part is what the answers of a study, or some of them, say about λ. Rankings count as the pairs they
// imply (Ranking.Pairs).
type Part struct {
	Name      string     `json:"name,omitempty"`      // of the category or annotator
	Answers   int        `json:"answers"`             // without catch trials
	Wins      []WinRate  `json:"wins"`                // by pair of λ, ascending
	Strengths *Strengths `json:"strengths,omitempty"` // nil where nothing is compared
	Curve     *Curve     `json:"curve,omitempty"`     // nil where there are not two λ, and in a study that compares nothing
	More      *More      `json:"more,omitempty"`      // of the whole only
	Means     []Mean     `json:"means"`               // by criterion and λ; empty without scores
}

// Reliability is the agreement on one kind of question at one level of measurement.
type Reliability struct {
	Question  string    `json:"question"`            // "pairwise", "ranking", or "likert"
	Criterion string    `json:"criterion,omitempty"` // of scores; "" for other questions
	Level     Level     `json:"level"`               // at which α was computed
	Agreement Agreement `json:"agreement"`
}

// partSamples are the posterior samples of a part's curve: enough for its interval, and a tenth of a second
// for a hundred annotators.
const partSamples = 500

// Compute works out the results. They depend on the order of the answers and on the options, but on no id:
// items, prompts and outputs under other names give the same numbers, so an exported study that is
// imported again has the same results. Options.Samples and Cluster hold for the whole; the defaults serve.
//
// Intervals of mean scores rest on annotators, who use a scale in ways of their own; those of one
// annotator on items. No answers at all are fine, and every part says what is missing. An answer that Check
// refuses is fault.Invalid.
func Compute(a Answers, o Options) (*Results, error) {
	for _, r := range a.Rankings {
		if err := r.Check(); err != nil {
			return nil, err
		}
	}
	a = a.renamed()
	r := &Results{Grid: slices.Clone(o.Grid), Beta: o.Beta, Categories: []Part{}, Annotators: []Part{}, Agreement: []Reliability{}}
	slices.Sort(r.Grid)
	r.Grid = slices.Compact(r.Grid)
	r.Counts = a.counts()
	var err error
	if r.Overall, err = a.part(o, ByAnnotator); err != nil {
		return nil, err
	}
	if c := r.Overall.Curve; c != nil {
		more := c.Halving()
		r.Overall.More = &more
	}
	o.Samples = partSamples
	categories, annotators := a.split(category), a.split(annotator)
	if len(categories) > 1 {
		if r.Categories, err = parts(categories, o, ByAnnotator); err != nil {
			return nil, err
		}
	}
	if r.Annotators, err = parts(annotators, o, ByItem); err != nil {
		return nil, err
	}
	if r.Agreement, err = a.reliability(o.Seed); err != nil {
		return nil, err
	}
	if r.Records, err = Qualities(a); err != nil {
		return nil, err
	}
	if r.Sides, err = SidesOf(a.Pairwise); err != nil {
		return nil, err
	}
	r.JND, err = NoticeableDifference(a.Pairwise)
	return r, err
}

// parts are the results of several sets of answers, under their names.
func parts(named []namedAnswers, o Options, by Cluster) ([]Part, error) {
	list := make([]Part, 0, len(named))
	for _, n := range named {
		p, err := n.answers.part(o, by)
		if err != nil {
			return nil, err
		}
		p.Name = n.name
		list = append(list, p)
	}
	return list, nil
}

// part works out what some answers say. by is what mean scores' intervals rest on.
func (a Answers) part(o Options, by Cluster) (Part, error) {
	p := Part{Answers: a.counts().Answers()}
	compared := slices.Clone(a.Pairwise)
	for _, r := range a.Rankings {
		compared = append(compared, r.Pairs()...)
	}
	var err error
	if p.Wins, err = WinRates(compared); err != nil {
		return p, err
	}
	if p.Means, err = Means(a.Scores, by, o.Seed); err != nil {
		return p, err
	}
	if p.Strengths, err = FitStrengths(compared); err != nil && fault.KindOf(err) != fault.Conflict {
		return p, err
	}
	if len(compared) == 0 && len(a.Scores) > 0 {
		return p, nil // a study of scores alone has no curve
	}
	if p.Curve, err = FitCurve(compared, o); err != nil {
		if fault.KindOf(err) == fault.Conflict {
			return p, nil
		}
		return p, err
	}
	if len(p.Wins) > 0 {
		p.Wins = p.Curve.WinRates()
	}
	return p, nil
}

// reliability is the agreement on each kind of question that there are answers of.
func (a Answers) reliability(seed uint64) ([]Reliability, error) {
	list := []Reliability{}
	add := func(question, criterion string, values []Value, levels ...Level) error {
		for _, level := range levels {
			agreement, err := Agree(values, level, seed)
			if err != nil {
				return err
			}
			list = append(list, Reliability{question, criterion, level, agreement})
		}
		return nil
	}
	if len(a.Pairwise) > 0 {
		if err := add("pairwise", "", ChoiceValues(a.Pairwise), Nominal); err != nil {
			return nil, err
		}
	}
	for _, criterion := range a.criteria() {
		if err := add("likert", criterion, ScoreValues(a.Scores, criterion), Ordinal, Metrical, Nominal); err != nil {
			return nil, err
		}
	}
	if len(a.Rankings) > 0 {
		if err := add("ranking", "", RankValues(a.Rankings), Ordinal, Metrical, Nominal); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// criteria are the names of the criteria that were scored, sorted.
func (a Answers) criteria() []string {
	var names []string
	for _, r := range a.Scores {
		names = append(names, r.Criterion)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// counts says how much was answered.
func (a Answers) counts() Counts {
	var c Counts
	prompts, annotators, trials := map[string]bool{}, map[string]bool{}, map[[2]string]bool{}
	see := func(prompt, item, annotator string) {
		annotators[annotator] = true
		prompts[cmp.Or(prompt, item)] = true
	}
	for _, r := range a.Pairwise {
		see(r.Prompt, r.Item, r.Annotator)
		if r.Catch != NoCatch {
			c.Catch++
		} else {
			c.Pairwise++
		}
	}
	for _, r := range a.Scores {
		see(r.Prompt, r.Item, r.Annotator)
		if r.Catch != NoCatch {
			trials[[2]string{r.Item, r.Annotator}] = true // one, however many criteria it has
		} else {
			c.Likert++
		}
	}
	c.Catch += len(trials)
	for _, r := range a.Rankings {
		see(r.Prompt, r.Item, r.Annotator)
		if r.Catch != NoCatch {
			c.Catch++
		} else {
			c.Rankings++
		}
	}
	c.Annotators, c.Prompts = len(annotators), len(prompts)
	return c
}

// namedAnswers are the answers of a category or an annotator.
type namedAnswers struct {
	name    string
	answers Answers
}

// category and annotator are what answers are split by.
func category(_, category string) string   { return category }
func annotator(annotator, _ string) string { return annotator }

// split parts the answers by what key makes of their annotator and category, in the order of names.
func (a Answers) split(key func(annotator, category string) string) []namedAnswers {
	byName := map[string]*Answers{}
	part := func(annotator, category string) *Answers {
		name := key(annotator, category)
		if byName[name] == nil {
			byName[name] = &Answers{}
		}
		return byName[name]
	}
	for _, r := range a.Pairwise {
		p := part(r.Annotator, r.Category)
		p.Pairwise = append(p.Pairwise, r)
	}
	for _, r := range a.Scores {
		p := part(r.Annotator, r.Category)
		p.Scores = append(p.Scores, r)
	}
	for _, r := range a.Rankings {
		p := part(r.Annotator, r.Category)
		p.Rankings = append(p.Rankings, r)
	}
	list := make([]namedAnswers, 0, len(byName))
	for name, answers := range byName {
		list = append(list, namedAnswers{name, *answers})
	}
	slices.SortFunc(list, func(a, b namedAnswers) int { return cmp.Compare(a.name, b.name) })
	return list
}

// Pseudonyms gives names that say nothing, in the order in which they are asked for.
type Pseudonyms struct {
	Format string            // for fmt, with one integer from 1
	given  map[string]string // nil before the first
}

// Of is the pseudonym of a name, the same each time; "" stays "".
func (n *Pseudonyms) Of(name string) string {
	if name == "" {
		return ""
	}
	if n.given == nil {
		n.given = map[string]string{}
	}
	if _, ok := n.given[name]; !ok {
		n.given[name] = fmt.Sprintf(n.Format, len(n.given)+1)
	}
	return n.given[name]
}

// each is a copy of the answers in which every one was edited: in the order pairwise, scores, rankings.
func (a Answers) each(edit func(item, prompt, annotator *string, sides []Side)) Answers {
	b := Answers{slices.Clone(a.Pairwise), slices.Clone(a.Scores), slices.Clone(a.Rankings)}
	for i := range b.Pairwise {
		r := &b.Pairwise[i]
		sides := []Side{r.A, r.B}
		edit(&r.Item, &r.Prompt, &r.Annotator, sides)
		r.A, r.B = sides[0], sides[1]
	}
	for i := range b.Scores {
		r := &b.Scores[i]
		sides := []Side{r.Side}
		edit(&r.Item, &r.Prompt, &r.Annotator, sides)
		r.Side = sides[0]
	}
	for i := range b.Rankings {
		r := &b.Rankings[i]
		r.Sides = slices.Clone(r.Sides)
		edit(&r.Item, &r.Prompt, &r.Annotator, r.Sides)
	}
	return b
}

// renamed gives items, prompts and outputs names by their first appearance.
func (a Answers) renamed() Answers {
	items, prompts, outputs := Pseudonyms{Format: "i%08d"}, Pseudonyms{Format: "p%08d"}, Pseudonyms{Format: "o%08d"}
	return a.each(func(item, prompt, _ *string, sides []Side) {
		*item, *prompt = items.Of(*item), prompts.Of(*prompt)
		for i := range sides {
			sides[i].Output = outputs.Of(sides[i].Output)
		}
	})
}

// Anonymous gives the annotators numbers in place of their names, by their first answer: for readers who
// are not to know who said what.
func (a Answers) Anonymous() Answers {
	annotators := Pseudonyms{Format: "Annotator %02d"}
	return a.each(func(_, _, annotator *string, _ []Side) { *annotator = annotators.Of(*annotator) })
}

// At is the curve's mean and band at a λ, between its points on a straight line, held at its ends.
func (c *Curve) At(lambda float64) stat.Interval {
	i, exact := slices.BinarySearch(c.Lambda, lambda)
	switch last := len(c.Lambda) - 1; {
	case i > last:
		return stat.Interval{Estimate: c.Mean[last], Low: c.Low[last], High: c.High[last]}
	case exact || i == 0:
		return stat.Interval{Estimate: c.Mean[i], Low: c.Low[i], High: c.High[i]}
	}
	part := (lambda - c.Lambda[i-1]) / (c.Lambda[i] - c.Lambda[i-1])
	between := func(y []float64) float64 { return y[i-1] + part*(y[i]-y[i-1]) }
	return stat.Interval{Estimate: between(c.Mean), Low: between(c.Low), High: between(c.High)}
}
