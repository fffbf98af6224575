package run_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/instance"
	"realign/internal/run"
	"realign/internal/run/runtest"
	"realign/internal/session"
)

func TestRun(t *testing.T) {
	s, d := runtest.OpenStore(t), &runtest.Decoder{SHA256: "1"}
	h := runtest.NewHub(t, s, d, nil)
	r := runtest.Start(t, h, runtest.Spec(3, 20))
	events := runtest.ToEnd(t, runtest.Watching(t, h, r.ID, 0))
	if n := len(events); n != 1+3*20+3+1 || events[0].Type != decode.EventStart {
		t.Errorf("%d events, the first %s", n, events[0].Type)
	}
	stored, tr := runtest.Ended(t, s, r.ID)
	if stored.Status != run.Ended || stored.EndedAt != runtest.Now || stored.Seq != len(events) || stored.Lanes != 3 {
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
	got, err := s.Session(t.Context(), "ann", r.Session)
	if err != nil || got.Title != "What did you think of the film?" || got.Runs != 1 {
		t.Errorf("session %+v, %v", got, err)
	}
	c := h.Counters()
	if c.Runs != 1 || c.Tokens != 60 || c.ActiveRuns != 0 || c.Queue != 0 || c.QueueBytes != 0 {
		t.Errorf("counters %+v", c)
	}
	if _, err := h.Start(t.Context(), "ann", r.Session, runtest.Spec(1, 1)); err != nil {
		t.Errorf("second run of the session: %v", err)
	}
}

func TestRefusalsLeaveNothing(t *testing.T) {
	s, d := runtest.OpenStore(t), &runtest.Decoder{}
	h := runtest.NewHub(t, s, d, nil)
	for field, edit := range map[string]func(*run.Spec){
		"pair":         func(s *run.Spec) { s.Pair = "other" },
		"pair ":        func(s *run.Spec) { s.Pair = "" },
		"aligned":      func(s *run.Spec) { s.Aligned = []string{"cold"} },
		"prompt":       func(s *run.Spec) { s.Prompt = " \n" },
		"prompt ":      func(s *run.Spec) { s.Prompt = strings.Repeat("x", decode.MaxPromptBytes+1) },
		"prompt  ":     func(s *run.Spec) { s.Prompt = "\xff" },
		"mode":         func(s *run.Spec) { s.Mode = "shout" },
		"system":       func(s *run.Spec) { s.Mode, s.System = run.Plain, "be kind" },
		"lanes":        func(s *run.Spec) { s.Lanes = nil },
		"lanes ":       func(s *run.Spec) { s.Lanes = make([]decode.Lane, decode.MaxLanes+1) },
		"lambda":       func(s *run.Spec) { s.Lanes[0].Lambda = decode.Vector{decode.MaxLambda + 1} },
		"lambda ":      func(s *run.Spec) { s.Lanes[0].Lambda = decode.Vector{1, 2} },
		"sample":       func(s *run.Spec) { s.Lanes[0].Sample = -1 },
		"max_tokens":   func(s *run.Spec) { s.Sampling.MaxTokens = 0 },
		"temperature":  func(s *run.Spec) { s.Sampling.Temperature = -1 },
		"top_p":        func(s *run.Spec) { s.Sampling.TopP = 0 },
		"min_p":        func(s *run.Spec) { s.Sampling.MinP = 1.5 },
		"top_k":        func(s *run.Spec) { s.Sampling.TopK = -1 },
		"stop":         func(s *run.Spec) { s.Sampling.Stop = []string{""} },
		"alternatives": func(s *run.Spec) { s.Alternatives = decode.MaxAlternatives + 1 },
		"history":      func(s *run.Spec) { s.History = []decode.Message{{Role: "assistant"}} },
		"parent":       func(s *run.Spec) { s.Parent = &run.Parent{Lane: -1} },
	} {
		spec := runtest.Spec(2, 4)
		edit(&spec)
		_, err := h.Start(t.Context(), "ann", "", spec)
		want := strings.TrimSpace(field)
		if f := fault.Of(err); f == nil || f.Kind != fault.Invalid && want != "parent" || f.Field != want && want != "parent" {
			t.Errorf("%s: %v", field, err)
		}
	}
	_, err := h.Start(t.Context(), "ann", "nothing", runtest.Spec(1, 4))
	runtest.WantKind(t, err, fault.NotFound)
	d.Refuse = fault.New(fault.Busy, "queue full")
	_, err = h.Start(t.Context(), "ann", "", runtest.Spec(1, 4))
	runtest.WantKind(t, err, fault.Busy, "queue full")
	if page, err := s.Sessions(t.Context(), "ann", session.Query{}); err != nil || page.Total != 0 {
		t.Errorf("left behind: %+v, %v", page, err)
	}
	if c := h.Counters(); c.ActiveRuns != 0 || c.Runs != 0 {
		t.Errorf("counters %+v", c)
	}
}

func TestLimits(t *testing.T) {
	d := &runtest.Decoder{Gate: make(chan struct{})}
	s := runtest.OpenStore(t)
	h := runtest.NewHub(t, s, d, func(c *run.Config) { c.MaxRuns, c.MaxOwnerRuns = 3, 2 })
	first := runtest.Start(t, h, runtest.Spec(1, 4))
	runtest.Start(t, h, runtest.Spec(1, 4))
	_, err := h.Start(t.Context(), "ann", "", runtest.Spec(1, 4))
	runtest.WantKind(t, err, fault.Busy, "2 of your runs")
	if _, err := h.Start(t.Context(), "bob", "", runtest.Spec(1, 4)); err != nil {
		t.Fatal(err)
	}
	_, err = h.Start(t.Context(), "cleo", "", runtest.Spec(1, 4))
	runtest.WantKind(t, err, fault.Busy, "3 runs")
	w := runtest.Watching(t, h, first.ID, 0)
	if err := h.Stop(t.Context(), "ann", first.ID, -1); err != nil {
		t.Fatal(err)
	}
	runtest.ToEnd(t, w)
	runtest.Start(t, h, runtest.Spec(1, 4)) // the place is free by the time the end is seen
}

func TestWatchResumes(t *testing.T) {
	s, d := runtest.OpenStore(t), &runtest.Decoder{Gate: make(chan struct{})}
	h := runtest.NewHub(t, s, d, func(c *run.Config) { c.Recent = 4 })
	run := runtest.Start(t, h, runtest.Spec(2, 1000))
	slow := runtest.Watching(t, h, run.ID, 0) // reads nothing until the end
	w := runtest.Watching(t, h, run.ID, 0)
	isToken := runtest.IsType(decode.EventToken)
	for range 50 {
		d.Gate <- struct{}{}
	}
	runtest.Until(t, w, 100, isToken)
	at := w.Seq()
	late := runtest.Watching(t, h, run.ID, 10)
	if late.CaughtUp() {
		t.Error("caught up before reading")
	}
	for !late.CaughtUp() {
		runtest.Until(t, late, 1, func(decode.Event) bool { return true })
	}
	if late.Seq() < at {
		t.Errorf("caught up at %d, the log was at %d", late.Seq(), at)
	}
	if c := h.Counters(); c.Watchers != 3 {
		t.Errorf("%d watchers", c.Watchers)
	}
	close(d.Gate)
	runtest.ToEnd(t, w)
	runtest.ToEnd(t, late)
	all := runtest.ToEnd(t, slow)
	if len(all) != w.Seq() || len(all) != 1+2000+2+1 {
		t.Errorf("the slow watcher got %d of %d events", len(all), w.Seq())
	}
	for _, after := range []int{-1, w.Seq() + 1} {
		_, err := h.Watch(t.Context(), "ann", run.ID, after)
		runtest.WantKind(t, err, fault.Invalid)
	}
	_, err := h.Watch(t.Context(), "bob", run.ID, 0)
	runtest.WantKind(t, err, fault.NotFound)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next under a cancelled context: %v", err)
	}
}

