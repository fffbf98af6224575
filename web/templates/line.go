package templates

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// MapLine is the line between two mixtures that a map is along: λ at place 0 and at place 1.
type MapLine struct {
	From []float64 `json:"from"`
	To   []float64 `json:"to"`
}

// mixture is λ at a place of the map, which is the place itself where there is no line.
func (m Map) mixture(place float64) []float64 {
	if m.Line == nil {
		return []float64{place}
	}
	switch place {
	case 0:
		return m.Line.From
	case 1:
		return m.Line.To
	}
	v := slices.Clone(m.Line.From)
	for i := range v {
		v[i] += place * (m.Line.To[i] - v[i])
	}
	return v
}

// symbol is what the numbers of the map are.
func (m Map) symbol() string {
	if m.Line != nil {
		return "place"
	}
	return "λ"
}

// over names the interval of the map.
func (m Map) over() string {
	s := m.symbol() + " from " + lambda(m.From) + " to " + lambda(m.To)
	if m.Line != nil {
		s += " on the line from λ " + FormatLambda(m.Line.From) + " to " + FormatLambda(m.Line.To)
	}
	return s
}

// mixtureWords is λ of each model at a place, with their sum; "" where there is no line.
func (m Map) mixtureWords(place float64) string {
	if m.Line == nil {
		return ""
	}
	v := m.mixture(place)
	var words []string
	for i, x := range v {
		words = append(words, m.model(i)+": λ "+formatNumber(x, 3))
	}
	return strings.Join(append(words, "sum "+formatNumber(total(v), 3)), " · ")
}

// model is the name of an aligned model.
func (m Map) model(i int) string {
	if i < len(m.Aligned) {
		return or(m.Aligned[i].Title, m.Aligned[i].Name)
	}
	return "model " + strconv.Itoa(i+1)
}

// laneURL is the address of the bench with a lane at a place.
func (m Map) laneURL(place float64) string {
	words := make([]string, 0, 4)
	for _, x := range m.mixture(place) {
		words = append(words, plain(x))
	}
	return m.LanesURL + strings.Join(words, ":")
}

// sides name what the two ends are that places are counted from.
func (f MapFork) sides() (reference, aligned string) {
	if f.Line {
		return "the mixture at place 0", "the mixture at place 1"
	}
	return "the reference", "the aligned model"
}

// where names the λ or the place of a fork.
func (f MapFork) where() string {
	if f.Line {
		return "place"
	}
	return "λ"
}

// lineEnds are the two mixtures on the slider's scale.
func (m Map) lineEnds() []stop {
	var list []stop
	for _, place := range []float64{m.From, m.To} {
		list = append(list, stop{100 * (place - m.From) / (m.To - m.From), m.endName(place), "λ " + FormatLambda(m.mixture(place))})
	}
	return list
}

// endName is what an end of the line is called.
func (m Map) endName(place float64) string {
	sum := total(m.mixture(place))
	switch {
	case math.Abs(sum) < 1e-9 && !slices.ContainsFunc(m.mixture(place), func(x float64) bool { return x != 0 }):
		return "Reference"
	case place == m.From:
		return "From"
	}
	return "To"
}

// end is an end of what the slider moves along, as its field has it.
func (d DraftMap) end(to bool) string {
	m := Map{From: d.From, To: d.To, Line: d.Line}
	place := d.From
	if to {
		place = d.To
	}
	return m.laneURL(place)
}

// fromWords label the field for the slider's lower end.
func (d DraftMap) fromWords() string {
	if d.Line != nil {
		return "Slider from λ of each model, colons between"
	}
	return "Slider from λ"
}
