package decode_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"realign/internal/decode"
)

func liveRequest(from, to, focus float64) decode.Request {
	r := mapRequest(from, to)
	r.Map.Live, r.Map.Focus = true, focus
	return r
}

// What the steps say of a λ, in order, is what the branch there says in the end.
func TestStepsAddUpToTheBranches(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for i := range 12 {
		e := engine(t, bigTable(uint64(i)), decode.Config{})
		req := liveRequest(-0.5, 2.5, 3*random.Float64()-0.5)
		req.Seed = random.Uint64()
		if i%3 == 0 {
			req.Sampling.Stop = []string{"ab", "éc"}
		}
		if i%4 == 0 {
			req.Map.Branches = 5
		}
		var m decode.LambdaMap
		r := run(t, e, req)
		for _, ev := range r.all {
			m.Add(ev)
		}
		for _, b := range m.Branches {
			at := (b.From + b.To) / 2
			var pieces []string
			var ids []decode.Token
			for _, ev := range r.all {
				if ev.Type == decode.EventStep && ev.Span.From <= at && at <= ev.Span.To {
					if ev.Index != len(pieces) {
						t.Fatalf("case %d: step %d at λ = %v follows %d steps", i, ev.Index, at, len(pieces))
					}
					pieces, ids = append(pieces, ev.Text), append(ids, ev.ID)
				}
			}
			if !slices.Equal(ids, b.Tokens) || strings.Join(pieces, "") != strings.Join(b.Pieces, "") {
				t.Fatalf("case %d, λ = %v: the steps say %q %v, the branch %q %v", i, at, pieces, ids, b.Pieces, b.Tokens)
			}
		}
	}
}

// Which texts are followed does not depend on where the focus is, with a budget or without; and without one a live map is
// what another map is.
func TestLiveMapDoesNotDependOnTheFocus(t *testing.T) {
	for _, branches := range []int{1, 2, 7, 20, 256} {
		for seed := range uint64(4) {
			e := engine(t, bigTable(seed), decode.Config{})
			plain := mapRequest(0, 2)
			plain.Map.Branches = branches
			if branches == 256 {
				whole, _ := mapped(t, e, plain)
				live, _ := mapped(t, e, liveRequest(0, 2, 0.3))
				if !slices.EqualFunc(whole.Branches, live.Branches, sameBranch) || len(whole.Forks) != len(live.Forks) {
					t.Fatalf("seed %d: a live map has %d branches, another %d", seed, len(live.Branches), len(whole.Branches))
				}
			}
			var first *decode.LambdaMap
			for _, focus := range []float64{0, 0.4, 1, 1.7, 2} {
				req := liveRequest(0, 2, focus)
				req.Map.Branches = branches
				m, _ := mapped(t, e, req)
				if first == nil {
					first = m
				} else if !slices.EqualFunc(first.Branches, m.Branches, sameBranch) {
					t.Fatalf("seed %d, %d branches: another map at focus %v", seed, branches, focus)
				}
				followed := 0
				for _, b := range m.Branches {
					if b.Reason != decode.EndBudget {
						followed++
					}
				}
				if followed < min(branches, len(m.Branches)) { // more, as a text that ends where it parts needs none
					t.Fatalf("seed %d: %d of %d texts were followed, with %d branches", seed, followed, len(m.Branches), branches)
				}
			}
		}
	}
}

// What waited for a branch and got one is what a lane says.
func TestLiveMapResumes(t *testing.T) {
	checked := 0
	for seed := range uint64(6) {
		for _, branches := range []int{3, 7, 20} {
			e := engine(t, bigTable(seed), decode.Config{})
			req := liveRequest(0, 2, 0.9)
			req.Map.Branches = branches
			m, _ := mapped(t, e, req)
			single := request((m.Branches[0].From + m.Branches[0].To) / 2)
			single.Lanes = nil
			single.Sampling = req.Sampling
			var of []decode.Branch
			for _, b := range m.Branches {
				if b.Reason != decode.EndBudget {
					single.Lanes = append(single.Lanes, decode.Lane{Index: len(of), Lambda: decode.Vector{(b.From + b.To) / 2}})
					of = append(of, b)
				}
			}
			r := run(t, e, single)
			for i, b := range of {
				if !slices.Equal(r.tokens(i), b.Tokens) {
					t.Fatalf("seed %d, %d branches, λ from %v to %v: the map says %v, a lane %v", seed, branches, b.From, b.To, b.Tokens, r.tokens(i))
				}
				checked++
			}
		}
	}
	if checked < 100 {
		t.Fatalf("only %d texts", checked)
	}
}

func sameBranch(a, b decode.Branch) bool {
	return a.From == b.From && a.To == b.To && a.Reason == b.Reason && slices.Equal(a.Tokens, b.Tokens)
}

// The span at the focus is decoded to its end before any other goes on, as a lane would be.
func TestFocusComesFirst(t *testing.T) {
	steps := 0
	for _, focus := range []float64{0, 0.63, 1.2, 2} {
		e := engine(t, bigTable(2), decode.Config{})
		r := run(t, e, liveRequest(0, 2, focus))
		last := map[decode.Span]int{}
		for _, ev := range r.all {
			if ev.Type == decode.EventBranch && ev.Branch.From <= focus && focus <= ev.Branch.To {
				break
			}
			if ev.Type != decode.EventStep {
				continue
			}
			if _, again := last[*ev.Span]; again && (focus < ev.Span.From || ev.Span.To < focus) {
				t.Fatalf("focus %v: step %d on %v before the text at the focus has ended", focus, ev.Index, *ev.Span)
			}
			last[*ev.Span] = ev.Index
			steps++
		}
	}
	if steps < 12 {
		t.Fatalf("only %d steps", steps)
	}
}

// The focus moves while a map is decoded, and a map that is not live has none.
func TestFocusMoves(t *testing.T) {
	e := engine(t, bigTable(1), decode.Config{})
	req := liveRequest(0, 2, 0)
	if req.Map.Focus = 3; req.Validate(1) == nil {
		t.Error("a focus outside the map is taken")
	}
	req.Map.Focus = 0
	moved := make(chan error, 1)
	var j *decode.Job
	started := make(chan struct{})
	once := false
	var order []float64
	j, err := e.Start(req, func(ev decode.Event) {
		if ev.Type == decode.EventStep && !once {
			once = true
			go func() { <-started; moved <- j.SetLambda(0, decode.Vector{2}) }()
		}
		if ev.Type == decode.EventBranch {
			order = append(order, ev.Branch.From)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	close(started)
	if err := <-moved; err != nil && !strings.Contains(err.Error(), "ended") {
		t.Fatal(err)
	}
	<-j.Done()
	if len(order) < 4 {
		t.Fatalf("%d branches", len(order))
	}
	if err := j.SetLambda(0, decode.Vector{1}); err == nil {
		t.Error("the focus of a map that has ended moves")
	}
	if err := j.SetLambda(0, decode.Vector{2.5}); err == nil {
		t.Error("the focus moves out of the map")
	}
	dead, err := e.Start(mapRequest(0, 2), func(decode.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.SetLambda(0, decode.Vector{1}); err == nil || !strings.Contains(err.Error(), "not live") {
		t.Errorf("the focus of a map that is not live: %v", err)
	}
	<-dead.Done()
}
