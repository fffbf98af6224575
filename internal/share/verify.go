package share

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/run"
)

// Tolerance is how far apart, in nats, a stored number and the one computed again may be: log-probabilities, KL and
// log Z of a token; sums over a lane may be as far apart for each of its tokens. Models add up in another order when
// other rows are decoded beside theirs, or on another processor.
const Tolerance = 0.05

// Verdict says whether a snapshot decoded again came out the same.
type Verdict struct {
	Identical bool `json:"identical"`
	Tokens    int  `json:"tokens"`             // compared
	Branches  int  `json:"branches,omitempty"` // of a map, compared

	// Deviation is the most by which a number of a token was off, in nats, of those compared.
	// 0 where all numbers were equal.
	Deviation float64 `json:"deviation"`

	// The first difference: what differs, where, and both sides as they are shown.
	What    string `json:"what,omitempty"` // see the constants
	Lane    int    `json:"lane"`           // or the branch of a map; -1 for what belongs to none
	Index   int    `json:"index"`          // of the token, -1 for what belongs to none
	Stored  string `json:"stored,omitempty"`
	Decoded string `json:"decoded,omitempty"` // "" on a side that has nothing there
}

// What can differ.
const (
	DiffPrompt       = "prompt"       // its tokens are not what the models make of the texts
	DiffFile         = "file"         // the name of a model's file
	DiffToken        = "token"        // another token; "" on a side that had ended
	DiffText         = "text"         // of a token, or of a whole lane
	DiffName         = "name"         // of a token, as it is shown
	DiffLambda       = "lambda"       // λ of a token, or an edge of a branch
	DiffNumber       = "number"       // a log-probability, KL or log Z
	DiffAlternatives = "alternatives" // the most probable tokens
	DiffEnd          = "end"          // why a lane or map ended
	DiffFork         = "fork"         // of a map
)

// Verify decodes a snapshot again, from its texts with the recorded moves of λ, and compares all that it shows of the
// models: the tokens of the prompt, every token with its text, name, λ, numbers and alternatives, the texts and sums of
// lanes, and why they ended. Lanes that were cut off are decoded as far as they got; why and with which words they were
// is not compared, nor is when it was made and by which build. It is a Conflict when the pair's files are others now, and
// NotFound or Unavailable when they are gone or no worker can be had.
func Verify(ctx context.Context, d run.Decoder, pairs run.Pairs, s *Snapshot) (Verdict, error) {
	if v, err := checkFiles(ctx, pairs, s); err != nil || v.What != "" {
		return v, err
	}
	spec := s.Fork()
	if err := checkFork(spec); err != nil {
		return Verdict{}, err
	}
	if s.Map != nil {
		again, _, err := decodeAgain(ctx, d, &spec, nil)
		if err != nil {
			return Verdict{}, err
		}
		if v := s.comparePrompt(again); v.What != "" {
			return v, nil
		}
		return compareMaps(s.Map.State(), again.Map), nil
	}
	v := Verdict{}
	for i := range s.Lanes { // those that have no token to begin with
		if lane := &s.Lanes[i]; lane.cut() && len(lane.Tokens) == 0 {
			if compareLane(&v, lane, &run.Lane{}); v.What != "" {
				v.Lane = lane.Index
				return v, nil
			}
		}
	}
	// only is the place of the lane that ended the decoding because it differs; −1: all lanes were decoded.
	for _, request := range s.requests(&spec) {
		stop := s.differsAt(request.lanes)
		again, only, err := decodeAgain(ctx, d, &request.spec, stop)
		if err != nil {
			return Verdict{}, err
		}
		if v := s.comparePrompt(again); v.What != "" {
			return v, nil
		}
		for i, place := range request.lanes {
			if only >= 0 && only != i {
				continue
			}
			if lane := &s.Lanes[place]; lane.cut() && s.particles(lane) {
				again.Lanes[i].Keep(len(lane.Tokens))
			}
			compareLane(&v, &s.Lanes[place], &again.Lanes[i])
			if v.What != "" {
				v.Lane = s.Lanes[place].Index
				return v, nil
			}
		}
	}
	v.Identical = true
	return v, nil
}

// checkFork checks a forked spec as that of a run is checked. Its lanes are numbered anew, since some of them are decoded by
// requests of their own.
func checkFork(spec run.Spec) error {
	spec.Lanes = run.NumberLanes(spec.Lanes, 0)
	return spec.Validate()
}

// partly is lanes that are decoded by one request: in which λ mixes the same, and that ended by themselves or were cut off
// after as many tokens.
type partly struct {
	spec  run.Spec // the run's, with these lanes, numbered from 0, and their limit of tokens
	lanes []int    // their places in the snapshot
}

