package templates

// stop is a named place on the slider's scale.
type stop struct {
	At    float64 // percent of the width
	Text  string
	Value string
}

// anchor keeps names at the ends within the scale.
func (s stop) anchor() string {
	switch {
	case s.At < 6:
		return "start"
	case s.At > 94:
		return "end"
	}
	return "middle"
}

// named is where the reference and the aligned model are on the scale, and what lies beyond.
func (m Map) named() []stop {
	if m.Line != nil {
		return m.lineEnds()
	}
	x := func(lambda float64) float64 { return 100 * (lambda - m.From) / (m.To - m.From) }
	var list []stop
	for _, s := range []struct {
		lambda float64
		name   string
	}{{0, "Reference"}, {1, "Aligned"}} {
		if s.lambda >= m.From && s.lambda <= m.To {
			list = append(list, stop{x(s.lambda), s.name, "λ " + lambda(s.lambda)})
		}
	}
	if m.To > 1+0.2*(m.To-m.From) {
		list = append(list, stop{100, "Beyond", "λ " + lambda(m.To)})
	}
	return list
}
