package sweep

import (
	"fmt"
	"math"

	"realign/internal/decode"
	"realign/internal/experiment"
	"realign/internal/stat"
)

// Best is where a reward is best in the range of λ that was decoded. It is there only where λ surely moves the reward.
type Best struct {
	Lambda    stat.Interval  `json:"lambda"`          // where the reward is best
	Value     stat.Interval  `json:"value"`           // the reward there, in its own direction
	Gain      *stat.Interval `json:"gain,omitempty"`  // over λ = 1; above 0 is better, whatever the reward's direction
	End       End            `json:"end,omitempty"`   // the estimate is at this end of what is known
	AtLow     bool           `json:"at_low"`          // the interval reaches the lowest λ that was decoded: the best may lie below
	AtHigh    bool           `json:"at_high"`         // the highest: it may lie above
	BlindLow  bool           `json:"blind_low"`       // the interval reaches the lowest λ with values, below which some were decoded
	BlindHigh bool           `json:"blind_high"`      // the highest, above which some were
	Wider     *Span          `json:"wider,omitempty"` // the range to look at next, if it does
	KL        float64        `json:"kl"`              // to the reference at the best λ, nats per answer, between decoded λ by linear interpolation
	LogZ      float64        `json:"log_z"`           // mean |log Z| per token there, nats
}

// End is an end of a range.
type End string

// The ends.
const (
	LowEnd  End = "low"
	HighEnd End = "high"
)

// Reference reports whether the estimate is the reference itself or beyond it, which no β stands for.
func (b *Best) Reference() bool { return b.Lambda.Estimate <= 0 }

// Span is a range of λ.
type Span struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

// Edges says for people where the interval reaches an end of the range, and which range would tell more.
func (b *Best) Edges() (list []string) {
	if b.AtLow {
		list = append(list, "The interval reaches the lowest λ that was decoded: the best may lie below it.")
	}
	if b.AtHigh {
		list = append(list, "The interval reaches the highest λ that was decoded: the best may lie above it.")
	}
	if b.Wider != nil && len(list) > 0 {
		list[len(list)-1] += fmt.Sprintf(" A sweep from %s to %s would tell.", stat.Format(b.Wider.From), stat.Format(b.Wider.To))
	}
	if b.BlindLow {
		list = append(list, fmt.Sprintf("The interval reaches λ = %s, below which nothing was judged: the best may lie there.", stat.Format(b.Lambda.Low)))
	}
	if b.BlindHigh {
		list = append(list, fmt.Sprintf("The interval reaches λ = %s, above which nothing was judged: the best may lie there.", stat.Format(b.Lambda.High)))
	}
	return list
}

// place says where the best λ lies between what was read and what was decoded, both ascending.
func (b *Best) place(read, decoded []float64) {
	const near = 1e-9
	low, high := decoded[0], decoded[len(decoded)-1]
	first, last := read[0], read[len(read)-1]
	b.AtLow, b.AtHigh = b.Lambda.Low <= low+near, b.Lambda.High >= high-near
	b.BlindLow, b.BlindHigh = !b.AtLow && b.Lambda.Low <= first+near, !b.AtHigh && b.Lambda.High >= last-near
	switch {
	case first == last:
	case b.Lambda.Estimate <= first+near:
		b.End = LowEnd
	case b.Lambda.Estimate >= last-near:
		b.End = HighEnd
	}
	b.widen(low, high)
}

// widen sets Wider for a sweep from low to high: half as far again beyond an end that is reached, but not beyond the
// reference or what can be decoded.
func (b *Best) widen(low, high float64) {
	wider := Span{low, high}
	if b.AtLow && low > 0 {
		wider.From = experiment.Tidy(max(0, low-(high-low)/2))
	}
	if b.AtHigh {
		wider.To = experiment.Tidy(min(decode.MaxLambda, high+(high-low)/2))
	}
	if wider != (Span{low, high}) {
		b.Wider = &wider
	}
}

// report is the best λ of a curve over what was decoded, without KL and log Z. Nil where nothing is known. What it
// says of the best point holds wherever the best might have been chosen.
func (c *curve) report(decoded []float64) *Best {
	lambda, ok := c.best()
	j := c.together
	if !ok || j == nil {
		return nil
	}
	at := j.place(lambda.Estimate)
	b := &Best{Lambda: lambda, Value: c.turned(j.at(at))}
	b.place(j.lambdas, decoded)
	if one := j.place(1); j.lambdas[one] == 1 && one != at {
		gain := j.difference(at, one)
		b.Gain = &gain
	}
	return b
}

