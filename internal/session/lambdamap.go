package session

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Limits on a run that is a λ-map: its branches cost what as many lanes do, all of them to the token limit.
const (
	MaxMapBranches     = decode.MaxLanes
	DefaultMapBranches = 32
	MaxMapTokens       = 512

	maxMapParts  = 1 << 16 // branches or forks of a map that is imported, those that were not followed among them
	maxMapTokens = 1 << 20 // of all its branches
)

// Map is the state of a run that is a λ-map. While it grows, branches are missing between those that have ended.
type Map struct {
	decode.LambdaMap
	From, To float64       // λ of the ends of its interval
	Reason   string        // why it ended: stop (all branches have), cancelled or error; "" while it grows
	Error    *decode.Error // with reason error

	tokens int // of all branches, while it is imported
}

// Ended reports whether no more branches come.
func (m *Map) Ended() bool { return m.Reason != "" }

// apply takes the next event of the map's run.
func (m *Map) apply(e decode.Event) {
	switch {
	case e.Type == decode.EventEnd:
		m.Reason, m.Error = e.Reason, e.Error
	case e.Type == decode.EventFork && e.Fork == nil, e.Type == decode.EventBranch && e.Branch == nil:
	default:
		m.Add(e)
	}
}

// Covered is the share of the interval on which the continuation is known to its end.
func (m *Map) Covered() float64 {
	known := 0.0
	for i := range m.Branches {
		if b := &m.Branches[i]; whole(b) {
			known += b.To - b.From
		}
	}
	return min(1, known/(m.To-m.From))
}

// whole reports whether a branch is known to its end.
func whole(b *decode.Branch) bool { return b.Reason == decode.EndStop || b.Reason == decode.EndLength }

// checkMap checks what a map asks for beyond what decoding checks.
func (s *Spec) checkMap() error {
	if n := s.Map.Branches; n > MaxMapBranches {
		return fault.Field("branches", "%d branches, at most %d", n, MaxMapBranches)
	}
	if n := s.Sampling.MaxTokens; n > MaxMapTokens {
		return fault.Field("max_tokens", "%d tokens, at most %d for a λ-map", n, MaxMapTokens)
	}
	return nil
}

// streams is how many lanes a run has by its spec; a map counts as one, which ends when the map does.
func (s *Spec) streams() int {
	if s.Map != nil {
		return 1
	}
	return len(s.Lanes)
}

// noMap is a Conflict for what only runs on lanes have.
func (s *Spec) noMap(what string) error {
	if s.Map != nil {
		return fault.New(fault.Conflict, "the run is a λ-map, %s", what)
	}
	return nil
}

// mapTask is the task of a run that is a map.
func mapTask(l *live) *task {
	t := &task{live: l, lanes: []int{0}}
	l.lanes = append(l.lanes, laneState{task: t})
	return t
}

// branch notes a branch of a map that has ended. The caller holds mu.
func (l *live) branch(e decode.Event) {
	l.lanes[0].tokens++
	switch reason := e.Branch.Reason; {
	case reason == decode.EndError && l.ending.Reason != decode.EndError:
		l.ending.Reason, l.ending.Error = reason, e.Error
	case reason == decode.EndCancelled && l.ending.Reason == "":
		l.ending.Reason = reason
	}
}

// endMap puts the end of a map of which every branch has ended. The caller holds mu.
func (h *Hub) endMap(l *live) {
	lane := &l.lanes[0]
	if lane.ended {
		return
	}
	lane.ended = true
	e := decode.Event{
		Type: decode.EventEnd, Index: lane.tokens, Reason: cmp.Or(l.ending.Reason, decode.EndStop), Error: l.ending.Error,
	}
	l.failed = l.failed || e.Reason == decode.EndError
	encoded := encode(e)
	h.put(l, encoded.event, encoded.json)
}

