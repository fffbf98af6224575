package run

import (
	"cmp"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Limits on a run that is a λ-map: its branches cost what as many lanes do, all of them to the token limit.
const (
	MaxMapBranches     = decode.MaxLanes
	DefaultMapBranches = 32
	MaxMapTokens       = 512
)

// Map is the state of a run that is a λ-map. While it grows, branches are missing between those that have ended.
// It is part of a Transcript, and of an activeRun, which uses Reason and Error only.
type Map struct {
	decode.LambdaMap
	From, To float64       // λ of the ends of its interval
	Reason   string        // why it ended: stop (all branches have), cancelled or error; "" while it grows
	Error    *decode.Error // with reason error
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

// wholeLine gives a map along a line the whole of it where its request names no places.
func (s *Spec) wholeLine() {
	if m := s.Map; m != nil && m.Line != nil && m.From == 0 && m.To == 0 {
		mapped := *m
		mapped.To = 1
		s.Map = &mapped
	}
}

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

// lambdas is how many numbers a λ frame has: one for each aligned model, or the one place of a map's focus.
func (s *Spec) lambdas() int {
	if s.Map != nil {
		return 1
	}
	return len(s.Aligned)
}

// noMap is a Conflict for what only runs on lanes have.
func (s *Spec) noMap(what string) error {
	if s.Map != nil {
		return fault.New(fault.Conflict, "the run is a λ-map, %s", what)
	}
	return nil
}

// branch notes a branch of a map that has ended. The caller holds mu.
func (a *activeRun) branch(e decode.Event) {
	a.lanes[0].tokens++
	switch reason := e.Branch.Reason; {
	case reason == decode.EndError && a.ending.Reason != decode.EndError:
		a.ending.Reason, a.ending.Error = reason, e.Error
	case reason == decode.EndCancelled && a.ending.Reason == "":
		a.ending.Reason = reason
	}
}

// endMap puts the end of a map of which every branch has ended. The caller holds mu.
func (h *Hub) endMap(a *activeRun) {
	lane := &a.lanes[0]
	if lane.ended {
		return
	}
	lane.ended = true
	e := decode.Event{
		Type: decode.EventEnd, Index: lane.tokens, Reason: cmp.Or(a.ending.Reason, decode.EndStop), Error: a.ending.Error,
	}
	a.failed = a.failed || e.Reason == decode.EndError
	encoded := encode(e)
	h.appendEvent(a, encoded.Event, encoded.JSON)
}