func TestSteering(t *testing.T) {
	ctx := t.Context()
	s, d := runtest.OpenStore(t), &runtest.Decoder{Gate: make(chan struct{})}
	h := runtest.NewHub(t, s, d, nil)
	r := runtest.Start(t, h, runtest.Spec(3, 1000))
	w := runtest.Watching(t, h, r.ID, 0)
	runtest.Until(t, w, 3, runtest.IsType(decode.EventToken))
	if err := h.SetLambda(ctx, "ann", r.ID, 1, decode.Vector{3}); err != nil {
		t.Fatal(err)
	}
	runtest.WantKind(t, h.SetLambda(ctx, "ann", r.ID, 1, decode.Vector{99}), fault.Invalid, "lambda")
	runtest.WantKind(t, h.SetLambda(ctx, "ann", r.ID, 3, decode.Vector{1}), fault.NotFound)
	runtest.WantKind(t, h.SetLambda(ctx, "bob", r.ID, 1, decode.Vector{1}), fault.NotFound)
	runtest.WantKind(t, h.Stop(ctx, "bob", r.ID, -1), fault.NotFound)
	runtest.WantKind(t, h.Stop(ctx, "ann", r.ID, 7), fault.NotFound)
	d.Gate <- struct{}{}
	runtest.Until(t, w, 1, runtest.IsType(decode.EventLambda))
	if err := h.Stop(ctx, "ann", r.ID, 0); err != nil {
		t.Fatal(err)
	}
	runtest.Until(t, w, 1, runtest.IsType(decode.EventEnd))
	runtest.WantKind(t, h.SetLambda(ctx, "ann", r.ID, 0, decode.Vector{1}), fault.Conflict)
	if err := h.Stop(ctx, "ann", r.ID, -1); err != nil {
		t.Fatal(err)
	}
	runtest.ToEnd(t, w)
	if err := h.Stop(ctx, "ann", r.ID, -1); err != nil {
		t.Errorf("stop again: %v", err)
	}
	runtest.WantKind(t, h.SetLambda(ctx, "ann", r.ID, 1, decode.Vector{1}), fault.Conflict)
	stored, tr := runtest.Ended(t, s, r.ID)
	changes := tr.Lanes[1].Changes
	if stored.Status != run.Ended || tr.Lanes[0].Reason != decode.EndCancelled || len(changes) != 1 || changes[0].Lambda[0] != 3 {
		t.Errorf("%s, %+v", stored.Status, tr.Lanes[1].Changes)
	}
	if l := &tr.Lanes[1]; l.Tokens[changes[0].At].Lambda[0] != 3 || l.Tokens[changes[0].At-1].Lambda[0] == 3 {
		t.Error("the mark is not where λ changed")
	}
}

