package session

import (
	"fmt"
	"sort"

	"realign/internal/decode"
)

// Limits on a λ-map that is imported.
const (
	maxMapParts  = 1 << 16 // branches or forks, those that were not followed among them
	maxMapTokens = 1 << 20 // of all its branches
)

// checkMapEvent checks an event from outside against the map that it is to be added to.
func (c *checkedLog) checkMapEvent(e *decode.Event) error {
	m, spec := c.sealing.Transcript.Map, c.spec
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
		c.mapTokens += len(b.Tokens)
		if len(m.Branches) >= maxMapParts || c.mapTokens > maxMapTokens {
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

// knownReason reports whether a lane, or a map, can have ended so.
func knownReason(reason string) bool {
	switch reason {
	case decode.EndStop, decode.EndLength, decode.EndCancelled, decode.EndError:
		return true
	}
	return false
}
