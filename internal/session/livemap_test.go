package session_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/fault"
	"realign/internal/session"
)

// A live map is a run as another map is: it has its steps in the log, is exported and imported, and its focus moves while it
// is decoded.
func TestLiveMapIsARun(t *testing.T) {
	s, d := openStore(t), newTables(t, 2)
	spec := mapSpec()
	spec.Map.Live, spec.Map.Focus = true, 1
	spec.Map.Branches = 6
	run, tr := finishedMap(t, s, d, spec)
	events, err := s.Events(t.Context(), "ann", run.ID, 0, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	for _, e := range events {
		decoded, err := e.Decode()
		if err != nil {
			t.Fatal(err)
		}
		if decoded.Type == decode.EventStep {
			steps++
		}
	}
	if steps < 8 || tr.Map.Reason != decode.EndStop || len(tr.Map.Branches) < 2 {
		t.Fatalf("%d steps, %s, %d branches", steps, tr.Map.Reason, len(tr.Map.Branches))
	}

	// Wherever the focus was, the map is the same.
	for _, focus := range []float64{-0.5, 2.5} {
		spec.Map.Focus = focus
		_, again := finishedMap(t, s, d, spec)
		if !slices.EqualFunc(tr.Map.Branches, again.Map.Branches, func(a, b decode.Branch) bool {
			return a.From == b.From && a.To == b.To && a.Reason == b.Reason && slices.Equal(a.Tokens, b.Tokens)
		}) {
			t.Errorf("another map at focus %v", focus)
		}
	}

	var file bytes.Buffer
	if _, err := session.ExportSession(t.Context(), s, nil, "ann", run.Session, session.Part{}, &file); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(file.Bytes(), []byte(`"type":"step"`)) {
		t.Error("the export has no steps")
	}
	in := imported(t, s, nil, file.Bytes())
	runs, err := s.Runs(t.Context(), in.Session.Owner, in.Session.ID)
	if err != nil || len(runs) == 0 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	back, err := session.ReadTranscript(t.Context(), s, runs[len(runs)-1])
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(tr.Map.Branches, back.Map.Branches, func(a, b decode.Branch) bool { return a.From == b.From && slices.Equal(a.Tokens, b.Tokens) }) {
		t.Error("imported it is another map")
	}
}

// A focus is refused where there is none: of a map that is not live, beyond its ends, after its end.
func TestFocusOfAMap(t *testing.T) {
	s, d := openStore(t), newTables(t, 2)
	// It would take seconds to its end.
	d.engine = decode.NewEngine(decodetest.New(decodetest.Options{
		Seed: 2, Sequences: 64, Cells: 1 << 15, EndLogit: -50, Delay: 5 * time.Millisecond,
	}), decode.Config{})
	t.Cleanup(func() { _ = d.engine.Close() })
	h := mapHub(t, s, d)
	spec := mapSpec()
	spec.Map.Live, spec.Map.Focus = true, 1
	spec.Sampling.MaxTokens = 500
	run := start(t, h, spec)
	w := watch(t, h, run.ID, 0)
	until(t, w, 1, isType(decode.EventStep))
	for lambda, kind := range map[float64]fault.Kind{0.3: "", 2.6: fault.Invalid} {
		if err := h.SetLambda(t.Context(), "ann", run.ID, 0, decode.Vector{lambda}); fault.KindOf(err) != kind && (err != nil || kind != "") {
			t.Errorf("focus %v: %v", lambda, err)
		}
	}
	if err := h.Stop(t.Context(), "ann", run.ID, -1); err != nil {
		t.Fatal(err)
	}
	toEnd(t, w)
	wantKind(t, h.SetLambda(t.Context(), "ann", run.ID, 0, decode.Vector{1}), fault.Conflict, "ended")
}