func TestAddLanesAndContinue(t *testing.T) {
	ctx := t.Context()
	s, d := runtest.OpenStore(t), &runtest.Decoder{Gate: make(chan struct{})}
	h := runtest.NewHub(t, s, d, nil)
	spec := runtest.Spec(2, 8)
	spec.System = "Be brief."
	r := runtest.Start(t, h, spec)
	w := runtest.Watching(t, h, r.ID, 0)
	got, err := h.AddLanes(ctx, "ann", r.ID, []decode.Lane{{Lambda: decode.Vector{1}, Prefix: []decode.Token{5, 6}}})
	if err != nil || !slices.Equal(got, []int{2}) {
		t.Fatalf("%v, %v", got, err)
	}
	runtest.Until(t, w, 1, runtest.IsType(decode.EventLanes))
	_, err = h.Start(ctx, "ann", "", run.Spec{Pair: "demo", Prompt: "more", Mode: run.Chat, Lanes: spec.Lanes,
		Sampling: spec.Sampling, Parent: &run.Parent{Run: r.ID, Lane: 2}})
	runtest.WantKind(t, err, fault.Conflict, "has not ended")
	close(d.Gate)
	runtest.Until(t, w, 2, runtest.IsType(decode.EventStats))
	got, err = h.AddLanes(ctx, "ann", r.ID, []decode.Lane{{Lambda: decode.Vector{2}}, {Lambda: decode.Vector{1}, Sample: 1}})
	if err != nil || !slices.Equal(got, []int{3, 4}) {
		t.Fatalf("%v, %v", got, err)
	}
	runtest.ToEnd(t, w)
	stored, tr := runtest.Ended(t, s, r.ID)
	if stored.Lanes != 5 || stored.Status != run.Ended || len(tr.Lanes) != 5 || len(tr.Stats) != 3 || !tr.Done() {
		t.Errorf("%+v", stored)
	}
	if l := tr.Lanes[2]; l.Tokens[0].ID != 5 || l.Tokens[1].ID != 6 {
		t.Error("the prefix is not there")
	}
	for _, lanes := range [][]decode.Lane{nil, {{Lambda: decode.Vector{-9}}}, make([]decode.Lane, decode.MaxLanes)} {
		_, err := h.AddLanes(ctx, "ann", r.ID, lanes)
		runtest.WantKind(t, err, fault.Invalid)
	}
	_, err = h.AddLanes(ctx, "bob", r.ID, []decode.Lane{{Lambda: decode.Vector{2}}})
	runtest.WantKind(t, err, fault.NotFound)

	next := runtest.Spec(1, 2)
	next.Parent = &run.Parent{Run: r.ID, Lane: 4}
	more := runtest.Start(t, h, next)
	want := []decode.Message{{Role: "user", Content: spec.Prompt}, {Role: "assistant", Content: tr.Lanes[4].Text}}
	if !slices.Equal(more.Spec.History, want) || more.Spec.System != spec.System {
		t.Errorf("history %+v", more.Spec)
	}
	runtest.ToEnd(t, runtest.Watching(t, h, more.ID, 0))
	jobs := d.Jobs()
	if messages := jobs[len(jobs)-1].Request.Prompt.Messages; len(messages) != 4 {
		t.Errorf("messages %+v", messages)
	}
	next.Parent = &run.Parent{Run: r.ID, Lane: 5}
	_, err = h.Start(ctx, "ann", "", next)
	runtest.WantKind(t, err, fault.Invalid, "parent", "no lane 5")
	d.SHA256 = "other"
	_, err = h.AddLanes(ctx, "ann", r.ID, []decode.Lane{{Lambda: decode.Vector{2}}})
	runtest.WantKind(t, err, fault.Conflict, "have changed")
}

