package run

import (
	"bytes"
	"context"

	"realign/internal/fault"
)

// readBatch is how many events are read from the store at a time.
const readBatch = 2048

// ReadTranscript adds up the stored log of a run.
func ReadTranscript(ctx context.Context, log Log, run Run) (*Transcript, error) {
	t := NewTranscript(&run.Spec)
	if err := t.Read(ctx, log, run, func(Event) error { return nil }); err != nil {
		return nil, err
	}
	return t, nil
}

// ReadTexts is ReadTranscript without the alternatives of tokens, which are most of a log.
func ReadTexts(ctx context.Context, log Log, run Run) (*Transcript, error) {
	t := NewTexts(&run.Spec)
	if err := t.Read(ctx, log, run, func(Event) error { return nil }); err != nil {
		return nil, err
	}
	return t, nil
}

// topMember begins the alternatives in an event as encoding/json writes it.
var topMember = []byte(`,"top":{`)

// withoutTop leaves the alternatives out of an event as it is encoded here. Other JSON comes back as it was: they are left out
// for speed only. In valid JSON the bytes sought are the name of a member: within a string its quotes would be escaped.
func withoutTop(event []byte) []byte {
	begin := bytes.Index(event, topMember)
	if begin < 0 {
		return event
	}
	depth := 0
	for i := begin + len(topMember) - 1; i < len(event); i++ {
		switch event[i] {
		case '"':
			for i++; i < len(event) && event[i] != '"'; i++ {
				if event[i] == '\\' {
					i++
				}
			}
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return append(event[:begin:begin], event[i+1:]...)
			}
		}
	}
	return event
}

// Read adds up the stored log of a run from where the transcript is, and shows each event to keep, whose error ends
// it.
func (t *Transcript) Read(ctx context.Context, log Log, run Run, keep func(Event) error) error {
	for {
		events, err := log.Events(ctx, run.Owner, run.ID, t.Seq, readBatch)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := t.Add(e); err != nil {
				return err
			}
			if err := keep(e); err != nil {
				return err
			}
		}
		if len(events) < readBatch {
			return nil
		}
	}
}

// recoverRun ends the lanes of a run that nobody decodes, from its log.
// cut is how many lanes had no end. It is a Conflict where another server has ended the run meanwhile.
func (h *Hub) recoverRun(ctx context.Context, run Run) (cut int, err error) {
	t, err := ReadTexts(ctx, h.config.Store, run)
	if err != nil {
		return 0, err
	}
	cause := fault.New(fault.Unavailable, "%s", Stopped)
	var batch Batch
	for _, e := range t.MissingEnds(cause) {
		cut++
		batch.Events = append(batch.Events, Event{Run: run.ID, Seq: t.Seq + cut, Event: e.JSON})
		t.Apply(e.Event)
	}
	status := Ended
	if t.Failed() {
		status = Failed
	}
	batch.Changes = []StatusChange{{Run: run.ID, Status: status, At: h.config.Now(), Lanes: t.Streams()}}
	if err := h.config.Store.Append(ctx, batch); err != nil {
		return cut, err
	}
	h.reached(run.ID, t.Seq+cut)
	if h.config.Peers != nil && cut > 0 {
		h.config.Peers.Publish(run.ID, batch.Events)
	}
	return cut, nil
}