// checkMapEvent checks an event from outside against the map that it is to be added to.
func (t *Transcript) checkMapEvent(spec *Spec, e *decode.Event) error {
	m := t.Map
	if m.Ended() {
		return fmt.Errorf("comes after the map's end")
	}
	within := func(lambda float64) bool { return m.From <= lambda && lambda <= m.To }
	switch e.Type {
	case decode.EventFork:
		f := e.Fork
		if len(m.Forks) >= maxMapParts {
			return fmt.Errorf("is one of more than %d forks", maxMapParts)
		}
		if f == nil || !within(f.Lambda) || f.Index < 0 || f.Index >= spec.Sampling.MaxTokens {
			return fmt.Errorf("is no fork within the map")
		}
	case decode.EventBranch:
		b := e.Branch
		if b == nil || !within(b.From) || !within(b.To) || !(b.From < b.To) {
			return fmt.Errorf("is no branch within the map")
		}
		m.tokens += len(b.Tokens)
		if len(m.Branches) >= maxMapParts || m.tokens > maxMapTokens {
			return fmt.Errorf("is one of more than %d branches, or they have more than %d tokens", maxMapParts, maxMapTokens)
		}
		if n := len(b.Tokens); n != len(b.Pieces) || n > spec.Sampling.MaxTokens {
			return fmt.Errorf("has %d tokens and %d texts, at most %d", n, len(b.Pieces), spec.Sampling.MaxTokens)
		}
		if !knownReason(b.Reason) && b.Reason != decode.EndBudget {
			return fmt.Errorf("reason %.20q is not known", b.Reason)
		}
		// Branches lie side by side in the order of λ, so that only the next one can reach into this.
		i := sort.Search(len(m.Branches), func(i int) bool { return m.Branches[i].To > b.From })
		if i < len(m.Branches) && m.Branches[i].From < b.To {
			return fmt.Errorf("lies over another branch")
		}
	case decode.EventStep: // a beginning of what its branches say
		if s := e.Span; s == nil || !within(s.From) || !within(s.To) || e.Index < 0 || e.Index >= spec.Sampling.MaxTokens {
			return fmt.Errorf("is no step within the map")
		}
	case decode.EventEnd:
		if !knownReason(e.Reason) {
			return fmt.Errorf("reason %.20q is not known", e.Reason)
		}
	default:
		return fmt.Errorf("type %.20q does not belong to a map", e.Type)
	}
	return nil
}

func knownReason(reason string) bool {
	switch reason {
	case decode.EndStop, decode.EndLength, decode.EndCancelled, decode.EndError:
		return true
	}
	return false
}

// SnapshotMap is a λ-map as it ended.
type SnapshotMap struct {
	decode.Map
	Reason   string          `json:"reason"`
	Error    *decode.Error   `json:"error,omitempty"`
	Continue []decode.Branch `json:"continuations"` // in the order of λ
	Forks    []decode.Fork   `json:"forks"`         // in the order of λ
}

// State is the map as a run's log would add up to it.
func (m *SnapshotMap) State() *Map {
	return &Map{
		LambdaMap: decode.LambdaMap{Branches: m.Continue, Forks: m.Forks},
		From:      m.From, To: m.To, Reason: m.Reason, Error: m.Error,
	}
}

// sameLambda is how far apart two λ of the same fork may be. They are quotients of sums of float32 logits, which another
// processor may add up in another order.
const sameLambda = 1e-6

// compareMaps finds the first difference of a map decoded again, in the order of λ. Branches that were cut off are
// compared as far as they got; of a map that was cut off, only what it has is.
func compareMaps(stored, again *Map) Verdict {
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

func near(a, b float64) bool { return math.Abs(a-b) <= sameLambda }

// compareBranch compares a branch with the one at its middle.
func compareBranch(v *Verdict, want *decode.Branch, again *Map) bool {
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

func piece(b *decode.Branch, n int) string {
	switch {
	case n >= len(b.Tokens):
		return ""
	case b.Pieces[n] != "":
		return b.Pieces[n]
	}
	return fmt.Sprintf("token %d", b.Tokens[n])
}

// fork compares a fork with the one at its λ.
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
