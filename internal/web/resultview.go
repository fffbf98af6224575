package web

import (
	"math"
	"slices"
	"strconv"

	"realign/internal/preference"
	"realign/internal/stat"
	"realign/web/templates"
)

// resultView is what a study's answers say as its page shows it.
func resultView(r *preference.Results, pair, aligned string) templates.Result {
	v := templates.Result{Answers: r.Counts.Answers(), Facts: countFacts(r.Counts, pair, aligned), Reason: "nothing was compared"}
	o := &r.Overall
	v.Pairs = pairRates(o.Wins)
	v.Scales = scales(o.Means)
	strengths := map[float64]stat.Interval{}
	if s := o.Strengths; s != nil {
		v.Note = s.Note
		for i, lambda := range s.Lambda {
			strengths[lambda] = s.Strength[i]
		}
	}
	if c := o.Curve; c != nil {
		v.Curve = &templates.PreferenceCurve{Lambda: c.Lambda, Mean: c.Mean, Low: c.Low, High: c.High}
		v.Reason, v.AtEdge = c.Reason, c.AtEdge
		v.Best = maybe(c.Best)
		v.Beta = betaWords(c.Beta)
		v.For = scopeView(c.Scope)
		if v.For != nil {
			v.Facts = append(v.Facts, templates.Fact{Name: "Speaks for", Value: v.For.Words})
		}
		for _, lambda := range rated(r.Grid, strengths) {
			row := templates.Strength{Lambda: lambda, Curve: known(c.At(lambda))}
			if s, ok := strengths[lambda]; ok {
				row.Strength = known(s)
			}
			v.Strengths = append(v.Strengths, row)
		}
	}
	if m := o.More; m != nil {
		v.More = moreWords(*m)
		if s := o.Curve.Scope; m.Answers > 0 && !m.AtLeast && (s.People || s.AnyPrompts) {
			v.More += ", and " + alsoMore(s) + " in proportion"
		}
	}
	v.Sides = sidesView(&r.Sides)
	records := map[string]preference.AnnotatorQuality{}
	for _, record := range r.Records {
		records[record.Annotator] = record
	}
	for _, p := range r.Categories {
		v.Categories = append(v.Categories, partView(p))
	}
	for _, p := range r.Annotators {
		part := partView(p)
		if record, ok := records[p.Name]; ok {
			part.Record = &templates.AnnotatorRecord{
				Same: record.Same, SameTies: record.SameTies, Broken: record.Broken, Passed: record.Passed,
				First: shareView(record.First, record.Decisive), Agreed: shareView(record.Agreed, record.Compared), Compared: record.Compared,
			}
		}
		v.Annotators = append(v.Annotators, part)
	}
	for _, row := range r.Agreement {
		v.Agreement = append(v.Agreement, agreementView(row))
	}
	v.Noticeable = templates.Noticeable{Chance: shareView(r.JND.Chance, r.JND.Same), Same: r.JND.Same, Reason: r.JND.Reason}
	if r.JND.Defined {
		v.Noticeable.Difference = known(r.JND.Difference)
	}
	return v
}

// scopeView is whom results speak for; nil where nothing is compared, and in results that were published before it was
// known.
func scopeView(s preference.Scope) *templates.ResultScope {
	if s.Annotators == 0 {
		return nil
	}
	return &templates.ResultScope{Words: s.String(), People: s.People, Annotators: s.Annotators, Least: preference.LeastAnnotators}
}

// sidesView is what standing first did; nil where no answer prefers a side.
func sidesView(s *preference.Sides) *templates.Sides {
	if s.Decisive == 0 {
		return nil
	}
	return &templates.Sides{
		Decisive: s.Decisive, First: *known(s.First), PValue: s.PValue, Compared: s.Compared, LowFirst: *known(s.LowFirst),
		Unbalanced: s.Unbalanced, Note: s.Note,
	}
}