// excess is, for each point, by how much what speaks against its being the best exceeds what chance allows, in standard
// errors: above 0 it is not.
func (j *simultaneous) excess() []float64 {
	excess := make([]float64, len(j.lambdas))
	for a := range excess {
		most := 0.0
		for b := range j.lambdas {
			if d := j.value[b] - j.value[a]; d > 0 {
				most = max(most, d/j.error(a, b))
			}
		}
		excess[a] = most - limit(len(j.above), func(d int) float64 { return j.above[d][a] })
	}
	return excess
}

// best is the interval of the best λ around an estimate: from the lowest to the highest that may be best. A λ is out where
// another is better by more than chance allows, which inverts a test for every λ, so that on a plateau all of it is in.
// Between two points the end is where the excess crosses zero, and at least half-way from the top itself, and where the points
// are farther apart than spacing, so that nothing is known between them but what a parabola makes of it.
func (j *simultaneous) best(estimate, spacing float64) stat.Interval {
	excess := j.excess()
	first, last := -1, -1
	for k, e := range excess {
		if e <= 0 {
			if last = k; first < 0 {
				first = k
			}
		}
	}
	top := j.place(estimate)
	end := func(in, out int) float64 {
		if out < 0 || out >= len(j.lambdas) {
			return j.lambdas[in]
		}
		part := -excess[in] / (excess[out] - excess[in])
		gap := j.lambdas[out] - j.lambdas[in]
		if math.Abs(gap) > 1.5*spacing || in == top {
			part = max(part, 0.5)
		}
		return j.lambdas[in] + part*gap
	}
	return stat.Interval{Estimate: estimate, Low: min(estimate, end(first, first-1)), High: max(estimate, end(last, last+1))}
}

// turned is an interval of better and worse in the reward's own direction.
func (c *curve) turned(i stat.Interval) stat.Interval {
	if c.sign < 0 {
		return stat.Interval{Estimate: 0 - i.Estimate, Low: 0 - i.High, High: 0 - i.Low}
	}
	return i
}

// Peak is a λ above which a reward gets worse: with an evaluation reward the sign of over-optimisation (Gao, Schulman &
// Hilton 2023).
type Peak struct {
	Lambda stat.Interval `json:"lambda"`
	KL     float64       `json:"kl"`   // to the reference at that λ, nats per answer
	Loss   stat.Interval `json:"loss"` // from there to the highest λ; above 0 is worse, whatever the direction
	Sure   bool          `json:"sure"` // Loss is clear of 0
}

// peak is where the curve turns, nil where its best point is the last one.
func (c *curve) peak(best *Best) *Peak {
	j := c.together
	at, last := j.place(best.Lambda.Estimate), len(j.lambdas)-1
	if at == last {
		return nil
	}
	loss := j.difference(at, last)
	return &Peak{Lambda: best.Lambda, KL: best.KL, Loss: loss, Sure: loss.Low > 0}
}

// Holdout is what the evaluation reward says of the λ that is best by the objective.
type Holdout struct {
	At            stat.Interval  `json:"at"`             // the evaluation reward there
	Gain          *stat.Interval `json:"gain,omitempty"` // over λ = 1; above 0 is better
	Loss          *stat.Interval `json:"loss,omitempty"` // against its own best λ; above 0 is worse; nil where it has none
	Overoptimised bool           `json:"overoptimised"`  // its own best λ is surely below the objective's, and Loss is clear of 0
}

// holdout reads the evaluation's curve at the objective's best λ. own is the evaluation's best, nil where λ is not known to
// move it.
func holdout(e *curve, best, own *Best) *Holdout {
	j := e.together
	if j == nil {
		return nil
	}
	at := j.place(best.Lambda.Estimate)
	c := &Holdout{At: e.turned(j.at(at))}
	if one := j.place(1); j.lambdas[one] == 1 && one != at {
		gain := j.difference(at, one)
		c.Gain = &gain
	}
	if own != nil {
		loss := j.chosen(j.place(own.Lambda.Estimate), at)
		c.Loss = &loss
		c.Overoptimised = own.Lambda.High < best.Lambda.Low && loss.Low > 0
	}
	return c
}
