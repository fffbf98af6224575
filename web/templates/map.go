package templates

import (
	"context"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"
)

// Map is a λ-map: what is said on every part of an interval of λ.
type Map struct {
	From, To  float64     // ends of the interval
	Line      *MapLine    // From, To, and all that is of a fork or a branch are then places on it
	Growing   bool        // it is being decoded
	Reason    string      // why it ended, with Growing false: stop, cancelled, error
	Error     string      // message, with reason error
	Covered   float64     // share of the interval whose text is known to its end, 0 to 1
	Most      int         // most continuations that are followed
	Rows      int64       // decoded by both models together; 0 is unknown
	Seconds   float64     // it took
	LanesURL  string      // a λ after it is the address of the bench with a lane at that λ; "" is none
	Branches  []MapBranch // in the order of λ, without gaps
	Forks     []MapFork   // in the order of λ
	Sampling  Sampling
	Aligned   []AlignedModel // the models that λ is of
	Fragments string         // address of the map's section as it is now, while it grows
}

// MapBranch is a part of the interval with one text. Branches are in the order of λ, without gaps.
type MapBranch struct {
	From, To float64  // λ of its ends, or places on a line
	IDs      []int32  // its tokens
	Pieces   []string // the text that each token added
	Reason   string   // stop, length, budget, cancelled, error; "" is not known (yet)
}

// MapFork is where the texts on both sides of one λ part.
type MapFork struct {
	Lambda       float64      // or a place on the line
	Index        int          // of the first token that differs
	Line         bool         // Lambda is a place on a line
	Below, Above MapCandidate // chosen just below Lambda, and from it on
}

// MapCandidate is a token at a fork.
type MapCandidate struct {
	Name                      string  // as shown
	Reference, Aligned, Noise float64 // log-probabilities under both models, nats, and its noise
}

// known reports whether the text is known to its end.
func (b MapBranch) known() bool { return b.Reason == "stop" || b.Reason == "length" }

// ids are the branch's tokens for a data attribute.
func (b MapBranch) ids() string { return ints(b.IDs) }

// ending says how the text of a branch ends.
func (b MapBranch) ending() string {
	switch b.Reason {
	case "":
		return "not decoded"
	case "budget":
		return "not followed further"
	default:
		return reason(b.Reason, 0, 0)
	}
}

// between is a λ within the branch that takes few digits to write.
func (b MapBranch) between() float64 {
	for digits := range 15 {
		if x := round((b.From+b.To)/2, digits); b.From < x && x < b.To {
			return x
		}
	}
	return (b.From + b.To) / 2
}

// round rounds to so many decimals.
func round(x float64, digits int) float64 {
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'f', digits, 64), 64)
	return rounded
}

// lambda writes λ at a fork with as many digits as tell it from its neighbours on a page.
func lambda(x float64) string { return formatNumber(x, 4) }

// shown is the λ that is read first: that of the aligned model, or the end nearest to it.
func (m Map) shown() float64 { return math.Min(math.Max(1, m.From), m.To) }

// at is the branch at a λ; at a fork the one above.
func (m Map) at(lambda float64) int {
	for i := len(m.Branches) - 1; i > 0; i-- {
		if m.Branches[i].From <= lambda {
			return i
		}
	}
	return 0
}

// partings is, for the boundary below each branch, the index of the first token that differs across it.
func (m Map) partings() []int {
	at := make(map[float64]int, len(m.Forks))
	for _, f := range m.Forks {
		at[f.Lambda] = f.Index
	}
	list := make([]int, len(m.Branches))
	for i := 1; i < len(m.Branches); i++ {
		index, ok := at[m.Branches[i].From]
		if !ok {
			a, b := m.Branches[i-1].IDs, m.Branches[i].IDs
			for index < min(len(a), len(b)) && a[index] == b[index] {
				index++
			}
		}
		list[i] = index
	}
	return list
}

// path is the indices of the tokens of each branch at which a text at another λ goes another way, the last one last.
func (m Map) path() [][]int {
	parts := m.partings()
	paths := make([][]int, len(m.Branches))
	for i := range paths {
		seen := map[int]bool{}
		note := func(low, index int) int {
			if index < low {
				low = index
			}
			seen[low] = true
			return low
		}
		low := math.MaxInt
		for j := i; j > 0; j-- {
			low = note(low, parts[j])
		}
		low = math.MaxInt
		for j := i + 1; j < len(parts); j++ {
			low = note(low, parts[j])
		}
		for index := range m.depth() + 1 {
			if seen[index] {
				paths[i] = append(paths[i], index)
			}
		}
	}
	return paths
}

