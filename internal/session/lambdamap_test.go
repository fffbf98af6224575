package session_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/run/runtest"
	"realign/internal/session"
	"realign/internal/share"
)

// tables decodes on table models. From an event of type hold on, it waits for the gate before each event.
type tables struct {
	runtest.Decoder
	engine *decode.Engine
	hold   string
	gate   chan struct{}

	mu   sync.Mutex // guards jobs
	jobs []*decode.Job
}

func newTables(t testing.TB, seed uint64) *tables {
	t.Helper()
	d := &tables{Decoder: runtest.Decoder{SHA256: "1"}}
	d.engine = decode.NewEngine(decodetest.New(decodetest.Options{Seed: seed, Sequences: 64, Cells: 1 << 13, EndLogit: -1}), decode.Config{})
	t.Cleanup(func() { _ = d.engine.Close() })
	return d
}

func (d *tables) Decode(_ context.Context, _ string, r decode.Request, sink func(decode.Event)) (run.Job, error) {
	held := false
	j, err := d.engine.Start(r, func(e decode.Event) {
		if held = held || e.Type == d.hold; held {
			<-d.gate
		}
		sink(e)
	})
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.jobs = append(d.jobs, j)
	d.mu.Unlock()
	return j, nil
}

func mapHub(t testing.TB, s run.Store, d *tables) *run.Hub {
	t.Helper()
	return runtest.NewHub(t, s, &d.Decoder, func(c *run.Config) { c.Decoder = d })
}

func mapSpec() run.Spec {
	spec := runtest.Spec(0, 12)
	spec.Map = &decode.Map{From: -0.5, To: 2.5, Branches: 64}
	return spec
}

// finishedMap is a map that has been decoded and saved.
func finishedMap(t testing.TB, s run.Store, d *tables, spec run.Spec) (run.Run, *run.Transcript) {
	t.Helper()
	h := mapHub(t, s, d)
	run := runtest.Start(t, h, spec)
	runtest.ToEnd(t, runtest.Watching(t, h, run.ID, 0))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	return runtest.Ended(t, s, run.ID)
}

// A map is a run: saved event by event, it adds up to what the engine says, and its text at a λ is a lane's.
func TestMapIsARun(t *testing.T) {
	s, d := runtest.OpenStore(t), newTables(t, 2)
	r, tr := finishedMap(t, s, d, mapSpec())
	if r.Status != run.Ended || r.Lanes != 1 || r.EndedAt != runtest.Now || r.Seq != tr.Seq || len(tr.Lanes) != 0 || !tr.Done() {
		t.Errorf("stored %+v", r)
	}
	m := tr.Map
	if m.Reason != decode.EndStop || m.Covered() != 1 || len(m.Branches) < 4 || len(m.Forks) != len(m.Branches)-1 || len(tr.Stats) != 1 {
		t.Fatalf("%s, %v of it, %d branches, %d forks", m.Reason, m.Covered(), len(m.Branches), len(m.Forks))
	}
	h := mapHub(t, s, d)
	lanes := mapSpec()
	lanes.Map = nil
	for _, b := range m.Branches {
		lanes.Lanes = append(lanes.Lanes, decode.Lane{Lambda: decode.Vector{(b.From + b.To) / 2}})
	}
	other := runtest.Start(t, h, lanes)
	runtest.ToEnd(t, runtest.Watching(t, h, other.ID, 0))
	_, want := runtest.Ended(t, s, other.ID)
	for i, b := range m.Branches {
		if text := strings.Join(b.Pieces, ""); text != want.Lanes[i].Text {
			t.Errorf("branch %d says %q, a lane at its λ %q", i, text, want.Lanes[i].Text)
		}
	}

	ctx := t.Context()
	_, err := h.AddLanes(ctx, "ann", r.ID, []decode.Lane{{Lambda: decode.Vector{1}}})
	runtest.WantKind(t, err, fault.Conflict, "λ-map")
	child := runtest.Spec(1, 3)
	child.Parent = &run.Parent{Run: r.ID}
	_, err = h.Start(ctx, "ann", "", child)
	runtest.WantKind(t, err, fault.Conflict, "λ-map")
}