func TestWorkerDies(t *testing.T) {
	s, d := runtest.OpenStore(t), &runtest.Decoder{Gate: make(chan struct{})}
	h := runtest.NewHub(t, s, d, nil)
	r := runtest.Start(t, h, runtest.Spec(2, 100))
	w := runtest.Watching(t, h, r.ID, 0)
	runtest.Until(t, w, 2, runtest.IsType(decode.EventToken))
	d.Jobs()[0].Die()
	runtest.ToEnd(t, w)
	stored, tr := runtest.Ended(t, s, r.ID)
	if stored.Status != run.Failed || !tr.Done() || tr.Lanes[0].Error.Code != "unavailable" {
		t.Errorf("%+v %+v", stored, tr.Lanes[0].Error)
	}
}

func TestClose(t *testing.T) {
	s, d := runtest.OpenStore(t), &runtest.Decoder{Gate: make(chan struct{})}
	h := runtest.NewHub(t, s, d, nil)
	r := runtest.Start(t, h, runtest.Spec(2, 100))
	w := runtest.Watching(t, h, r.ID, 0)
	runtest.Until(t, w, 2, runtest.IsType(decode.EventToken))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	_ = h.Close()
	runtest.Until(t, w, 2, runtest.IsType(decode.EventEnd))
	_, err := w.Next(t.Context())
	runtest.WantKind(t, err, fault.Unavailable, "stopping")
	stored, tr := runtest.Ended(t, s, r.ID)
	if stored.Status != run.Failed || tr.Lanes[1].Error == nil || tr.Lanes[1].Error.Message != run.Stopped {
		t.Errorf("%+v %+v", stored, tr.Lanes[1])
	}
	_, err = h.Start(t.Context(), "ann", "", runtest.Spec(1, 1))
	runtest.WantKind(t, err, fault.Unavailable)
	_, err = h.Watch(t.Context(), "ann", r.ID, 0)
	runtest.WantKind(t, err, fault.Unavailable)
}