// requests are what decodes the snapshot's lanes. A lane that was cut off is decoded to the same number of tokens, so
// that it can be compared to its last character. Those without a token are left out.
func (s *Snapshot) requests(spec *run.Spec) (list []partly) {
	type kind struct {
		limit   int // of tokens
		weights bool
	}
	kinds := map[kind]int{} // places in list
	for i := range s.Lanes {
		lane := &s.Lanes[i]
		limit := s.Sampling.MaxTokens
		if lane.cut() {
			if limit = len(lane.Tokens); limit > 0 && s.particles(lane) {
				limit = s.Sampling.MaxTokens // what it told depends on what its particles said later
			}
		}
		if limit == 0 {
			continue
		}
		of := kind{limit, decode.InWeights(lane.Mix)}
		at, ok := kinds[of]
		if !ok {
			at = len(list)
			kinds[of] = at
			p := partly{spec: *spec}
			p.spec.Lanes, p.spec.Sampling.MaxTokens = nil, limit
			list = append(list, p)
		}
		l := lane.Lane
		l.Prefix = l.Prefix[:min(len(l.Prefix), limit)]
		list[at].spec.Lanes = append(list[at].spec.Lanes, l)
		list[at].lanes = append(list[at].lanes, i)
	}
	for i := range list {
		list[i].spec.Lanes = run.NumberLanes(list[i].spec.Lanes, 0)
	}
	return list
}

// cut reports whether the lane was ended from outside.
func (l *SnapshotLane) cut() bool {
	return l.Reason == decode.EndCancelled || l.Reason == decode.EndError
}

// differsAt tells when decoding need not go on: a token of a lane is another one.
func (s *Snapshot) differsAt(lanes []int) func(decode.Event) bool {
	return func(e decode.Event) bool {
		if e.Type != decode.EventToken || e.Lane >= len(lanes) {
			return false
		}
		lane := &s.Lanes[lanes[e.Lane]]
		tokens := lane.Tokens
		if e.Index >= len(tokens) {
			return !lane.cut() || !s.particles(lane)
		}
		return tokens[e.Index].ID != e.ID
	}
}

// decodeAgain decodes a spec and adds up what comes. Once enough says so of an event, the rest is not waited for, and
// only that event's lane is to be compared; -1 is all.
func decodeAgain(ctx context.Context, d run.Decoder, spec *run.Spec, enough func(decode.Event) bool) (t *run.Transcript, only int, err error) {
	request := spec.Request("verify-"+id.New(), spec.Lanes)
	if err := request.Validate(len(spec.Aligned)); err != nil {
		return nil, 0, err
	}
	t, only = run.NewTranscript(spec), -1
	var (
		mu       sync.Mutex // guards t, over, only and failed; the sink is called by the decoder
		failed   *decode.Error
		over     bool
		overDone = make(chan struct{})
	)
	job, err := d.Decode(ctx, spec.Pair, request, func(e decode.Event) {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		if e.Error != nil && failed == nil {
			failed = e.Error
		}
		t.Apply(e)
		if enough != nil && enough(e) {
			over, only = true, e.Lane
			close(overDone)
		}
	})
	if err != nil {
		return nil, 0, err
	}
	select {
	case <-job.Done():
	// What comes after the first difference does not count.
	case <-overDone:
		_ = job.Stop(-1)
		<-job.Done()
	case <-ctx.Done():
		_ = job.Stop(-1)
		<-job.Done()
		return nil, 0, ctx.Err()
	}
	mu.Lock()
	defer mu.Unlock()
	if failed != nil && !over {
		return nil, 0, fault.New(fault.Kind(failed.Code), "it could not be decoded again: %s", failed.Message)
	}
	if t.Map == nil && !over && !t.Done() {
		return nil, 0, fault.New(fault.Unavailable, "the decoder stopped before the end")
	}
	return t, only, nil
}

// checkFiles compares the snapshot's files with the pair's: each model of the pair has one, and there are no others.
func checkFiles(ctx context.Context, pairs run.Pairs, s *Snapshot) (Verdict, error) {
	_, files, err := pairs.Models(ctx, s.Pair, s.Aligned)
	if err != nil {
		return Verdict{}, err
	}
	for _, want := range s.Files {
		i := slices.IndexFunc(files, func(f run.File) bool { return f.Role == want.Role })
		if i < 0 {
			return Verdict{}, fault.New(fault.Conflict, "pair %s has no model %s any more", s.Pair, want.Role)
		}
		if files[i].SHA256 != want.SHA256 {
			return Verdict{}, fault.New(fault.Conflict, "the file of %s in pair %s is another one now: its sha256 is %.12s…, the comparison's %.12s…",
				want.Role, s.Pair, files[i].SHA256, want.SHA256)
		}
		if files[i].Name != want.Name {
			return Verdict{What: DiffFile, Lane: -1, Index: -1, Stored: want.Name, Decoded: files[i].Name}, nil
		}
	}
	if len(s.Files) != len(files) {
		return Verdict{}, fault.New(fault.Conflict, "the comparison names %d files of models, where pair %s has %d", len(s.Files), s.Pair, len(files))
	}
	return Verdict{}, nil
}

