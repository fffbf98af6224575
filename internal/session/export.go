package session

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"time"

	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/share"
)

// ExportFormat and ExportVersion begin an exported session.
const (
	ExportFormat  = "realign-session"
	ExportVersion = 1
)

// MaxFileBytes is how large the file of a session may be, whether it is exported or imported.
const MaxFileBytes = 256 << 20

// An exported session is one JSON object: exportHead's members and then "runs", of which each is an object: exportedRun's
// members, then "events", the decode events in order, and "seal", where its server signs. Every lane has ended. Runs are
// called by their place ("1", "2", …), so that a file says nothing of the server it came from, and importing and
// exporting it again gives the same bytes.
type (
	exportHead struct {
		Format    string    `json:"format"`
		Version   int       `json:"version"`
		Title     string    `json:"title"`
		CreatedAt time.Time `json:"created_at"`
	}
	exportedRun struct {
		Spec      run.Spec  `json:"spec"` // Parent.Run is the place of a run before it
		CreatedAt time.Time `json:"created_at"`
		EndedAt   time.Time `json:"ended_at"`
	}
)

// Archive is what sessions are exported from and imported to.
type Archive interface {
	run.Log

	// Session is NotFound unless the owner has it.
	Session(ctx context.Context, owner, id string) (Session, error)

	// Runs lists the runs of a session in order.
	Runs(ctx context.Context, owner, session string) ([]run.Run, error)

	// Import adds a session with what fill puts into it, all or nothing.
	Import(ctx context.Context, session Session, fill func(Importing) error) error
}

// Importing takes the runs of a session, in order, each followed by its events. It is used within Archive.Import,
// by one goroutine.
type Importing interface {
	Run(run.Run) error
	Event(run.Event) error
}

// Part says which runs of a session are meant, by their places from 1, both ends included; 0 leaves an end open.
type Part struct{ From, To int }

// has reports whether a run's place is within.
func (p Part) has(place int) bool { return place >= p.From && (p.To == 0 || place <= p.To) }

// ExportSession writes a session, or a part of it, as a file and returns its title. What was decoded here is sealed by
// signer. Lanes that still run end there with an error that says so; a parent in another session or part is left out. It
// is Invalid when the file would be larger than ImportSession reads.
func ExportSession(ctx context.Context, a Archive, signer *run.Signer, owner, id string, part Part, w io.Writer) (string, error) {
	s, err := a.Session(ctx, owner, id)
	if err != nil {
		return "", err
	}
	runs, err := a.Runs(ctx, owner, id)
	if err != nil {
		return "", err
	}
	out := &exporter{w: w, signer: signer}
	out.object(exportHead{ExportFormat, ExportVersion, s.Title, s.CreatedAt.UTC()})
	out.text(`,"runs":[`)
	places := map[string]string{}
	for i, r := range runs {
		if !part.has(i + 1) {
			continue
		}
		if p := r.Spec.Parent; p != nil {
			r.Spec.Parent = nil
			if place := places[p.Run]; place != "" {
				r.Spec.Parent = &run.Parent{Run: place, Lane: p.Lane}
			}
		}
		places[r.ID] = strconv.Itoa(len(places) + 1)
		if len(places) > MaxImportRuns {
			return "", fault.Field("runs", "the session has more than %d runs: export it in parts, with from and to", MaxImportRuns)
		}
		if len(places) > 1 {
			out.text(",")
		}
		if err := out.run(ctx, a, r); err != nil {
			return "", err
		}
	}
	out.text("]}\n")
	return s.Title, out.err
}

// exporter writes one file and keeps the first error: what is written after it is dropped.
type exporter struct {
	w      io.Writer
	signer *run.Signer // of what was decoded here; nil signs nothing
	size   int64       // bytes so far
	err    error       // the first error of w, or that the file is too large
}

// write writes bytes unless the file would be larger than MaxFileBytes.
func (o *exporter) write(b []byte) {
	if o.size += int64(len(b)); o.size > MaxFileBytes && o.err == nil {
		o.err = fault.Field("file", "the session has more than %d MiB as a file: export it in parts, with from and to", MaxFileBytes>>20)
	}
	if o.err == nil {
		_, o.err = o.w.Write(b)
	}
}

// text writes a text as it is.
func (o *exporter) text(s string) { o.write([]byte(s)) }

// object writes a value that is an object, but for its closing brace.
func (o *exporter) object(v any) {
	b, err := share.CanonicalJSON(v)
	if err != nil {
		o.err = err
		return
	}
	o.write(bytes.TrimSuffix(b, []byte("}")))
}

// run writes a run with its events, the ends that are missing, and its seal.
func (o *exporter) run(ctx context.Context, log run.Log, r run.Run) error {
	e := exportedRun{Spec: r.Spec, CreatedAt: r.CreatedAt.UTC(), EndedAt: r.EndedAt.UTC()}
	if r.EndedAt.IsZero() {
		e.EndedAt = e.CreatedAt
	}
	o.object(e)
	o.text(`,"events":[`)
	t, n := share.NewLogDigest(&r.Spec), 0
	put := func(b []byte) {
		if n++; n > 1 {
			o.text(",")
		}
		o.write(b)
	}
	err := t.Transcript.Read(ctx, log, r, func(event run.Event) error {
		put(event.Event)
		if o.err != nil {
			return o.err
		}
		return t.Update()
	})
	if err != nil {
		return err
	}
	// A run that is still decoded gets, in the file only, the ends that are missing.
	cause := fault.New(fault.Unavailable, "this was still being decoded when the session was exported")
	for _, end := range t.Transcript.MissingEnds(cause) {
		put(end.JSON)
		t.Transcript.Apply(end.Event)
	}
	o.text("]")
	// A run that came in a file keeps the seal that it had there, or none. One that was decoded here is sealed as the file
	// has it.
	seal := (*run.Seal)(nil)
	if r.Imported != nil {
		seal = r.Imported.Seal
	} else if o.signer != nil {
		digest, err := t.Sum()
		if err != nil {
			return err
		}
		seal = o.signer.Seal(digest)
	}
	if seal != nil {
		b, err := share.CanonicalJSON(seal)
		if err != nil {
			return err
		}
		o.text(`,"seal":`)
		o.write(b)
	}
	o.text("}")
	return o.err
}
