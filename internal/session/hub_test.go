package session_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/session"
	"realign/internal/session/sessiontest"
	"realign/internal/store"
)

var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func openStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// newHub makes a hub on a decoder; edit may change its configuration.
func newHub(t testing.TB, s session.Store, d *sessiontest.Decoder, edit func(*session.Config)) *session.Hub {
	t.Helper()
	config := session.Config{
		Store: s, Decoder: d, Pairs: d, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
		Build: "test", Interval: -1, Retry: time.Millisecond,
	}
	if edit != nil {
		edit(&config)
	}
	h, err := session.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func start(t testing.TB, h *session.Hub, spec session.Spec) session.Run {
	t.Helper()
	run, err := h.Start(t.Context(), "ann", "", spec)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func watch(t testing.TB, h *session.Hub, run string, after int) *session.Watch {
	t.Helper()
	w, err := h.Watch(t.Context(), "ann", run, after)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// until reads a watch up to and with the n-th event that stop accepts, and checks the numbers.
func until(t testing.TB, w *session.Watch, n int, stop func(decode.Event) bool) (list []decode.Event) {
	t.Helper()
	for {
		seq := w.Seq()
		events, err := w.Next(t.Context())
		if err != nil {
			t.Fatalf("after event %d: %v", seq, err)
		}
		for i, e := range events {
			if e.Seq != seq+1+i {
				t.Fatalf("event %d follows %d", e.Seq, seq+i)
			}
			d, err := e.Decode()
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, d)
			if stop(d) {
				n--
			}
		}
		if n <= 0 {
			return list
		}
	}
}

func isType(typ string) func(decode.Event) bool {
	return func(e decode.Event) bool { return e.Type == typ }
}

func toEnd(t testing.TB, w *session.Watch) []decode.Event {
	t.Helper()
	return until(t, w, 1, isType(decode.EventStats))
}

// transcript is the stored run once it is over, and what its log adds up to.
func transcript(t testing.TB, s session.Store, id string) (session.Run, *session.Transcript) {
	t.Helper()
	run, err := s.Run(t.Context(), "ann", id)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := session.ReadTranscript(t.Context(), s, run)
	if err != nil {
		t.Fatal(err)
	}
	return run, tr
}

func wantKind(t testing.TB, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if got := fault.KindOf(err); got != kind {
		t.Errorf("kind %q of error %v, want %q", got, err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestRun(t *testing.T) {
	s, d := openStore(t), &sessiontest.Decoder{SHA256: "1"}
	h := newHub(t, s, d, nil)
	run := start(t, h, sessiontest.Spec(3, 20))
	events := toEnd(t, watch(t, h, run.ID, 0))
	if n := len(events); n != 1+3*20+3+1 || events[0].Type != decode.EventStart {
		t.Errorf("%d events, the first %s", n, events[0].Type)
	}
	stored, tr := transcript(t, s, run.ID)
	if stored.Status != session.Ended || stored.EndedAt != now || stored.Seq != len(events) || stored.Lanes != 3 {
		t.Errorf("stored %+v", stored)
	}
	if stored.Spec.Build != "test" || len(stored.Spec.Files) != 2 || !slices.Equal(stored.Spec.Aligned, []string{"warm"}) {
		t.Errorf("spec %+v", stored.Spec)
	}
	if len(tr.Lanes) != 3 || len(tr.Lanes[2].Tokens) != 20 || tr.Lanes[2].Reason != decode.EndLength || len(tr.Prompt) == 0 {
		t.Errorf("transcript %+v", tr)
	}
	kl := 0.0
	for _, token := range tr.Lanes[1].Tokens {
		kl += *token.KLReference
	}
	if tr.Lanes[1].KLReference != kl {
		t.Errorf("sum of KL %v, want %v", tr.Lanes[1].KLReference, kl)
	}
	got, err := s.Session(t.Context(), "ann", run.Session)
	if err != nil || got.Title != "What did you think of the film?" || got.Runs != 1 {
		t.Errorf("session %+v, %v", got, err)
	}
	c := h.Counters()
	if c.Runs != 1 || c.Tokens != 60 || c.LiveRuns != 0 || c.Queue != 0 || c.QueueBytes != 0 {
		t.Errorf("counters %+v", c)
	}
	if _, err := h.Start(t.Context(), "ann", run.Session, sessiontest.Spec(1, 1)); err != nil {
		t.Errorf("second run of the session: %v", err)
	}
}

func TestRefusalsLeaveNothing(t *testing.T) {
	s, d := openStore(t), &sessiontest.Decoder{}
	h := newHub(t, s, d, nil)
	for field, edit := range map[string]func(*session.Spec){
		"pair":         func(s *session.Spec) { s.Pair = "other" },
		"pair ":        func(s *session.Spec) { s.Pair = "" },
		"aligned":      func(s *session.Spec) { s.Aligned = []string{"cold"} },
		"prompt":       func(s *session.Spec) { s.Prompt = " \n" },
		"prompt ":      func(s *session.Spec) { s.Prompt = strings.Repeat("x", decode.MaxPromptBytes+1) },
		"prompt  ":     func(s *session.Spec) { s.Prompt = "\xff" },
		"mode":         func(s *session.Spec) { s.Mode = "shout" },
		"system":       func(s *session.Spec) { s.Mode, s.System = session.Plain, "be kind" },
		"lanes":        func(s *session.Spec) { s.Lanes = nil },
		"lanes ":       func(s *session.Spec) { s.Lanes = make([]decode.Lane, decode.MaxLanes+1) },
		"lambda":       func(s *session.Spec) { s.Lanes[0].Lambda = decode.Vector{decode.MaxLambda + 1} },
		"lambda ":      func(s *session.Spec) { s.Lanes[0].Lambda = decode.Vector{1, 2} },
		"sample":       func(s *session.Spec) { s.Lanes[0].Sample = -1 },
		"max_tokens":   func(s *session.Spec) { s.Sampling.MaxTokens = 0 },
		"temperature":  func(s *session.Spec) { s.Sampling.Temperature = -1 },
		"top_p":        func(s *session.Spec) { s.Sampling.TopP = 0 },
		"min_p":        func(s *session.Spec) { s.Sampling.MinP = 1.5 },
		"top_k":        func(s *session.Spec) { s.Sampling.TopK = -1 },
		"stop":         func(s *session.Spec) { s.Sampling.Stop = []string{""} },
		"alternatives": func(s *session.Spec) { s.Alternatives = decode.MaxAlternatives + 1 },
		"history":      func(s *session.Spec) { s.History = []decode.Message{{Role: "assistant"}} },
		"parent":       func(s *session.Spec) { s.Parent = &session.Parent{Lane: -1} },
	} {
		spec := sessiontest.Spec(2, 4)
		edit(&spec)
		_, err := h.Start(t.Context(), "ann", "", spec)
		want := strings.TrimSpace(field)
		if f := fault.Of(err); f == nil || f.Kind != fault.Invalid && want != "parent" || f.Field != want && want != "parent" {
			t.Errorf("%s: %v", field, err)
		}
	}
	_, err := h.Start(t.Context(), "ann", "nothing", sessiontest.Spec(1, 4))
	wantKind(t, err, fault.NotFound)
	d.Refuse = fault.New(fault.Busy, "queue full")
	_, err = h.Start(t.Context(), "ann", "", sessiontest.Spec(1, 4))
	wantKind(t, err, fault.Busy, "queue full")
	if page, err := s.Sessions(t.Context(), "ann", session.Query{}); err != nil || page.Total != 0 {
		t.Errorf("left behind: %+v, %v", page, err)
	}
	if c := h.Counters(); c.LiveRuns != 0 || c.Runs != 0 {
		t.Errorf("counters %+v", c)
	}
}

func TestLimits(t *testing.T) {
	d := &sessiontest.Decoder{Gate: make(chan struct{})}
	s := openStore(t)
	h := newHub(t, s, d, func(c *session.Config) { c.MaxRuns, c.MaxOwnerRuns = 3, 2 })
	first := start(t, h, sessiontest.Spec(1, 4))
	start(t, h, sessiontest.Spec(1, 4))
	_, err := h.Start(t.Context(), "ann", "", sessiontest.Spec(1, 4))
	wantKind(t, err, fault.Busy, "2 of your runs")
	if _, err := h.Start(t.Context(), "bob", "", sessiontest.Spec(1, 4)); err != nil {
		t.Fatal(err)
	}
	_, err = h.Start(t.Context(), "cleo", "", sessiontest.Spec(1, 4))
	wantKind(t, err, fault.Busy, "3 runs")
	w := watch(t, h, first.ID, 0)
	if err := h.Stop(t.Context(), "ann", first.ID, -1); err != nil {
		t.Fatal(err)
	}
	toEnd(t, w)
	start(t, h, sessiontest.Spec(1, 4)) // the place is free by the time the end is seen
}

func TestWatchResumes(t *testing.T) {
	s, d := openStore(t), &sessiontest.Decoder{Gate: make(chan struct{})}
	h := newHub(t, s, d, func(c *session.Config) { c.Recent = 4 })
	run := start(t, h, sessiontest.Spec(2, 1000))
	slow := watch(t, h, run.ID, 0) // reads nothing until the end
	w := watch(t, h, run.ID, 0)
	isToken := isType(decode.EventToken)
	for range 50 {
		d.Gate <- struct{}{}
	}
	until(t, w, 100, isToken)
	at := w.Seq()
	late := watch(t, h, run.ID, 10)
	if late.CaughtUp() {
		t.Error("caught up before reading")
	}
	for !late.CaughtUp() {
		until(t, late, 1, func(decode.Event) bool { return true })
	}
	if late.Seq() < at {
		t.Errorf("caught up at %d, the log was at %d", late.Seq(), at)
	}
	if c := h.Counters(); c.Watchers != 3 {
		t.Errorf("%d watchers", c.Watchers)
	}
	close(d.Gate)
	toEnd(t, w)
	toEnd(t, late)
	all := toEnd(t, slow)
	if len(all) != w.Seq() || len(all) != 1+2000+2+1 {
		t.Errorf("the slow watcher got %d of %d events", len(all), w.Seq())
	}
	for _, after := range []int{-1, w.Seq() + 1} {
		_, err := h.Watch(t.Context(), "ann", run.ID, after)
		wantKind(t, err, fault.Invalid)
	}
	_, err := h.Watch(t.Context(), "bob", run.ID, 0)
	wantKind(t, err, fault.NotFound)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next under a cancelled context: %v", err)
	}
}

func TestSteering(t *testing.T) {
	ctx := t.Context()
	s, d := openStore(t), &sessiontest.Decoder{Gate: make(chan struct{})}
	h := newHub(t, s, d, nil)
	run := start(t, h, sessiontest.Spec(3, 1000))
	w := watch(t, h, run.ID, 0)
	until(t, w, 3, isType(decode.EventToken))
	if err := h.SetLambda(ctx, "ann", run.ID, 1, decode.Vector{3}); err != nil {
		t.Fatal(err)
	}
	wantKind(t, h.SetLambda(ctx, "ann", run.ID, 1, decode.Vector{99}), fault.Invalid, "lambda")
	wantKind(t, h.SetLambda(ctx, "ann", run.ID, 3, decode.Vector{1}), fault.NotFound)
	wantKind(t, h.SetLambda(ctx, "bob", run.ID, 1, decode.Vector{1}), fault.NotFound)
	wantKind(t, h.Stop(ctx, "bob", run.ID, -1), fault.NotFound)
	wantKind(t, h.Stop(ctx, "ann", run.ID, 7), fault.NotFound)
	d.Gate <- struct{}{}
	until(t, w, 1, isType(decode.EventLambda))
	if err := h.Stop(ctx, "ann", run.ID, 0); err != nil {
		t.Fatal(err)
	}
	until(t, w, 1, isType(decode.EventEnd))
	wantKind(t, h.SetLambda(ctx, "ann", run.ID, 0, decode.Vector{1}), fault.Conflict)
	if err := h.Stop(ctx, "ann", run.ID, -1); err != nil {
		t.Fatal(err)
	}
	toEnd(t, w)
	if err := h.Stop(ctx, "ann", run.ID, -1); err != nil {
		t.Errorf("stop again: %v", err)
	}
	wantKind(t, h.SetLambda(ctx, "ann", run.ID, 1, decode.Vector{1}), fault.Conflict)
	stored, tr := transcript(t, s, run.ID)
	changes := tr.Lanes[1].Changes
	if stored.Status != session.Ended || tr.Lanes[0].Reason != decode.EndCancelled || len(changes) != 1 || changes[0].Lambda[0] != 3 {
		t.Errorf("%s, %+v", stored.Status, tr.Lanes[1].Changes)
	}
	if l := &tr.Lanes[1]; l.Tokens[changes[0].At].Lambda[0] != 3 || l.Tokens[changes[0].At-1].Lambda[0] == 3 {
		t.Error("the mark is not where λ changed")
	}
}

func TestAddLanesAndContinue(t *testing.T) {
	ctx := t.Context()
	s, d := openStore(t), &sessiontest.Decoder{Gate: make(chan struct{})}
	h := newHub(t, s, d, nil)
	spec := sessiontest.Spec(2, 8)
	spec.System = "Be brief."
	run := start(t, h, spec)
	w := watch(t, h, run.ID, 0)
	got, err := h.AddLanes(ctx, "ann", run.ID, []decode.Lane{{Lambda: decode.Vector{1}, Prefix: []decode.Token{5, 6}}})
	if err != nil || !slices.Equal(got, []int{2}) {
		t.Fatalf("%v, %v", got, err)
	}
	until(t, w, 1, isType(decode.EventLanes))
	_, err = h.Start(ctx, "ann", "", session.Spec{Pair: "demo", Prompt: "more", Mode: session.Chat, Lanes: spec.Lanes,
		Sampling: spec.Sampling, Parent: &session.Parent{Run: run.ID, Lane: 2}})
	wantKind(t, err, fault.Conflict, "has not ended")
	close(d.Gate)
	until(t, w, 2, isType(decode.EventStats))
	got, err = h.AddLanes(ctx, "ann", run.ID, []decode.Lane{{Lambda: decode.Vector{2}}, {Lambda: decode.Vector{1}, Sample: 1}})
	if err != nil || !slices.Equal(got, []int{3, 4}) {
		t.Fatalf("%v, %v", got, err)
	}
	toEnd(t, w)
	stored, tr := transcript(t, s, run.ID)
	if stored.Lanes != 5 || stored.Status != session.Ended || len(tr.Lanes) != 5 || len(tr.Stats) != 3 || !tr.Done() {
		t.Errorf("%+v", stored)
	}
	if l := tr.Lanes[2]; l.Tokens[0].ID != 5 || l.Tokens[1].ID != 6 {
		t.Error("the prefix is not there")
	}
	for _, lanes := range [][]decode.Lane{nil, {{Lambda: decode.Vector{-9}}}, make([]decode.Lane, decode.MaxLanes)} {
		_, err := h.AddLanes(ctx, "ann", run.ID, lanes)
		wantKind(t, err, fault.Invalid)
	}
	_, err = h.AddLanes(ctx, "bob", run.ID, []decode.Lane{{Lambda: decode.Vector{2}}})
	wantKind(t, err, fault.NotFound)

	next := sessiontest.Spec(1, 2)
	next.Parent = &session.Parent{Run: run.ID, Lane: 4}
	more := start(t, h, next)
	want := []decode.Message{{Role: "user", Content: spec.Prompt}, {Role: "assistant", Content: tr.Lanes[4].Text}}
	if !slices.Equal(more.Spec.History, want) || more.Spec.System != spec.System {
		t.Errorf("history %+v", more.Spec)
	}
	toEnd(t, watch(t, h, more.ID, 0))
	jobs := d.Jobs()
	if messages := jobs[len(jobs)-1].Request.Prompt.Messages; len(messages) != 4 {
		t.Errorf("messages %+v", messages)
	}
	next.Parent = &session.Parent{Run: run.ID, Lane: 5}
	_, err = h.Start(ctx, "ann", "", next)
	wantKind(t, err, fault.Invalid, "parent", "no lane 5")
	d.SHA256 = "other"
	_, err = h.AddLanes(ctx, "ann", run.ID, []decode.Lane{{Lambda: decode.Vector{2}}})
	wantKind(t, err, fault.Conflict, "have changed")
}

func TestWorkerDies(t *testing.T) {
	s, d := openStore(t), &sessiontest.Decoder{Gate: make(chan struct{})}
	h := newHub(t, s, d, nil)
	run := start(t, h, sessiontest.Spec(2, 100))
	w := watch(t, h, run.ID, 0)
	until(t, w, 2, isType(decode.EventToken))
	d.Jobs()[0].Die()
	toEnd(t, w)
	stored, tr := transcript(t, s, run.ID)
	if stored.Status != session.Failed || !tr.Done() || tr.Lanes[0].Error.Code != "unavailable" {
		t.Errorf("%+v %+v", stored, tr.Lanes[0].Error)
	}
}

func TestClose(t *testing.T) {
	s, d := openStore(t), &sessiontest.Decoder{Gate: make(chan struct{})}
	h := newHub(t, s, d, nil)
	run := start(t, h, sessiontest.Spec(2, 100))
	w := watch(t, h, run.ID, 0)
	until(t, w, 2, isType(decode.EventToken))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	_ = h.Close()
	until(t, w, 2, isType(decode.EventEnd))
	_, err := w.Next(t.Context())
	wantKind(t, err, fault.Unavailable, "stopping")
	stored, tr := transcript(t, s, run.ID)
	if stored.Status != session.Failed || tr.Lanes[1].Error == nil || tr.Lanes[1].Error.Message != session.Stopped {
		t.Errorf("%+v %+v", stored, tr.Lanes[1])
	}
	_, err = h.Start(t.Context(), "ann", "", sessiontest.Spec(1, 1))
	wantKind(t, err, fault.Unavailable)
	_, err = h.Watch(t.Context(), "ann", run.ID, 0)
	wantKind(t, err, fault.Unavailable)
}

// failing is a store that fails or stalls when told to.
type failing struct {
	*store.Store
	fails atomic.Pointer[fault.Error]
	stall chan struct{} // received from before every append, until closed; nil is never
}

func (f *failing) Append(ctx context.Context, b session.Batch) error {
	if f.stall != nil {
		<-f.stall
	}
	if err := f.fails.Load(); err != nil {
		return err
	}
	return f.Store.Append(ctx, b)
}

func TestStoreFails(t *testing.T) {
	s, d := &failing{Store: openStore(t)}, &sessiontest.Decoder{Gate: make(chan struct{})}
	h := newHub(t, s, d, nil)
	run := start(t, h, sessiontest.Spec(2, 1000))
	w := watch(t, h, run.ID, 0)
	until(t, w, 2, isType(decode.EventToken))
	s.fails.Store(fault.New(fault.Unavailable, "the disk is full"))
	d.Gate <- struct{}{}
	_, err := w.Next(t.Context())
	wantKind(t, err, fault.Unavailable, "cannot save", "the disk is full")
	<-d.Jobs()[0].Done() // it was stopped
	s.fails.Store(nil)
	ends := until(t, w, 2, isType(decode.EventEnd))
	if len(ends) != 2 || ends[0].Reason != decode.EndError || ends[0].Index != 1 ||
		ends[0].Error.Code != "unavailable" || ends[0].Error.Message != "cannot save: the disk is full" {
		t.Errorf("ends %+v", ends)
	}
	stored, tr := transcript(t, s, run.ID)
	if stored.Status != session.Failed || !tr.Done() || stored.Seq != w.Seq() {
		t.Errorf("%+v", stored)
	}
	close(d.Gate)
	more := start(t, h, sessiontest.Spec(1, 5))
	toEnd(t, watch(t, h, more.ID, 0))
	if c := h.Counters(); c.SaveFailures != 1 || c.QueueBytes != 0 || c.LiveRuns != 0 {
		t.Errorf("counters %+v", c)
	}
}

func TestStoreStalls(t *testing.T) {
	s, d := &failing{Store: openStore(t), stall: make(chan struct{})}, &sessiontest.Decoder{}
	h := newHub(t, s, d, func(c *session.Config) { c.QueueEvents, c.Patience = 50, time.Millisecond })
	run := start(t, h, sessiontest.Spec(2, 1000))
	<-d.Jobs()[0].Done() // it is not held up for ever
	close(s.stall)
	w := watch(t, h, run.ID, 0)
	until(t, w, 2, isType(decode.EventEnd))
	_, tr := transcript(t, s, run.ID)
	if !tr.Done() || tr.Lanes[0].Error == nil || tr.Lanes[0].Error.Message != "cannot save: the store is too slow" {
		t.Errorf("%+v", tr.Lanes[0].Error)
	}
	if c := h.Counters(); c.SaveFailures != 1 || c.Stalls == 0 {
		t.Errorf("counters %+v", c)
	}
}

func TestRecovery(t *testing.T) {
	ctx := t.Context()
	s := openStore(t)
	spec := sessiontest.Spec(2, 4)
	spec.Aligned = []string{"warm"}
	spec.Lanes[1].Index = 1
	run := session.Run{ID: "r", Session: "s", Owner: "ann", Spec: spec, Status: session.Running, CreatedAt: now, Lanes: 2}
	if err := s.CreateRun(ctx, run, "t"); err != nil {
		t.Fatal(err)
	}
	log := []session.Event{
		{Run: "r", Seq: 1, Event: []byte(`{"type":"token","lane":0,"index":0,"lambda":0,"text":"a"}`)},
		{Run: "r", Seq: 2, Event: []byte(`{"type":"end","lane":1,"reason":"length"}`)},
		{Run: "r", Seq: 3, Event: []byte(`{"type":"lanes","lane":0,"lanes":[{"lane":2,"lambda":1}]}`)},
	}
	if err := s.Append(ctx, session.Batch{Events: log}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteSession(ctx, "ann", "s", now); err != nil { // even so
		t.Fatal(err)
	}
	newHub(t, s, &sessiontest.Decoder{}, func(c *session.Config) { c.Instance = "another" })
	newHub(t, s, &sessiontest.Decoder{}, nil)
	if err := s.RestoreSession(ctx, "ann", "s"); err != nil {
		t.Fatal(err)
	}
	stored, tr := transcript(t, s, "r")
	if stored.Status != session.Failed || stored.Lanes != 3 || stored.Seq != 5 || stored.EndedAt != now || !tr.Done() {
		t.Errorf("%+v", stored)
	}
	if l := tr.Lanes[0]; l.Text != "a" || l.Error.Message != session.Stopped || tr.Lanes[1].Reason != decode.EndLength {
		t.Errorf("%+v", l)
	}
}
