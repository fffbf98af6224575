package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"realign/internal/fault"
)

// init makes the tests their own sandbox.
func init() {
	Serve("test", func(what string) (string, error) {
		switch what {
		case "loop":
			for time.Now().Year() > 0 {
			}
		case "sleep":
			time.Sleep(time.Hour)
		case "memory":
			var all [][]byte
			for {
				all = append(all, make([]byte, 1<<20))
				all[len(all)-1][len(all)%1000] = 1
			}
		case "large":
			return string(make([]byte, 1<<34)), nil
		case "stack":
			return strconv.Itoa(deeper(1)), nil
		case "nap":
			time.Sleep(3 * time.Second)
			return "rested", nil
		case "work":
			for began := processorTime(); processorTime()-began < time.Second/2; {
			}
			return "worked", nil
		case "panic":
			panic("no")
		case "field":
			return "", fault.Field("here", "is wrong")
		case "secret":
			return os.Getenv("REALIGN_TEST_SECRET"), nil
		}
		return strings.ToUpper(what), nil
	})
}

func deeper(n int) int {
	if n == 0 {
		return 0
	}
	return deeper(n+1) + n
}

func TestCall(t *testing.T) {
	t.Setenv("REALIGN_TEST_SECRET", "hidden")
	p := New("test", "the sum", Limits{Time: 3 * time.Second, Memory: 256 << 20})
	defer p.Close()
	for _, c := range []struct{ ask, answer, fails string }{
		{ask: "abc", answer: "ABC"}, {ask: "secret"},
		{ask: "loop", fails: "the sum took longer than"}, {ask: "sleep", fails: fmt.Sprintf("longer than %d s", 3*patience)}, {ask: "memory", fails: "needs more than 256 MB"},
		{ask: "large", fails: "the sum"}, {ask: "stack", fails: "goes too deep"}, {ask: "panic", fails: "no"}, {ask: "field", fails: "here: is wrong"},
		{ask: "x", answer: "X"},
	} {
		var answer string
		err := p.Call(t.Context(), c.ask, &answer)
		if c.fails == "" && (err != nil || answer != c.answer) {
			t.Errorf("%s: %q, %v", c.ask, answer, err)
		}
		if c.fails != "" && (fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: %q, %v", c.ask, answer, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := p.Call(ctx, "sleep", new(string)); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second { // uncancelled, 12 s
		t.Errorf("cancelled: %v after %v", err, time.Since(began))
	}
}

// A call is given up for what it computes, not for the time in which a busy machine computes something else.
func TestTimeIsTheProcessors(t *testing.T) {
	if patience == 1 {
		t.Skip("the limit is on the clock here")
	}
	p := New("test", "the sum", Limits{Time: 2 * time.Second, Memory: 256 << 20})
	defer p.Close()
	var answer string
	if err := p.Call(t.Context(), "nap", &answer); err != nil || answer != "rested" {
		t.Errorf("three seconds asleep: %q, %v", answer, err)
	}
	for range 5 { // each call has the whole time
		if err := p.Call(t.Context(), "work", &answer); err != nil || answer != "worked" {
			t.Errorf("half a second of work: %q, %v", answer, err)
		}
	}
}

// A process that is closed while it computes ends the call, which says so.
func TestCloseDuringCall(t *testing.T) {
	p := New("test", "the sum", Limits{Time: time.Minute, Memory: 256 << 20})
	if err := p.Call(t.Context(), "abc", new(string)); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		called := make(chan error)
		go func() { called <- p.Call(t.Context(), "nap", new(string)) }()
		for closed := false; !closed; { // the call may not have begun
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-called:
				if closed = true; fault.KindOf(err) != fault.Invalid {
					t.Errorf("closed: %v", err)
				}
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}

// Calls take turns; one that cannot have its turn in time is told so.
func TestTurns(t *testing.T) {
	p := New("test", "the sum", Limits{Time: 2 * time.Second, Memory: 256 << 20})
	defer p.Close()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			var answer string
			if err := p.Call(t.Context(), "abc", &answer); err != nil || answer != "ABC" {
				t.Errorf("%q, %v", answer, err)
			}
		})
	}
	all.Wait()
	all.Go(func() { _ = p.Call(t.Context(), "sleep", new(string)) })
	for began := time.Now(); ; { // until the other one has its turn
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err := p.Call(ctx, "abc", new(string))
		cancel()
		if err != nil {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatal("two calls at once")
		}
	}
	all.Wait()
}
