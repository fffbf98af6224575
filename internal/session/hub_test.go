package session_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/session"
	"realign/internal/session/sessiontest"
)

func TestRun(t *testing.T) {
	s, d := sessiontest.OpenStore(t), &sessiontest.Decoder{SHA256: "1"}
	h := sessiontest.NewHub(t, s, d, nil)
	run := sessiontest.Start(t, h, sessiontest.Spec(3, 20))
	events := sessiontest.ToEnd(t, sessiontest.Watching(t, h, run.ID, 0))
	if n := len(events); n != 1+3*20+3+1 || events[0].Type != decode.EventStart {
		t.Errorf("%d events, the first %s", n, events[0].Type)
	}
	stored, tr := sessiontest.Ended(t, s, run.ID)
	if stored.Status != session.Ended || stored.EndedAt != sessiontest.Now || stored.Seq != len(events) || stored.Lanes != 3 {
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
	s, d := sessiontest.OpenStore(t), &sessiontest.Decoder{}
	h := sessiontest.NewHub(t, s, d, nil)
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
	sessiontest.WantKind(t, err, fault.NotFound)
	d.Refuse = fault.New(fault.Busy, "queue full")
	_, err = h.Start(t.Context(), "ann", "", sessiontest.Spec(1, 4))
	sessiontest.WantKind(t, err, fault.Busy, "queue full")
	if page, err := s.Sessions(t.Context(), "ann", session.Query{}); err != nil || page.Total != 0 {
		t.Errorf("left behind: %+v, %v", page, err)
	}
	if c := h.Counters(); c.LiveRuns != 0 || c.Runs != 0 {
		t.Errorf("counters %+v", c)
	}
}

func TestLimits(t *testing.T) {
	d := &sessiontest.Decoder{Gate: make(chan struct{})}
	s := sessiontest.OpenStore(t)
	h := sessiontest.NewHub(t, s, d, func(c *session.Config) { c.MaxRuns, c.MaxOwnerRuns = 3, 2 })
	first := sessiontest.Start(t, h, sessiontest.Spec(1, 4))
	sessiontest.Start(t, h, sessiontest.Spec(1, 4))
	_, err := h.Start(t.Context(), "ann", "", sessiontest.Spec(1, 4))
	sessiontest.WantKind(t, err, fault.Busy, "2 of your runs")
	if _, err := h.Start(t.Context(), "bob", "", sessiontest.Spec(1, 4)); err != nil {
		t.Fatal(err)
	}
	_, err = h.Start(t.Context(), "cleo", "", sessiontest.Spec(1, 4))
	sessiontest.WantKind(t, err, fault.Busy, "3 runs")
	w := sessiontest.Watching(t, h, first.ID, 0)
	if err := h.Stop(t.Context(), "ann", first.ID, -1); err != nil {
		t.Fatal(err)
	}
	sessiontest.ToEnd(t, w)
	sessiontest.Start(t, h, sessiontest.Spec(1, 4)) // the place is free by the time the end is seen
}

func TestWatchResumes(t *testing.T) {
	s, d := sessiontest.OpenStore(t), &sessiontest.Decoder{Gate: make(chan struct{})}
	h := sessiontest.NewHub(t, s, d, func(c *session.Config) { c.Recent = 4 })
	run := sessiontest.Start(t, h, sessiontest.Spec(2, 1000))
	slow := sessiontest.Watching(t, h, run.ID, 0) // reads nothing until the end
	w := sessiontest.Watching(t, h, run.ID, 0)
	isToken := sessiontest.IsType(decode.EventToken)
	for range 50 {
		d.Gate <- struct{}{}
	}
	sessiontest.Until(t, w, 100, isToken)
	at := w.Seq()
	late := sessiontest.Watching(t, h, run.ID, 10)
	if late.CaughtUp() {
		t.Error("caught up before reading")
	}
	for !late.CaughtUp() {
		sessiontest.Until(t, late, 1, func(decode.Event) bool { return true })
	}
	if late.Seq() < at {
		t.Errorf("caught up at %d, the log was at %d", late.Seq(), at)
	}
	if c := h.Counters(); c.Watchers != 3 {
		t.Errorf("%d watchers", c.Watchers)
	}
	close(d.Gate)
	sessiontest.ToEnd(t, w)
	sessiontest.ToEnd(t, late)
	all := sessiontest.ToEnd(t, slow)
	if len(all) != w.Seq() || len(all) != 1+2000+2+1 {
		t.Errorf("the slow watcher got %d of %d events", len(all), w.Seq())
	}
	for _, after := range []int{-1, w.Seq() + 1} {
		_, err := h.Watch(t.Context(), "ann", run.ID, after)
		sessiontest.WantKind(t, err, fault.Invalid)
	}
	_, err := h.Watch(t.Context(), "bob", run.ID, 0)
	sessiontest.WantKind(t, err, fault.NotFound)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next under a cancelled context: %v", err)
	}
}

