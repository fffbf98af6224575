package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/session"
)

// These tests are apart from a real store: instrumented for fuzzing, SQLite would be all they did.

var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func exportedFile(t testing.TB, m *memory) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := session.ExportSession(t.Context(), m, nil, "ann", m.session.ID, session.Part{}, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func put(m *memory, file []byte) error {
	_, err := session.ImportSession(context.Background(), m, nil, "ann", bytes.NewReader(file), now)
	return err
}

// tiny is the smallest file with everything in it.
const tiny = `{"format":"realign-session","version":1,"title":"t","created_at":"2026-01-01T00:00:00Z","runs":[
{"spec":{"pair":"demo","aligned":["warm"],"prompt":"p","mode":"chat","lanes":[{"lane":0,"lambda":1,"sample":0}],
"sampling":{"max_tokens":3,"temperature":1,"top_k":0,"top_p":1,"min_p":0,"repeat_penalty":0,"presence_penalty":0,"frequency_penalty":0,"penalty_window":0},
"seed":"1","alternatives":0},"created_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:00Z","events":[
{"type":"start","prompt":{"tokens":[1],"total":1,"done":1}},{"type":"token","lane":0,"index":0,"lambda":1,"id":5,"text":"a"},
{"type":"lanes","lanes":[{"lane":1,"lambda":0}]},{"type":"end","lane":0,"reason":"stop"},{"type":"end","lane":1,"reason":"error","error":{"code":"x","message":"y"}}]}]}`

func TestImportRefusals(t *testing.T) {
	if err := put(&memory{}, []byte(tiny)); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ from, to, words string }{
		{"realign-session", "other", "format"},
		{`"version":1`, `"version":2`, "version"},
		{`"title":"t"`, `"title":" "`, "title"},
		{`"lambda":1,"sample"`, `"lambda":99,"sample"`, "runs[0].spec.lambda"},
		{`"prompt":"p"`, `"prompt":""`, "runs[0].spec.prompt"},
		{`"index":0`, `"index":1`, "runs[0].events[1]"},
		{`"type":"token"`, `"type":"other"`, "runs[0].events[1]"},
		{`"lane":1,"reason"`, `"lane":2,"reason"`, "runs[0].events[4]"},
		{`"reason":"stop"`, `"reason":"why"`, "runs[0].events[3]"},
		{`{"type":"end","lane":0,"reason":"stop"},`, ``, "no end"},
		{`"mode":"chat"`, `"mode":"chat","parent":{"run":"1","lane":0}`, "spec.parent"},
		{`"2026-01-01T00:00:00Z","runs"`, `"0001-01-01T00:00:00Z","runs"`, "created_at"},
		{`}]}]}`, `}]}]} {}`, "follows"},
		{`{"format"`, `["format"`, "not an exported session"},
	} {
		changed := bytes.Replace([]byte(tiny), []byte(c.from), []byte(c.to), 1)
		err := put(&memory{}, changed)
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%d: %v, want one that says %q", i, err, c.words)
		}
	}
}

// FuzzImport holds that a file is either refused as invalid or imports and exports to a fixed point.
func FuzzImport(f *testing.F) {
	f.Add([]byte(tiny))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		mem := &memory{}
		if err := put(mem, b); err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("kind %q of %v", fault.KindOf(err), err)
			}
			return
		}
		first := exportedFile(t, mem)
		if err := put(mem, first); err != nil {
			t.Fatalf("its export is refused: %v\n%s", err, first)
		}
		if second := exportedFile(t, mem); !bytes.Equal(first, second) {
			t.Fatalf("differs:\n%s\n%s", first, second)
		}
	})
}

// memory is an archive of one session. It keeps specs as a store does, as JSON.
type memory struct {
	session session.Session
	runs    []run.Run
	events  []run.Event
}

func (m *memory) Session(context.Context, string, string) (session.Session, error) {
	return m.session, nil
}
func (m *memory) Runs(context.Context, string, string) ([]run.Run, error) { return m.runs, nil }
func (m *memory) Append(context.Context, run.Batch) error                 { return nil }

func (m *memory) Events(_ context.Context, _, run string, after, limit int) (list []run.Event, err error) {
	for _, e := range m.events {
		if e.Run == run && e.Seq > after && len(list) < limit {
			list = append(list, e)
		}
	}
	return list, nil
}

func (m *memory) Import(_ context.Context, s session.Session, fill func(session.Importing) error) error {
	*m = memory{session: s}
	return fill(m)
}

func (m *memory) Run(r run.Run) error {
	b, err := json.Marshal(r.Spec)
	if err != nil {
		return err
	}
	r.Spec = run.Spec{}
	m.runs = append(m.runs, r)
	return json.Unmarshal(b, &m.runs[len(m.runs)-1].Spec)
}

func (m *memory) Event(e run.Event) error {
	m.events = append(m.events, e)
	return nil
}
