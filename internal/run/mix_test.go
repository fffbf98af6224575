package run_test

import (
	"context"
	"slices"
	"testing"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/run/runtest"
)

// mixed is a spec of lanes of both kinds, in turns.
func mixed(lanes, tokens int) run.Spec {
	s := runtest.Spec(lanes, tokens)
	for i := range s.Lanes {
		if i%2 == 1 {
			s.Lanes[i].Mix = decode.MixWeights
		}
	}
	return s
}

// TestLanesOfBothMixes: a run whose lanes mix logits and weights is decoded by a request for each kind, and is one run: its
// lanes keep their numbers, more of both kinds can be added, and it ends once.
func TestLanesOfBothMixes(t *testing.T) {
	s, d := runtest.OpenStore(t), &runtest.Decoder{SHA256: "1"}
	h := runtest.NewHub(t, s, d, nil)
	r := runtest.Start(t, h, mixed(5, 8))
	both := runtest.IsType(decode.EventStats)
	runtest.Until(t, runtest.Watching(t, h, r.ID, 0), 2, both)
	stored, tr := runtest.Ended(t, s, r.ID)
	if stored.Status != run.Ended || len(tr.Lanes) != 5 || len(tr.Stats) != 2 {
		t.Fatalf("status %s, %d lanes, %d requests", stored.Status, len(tr.Lanes), len(tr.Stats))
	}
	for i, lane := range tr.Lanes {
		if len(lane.Tokens) != 8 || lane.Index != i || decode.InWeights(lane.Mix) != (i%2 == 1) {
			t.Errorf("lane %d: %d tokens, mix %q", lane.Index, len(lane.Tokens), lane.Mix)
		}
	}
	numbers, err := h.AddLanes(t.Context(), "ann", r.ID, []decode.Lane{
		{Lambda: decode.Vector{2}, Mix: decode.MixWeights}, {Lambda: decode.Vector{2}}, {Lambda: decode.Vector{3}, Mix: decode.MixWeights},
	})
	if err != nil || !slices.Equal(numbers, []int{5, 6, 7}) {
		t.Fatalf("added %v, %v", numbers, err)
	}
	runtest.Until(t, runtest.Watching(t, h, r.ID, stored.Seq), 2, both)
	_, tr = runtest.Ended(t, s, r.ID)
	if len(tr.Lanes) != 8 || !decode.InWeights(tr.Lanes[5].Mix) || tr.Lanes[6].Mix != "" || len(tr.Lanes[7].Tokens) != 8 {
		t.Errorf("after adding: %+v", tr.Lanes[5:])
	}
	asked := map[string][]int{}
	for _, j := range d.Jobs() {
		for _, l := range j.Request.Lanes {
			asked[j.Request.Mix] = append(asked[j.Request.Mix], l.Index)
		}
	}
	if !slices.Equal(asked[""], []int{0, 2, 4, 6}) || !slices.Equal(asked[decode.MixWeights], []int{1, 3, 5, 7}) {
		t.Errorf("asked %v", asked)
	}
	if c := h.Counters(); c.ActiveRuns != 0 || c.Queue != 0 {
		t.Errorf("counters %+v", c)
	}
}

// logitsOnly has no adapters.
type logitsOnly struct{ *runtest.Decoder }

func (d logitsOnly) Decode(ctx context.Context, pair string, r decode.Request, sink func(decode.Event)) (run.Job, error) {
	if decode.InWeights(r.Mix) {
		return nil, fault.Field("mix", "needs adapters")
	}
	return d.Decoder.Decode(ctx, pair, r, sink)
}

// TestRefusedMix: where one kind is refused, the other is stopped, and nothing is left.
func TestRefusedMix(t *testing.T) {
	s, d := runtest.OpenStore(t), &runtest.Decoder{Gate: make(chan struct{})}
	h := runtest.NewHub(t, s, d, func(c *run.Config) { c.Decoder = logitsOnly{d} })
	if _, err := h.Start(t.Context(), "ann", "", mixed(2, 8)); fault.Of(err) == nil || fault.Of(err).Field != "mix" {
		t.Fatalf("%v", err)
	}
	close(d.Gate)
	<-d.Jobs()[0].Done()
	if c := h.Counters(); c.ActiveRuns != 0 || c.Runs != 0 {
		t.Errorf("counters %+v", c)
	}
	unknown := mixed(2, 8)
	unknown.Lanes[0].Mix = "both"
	if _, err := h.Start(t.Context(), "ann", "", unknown); fault.Of(err) == nil || fault.Of(err).Field != "mix" {
		t.Errorf("mix both: %v", err)
	}
}
