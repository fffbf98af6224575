package web

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/run"
)

// held is a decoder whose jobs take no λ until the test lets them.
type held struct {
	run.Decoder
	moving chan struct{} // gets one for every λ that arrives
	let    chan struct{} // closed by the test

	mu    sync.Mutex
	moves []decode.Vector
}

type heldJob struct {
	run.Job
	held *held
}

func (d *held) Decode(ctx context.Context, pair string, r decode.Request, sink func(decode.Event)) (run.Job, error) {
	j, err := d.Decoder.Decode(ctx, pair, r, sink)
	return &heldJob{j, d}, err
}

func (j *heldJob) SetLambda(lane int, v decode.Vector) error {
	j.held.mu.Lock()
	j.held.moves = append(j.held.moves, v)
	j.held.mu.Unlock()
	j.held.moving <- struct{}{}
	<-j.held.let
	return j.Job.SetLambda(lane, v)
}

// heldWorld is a server with a run whose λ is being moved to 0, and 100 more moves behind that, the last to 1.5.
func heldWorld(t *testing.T) (*held, *wire, string) {
	d := &held{moving: make(chan struct{}, 200), let: make(chan struct{})}
	w := newWorld(t, setup{delay: 5 * time.Millisecond, tune: func(c *run.Config) { d.Decoder, c.Decoder = c.Decoder, d }})
	k := w.person().dial()
	run := k.start(spec(1900, 1)).Run
	for i := range 101 {
		lambda := float64(i) / 100
		if i == 100 {
			lambda = 1.5
		}
		k.send(map[string]any{"type": "lambda", "run": run, "lane": 0, "lambda": lambda})
	}
	<-d.moving
	return d, k, run
}

func TestStopOvertakesADraggedSlider(t *testing.T) {
	d, k, run := heldWorld(t)
	k.send(map[string]any{"type": "stop", "run": run})
	tr := newTrack(run)
	k.follow(tr, 1)
	if tr.ended[0] != decode.EndCancelled {
		t.Errorf("the lane ended by %q", tr.ended[0])
	}
	close(d.let)
}

func TestOnlyTheLastOfManyMovesCounts(t *testing.T) {
	d, k, run := heldWorld(t)
	k.fence() // all of them were read
	close(d.let)
	<-d.moving
	k.send(map[string]any{"type": "stop", "run": run})
	for ended := false; !ended; {
		m, err := k.next()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range m.Events {
			ended = ended || bytes.Contains(e, []byte(`"type":"end"`))
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.moves); n != 2 || d.moves[0][0] != 0 || d.moves[1][0] != 1.5 {
		t.Errorf("moves %v, want the first and the last", d.moves)
	}
}