// comparePrompt compares the tokens that the models make of the prompt, the reference's first. The zero Verdict is
// no difference.
func (s *Snapshot) comparePrompt(again *run.Transcript) Verdict {
	v := comparePrompts(s.PromptTokens, again.Prompt)
	for i := 0; v.What == "" && i < max(len(s.AlignedPrompts), len(again.AlignedPrompts)); i++ {
		if i >= len(s.AlignedPrompts) || i >= len(again.AlignedPrompts) {
			return Verdict{What: DiffPrompt, Lane: -1, Index: -1, Stored: fmt.Sprint(len(s.AlignedPrompts), " prompts of aligned models"), Decoded: fmt.Sprint(len(again.AlignedPrompts))}
		}
		v = comparePrompts(s.AlignedPrompts[i], again.AlignedPrompts[i])
	}
	return v
}

// comparePrompts compares the tokens of one prompt. The zero Verdict is no difference.
func comparePrompts(stored, again []decode.Token) Verdict {
	if slices.Equal(stored, again) {
		return Verdict{}
	}
	v := Verdict{What: DiffPrompt, Lane: -1}
	for v.Index < min(len(stored), len(again)) && stored[v.Index] == again[v.Index] {
		v.Index++
	}
	show := func(list []decode.Token) string {
		if v.Index >= len(list) {
			return ""
		}
		return fmt.Sprintf("token %d", list[v.Index])
	}
	v.Stored, v.Decoded = show(stored), show(again)
	return v
}

// comparison notes the first difference. Its methods report whether there is one.
type comparison struct {
	v     *Verdict // where the difference is noted
	index int      // of the token being compared; -1 for what belongs to none
}

// differ notes a difference at the index and is always true.
func (c *comparison) differ(what string, stored, decoded any) bool {
	c.v.What, c.v.Index, c.v.Stored, c.v.Decoded = what, c.index, fmt.Sprint(stored), fmt.Sprint(decoded)
	return true
}

// text compares what must be equal.
func (c *comparison) text(what, stored, decoded string) bool {
	return stored != decoded && c.differ(what, stored, decoded)
}

// number compares within a tolerance. What JSON has no number for is equal to its like.
func (c *comparison) number(name string, stored, decoded, tolerance float64) bool {
	if stored == decoded || math.IsNaN(stored) && (math.IsNaN(decoded) || math.IsInf(decoded, 0)) || math.Abs(stored-decoded) <= tolerance {
		if tolerance == Tolerance && stored != decoded && !math.IsNaN(stored) {
			c.v.Deviation = max(c.v.Deviation, math.Abs(stored-decoded))
		}
		return false
	}
	return c.differ(DiffNumber, fmt.Sprintf("%s %.4f", name, stored), fmt.Sprintf("%s %.4f", name, decoded))
}

// numbers compares lists with one number for each aligned model.
func (c *comparison) numbers(name string, stored, decoded []float64, tolerance float64) bool {
	if len(stored) != len(decoded) {
		return c.differ(DiffNumber, fmt.Sprintf("%s of %d models", name, len(stored)), fmt.Sprintf("%s of %d models", name, len(decoded)))
	}
	for i := range stored {
		if c.number(name, stored[i], decoded[i], tolerance) {
			return true
		}
	}
	return false
}

// optional compares numbers that may be missing.
func (c *comparison) optional(name string, stored, decoded *float64) bool {
	if stored == nil || decoded == nil {
		return (stored == nil) != (decoded == nil) && c.differ(DiffNumber, name+missing(stored == nil), name+missing(decoded == nil))
	}
	return c.number(name, *stored, *decoded, Tolerance)
}

// missing is what follows the name of a number on the side that lacks it.
func missing(is bool) string {
	if is {
		return " missing"
	}
	return ""
}

