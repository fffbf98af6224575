package bench

import (
	"context"
	"errors"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
)

func TestCompareFindsTheRatio(t *testing.T) {
	wait := func(d time.Duration) func() error { return func() error { time.Sleep(d); return nil } }
	r, err := Compare(t.Context(), 9, wait(20*time.Millisecond), wait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if r.Low > 2 || r.High < 1.5 || r.Low > r.Median || r.Median > r.High {
		t.Errorf("ratio %+v of 20 ms to 10 ms", r)
	}
	failed := errors.New("failed")
	if _, err := Compare(t.Context(), 3, func() error { return failed }, wait(0)); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	turns := 0
	if _, err := Compare(ctx, 9, func() error { turns++; cancel(); return nil }, func() error { turns++; return nil }); !errors.Is(err, context.Canceled) || turns != 1 {
		t.Errorf("stopped in its first turn, it takes %d and returns %v", turns, err)
	}
}

// A replay makes the passes of the run it recorded, and leaves the caches as it found them.
func TestReplayRepeatsTheRun(t *testing.T) {
	pair := decodetest.New(decodetest.Options{Seed: 5, EndLogit: -5})
	recording := Record(pair)
	e := decode.NewEngine(recording, decode.Config{})
	defer e.Close()
	j, err := e.Start(decode.Request{
		Aligned:  []string{"warm"},
		Prompt:   decode.Prompt{Text: "abcabc"},
		Lanes:    []decode.Lane{{Index: 0, Lambda: decode.Vector{0}}, {Index: 1, Lambda: decode.Vector{2}}},
		Sampling: decode.Sampling{MaxTokens: 30, Temperature: 1, TopP: 1},
	}, func(decode.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	<-j.Done()
	e.Counters() // the loop has finished its step
	before := pair.Table().Passes()
	if err := recording.Replay(); err != nil {
		t.Fatal(err)
	}
	if got := pair.Table().Passes() - before; got != before {
		t.Errorf("the replay made %d passes, the run %d", got, before)
	}
	if used := pair.Table().Used(); used != 0 {
		t.Errorf("the replay left %d cells in use", used)
	}
}
