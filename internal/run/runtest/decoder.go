// Package runtest has a decoder without models, for tests of what runs on decoders.
package runtest

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"sync"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/run"
)

// Decoder decodes nonsense that depends on what real decoding depends on: prompt tokens, seed, λ, sample and
// place. It also plays Pairs, with one pair called demo.
type Decoder struct {
	// Gate, when not nil, is received from before every step of one token on every lane.
	Gate chan struct{}

	// Refuse, when set, is what Decode returns.
	Refuse error

	// Salt stands for the weights: another salt, other tokens.
	Salt uint64

	// SHA256 is the sum of the pair's files.
	SHA256 string

	mu   sync.Mutex // guards jobs
	jobs []*Job
}

// Job is one request being decoded.
type Job struct {
	Request decode.Request

	mu    sync.Mutex    // guards what follows
	lanes []*lane       // in the order of the request
	died  bool          // the worker was killed
	kick  chan struct{} // closed, and made anew, by Stop: run takes a step without Gate
	done  chan struct{} // closed after the last event
}

// lane is a lane of a job.
type lane struct {
	decode.Lane
	moves []decode.Vector // of λ, to be told before the next token
	index int             // of the next token
	stop  bool            // it was asked to end
	ended bool            // its end was told
}

// Models knows the pair "demo" with the aligned model "warm".
func (d *Decoder) Models(_ context.Context, pair string, aligned []string) ([]string, []run.File, error) {
	if pair != "demo" {
		return nil, nil, fault.Field("pair", "there is no pair %q", pair)
	}
	if len(aligned) == 0 {
		aligned = []string{"warm"}
	}
	files := []run.File{{Role: "reference", Name: "ref.gguf", SHA256: "r" + d.SHA256}}
	for _, name := range aligned {
		if name != "warm" {
			return nil, nil, fault.Field("aligned", "there is no aligned model %q", name)
		}
		files = append(files, run.File{Role: name, Name: name + ".gguf", SHA256: "a" + d.SHA256})
	}
	return aligned, files, nil
}

// Decode starts a job.
func (d *Decoder) Decode(_ context.Context, _ string, request decode.Request, sink func(decode.Event)) (run.Job, error) {
	if d.Refuse != nil {
		return nil, d.Refuse
	}
	if err := request.Validate(1); err != nil {
		return nil, err
	}
	j := &Job{Request: request, kick: make(chan struct{}), done: make(chan struct{})}
	for _, l := range request.Lanes {
		j.lanes = append(j.lanes, &lane{Lane: l})
	}
	d.mu.Lock()
	d.jobs = append(d.jobs, j)
	d.mu.Unlock()
	go j.run(d, sink)
	return j, nil
}

// Jobs lists the jobs that were taken.
func (d *Decoder) Jobs() []*Job {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]*Job(nil), d.jobs...)
}

// Done is closed after the last event.
func (j *Job) Done() <-chan struct{} { return j.done }

// SetLambda moves λ from the next token on.
func (j *Job) SetLambda(index int, v decode.Vector) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lanes {
		if l.Index == index && !l.ended {
			l.moves = append(l.moves, v)
			return nil
		}
	}
	return fault.New(fault.Conflict, "lane %d has ended", index)
}

// Stop ends a lane, or all for -1.
func (j *Job) Stop(index int) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lanes {
		l.stop = l.stop || index < 0 || l.Index == index
	}
	close(j.kick)
	j.kick = make(chan struct{})
	return nil
}

// Die ends the job as a killed worker does.
func (j *Job) Die() {
	j.mu.Lock()
	j.died = true
	j.mu.Unlock()
	_ = j.Stop(-1)
}