func TestMapRefusalsNameTheField(t *testing.T) {
	s, d := runtest.OpenStore(t), newTables(t, 2)
	h := mapHub(t, s, d)
	for field, edit := range map[string]func(*run.Spec){
		"top_k":          func(s *run.Spec) { s.Sampling.TopK = 3 },
		"top_p":          func(s *run.Spec) { s.Sampling.TopP = 0.9 },
		"repeat_penalty": func(s *run.Spec) { s.Sampling.RepeatPenalty = 1.1 },
		"from":           func(s *run.Spec) { s.Map.From = decode.MinLambda - 1 },
		"to":             func(s *run.Spec) { s.Map.To = s.Map.From },
		"branches":       func(s *run.Spec) { s.Map.Branches = run.MaxMapBranches + 1 },
		"branches ":      func(s *run.Spec) { s.Map.Branches = -1 },
		"max_tokens":     func(s *run.Spec) { s.Sampling.MaxTokens = run.MaxMapTokens + 1 },
		"lanes":          func(s *run.Spec) { s.Lanes = make([]decode.Lane, 1); s.Lanes[0].Lambda = decode.Vector{1} },
	} {
		spec := mapSpec()
		edit(&spec)
		_, err := h.Start(t.Context(), "ann", "", spec)
		if f := fault.Of(err); f.Kind != fault.Invalid || f.Field != strings.TrimSpace(field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if len(d.jobs) != 0 {
		t.Errorf("%d refused maps were decoded", len(d.jobs))
	}
	spec := mapSpec()
	spec.Map.Branches = 0
	if r := runtest.Start(t, h, spec); r.Spec.Map.Branches != run.DefaultMapBranches {
		t.Errorf("%d branches by default", r.Spec.Map.Branches)
	}
}

// A map that is stopped keeps what was found; its branches were cut off, and it ends as cancelled.
func TestMapStops(t *testing.T) {
	s, d := runtest.OpenStore(t), newTables(t, 2)
	// It would take seconds to its end.
	d.engine = decode.NewEngine(decodetest.New(decodetest.Options{
		Seed: 2, Sequences: 64, Cells: 1 << 15, EndLogit: -50, Delay: 5 * time.Millisecond,
	}), decode.Config{})
	t.Cleanup(func() { _ = d.engine.Close() })
	h := mapHub(t, s, d)
	spec := mapSpec()
	spec.Sampling.MaxTokens = 500
	r := runtest.Start(t, h, spec)
	w := runtest.Watching(t, h, r.ID, 0)
	runtest.Until(t, w, 1, runtest.IsType(decode.EventFork))
	runtest.WantKind(t, h.Stop(t.Context(), "ann", r.ID, 0), fault.Conflict, "as a whole")
	runtest.WantKind(t, h.SetLambda(t.Context(), "ann", r.ID, 0, decode.Vector{1}), fault.Conflict, "every λ")
	if err := h.Stop(t.Context(), "ann", r.ID, -1); err != nil {
		t.Fatal(err)
	}
	runtest.ToEnd(t, w)
	stored, tr := runtest.Ended(t, s, r.ID)
	if stored.Status != run.Ended || tr.Map.Reason != decode.EndCancelled || tr.Map.Covered() >= 1 || len(tr.Map.Forks) == 0 {
		t.Errorf("%s, %s, %v covered, %d forks", stored.Status, tr.Map.Reason, tr.Map.Covered(), len(tr.Map.Forks))
	}
}

// The server is killed while a map grows: the next start ends it, and keeps its branches.
func TestMapIsRecovered(t *testing.T) {
	s, d := runtest.OpenStore(t), newTables(t, 2)
	spec := mapSpec()
	spec.Aligned = []string{"warm"}
	r := run.Run{ID: "r", Session: "s", Owner: "ann", Spec: spec, Status: run.Running, CreatedAt: runtest.Now, Lanes: 1}
	if err := s.CreateRun(t.Context(), r, "t"); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), run.Batch{Events: []run.Event{
		{Run: "r", Seq: 1, Event: []byte(`{"type":"start","prompt":{"tokens":[1],"total":1,"done":1}}`)},
		{Run: "r", Seq: 2, Event: []byte(`{"type":"fork","fork":{"lambda":1,"index":1}}`)},
		{Run: "r", Seq: 3, Event: []byte(`{"type":"branch","branch":{"from":-0.5,"to":1,"tokens":[5,2],"pieces":["a",""],"reason":"stop"}}`)},
	}}); err != nil {
		t.Fatal(err)
	}
	mapHub(t, s, d)
	stored, tr := runtest.Ended(t, s, "r")
	if stored.Status != run.Failed || stored.Lanes != 1 || stored.Seq != 4 || tr.Map.Error.Message != run.Stopped {
		t.Errorf("%+v %+v", stored, tr.Map)
	}
	if len(tr.Map.Branches) != 1 || tr.Map.Covered() != 0.5 {
		t.Errorf("%d branches cover %v", len(tr.Map.Branches), tr.Map.Covered())
	}
}

