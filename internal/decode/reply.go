package decode

import "strings"

// Reply is one lane from its beginning to its end, without its tokens one by one.
type Reply struct {
	Lane   int     `json:"lane"`             // Lane.Index of the request
	Lambda Vector  `json:"lambda"`           // at its end
	Sample int     `json:"sample"`           // see Lane.Sample
	Text   string  `json:"text"`             // all of it, a thought included: see Said
	Tokens int     `json:"tokens"`           // that it decoded, an end token included
	Reason string  `json:"reason"`           // why it ended: see EndStop
	Error  *Error  `json:"error,omitempty"`  // with reason EndError only
	Totals *Totals `json:"totals,omitempty"` // where the request asks for them
	Exact  *Exact  `json:"exact,omitempty"`  // of a lane that was decoded by particles
}

// Gather adds up the events of a request, lane by lane. It is used by one goroutine.
type Gather struct {
	Tokens bool // the events of tokens are kept, too

	lanes map[int]*Gathered // by Lane.Index; nil before the first event
}

// Gathered is what the events of one lane add up to so far.
type Gathered struct {
	Tokens []Event // of type token, in order, where they are kept
	End    *Event  // nil while the lane goes on

	text strings.Builder // of all token events so far
}

// Text is all that the lane has said.
func (g *Gathered) Text() string { return g.text.String() }

// Lane is what has become of a lane. It stays the same one while events come.
func (g *Gather) Lane(index int) *Gathered {
	if g.lanes == nil {
		g.lanes = map[int]*Gathered{}
	}
	l := g.lanes[index]
	if l == nil {
		l = &Gathered{}
		g.lanes[index] = l
	}
	return l
}

// Add takes the next event.
func (g *Gather) Add(e Event) {
	switch e.Type {
	case EventToken:
		l := g.Lane(e.Lane)
		l.text.WriteString(e.Text)
		if g.Tokens {
			l.Tokens = append(l.Tokens, e)
		}
	case EventEnd:
		g.Lane(e.Lane).End = &e
	}
}

// Replies are those of some lanes, in their order; it is false while one of them has not ended.
func (g *Gather) Replies(lanes []Lane) ([]Reply, bool) {
	all := make([]Reply, 0, len(lanes))
	for _, asked := range lanes {
		l := g.Lane(asked.Index)
		if l.End == nil {
			return nil, false
		}
		e := l.End
		all = append(all, Reply{
			Lane: e.Lane, Lambda: e.Lambda, Sample: e.Sample, Text: l.Text(), Tokens: e.Index,
			Reason: e.Reason, Error: e.Error, Totals: e.Totals, Exact: e.Exact,
		})
	}
	return all, true
}