func TestStoreFails(t *testing.T) {
	s, d := &runtest.FailingStore{Store: runtest.OpenStore(t)}, &runtest.Decoder{Gate: make(chan struct{})}
	h := runtest.NewHub(t, s, d, nil)
	r := runtest.Start(t, h, runtest.Spec(2, 1000))
	w := runtest.Watching(t, h, r.ID, 0)
	runtest.Until(t, w, 2, runtest.IsType(decode.EventToken))
	s.Fails.Store(fault.New(fault.Unavailable, "the disk is full"))
	d.Gate <- struct{}{}
	_, err := w.Next(t.Context())
	runtest.WantKind(t, err, fault.Unavailable, "cannot save", "the disk is full")
	<-d.Jobs()[0].Done() // it was stopped
	s.Fails.Store(nil)
	ends := runtest.Until(t, w, 2, runtest.IsType(decode.EventEnd))
	if len(ends) != 2 || ends[0].Reason != decode.EndError || ends[0].Index != 1 ||
		ends[0].Error.Code != "unavailable" || ends[0].Error.Message != "cannot save: the disk is full" {
		t.Errorf("ends %+v", ends)
	}
	stored, tr := runtest.Ended(t, s, r.ID)
	if stored.Status != run.Failed || !tr.Done() || stored.Seq != w.Seq() {
		t.Errorf("%+v", stored)
	}
	close(d.Gate)
	more := runtest.Start(t, h, runtest.Spec(1, 5))
	runtest.ToEnd(t, runtest.Watching(t, h, more.ID, 0))
	if c := h.Counters(); c.SaveFailures != 1 || c.QueueBytes != 0 || c.ActiveRuns != 0 {
		t.Errorf("counters %+v", c)
	}
}

func TestStoreStalls(t *testing.T) {
	s, d := &runtest.FailingStore{Store: runtest.OpenStore(t), Stall: make(chan struct{})}, &runtest.Decoder{}
	h := runtest.NewHub(t, s, d, func(c *run.Config) { c.QueueEvents, c.Patience = 50, time.Millisecond })
	run := runtest.Start(t, h, runtest.Spec(2, 1000))
	<-d.Jobs()[0].Done() // it is not held up for ever
	close(s.Stall)
	w := runtest.Watching(t, h, run.ID, 0)
	runtest.Until(t, w, 2, runtest.IsType(decode.EventEnd))
	_, tr := runtest.Ended(t, s, run.ID)
	if !tr.Done() || tr.Lanes[0].Error == nil || tr.Lanes[0].Error.Message != "cannot save: the store is too slow" {
		t.Errorf("%+v", tr.Lanes[0].Error)
	}
	if c := h.Counters(); c.SaveFailures != 1 || c.Stalls == 0 {
		t.Errorf("counters %+v", c)
	}
}

func TestRecovery(t *testing.T) {
	ctx := t.Context()
	s := runtest.OpenStore(t)
	spec := runtest.Spec(2, 4)
	spec.Aligned = []string{"warm"}
	spec.Lanes[1].Index = 1
	r := run.Run{ID: "r", Session: "s", Owner: "ann", Spec: spec, Status: run.Running, CreatedAt: runtest.Now, Lanes: 2}
	if err := s.CreateRun(ctx, r, "t"); err != nil {
		t.Fatal(err)
	}
	log := []run.Event{
		{Run: "r", Seq: 1, Event: []byte(`{"type":"token","lane":0,"index":0,"lambda":0,"text":"a"}`)},
		{Run: "r", Seq: 2, Event: []byte(`{"type":"end","lane":1,"reason":"length"}`)},
		{Run: "r", Seq: 3, Event: []byte(`{"type":"lanes","lane":0,"lanes":[{"lane":2,"lambda":1}]}`)},
	}
	if err := s.Append(ctx, run.Batch{Events: log}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteSession(ctx, "ann", "s", runtest.Now); err != nil { // even so
		t.Fatal(err)
	}
	runtest.NewHub(t, s, &runtest.Decoder{}, func(c *run.Config) { c.Server = instance.Fixed("another") })
	runtest.NewHub(t, s, &runtest.Decoder{}, nil)
	if err := s.RestoreSession(ctx, "ann", "s"); err != nil {
		t.Fatal(err)
	}
	stored, tr := runtest.Ended(t, s, "r")
	if stored.Status != run.Failed || stored.Lanes != 3 || stored.Seq != 5 || stored.EndedAt != runtest.Now || !tr.Done() {
		t.Errorf("%+v", stored)
	}
	if l := tr.Lanes[0]; l.Text != "a" || l.Error.Message != run.Stopped || tr.Lanes[1].Reason != decode.EndLength {
		t.Errorf("%+v", l)
	}
}