func TestSteering(t *testing.T) {
	ctx := t.Context()
	s, d := sessiontest.OpenStore(t), &sessiontest.Decoder{Gate: make(chan struct{})}
	h := sessiontest.NewHub(t, s, d, nil)
	run := sessiontest.Start(t, h, sessiontest.Spec(3, 1000))
	w := sessiontest.Watching(t, h, run.ID, 0)
	sessiontest.Until(t, w, 3, sessiontest.IsType(decode.EventToken))
	if err := h.SetLambda(ctx, "ann", run.ID, 1, decode.Vector{3}); err != nil {
		t.Fatal(err)
	}
	sessiontest.WantKind(t, h.SetLambda(ctx, "ann", run.ID, 1, decode.Vector{99}), fault.Invalid, "lambda")
	sessiontest.WantKind(t, h.SetLambda(ctx, "ann", run.ID, 3, decode.Vector{1}), fault.NotFound)
	sessiontest.WantKind(t, h.SetLambda(ctx, "bob", run.ID, 1, decode.Vector{1}), fault.NotFound)
	sessiontest.WantKind(t, h.Stop(ctx, "bob", run.ID, -1), fault.NotFound)
	sessiontest.WantKind(t, h.Stop(ctx, "ann", run.ID, 7), fault.NotFound)
	d.Gate <- struct{}{}
	sessiontest.Until(t, w, 1, sessiontest.IsType(decode.EventLambda))
	if err := h.Stop(ctx, "ann", run.ID, 0); err != nil {
		t.Fatal(err)
	}
	sessiontest.Until(t, w, 1, sessiontest.IsType(decode.EventEnd))
	sessiontest.WantKind(t, h.SetLambda(ctx, "ann", run.ID, 0, decode.Vector{1}), fault.Conflict)
	if err := h.Stop(ctx, "ann", run.ID, -1); err != nil {
		t.Fatal(err)
	}
	sessiontest.ToEnd(t, w)
	if err := h.Stop(ctx, "ann", run.ID, -1); err != nil {
		t.Errorf("stop again: %v", err)
	}
	sessiontest.WantKind(t, h.SetLambda(ctx, "ann", run.ID, 1, decode.Vector{1}), fault.Conflict)
	stored, tr := sessiontest.Ended(t, s, run.ID)
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
	s, d := sessiontest.OpenStore(t), &sessiontest.Decoder{Gate: make(chan struct{})}
	h := sessiontest.NewHub(t, s, d, nil)
	spec := sessiontest.Spec(2, 8)
	spec.System = "Be brief."
	run := sessiontest.Start(t, h, spec)
	w := sessiontest.Watching(t, h, run.ID, 0)
	got, err := h.AddLanes(ctx, "ann", run.ID, []decode.Lane{{Lambda: decode.Vector{1}, Prefix: []decode.Token{5, 6}}})
	if err != nil || !slices.Equal(got, []int{2}) {
		t.Fatalf("%v, %v", got, err)
	}
	sessiontest.Until(t, w, 1, sessiontest.IsType(decode.EventLanes))
	_, err = h.Start(ctx, "ann", "", session.Spec{Pair: "demo", Prompt: "more", Mode: session.Chat, Lanes: spec.Lanes,
		Sampling: spec.Sampling, Parent: &session.Parent{Run: run.ID, Lane: 2}})
	sessiontest.WantKind(t, err, fault.Conflict, "has not ended")
	close(d.Gate)
	sessiontest.Until(t, w, 2, sessiontest.IsType(decode.EventStats))
	got, err = h.AddLanes(ctx, "ann", run.ID, []decode.Lane{{Lambda: decode.Vector{2}}, {Lambda: decode.Vector{1}, Sample: 1}})
	if err != nil || !slices.Equal(got, []int{3, 4}) {
		t.Fatalf("%v, %v", got, err)
	}
	sessiontest.ToEnd(t, w)
	stored, tr := sessiontest.Ended(t, s, run.ID)
	if stored.Lanes != 5 || stored.Status != session.Ended || len(tr.Lanes) != 5 || len(tr.Stats) != 3 || !tr.Done() {
		t.Errorf("%+v", stored)
	}
	if l := tr.Lanes[2]; l.Tokens[0].ID != 5 || l.Tokens[1].ID != 6 {
		t.Error("the prefix is not there")
	}
	for _, lanes := range [][]decode.Lane{nil, {{Lambda: decode.Vector{-9}}}, make([]decode.Lane, decode.MaxLanes)} {
		_, err := h.AddLanes(ctx, "ann", run.ID, lanes)
		sessiontest.WantKind(t, err, fault.Invalid)
	}
	_, err = h.AddLanes(ctx, "bob", run.ID, []decode.Lane{{Lambda: decode.Vector{2}}})
	sessiontest.WantKind(t, err, fault.NotFound)

	next := sessiontest.Spec(1, 2)
	next.Parent = &session.Parent{Run: run.ID, Lane: 4}
	more := sessiontest.Start(t, h, next)
	want := []decode.Message{{Role: "user", Content: spec.Prompt}, {Role: "assistant", Content: tr.Lanes[4].Text}}
	if !slices.Equal(more.Spec.History, want) || more.Spec.System != spec.System {
		t.Errorf("history %+v", more.Spec)
	}
	sessiontest.ToEnd(t, sessiontest.Watching(t, h, more.ID, 0))
	jobs := d.Jobs()
	if messages := jobs[len(jobs)-1].Request.Prompt.Messages; len(messages) != 4 {
		t.Errorf("messages %+v", messages)
	}
	next.Parent = &session.Parent{Run: run.ID, Lane: 5}
	_, err = h.Start(ctx, "ann", "", next)
	sessiontest.WantKind(t, err, fault.Invalid, "parent", "no lane 5")
	d.SHA256 = "other"
	_, err = h.AddLanes(ctx, "ann", run.ID, []decode.Lane{{Lambda: decode.Vector{2}}})
	sessiontest.WantKind(t, err, fault.Conflict, "have changed")
}

