// Package preference holds the statistics of ratings: the answers that annotators gave about outputs decoded at different λ
// become one answer about a continuous λ, with an honest interval. It knows nothing of how a study asks (internal/study); it
// stores nothing, draws nothing and talks to nobody.
//
// Utilities, strengths and the preference curve are all in the same unit: natural log-odds. Of two
// answers whose utilities differ by d, the first is preferred over the second exp(d) times as often as
// the other way round.
package preference

import (
	"math"
	"strconv"

	"realign/internal/fault"
)

// Choice is the answer to a pairwise question.
type Choice string

// The four answers. BothBad counts as a tie wherever strengths are estimated: it prefers neither.
const (
	PreferA Choice = "a"
	PreferB Choice = "b"
	Tie     Choice = "tie"
	BothBad Choice = "both_bad"
)

// Catch says whether a question was asked to check on the annotator, and how. Catch trials never enter
// strengths, win rates, the curve, mean scores or agreement.
type Catch string

const (
	NoCatch    Catch = ""
	SameLambda Catch = "same"     // two answers at one λ, with different noise; of scores, the second of them
	BrokenA    Catch = "broken_a" // answer A of two was spoilt on purpose
	BrokenB    Catch = "broken_b" // answer B of two was spoilt on purpose
	Broken     Catch = "broken"   // the answer that is scored was, or one of those that are ranked
)

// Spoils says whether one of the answers that a trial shows was spoilt on purpose.
func (c Catch) Spoils() bool { return c == BrokenA || c == BrokenB || c == Broken }

// Side is one answer that was shown.
type Side struct {
	Lambda float64 `json:"lambda"`           // that it was decoded at
	Output string  `json:"output,omitempty"` // which decoded answer: tells samples of one λ apart
}

// Pairwise is an annotator's answer to "which is better, A or B?". A is what stood first for this
// annotator, whatever its λ.
type Pairwise struct {
	Item      string  `json:"item"`               // the prompt with its two answers, in either order
	Prompt    string  `json:"prompt,omitempty"`   // which prompt, shared by items
	Annotator string  `json:"annotator"`          // who answered
	Category  string  `json:"category,omitempty"` // of the prompt
	A         Side    `json:"a"`                  // what stood first
	B         Side    `json:"b"`                  // what stood second
	Choice    Choice  `json:"choice"`             // A, B, a tie, or that both are bad
	Catch     Catch   `json:"catch,omitempty"`    // NoCatch: not a trial
	Weight    float64 `json:"weight,omitempty"`   // how many answers this one stands for; 0 is 1
}

// Likert is a score on one criterion.
type Likert struct {
	Item      string `json:"item"`               // the prompt with its answer
	Prompt    string `json:"prompt,omitempty"`   // which prompt, shared by items
	Annotator string `json:"annotator"`          // who answered
	Category  string `json:"category,omitempty"` // of the prompt
	Criterion string `json:"criterion"`          // its name
	Side      Side   `json:"side"`               // what was scored
	Score     int    `json:"score"`              // 1 to Points
	Points    int    `json:"points"`             // 5 or 7
	Catch     Catch  `json:"catch,omitempty"`    // NoCatch: not a trial
}

// Ranking orders up to MaxRanked answers to one prompt.
type Ranking struct {
	Item      string `json:"item"`               // the prompt with its answers
	Prompt    string `json:"prompt,omitempty"`   // which prompt, shared by items
	Annotator string `json:"annotator"`          // who answered
	Category  string `json:"category,omitempty"` // of the prompt
	Sides     []Side `json:"sides"`              // in the order shown
	Rank      []int  `json:"rank"`               // of each side, 1 is best; equal ranks were not told apart
	Catch     Catch  `json:"catch,omitempty"`    // NoCatch: not a trial
	Spoilt    int    `json:"spoilt,omitempty"`   // of a trial with a spoilt side: which one
}

// MaxRanked is how many answers a ranking may have.
const MaxRanked = 5

// Check refuses an answer that no page can have sent: an unknown choice, a λ that is not a number.
// The error is fault.Invalid and names the field.
func (r Pairwise) Check() error {
	for field, side := range map[string]Side{"a": r.A, "b": r.B} {
		if err := side.check(field); err != nil {
			return err
		}
	}
	switch r.Choice {
	case PreferA, PreferB, Tie, BothBad:
	default:
		return fault.Field("choice", "%q is none of a, b, tie, both_bad", r.Choice)
	}
	switch r.Catch {
	case NoCatch, SameLambda, BrokenA, BrokenB:
	default:
		return fault.Field("catch", "%q is none of same, broken_a, broken_b", r.Catch)
	}
	if r.Catch == SameLambda && r.A.Lambda != r.B.Lambda {
		return fault.Field("catch", "a same-λ trial has λ %g and %g", r.A.Lambda, r.B.Lambda)
	}
	if !(r.Weight >= 0) || math.IsInf(r.Weight, 0) {
		return fault.Field("weight", "%g is not a finite number from 0", r.Weight)
	}
	return nil
}

