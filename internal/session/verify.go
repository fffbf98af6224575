package session

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Verdict says whether a snapshot decoded again came out the same.
type Verdict struct {
	Identical bool `json:"identical"`
	Tokens    int  `json:"tokens"`             // compared
	Branches  int  `json:"branches,omitempty"` // of a map, compared

	// The first difference, by lane: a nil token means that the lane had ended there.
	Lane     int           `json:"lane"`
	Index    int           `json:"index"`
	Expected *decode.Token `json:"expected,omitempty"`
	Got      *decode.Token `json:"got,omitempty"`
	Name     string        `json:"name,omitempty"` // of the token got, as it is shown

	Map *MapDifference `json:"map,omitempty"` // of a map that differs: where, instead of Lane
}

// Verify decodes a snapshot again, from its prompt tokens with the recorded moves of λ, and compares the
// tokens. Lanes that were cut off are compared as far as they got. It is a Conflict when the pair's files
// are others now, and NotFound or Unavailable when they are gone or no worker can be had.
func Verify(ctx context.Context, d Decoder, pairs Pairs, s *Snapshot) (Verdict, error) {
	if err := checkFiles(ctx, pairs, s); err != nil {
		return Verdict{}, err
	}
	v := &verification{want: make(map[int]*SnapshotLane), got: make(map[int]int), finished: make(map[int]bool), over: make(chan struct{})}
	request := decode.Request{
		Run: "verify-" + NewID(), Aligned: s.Aligned, Prompt: decode.Prompt{Tokens: s.PromptTokens},
		Sampling: s.Sampling, Seed: s.Seed, Trace: decode.Trace{Alternatives: s.Alternatives},
	}
	if s.Map != nil {
		return verifyMap(ctx, d, s, request)
	}
	for i := range s.Lanes {
		if lane := &s.Lanes[i]; len(lane.Tokens) > 0 {
			v.want[lane.Index] = lane
			request.Lanes = append(request.Lanes, lane.Lane)
		}
	}
	if err := request.Validate(len(s.Aligned)); err != nil {
		return Verdict{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	job, err := d.Decode(ctx, s.Pair, request, v.sink)
	if err != nil {
		return Verdict{}, err
	}
	select {
	case <-job.Done():
	case <-v.over: // the rest no longer matters
		_ = job.Stop(-1)
		<-job.Done()
	case <-ctx.Done():
		_ = job.Stop(-1)
		<-job.Done()
		return Verdict{}, ctx.Err()
	}
	return v.verdict()
}

// verifyMap decodes a map again and compares the two.
func verifyMap(ctx context.Context, d Decoder, s *Snapshot, request decode.Request) (Verdict, error) {
	request.Map = &s.Map.Map
	if err := request.Validate(len(s.Aligned)); err != nil {
		return Verdict{}, err
	}
	var mu sync.Mutex // guards again and failed; the sink is called by the decoder
	again := &Map{From: s.Map.From, To: s.Map.To}
	var failed *decode.Error
	job, err := d.Decode(ctx, s.Pair, request, func(e decode.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Error != nil {
			failed = e.Error
		}
		again.apply(e)
	})
	if err != nil {
		return Verdict{}, err
	}
	select {
	case <-job.Done():
	case <-ctx.Done():
		_ = job.Stop(-1)
		<-job.Done()
		return Verdict{}, ctx.Err()
	}
	mu.Lock()
	defer mu.Unlock()
	if failed != nil {
		return Verdict{}, fault.New(fault.Kind(failed.Code), "the map could not be decoded again: %s", failed.Message)
	}
	return compareMaps(s.Map.State(), again), nil
}

func checkFiles(ctx context.Context, pairs Pairs, s *Snapshot) error {
	_, files, err := pairs.Models(ctx, s.Pair, s.Aligned)
	if err != nil {
		return err
	}
	for _, want := range s.Files {
		i := slices.IndexFunc(files, func(f File) bool { return f.Role == want.Role })
		if i < 0 {
			return fault.New(fault.Conflict, "pair %s has no model %s any more", s.Pair, want.Role)
		}
		if files[i].SHA256 != want.SHA256 {
			return fault.New(fault.Conflict, "the file of %s in pair %s is another one now: its sha256 is %.12s…, the comparison's %.12s…",
				want.Role, s.Pair, files[i].SHA256, want.SHA256)
		}
	}
	return nil
}

// verification compares events as they come, until the first difference.
type verification struct {
	want map[int]*SnapshotLane
	over chan struct{} // closed: there is nothing left to compare

	mu       sync.Mutex // guards what follows; sink is called by the decoder
	got      map[int]int
	finished map[int]bool
	compared int
	diff     *Verdict
	failed   error
}

func (v *verification) sink(e decode.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	lane := v.want[e.Lane]
	if lane == nil || v.finished[e.Lane] || v.settled() {
		return
	}
	index := v.got[e.Lane]
	var expected *decode.Token
	if index < len(lane.Tokens) {
		expected = &lane.Tokens[index].ID
	}
	switch e.Type {
	case decode.EventToken:
		v.got[e.Lane]++
		v.compared++
		if expected == nil || *expected != e.ID {
			v.diff = &Verdict{Lane: e.Lane, Index: index, Expected: expected, Got: &e.ID, Name: cmp.Or(e.Name, e.Text)}
		}
		// How a lane that was cut off would have gone on is not known.
		cut := lane.Reason == decode.EndCancelled || lane.Reason == decode.EndError
		v.finished[e.Lane] = cut && index+1 == len(lane.Tokens)
	case decode.EventEnd:
		v.finished[e.Lane] = true
		if e.Reason == decode.EndError {
			v.failed = fault.New(fault.Unavailable, "lane %d could not be decoded again", e.Lane)
			if e.Error != nil {
				v.failed = fault.New(fault.Kind(e.Error.Code), "lane %d could not be decoded again: %s", e.Lane, e.Error.Message)
			}
		} else if expected != nil {
			v.diff = &Verdict{Lane: e.Lane, Index: index, Expected: expected}
		}
	}
	if v.settled() {
		close(v.over)
	}
}

// settled reports whether nothing is left to compare. The caller holds mu.
func (v *verification) settled() bool {
	if v.diff != nil || v.failed != nil {
		return true
	}
	for index := range v.want {
		if !v.finished[index] {
			return false
		}
	}
	return true
}

func (v *verification) verdict() (Verdict, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.failed != nil:
		return Verdict{}, v.failed
	case v.diff != nil:
		v.diff.Tokens = v.compared
		return *v.diff, nil
	case !v.settled():
		return Verdict{}, fault.New(fault.Unavailable, "the decoder stopped before the end")
	}
	return Verdict{Identical: true, Tokens: v.compared}, nil
}
