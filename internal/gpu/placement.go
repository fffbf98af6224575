package gpu

import (
	"fmt"
	"strings"
)

// Placement is where the layers of one model are, or are to be.
type Placement struct {
	Model  string  `json:"model"`          // reference, or the aligned model's name
	Layers int     `json:"layers"`         // that it has, the output layer included
	On     []Share `json:"on"`             // by device; the other layers are on the CPU
	Loaded bool    `json:"loaded"`         // what is, not what is planned
	Note   string  `json:"note,omitempty"` // why no more is on devices
}

// Share is what one device holds of a model.
type Share struct {
	Device string `json:"device"`
	Layers int    `json:"layers"` // the output layer counts as one
	Bytes  int64  `json:"bytes"`  // planned: with the contexts on it; loaded: of weights
}

// Offloaded is the number of layers on devices.
func (p Placement) Offloaded() (n int) {
	for _, s := range p.On {
		n += s.Layers
	}
	return n
}

// Where says in words where the layers are.
func (p Placement) Where() string {
	var text strings.Builder
	n := p.Offloaded()
	what := ""
	if p.Loaded {
		what = " of weights"
	}
	switch {
	case n == 0:
		text.WriteString("CPU")
	case len(p.On) == 1:
		fmt.Fprintf(&text, "%d of %d layers on %s (%s%s)", n, p.Layers, p.On[0].Device, size(p.On[0].Bytes), what)
	default:
		fmt.Fprintf(&text, "%d of %d layers on devices: ", n, p.Layers)
		for i, s := range p.On {
			if i > 0 {
				text.WriteString(", ")
			}
			fmt.Fprintf(&text, "%d on %s (%s%s)", s.Layers, s.Device, size(s.Bytes), what)
		}
	}
	if p.Note != "" {
		text.WriteString("; " + p.Note)
	}
	return text.String()
}
