// Package agreement says whether rewards and people agree: it compares what annotators of a study preferred with what
// rewards of sweeps said of the same outputs. It decodes nothing, stores nothing and asks nobody.
package agreement

import (
	"maps"
	"math"
	"slices"
	"strings"

	"realign/internal/preference"
	"realign/internal/stat"
	"realign/internal/sweep"
)

// Input is what is compared.
type Input struct {
	Answers preference.Answers  // of the study; catch trials do not count
	Results *preference.Results // of the same answers
	Rewards []Reward
}

// Reward is one reward and what it said.
type Reward struct {
	Sweep  string              // id of the sweep that has it
	Report *sweep.RewardReport // its part of the sweep's report
	Values map[string]float64  // by the ids of the study's outputs; one that is missing is not there
}

// Report is what the comparison says. Shares are from 0 to 1.
type Report struct {
	People  People            `json:"people"`
	Rewards []RewardAgreement `json:"rewards"` // those first whose share has the highest lower limit
}

// People is what annotators said, as far as it is compared.
type People struct {
	Pairs      int     `json:"pairs"`   // answers about two outputs of which one was preferred; a ranking's pairs are among them
	Ties       int     `json:"ties"`    // answers that preferred neither: they are left out
	Prompts    int     `json:"prompts"` // that those answers are about
	Annotators int     `json:"annotators"`
	Curve      []Point `json:"curve,omitempty"` // u(λ), in log-odds; none where nothing is known of it

	// Peers is how often two annotators who both told two answers apart preferred the same one, of PeerPairs such pairs of
	// answers: what a reward can be measured by. Nil without any.
	Peers     *float64 `json:"peers,omitempty"`
	PeerPairs int      `json:"peer_pairs"`
}

// RewardAgreement is how one reward agrees with people.
type RewardAgreement struct {
	Sweep     string          `json:"sweep"`
	Name      string          `json:"name"`
	Title     string          `json:"title"`
	Unit      string          `json:"unit,omitempty"`
	Direction sweep.Direction `json:"direction"`
	Overall   Part            `json:"overall"`
	Parts     []Part          `json:"categories,omitempty"` // by name; none unless there are two
	Curve     []Point         `json:"curve"`                // the reward by λ, where it is known

	// Correlation is Pearson's, of u(λ) and the reward's curve over the λ that both have, with the sign of the reward's
	// direction: 1 where they rise and fall together. Nil where one of them has no curve, or is flat.
	Correlation *float64 `json:"correlation,omitempty"`
}

// Part is the agreement over all prompts, or over those of a category.
type Part struct {
	Category   string  `json:"category,omitempty"`
	Pairs      int     `json:"pairs"`       // answers that count: one output was preferred, and both are judged
	Weight     float64 `json:"weight"`      // what they weigh together: the pairs of a ranking weigh less than 1
	RewardTies int     `json:"reward_ties"` // of them, those whose outputs have equal rewards: each counts half
	Unjudged   int     `json:"unjudged"`    // answers that are left out because an output is not judged
	Prompts    int     `json:"prompts"`
	Annotators int     `json:"annotators"`

	// Share is of the pairs in which the output with the better reward was preferred, with its interval over prompts like
	// these and annotators like these. Nil without pairs.
	Share *stat.Interval `json:"share,omitempty"`
}

// Point is a curve at one λ, in the unit of the curve.
type Point struct {
	Lambda float64       `json:"lambda"`
	Value  stat.Interval `json:"value"` // an end that nothing is known of is infinite
}

// compared is one answer that counts: the annotator preferred one output, and both have a reward.
type compared struct {
	prompt, annotator string  // ids; the clusters of the interval
	score             float64 // 1 where the better reward was preferred, ½ where the rewards are equal, 0 else
	weight            float64 // of the answer; 1 where it states none
}

// Compare works the agreement out. It depends on no order and on no id, and is the same each time: nothing in it is
// random.
func Compare(in Input) *Report {
	pairs, ties := told(&in.Answers)
	r := &Report{People: people(pairs, ties, in.Results)}
	for i := range in.Rewards {
		r.Rewards = append(r.Rewards, versus(&in.Rewards[i], pairs, r.People.Curve))
	}
	slices.SortStableFunc(r.Rewards, func(a, b RewardAgreement) int {
		switch x, y := a.Overall.low(), b.Overall.low(); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return strings.Compare(a.Title, b.Title)
	})
	return r
}

// low is the lower end of the share; below all where there is none.
func (p *Part) low() float64 {
	if p.Share == nil {
		return -1
	}
	return p.Share.Low
}

// told are the answers that tell two outputs apart, in an order of their own, and how many tell none.
func told(a *preference.Answers) (pairs []preference.Pairwise, ties int) {
	for _, p := range a.Pairwise {
		switch {
		case p.Catch != preference.NoCatch:
		case p.Choice == preference.PreferA || p.Choice == preference.PreferB:
			pairs = append(pairs, p)
		default:
			ties++
		}
	}
	for _, ranking := range a.Rankings {
		pairs = append(pairs, ranking.Pairs()...)
	}
	slices.SortStableFunc(pairs, func(a, b preference.Pairwise) int {
		return slices.Compare([]string{a.Prompt, a.Annotator, a.A.Output, a.B.Output}, []string{b.Prompt, b.Annotator, b.A.Output, b.B.Output})
	})
	return pairs, ties
}

