package templates

import (
	"cmp"
	"context"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"realign/web/static"
)

// StudyResults is what a study's answers say: for its owner, and for readers of a link.
type StudyResults struct {
	Layout
	Name   string    // title of the study, or of the link
	Result Result    // what the answers say
	Path   string    // of this page, for its fragment, its JSON and its report
	Study  string    // id, for the owner; "" for readers of a link
	Live   bool      // answers may still come: the page looks for them
	At     time.Time // when it was so
	Frozen bool      // it is what a link keeps
	Links  []Share   // the owner's links to these results
	New    *Share    // just made
}

// Result is the results themselves. Missing numbers come with a reason in words.
type Result struct {
	Version string           // changes with every answer that counts
	Facts   []Fact           // the pair, and how much was answered
	Answers int              // without catch trials
	Curve   *PreferenceCurve // nil where nothing was compared
	Reason  string           // why there is no most preferred λ, or how sure it is that there is one
	Best    *Estimate        // nil: no preference found
	AtEdge  bool             // the best may lie beyond the λ that were rated
	Beta    string           // the effective β of the best, in words; "" when unknown
	For     *ResultScope     // whom the results speak for; nil where that is not known
	Sides   *Sides           // nil where no answer prefers a side
	More    string           // how many more ratings would halve the interval, in words

	Pairs      []PairRate     // of λ that were compared
	Strengths  []Strength     // by λ, ascending
	Note       string         // on the strengths: why they are held by a prior
	Scales     []Scale        // by criterion
	Categories []PartResult   // of prompts
	Annotators []PartResult   // each by itself
	Agreement  []AgreementRow // by question, then by level
	Noticeable Noticeable
}

// ResultScope is whom the results speak for.
type ResultScope struct {
	Words      string // "people like these 12 annotators, prompts like these 40"
	People     bool   // for people like the annotators, not only for them
	Annotators int
	Least      int // annotators from which on results speak for people like them
}

// Sides is what standing first did, over all annotators.
type Sides struct {
	Decisive   int      // answers that prefer a side
	First      Estimate // share of those for what stood first
	PValue     float64  // of the test that annotators favour neither side
	Compared   int      // comparisons of two λ
	LowFirst   Estimate // share of comparisons in which the lower λ stood first
	Unbalanced bool     // which λ stood first was not random
	Note       string   // a warning, or ""
}

// Estimate is a number with the ends of its 95% interval, if it has one.
type Estimate struct {
	Value, Low, High float64
	Open             bool // it has no interval
}

// PreferenceCurve is u(λ), in log-odds against its own mean, on ascending λ.
type PreferenceCurve struct {
	Lambda, Mean, Low, High []float64
}

// Strength is one λ: the curve there and what comparisons of it say by themselves.
type Strength struct {
	Lambda   float64
	Curve    *Estimate // log-odds against the mean of the curve; nil outside of it
	Strength *Estimate // log-odds against the mean of the λ; nil where it was not compared
}

// PairRate is how two λ compared.
type PairRate struct {
	Low, High               float64  // the two λ
	LowWins, HighWins, Ties float64  // answers, by their weight
	Rate                    Estimate // share of the higher among the answers that prefer one
	Undecided               bool     // none does
}

// Scale is the mean scores on one criterion.
type Scale struct {
	Criterion string
	Points    int         // 1 to Points
	Means     []ScaleMean // by λ
}

// ScaleMean is the mean score of a λ.
type ScaleMean struct {
	Lambda float64
	Mean   Estimate
	Scores int    // how many
	Reason string // why it has no interval
}

// PartResult is a category or an annotator.
type PartResult struct {
	Name    string // of the category or the annotator
	Answers int
	Best    *Estimate // nil: no preference found
	PValue  float64   // of the test that no λ is preferred; NaN where nothing is compared
	Scales  []Scale   // mean scores of its answers

	Record *AnnotatorRecord // of annotators
}

