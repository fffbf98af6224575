package preference

import (
	"math"
	"slices"
	"strings"

	"realign/internal/stat"
)

// AnnotatorQuality is how one annotator did, for the owner to judge. It excludes nobody by itself.
type AnnotatorQuality struct {
	Annotator string `json:"annotator"`
	Answers   int    `json:"answers"` // questions answered, catch trials among them

	Same     int `json:"same"`      // trials of one λ with different noise
	SameTies int `json:"same_ties"` // of those in which the two were called alike (see Qualities)

	Broken int           `json:"broken"` // trials with a spoilt answer
	Passed int           `json:"passed"` // of those in which it was caught (see Qualities)
	Pass   stat.Interval `json:"pass"`   // Passed/Broken with Wilson's 95% interval; (½, 0, 1) without trials

	Decisive int           `json:"decisive"` // pairwise answers that prefer a side, without trials with a spoilt one
	First    stat.Interval `json:"first"`    // share of those for the side that stood first, Wilson; far from ½ is a habit

	Compared int           `json:"compared"` // answers about what others answered too, paired with each of theirs
	Agreed   stat.Interval `json:"agreed"`   // share of those pairs that say the same, Wilson with pairs taken as independent
}

// Qualities are how the annotators did, by name. An answer that Check refuses is fault.Invalid.
//
// A spoilt answer is caught in a pair when the sound one is preferred, in a ranking when nothing is ranked below or
// beside it, and in scores when their mean is below that of all ordinary scores by the annotator. The two
// answers of one λ are called alike in a pair by a tie or "both bad", in a ranking unless one is the best and the
// other the worst, and in scores when each is at most a point from what the annotator gave that λ of the prompt
// before. A trial of scores without any ordinary ones to hold it against is not counted.
//
// Agreement is of choices, of scores by criterion, and of the rank of each answer.
func Qualities(a Answers) ([]AnnotatorQuality, error) {
	k := qualityCounts{}
	for _, r := range a.Pairwise {
		if err := r.Check(); err != nil {
			return nil, err
		}
		k.pairwise(r)
	}
	if err := k.scores(a.Scores); err != nil {
		return nil, err
	}
	for _, r := range a.Rankings {
		if err := r.Check(); err != nil {
			return nil, err
		}
		k.ranking(r)
	}
	k.agree(ChoiceValues(a.Pairwise))
	for _, criterion := range a.criteria() {
		k.agree(ScoreValues(a.Scores, criterion))
	}
	k.agree(RankValues(a.Rankings))
	list := make([]AnnotatorQuality, 0, len(k))
	for _, r := range k {
		r.Pass = stat.Wilson(float64(r.Passed), float64(r.Broken))
		r.First = stat.Wilson(float64(r.first), float64(r.Decisive))
		r.Agreed = stat.Wilson(float64(r.agreed), float64(r.Compared))
		list = append(list, r.AnnotatorQuality)
	}
	slices.SortFunc(list, func(a, b AnnotatorQuality) int { return strings.Compare(a.Annotator, b.Annotator) })
	return list, nil
}

// qualityCounts are those that are being counted, by annotator.
type qualityCounts map[string]*qualityCount

// qualityCount is one annotator's quality while answers are counted.
type qualityCount struct {
	AnnotatorQuality
	first, agreed int // decisive answers for what stood first, and pairs of answers that say the same
}

// of is an annotator's count, made at the first answer.
func (k qualityCounts) of(annotator string) *qualityCount {
	if k[annotator] == nil {
		k[annotator] = &qualityCount{AnnotatorQuality: AnnotatorQuality{Annotator: annotator}}
	}
	return k[annotator]
}

// trial counts a catch trial and whether it was answered as it should be.
func (r *qualityCount) trial(catch Catch, well bool) {
	n := 0
	if well {
		n = 1
	}
	switch {
	case catch == SameLambda:
		r.Same, r.SameTies = r.Same+1, r.SameTies+n
	case catch.Spoils():
		r.Broken, r.Passed = r.Broken+1, r.Passed+n
	}
}

