package session

import (
	"context"
	"encoding/json"
	"io"
	"strconv"
	"time"

	"realign/internal/fault"
)

// ExportFormat and ExportVersion begin an exported session.
const (
	ExportFormat  = "realign-session"
	ExportVersion = 1
)

// Export is a session as a file. Runs are called by their place ("1", "2", …), so that a file says nothing
// of the server it came from, and importing and exporting it again gives the same bytes.
type Export struct {
	Format    string        `json:"format"`
	Version   int           `json:"version"`
	Title     string        `json:"title"`
	CreatedAt time.Time     `json:"created_at"`
	Runs      []ExportedRun `json:"runs"`
}

// ExportedRun is one run of it. Every lane has ended.
type ExportedRun struct {
	Spec      Spec              `json:"spec"` // Parent.Run is the place of a run before it
	CreatedAt time.Time         `json:"created_at"`
	EndedAt   time.Time         `json:"ended_at"`
	Events    []json.RawMessage `json:"events"` // decode events, in order
}

// Archive is what sessions are exported from and imported to.
type Archive interface {
	Sessions
	Log

	// Runs lists the runs of a session in order.
	Runs(ctx context.Context, owner, session string) ([]Run, error)

	// Import adds a session with its runs and their events, all or nothing.
	Import(ctx context.Context, session Session, runs []Run, events []Event) error
}

// ExportSession reads a session as a file. Lanes that still run end there with an error that says so; a
// parent in another session is left out.
func ExportSession(ctx context.Context, a Archive, owner, id string) (*Export, error) {
	s, err := a.Session(ctx, owner, id)
	if err != nil {
		return nil, err
	}
	runs, err := a.Runs(ctx, owner, id)
	if err != nil {
		return nil, err
	}
	out := &Export{Format: ExportFormat, Version: ExportVersion, Title: s.Title, CreatedAt: s.CreatedAt.UTC(), Runs: []ExportedRun{}}
	places := make(map[string]string)
	for i, run := range runs {
		places[run.ID] = strconv.Itoa(i + 1)
		e, err := exportRun(ctx, a, run)
		if err != nil {
			return nil, err
		}
		if p := e.Spec.Parent; p != nil {
			e.Spec.Parent = nil
			if place := places[p.Run]; place != "" && p.Run != run.ID {
				e.Spec.Parent = &Parent{Run: place, Lane: p.Lane}
			}
		}
		out.Runs = append(out.Runs, e)
	}
	return out, nil
}

func exportRun(ctx context.Context, log Log, run Run) (ExportedRun, error) {
	e := ExportedRun{Spec: run.Spec, CreatedAt: run.CreatedAt.UTC(), EndedAt: run.EndedAt.UTC()}
	t := NewTranscript(&run.Spec)
	if err := t.read(ctx, log, run, func(event Event) { e.Events = append(e.Events, event.Event) }); err != nil {
		return e, err
	}
	cause := fault.New(fault.Unavailable, "this was still being decoded when the session was exported")
	for _, end := range t.missingEnds(cause) {
		e.Events = append(e.Events, end.json)
	}
	if e.EndedAt.IsZero() {
		e.EndedAt = e.CreatedAt
	}
	return e, nil
}

// Write writes the file.
func (e *Export) Write(w io.Writer) error {
	j := json.NewEncoder(w)
	j.SetEscapeHTML(false)
	return j.Encode(e)
}
