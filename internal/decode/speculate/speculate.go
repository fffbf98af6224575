// Package speculate decides when branches of an engine draft what may follow (decode.Speculator): by what passes are measured
// to cost, or, for tests and measurements, always. It changes no token, and an engine without it never drafts.
//
// With t(n) the seconds of a pass of n rows by one model and α the acceptance rate, a token of one branch costs
//
//	t(2) + (1−α)·t(1)                                             where the models take turns
//	((γ + α^γ)·t(1) + t(γ+1)) · (1−α) / (1−α^(γ+1))               where one drafts γ tokens
//
// since a round of γ gives a token for each accepted one and one more, for which the drafter reads its last token if all were
// accepted. Both are compared with a pass of both models at the same time. What several branches' tokens cost with
// drafts and without is measured as a whole.
package speculate

import (
	"math"
	"math/bits"
	"slices"

	"realign/internal/decode"
	"realign/internal/decode/cost"
)

// When a scheme is used, and how often costs are measured.
const (
	worthwhile      = 0.97 // of the seconds without drafts, which a scheme must stay below to be used
	batchStaleAfter = 4000 // steps after which what several branches cost is measured anew, which takes a trial
	trialSteps      = 6    // that several branches draft to measure what it costs
	probeEvery      = 8    // steps without drafts between two checks of what a draft would have been
)

// draftLengths are the numbers of tokens γ that a draft may have.
var draftLengths = []int{3, 7}

// always drafts by one scheme wherever that is possible.
type always decode.Scheme

// Scheme is that scheme, whatever is asked.
func (a always) Scheme(decode.Outlook) decode.Scheme { return decode.Scheme(a) }

// Measure learns nothing.
func (always) Measure(decode.StepCost) {}

// Alternating lets the models take turns wherever that is possible.
func Alternating() decode.Speculator { return always{Draft: true} }

// Drafting lets the nearer model draft several tokens wherever that is possible.
func Drafting() decode.Speculator { return always{Draft: true, Length: draftLengths[0]} }

// Measured takes the scheme that is measured to be fastest, and none where none is faster than a pass of both models.
func Measured() decode.Speculator {
	return &measured{one: map[int]cost.Cost{}, batches: map[costKey]batchCost{}}
}

// measured is what is known of the costs on one engine. It belongs to the engine's loop.
type measured struct {
	both    cost.Cost             // seconds of a step in which one branch generates, one row for each of two models
	one     map[int]cost.Cost     // the same for rows of one model, by their number
	batches map[costKey]batchCost // of several branches, in seconds and tokens
	trial   int                   // steps that are left of a trial of several branches
}

// Scheme is the cheapest way. Where a cost that it depends on is unknown or stale, it is the way that measures it.
func (s *measured) Scheme(o decode.Outlook) decode.Scheme {
	if o.Branches > 1 {
		return decode.Scheme{Draft: s.batchDrafts(o)}
	}
	scheme := s.cheapest(o)
	scheme.Probe = !scheme.Draft && o.Step%probeEvery == 0 && !s.neverPays()
	return scheme
}

// batchDrafts reports whether several branches draft, by turns.
func (s *measured) batchDrafts(o decode.Outlook) bool {
	with, without := s.batches[keyOf(o.Branches, true)], s.batches[keyOf(o.Branches, false)]
	switch {
	case s.trial > 0:
		s.trial--
		return true
	case without.stale(o.Step), s.neverPays():
		return false
	case with.stale(o.Step):
		s.trial = trialSteps
		return true
	}
	return with.seconds*without.tokens < worthwhile*without.seconds*with.tokens
}

// cheapest is the scheme for a single branch.
func (s *measured) cheapest(o decode.Outlook) (scheme decode.Scheme) {
	switch {
	case s.both.Stale(o.Step):
		return scheme
	case s.one[1].Stale(o.Step), s.one[2].Unsure(o.Step):
		return decode.Scheme{Draft: true}
	}
	accepted := min(o.Acceptance, 0.999)
	t1, best := s.one[1].Seconds, worthwhile*s.both.Seconds
	if byTurns := s.one[2].Seconds + (1-accepted)*t1; byTurns < best {
		scheme, best = decode.Scheme{Draft: true}, byTurns
	}
	for _, g := range draftLengths {
		all := math.Pow(accepted, float64(g))
		tokens := (1 - all*accepted) / (1 - accepted)
		if verify := s.one[g+1]; !verify.Unsure(o.Step) {
			if byDraft := ((float64(g)+all)*t1 + verify.Seconds) / tokens; byDraft < best {
				scheme, best = decode.Scheme{Draft: true, Length: g}, byDraft
			}
		} else if ((float64(g)+all)*t1+s.one[2].Seconds)/tokens < best { // could be, if more rows cost no more: find out
			return decode.Scheme{Draft: true, Length: g}
		}
	}
	return scheme
}

// neverPays reports whether drafts would not pay even if all were accepted: they, too, need a pass for each token and another
// one of at least two rows, and the more rows passes have already, the less is saved by adding some.
// It is false as long as a cost is unknown.
func (s *measured) neverPays() bool {
	two := s.one[2]
	return s.both.Known() && two.Known() && min(two.Seconds, s.one[1].Seconds+two.Seconds/float64(slices.Max(draftLengths)+1)) >= worthwhile*s.both.Seconds
}

// Measure takes what a step took.
func (s *measured) Measure(c decode.StepCost) {
	switch {
	case c.Branches > 1:
		key := keyOf(c.Branches, c.Scheme.Draft)
		s.batches[key] = s.batches[key].add(c.Seconds, c.Tokens, c.Step)
	case c.Models == 2 && c.Rows == 2:
		s.both = s.both.Add(c.Seconds, c.Step)
	case c.Models == 1 && c.Scheme.Draft:
		s.one[c.Rows] = s.one[c.Rows].Add(c.Seconds, c.Step)
	}
}

// costKey names a measurement of several branches: about how many there are, and whether they draft.
type costKey struct {
	size   int // bits of the number of branches: log₂, rounded down, plus 1
	drafts bool
}

// keyOf is the measurement of so many branches.
func keyOf(branches int, drafts bool) costKey { return costKey{bits.Len(uint(branches)), drafts} }

// batchCost is what tokens cost several branches: moving sums of seconds and of tokens.
type batchCost struct {
	seconds, tokens float64 // seconds and tokens of steps, decayed: each step takes off a tenth
	measured        int     // the step when it was measured last; 0: never
}

// add is the sums with one more step's seconds and tokens.
func (p batchCost) add(seconds float64, tokens, step int) batchCost {
	return batchCost{0.9*p.seconds + seconds, 0.9*p.tokens + float64(tokens), step}
}

// stale reports whether what several branches cost has to be measured anew.
func (p batchCost) stale(step int) bool { return p.measured == 0 || step-p.measured > batchStaleAfter }
