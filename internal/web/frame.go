package web

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
	"realign/internal/run"
	"realign/web/templates"
)

// protocolVersion of docs/protocol.md.
const protocolVersion = 1

// Bounds of one frame.
const (
	maxFrameBytes  = 1 << 20   // of a client's frame
	maxBatchEvents = 256       // events in a frame of ours
	maxBatchBytes  = 256 << 10 // and their JSON, unless one event alone is larger
)

// clientFrame is any frame of a client. Which fields count depends on the type.
type clientFrame struct {
	Type    string        `json:"type"`    // start, watch, unwatch, lanes, lambda or stop
	Ref     string        `json:"ref"`     // chosen by the client; the answer has it, too
	Session string        `json:"session"` // start: id of the session that the run goes into; "" is a new one
	Run     string        `json:"run"`     // id of the run that the frame is about; all but start
	After   int           `json:"after"`   // watch: number of the last event that the client has
	Spec    *run.Spec     `json:"spec"`    // start
	Lanes   []decode.Lane `json:"lanes"`   // lanes: those to add
	Lane    *int          `json:"lane"`    // lambda and stop: which one; nil stops all
	Lambda  decode.Vector `json:"lambda"`  // lambda: its new λ

	release func() // gives back what the frame takes of the sockets' budget; nil once it was given or kept
}

// done gives back what the frame takes, unless somebody keeps it.
func (f *clientFrame) done() { f.keep()() }

// keep leaves it to the caller to give back what the frame takes.
func (f *clientFrame) keep() func() {
	release := f.release
	if f.release = nil; release == nil {
		return func() {}
	}
	return release
}

// maxRefBytes is how long a ref may be.
const maxRefBytes = 128

// parseFrame reads one frame. What it returns with an error still has the ref, where that could be read.
func parseFrame(data []byte) (clientFrame, error) {
	var f clientFrame
	if data = bytes.TrimSpace(data); len(data) == 0 || data[0] != '{' {
		return f, fault.New(fault.Invalid, "a frame is one JSON object")
	}
	err := run.Shape().Check(data)
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err != nil {
		var only struct {
			Ref json.RawMessage `json:"ref"`
		}
		f = clientFrame{}
		if json.Unmarshal(data, &only) == nil {
			_ = json.Unmarshal(only.Ref, &f.Ref) // a ref of another kind is left out of the answer
		}
		return f.trimmed(), badJSON(err)
	}
	if zeroInJSON(data) {
		return f.trimmed(), fault.New(fault.Invalid, "a text has a zero character (U+0000)")
	}
	if len(f.Ref) > maxRefBytes {
		return f.trimmed(), fault.Field("ref", "%d bytes, at most %d", len(f.Ref), maxRefBytes)
	}
	return f, nil
}

// trimmed is the frame without a ref that is too long to be sent back.
func (f clientFrame) trimmed() clientFrame {
	if len(f.Ref) > maxRefBytes {
		f.Ref = ""
	}
	return f
}

// badJSON says what is wrong with outside JSON, naming the field where there is one.
func badJSON(err error) error {
	switch e := err.(type) {
	case *json.UnmarshalTypeError:
		if e.Field != "" {
			return fault.Field(e.Field, "cannot be a %s", e.Value)
		}
		return fault.New(fault.Invalid, "a %s where an object belongs", e.Value)
	case *json.SyntaxError:
		return fault.New(fault.Invalid, "not JSON: %s at byte %d", e.Error(), e.Offset)
	}
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		return fault.New(fault.Invalid, "the JSON ends too early")
	}
	if fault.KindOf(err) == fault.Invalid {
		return err
	}
	return fault.Wrap(err, fault.Invalid, "not the JSON that belongs here")
}

// Frames of the server: see docs/protocol.md.

// helloFrame is the first one of every socket.
type helloFrame struct {
	Type    string `json:"type"`    // hello
	Version int    `json:"version"` // protocolVersion
	Build   string `json:"build"`
	Limits  limits `json:"limits"`
}

// limits are what the page needs to check a run before it asks for it.
type limits struct {
	Lanes       int     `json:"lanes"`        // of a run, at most
	PromptBytes int     `json:"prompt_bytes"` // of a prompt with all before it
	MaxTokens   int     `json:"max_tokens"`   // of a lane
	LambdaMin   float64 `json:"lambda_min"`   // smallest λ of a lane
	LambdaMax   float64 `json:"lambda_max"`   // largest λ of a lane
	Queue       int     `json:"queue"`        // runs that may wait; 0 says nothing

	Fields []templates.Bound `json:"fields"` // of a spec's sampling, and alternatives
}

// pairsFrame is the state of all pairs, sent whenever one changes.
type pairsFrame struct {
	Type  string        `json:"type"` // pairs
	Pairs []pair.Status `json:"pairs"`
}

// startedFrame answers a start.
type startedFrame struct {
	Type    string `json:"type"`          // started
	Ref     string `json:"ref,omitempty"` // of the client's frame
	Session string `json:"session"`       // id: the one asked for, or the new one
	Run     string `json:"run"`
}

// lanesAddedFrame answers lanes, with the numbers that they got.
type lanesAddedFrame struct {
	Type  string `json:"type"`          // lanes_added
	Ref   string `json:"ref,omitempty"` // of the client's frame
	Run   string `json:"run"`
	Lanes []int  `json:"lanes"`
}

// caughtUpFrame comes once to a watcher, behind all events that were stored when it began to watch; Seq is the number of the last.
type caughtUpFrame struct {
	Type string `json:"type"` // caught_up
	Run  string `json:"run"`
	Seq  int    `json:"seq"`
}

// errorFrame answers what was refused, or tells a watcher that its run cannot go on.
type errorFrame struct {
	Type string `json:"type"` // error
	Ref  string `json:"ref,omitempty"`
	Run  string `json:"run,omitempty"` // of the client's frame, or the run that cannot go on; "" for none
	wireError
}

// encodeEvents makes frames of consecutive events of one run.
func encodeEvents(run string, events []run.Event) [][]byte {
	var frames [][]byte
	for len(events) > 0 {
		n, size := 0, 0
		for n < len(events) && n < maxBatchEvents && (n == 0 || size+len(events[n].Event) <= maxBatchBytes) {
			size += len(events[n].Event) + 1
			n++
		}
		b := make([]byte, 0, size+len(run)+64)
		b = append(b, `{"type":"events","run":`...)
		b = strconv.AppendQuote(b, run) // ids are plain ASCII
		b = append(b, `,"first":`...)
		b = strconv.AppendInt(b, int64(events[0].Seq), 10)
		b = append(b, `,"events":[`...)
		for i, e := range events[:n] {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, e.Event...)
		}
		frames = append(frames, append(b, "]}"...))
		events = events[n:]
	}
	return frames
}

// marshal encodes a frame without escaping what needs none outside of markup.
func marshal(frame any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(frame); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
