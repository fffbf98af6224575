package templates

import (
	"math"
	"strconv"
	"strings"
)

// Plot is a drawing of numbers over numbers, made on the server. Places are in percent of the plot, so that it fits every
// width without a script, and only what may be stretched is: lines and bands, not points and words.
type Plot struct {
	Title   string // names the plot to those who do not see it
	X, Y    string // what the axes show
	Key     string // what the lines are, if there are several
	Bands   []PlotBand
	Lines   []PlotLine
	Points  []PlotPoint
	Marks   []PlotMark
	Levels  []PlotLevel
	FromX   *float64 // ends of the axes where the numbers do not say
	ToX     *float64
	Small   bool
	Numbers bool // whether the numbers are told in a table below
}

// PlotBand is the area between two curves over the same X.
type PlotBand struct {
	X, Low, High []float64 // ascending; Low and High: the curves at X
}

// PlotLine joins points. A line that stops is several.
type PlotLine struct {
	X, Y []float64 // of the points, in the order in which they are joined
	Kind string    // "", "faint", "second"
}

// PlotPoint is one measured point with the ends of its intervals; those that are equal are not drawn.
type PlotPoint struct {
	X, Y                     float64
	LowX, HighX, LowY, HighY float64 // ends of the intervals
	Lambda                   float64 // that it was measured at
	Label                    string  // beside it
	Tip                      string  // all of it in words
	Kind                     string  // "", "best", "second"
}

// PlotMark is a place on the X axis, or an interval of it.
type PlotMark struct {
	From, To float64
	Label    string
	Kind     string // "best": an interval of the answer; "here": a line
}

// PlotLevel is a part of the X axis with a level of its own: a band along the axis.
type PlotLevel struct {
	From, To float64
	Level    string // "close", "off", "far" or "corrected"
	Tip      string // in words
}

// plotFrame is a plot laid out.
type plotFrame struct {
	Plot
	left, right, bottom, top float64 // ends of both axes, in the plot's numbers
	XTicks, YTicks           []tick  // in percent of the plot
}

// frame lays a plot out.
func (p Plot) frame() plotFrame {
	f := plotFrame{Plot: p, left: math.Inf(1), right: math.Inf(-1), bottom: math.Inf(1), top: math.Inf(-1)}
	x := func(all ...float64) {
		for _, v := range all {
			f.left, f.right = math.Min(f.left, v), math.Max(f.right, v)
		}
	}
	y := func(all ...float64) {
		for _, v := range all {
			f.bottom, f.top = math.Min(f.bottom, v), math.Max(f.top, v)
		}
	}
	for _, b := range p.Bands {
		x(b.X...)
		y(b.Low...)
		y(b.High...)
	}
	for _, l := range p.Lines {
		x(l.X...)
		y(l.Y...)
	}
	for _, d := range p.Points {
		x(d.X, d.LowX, d.HighX)
		y(d.Y, d.LowY, d.HighY)
	}
	if p.FromX != nil {
		x(*p.FromX)
	}
	if p.ToX != nil {
		x(*p.ToX)
	}
	f.left, f.right = widened(f.left, f.right, 0.02)
	f.bottom, f.top = widened(f.bottom, f.top, 0.06)
	most := 6
	if p.Small {
		most = 4
	}
	for _, v := range ticksOf(f.left, f.right, most) {
		f.XTicks = append(f.XTicks, tick{At: f.atX(v), Text: formatNumber(v, 4)})
	}
	for _, v := range ticksOf(f.bottom, f.top, most) {
		f.YTicks = append(f.YTicks, tick{At: f.atY(v), Text: formatNumber(v, 4)})
	}
	return f
}

// widened gives an interval some room, and makes one of what is none.
func widened(low, high, share float64) (float64, float64) {
	if low > high {
		return 0, 1
	}
	room := (high - low) * share
	if room == 0 {
		room = math.Max(math.Abs(low)*0.1, 0.5)
	}
	return low - room, high + room
}

// ticksOf are round numbers within an interval, at most so many.
func ticksOf(low, high float64, most int) (all []float64) {
	for _, scale := range []float64{1, 2, 2.5, 5, 10, 20} {
		step := math.Pow(10, math.Floor(math.Log10((high-low)/float64(most)))) * scale
		if (high-low)/step > float64(most) {
			continue
		}
		for k := math.Ceil(low / step); k*step <= high; k++ {
			all = append(all, round(k*step, 9))
		}
		return all
	}
	return nil
}

// atX and atY are places in percent from the left and from the top.
func (f plotFrame) atX(v float64) float64 { return 100 * (v - f.left) / (f.right - f.left) }

func (f plotFrame) atY(v float64) float64 { return 100 * (f.top - v) / (f.top - f.bottom) }

// x and y are places as attributes.
func (f plotFrame) x(v float64) string { return share(f.atX(v)) + "%" }

func (f plotFrame) y(v float64) string { return share(f.atY(v)) + "%" }

// share is a place in percent as an attribute, never far outside of the plot.
func share(x float64) string { return strconv.FormatFloat(math.Max(-50, math.Min(150, x)), 'f', 2, 64) }

// width of an interval on the X axis, within the plot.
func (f plotFrame) width(from, to float64) string {
	from, to = math.Max(from, f.left), math.Min(to, f.right)
	return share(math.Max(0, f.atX(to)-f.atX(from))) + "%"
}

// within is a number on the X axis, moved to its nearer end where it is outside.
func (f plotFrame) within(v float64) float64 { return math.Max(f.left, math.Min(f.right, v)) }

// line is a polyline's points, and band a polygon's, in a box of 100 × 100.
func (f plotFrame) line(l PlotLine) string { return f.path(l.X, l.Y) }

// band is a polygon's points: along the upper curve, and back along the lower one.
func (f plotFrame) band(b PlotBand) string {
	back := make([]float64, len(b.X))
	low := make([]float64, len(b.X))
	for i := range b.X {
		back[len(b.X)-1-i], low[len(b.X)-1-i] = b.X[i], b.Low[i]
	}
	return f.path(b.X, b.High) + " " + f.path(back, low)
}

// path is points of a polyline.
func (f plotFrame) path(x, y []float64) string {
	var b strings.Builder
	for i := range x {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(share(f.atX(x[i])) + "," + share(f.atY(y[i])))
	}
	return b.String()
}

// side says on which side of its point a label stands, so that it stays within the plot.
func (f plotFrame) side(d PlotPoint) string {
	if f.atX(d.X) > 80 {
		return "end"
	}
	return "start"
}

// shift is how far a label stands from its point, in pixels.
func (f plotFrame) shift(d PlotPoint) string {
	if f.side(d) == "end" {
		return "-8"
	}
	return "8"
}

// slug is a title as part of a file's name.
func slug(title string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		default:
			return '-'
		}
	}, title), "-")
}