// pairwise counts a pairwise answer. One of a spoilt trial says nothing about sides.
func (k qualityCounts) pairwise(p Pairwise) {
	r := k.of(p.Annotator)
	r.Answers++
	decisive := p.Choice == PreferA || p.Choice == PreferB
	switch p.Catch {
	case SameLambda:
		r.trial(p.Catch, !decisive)
	case BrokenA:
		r.trial(p.Catch, p.Choice == PreferB)
		return
	case BrokenB:
		r.trial(p.Catch, p.Choice == PreferA)
		return
	}
	if decisive {
		r.Decisive++
		if p.Choice == PreferA {
			r.first++
		}
	}
}

// ranking counts a ranking.
func (k qualityCounts) ranking(g Ranking) {
	r := k.of(g.Annotator)
	r.Answers++
	switch g.Catch {
	case Broken:
		below := 0
		for _, rank := range g.Rank {
			if rank >= g.Rank[g.Spoilt] {
				below++
			}
		}
		r.trial(g.Catch, below == 1) // itself
	case SameLambda:
		var twins []int // their ranks
		for i, a := range g.Sides {
			for j, b := range g.Sides {
				if i != j && a.Lambda == b.Lambda {
					twins = append(twins, g.Rank[i])
				}
			}
		}
		r.trial(g.Catch, len(twins) == 0 || slices.Min(twins) > slices.Min(g.Rank) || slices.Max(twins) < slices.Max(g.Rank))
	}
}

// average is a mean that is being summed up.
type average struct{ sum, count float64 }

// with is the average with one more number.
func (m average) with(x float64) average { return average{m.sum + x, m.count + 1} }

// scores counts the scores of a question, one for each criterion, as one answer.
func (k qualityCounts) scores(scores []Likert) error {
	type at struct {
		annotator, prompt, criterion string
		lambda                       float64
	}
	type question struct {
		annotator, item string
	}
	ordinary := map[string]average{} // by annotator
	before := map[at]average{}
	asked := map[question][]Likert{}
	for _, s := range scores {
		if err := s.Check(); err != nil {
			return err
		}
		q := question{s.Annotator, s.Item}
		if asked[q] == nil {
			k.of(s.Annotator).Answers++
		}
		asked[q] = append(asked[q], s)
		if s.Catch == NoCatch {
			one := at{s.Annotator, s.Prompt, s.Criterion, s.Side.Lambda}
			ordinary[s.Annotator] = ordinary[s.Annotator].with(float64(s.Score))
			before[one] = before[one].with(float64(s.Score))
		}
	}
	for q, scores := range asked {
		var mean average
		near, held := true, true
		for _, s := range scores {
			mean = mean.with(float64(s.Score))
			one, ok := before[at{s.Annotator, s.Prompt, s.Criterion, s.Side.Lambda}]
			held = held && ok
			near = near && math.Abs(float64(s.Score)-one.sum/one.count) <= 1
		}
		usual := ordinary[q.annotator]
		switch catch := scores[0].Catch; {
		case catch == SameLambda && held:
			k.of(q.annotator).trial(catch, near)
		case catch == Broken && usual.count > 0:
			k.of(q.annotator).trial(catch, mean.sum/mean.count < usual.sum/usual.count)
		}
	}
	return nil
}

// agree counts how often annotators say the same of one unit.
func (k qualityCounts) agree(values []Value) {
	units := map[string][]Value{}
	for _, v := range values {
		units[v.Unit] = append(units[v.Unit], v)
	}
	for _, values := range units {
		for i, v := range values {
			for j, w := range values {
				if i == j || v.Annotator == w.Annotator {
					continue
				}
				r := k.of(v.Annotator)
				r.Compared++
				if v.Value == w.Value {
					r.agreed++
				}
			}
		}
	}
}