// people is what the answers say by themselves; results may be nil.
func people(pairs []preference.Pairwise, ties int, results *preference.Results) People {
	p := People{Pairs: len(pairs), Ties: ties}
	prompts, annotators := map[string]bool{}, map[string]bool{}
	for _, one := range pairs {
		prompts[one.Prompt], annotators[one.Annotator] = true, true
	}
	p.Prompts, p.Annotators = len(prompts), len(annotators)
	same := 0
	for _, choices := range choices(pairs) {
		for i := range choices {
			for k := range i {
				p.PeerPairs++
				if choices[i] == choices[k] {
					same++
				}
			}
		}
	}
	if p.PeerPairs > 0 {
		share := float64(same) / float64(p.PeerPairs)
		p.Peers = &share
	}
	if results != nil && results.Overall.Curve != nil {
		c := results.Overall.Curve
		for i, l := range c.Lambda {
			p.Curve = append(p.Curve, Point{l, stat.Interval{Estimate: c.Mean[i], Low: c.Low[i], High: c.High[i]}})
		}
	}
	return p
}

// choices are which of two outputs each annotator preferred, by the two.
func choices(pairs []preference.Pairwise) map[[2]string][]string {
	by := map[[2]string][]string{}
	for i := range pairs {
		p := &pairs[i]
		key := [2]string{p.A.Output, p.B.Output}
		slices.Sort(key[:])
		preferred := p.A.Output
		if p.Choice == preference.PreferB {
			preferred = p.B.Output
		}
		by[key] = append(by[key], preferred)
	}
	return by
}

// versus is how a reward agrees with answers.
func versus(w *Reward, pairs []preference.Pairwise, people []Point) RewardAgreement {
	v := RewardAgreement{
		Sweep: w.Sweep, Name: w.Report.Name, Title: w.Report.Title, Unit: w.Report.Unit, Direction: w.Report.Direction,
		Overall: w.part("", pairs), Curve: curve(w.Report),
	}
	if v.Title == "" {
		v.Title = v.Name
	}
	byCategory := map[string][]preference.Pairwise{}
	for _, p := range pairs {
		if p.Category != "" {
			byCategory[p.Category] = append(byCategory[p.Category], p)
		}
	}
	if len(byCategory) > 1 {
		for _, name := range slices.Sorted(maps.Keys(byCategory)) {
			v.Parts = append(v.Parts, w.part(name, byCategory[name]))
		}
	}
	v.Correlation = correlation(people, v.Curve, w.sign())
	return v
}

// sign is 1 where more of the reward is better and −1 where less is.
func (w *Reward) sign() float64 {
	if w.Report.Direction == sweep.Lower {
		return -1
	}
	return 1
}

// part is the agreement over answers, which are those of the category, "" being all.
func (w *Reward) part(category string, pairs []preference.Pairwise) Part {
	part := Part{Category: category}
	var count []compared
	prompts, annotators := map[string]bool{}, map[string]bool{}
	for i := range pairs {
		p := &pairs[i]
		a, okA := w.Values[p.A.Output]
		b, okB := w.Values[p.B.Output]
		if !okA || !okB {
			part.Unjudged++
			continue
		}
		better := w.sign() * (a - b) // above 0 where A has the better reward
		if p.Choice == preference.PreferB {
			better = -better
		}
		one := compared{prompt: p.Prompt, annotator: p.Annotator, weight: p.Weight}
		if one.weight == 0 {
			one.weight = 1
		}
		switch {
		case better > 0:
			one.score = 1
		case better == 0:
			one.score = 0.5
			part.RewardTies++
		}
		prompts[p.Prompt], annotators[p.Annotator] = true, true
		part.Weight += one.weight
		count = append(count, one)
	}
	part.Pairs, part.Prompts, part.Annotators = len(count), len(prompts), len(annotators)
	part.Share = shareInterval(count)
	return part
}

// curve is a reward by λ where it is known.
func curve(w *sweep.RewardReport) (points []Point) {
	for _, p := range w.Curve {
		if p.Value != nil {
			points = append(points, Point{p.Lambda, *p.Value})
		}
	}
	if len(points) > 0 {
		return points
	}
	for _, p := range w.Points { // nothing is known between the λ
		if p.Mean != nil {
			points = append(points, Point{p.Lambda, *p.Mean})
		}
	}
	return points
}

// correlation is Pearson's of two curves at the λ of the first that the second reaches over; nil with fewer than three such
// λ, and where one of them is flat.
func correlation(people, reward []Point, sign float64) *float64 {
	var x, y []float64
	for _, p := range people {
		if value, ok := at(reward, p.Lambda); ok {
			x, y = append(x, p.Value.Estimate), append(y, sign*value)
		}
	}
	if len(x) < 3 {
		return nil
	}
	meanX, meanY := mean(x), mean(y)
	var xx, yy, xy float64
	for i := range x {
		dx, dy := x[i]-meanX, y[i]-meanY
		xx, yy, xy = xx+dx*dx, yy+dy*dy, xy+dx*dy
	}
	const flat = 1e-18 // of squares: differences that are only rounding
	if xx <= flat || yy <= flat {
		return nil
	}
	r := xy / math.Sqrt(xx*yy)
	return &r
}

// mean is the arithmetic mean; NaN of none.
func mean(x []float64) (sum float64) {
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// at is a curve at a λ, by linear interpolation; false outside of it.
func at(points []Point, lambda float64) (float64, bool) {
	i := slices.IndexFunc(points, func(p Point) bool { return p.Lambda >= lambda })
	switch {
	case i < 0:
		return 0, false
	case points[i].Lambda == lambda:
		return points[i].Value.Estimate, true
	case i == 0:
		return 0, false
	}
	a, b := points[i-1], points[i]
	t := (lambda - a.Lambda) / (b.Lambda - a.Lambda)
	return a.Value.Estimate*(1-t) + b.Value.Estimate*t, true
}
