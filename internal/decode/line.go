package decode

import (
	"math"

	"realign/internal/fault"
)

// Line is a straight line between two mixtures of any number of aligned models: λ at place 0, and λ at place 1. A λ-map along
// it is a map of places.
//
// The weights of the models are linear in the place, so that the logits at a place t are (1−t)·z₀ + t·z₁, with those of the two
// mixtures: what is said of a map between the reference and one aligned model holds for a map between any two mixtures.
type Line struct {
	From Vector `json:"from"` // λ at place 0, one value per aligned model
	To   Vector `json:"to"`   // λ at place 1
}

// At is λ at a place; at 0 and 1 it is an end, bit for bit.
func (l *Line) At(place float64) Vector {
	switch place {
	case 0:
		return l.From
	case 1:
		return l.To
	}
	v := make(Vector, len(l.From))
	for i, x := range l.From {
		v[i] = x + float64(place*(l.To[i]-x))
	}
	return v
}

// At is the λ that a place of the map stands for: itself where there is one aligned model and no line.
func (m *Map) At(place float64) Vector {
	if m.Line == nil {
		return Vector{place}
	}
	return m.Line.At(place)
}

// checkLine checks the line of a map over n aligned models.
func (m *Map) checkLine(n int) error {
	if m.Line == nil {
		if n != 1 {
			return fault.Field("aligned", "%d aligned models, where a λ-map is over one: give it a line from one λ to another", n)
		}
		return nil
	}
	if err := CheckLambda("line.from", m.Line.From, n); err != nil {
		return err
	}
	if err := CheckLambda("line.to", m.Line.To, n); err != nil {
		return err
	}
	switch {
	case m.Line.From.Equal(m.Line.To):
		return fault.Field("line.to", "is the same as line.from: a line is between two λ")
	case m.From < 0 || m.From > 1:
		return fault.Field("from", "%v is outside the line, whose places are 0 to 1", m.From)
	case m.To < 0 || m.To > 1:
		return fault.Field("to", "%v is outside the line, whose places are 0 to 1", m.To)
	}
	return nil
}

// ends are log-probabilities at the two ends that a map's places are counted from: the reference and the aligned model, or the two
// mixtures of a line.
func (e *Engine) ends(m *Map, rows [][]float32) (at [2]func(Token) float64) {
	for i := range at {
		if m.Line == nil {
			_, sum := e.config.Kernel.Sum(rows[i])
			at[i] = func(t Token) float64 { return finite(float64(rows[i][t]) - sum) }
			continue
		}
		z := make([]float64, e.vocab.Size())
		_, top := e.config.Kernel.Mix(z, weights(nil, m.Line.At(float64(i))), rows)
		sum := 0.0
		for _, x := range z {
			sum += math.Exp(x - top)
		}
		sum = top + math.Log(sum)
		at[i] = func(t Token) float64 { return finite(z[t] - sum) }
	}
	return at
}