// AnnotatorRecord is how an annotator did.
type AnnotatorRecord struct {
	Same, SameTies int      // trials of one λ, and those called alike
	Broken, Passed int      // trials with a spoilt answer, and those seen through
	First          Estimate // share for what stood first; Open without answers
	Agreed         Estimate // with others on the same question; Open without any
	Compared       int      // answers about what others answered too, paired with each of theirs
}

// AgreementRow is agreement on one kind of question at one level of measurement.
type AgreementRow struct {
	Question string    // in words
	Level    string    // nominal, ordinal, interval
	Alpha    *Estimate // Krippendorff's α; nil where it is not defined
	Percent  Estimate  // share of agreeing pairs of answers
	Units    int       // what two annotators or more answered
	Values   int       // answers to them
	Raters   int       // annotators who gave them
	Reason   string    // why α or the interval is missing
}

// Noticeable is the just-noticeable difference in λ.
type Noticeable struct {
	Difference *Estimate // in λ; nil where Reason says why
	Chance     Estimate  // share of same-λ trials in which one side was preferred
	Same       int       // trials with the same λ twice
	Reason     string
}

// fixed2 rounds an estimate: no interval is so narrow that more digits would mean anything.
func fixed2(x float64) string {
	s := strconv.FormatFloat(x, 'f', 2, 64)
	if s == "-0.00" {
		return "0.00"
	}
	return strings.Replace(s, "-", "−", 1)
}

// signed2 is fixed2 with a sign, but for 0.
func signed2(x float64) string {
	s := strconv.FormatFloat(math.Abs(x), 'f', 2, 64)
	switch {
	case s == "0.00":
		return s
	case x < 0:
		return "−" + s
	}
	return "+" + s
}

// number writes a weight: whole where it is whole.
func number(x float64) string { return formatNumber(x, 1) }

// interval writes the ends of an estimate.
func (e Estimate) interval(write func(float64) string) string {
	if e.Open {
		return "–"
	}
	return write(e.Low) + " to " + write(e.High)
}

// headline is the finding in a few words.
func (r Result) headline() string {
	switch {
	case r.Answers == 0:
		return "No answers yet"
	case r.Curve == nil:
		return "No two λ were compared"
	case r.Best == nil:
		return "No preference found"
	}
	text := "λ = " + fixed2(r.Best.Value) + " is preferred most"
	if f := r.For; f != nil && !f.People {
		text += " by " + f.these()
	}
	return text
}

// these are the annotators that results speak for where they speak for nobody else.
func (f *ResultScope) these() string {
	if f.Annotators == 1 {
		return "this one annotator"
	}
	return "these " + strconv.Itoa(f.Annotators) + " annotators"
}

// speaks says whom the finding is for; "" where that is not known.
func (r Result) speaks() string {
	f := r.For
	switch {
	case f == nil || r.Answers == 0:
		return ""
	case f.People:
		return "It speaks for " + f.Words + "."
	}
	return "It speaks for " + f.Words + ", and says nothing about people in general: that takes " + strconv.Itoa(f.Least) + " annotators."
}

// detail is the sentence under it.
func (r Result) detail() string {
	switch {
	case r.Answers == 0:
		return "Results appear here with the first answer."
	case r.Curve == nil:
		return "Mean scores are below; a preference over λ needs comparisons or rankings."
	case r.Best == nil:
		return sentence(strings.TrimPrefix(r.Reason, "no preference found: "))
	}
	text := "95% interval " + r.Best.interval(fixed2) + "."
	if r.AtEdge {
		text += " It reaches the end of the λ that were rated: the best may lie beyond."
	}
	return text
}

// axis maps numbers to percent of a width.
type axis struct{ from, to float64 }

// at is a number in percent of the axis, which does not go beyond its ends.
func (a axis) at(x float64) float64 {
	if !(a.to > a.from) {
		return 50
	}
	return 100 * min(max((x-a.from)/(a.to-a.from), 0), 1)
}

// ticks are round numbers on the axis, about so many.
func (a axis) ticks(about float64) []tick {
	list := []tick{}
	for _, x := range roundNumbers(a.from, a.to, about) {
		list = append(list, tick{At: a.at(x.At), Text: x.Text})
	}
	return list
}

