package study

import (
	"slices"
	"strings"
)

// Record is how one annotator did, for the owner to judge. It excludes nobody by itself.
type Record struct {
	Annotator string `json:"annotator"`
	Answers   int    `json:"answers"` // pairwise answers, catch trials among them

	Same     int `json:"same"`      // trials at one λ with different seeds
	SameTies int `json:"same_ties"` // of those answered with a tie (or both bad)

	Broken int      `json:"broken"` // trials with a spoilt answer
	Passed int      `json:"passed"` // of those in which the sound answer was preferred
	Pass   Interval `json:"pass"`   // Passed/Broken with Wilson's 95% interval; (½, 0, 1) without trials

	Decisive int      `json:"decisive"` // answers that prefer a side, without trials with a spoilt one
	First    Interval `json:"first"`    // share of those for the side that stood first, Wilson; far from ½ is a habit

	Compared int      `json:"compared"` // answers about items that others answered too, paired with each of theirs
	Agreed   Interval `json:"agreed"`   // share of those pairs that say the same, Wilson with pairs taken as independent
}

// Records are the annotators' records, by name. An answer that Check refuses is fault.Invalid.
func Records(answers []Pairwise) ([]Record, error) {
	records := map[string]*Record{}
	first := map[string]float64{}
	for _, r := range answers {
		if err := r.Check(); err != nil {
			return nil, err
		}
		record := records[r.Annotator]
		if record == nil {
			record = &Record{Annotator: r.Annotator}
			records[r.Annotator] = record
		}
		record.Answers++
		decisive := r.Choice == PreferA || r.Choice == PreferB
		switch r.Catch {
		case SameLambda:
			record.Same++
			if !decisive {
				record.SameTies++
			}
		case BrokenA, BrokenB:
			record.Broken++
			if r.Catch == BrokenA && r.Choice == PreferB || r.Catch == BrokenB && r.Choice == PreferA {
				record.Passed++
			}
			continue
		}
		if decisive {
			record.Decisive++
			if r.Choice == PreferA {
				first[r.Annotator]++
			}
		}
	}
	units := map[string][]Value{}
	for _, v := range ChoiceValues(answers) {
		units[v.Unit] = append(units[v.Unit], v)
	}
	agreed := map[string]float64{}
	for _, values := range units {
		for i, v := range values {
			for j, w := range values {
				if i == j || v.Annotator == w.Annotator {
					continue
				}
				records[v.Annotator].Compared++
				if v.Value == w.Value {
					agreed[v.Annotator]++
				}
			}
		}
	}
	list := make([]Record, 0, len(records))
	for name, r := range records {
		r.Pass = Wilson(float64(r.Passed), float64(r.Broken))
		r.First = Wilson(first[name], float64(r.Decisive))
		r.Agreed = Wilson(agreed[name], float64(r.Compared))
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b Record) int { return strings.Compare(a.Annotator, b.Annotator) })
	return list, nil
}
