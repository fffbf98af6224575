package templates

import (
	"context"
	"io"
	"strconv"
	"strings"

	"github.com/a-h/templ"
)

// tokens writes the text of a lane, one span for each token and nothing between them. It is written by
// hand because every character of white space counts here. The controllers build the same spans
// (web/static/lanes).
func (c column) tokens() templ.Component {
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		var b strings.Builder
		l := c.Lane
		moves := l.moves()
		for i, t := range l.Tokens {
			if len(moves) > 0 && moves[0] == i {
				moves = moves[1:]
				b.WriteString(`<span class="turn" data-hue="` + hue(t.Lambda) + `">λ ` + FormatLambda(t.Lambda) + `</span>`)
			}
			b.WriteString(`<span class="t" data-i="` + strconv.Itoa(i) + `"`)
			if t.Traced {
				b.WriteString(` data-r="` + strconv.Itoa(ratioStep(t.Aligned-t.Reference)) + `"`)
			}
			switch {
			case i == c.PartsLeft && i == c.PartsRight:
				b.WriteString(` data-part="both"`)
			case i == c.PartsLeft:
				b.WriteString(` data-part="left"`)
			case i == c.PartsRight:
				b.WriteString(` data-part="right"`)
			}
			if i < l.Prefix {
				b.WriteString(` data-given`)
			}
			b.WriteString(`>` + templ.EscapeString(t.Text) + `</span>`)
		}
		b.WriteString(templ.EscapeString(l.Tail))
		_, err := io.WriteString(w, b.String())
		return err
	})
}

// briefly is how many tokens λ stays where it is, at least: fewer are on the way to another, while λ is dragged.
const briefly = 8

// moves are the tokens before which λ was moved, and stayed so.
func (l Lane) moves() (at []int) {
	current := l.Lambda
	for i, t := range l.Tokens {
		if len(t.Lambda) == 0 || equal(t.Lambda, current) {
			continue
		}
		current = t.Lambda
		if n := len(at); n > 0 && i-at[n-1] < briefly {
			at = at[:n-1]
		}
		at = append(at, i)
	}
	return at
}

// now is λ at the lane's end, where it may have been moved to.
func (l Lane) now() []float64 {
	if n := len(l.Tokens); n > 0 && len(l.Tokens[n-1].Lambda) > 0 {
		return l.Tokens[n-1].Lambda
	}
	return l.Lambda
}

// path is λ from the lane's start to its end.
func (l Lane) path() string {
	if equal(l.Lambda, l.now()) {
		return FormatLambda(l.Lambda)
	}
	return FormatLambda(l.Lambda) + " → " + FormatLambda(l.now())
}

// equal reports whether two λ are the same.
func equal(a, b []float64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// column is a lane as it is shown.
type column struct {
	Lane    Lane
	Aligned []AlignedModel // the run's models
	Live    bool           // it belongs to a run
	Bench   bool           // it can be changed and run
	Given   []int32        // tokens it will start with, where it has not run
	Most    int            // tokens that its run may have a lane

	PartsLeft, PartsRight int    // first token at which it differs from its neighbours, or -1
	Left                  string // λ of the lane on its left
}

// columns lays out the lanes of a run.
func (r *Run) columns(bench bool) []column {
	lanes := r.Lanes
	cs := make([]column, len(lanes))
	for i, l := range lanes {
		cs[i] = column{Lane: l, Aligned: r.Aligned, Live: true, Bench: bench, Most: r.Sampling.MaxTokens, PartsLeft: -1, PartsRight: -1}
		if i > 0 {
			cs[i].Left = FormatLambda(lanes[i-1].now())
			cs[i].PartsLeft = partedAt(lanes[i-1], l)
			cs[i-1].PartsRight = cs[i].PartsLeft
		}
	}
	return cs
}

// draftColumns lays out lanes that have not run.
func (v Playground) draftColumns() []column {
	cs := make([]column, len(v.Draft.Lanes))
	for i, l := range v.Draft.Lanes {
		cs[i] = column{
			Lane: Lane{Index: -1, Lambda: l.Lambda, Sample: l.Sample, Mix: l.Mix}, Aligned: v.chosen(), Bench: true, Given: l.Prefix,
			PartsLeft: -1, PartsRight: -1,
		}
	}
	return cs
}

// chosen are the aligned models of the draft.
func (v Playground) chosen() []AlignedModel {
	if v.Run != nil {
		return v.Run.Aligned
	}
	var ms []AlignedModel
	for _, p := range v.Pairs {
		if p.Name != v.Draft.Pair {
			continue
		}
		for _, m := range p.Aligned {
			if v.uses(m) {
				ms = append(ms, m)
			}
		}
	}
	return ms
}

// uses reports whether the draft names an aligned model, or names none and it is the default.
func (v Playground) uses(m AlignedModel) bool {
	if len(v.Draft.Aligned) == 0 {
		return m.Default
	}
	for _, name := range v.Draft.Aligned {
		if name == m.Name {
			return true
		}
	}
	return false
}