func TestWorkerDies(t *testing.T) {
	s, d := sessiontest.OpenStore(t), &sessiontest.Decoder{Gate: make(chan struct{})}
	h := sessiontest.NewHub(t, s, d, nil)
	run := sessiontest.Start(t, h, sessiontest.Spec(2, 100))
	w := sessiontest.Watching(t, h, run.ID, 0)
	sessiontest.Until(t, w, 2, sessiontest.IsType(decode.EventToken))
	d.Jobs()[0].Die()
	sessiontest.ToEnd(t, w)
	stored, tr := sessiontest.Ended(t, s, run.ID)
	if stored.Status != session.Failed || !tr.Done() || tr.Lanes[0].Error.Code != "unavailable" {
		t.Errorf("%+v %+v", stored, tr.Lanes[0].Error)
	}
}

func TestClose(t *testing.T) {
	s, d := sessiontest.OpenStore(t), &sessiontest.Decoder{Gate: make(chan struct{})}
	h := sessiontest.NewHub(t, s, d, nil)
	run := sessiontest.Start(t, h, sessiontest.Spec(2, 100))
	w := sessiontest.Watching(t, h, run.ID, 0)
	sessiontest.Until(t, w, 2, sessiontest.IsType(decode.EventToken))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	_ = h.Close()
	sessiontest.Until(t, w, 2, sessiontest.IsType(decode.EventEnd))
	_, err := w.Next(t.Context())
	sessiontest.WantKind(t, err, fault.Unavailable, "stopping")
	stored, tr := sessiontest.Ended(t, s, run.ID)
	if stored.Status != session.Failed || tr.Lanes[1].Error == nil || tr.Lanes[1].Error.Message != session.Stopped {
		t.Errorf("%+v %+v", stored, tr.Lanes[1])
	}
	_, err = h.Start(t.Context(), "ann", "", sessiontest.Spec(1, 1))
	sessiontest.WantKind(t, err, fault.Unavailable)
	_, err = h.Watch(t.Context(), "ann", run.ID, 0)
	sessiontest.WantKind(t, err, fault.Unavailable)
}

