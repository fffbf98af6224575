package decode

import (
	"cmp"
	"slices"
	"sort"
)

// LambdaMap is a λ-map as its events tell it: the continuations in the order of λ, side by side without gaps,
// and the forks between them. The zero value is an empty map; fill it with Add. It is used by one goroutine.
type LambdaMap struct {
	Branches []Branch `json:"branches"` // ascending by From
	Forks    []Fork   `json:"forks"`    // ascending by Lambda
}

// Add takes an event. Those that do not belong to a map change nothing.
func (m *LambdaMap) Add(e Event) {
	switch e.Type {
	case EventBranch:
		i := sort.Search(len(m.Branches), func(i int) bool { return m.Branches[i].From > e.Branch.From })
		m.Branches = slices.Insert(m.Branches, i, *e.Branch)
	case EventFork:
		i, _ := slices.BinarySearchFunc(m.Forks, *e.Fork, func(x, y Fork) int { return cmp.Compare(x.Lambda, y.Lambda) })
		m.Forks = slices.Insert(m.Forks, i, *e.Fork)
	}
}

// At is the continuation at a λ, or nil where there is none. At a fork it is the one above.
func (m *LambdaMap) At(lambda float64) *Branch {
	i := sort.Search(len(m.Branches), func(i int) bool { return m.Branches[i].From > lambda }) - 1
	if i < 0 || lambda > m.Branches[i].To {
		return nil
	}
	return &m.Branches[i]
}

// Covered is the share of the interval on which the continuation is known to its end.
func (m *LambdaMap) Covered() float64 {
	if len(m.Branches) == 0 {
		return 0
	}
	open := 0.0
	for _, b := range m.Branches {
		if b.Reason != EndStop && b.Reason != EndLength {
			open += b.To - b.From
		}
	}
	return 1 - open/(m.Branches[len(m.Branches)-1].To-m.Branches[0].From)
}
