package run

import (
	"encoding/json"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Run is one conversation decoded on a set of lanes.
type Run struct {
	ID        string    `json:"id"`
	Session   string    `json:"session"`
	Owner     string    `json:"-"`
	Instance  string    `json:"-"` // the server that decodes it
	Spec      Spec      `json:"spec"`
	Status    Status    `json:"status"`
	CreatedAt time.Time `json:"created_at"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	Seq       int       `json:"seq"`   // number of its last event
	Lanes     int       `json:"lanes"` // how many it has, those added later included
	Imported  *Imported `json:"-"`     // nil unless it came in a file
}

// Status of a run.
type Status string

const (
	Running Status = "running"
	Ended   Status = "ended"  // every lane ended by itself or was stopped
	Failed  Status = "failed" // at least one lane ended with an error
)

// Event is one entry of a run's append-only log, encoded once, before it is stored.
type Event struct {
	Run   string          `json:"run"`
	Seq   int             `json:"seq"`   // from 1, without gaps
	Event json.RawMessage `json:"event"` // a decode.Event
}

// Decode is the event itself.
func (e Event) Decode() (decode.Event, error) {
	var d decode.Event
	if err := json.Unmarshal(e.Event, &d); err != nil {
		return d, fault.Wrap(err, fault.Internal, "event %d of run %s cannot be read", e.Seq, e.Run)
	}
	return d, nil
}
