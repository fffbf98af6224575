package templates

import (
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// river is a map as it is drawn: λ from left to right, in percent of the width, tokens from top to bottom, in pixels.
// Drawn so, it fits every width without a script.
type river struct {
	Height  float64 // pixels
	Bands   []band  // from top to bottom along each way through the map
	Marks   []mark  // forks
	Rows    []tick  // numbers of tokens
	Ticks   []tick  // λ
	Flagged []tick  // λ of forks, where there is room
}

// band is tokens that a part of the interval shares: from a fork to the next, or to the end.
type band struct {
	From, To   float64 // λ of its ends
	X, W, Y, H float64 // place and size: X and W in percent, Y and H in pixels
	Text       string  // of its tokens
	Kind       string  // "end": known to its end, "through": it forks, "open": not known (yet)
}

// mark is a fork in the drawing.
type mark struct {
	Fork int     // its place
	X, Y float64 // in percent; Y: in pixels
}

// tick is a number on an axis, in percent or in pixels.
type tick struct {
	At      float64
	Text    string
	Crowded bool // there is no room for it on a narrow page
}

// Sizes of the drawing, in pixels. Text is measured for a plot of plotWidth; on a narrower one it is cut sooner.
const (
	plotWidth  = 1000.0
	letter     = 7.2
	line       = 19.0
	tokenLeast = 5.0
	bandLeast  = 26.0
	bandMost   = 132.0
	textLeast  = 0.035 // of the width: narrower bands have no text
)

// node is tokens that several branches begin with, or the rest of one branch (leaf).
type node struct {
	from, to   int  // first and behind the last
	start, end int  // first and behind the last
	leaf       bool // it is the rest of one branch
}

// river lays a map out.
func (m Map) river() river {
	parts, depth := m.partings(), m.depth()
	var nodes []node
	var grow func(from, to, start int)
	grow = func(from, to, start int) {
		if to-from == 1 {
			end := len(m.Branches[from].Pieces)
			if !m.Branches[from].known() {
				end = depth
			}
			nodes = append(nodes, node{from, to, start, max(end, start), true})
			return
		}
		at := slices.Min(parts[from+1 : to])
		// The branches share what comes before the first token at which two neighbours differ.
		nodes = append(nodes, node{from, to, start, max(at, start), false})
		for begin, i := from, from+1; i <= to; i++ {
			if i == to || parts[i] <= at {
				grow(begin, i, max(at, start))
				begin = i
			}
		}
	}
	if len(m.Branches) > 0 {
		grow(0, len(m.Branches), 0)
	}
	y := m.rows(nodes, depth)
	width := m.To - m.From
	x := func(lambda float64) float64 { return 100 * (lambda - m.From) / width }
	r := river{Height: y[depth]}
	for _, n := range nodes {
		if n.end == n.start {
			continue
		}
		first, last := m.Branches[n.from], m.Branches[n.to-1]
		b := band{
			From: first.From, To: last.To, X: x(first.From), W: x(last.To) - x(first.From), Y: y[n.start], H: y[n.end] - y[n.start],
			Text: m.said(n), Kind: "through",
		}
		if n.leaf {
			b.Kind = "end"
			if !first.known() {
				b.Kind = "open"
			}
		}
		r.Bands = append(r.Bands, b)
	}
	for i, f := range m.Forks {
		r.Marks = append(r.Marks, mark{i, x(f.Lambda), y[min(f.Index, depth)]})
	}
	r.Rows, r.Ticks, r.Flagged = rowTicks(y), m.lambdaTicks(x), m.flagged(x)
	return r
}

// said is the text of a node, as far as it is known.
func (m Map) said(n node) string {
	for _, b := range m.Branches[n.from:n.to] {
		if len(b.Pieces) >= n.end || n.leaf {
			return strings.Join(b.Pieces[min(n.start, len(b.Pieces)):min(n.end, len(b.Pieces))], "")
		}
	}
	return ""
}

// rows is where each token begins: as high as the texts beside it need, so that they can be read.
func (m Map) rows(nodes []node, depth int) []float64 {
	heights := make([]float64, depth)
	for i := range heights {
		heights[i] = tokenLeast
	}
	byEnd := slices.Clone(nodes)
	sort.SliceStable(byEnd, func(i, j int) bool { return byEnd[i].end < byEnd[j].end })
	for _, n := range byEnd {
		share := (m.Branches[n.to-1].To - m.Branches[n.from].From) / (m.To - m.From)
		if n.end == n.start || share < textLeast {
			continue
		}
		perLine := max(1, math.Floor((share*plotWidth-16)/letter))
		lines := math.Ceil(1.1 * float64(len([]rune(m.said(n)))) / perLine)
		need := min(max(bandLeast, lines*line+10), bandMost)
		for _, h := range heights[n.start:n.end] {
			need -= h
		}
		if need > 0 {
			heights[n.end-1] += need
		}
	}
	y := make([]float64, depth+1)
	for i, h := range heights {
		y[i+1] = y[i] + h
	}
	return y
}

// rowTicks numbers tokens, with room between the numbers.
func rowTicks(y []float64) []tick {
	const room = 24
	var list []tick
	last := math.Inf(-1)
	for i := range len(y) - 1 {
		if y[i]-last >= room && y[i] <= y[len(y)-1]-12 {
			list = append(list, tick{At: y[i], Text: strconv.Itoa(i + 1)})
			last = y[i]
		}
	}
	return list
}

// lambdaTicks is round λ, ten or so.
func (m Map) lambdaTicks(x func(float64) float64) []tick {
	list := roundNumbers(m.From, m.To, 10)
	for i := range list {
		list[i].At = math.Min(math.Max(x(list[i].At), 0), 100)
	}
	return list
}

// roundNumbers are multiples of 1, 2 or 5 times a power of ten in an interval, at most about so many steps.
func roundNumbers(from, to, steps float64) []tick {
	width := to - from
	power := math.Pow(10, math.Floor(math.Log10(width/steps)))
	step := 10 * power
	for _, s := range []float64{1, 2, 5} {
		if s*power >= width/steps*(1-1e-9) {
			step = s * power
			break
		}
	}
	digits := int(max(0, math.Ceil(-math.Log10(step)-1e-9)))
	var list []tick
	for i := math.Ceil(from/step - 1e-9); i*step <= to+step*1e-9; i++ {
		list = append(list, tick{At: i * step, Text: formatNumber(i*step, digits)})
	}
	return list
}

// flagged is the λ of forks that have room for their number, the earliest tokens first: they part the most text.
func (m Map) flagged(x func(float64) float64) []tick {
	const room, narrowRoom = 7, 16 // percent
	forks := slices.Clone(m.Forks)
	sort.SliceStable(forks, func(i, j int) bool { return forks[i].Index < forks[j].Index })
	var list []tick
	for _, f := range forks {
		at := x(f.Lambda)
		near := func(room float64) bool {
			return slices.ContainsFunc(list, func(t tick) bool { return math.Abs(t.At-at) < room && !(room == narrowRoom && t.Crowded) })
		}
		if at < 2 || at > 98 || near(room) {
			continue
		}
		list = append(list, tick{at, formatNumber(f.Lambda, 3), near(narrowRoom)})
	}
	return list
}

// narrow reports that no text fits.
func (b band) narrow() bool { return b.W < 100*textLeast || b.H < 12 }

// pct is a share of the width as SVG takes it.
func pct(x float64) string { return strconv.FormatFloat(x, 'f', 3, 64) + "%" }

// px is a length as SVG takes it.
func px(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) }
