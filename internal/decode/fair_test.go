package decode_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/fault"
)

// from is a request of a client.
func from(client, owner string, lanes, tokens int) decode.Request {
	r := request()
	r.Client, r.Owner, r.Sampling.MaxTokens = client, owner, tokens
	for i := range lanes {
		r.Lanes = append(r.Lanes, decode.Lane{Index: i, Sample: i, Lambda: decode.Vector{0.5}})
	}
	return r
}

// order starts requests in turn, while the engine is busy with one that takes all of its room, and returns their names in the order
// in which their first tokens come.
func order(t *testing.T, e *decode.Engine, requests ...decode.Request) (names []string) {
	t.Helper()
	first, err := e.Start(from("", "", 1, e.Limits().Cells-20), func(decode.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var jobs []*decode.Job
	for _, r := range requests {
		seen := false
		j, err := e.Start(r, func(ev decode.Event) {
			mu.Lock()
			defer mu.Unlock()
			if ev.Type == decode.EventToken && !seen {
				seen = true
				names = append(names, r.Client+"/"+r.Owner)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, j)
	}
	_ = first.Stop(-1)
	for _, j := range jobs {
		<-j.Done()
	}
	return names
}

func TestClientsAreServedInTurn(t *testing.T) {
	e := engine(t, decodetest.Options{EndLogit: -30, Cells: 300, Delay: time.Millisecond}, decode.Config{})
	var requests []decode.Request
	for range 6 {
		requests = append(requests, from("a", "x", 1, 90))
	}
	requests = append(requests, from("a", "y", 1, 90), from("b", "z", 1, 90))
	names := order(t, e, requests...)
	if at := slices.Index(names, "b/z"); at < 0 || at > 1 {
		t.Errorf("the other client is served at place %d: %v", at+1, names)
	}
	if at := slices.Index(names, "a/y"); at < 0 || at > 2 {
		t.Errorf("the other owner is served at place %d: %v", at+1, names)
	}
}

// However much guests and one client ask for, there is room for somebody else at once.
func TestRoomIsLeftForOthers(t *testing.T) {
	for _, guest := range []bool{true, false} {
		e := engine(t, decodetest.Options{EndLogit: -30, Cells: 1000, Delay: 5 * time.Millisecond}, decode.Config{})
		var jobs []*decode.Job
		for i := range 8 {
			r := from("client", "x", 2, 100)
			if r.Guest = guest; guest { // of an address each
				r.Client = fmt.Sprint("client", i)
			}
			j, err := e.Start(r, func(decode.Event) {})
			if err != nil {
				t.Fatal(err)
			}
			jobs = append(jobs, j)
		}
		got := make(chan bool, 1)
		j, err := e.Start(from("honest", "y", 1, 5), func(ev decode.Event) {
			if ev.Type == decode.EventEnd {
				got <- true
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		<-got
		<-j.Done()
		select {
		case <-jobs[0].Done():
			t.Errorf("guest %v: the other waited for one of them", guest)
		default:
		}
		for _, j := range jobs {
			_ = j.Stop(-1)
		}
		if !guest {
			continue
		}
		big := from("client", "x", 6, 90)
		big.Guest = true
		if _, err := e.Start(big, func(decode.Event) {}); fault.KindOf(err) != fault.Invalid {
			t.Errorf("a guest's request for half of the room: %v", err)
		}
	}
}

// A full queue has a place for a client that has few in it; the last of the one with most ends as busy.
func TestAFullQueueHasAPlaceForOthers(t *testing.T) {
	e := engine(t, decodetest.Options{EndLogit: -30, Cells: 300, Delay: time.Millisecond}, decode.Config{Queue: 4})
	ends := make([]chan string, 6)
	var jobs []*decode.Job
	for i := range ends {
		ends[i] = make(chan string, 1)
		client := "a"
		if i == 5 {
			client = "b"
		}
		j, err := e.Start(from(client, "x", 1, 280), func(ev decode.Event) {
			if ev.Type == decode.EventEnd {
				reason := ev.Reason
				if ev.Error != nil {
					reason += " " + ev.Error.Code
				}
				ends[i] <- reason
			}
		})
		if err != nil {
			t.Fatal(i, err)
		}
		jobs = append(jobs, j)
	}
	if _, err := e.Start(from("a", "x", 1, 280), func(decode.Event) {}); fault.KindOf(err) != fault.Busy {
		t.Errorf("one more of the client that has most: %v", err)
	}
	if got := <-ends[4]; got != "error busy" {
		t.Errorf("the last of the client with most: %s", got)
	}
	for _, j := range jobs {
		_ = j.Stop(-1)
		<-j.Done()
	}
}

// Steps of guests are short even when nobody else is there, as whoever comes waits for the one that is under way.
func TestGuestsStepsAreShort(t *testing.T) {
	const lanes, tokens = 24, 20
	passes := func(guest bool) int {
		p := decodetest.New(decodetest.Options{EndLogit: -30})
		e := decode.NewEngine(p, decode.Config{})
		r := from("a", "", lanes, tokens)
		r.Guest = guest
		run(t, e, r)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		return p.Reference().(*decodetest.Model).Passes()
	}
	if own, guest := passes(false), passes(true); own > 2*tokens || guest < 2*own {
		t.Errorf("%d tokens of %d lanes took %d steps, a guest's %d", tokens, lanes, own, guest)
	}
}

// Branches that rest for other clients say what they would have said alone.
func TestRestingChangesNothing(t *testing.T) {
	e := engine(t, decodetest.Options{Seed: 4, Sequences: 64}, decode.Config{})
	many, few := from("a", "x", 30, 40), from("b", "y", 3, 40)
	many.Guest = false
	var wait sync.WaitGroup
	results := make([]*recorder, 2)
	for i, r := range []decode.Request{many, few} {
		wait.Go(func() { results[i] = run(t, e, r) })
	}
	wait.Wait()
	for i, r := range []decode.Request{many, few} {
		for _, l := range r.Lanes {
			alone := r
			alone.Plain, alone.Lanes = true, []decode.Lane{l}
			if got, want := results[i].tokens(l.Index), run(t, e, alone).tokens(l.Index); !slices.Equal(got, want) {
				t.Errorf("lane %d of %s: %v, alone %v", l.Index, r.Client, got, want)
			}
		}
	}
}