// Check is Pairwise.Check for a score: 1 to Points, and 5 or 7 points.
func (r Likert) Check() error {
	if err := r.Side.check("side"); err != nil {
		return err
	}
	if r.Points != 5 && r.Points != 7 {
		return fault.Field("points", "a scale has 5 or 7 points, not %d", r.Points)
	}
	if r.Score < 1 || r.Score > r.Points {
		return fault.Field("score", "%d is not from 1 to %d", r.Score, r.Points)
	}
	return r.Catch.check()
}

// check is for questions about any number of answers.
func (c Catch) check() error {
	switch c {
	case NoCatch, SameLambda, Broken:
		return nil
	}
	return fault.Field("catch", "%q is none of same, broken", c)
}

// Check is Pairwise.Check for a ranking: 2 to MaxRanked sides, a rank from 1 for each.
func (r Ranking) Check() error {
	if len(r.Sides) < 2 || len(r.Sides) > MaxRanked {
		return fault.Field("sides", "a ranking has 2 to %d answers, not %d", MaxRanked, len(r.Sides))
	}
	if len(r.Rank) != len(r.Sides) {
		return fault.Field("rank", "%d ranks for %d answers", len(r.Rank), len(r.Sides))
	}
	for i, side := range r.Sides {
		if err := side.check("sides"); err != nil {
			return err
		}
		if r.Rank[i] < 1 || r.Rank[i] > len(r.Sides) {
			return fault.Field("rank", "%d is not from 1 to %d", r.Rank[i], len(r.Sides))
		}
	}
	if r.Catch == Broken && (r.Spoilt < 0 || r.Spoilt >= len(r.Sides)) {
		return fault.Field("spoilt", "%d is none of %d sides", r.Spoilt, len(r.Sides))
	}
	return r.Catch.check()
}

// check refuses a λ that is not a finite number, as Invalid about the field.
func (s Side) check(field string) error {
	if math.IsNaN(s.Lambda) || math.IsInf(s.Lambda, 0) {
		return fault.Field(field, "λ must be a finite number, not %g", s.Lambda)
	}
	return nil
}

// Pairs is the ranking as pairwise answers, one for every two sides with different ranks, so that a
// best–worst answer gives only what it says. The pairs of one ranking are not independent: a complete
// ranking of m is m−1 choices, so each of its m(m−1)/2 pairs weighs 2/m. A catch trial has none. Nil when
// Check refuses it.
func (r Ranking) Pairs() []Pairwise {
	if r.Catch != NoCatch || r.Check() != nil {
		return nil
	}
	var pairs []Pairwise
	for i := range r.Sides {
		for j := i + 1; j < len(r.Sides); j++ {
			if r.Rank[i] == r.Rank[j] {
				continue
			}
			choice := PreferA
			if r.Rank[j] < r.Rank[i] {
				choice = PreferB
			}
			pairs = append(pairs, Pairwise{
				Item: r.Item, Prompt: r.Prompt, Annotator: r.Annotator, Category: r.Category,
				A: r.Sides[i], B: r.Sides[j], Choice: choice, Weight: 2 / float64(len(r.Sides)),
			})
		}
	}
	return pairs
}

// String names the side: λ and, when it has one, the output.
func (s Side) String() string {
	lambda := strconv.FormatFloat(s.Lambda, 'g', -1, 64)
	if s.Output == "" {
		return "λ " + lambda
	}
	return "λ " + lambda + " " + s.Output
}

// weight is how many answers this one stands for, in likelihoods and counts.
func (r Pairwise) weight() float64 {
	if r.Weight == 0 {
		return 1
	}
	return r.Weight
}

// Cluster says which answers are not independent of each other.
type Cluster string

// Answers about one item share its texts, those about one prompt the prompt, those of one annotator
// the taste. The empty Cluster is ByItem.
const (
	ByItem      Cluster = "item"
	ByPrompt    Cluster = "prompt"
	ByAnnotator Cluster = "annotator"
)

// key is the cluster of an answer: an answer without a prompt falls back on its item.
func (c Cluster) key(item, prompt, annotator string) string {
	switch {
	case c == ByAnnotator:
		return annotator
	case c == ByPrompt && prompt != "":
		return prompt
	}
	return item
}

// check refuses an unknown cluster, as Invalid.
func (c Cluster) check() error {
	switch c {
	case "", ByItem, ByPrompt, ByAnnotator:
		return nil
	}
	return fault.Field("cluster", "%q is none of item, prompt, annotator", c)
}
