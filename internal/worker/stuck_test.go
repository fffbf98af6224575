package worker

import (
	"context"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

// A start that a worker never answers ends when nobody waits any more, and a worker that hangs in one does not keep the server
// from stopping.
func TestAStartThatHangsEnds(t *testing.T) {
	t.Parallel() // with others that wait
	p := newPool(t, Config{Command: process, Pairs: library(t, "stuck"), Data: t.TempDir()})
	if err := p.Ready(context.Background(), "stuck"); err != nil {
		t.Fatal(err)
	}
	r := request(1, 5)
	r.Prompt = decode.Prompt{Messages: []decode.Message{{Role: "user", Content: "abc"}}}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := p.Decode(ctx, "stuck", r, func(decode.Event) {})
		ended <- err
	}()
	select {
	case err := <-ended:
		if fault.KindOf(err) != fault.Unavailable {
			t.Errorf("error %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the start has no end")
	}
	began := time.Now()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 20*time.Second { // stopTimeout, and some for a machine under load
		t.Errorf("stopping took %v", took)
	}
}
