package session

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/intake"
	"realign/internal/run"
	"realign/internal/share"
	"realign/internal/title"
)

// Limits on what is imported, beside MaxFileBytes. Only one value of the file is in memory at a time.
const (
	MaxImportRuns  = 1000     // runs of a session
	maxImportSpec  = 16 << 20 // bytes of a run's spec
	maxImportValue = 4 << 20  // bytes of an event, or any other value
	maxImportStats = 1024     // requests of a run: each adds a lane
)

// Import is what an import has found.
type Import struct {
	Session Session
	Found   map[run.Origin]int // runs by where they are from
}

// ImportSession reads the file of a session twice: once to check all of it, once to add it as a new session of owner, under
// new ids. Every error about the file is Invalid and names the place. signer is this server's.
func ImportSession(ctx context.Context, a Archive, signer *run.Signer, owner string, file io.ReadSeeker, now time.Time) (Import, error) {
	in := &importer{signer: signer, owner: owner, id: id.New()}
	if err := in.read(file); err != nil {
		return Import{}, err
	}
	s := Session{ID: in.id, Owner: owner, Title: in.head.Title, CreatedAt: in.head.CreatedAt, UpdatedAt: now, Runs: len(in.runs)}
	found := Import{Session: s, Found: map[run.Origin]int{}}
	for i := range in.runs {
		found.Found[in.runs[i].imported.Found]++
	}
	return found, a.Import(ctx, s, func(to Importing) error {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return fault.Wrap(err, fault.Internal, "the file cannot be read again")
		}
		in.to, in.place = to, 0
		return in.read(file)
	})
}

// importer reads the file: without to it checks and fills runs, with to it hands on what was checked. One importer
// reads the file twice.
type importer struct {
	signer    *run.Signer   // this server's
	owner, id string        // of the session that is made, and its new id
	head      exportHead    // what the file says of the session
	runs      []importedRun // by place, as they were found
	to        Importing     // nil while the file is checked
	place     int           // of the run that is being read, from 1

	decoder *json.Decoder     // of the file, from reader
	reader  *intake.Allowance // counts what the decoder may read of the next value
}

// importedRun is what is known of a run once all of it was read.
type importedRun struct {
	id       string       // new
	seq      int          // number of its last event
	lanes    int          // how many it has, added ones included
	failed   bool         // a lane, or the map, ended with an error
	imported run.Imported // its seal, and what that proves
}

// inside is an error about a part of the file, with where that is before its field.
func inside(where string, err error) error {
	if err == nil {
		return nil
	}
	f := fault.Of(err)
	if f.Kind != fault.Invalid {
		return err
	}
	if f.Field != "" {
		where += "." + f.Field
	}
	return fault.Field(where, "%s", f.Message)
}

// read reads the whole file once.
func (in *importer) read(file io.Reader) error {
	in.reader = &intake.Allowance{R: &sizeLimit{r: file, left: MaxFileBytes}}
	in.decoder = json.NewDecoder(in.reader)
	known := map[string]bool{}
	err := in.object("file", func(name string) error {
		if known[name] {
			return fault.Field(short(name), "is there twice")
		}
		known[name] = true
		switch name {
		case "format":
			return in.value(&in.head.Format)
		case "version":
			return in.value(&in.head.Version)
		case "title":
			return in.value(&in.head.Title)
		case "created_at":
			return in.value(&in.head.CreatedAt)
		case "runs":
			return in.list("runs", in.run)
		}
		return in.value(new(json.RawMessage))
	})
	if err != nil {
		return err
	}
	in.reader.Allow(maxImportValue)
	if _, err := in.decoder.Token(); !errors.Is(err, io.EOF) {
		return fault.Field("file", "something follows the exported session")
	}
	return in.checkHead()
}

// checkHead checks the members beside the runs, and cleans the title.
func (in *importer) checkHead() (err error) {
	h := &in.head
	if h.Format != ExportFormat {
		return fault.Field("format", "%.40q, where %q is expected", h.Format, ExportFormat)
	}
	if h.Version != ExportVersion {
		return fault.Field("version", "%d, where this program reads %d", h.Version, ExportVersion)
	}
	if h.Title, err = title.Clean(h.Title); err != nil {
		return err
	}
	return checkTime("created_at", h.CreatedAt)
}

// object reads an object, whose members the function reads by their names.
func (in *importer) object(where string, member func(name string) error) error {
	if err := in.delim(where, '{'); err != nil {
		return err
	}
	for in.more() {
		token, err := in.decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return in.bad(where, err)
		}
		if err := member(name); err != nil {
			return err
		}
	}
	return in.delim(where, '}')
}

