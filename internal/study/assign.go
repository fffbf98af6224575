package study

import (
	"slices"
	"strings"

	"realign/internal/preference"
)

// Progress counts what an annotator has been asked so far.
type Progress struct {
	Answered int // catch trials among them
	Skipped  int // catch trials among them
	Same     int // catch trials of the same λ that were asked
	Broken   int // catch trials with a spoilt text that were asked
}

// kindRun is how many questions of one kind an annotator gets in a row, as far as there are; catch trials are among
// them.
const kindRun = 5

// Next chooses the next item among an annotator's candidates; nil when there is none. asked counts the
// answers of each pair of λ over the whole study, wanted are pairs in the order in which active choice
// wants them (none: balanced). The choice depends on nothing that cannot be repeated once the study is closed: its
// seed and secret, the annotator and what was answered.
func (s *Setup) Next(annotator string, done Progress, candidates []ItemProgress, asked map[preference.Pair]int, wanted []preference.Pair) *ItemProgress {
	turn := done.Answered + done.Skipped
	sorted := map[Kind][]*ItemProgress{}
	for i := range candidates {
		if c := &candidates[i]; c.Catch == preference.NoCatch {
			sorted[c.Kind] = append(sorted[c.Kind], c)
		}
	}
	if len(sorted) == 0 {
		return nil // catch trials alone are not worth anybody's time
	}
	kind := s.kind(annotator, turn, sorted)
	for _, trial := range []struct {
		catch       preference.Catch
		every, done int
	}{{preference.SameLambda, s.SameEvery, done.Same}, {preference.Broken, s.BrokenEvery, done.Broken}} {
		if s.due(annotator, trial.catch, trial.every, turn) <= trial.done {
			continue
		}
		// Of the kind that is asked now: another one would stand out.
		var list []*ItemProgress
		for i := range candidates {
			if c := &candidates[i]; c.Kind == kind && (c.Catch == trial.catch || trial.catch == preference.Broken && c.Catch.Spoils()) {
				list = append(list, c)
			}
		}
		if len(list) > 0 {
			return list[s.random(streamTurn, annotator, string(trial.catch), decimal(turn)).IntN(len(list))]
		}
	}
	list := sorted[kind]
	if kind == AskPairwise {
		list = ofPair(list, s.pair(list, asked, wanted))
	}
	return s.preferStarted(annotator, list)
}

// due is how many trials of a sort an annotator should have had with this question: one at a random place of each
// block of every questions.
func (s *Setup) due(annotator string, catch preference.Catch, every, turn int) int {
	if every == 0 {
		return 0
	}
	block := turn / every
	if turn%every >= s.random(streamTurn, annotator, string(catch), decimal(block)).IntN(every) {
		return block + 1
	}
	return block
}

// kind is the kind of question of an annotator's turn: kinds come in runs, as often as they have candidates.
func (s *Setup) kind(annotator string, turn int, sorted map[Kind][]*ItemProgress) Kind {
	total := 0
	for _, list := range sorted {
		total += len(list)
	}
	at := s.random(streamKind, annotator, decimal(turn/kindRun)).IntN(total)
	for _, kind := range []Kind{AskPairwise, AskLikert, AskRanking} {
		if at -= len(sorted[kind]); at < 0 {
			return kind
		}
	}
	return AskRanking // not reached: the kinds add up to the total
}

// pair is the pair of λ to ask about: the first wanted that there is a candidate for, or else the one asked least.
func (s *Setup) pair(list []*ItemProgress, asked map[preference.Pair]int, wanted []preference.Pair) preference.Pair {
	there := map[preference.Pair]bool{}
	var pairs []preference.Pair
	counts := make(map[preference.Pair]int, len(asked))
	for p, n := range asked {
		counts[p] = n
	}
	for _, c := range list {
		p := preference.Pair{Low: c.Low, High: c.High}
		if !there[p] {
			there[p] = true
			pairs = append(pairs, p)
		}
		counts[p] += c.Taken - c.Answers // questions that are out
	}
	for _, p := range wanted {
		if there[p] {
			return p
		}
	}
	slices.SortFunc(pairs, func(a, b preference.Pair) int {
		switch {
		case a.Low != b.Low && a.Low < b.Low, a.Low == b.Low && a.High < b.High:
			return -1
		case a == b:
			return 0
		}
		return 1
	})
	total := 0
	for _, n := range counts {
		total += n
	}
	return preference.Balanced(pairs, counts, 1, mix(mix(s.secretSeed("order"), streamPair), uint64(total)))[0]
}

// ofPair are the items about a pair of λ, in a list of their own.
func ofPair(list []*ItemProgress, p preference.Pair) []*ItemProgress {
	return slices.DeleteFunc(slices.Clone(list), func(c *ItemProgress) bool { return c.Low != p.Low || c.High != p.High })
}

// preferStarted chooses an item that other annotators have begun, so that there are answers to compare, or any item when none
// was begun. The choice is random and differs between annotators, so that those who ask at the same time do not all get the
// same item.
func (s *Setup) preferStarted(annotator string, list []*ItemProgress) *ItemProgress {
	begun := slices.DeleteFunc(slices.Clone(list), func(c *ItemProgress) bool { return c.Taken == 0 })
	if len(begun) > 0 {
		list = begun
	}
	slices.SortFunc(list, func(a, b *ItemProgress) int { return strings.Compare(a.ID, b.ID) })
	return list[s.random(streamTurn, annotator, decimal(len(list)), list[0].ID).IntN(len(list))]
}
