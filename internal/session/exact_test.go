package session_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/run"
	"realign/internal/run/runtest"
	"realign/internal/share"
)

// engineDecoder decodes with an engine on the table.
type engineDecoder struct {
	runtest.Decoder // for its pair
	engine          *decode.Engine
}

func (d *engineDecoder) Decode(_ context.Context, _ string, request decode.Request, sink func(decode.Event)) (run.Job, error) {
	return d.engine.Start(request, sink)
}

// A run with particles, a lane of which was stopped, is stored, frozen, verified, exported and imported as any other, and what is shown of
// the particles cannot be changed without Verify and the seal noticing.
func TestExactRunIsVerified(t *testing.T) {
	ctx := t.Context()
	s := runtest.OpenStore(t)
	decoder := func(delay time.Duration) *engineDecoder {
		d := &engineDecoder{engine: decode.NewEngine(decodetest.New(decodetest.Options{Seed: 4, EndLogit: -20, Cells: 1 << 16, Delay: delay}), decode.Config{})}
		d.SHA256 = "1"
		t.Cleanup(func() { d.engine.Close() })
		return d
	}
	d := decoder(5 * time.Millisecond) // the lane is stopped before its end
	h := runtest.NewHub(t, s, &d.Decoder, func(c *run.Config) { c.Decoder = d })
	spec := runtest.Spec(4, 300)
	spec.Sampling = decode.Sampling{MaxTokens: 300, Temperature: 1, TopP: 1, Exact: 3}
	for i, l := range []float64{0, 0.5, 1.5, 0.5} {
		spec.Lanes[i].Lambda, spec.Lanes[i].Sample = decode.Vector{l}, i/3
	}
	started := runtest.Start(t, h, spec)
	w := runtest.Watching(t, h, started.ID, 0)
	runtest.Until(t, w, 1, func(e decode.Event) bool { return e.Type == decode.EventToken && e.Lane == 1 })
	if err := h.Stop(ctx, "ann", started.ID, 1); err != nil {
		t.Fatal(err)
	}
	runtest.Until(t, w, 1, runtest.IsType(decode.EventStats))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	d = decoder(0)
	started, tr := runtest.Ended(t, s, started.ID)
	signer := signer(t, 1)
	snapshot, err := share.NewSnapshot(started, tr, signer, runtest.Now)
	if err != nil {
		t.Fatal(err)
	}
	if x := snapshot.Lanes[2].Exact; x == nil || x.Particles != 3 || snapshot.Lanes[0].Exact != nil || snapshot.Lanes[1].Exact != nil {
		t.Errorf("particles of the lanes: %v, %v, %v", snapshot.Lanes[0].Exact, snapshot.Lanes[1].Exact, x)
	}
	if n := len(snapshot.Lanes[1].Tokens); n == 0 || n >= 300 {
		t.Errorf("the stopped lane has %d tokens", n)
	}
	if v, err := share.Verify(ctx, d, d, copied(t, snapshot)); err != nil || !v.Identical {
		t.Errorf("%+v, %v", v, err)
	}
	for name, forge := range map[string]func(*decode.Exact){
		"log Z":          func(x *decode.Exact) { x.LogZ += 100 },
		"effective size": func(x *decode.Exact) { x.Size += 3 },
		"particles":      func(x *decode.Exact) { x.Particles++ },
		"changed":        func(x *decode.Exact) { x.Changed = !x.Changed },
	} {
		forged := copied(t, snapshot)
		forge(forged.Lanes[2].Exact)
		if v, err := share.Verify(ctx, d, d, forged); err != nil || v.Identical || v.What != share.DiffNumber || v.Lane != 2 {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
		if origin, err := forged.Origin(signer); err != nil || origin != run.Altered {
			t.Errorf("%s: the signature still fits: %v, %v", name, origin, err)
		}
	}
	forged := copied(t, snapshot)
	forged.Lanes[1].Tokens = forged.Lanes[1].Tokens[:1]
	if v, err := share.Verify(ctx, d, d, forged); err != nil || v.Identical {
		t.Errorf("a shorter text of the stopped lane: %+v, %v", v, err)
	}
	file := exported(t, s, "ann", started.Session)
	in := imported(t, s, signer, file)
	if again := exported(t, s, "bob", in.Session.ID); !bytes.Equal(file, again) {
		t.Errorf("exported again it differs:\n%.2000s\n%.2000s", file, again)
	}
}