// run decodes until every lane has ended. It is the job's goroutine.
func (j *Job) run(d *Decoder, sink func(decode.Event)) {
	defer close(j.done)
	prompt := tokens(j.Request.Prompt)
	sink(decode.Event{Type: decode.EventStart, Prompt: &decode.PromptProgress{Tokens: prompt, Total: len(prompt), Done: len(prompt)}})
	count := 0
	for {
		j.mu.Lock()
		kick := j.kick
		j.mu.Unlock()
		events, live := j.step(d.Salt, prompt)
		for _, e := range events {
			if e.Type == decode.EventToken {
				count++
			}
			sink(e)
		}
		if live == 0 {
			break
		}
		if d.Gate != nil {
			select {
			case <-d.Gate:
			case <-kick:
			}
		}
	}
	sink(decode.Event{Type: decode.EventStats, Stats: &decode.Stats{PromptTokens: len(prompt), Tokens: count}})
}

// step is one token of every lane.
func (j *Job) step(salt uint64, prompt []decode.Token) (events []decode.Event, live int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lanes {
		if l.ended {
			continue
		}
		for len(l.Changes) > 0 && l.Changes[0].At <= l.index {
			l.Lambda, l.Changes = l.Changes[0].Lambda, l.Changes[1:]
		}
		for _, v := range l.moves {
			l.Lambda = v
			events = append(events, decode.Event{Type: decode.EventLambda, Lane: l.Index, Index: l.index, Lambda: v})
		}
		l.moves = nil
		end := decode.Event{Type: decode.EventEnd, Lane: l.Index, Sample: l.Sample, Index: l.index, Lambda: l.Lambda}
		switch {
		case j.died:
			end.Reason, end.Error = decode.EndError, &decode.Error{Code: "unavailable", Message: "the worker died"}
		case l.stop:
			end.Reason = decode.EndCancelled
		case l.index >= j.Request.Sampling.MaxTokens:
			end.Reason = decode.EndLength
		}
		if l.ended = end.Reason != ""; l.ended {
			events = append(events, end)
			continue
		}
		live++
		events = append(events, j.token(salt, prompt, l))
		l.index++
	}
	return events, live
}

// token is the event of the next token of a lane. All its numbers follow from the token's id.
func (j *Job) token(salt uint64, prompt []decode.Token, l *lane) decode.Event {
	h := fnv.New64a()
	fmt.Fprint(h, salt, prompt, j.Request.Seed, l.Sample, l.Lambda, l.index)
	id := decode.Token(h.Sum64() % 1000)
	if l.index < len(l.Prefix) {
		id = l.Prefix[l.index]
	}
	kl := float64(id) / 1000
	e := decode.Event{
		Type: decode.EventToken, Lane: l.Index, Sample: l.Sample, Lambda: l.Lambda, Index: l.index,
		ID: id, Text: fmt.Sprintf(" w%d", id), KLReference: &kl, KLAligned: decode.Vector{1 - kl}, LogZ: &kl,
		Logp: &decode.Logp{Reference: -kl, Aligned: decode.Vector{-1 - kl}, Mixture: -kl / 2},
	}
	if n := j.Request.Trace.Alternatives; n > 0 {
		list := make([]decode.Alternative, n)
		for i := range list {
			list[i] = decode.Alternative{ID: id + decode.Token(i), Name: fmt.Sprintf(" w%d", int(id)+i), Logp: -kl - float64(i)/3}
		}
		e.Top = &decode.Top{Reference: list, Aligned: [][]decode.Alternative{list}, Mixture: list}
	}
	return e
}

// tokens is a prompt, a byte a token.
func tokens(p decode.Prompt) []decode.Token {
	if p.Tokens != nil {
		return p.Tokens
	}
	text := p.Text
	if len(p.Messages) > 0 {
		b, _ := json.Marshal(p.Messages) // strings only
		text = string(b)
	}
	var list []decode.Token
	for i := range len(text) {
		list = append(list, decode.Token(text[i]))
	}
	return list
}

// Spec is a run of n lanes, λ = 0, ½, 1, …, with so many tokens each.
func Spec(n, maxTokens int) run.Spec {
	s := run.Spec{
		Pair: "demo", Prompt: "What did you think of the film?", Mode: run.Chat,
		Sampling: decode.DefaultSampling(), Seed: 7, Alternatives: 2,
	}
	s.Sampling.MaxTokens = maxTokens
	for i := range n {
		s.Lanes = append(s.Lanes, decode.Lane{Lambda: decode.Vector{float64(i) / 2}})
	}
	return s
}