// list reads an array, whose entries the function reads.
func (in *importer) list(where string, entry func(i int) error) error {
	if err := in.delim(where, '['); err != nil {
		return err
	}
	for i := 0; in.more(); i++ {
		if err := entry(i); err != nil {
			return err
		}
	}
	return in.delim(where, ']')
}

// more reports whether the object or array goes on.
func (in *importer) more() bool {
	in.reader.Allow(maxImportValue)
	return in.decoder.More()
}

// delim reads a bracket.
func (in *importer) delim(where string, want json.Delim) error {
	in.reader.Allow(maxImportValue)
	if token, err := in.decoder.Token(); err != nil || token != want {
		return in.bad(where, err)
	}
	return nil
}

// value reads the next value.
func (in *importer) value(v any) error {
	raw, err := in.raw(maxImportValue)
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	return in.bad("file", err)
}

// raw is the next value as it is written, of at most so many bytes and of the shape of what a run has.
func (in *importer) raw(most int64) (json.RawMessage, error) {
	var raw json.RawMessage
	in.reader.Allow(most)
	if err := in.decoder.Decode(&raw); err != nil {
		return nil, err
	}
	return raw, run.Shape().Check(raw)
}

// bad is what is wrong with the file when a part of it cannot be read.
func (in *importer) bad(where string, err error) error {
	var known *fault.Error
	switch {
	case err == nil && where == "file":
		return nil
	case errors.As(err, &known):
		return inside(where, err)
	case err == nil:
		return fault.Field(where, "is not an exported session: another kind of value belongs here")
	}
	return fault.Field(where, "is not an exported session: %s", err)
}

// short is a member's name for an error message, or "file" where it does not belong into one.
func short(name string) string {
	if len(name) > 20 || !utf8.ValidString(name) {
		return "file"
	}
	return name
}

// run reads a run.
func (in *importer) run(i int) error {
	if i >= MaxImportRuns {
		return fault.Field("runs", "more than %d", MaxImportRuns)
	}
	in.place = i + 1
	where := fmt.Sprintf("runs[%d]", i)
	var (
		e      exportedRun
		log    *checkedLog
		seal   *run.Seal
		events int
	)
	err := in.object(where, func(name string) (err error) {
		switch name {
		case "spec":
			return in.spec(&e.Spec)
		case "created_at":
			return in.value(&e.CreatedAt)
		case "ended_at":
			return in.value(&e.EndedAt)
		case "seal":
			return in.value(&seal)
		// Events are checked against the spec as they are read, so they cannot come before it.
		case "events":
			if e.Spec.Pair == "" || log != nil {
				return fault.Field("events", "must come once, after the spec")
			}
			if log, err = in.begin(&e); err != nil {
				return err
			}
			return in.list("events", func(int) error { events++; return in.event(log, i) })
		}
		return in.value(new(json.RawMessage))
	})
	if err == nil && log == nil {
		err = fault.Field("events", "are missing")
	}
	if err == nil {
		err = in.end(&e, log, seal, events)
	}
	return inside(where, err)
}

// spec reads and checks a run's spec.
func (in *importer) spec(s *run.Spec) error {
	raw, err := in.raw(maxImportSpec)
	if err == nil {
		err = json.Unmarshal(raw, s)
	}
	if err != nil {
		return in.bad("spec", err)
	}
	if err := s.Validate(); err != nil {
		return inside("spec", err)
	}
	if p := s.Parent; p != nil {
		if n, err := strconv.Atoi(p.Run); err != nil || n < 1 || n >= in.place || strconv.Itoa(n) != p.Run {
			return fault.Field("spec.parent", "%.20q is not the place of a run before this one", p.Run)
		}
	}
	return nil
}

// begin begins the events of a run.
func (in *importer) begin(e *exportedRun) (*checkedLog, error) {
	if err := checkTime("created_at", e.CreatedAt); err != nil {
		return nil, err
	}
	if err := checkTime("ended_at", e.EndedAt); err != nil {
		return nil, err
	}
	if in.to == nil {
		in.runs = append(in.runs, importedRun{id: id.New()})
		return &checkedLog{spec: &e.Spec, sealing: share.NewLogDigest(&e.Spec)}, nil
	}
	known := &in.runs[in.place-1]
	r := run.Run{
		ID: known.id, Session: in.id, Owner: in.owner, Spec: e.Spec, Status: run.Ended, Imported: &known.imported,
		CreatedAt: e.CreatedAt, EndedAt: e.EndedAt, Seq: known.seq, Lanes: known.lanes,
	}
	if known.failed {
		r.Status = run.Failed
	}
	if p := e.Spec.Parent; p != nil {
		place, _ := strconv.Atoi(p.Run) // spec has seen to it
		r.Spec.Parent = &run.Parent{Run: in.runs[place-1].id, Lane: p.Lane}
	}
	return &checkedLog{}, in.to.Run(r)
}