func TestStoreFails(t *testing.T) {
	s, d := &sessiontest.FailingStore{Store: sessiontest.OpenStore(t)}, &sessiontest.Decoder{Gate: make(chan struct{})}
	h := sessiontest.NewHub(t, s, d, nil)
	run := sessiontest.Start(t, h, sessiontest.Spec(2, 1000))
	w := sessiontest.Watching(t, h, run.ID, 0)
	sessiontest.Until(t, w, 2, sessiontest.IsType(decode.EventToken))
	s.Fails.Store(fault.New(fault.Unavailable, "the disk is full"))
	d.Gate <- struct{}{}
	_, err := w.Next(t.Context())
	sessiontest.WantKind(t, err, fault.Unavailable, "cannot save", "the disk is full")
	<-d.Jobs()[0].Done() // it was stopped
	s.Fails.Store(nil)
	ends := sessiontest.Until(t, w, 2, sessiontest.IsType(decode.EventEnd))
	if len(ends) != 2 || ends[0].Reason != decode.EndError || ends[0].Index != 1 ||
		ends[0].Error.Code != "unavailable" || ends[0].Error.Message != "cannot save: the disk is full" {
		t.Errorf("ends %+v", ends)
	}
	stored, tr := sessiontest.Ended(t, s, run.ID)
	if stored.Status != session.Failed || !tr.Done() || stored.Seq != w.Seq() {
		t.Errorf("%+v", stored)
	}
	close(d.Gate)
	more := sessiontest.Start(t, h, sessiontest.Spec(1, 5))
	sessiontest.ToEnd(t, sessiontest.Watching(t, h, more.ID, 0))
	if c := h.Counters(); c.SaveFailures != 1 || c.QueueBytes != 0 || c.LiveRuns != 0 {
		t.Errorf("counters %+v", c)
	}
}

func TestStoreStalls(t *testing.T) {
	s, d := &sessiontest.FailingStore{Store: sessiontest.OpenStore(t), Stall: make(chan struct{})}, &sessiontest.Decoder{}
	h := sessiontest.NewHub(t, s, d, func(c *session.Config) { c.QueueEvents, c.Patience = 50, time.Millisecond })
	run := sessiontest.Start(t, h, sessiontest.Spec(2, 1000))
	<-d.Jobs()[0].Done() // it is not held up for ever
	close(s.Stall)
	w := sessiontest.Watching(t, h, run.ID, 0)
	sessiontest.Until(t, w, 2, sessiontest.IsType(decode.EventEnd))
	_, tr := sessiontest.Ended(t, s, run.ID)
	if !tr.Done() || tr.Lanes[0].Error == nil || tr.Lanes[0].Error.Message != "cannot save: the store is too slow" {
		t.Errorf("%+v", tr.Lanes[0].Error)
	}
	if c := h.Counters(); c.SaveFailures != 1 || c.Stalls == 0 {
		t.Errorf("counters %+v", c)
	}
}

func TestRecovery(t *testing.T) {
	ctx := t.Context()
	s := sessiontest.OpenStore(t)
	spec := sessiontest.Spec(2, 4)
	spec.Aligned = []string{"warm"}
	spec.Lanes[1].Index = 1
	run := session.Run{ID: "r", Session: "s", Owner: "ann", Spec: spec, Status: session.Running, CreatedAt: sessiontest.Now, Lanes: 2}
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
	if err := s.DeleteSession(ctx, "ann", "s", sessiontest.Now); err != nil { // even so
		t.Fatal(err)
	}
	sessiontest.NewHub(t, s, &sessiontest.Decoder{}, func(c *session.Config) { c.Instance = "another" })
	sessiontest.NewHub(t, s, &sessiontest.Decoder{}, nil)
	if err := s.RestoreSession(ctx, "ann", "s"); err != nil {
		t.Fatal(err)
	}
	stored, tr := sessiontest.Ended(t, s, "r")
	if stored.Status != session.Failed || stored.Lanes != 3 || stored.Seq != 5 || stored.EndedAt != sessiontest.Now || !tr.Done() {
		t.Errorf("%+v", stored)
	}
	if l := tr.Lanes[0]; l.Text != "a" || l.Error.Message != session.Stopped || tr.Lanes[1].Reason != decode.EndLength {
		t.Errorf("%+v", l)
	}
}