// compareLane finds the first difference of a lane decoded again. Verdict.Lane is the caller's.
func compareLane(v *Verdict, stored *SnapshotLane, again *run.Lane) {
	c := &comparison{v: v}
	for n := range max(len(stored.Tokens), len(again.Tokens)) {
		c.index = n
		switch {
		case n >= len(stored.Tokens):
			c.differ(DiffToken, "", shown(&again.Tokens[n]))
		case n >= len(again.Tokens):
			c.differ(DiffToken, shown(&stored.Tokens[n]), "")
		default:
			c.token(&stored.Tokens[n], &again.Tokens[n])
		}
		v.Tokens++
		if v.What != "" {
			return
		}
	}
	c.index = -1
	tokens := float64(max(1, len(stored.Tokens)))
	switch {
	case c.text(DiffText, stored.Text, again.Text):
	case c.number("KL to the reference", stored.KLReference, again.KLReference, tokens*Tolerance):
	case c.numbers("KL to the aligned model", stored.KLAligned, again.KLAligned, tokens*Tolerance):
	case stored.cut():
	case c.text(DiffEnd, stored.Reason, again.Reason):
	default:
		c.exact(stored.Exact, again.Exact, tokens*Tolerance)
	}
}

// shown is a token as it is shown.
func shown(t *run.Token) string {
	switch {
	case t.Name != "":
		return t.Name
	case t.Text != "":
		return t.Text
	}
	return fmt.Sprintf("token %d", t.ID)
}

// token compares a token with its trace.
func (c *comparison) token(stored, again *run.Token) bool {
	switch {
	case stored.ID != again.ID:
		return c.differ(DiffToken, shown(stored), shown(again))
	case c.text(DiffText, stored.Text, again.Text), c.text(DiffName, stored.Name, again.Name):
	case !stored.Lambda.Equal(again.Lambda):
		return c.differ(DiffLambda, stored.Lambda, again.Lambda)
	case c.logp(stored.Logp, again.Logp):
	case c.optional("KL to the reference", stored.KLReference, again.KLReference):
	case c.numbers("KL to the aligned model", stored.KLAligned, again.KLAligned, Tolerance):
	case c.optional("log Z", stored.LogZ, again.LogZ):
	default:
		return c.top(stored.Top, again.Top)
	}
	return true
}

// logp compares a token's log-probabilities under the reference, each aligned model and the mixture. Either may be
// missing.
func (c *comparison) logp(stored, again *decode.Logp) bool {
	if stored == nil || again == nil {
		return (stored == nil) != (again == nil) && c.differ(DiffNumber, "log p"+missing(stored == nil), "log p"+missing(again == nil))
	}
	return c.number("log p under the reference", stored.Reference, again.Reference, Tolerance) ||
		c.numbers("log p under the aligned model", stored.Aligned, again.Aligned, Tolerance) ||
		c.number("log p in the mixture", stored.Mixture, again.Mixture, Tolerance)
}

// top compares a token's most probable alternatives under each aligned model, the reference and the mixture. Either
// may be missing.
func (c *comparison) top(stored, again *decode.Top) bool {
	if stored == nil || again == nil {
		return (stored == nil) != (again == nil) && c.differ(DiffAlternatives, "alternatives"+missing(stored == nil), "alternatives"+missing(again == nil))
	}
	if len(stored.Aligned) != len(again.Aligned) {
		return c.differ(DiffAlternatives, fmt.Sprint(len(stored.Aligned), " models"), fmt.Sprint(len(again.Aligned), " models"))
	}
	for i := range stored.Aligned {
		if c.alternatives(stored.Aligned[i], again.Aligned[i]) {
			return true
		}
	}
	return c.alternatives(stored.Reference, again.Reference) || c.alternatives(stored.Mixture, again.Mixture)
}

// alternatives compares lists of the most probable tokens. Neighbours that are as good as tied may have changed places,
// and the last may have been pushed out by one as probable.
func (c *comparison) alternatives(stored, again []decode.Alternative) bool {
	if len(stored) != len(again) {
		return c.differ(DiffAlternatives, fmt.Sprint(len(stored), " tokens"), fmt.Sprint(len(again), " tokens"))
	}
	for i := range stored {
		a := &stored[i]
		if c.number("log p of rank "+fmt.Sprint(i+1), a.Logp, again[i].Logp, Tolerance) {
			return true
		}
		j := slices.IndexFunc(again, func(b decode.Alternative) bool { return b.ID == a.ID })
		if j < 0 {
			if c.number("log p of “"+a.Name+"”", a.Logp, again[len(again)-1].Logp, Tolerance) {
				return true
			}
			continue
		}
		if c.text(DiffAlternatives, a.Name, again[j].Name) || c.number("log p of “"+a.Name+"”", a.Logp, again[j].Logp, Tolerance) {
			return true
		}
	}
	return false
}