// depth is how many tokens the longest branch has.
func (m Map) depth() int {
	n := 1
	for _, b := range m.Branches {
		n = max(n, len(b.Pieces))
	}
	for _, f := range m.Forks {
		n = max(n, f.Index+1)
	}
	return n
}

// piece is a part of a branch's text.
type piece struct {
	Text string
	Kind string // "fork": other λ go another way here; "last": where the last fork is; "new": after it; "" before
}

// pieces is the text of a branch, cut where it forks.
func (m Map) pieces(i int) []piece {
	if i >= len(m.Branches) {
		return nil
	}
	b, path := m.Branches[i], m.path()[i]
	kinds := map[int]string{}
	last := -1
	for _, index := range path {
		kinds[index] = "fork"
		last = index
	}
	var list []piece
	for n, text := range b.Pieces {
		kind := kinds[n]
		switch {
		case n == last:
			kind = "last"
		case last >= 0 && n > last:
			kind = "new"
		}
		if k := len(list) - 1; k >= 0 && list[k].Kind == kind && kind != "fork" {
			list[k].Text += text
		} else {
			list = append(list, piece{text, kind})
		}
	}
	return list
}

// data is what the controller needs of a map.
func (m Map) data() string {
	type branch struct {
		From   float64  `json:"from"`
		To     float64  `json:"to"`
		Reason string   `json:"reason"`
		Pieces []string `json:"pieces"`
		At     []int    `json:"at"`   // tokens at which texts at other λ go another way
		Part   int      `json:"part"` // token at which it parts from the branch before
	}
	v := struct {
		From     float64   `json:"from"`
		To       float64   `json:"to"`
		Betas    []float64 `json:"betas"`
		Names    []string  `json:"names"`
		Line     *MapLine  `json:"line,omitempty"`
		Branches []branch  `json:"branches"`
	}{From: m.From, To: m.To, Betas: []float64{}, Names: []string{}, Line: m.Line, Branches: []branch{}}
	for i, a := range m.Aligned {
		v.Betas, v.Names = append(v.Betas, a.Beta), append(v.Names, m.model(i))
	}
	paths, parts := m.path(), m.partings()
	for i, b := range m.Branches {
		v.Branches = append(v.Branches, branch{b.From, b.To, b.Reason, slices.Concat([]string{}, b.Pieces), slices.Concat([]int{}, paths[i]), parts[i]})
	}
	return jsonText(v)
}

// headline says what the map found.
func (m Map) headline() string {
	n, open := 0, 0
	for _, b := range m.Branches {
		if b.known() {
			n++
		} else {
			open++
		}
	}
	over := m.over()
	if m.Growing {
		return count(len(m.Forks), "fork") + " so far for " + over + ": " + strconv.Itoa(n) + " of at least " + count(n+open, "text") + " known"
	}
	switch {
	case n == 1 && m.Covered == 1:
		return "One text for every " + over + ": it never forks"
	case open > 0:
		return count(n, "whole text") + " for " + over + ", and " + count(open, "part") + " left open"
	}
	return count(n, "text") + " for " + over
}

// missing says what of the interval is not known, and why; "" when all is.
func (m Map) missing() string {
	if m.Growing || m.Covered > 1-1e-12 {
		return ""
	}
	share := formatSignificant(100*(1-m.Covered), 2) + "% of λ, hatched, is not known to its end: "
	budget := false
	for _, b := range m.Branches {
		budget = budget || b.Reason == "budget"
	}
	switch {
	case m.Reason == "error":
		return share + "the map broke off. " + sentence(m.Error)
	case m.Reason == "cancelled":
		return share + "the map was stopped."
	case budget:
		return share + "the settings let " + count(m.Most, "text") + " be followed at most. They are shared out by width, and for narrow parts of λ none was left."
	}
	return share + "a text broke off."
}

// sentence is a message with a capital letter and a full stop.
func sentence(s string) string {
	if s == "" || strings.HasSuffix(s, ".") {
		return s
	}
	return Capital(s) + "."
}

// reasonWhy is a fork in numbers: how much each side speaks for the token above.
type reasonWhy struct {
	Lambda                    float64
	Reference, Aligned, Noise float64 // nats for the token above; below 0 for the one below
	Rest                      string  // what decides besides, in words; ""
}