// rated are the λ of the grid and those with a strength, ascending.
func rated(grid []float64, strengths map[float64]stat.Interval) []float64 {
	list := slices.Clone(grid)
	for lambda := range strengths {
		list = append(list, lambda)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// pairRates are win rates of each pair of λ.
func pairRates(wins []preference.WinRate) (list []templates.PairRate) {
	for _, w := range wins {
		list = append(list, templates.PairRate{
			Low: w.Low, High: w.High, LowWins: w.LowWins, HighWins: w.HighWins, Ties: w.Ties,
			Rate: *known(w.Rate), Undecided: w.Undecided,
		})
	}
	return list
}

// scales puts mean scores, which are sorted by criterion, into one list for each.
func scales(means []preference.Mean) (list []templates.Scale) {
	for _, m := range means {
		if len(list) == 0 || list[len(list)-1].Criterion != m.Criterion {
			list = append(list, templates.Scale{Criterion: m.Criterion, Points: m.Points})
		}
		mean := *known(m.Mean)
		mean.Open = !m.HasInterval
		s := &list[len(list)-1]
		s.Means = append(s.Means, templates.ScaleMean{Lambda: m.Lambda, Mean: mean, Scores: m.Scores, Reason: m.Reason})
	}
	return list
}

// partView is what one category, or one annotator, says.
func partView(p preference.Part) templates.PartResult {
	v := templates.PartResult{Name: p.Name, Answers: p.Answers, PValue: math.NaN(), Scales: scales(p.Means)}
	if c := p.Curve; c != nil {
		v.Best, v.PValue = maybe(c.Best), c.PValue
	}
	return v
}

// agreementView is how far annotators agree about one kind of question.
func agreementView(row preference.Reliability) templates.AgreementRow {
	a := &row.Agreement
	v := templates.AgreementRow{
		Question: map[string]string{"pairwise": "Which is better", "ranking": "Ranking", "likert": "Score: " + row.Criterion}[row.Question],
		Level:    string(row.Level), Percent: *known(a.Percent), Units: a.Units, Values: a.Values, Raters: a.Annotators, Reason: a.Reason,
	}
	v.Percent.Open = a.Units < 2
	if a.Defined {
		v.Alpha = known(a.Alpha)
		v.Alpha.Open = !a.HasInterval
	}
	return v
}

// known is an interval as pages have it.
func known(i stat.Interval) *templates.Estimate {
	return &templates.Estimate{Value: i.Estimate, Low: i.Low, High: i.High}
}

// maybe is an interval as pages have it; nil for none.
func maybe(i *stat.Interval) *templates.Estimate {
	if i == nil {
		return nil
	}
	return known(*i)
}

// shareView is a share of n; of nothing it is open.
func shareView(i stat.Interval, n int) templates.Estimate {
	e := *known(i)
	e.Open = n == 0
	return e
}

// betaWords is an effective β with its interval; "" when there is none.
func betaWords(b *preference.BetaRange) string {
	if b == nil {
		return ""
	}
	digits := func(x float64) string { return strconv.FormatFloat(x, 'g', 2, 64) }
	switch {
	case b.NoEstimate:
		return digits(b.Low) + " or more: λ = 0 and below is in the interval, and no β belongs to it"
	case b.NoHigh:
		return digits(b.Estimate) + " (" + digits(b.Low) + " or more)"
	}
	return digits(b.Estimate) + " (" + digits(b.Low) + " to " + digits(b.High) + ")"
}

// moreWords say how many ratings more would tell the best λ, or why that is not known.
func moreWords(m preference.More) string {
	switch {
	case m.Answers == 0:
		return m.Reason
	case m.AtLeast:
		return "more than " + strconv.Itoa(m.Answers) + " further ratings of these λ: ratings of λ in between would tell more"
	}
	return "about " + strconv.Itoa(m.Answers) + " further ratings"
}

// alsoMore is what there has to be more of beside ratings: what annotators or prompts differ by does not shrink with
// ratings by or about the same.
func alsoMore(s preference.Scope) string {
	switch {
	case s.People && s.AnyPrompts:
		return "more annotators and prompts"
	case s.People:
		return "more annotators"
	}
	return "more prompts"
}
