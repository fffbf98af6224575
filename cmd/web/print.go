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

// print prints one event.
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
	w      io.Writer
	lanes  []decode.Lane
	gather decode.Gather
	turn   int  // the lane that is printed
	begun  bool // its heading is
	shown  int  // bytes of its text that are
}

// print takes an event and prints what it lets be shown.
func (p *textPrinter) print(e decode.Event) error {
	p.gather.Add(e)
	for p.turn < len(p.lanes) {
		lane := p.gather.Lane(p.turn)
		if err := p.show(lane); err != nil {
			return err
		}
		if lane.End == nil {
			return nil
		}
		p.turn, p.begun, p.shown = p.turn+1, false, 0
	}
	return nil
}

// show prints what there is of the lane whose turn it is.
func (p *textPrinter) show(l *decode.Gathered) error {
	var b strings.Builder
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
	b.WriteString(printable(l.Text()[p.shown:]))
	p.shown = len(l.Text())
	if l.End != nil {
		b.WriteString(ending(l.End))
	}
	_, err := io.WriteString(p.w, b.String())
	return err
}

// ending is what is printed behind a lane's text.
func ending(end *decode.Event) string {
	var b strings.Builder
	switch {
	case end.Error != nil:
		fmt.Fprintf(&b, " […%s: %s]\n", end.Reason, end.Error.Message)
	case end.Reason == decode.EndStop:
		b.WriteString("\n")
	default:
		fmt.Fprintf(&b, " […%s]\n", end.Reason)
	}
	if x := end.Exact; x != nil {
		changed := "as token by token"
		if x.Changed {
			changed = "not as token by token"
		}
		fmt.Fprintf(&b, "   one of %d particles, effective number %.1f, log Z %.2f: %s\n", x.Particles, x.Size, x.LogZ, changed)
	}
	return b.String()
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