// event reads an event of the run at a place from 0.
func (in *importer) event(log *checkedLog, place int) error {
	raw, err := in.raw(maxImportValue)
	where := fmt.Sprintf("events[%d]", log.seq)
	if err != nil {
		return in.bad(where, err)
	}
	log.seq++
	if in.to == nil {
		return log.add(where, raw)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return in.bad(where, err)
	}
	return in.to.Event(run.Event{Run: in.runs[place].id, Seq: log.seq, Event: b.Bytes()})
}

// end notes what was found of a run.
func (in *importer) end(e *exportedRun, log *checkedLog, seal *run.Seal, events int) error {
	if in.to != nil {
		return nil
	}
	t := log.sealing.Transcript
	if !t.Done() {
		return fault.Field("events", "a lane, or the map, has no end")
	}
	digest, err := log.sealing.Sum()
	if err != nil {
		return err
	}
	known := &in.runs[in.place-1]
	known.seq, known.lanes, known.failed = events, t.Streams(), t.Failed()
	known.imported = run.Imported{Found: in.signer.Origin(seal, digest), Seal: seal}
	return nil
}

// sizeLimit refuses a file that is larger than MaxFileBytes.
type sizeLimit struct {
	r    io.Reader
	left int64 // bytes that may still be read
}

// Read implements io.Reader. A file of exactly MaxFileBytes ends; a longer one is Invalid.
func (l *sizeLimit) Read(p []byte) (int, error) {
	if l.left <= 0 {
		if n, err := l.r.Read(make([]byte, 1)); n == 0 {
			return 0, err
		}
		return 0, fault.Field("file", "more than %d MiB", MaxFileBytes>>20)
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// checkTime refuses what no clock of a server says.
func checkTime(field string, t time.Time) error {
	if y := t.Year(); y < 2000 || y > 9999 {
		return fault.Field(field, "is not between the years 2000 and 9999")
	}
	return nil
}

// checkedLog checks, event by event, that a log is one that a run can have had.
// A log of a file's second reading only counts: its other fields are zero.
type checkedLog struct {
	spec    *run.Spec        // of the run
	sealing *share.LogDigest // the transcript so far, and the digest of its lanes
	seq     int              // events so far

	mapTokens int // of all branches of a λ-map so far
}

// add takes the next event, which is at a place of the file.
func (c *checkedLog) add(where string, raw json.RawMessage) error {
	bad := func(format string, args ...any) error { return fault.Field(where, format, args...) }
	if !utf8.Valid(raw) {
		return bad("is not valid UTF-8")
	}
	var e decode.Event
	if err := json.Unmarshal(raw, &e); err != nil {
		return bad("is not an event: %s", err)
	}
	if err := c.check(&e); err != nil {
		return bad("%s", err)
	}
	c.sealing.Transcript.Apply(e)
	return c.sealing.Update()
}

// check says what is wrong with an event, given those before it; the caller adds where it is.
func (c *checkedLog) check(e *decode.Event) error {
	t := c.sealing.Transcript
	switch e.Type {
	case decode.EventStart, decode.EventPrompt:
		return nil
	case decode.EventStats:
		if len(t.Stats) >= maxImportStats {
			return fmt.Errorf("is one of more than %d of type stats", maxImportStats)
		}
		return nil
	}
	if t.Map != nil {
		return c.checkMapEvent(e)
	}
	switch e.Type {
	case decode.EventLanes:
		if n := len(t.Lanes) + len(e.Lanes); len(e.Lanes) == 0 || n > decode.MaxLanes {
			return fmt.Errorf("adds %d lanes to %d, where 1 to %d in all are allowed", len(e.Lanes), len(t.Lanes), decode.MaxLanes)
		}
		return decode.CheckLanes(run.NumberLanes(e.Lanes, 0), len(c.spec.Aligned), c.spec.Sampling.MaxTokens)
	case decode.EventToken, decode.EventLambda, decode.EventEnd:
		lane := t.Lane(e.Lane)
		if lane == nil || lane.Ended() {
			return fmt.Errorf("is of lane %d, which has ended or does not exist", e.Lane)
		}
		return checkLaneEvent(c.spec, lane, e)
	}
	return fmt.Errorf("type %.20q is not known", e.Type)
}

// checkLaneEvent checks an event of a lane that has not ended.
func checkLaneEvent(spec *run.Spec, lane *run.Lane, e *decode.Event) error {
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
		if len(lane.Changes) >= run.MaxMoves {
			return fmt.Errorf("is one of more than %d moves of λ", run.MaxMoves)
		}
		return decode.CheckLambda("lambda", e.Lambda, len(spec.Aligned))
	}
	if !knownReason(e.Reason) {
		return fmt.Errorf("reason %.20q is not known", e.Reason)
	}
	return nil
}