// A decoder that closes, and a store that fails, end a map as they end lanes.
func TestMapBreaksOff(t *testing.T) {
	s, d := &runtest.FailingStore{Store: runtest.OpenStore(t)}, newTables(t, 2)
	d.hold, d.gate = decode.EventFork, make(chan struct{})
	h := mapHub(t, s, d)
	r := runtest.Start(t, h, mapSpec())
	w := runtest.Watching(t, h, r.ID, 0)
	runtest.Until(t, w, 1, runtest.IsType(decode.EventStart))
	s.Fails.Store(fault.New(fault.Unavailable, "the disk is full"))
	d.gate <- struct{}{}
	_, err := w.Next(t.Context())
	runtest.WantKind(t, err, fault.Unavailable, "the disk is full")
	close(d.gate)
	s.Fails.Store(nil)
	ends := runtest.Until(t, w, 1, runtest.IsType(decode.EventEnd))
	if e := ends[len(ends)-1]; e.Reason != decode.EndError || e.Error.Message != "cannot save: the disk is full" {
		t.Errorf("%+v", e)
	}
	if stored, tr := runtest.Ended(t, s, r.ID); stored.Status != run.Failed || !tr.Done() {
		t.Errorf("%+v", stored)
	}
}

func TestMapIsSharedAndVerified(t *testing.T) {
	ctx := t.Context()
	s, d := runtest.OpenStore(t), newTables(t, 2)
	run, tr := finishedMap(t, s, d, mapSpec())
	at := runtest.Now
	_, token, err := shares(s, &at).Share(ctx, "ann", run.ID, "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	_, snapshot, err := shares(s, &at).Open(ctx, token)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(snapshot.Map.State().LambdaMap) != fmt.Sprint(tr.Map.LambdaMap) || snapshot.Fork().Map.To != 2.5 {
		t.Errorf("the snapshot's map is another: %+v", snapshot.Map)
	}
	v, err := share.Verify(ctx, d, d, snapshot)
	if err != nil || !v.Identical || v.Branches != len(tr.Map.Branches) || v.Tokens < 20 {
		t.Errorf("%+v, %v", v, err)
	}

	branch := &snapshot.Map.Continue[1]
	n := len(branch.Tokens) - 1
	branch.Tokens[n]++
	v, err = share.Verify(ctx, d, d, snapshot)
	if err != nil || v.Identical || v.Lane != 1 || v.Index != n || v.What != share.DiffToken || v.Branches != 2 {
		t.Errorf("another token: %+v, %v", v, err)
	}
	branch.Tokens[n]--
	full, pieces, reason := branch.Tokens, branch.Pieces, branch.Reason
	branch.Tokens, branch.Pieces = full[:n], pieces[:n]
	if v, err = share.Verify(ctx, d, d, snapshot); err != nil || v.Identical || v.Index != n || v.What != share.DiffToken || v.Stored != "" {
		t.Errorf("a token less: %+v, %v", v, err)
	}
	branch.Reason = decode.EndCancelled // then nobody knows how it would have gone on
	if v, err = share.Verify(ctx, d, d, snapshot); err != nil || !v.Identical {
		t.Errorf("cut off: %+v, %v", v, err)
	}
	branch.Tokens, branch.Pieces, branch.Reason = full, pieces, reason

	for name, forge := range map[string]func(*share.Snapshot){
		share.DiffText:   func(s *share.Snapshot) { s.Map.Continue[0].Pieces[0] = "forged" },
		share.DiffFork:   func(s *share.Snapshot) { s.Map.Forks[0].Above.Name = "forged" },
		share.DiffNumber: func(s *share.Snapshot) { s.Map.Forks[0].Below.Logp.Aligned -= 0.2 },
		share.DiffPrompt: func(s *share.Snapshot) { s.PromptTokens[0]++ },
		share.DiffEnd:    func(s *share.Snapshot) { s.Map.Forks = s.Map.Forks[1:] },
	} {
		forged := copied(t, snapshot)
		forge(forged)
		if v, err := share.Verify(ctx, d, d, forged); err != nil || v.What != name {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}

	// A fork elsewhere.
	edge := branch.To
	branch.To += 0.001
	snapshot.Map.Continue[2].From += 0.001
	v, err = share.Verify(ctx, d, d, snapshot)
	if err != nil || v.Identical || v.Lane != 1 || v.What != share.DiffLambda || v.Decoded != fmt.Sprint(edge) {
		t.Errorf("another fork: %+v, %v", v, err)
	}
	branch.To, snapshot.Map.Continue[2].From = edge, edge

	other := newTables(t, 3)
	if v, err = share.Verify(ctx, other, other, snapshot); err != nil || v.Identical {
		t.Errorf("other weights: %+v, %v", v, err)
	}
	_ = d.engine.Close()
	if _, err = share.Verify(ctx, d, d, snapshot); err == nil {
		t.Error("verified without a decoder")
	}
}

// With few branches, some are cut by the budget; decoded again they are cut at the same place.
func TestMapWithinABudgetVerifies(t *testing.T) {
	s, d := runtest.OpenStore(t), newTables(t, 3)
	spec := mapSpec()
	spec.Map.Branches = 2
	run, tr := finishedMap(t, s, d, spec)
	cut := slices.ContainsFunc(tr.Map.Branches, func(b decode.Branch) bool { return b.Reason == decode.EndBudget })
	if c := tr.Map.Covered(); !cut || c <= 0 || c >= 1 || tr.Map.Reason != decode.EndStop {
		t.Fatalf("%v covered, ended by %s", c, tr.Map.Reason)
	}
	snapshot, err := share.NewSnapshot(run, tr, nil, runtest.Now)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := share.Verify(t.Context(), d, d, snapshot); err != nil || !v.Identical {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestMapIsExportedAndImported(t *testing.T) {
	ctx := t.Context()
	s, d := runtest.OpenStore(t), newTables(t, 2)
	r, tr := finishedMap(t, s, d, mapSpec())
	file := exported(t, s, "ann", r.Session)
	in := imported(t, s, nil, file).Session
	if again := exported(t, s, "bob", in.ID); !bytes.Equal(file, again) {
		t.Errorf("exported again it differs")
	}
	runs, err := s.Runs(ctx, "bob", in.ID)
	if err != nil || len(runs) != 1 || runs[0].Lanes != 1 || runs[0].Status != run.Ended {
		t.Fatalf("%+v, %v", runs, err)
	}
	got, err := run.ReadTranscript(ctx, s, runs[0])
	if err != nil || fmt.Sprint(got.Map.LambdaMap) != fmt.Sprint(tr.Map.LambdaMap) {
		t.Errorf("another map, %v", err)
	}

	first := fmt.Sprintf(`"from":%v,`, tr.Map.Branches[1].From)
	for _, c := range []struct{ from, to, words string }{
		{`"type":"branch"`, `"type":"token"`, "does not belong"},
		{first, `"from":-0.5,`, "lies over"},
		{first, `"from":7,`, "no branch within"},
		{`"fork":{"lambda":`, `"fork":{"lambda":9`, "no fork within"},
		{`"pieces":["`, `"pieces":["","`, "texts"},
		{`"map":{"from":-0.5,"to":2.5`, `"map":{"from":-0.5,"to":-2.5`, "spec.to"},
		{`"type":"end"`, `"type":"stats"`, "no end"},
	} {
		if !bytes.Contains(file, []byte(c.from)) {
			t.Errorf("the file lacks %s", c.from)
		}
		_, err := session.ImportSession(ctx, s, nil, "bob", bytes.NewReader(bytes.Replace(file, []byte(c.from), []byte(c.to), 1)), runtest.Now)
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want one that says %q", c.to, err, c.words)
		}
	}
}
