package run

import (
	"encoding/json"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Run is one conversation decoded on a set of lanes, as the store has it: what was asked for and how far it is. What was decoded is in
// its log of events. Hub.Start makes it, with the status Running; from then on only its hub changes it, and it stays until its session
// is deleted.
type Run struct {
	ID        string    `json:"id"`                // random, unique among all servers
	Session   string    `json:"session"`           // id of the session that it is in
	Owner     string    `json:"-"`                 // who may see it: see package web
	Instance  string    `json:"-"`                 // the server that decodes it
	Spec      Spec      `json:"spec"`              // what was asked for, with what Start fills in
	Status    Status    `json:"status"`            // Running, Ended or Failed
	CreatedAt time.Time `json:"created_at"`        // when Start was called, on the server's clock
	EndedAt   time.Time `json:"ended_at,omitzero"` // zero while it is Running
	Seq       int       `json:"seq"`               // number of its last event
	Lanes     int       `json:"lanes"`             // how many it has, those added later included
	Imported  *Imported `json:"-"`                 // nil unless it came in a file
}

// Status of a run.
type Status string

const (
	Running Status = "running" // being decoded, or its end is not saved yet
	Ended   Status = "ended"   // every lane ended by itself or was stopped
	Failed  Status = "failed"  // at least one lane ended with an error
)

// Event is one entry of a run's append-only log, encoded once, before it is stored.
type Event struct {
	Run   string          `json:"run"`   // the run's id
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
