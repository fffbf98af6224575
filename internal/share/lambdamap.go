package share

import (
	"fmt"
	"math"
	"slices"

	"realign/internal/decode"
	"realign/internal/run"
)

// SnapshotMap is a λ-map as it ended.
type SnapshotMap struct {
	decode.Map
	Reason   string          `json:"reason"`          // why the map ended: one of decode.End…
	Error    *decode.Error   `json:"error,omitempty"` // nil unless it ended with an error
	Continue []decode.Branch `json:"continuations"`   // in the order of λ
	Forks    []decode.Fork   `json:"forks"`           // in the order of λ
}

// State is the map as a run's log would add up to it.
func (m *SnapshotMap) State() *run.Map {
	return &run.Map{
		LambdaMap: decode.LambdaMap{Branches: m.Continue, Forks: m.Forks},
		From:      m.From, To: m.To, Reason: m.Reason, Error: m.Error,
	}
}

// sameLambda is how far apart two λ of the same fork may be. They are quotients of sums of float32 logits, which another
// processor may add up in another order.
const sameLambda = 1e-6

// compareMaps finds the first difference of a map decoded again, in the order of λ. Branches that were cut off are
// compared as far as they got; of a map that was cut off, only what it has is.
func compareMaps(stored, again *run.Map) Verdict {
	v := Verdict{}
	for i := range stored.Branches {
		v.Branches++
		if v.Lane = i; !compareBranch(&v, &stored.Branches[i], again) {
			return v
		}
	}
	c := &comparison{v: &v, index: -1}
	for i := range stored.Forks {
		if v.Lane = i; c.fork(&stored.Forks[i], again.Forks) {
			return v
		}
	}
	v.Lane = -1
	switch whole := stored.Reason == decode.EndStop; {
	case whole && len(stored.Branches) != len(again.Branches):
		c.differ(DiffEnd, fmt.Sprint(len(stored.Branches), " texts"), fmt.Sprint(len(again.Branches), " texts"))
	case whole && len(stored.Forks) != len(again.Forks):
		c.differ(DiffEnd, fmt.Sprint(len(stored.Forks), " forks"), fmt.Sprint(len(again.Forks), " forks"))
	default:
		v.Lane, v.Identical = 0, true
	}
	return v
}

// near reports whether two λ stand for the same one.
func near(a, b float64) bool { return math.Abs(a-b) <= sameLambda }

// compareBranch compares a branch with the one at its middle, and reports whether they are the same. One that is missing
// there counts as a branch without tokens. The first difference goes into v.
func compareBranch(v *Verdict, want *decode.Branch, again *run.Map) bool {
	got := again.At((want.From + want.To) / 2)
	if got == nil {
		got = &decode.Branch{From: want.From, To: want.To, Reason: want.Reason}
	}
	c := &comparison{v: v}
	if len(want.Pieces) != len(want.Tokens) {
		return !c.differ(DiffText, fmt.Sprint(len(want.Pieces), " texts"), fmt.Sprint(len(want.Tokens), " tokens"))
	}
	for n := range max(len(want.Tokens), len(got.Tokens)) {
		if c.index = n; n >= len(want.Tokens) && cut(want) {
			break // how it would have gone on is not known
		}
		if n >= len(want.Tokens) || n >= len(got.Tokens) || want.Tokens[n] != got.Tokens[n] {
			return !c.differ(DiffToken, piece(want, n), piece(got, n))
		}
		v.Tokens++
		if last := n == len(want.Tokens)-1; !(last && cut(want)) && c.text(DiffText, want.Pieces[n], got.Pieces[n]) {
			return false
		}
	}
	if c.index = -1; cut(want) {
		return true
	}
	for _, edge := range [][2]float64{{want.From, got.From}, {want.To, got.To}} {
		if !near(edge[0], edge[1]) {
			return !c.differ(DiffLambda, edge[0], edge[1])
		}
	}
	return !c.text(DiffEnd, want.Reason, got.Reason)
}

// piece is the n-th token of a branch as it is shown, "" behind its end.
func piece(b *decode.Branch, n int) string {
	switch {
	case n >= len(b.Tokens):
		return ""
	case b.Pieces[n] != "":
		return b.Pieces[n]
	}
	return fmt.Sprintf("token %d", b.Tokens[n])
}

// fork compares a fork with the one at its λ and index, and reports whether they differ.
func (c *comparison) fork(want *decode.Fork, forks []decode.Fork) bool {
	i := slices.IndexFunc(forks, func(f decode.Fork) bool { return near(f.Lambda, want.Lambda) && f.Index == want.Index })
	if i < 0 {
		return c.differ(DiffFork, fmt.Sprintf("a fork at λ %v", want.Lambda), "none")
	}
	got := &forks[i]
	c.index = got.Index
	for _, side := range [][2]*decode.Candidate{{&want.Below, &got.Below}, {&want.Above, &got.Above}} {
		a, b := side[0], side[1]
		if a.ID != b.ID || a.Name != b.Name {
			return c.differ(DiffFork, a.Name, b.Name)
		}
		if c.number("log p under the reference", a.Logp.Reference, b.Logp.Reference, Tolerance) ||
			c.number("log p under the aligned model", a.Logp.Aligned, b.Logp.Aligned, Tolerance) || c.number("noise", a.Noise, b.Noise, sameLambda) {
			return true
		}
	}
	return false
}

// cut reports whether a branch was cut off in time: decoded again it goes on. One cut by the budget is cut again.
func cut(b *decode.Branch) bool {
	return b.Reason == decode.EndCancelled || b.Reason == decode.EndError
}
