package decode

import "strings"

// Reply is one lane from its beginning to its end, without its tokens one by one.
type Reply struct {
	Lane   int     `json:"lane"`
	Lambda Vector  `json:"lambda"` // at its end
	Sample int     `json:"sample"`
	Text   string  `json:"text"`
	Tokens int     `json:"tokens"` // that it decoded, an end token included
	Reason string  `json:"reason"`
	Error  *Error  `json:"error,omitempty"`
	Totals *Totals `json:"totals,omitempty"`
	Exact  *Exact  `json:"exact,omitempty"`
}

// Gather makes replies out of a run's events. It is used by one goroutine.
type Gather struct {
	texts   map[int]*strings.Builder
	replies map[int]Reply
}

// Add takes the next event.
func (g *Gather) Add(e Event) {
	switch e.Type {
	case EventToken:
		if g.texts == nil {
			g.texts = map[int]*strings.Builder{}
		}
		if g.texts[e.Lane] == nil {
			g.texts[e.Lane] = &strings.Builder{}
		}
		g.texts[e.Lane].WriteString(e.Text)
	case EventEnd:
		r := Reply{Lane: e.Lane, Lambda: e.Lambda, Sample: e.Sample, Tokens: e.Index, Reason: e.Reason, Error: e.Error, Totals: e.Totals, Exact: e.Exact}
		if text := g.texts[e.Lane]; text != nil {
			r.Text = text.String()
		}
		if g.replies == nil {
			g.replies = map[int]Reply{}
		}
		g.replies[e.Lane] = r
	}
}

// Replies are those of some lanes, in their order; it is false while one of them has not ended.
func (g *Gather) Replies(lanes []Lane) ([]Reply, bool) {
	all := make([]Reply, 0, len(lanes))
	for _, l := range lanes {
		r, ok := g.replies[l.Index]
		if !ok {
			return nil, false
		}
		all = append(all, r)
	}
	return all, true
}
