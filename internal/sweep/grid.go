package sweep

import (
	"encoding/json"
	"math"
	"slices"

	"realign/internal/decode"
	"realign/internal/experiment"
	"realign/internal/fault"
)

// MaxGrid is how many λ a grid may have.
const MaxGrid = 33

// Grid is the λ that every prompt is decoded at: ascending, without repetition.
type Grid struct {
	Values []float64
}

// Range is a grid by its ends, with the number of its λ or the distance between them; 9 λ when neither is given.
type Range struct {
	From, To float64 // the ends
	Step     float64 // distance; 0 where Points says it
	Points   int     // ends included
}

// numbers reads a list whose numbers may be texts, such as "1/6", or a text with all of them.
func numbers(b []byte) ([]float64, error) {
	var text string
	if json.Unmarshal(b, &text) == nil {
		return decode.ParseNumbers("lambda", text)
	}
	var list []any
	if err := Strict("lambda", b, &list); err != nil {
		return nil, err
	}
	values := make([]float64, len(list))
	for i, x := range list {
		switch x := x.(type) {
		case float64:
			values[i] = x
		case string:
			var err error
			if values[i], err = decode.ParseNumber("lambda", x); err != nil {
				return nil, err
			}
		default:
			return nil, fault.Field("lambda", "has something that is not a number")
		}
	}
	return values, nil
}

// UnmarshalJSON reads a list of numbers (texts such as "1/6" among them), a text with such a list, or {"from", "to"} with "step" or "points" (ends included; 9 points when
// neither is given).
func (g *Grid) UnmarshalJSON(b []byte) error {
	*g = Grid{}
	if len(b) > 0 && (b[0] == '[' || b[0] == '"') {
		var err error
		if g.Values, err = numbers(b); err != nil {
			return err
		}
		if len(g.Values) == 0 {
			return fault.Field("lambda", "the list is empty")
		}
		slices.Sort(g.Values)
		for i := 1; i < len(g.Values); i++ {
			if g.Values[i] == g.Values[i-1] {
				return fault.Field("lambda", "%g is given twice", g.Values[i])
			}
		}
		return nil
	}
	var r struct {
		From   *float64 `json:"from"`
		To     *float64 `json:"to"`
		Step   float64  `json:"step,omitempty"`
		Points int      `json:"points,omitempty"`
	}
	if err := Strict("lambda", b, &r); err != nil {
		return err
	}
	if r.From == nil || r.To == nil {
		return fault.Field("lambda", "a range needs from and to")
	}
	var err error
	*g, err = Range{From: *r.From, To: *r.To, Step: r.Step, Points: r.Points}.Grid()
	return err
}

// Grid makes the λ of a range. The error is Invalid.
func (r Range) Grid() (g Grid, err error) {
	from, to := r.From, r.To
	switch {
	case from > to:
		return g, fault.Field("lambda", "the range is reversed: from %g is above to %g", from, to)
	case from == to:
		return g, fault.Field("lambda", "the range is empty: from and to are both %g", from)
	case r.Step != 0 && r.Points != 0:
		return g, fault.Field("lambda", "has both step and points: one says it all")
	case r.Step < 0:
		return g, fault.Field("lambda.step", "%g is not above 0", r.Step)
	}
	if r.Step == 0 {
		if r.Points == 0 {
			r.Points = 9
		}
		if err := checkBound("lambda.points", r.Points); err != nil {
			return g, err
		}
		for i := range r.Points {
			g.Values = append(g.Values, experiment.Tidy(from+(to-from)*float64(i)/float64(r.Points-1)))
		}
		return g, nil
	}
	steps := math.Floor((to-from)/r.Step + 1e-9)
	if steps < 1 {
		return g, fault.Field("lambda.step", "%g is wider than the range from %g to %g", r.Step, from, to)
	}
	if steps >= MaxGrid {
		return g, fault.Field("lambda.step", "%g makes %.0f λ, at most %d", r.Step, steps+1, MaxGrid)
	}
	for i := range int(steps) + 1 {
		g.Values = append(g.Values, experiment.Tidy(from+float64(i)*r.Step))
	}
	return g, nil
}

// MarshalJSON writes the list.
func (g Grid) MarshalJSON() ([]byte, error) { return json.Marshal(g.Values) }

// check wants two λ or more, ascending, within the limits.
func (g *Grid) check() error {
	if len(g.Values) < 2 {
		return fault.Field("lambda", "a sweep needs two λ or more, as a list or a range")
	}
	if len(g.Values) > MaxGrid {
		return fault.Field("lambda", "%d λ, at most %d", len(g.Values), MaxGrid)
	}
	for i, x := range g.Values {
		if err := decode.CheckLambda("lambda", decode.Vector{x}, 1); err != nil {
			return err
		}
		if i > 0 && x <= g.Values[i-1] {
			return fault.Field("lambda", "%g follows %g, where they ascend", x, g.Values[i-1])
		}
	}
	return nil
}