// plotHeight is that of the curve's plot, in pixels.
const plotHeight = 260.0

// curvePlot is the preference curve as it is drawn: x in percent of the width, y in pixels.
type curvePlot struct {
	Band, Line string  // points of a 1000 × plotHeight box that is stretched to the width
	X, Y       []tick  // ticks of λ, in percent; Y: of log-odds, in pixels
	Zero       float64 // where log-odds are 0, in pixels
	Levels     []level
	Best       *bestMark // nil without a most preferred λ
	Width      axis      // the λ of the plot's ends
}

// level is one rated λ: its strength, moved to where the curve's zero is.
type level struct {
	Lambda       float64
	X, Y, Lo, Hi float64 // X in percent; Y and the ends of its interval in pixels
	Clipped      bool    // the interval goes on outside the plot
}

// bestMark is the most preferred λ with its interval, in percent of the width.
type bestMark struct{ X, From, Width float64 }

// plot lays the curve out. Strengths are about the mean of the λ, the curve about its mean over the range: they
// are moved by what the two differ on average, which changes no difference.
func (r Result) plot() curvePlot {
	c := r.Curve
	last := len(c.Lambda) - 1
	x := axis{c.Lambda[0], c.Lambda[last]}
	low, high := slices.Min(c.Low), slices.Max(c.High)
	shift, n := 0.0, 0.0
	for _, s := range r.Strengths {
		if s.Strength != nil && s.Curve != nil {
			shift += s.Curve.Value - s.Strength.Value
			n++
		}
	}
	if n > 0 {
		shift /= n
	}
	for _, s := range r.Strengths {
		if s.Strength != nil {
			low, high = min(low, s.Strength.Value+shift), max(high, s.Strength.Value+shift)
		}
	}
	pad := max(0.06*(high-low), 0.1)
	low, high = low-pad, high+pad
	y := func(v float64) float64 { return plotHeight * (1 - (v-low)/(high-low)) }
	p := curvePlot{X: x.ticks(8), Zero: y(0), Width: x}
	for _, t := range roundNumbers(low, high, 5) {
		p.Y = append(p.Y, tick{At: y(t.At), Text: t.Text})
	}
	point := func(i int, v []float64) string {
		return formatFixed(10*x.at(c.Lambda[i]), 1) + "," + formatFixed(y(v[i]), 1)
	}
	var band, line []string
	for i := range c.Lambda {
		line = append(line, point(i, c.Mean))
		band = append(band, point(i, c.High))
	}
	for i := last; i >= 0; i-- {
		band = append(band, point(i, c.Low))
	}
	p.Band, p.Line = joinSpaces(band), joinSpaces(line)
	for _, s := range r.Strengths {
		if s.Strength == nil {
			continue
		}
		lo, hi := y(s.Strength.Low+shift), y(s.Strength.High+shift)
		p.Levels = append(p.Levels, level{
			Lambda: s.Lambda, X: x.at(s.Lambda), Y: y(s.Strength.Value + shift),
			Lo: min(lo, plotHeight), Hi: max(hi, 0), Clipped: lo > plotHeight || hi < 0,
		})
	}
	if b := r.Best; b != nil {
		from, to := x.at(b.Low), x.at(b.High)
		p.Best = &bestMark{X: x.at(b.Value), From: from, Width: max(to-from, 0.2)}
	}
	return p
}

// clipped reports whether an interval goes on outside of the plot.
func (p curvePlot) clipped() bool {
	return slices.ContainsFunc(p.Levels, func(l level) bool { return l.Clipped })
}

