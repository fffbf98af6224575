package run

import (
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

// read adds up the stored log of a run from where the transcript is, and shows each event to keep, whose
// error ends it.
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

// recover ends the lanes of runs that this server was stopped in the middle of, where its name is the one that it had then.
func (h *Hub) recover(ctx context.Context) error {
	if h.config.Member != nil { // it has a new name
		return nil
	}
	return h.EndRuns(ctx, h.config.Instance)
}

// recoverRun ends the lanes of a run that nobody decodes, from its log.
func (h *Hub) recoverRun(ctx context.Context, run Run) (cut int, err error) {
	t, err := ReadTranscript(ctx, h.config.Store, run)
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