// why is a fork in numbers. The two models' preferences and the noise are equal at the fork but for what Rest
// names.
func (m Map) why(f MapFork) reasonWhy {
	s := m.Sampling
	w := reasonWhy{
		Lambda: f.Lambda, Reference: f.Above.Reference - f.Below.Reference, Aligned: f.Above.Aligned - f.Below.Aligned,
		Noise: (f.Above.Noise - f.Below.Noise) * s.Temperature,
	}
	left := (1-f.Lambda)*w.Reference + f.Lambda*w.Aligned + w.Noise
	if math.Abs(left) > 1e-4*(1+math.Abs(w.Reference)+math.Abs(w.Aligned)) {
		switch {
		case s.PresencePenalty != 0 || s.FrequencyPenalty != 0:
			w.Rest = "penalties on tokens already used make up the rest"
		case s.MinP > 0:
			w.Rest = "min-p decides here: on one side of this λ it drops one of the two"
		}
	}
	return w
}

// nats is a size of preference.
func nats(x float64) string { return formatNumber(math.Abs(x), 2) }

// likelier is a size of preference in plain words: so many nats are so many times as likely.
func likelier(x float64) string {
	switch ratio := math.Exp(math.Abs(x)); {
	case ratio < 1.05:
		return "about as likely"
	case ratio > 1e6:
		return "over a million times as likely"
	default:
		return formatSignificant(ratio, 2) + " times as likely"
	}
}

// quoted is a token for a label.
func quoted(name string) string { return "“" + name + "”" }

// label names a fork to those who do not see it.
func (f MapFork) label() string {
	return "Fork at " + f.where() + " " + lambda(f.Lambda) + ", token " + strconv.Itoa(f.Index+1) + ": below it " + quoted(f.Below.Name) + ", above it " + quoted(f.Above.Name)
}

// words writes the text of a branch. It is written by hand because every character of white space counts here; the
// controller builds the same (web/static/map).
func (m Map) words(i int) templ.Component {
	var b strings.Builder
	if i < len(m.Branches) {
		for _, p := range m.pieces(i) {
			switch p.Kind {
			case "last":
				b.WriteString(`<mark class="map-last">` + templ.EscapeString(p.Text) + `</mark>`)
			default:
				b.WriteString(`<span data-kind="` + p.Kind + `">` + templ.EscapeString(p.Text) + `</span>`)
			}
		}
		if branch := m.Branches[i]; !branch.known() {
			b.WriteString(`<span class="map-rest">… ` + branch.ending() + `</span>`)
		}
	}
	return markup(b.String())
}

// sentence writes why a text forks.
func (f MapFork) sentence(w reasonWhy, noisy bool) templ.Component {
	q := func(name string) string { return "<q>" + templ.EscapeString(name) + "</q>" }
	n := func(x float64) string {
		unit := "nats"
		if nats(x) == "1" {
			unit = "nat"
		}
		return `<span class="num">` + nats(x) + `</span> ` + unit + ` (` + likelier(x) + `)`
	}
	below, above := q(f.Below.Name), q(f.Above.Name)
	reference, aligned := f.sides()
	s := `At ` + f.where() + ` = <span class="num">` + lambda(f.Lambda) + `</span> ` + above + ` overtakes ` + below + `: `
	switch { // the aligned model always prefers the one above more than the reference does
	case w.Aligned >= 0 && w.Reference < 0:
		s += aligned + " prefers it by " + n(w.Aligned) + ", " + reference + " prefers " + below + " by " + n(w.Reference)
	case w.Aligned >= 0:
		s += "both prefer it, " + aligned + " by " + n(w.Aligned) + ", " + reference + " by only " + n(w.Reference)
	default:
		s += "both prefer " + below + ", but " + reference + " by " + n(w.Reference) + ", " + aligned + " by only " + n(w.Aligned)
	}
	if noisy {
		favoured := above
		if w.Noise < 0 {
			favoured = below
		}
		s += "; the noise, the luck of this seed, favours " + favoured + " by " + n(w.Noise)
	}
	if w.Rest != "" {
		s += "; " + w.Rest
	}
	s += ". At"
	if w.Rest == "" {
		s += " this " + f.where() + " the sides balance: at"
	}
	return markup(s + " a smaller one " + below + " is written, at a greater one " + above + ".")
}

// markup is a component of finished markup.
func markup(s string) templ.Component {
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	})
}
