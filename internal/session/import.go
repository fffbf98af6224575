package session

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Limits on what is imported.
const (
	MaxImportBytes = 64 << 20
	MaxImportRuns  = 1000
)

// ParseExport reads a file and checks all of it. Every error is Invalid and names the place.
func ParseExport(r io.Reader) (*Export, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxImportBytes+1))
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the file cannot be read")
	}
	if len(b) > MaxImportBytes {
		return nil, fault.Field("file", "more than %d MiB", MaxImportBytes>>20)
	}
	var e Export
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&e); err != nil {
		return nil, fault.Field("file", "is not an exported session: %s", err)
	}
	if d.More() {
		return nil, fault.Field("file", "something follows the exported session")
	}
	if e.Format != ExportFormat {
		return nil, fault.Field("format", "%.40q, where %q is expected", e.Format, ExportFormat)
	}
	if e.Version != ExportVersion {
		return nil, fault.Field("version", "%d, where this program reads %d", e.Version, ExportVersion)
	}
	if e.Title, err = CleanTitle(e.Title); err != nil {
		return nil, err
	}
	if n := len(e.Runs); n > MaxImportRuns {
		return nil, fault.Field("runs", "%d, at most %d", n, MaxImportRuns)
	}
	if err := checkTime("created_at", e.CreatedAt); err != nil {
		return nil, err
	}
	for i := range e.Runs {
		if err := e.Runs[i].check(i); err != nil {
			f := fault.Of(err)
			f = fault.Field(fmt.Sprintf("runs[%d].%s", i, f.Field), "%s", f.Message)
			return nil, f
		}
	}
	return &e, nil
}

func checkTime(field string, t time.Time) error {
	if y := t.Year(); y < 2000 || y > 9999 {
		return fault.Field(field, "is not between the years 2000 and 9999")
	}
	return nil
}

func (r *ExportedRun) check(place int) error {
	if err := checkTime("created_at", r.CreatedAt); err != nil {
		return err
	}
	if err := checkTime("ended_at", r.EndedAt); err != nil {
		return err
	}
	if err := r.Spec.Validate(); err != nil {
		f := fault.Of(err)
		return fault.Field("spec."+f.Field, "%s", f.Message)
	}
	if p := r.Spec.Parent; p != nil {
		if n, err := strconv.Atoi(p.Run); err != nil || n < 1 || n > place || strconv.Itoa(n) != p.Run {
			return fault.Field("spec.parent", "%.20q is not the place of a run before this one", p.Run)
		}
	}
	_, err := checkLog(&r.Spec, r.Events)
	return err
}

// checkLog checks that events are a log that a run can have had, to its end.
func checkLog(spec *Spec, events []json.RawMessage) (*Transcript, error) {
	t := NewTranscript(spec)
	for i, raw := range events {
		bad := func(format string, args ...any) error {
			return fault.Field(fmt.Sprintf("events[%d]", i), format, args...)
		}
		if !utf8.Valid(raw) {
			return nil, bad("is not valid UTF-8")
		}
		var e decode.Event
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, bad("is not an event: %s", err)
		}
		switch {
		case t.Map == nil:
		case e.Type == decode.EventStart, e.Type == decode.EventPrompt, e.Type == decode.EventStats:
		default:
			if err := t.checkMapEvent(spec, &e); err != nil {
				return nil, bad("%s", err)
			}
			t.Apply(e)
			continue
		}
		switch e.Type {
		case decode.EventStart, decode.EventPrompt, decode.EventStats:
		case decode.EventLanes:
			lanes := append(lanesOf(t), e.Lanes...)
			if len(e.Lanes) == 0 || len(lanes) > decode.MaxLanes {
				return nil, bad("adds %d lanes to %d, where 1 to %d in all are allowed", len(e.Lanes), len(t.Lanes), decode.MaxLanes)
			}
			if err := decode.CheckLanes(renumber(e.Lanes, 0), len(spec.Aligned), spec.Sampling.MaxTokens); err != nil {
				return nil, bad("%s", err)
			}
		case decode.EventToken, decode.EventLambda, decode.EventEnd:
			lane := t.Lane(e.Lane)
			if lane == nil || lane.Ended() {
				return nil, bad("is of lane %d, which has ended or does not exist", e.Lane)
			}
			if err := checkLaneEvent(spec, lane, &e); err != nil {
				return nil, bad("%s", err)
			}
		default:
			return nil, bad("type %.20q is not known", e.Type)
		}
		t.Apply(e)
	}
	if !t.Done() {
		return nil, fault.Field("events", "a lane, or the map, has no end")
	}
	return t, nil
}

func checkLaneEvent(spec *Spec, lane *Lane, e *decode.Event) error {
	switch e.Type {
	case decode.EventToken:
		if e.Index != len(lane.Tokens) {
			return fmt.Errorf("token %d follows %d tokens", e.Index, len(lane.Tokens))
		}
		if e.Index >= spec.Sampling.MaxTokens {
			return fmt.Errorf("token %d is beyond max_tokens", e.Index)
		}
		return decode.CheckLambda("lambda", e.Lambda, len(spec.Aligned))
	case decode.EventLambda:
		return decode.CheckLambda("lambda", e.Lambda, len(spec.Aligned))
	}
	if !knownReason(e.Reason) {
		return fmt.Errorf("reason %.20q is not known", e.Reason)
	}
	return nil
}

func lanesOf(t *Transcript) []decode.Lane {
	lanes := make([]decode.Lane, len(t.Lanes))
	for i := range t.Lanes {
		lanes[i] = t.Lanes[i].Lane
	}
	return lanes
}

// ImportSession adds a parsed file as a new session of owner, under new ids.
func ImportSession(ctx context.Context, a Archive, owner string, e *Export, now time.Time) (Session, error) {
	s := Session{ID: NewID(), Owner: owner, Title: e.Title, CreatedAt: e.CreatedAt, UpdatedAt: now, Runs: len(e.Runs)}
	runs := make([]Run, len(e.Runs))
	var events []Event
	for i, in := range e.Runs {
		t, err := checkLog(&in.Spec, in.Events)
		if err != nil {
			return Session{}, err
		}
		run := Run{
			ID: NewID(), Session: s.ID, Owner: owner, Spec: in.Spec, Status: Ended,
			CreatedAt: in.CreatedAt, EndedAt: in.EndedAt, Seq: len(in.Events), Lanes: t.streams(),
		}
		if t.Failed() {
			run.Status = Failed
		}
		if p := run.Spec.Parent; p != nil {
			place, err := strconv.Atoi(p.Run)
			if err != nil || place < 1 || place > i {
				return Session{}, fault.Field("parent", "%.20q is not the place of a run before this one", p.Run)
			}
			run.Spec.Parent = &Parent{Run: runs[place-1].ID, Lane: p.Lane}
		}
		for j, raw := range in.Events {
			var b bytes.Buffer
			if err := json.Compact(&b, raw); err != nil {
				return Session{}, err
			}
			events = append(events, Event{Run: run.ID, Seq: j + 1, Event: b.Bytes()})
		}
		runs[i] = run
	}
	return s, a.Import(ctx, s, runs, events)
}