// lambdas are the λ that were compared, ascending.
func (r Result) lambdas() []float64 {
	var list []float64
	for _, p := range r.Pairs {
		list = append(list, p.Low, p.High)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// beats is the share of answers that prefer λ a over λ b among those that prefer one, and how many do.
func (r Result) beats(a, b float64) (share, answers float64) {
	for _, p := range r.Pairs {
		switch {
		case p.Undecided:
		case p.Low == a && p.High == b:
			return 1 - p.Rate.Value, p.LowWins + p.HighWins
		case p.Low == b && p.High == a:
			return p.Rate.Value, p.LowWins + p.HighWins
		}
	}
	return 0, 0
}

// shade is the step of the colour scale for a share: "0" for never to "8" for always.
func shade(share float64) string { return strconv.Itoa(int(math.Round(8 * share))) }

// reach is the λ on which most preferred ones can lie.
func (r Result) reach() axis {
	if r.Curve != nil {
		return axis{r.Curve.Lambda[0], r.Curve.Lambda[len(r.Curve.Lambda)-1]}
	}
	if l := r.lambdas(); len(l) > 1 {
		return axis{l[0], l[len(l)-1]}
	}
	return axis{0, 1}
}

// alphaAxis is where α is drawn: from 0, or from below where any interval goes there.
func (r Result) alphaAxis() axis {
	a := axis{0, 1}
	for _, row := range r.Agreement {
		if row.Alpha != nil {
			a.from = min(a.from, math.Floor(4*row.Alpha.Low)/4)
		}
	}
	a.from = max(a.from, -1)
	return a
}

// probability writes a p-value.
func probability(p float64) string {
	if p < 0.001 {
		return "< 0.001"
	}
	return formatNumber(p, 3)
}

// none says that a part has no most preferred λ.
func (p PartResult) none() string {
	if math.IsNaN(p.PValue) {
		return "nothing compared"
	}
	return "no preference found (p = " + probability(p.PValue) + ")"
}

// customary is the agreement at the level that suits each question best, which is its first.
func (r Result) customary() Result {
	r.Agreement = slices.CompactFunc(slices.Clone(r.Agreement), func(a, b AgreementRow) bool { return a.Question == b.Question })
	return r
}

// recorded reports whether there is anything to say of how annotators did.
func (r Result) recorded() bool {
	return slices.ContainsFunc(r.Annotators, func(p PartResult) bool {
		a := p.Record
		return a != nil && (a.Same+a.Broken > 0 || !a.First.Open || !a.Agreed.Open)
	})
}

// bestScored is the λ with the highest mean score on a criterion, with the mean.
func (p PartResult) bestScored(criterion string) string {
	for _, s := range p.Scales {
		if s.Criterion != criterion {
			continue
		}
		best := slices.MaxFunc(s.Means, func(a, b ScaleMean) int { return cmp.Compare(a.Mean.Value, b.Mean.Value) })
		return "λ " + lambda(best.Lambda) + ": " + fixed2(best.Mean.Value)
	}
	return "–"
}

// exported is a file in the menu of exports: its address is Value.
type exported struct{ Name, Value, Help string }

// files are the menu of exports.
func (v StudyResults) files() []exported {
	at := "/studies/" + v.Study + "/export/"
	return []exported{
		{"Ratings, JSON lines", at + "ratings.jsonl", "Everything that was answered, with prompts and outputs. Can be imported again."},
		{"Ratings, CSV", at + "ratings.csv", "The same as a table, a row for each output that was shown."},
		{"Preferences for TRL", at + "preferences.jsonl", "prompt, chosen, rejected, with λ, seed, rater and order."},
		{"Labels for TRL", at + "labels.jsonl", "prompt, completion, label: for training on unpaired feedback."},
		{"Results, JSON", v.Path + ".json", "Every number of this page."},
	}
}

// StudyReport is the results on one page for paper: "/studies/{id}/results/report", and the same of a link.
type StudyReport struct {
	StudyResults
	Alone bool // a file that needs no other: its styles are in it
}

// inlineStyle is the page's style sheets in the page. They are our own files, so they hold no end of a style element.
func inlineStyle() templ.Component {
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		for _, name := range []string{"app.css", "pages.css"} {
			text, err := static.Text(name)
			if err != nil {
				return err
			}
			if _, err := io.WriteString(w, "<style>"+text+"</style>"); err != nil {
				return err
			}
		}
		return nil
	})
}
