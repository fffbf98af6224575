package templates

import (
	"math"
	"strconv"
	"strings"
)

// The running KL of a run's lanes as a drawing. The controller (web/static/chart) draws it anew in the width that it finds.

// Sizes of the drawing, in units of its viewBox.
const (
	klWidth, klShortest = 900.0, 180.0
	klLeft, klRight     = 40.0, 56.0
	klTop, klBottom     = 8.0, 22.0
	klLabel             = 13.0 // from one name at the end of a line to the next
	klPoints            = 600  // of a line, at most
)

// klTick is a number on an axis, in the drawing's units.
type klTick struct {
	At   float64
	Text string
}

// klLine is one lane: its points, and its name at the end of the line.
type klLine struct {
	Hue, Points, Name string  // as hue has it; Points: of a polyline; Name: λ
	EndX, EndY, NameY float64 // where the line ends; NameY: where its name stands
}

// klDrawing is the drawing laid out.
type klDrawing struct {
	Height float64  // in the drawing's units
	Y, X   []klTick // ticks of both axes
	Lines  []klLine
}

// drawKL lays the lines out: x is tokens, y the sum so far in nats.
func drawKL(cs []column) (d klDrawing) {
	var lanes []Lane
	tokens, top := 2, 1e-6
	for _, c := range cs {
		if sum, traced := c.Lane.klSum(); traced {
			lanes = append(lanes, c.Lane)
			tokens, top = max(tokens, len(c.Lane.Tokens)), math.Max(top, sum)
		}
	}
	d.Height = math.Max(klShortest, klTop+klBottom+klLabel*float64(len(lanes)))
	x := func(i int) float64 { return klLeft + (klWidth-klLeft-klRight)*float64(i)/float64(tokens-1) }
	y := func(v float64) float64 { return d.Height - klBottom - (d.Height-klTop-klBottom)*v/top }
	for _, v := range ticksOf(0, top, 4) {
		d.Y = append(d.Y, klTick{At: y(v), Text: formatNumber(v, 3)})
	}
	for _, v := range ticksOf(0, float64(tokens), 8) {
		if v >= 1 {
			d.X = append(d.X, klTick{At: x(int(v) - 1), Text: formatNumber(v, 0)})
		}
	}
	for _, l := range lanes {
		d.Lines = append(d.Lines, klLineOf(l, x, y))
	}
	spreadNames(d.Lines, klTop+4, d.Height-klBottom)
	return d
}

// klLineOf is a lane's running KL; x and y place a token and nats in the drawing.
func klLineOf(l Lane, x func(int) float64, y func(float64) float64) klLine {
	var b strings.Builder
	line := klLine{Hue: hue(l.now()), Name: "λ " + FormatLambda(l.now())}
	sum, every := 0.0, (len(l.Tokens)+klPoints-1)/klPoints
	for i, t := range l.Tokens {
		sum += t.KL
		line.EndX, line.EndY = x(i), y(sum)
		if i%every == 0 || i == len(l.Tokens)-1 {
			b.WriteString(px(line.EndX) + "," + px(line.EndY) + " ")
		}
	}
	line.Points, line.NameY = strings.TrimSpace(b.String()), line.EndY
	return line
}

// spreadNames moves names apart that would lie on each other, in the order of their lines and within the drawing.
func spreadNames(lines []klLine, low, high float64) {
	order := make([]*klLine, len(lines))
	for i := range lines {
		order[i] = &lines[i]
	}
	for i := 1; i < len(order); i++ {
		for k := i; k > 0 && order[k].EndY < order[k-1].EndY; k-- {
			order[k], order[k-1] = order[k-1], order[k]
		}
	}
	last := low - klLabel
	for _, l := range order {
		l.NameY = math.Max(l.EndY, last+klLabel)
		last = l.NameY
	}
	next := high + klLabel
	for i := len(order) - 1; i >= 0; i-- {
		order[i].NameY = math.Max(low, math.Min(order[i].NameY, next-klLabel))
		next = order[i].NameY
	}
}

// viewBox is the drawing's size as SVG takes it.
func (d klDrawing) viewBox() string {
	return "0 0 " + px(klWidth) + " " + px(d.Height)
}

// words tell those who do not see the drawing what it is.
func (d klDrawing) words() string {
	return "Running KL of " + strconv.Itoa(len(d.Lines)) + " lanes; the table below has the numbers"
}
