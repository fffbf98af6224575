package decode

import (
	"cmp"
	"slices"

	"realign/internal/fault"
)

// A live λ-map is watched while it is decoded. It differs from another one in three things: each token is told as soon
// as it is certain on a span (EventStep); the span at the focus, a λ that may be moved, is decoded as a lane would be,
// alone, and after it the nearest ones; and the branches are shared out where a span splits, by width, and once more, among
// the parts that were left, when all the others have ended. So which texts are followed depends on the request alone, and
// neither on the focus nor on time.

// Span is an interval of λ.
type Span struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

// nearest is how many spans of a live map are decoded in one step when the one at the focus has ended.
const nearest = 8

// setFocus moves the λ that a live map is decoded from.
func (j *Job) setFocus(m *Map, lambda float64) error {
	if !m.Live {
		return fault.New(fault.Conflict, "the run is a λ-map that is not live")
	}
	if !(m.From <= lambda && lambda <= m.To) {
		return fault.Field("lambda", "%v is outside the map, which is of λ from %v to %v", lambda, m.From, m.To)
	}
	err := error(fault.New(fault.Conflict, "the run has ended"))
	j.engine.control(func() {
		if j.live > 0 {
			j.focus, err = lambda, nil
		}
	})
	return err
}

// rank decides which branches of live maps take part in this step.
func (e *Engine) rank() {
	for _, j := range e.jobs {
		if m := j.request.Map; m == nil || !m.Live {
			continue
		}
		var of []*branch
		for _, b := range e.branches {
			if b.job == j && b.live() {
				of = append(of, b)
			}
		}
		slices.SortStableFunc(of, func(x, y *branch) int {
			return cmp.Or(cmp.Compare(x.span.distance(j.focus), y.span.distance(j.focus)), cmp.Compare(x.span.from, y.span.from))
		})
		most := nearest
		if len(of) > 0 && of[0].span.distance(j.focus) == 0 {
			most = 1
		}
		for i, b := range of {
			b.later = i >= most
		}
	}
}

// distance is how far a λ is from the span; 0 within.
func (s *span) distance(lambda float64) float64 {
	return max(s.from-lambda, lambda-s.to, 0)
}

// waiting is a part of a live map that waits for a branch: it forks from another one's history.
type waiting struct {
	*span
	of     *branch
	length int   // tokens of the branch that it shares
	have   []int // of them, by model, in its cache
}

// keep remembers where a part parts from the branch.
func (b *branch) keep(s *span) waiting {
	return waiting{span: s, of: b, length: len(b.tokens), have: slices.Clone(b.have)}
}

// resume gives the parts that wait the branches that the other texts of their map left, the widest first, and ends those for which
// there are none. It reports whether one goes on.
func (e *Engine) resume(j *Job) bool {
	parts := slices.DeleteFunc(j.waiting, func(w waiting) bool { return w.ended })
	j.waiting = nil
	slices.SortFunc(parts, func(x, y waiting) int { return cmp.Compare(x.from, y.from) }) // they began in an order that the focus gave them
	spans := make([]*span, len(parts))
	for i, w := range parts {
		spans[i] = w.span
	}
	shareOut(len(j.spare), spans)
	on := false
	for _, w := range parts {
		if w.share == 0 {
			w.end(EndBudget, nil)
			continue
		}
		e.forkAt(w.of, w.length, w.have, w.generated[len(w.generated)-1]).span = w.span
		on = true
	}
	return on
}

// shareOut shares branches out among the parts of a span that go on: one for each while there are enough, the widest
// first, and the rest by width.
func shareOut(total int, parts []*span) {
	byWidth := slices.Clone(parts)
	slices.SortStableFunc(byWidth, func(x, y *span) int { return cmp.Compare(y.to-y.from, x.to-x.from) })
	width := 0.0
	for i, p := range byWidth {
		p.share = 0
		if i < total {
			p.share = 1
			width += p.to - p.from
		}
	}
	rest := max(total-len(byWidth), 0)
	for _, p := range byWidth {
		if p.share == 0 || rest == 0 {
			break
		}
		// What is left is divided anew at each part, so that nothing is lost to rounding.
		n := min(int(float64(rest)*(p.to-p.from)/width+0.5), rest)
		p.share += n
		rest -= n
		width -= p.to - p.from
	}
}
