package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"realign/internal/decode"
)

// printer shows the events of a run.
type printer interface {
	print(decode.Event) error
}

// jsonPrinter prints one object a line, with the fields that its type has. Fields of stats stand at the top.
type jsonPrinter struct {
	w   io.Writer
	row json.RawMessage // of --prompts: the id, in every object
}

func (p jsonPrinter) print(e decode.Event) error {
	var line any
	switch e.Type {
	case decode.EventStart, decode.EventPrompt:
		line = struct {
			Type   string                 `json:"type"`
			Prompt *decode.PromptProgress `json:"prompt"`
		}{e.Type, e.Prompt}
	case decode.EventLambda:
		line = struct {
			Type   string        `json:"type"`
			Lane   int           `json:"lane"`
			Lambda decode.Vector `json:"lambda"`
			Index  int           `json:"index"`
		}{e.Type, e.Lane, e.Lambda, e.Index}
	case decode.EventEnd:
		line = struct {
			Type   string        `json:"type"`
			Lane   int           `json:"lane"`
			Lambda decode.Vector `json:"lambda"`
			Sample int           `json:"sample"`
			Index  int           `json:"index"`
			Reason string        `json:"reason"`
			Error  *decode.Error `json:"error,omitempty"`
			Exact  *decode.Exact `json:"exact,omitempty"`
		}{e.Type, e.Lane, e.Lambda, e.Sample, e.Index, e.Reason, e.Error, e.Exact}
	case decode.EventStats:
		line = struct {
			Type string `json:"type"`
			*decode.Stats
		}{e.Type, e.Stats}
	default:
		line = e
	}
	data, err := json.Marshal(line)
	if err != nil {
		return err
	}
	if p.row != nil {
		data = slices.Concat([]byte(`{"row":`), p.row, []byte(","), data[1:])
	}
	_, err = p.w.Write(append(data, '\n'))
	return err
}

// textPrinter prints the lanes one after another: the first that has not ended live, the others when it is
// their turn.
type textPrinter struct {
	w     io.Writer
	lanes []decode.Lane
	text  []strings.Builder // of lanes whose turn has not come
	ended []string          // how a lane ended, by lane; "" while it runs
	exact []*decode.Exact   // what its particles tell, by lane
	turn  int
	begun bool
}

func (p *textPrinter) print(e decode.Event) error {
	if p.ended == nil {
		p.ended, p.exact = make([]string, len(p.lanes)), make([]*decode.Exact, len(p.lanes))
	}
	switch e.Type {
	case decode.EventToken:
		p.text[e.Lane].WriteString(e.Text)
	case decode.EventEnd:
		p.ended[e.Lane], p.exact[e.Lane] = e.Reason, e.Exact
		if e.Error != nil {
			p.ended[e.Lane] += ": " + e.Error.Message
		}
	}
	for p.turn < len(p.lanes) {
		if err := p.show(); err != nil {
			return err
		}
		if p.ended[p.turn] == "" {
			return nil
		}
		p.turn++
		p.begun = false
	}
	return nil
}

// show prints what there is of the lane whose turn it is.
func (p *textPrinter) show() error {
	var b strings.Builder
	text := &p.text[p.turn]
	if !p.begun && len(p.lanes) > 1 {
		lane := p.lanes[p.turn]
		fmt.Fprintf(&b, "── λ = %s", lane.Lambda)
		for _, other := range p.lanes {
			if other.Sample > 0 {
				fmt.Fprintf(&b, ", sample %d", lane.Sample+1)
				break
			}
		}
		b.WriteString(" ──\n")
	}
	p.begun = true
	b.WriteString(printable(text.String()))
	text.Reset()
	switch reason := p.ended[p.turn]; reason {
	case "":
	case decode.EndStop:
		b.WriteString("\n")
	default:
		fmt.Fprintf(&b, " […%s]\n", reason)
	}
	if x := p.exact[p.turn]; x != nil {
		changed := "as token by token"
		if x.Changed {
			changed = "not as token by token"
		}
		fmt.Fprintf(&b, "   one of %d particles, effective number %.1f, log Z %.2f: %s\n", x.Particles, x.Size, x.LogZ, changed)
	}
	_, err := io.WriteString(p.w, b.String())
	return err
}

// printable leaves out control characters, with which a model's output could command a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, text)
}
