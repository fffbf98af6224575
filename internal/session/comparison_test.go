package session_test

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/instance"
	"realign/internal/run"
	"realign/internal/run/runtest"
	"realign/internal/session"
	"realign/internal/share"
	"realign/internal/store"
)

// shares is a service at a moment that the test moves.
func shares(s *store.Store, at *time.Time) *share.Service {
	return &share.Service{Store: s, Now: func() time.Time { return *at }}
}

// finished is a run with a move of λ, a stopped lane, an added lane with a prefix.
func finished(t testing.TB, s run.Store, d *runtest.Decoder) run.Run {
	t.Helper()
	ctx := t.Context()
	d.Gate = make(chan struct{})
	h := runtest.NewHub(t, s, d, nil)
	run := runtest.Start(t, h, runtest.Spec(3, 30))
	w := runtest.Watching(t, h, run.ID, 0)
	runtest.Until(t, w, 3, runtest.IsType(decode.EventToken))
	if err := h.SetLambda(ctx, "ann", run.ID, 1, decode.Vector{2}); err != nil {
		t.Fatal(err)
	}
	d.Gate <- struct{}{}
	d.Gate <- struct{}{}
	runtest.Until(t, w, 6, runtest.IsType(decode.EventToken))
	if err := h.Stop(ctx, "ann", run.ID, 2); err != nil {
		t.Fatal(err)
	}
	runtest.Until(t, w, 1, runtest.IsType(decode.EventEnd))
	if _, err := h.AddLanes(ctx, "ann", run.ID, []decode.Lane{{Lambda: decode.Vector{1}, Sample: 4, Prefix: []decode.Token{9}}}); err != nil {
		t.Fatal(err)
	}
	close(d.Gate)
	runtest.Until(t, w, 2, runtest.IsType(decode.EventStats))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	run, err := s.Run(ctx, "ann", run.ID)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestShare(t *testing.T) {
	ctx := t.Context()
	s, d := runtest.OpenStore(t), &runtest.Decoder{SHA256: "1"}
	at := runtest.Now
	sh := shares(s, &at)
	run := finished(t, s, d)

	_, _, err := sh.Share(ctx, "bob", run.ID, "", time.Time{})
	runtest.WantKind(t, err, fault.NotFound)
	_, _, err = sh.Share(ctx, "ann", run.ID, "", at)
	runtest.WantKind(t, err, fault.Invalid, "expires_at")
	c, token, err := sh.Share(ctx, "ann", run.ID, "", at.Add(time.Hour))
	if err != nil || c.Title != run.Spec.Prompt || c.Prompt != run.Spec.Prompt || len(token) != 22 {
		t.Fatalf("%+v %q %v", c, token, err)
	}
	got, snapshot, err := sh.Open(ctx, token)
	if err != nil || got != c {
		t.Fatalf("%+v, %v; want %+v", got, err, c)
	}
	if len(snapshot.Lanes) != 4 || len(snapshot.Lanes[0].Tokens) != 30 || snapshot.Lanes[1].Changes[0].Lambda[0] != 2 ||
		len(snapshot.PromptTokens) == 0 || len(snapshot.Files) != 2 || len(snapshot.Lanes[0].Tokens[0].Top.Mixture) != 2 {
		t.Errorf("%+v", snapshot)
	}
	form, digest, err := snapshot.Canonical()
	if err != nil || digest != c.Digest {
		t.Errorf("the digest of what was read is %s, %v; want %s", digest, err, c.Digest)
	}
	if bytes.Contains(form, []byte("ann")) || bytes.Contains(form, []byte(run.ID)) || bytes.Contains(form, []byte(run.Session)) {
		t.Error("the snapshot tells who made it, or from what")
	}

	// Whatever the reason, a reader gets the same words.
	_, _, wrong := sh.Open(ctx, "AAAAAAAAAAAAAAAAAAAAAA")
	_, _, short := sh.Open(ctx, "x")
	at = at.Add(time.Hour)
	_, _, expired := sh.Open(ctx, token)
	if err := sh.Expire(ctx, "ann", c.ID, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := sh.Open(ctx, token); err != nil {
		t.Errorf("without an expiry: %v", err)
	}
	runtest.WantKind(t, sh.Revoke(ctx, "bob", c.ID), fault.NotFound)
	if err := sh.Revoke(ctx, "ann", c.ID); err != nil {
		t.Fatal(err)
	}
	if err := sh.Revoke(ctx, "ann", c.ID); err != nil {
		t.Errorf("revoked twice: %v", err)
	}
	runtest.WantKind(t, sh.Expire(ctx, "ann", c.ID, time.Time{}), fault.Conflict)
	_, _, revoked := sh.Open(ctx, token)
	for _, err := range []error{wrong, short, expired, revoked} {
		runtest.WantKind(t, err, fault.NotFound)
		if err.Error() != wrong.Error() {
			t.Errorf("%q differs from %q", err, wrong)
		}
	}
	if _, _, err := sh.Get(ctx, "ann", c.ID); err != nil {
		t.Errorf("its owner: %v", err)
	}
	if list, err := sh.List(ctx, "ann"); err != nil || len(list) != 1 || list[0].RevokedAt != at {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestShareWaitsForTheEnd(t *testing.T) {
	s, d := runtest.OpenStore(t), &runtest.Decoder{Gate: make(chan struct{})}
	h := runtest.NewHub(t, s, d, nil)
	run := runtest.Start(t, h, runtest.Spec(1, 30))
	at := runtest.Now
	_, _, err := shares(s, &at).Share(t.Context(), "ann", run.ID, "", time.Time{})
	runtest.WantKind(t, err, fault.Conflict)
}

func snapshotOf(t testing.TB, s run.Store, d *runtest.Decoder) *share.Snapshot {
	t.Helper()
	_, tr := runtest.Ended(t, s, finished(t, s, d).ID)
	run, _ := runtest.Ended(t, s, d.Jobs()[0].Request.Run)
	snapshot, err := share.NewSnapshot(run, tr, nil, runtest.Now)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

func TestVerify(t *testing.T) {
	ctx := t.Context()
	s, d := runtest.OpenStore(t), &runtest.Decoder{SHA256: "1"}
	snapshot := snapshotOf(t, s, d)
	v, err := share.Verify(ctx, d, d, snapshot)
	if want := 30 + 30 + len(snapshot.Lanes[2].Tokens) + 30; err != nil || !v.Identical || v.Tokens != want {
		t.Errorf("%+v, %v; want %d tokens", v, err, want)
	}

	snapshot.Lanes[1].Tokens[17].ID++
	v, err = share.Verify(ctx, d, d, snapshot)
	if err != nil || v.Identical || v.Lane != 1 || v.Index != 17 || v.What != share.DiffToken {
		t.Errorf("%+v, %v", v, err)
	}
	snapshot.Lanes[1].Tokens[17].ID--

	full := snapshot.Lanes[0].Tokens
	snapshot.Lanes[0].Tokens = full[:20]
	v, err = share.Verify(ctx, d, d, snapshot)
	if err != nil || v.Identical || v.Lane != 0 || v.Index != 20 || v.Stored != "" || v.Decoded != full[20].Text {
		t.Errorf("%+v, %v", v, err)
	}
	snapshot.Lanes[0].Tokens = full

	d.Salt = 1
	if v, err = share.Verify(ctx, d, d, snapshot); err != nil || v.Identical || v.Index != 0 {
		t.Errorf("other weights: %+v, %v", v, err)
	}
	d.SHA256 = "2"
	_, err = share.Verify(ctx, d, d, snapshot)
	runtest.WantKind(t, err, fault.Conflict, "sha256")
	snapshot.Pair = "gone"
	_, err = share.Verify(ctx, d, d, snapshot)
	runtest.WantKind(t, err, fault.Invalid, "gone")

	d = &runtest.Decoder{SHA256: "1", Gate: make(chan struct{})}
	snapshot.Pair = "demo"
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err = share.Verify(cancelled, d, d, snapshot); err == nil {
		t.Error("verified under a cancelled context")
	}
}

func TestFork(t *testing.T) {
	s, d := runtest.OpenStore(t), &runtest.Decoder{SHA256: "1"}
	snapshot := snapshotOf(t, s, d)
	h := runtest.NewHub(t, s, d, nil)
	r, err := h.Start(t.Context(), "bob", "", snapshot.Fork())
	if err != nil {
		t.Fatal(err)
	}
	w, err := h.Watch(t.Context(), "bob", r.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	runtest.ToEnd(t, w)
	r, _ = s.Run(t.Context(), "bob", r.ID)
	tr, err := run.ReadTranscript(t.Context(), s, r)
	if err != nil {
		t.Fatal(err)
	}
	for i, lane := range snapshot.Lanes {
		for j, token := range lane.Tokens {
			if got := tr.Lanes[i].Tokens[j].ID; got != token.ID {
				t.Fatalf("lane %d differs at %d", i, j)
			}
		}
	}
}

func exported(t testing.TB, a session.Archive, owner, id string) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := session.ExportSession(t.Context(), a, nil, owner, id, session.Part{}, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// imported imports a file for bob.
func imported(t testing.TB, a session.Archive, signer *run.Signer, file []byte) session.Import {
	t.Helper()
	in, err := session.ImportSession(t.Context(), a, signer, "bob", bytes.NewReader(file), runtest.Now)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// archive makes a session of some runs, one continuing another, one still going.
func archive(t testing.TB, s *store.Store, texts []string) (id string) {
	t.Helper()
	d := &runtest.Decoder{SHA256: "1"}
	first := finished(t, s, d)
	h := runtest.NewHub(t, s, d, nil)
	for i, text := range texts {
		spec := runtest.Spec(i%3+1, i+1)
		spec.Prompt, spec.Seed = text, uint64(i)<<60
		if i%2 == 0 {
			spec.Parent = &run.Parent{Run: first.ID, Lane: i % 4}
		}
		run, err := h.Start(t.Context(), "ann", first.Session, spec)
		if err != nil {
			t.Fatal(err)
		}
		runtest.ToEnd(t, runtest.Watching(t, h, run.ID, 0))
	}
	gated := &runtest.Decoder{SHA256: "1", Gate: make(chan struct{})}
	h = runtest.NewHub(t, s, gated, func(c *run.Config) { c.Server = instance.Fixed("second") })
	run, err := h.Start(t.Context(), "ann", first.Session, runtest.Spec(2, 9))
	if err != nil {
		t.Fatal(err)
	}
	runtest.Until(t, runtest.Watching(t, h, run.ID, 0), 2, runtest.IsType(decode.EventToken))
	return first.Session
}

func TestExportImport(t *testing.T) {
	ctx := t.Context()
	s := runtest.OpenStore(t)
	id := archive(t, s, []string{"<b>&\u2028", "é\x00x", "\"quotes\"", "line\nline"})
	file := exported(t, s, "ann", id)
	if !bytes.Contains(file, []byte(`"parent":{"run":"1",`)) {
		t.Error("the second run names no parent")
	}
	in := imported(t, s, nil, file).Session
	if in.ID == id || in.Owner != "bob" || in.Runs != 6 {
		t.Errorf("%+v", in)
	}
	again := exported(t, s, "bob", in.ID)
	if !bytes.Equal(file, again) {
		t.Errorf("exported again it differs:\n%.2000s\n%.2000s", file, again)
	}
	runs, err := s.Runs(ctx, "bob", in.ID)
	if err != nil || len(runs) != 6 || runs[1].Spec.Parent.Run != runs[0].ID || runs[5].Status != run.Failed {
		t.Errorf("%+v, %v", runs, err)
	}
	if problems, err := s.IntegrityCheck(ctx); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	_, err = session.ExportSession(ctx, s, nil, "bob", id, session.Part{}, io.Discard)
	runtest.WantKind(t, err, fault.NotFound)
}
