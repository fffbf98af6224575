package decode

import (
	"slices"
	"time"

	"realign/internal/fault"
)

// Job is a request that an engine has taken.
type Job struct {
	engine  *Engine
	request Request
	prompt  []Token
	prompts [][]Token // by slot, where a model has another prompt than the reference; nil stands for the reference's
	untuned []int     // by request's model: the slot of its untuned one, where it is a proxy; or nil
	emit    func(Event)
	done    chan struct{}
	stops   map[Token]bool // stop strings that are control tokens, which have no text to be found in

	// The rest belongs to the engine's loop.
	models   []*modelState // reference, then the request's aligned models, then the untuned ones of proxies
	context  int           // tokens a sequence may hold
	cells    int           // cache cells promised
	streams  int           // sequences promised
	spare    []Seq         // sequences promised and not used yet
	retired  []*branch     // without lanes: what they read is still in the caches
	broken   bool          // a model failed under it
	cached   int           // prompt tokens that were in a cache already
	lanes    []*lane
	spans    []*span  // of a λ-map
	focus    float64  // λ from which a live map is decoded outwards
	scoring  *scoring // of a score request
	live     int      // lanes or spans that have not ended
	began    time.Time
	tokens   int   // emitted, over all lanes
	accepted int64 // drafted tokens that were accepted, and rejected
	rejected int64
	rows     [2]int64 // decoded by the reference, by aligned models
	passes   [2]int64 // of the models, by the same roles, that had rows of this job
	lastPass [2]int   // the engine's step that was counted last
}

// lane is one stream of tokens of a job.
type lane struct {
	spec        Lane
	job         *Job
	lambda      Vector
	generated   []Token
	changes     []Change // of the request, still to come
	detokenizer detokenizer
	ended       bool
	choice      choice  // of this step
	totals      *Totals // once a token was chosen, where they are asked for
	acceptance  float64 // how often one model alone chose what the mixture did, lately

	population *population // of a lane that is decoded by particles
	particle   *particle   // of a lane that is one of those
	exact      *Exact      // what its end tells of the particles
}

// Done is closed after the last event.
func (j *Job) Done() <-chan struct{} { return j.done }

// SetLambda moves a lane's λ from the next token on, also while the request waits for room. It does not wait for a pass of the
// models. A lane that has
// ended, or is not of this job, is a Conflict or NotFound.
func (j *Job) SetLambda(index int, v Vector) error {
	if err := CheckLambda("lambda", v, len(j.request.Aligned)); err != nil {
		return err
	}
	if j.request.inWeights() {
		return fault.New(fault.Conflict, "the λ of this run is in the weights, with which its text was read: it cannot be moved")
	}
	if n := j.request.Sampling.Exact; n > 0 {
		return fault.New(fault.Conflict, "lane %d is decoded with exact (%d), and a whole reply has one λ: start another lane", index, n)
	}
	if m := j.request.Map; m != nil {
		return j.setFocus(m, v[0])
	}
	moved := make([]bool, len(v)) // a model of weight 0 may not be open yet
	for i, x := range v {
		moved[i] = x != 0
	}
	if err := j.engine.prepare(j.request.Aligned, moved); err != nil {
		return err
	}
	err := error(fault.New(fault.Conflict, "the run has ended"))
	j.engine.control(func() {
		err = fault.New(fault.NotFound, "there is no lane %d", index)
		for _, l := range j.lanes {
			switch {
			case l.spec.Index != index:
			case l.ended:
				err = fault.New(fault.Conflict, "lane %d has ended", index)
			default:
				l.setLambda(v)
				err = nil
			}
		}
	})
	return err
}

// Stop ends a lane, or all lanes for -1, before the next token, and does not wait for a pass of the models. Stopping what has ended does nothing.
func (j *Job) Stop(index int) error {
	j.engine.control(func() {
		j.endLanes(index, EndCancelled, nil)
		j.engine.stopped = append(j.engine.stopped, j)
	})
	return nil
}

// endLanes ends one lane, or all (and all spans) for −1; the caller settles the job.
func (j *Job) endLanes(index int, reason string, cause *Error) {
	for _, l := range j.lanes {
		if index < 0 || l.spec.Index == index {
			l.end(reason, cause)
		}
	}
	if index < 0 {
		for _, s := range j.spans {
			s.end(reason, cause)
		}
		j.scoring.end(reason, cause)
	}
}

// start makes the lanes and tells that the request was taken.
func (j *Job) start(now time.Time) {
	j.began = now
	for _, spec := range j.request.Lanes {
		l := &lane{acceptance: initialAcceptance, spec: spec, job: j, lambda: spec.Lambda, changes: spec.Changes}
		l.detokenizer = j.newDetokenizer()
		l.populate()
		j.lanes = append(j.lanes, l)
	}
	j.live = len(j.lanes)
	if m := j.request.Map; m != nil {
		newSpan(j, m.From, m.To)
		j.focus = m.Focus
	}
	if j.request.Score != nil {
		j.scoring = &scoring{job: j}
		j.live++
	}
	started := &PromptProgress{Tokens: j.prompt, Aligned: j.alignedPrompts(), Total: j.longest()}
	if j.request.SeedByPrompt {
		started.Seed = &j.request.Seed
	}
	j.emit(Event{Type: EventStart, Prompt: started})
}

// encoded answers a request that only encodes.
func (j *Job) encoded(vocab Vocabulary, now time.Time) error {
	started := &PromptProgress{Tokens: j.prompt, Aligned: j.alignedPrompts(), Total: j.longest(), Pieces: make([][]byte, len(j.prompt))}
	for i, t := range j.prompt {
		started.Pieces[i] = vocab.Piece(t)
	}
	for _, tokens := range append([][]Token{j.prompt}, started.Aligned...) {
		names := make([]string, len(tokens))
		for i, t := range tokens {
			names[i] = vocab.Name(t)
		}
		started.Names = append(started.Names, names)
	}
	j.began = now
	j.emit(Event{Type: EventStart, Prompt: started})
	j.finish(now)
	return nil
}

// newDetokenizer is the detokenizer of a lane or of a span at its beginning.
func (j *Job) newDetokenizer() detokenizer {
	spaced, ok := j.engine.vocab.(Spaced)
	return detokenizer{stops: j.request.Sampling.Stop, leading: ok && spaced.FirstSpace() && len(j.request.Prompt.Messages) > 0}
}

// progress tells how far the prompt has been read; b is one of the job's branches.
func (j *Job) progress(b *branch) {
	if done, total := slices.Max(b.have), j.longest(); done < total {
		j.emit(Event{Type: EventPrompt, Prompt: &PromptProgress{Total: total, Done: done}})
	}
}

// finish tells the cost and closes Done. It runs once, when no lane is live.
func (j *Job) finish(now time.Time) {
	j.emit(Event{Type: EventStats, Stats: &Stats{
		PromptTokens: j.longest(),
		Cached:       j.cached,
		Accepted:     j.accepted,
		Rejected:     j.rejected,
		Tokens:       j.tokens,
		Rows:         j.read(j.rows),
		Passes:       j.read(j.passes),
		Seconds:      now.Sub(j.began).Seconds(),
	}})
	close(j.done)
}

func (j *Job) takeSeq() Seq {
	s := j.spare[len(j.spare)-1]
	j.spare = j.spare[:len(j.spare)-1]
	return s
}

const noToken Token = -1

// stopTokens are the stop strings that are the spelling of one control token each.
func stopTokens(vocab Vocabulary, stops []string) map[Token]bool {
	found := map[Token]bool{}
	for _, stop := range stops {
		tokens, err := vocab.Encode(stop, true)
		if err == nil && len(tokens) == 1 && len(vocab.Piece(tokens[0])) == 0 {
			found[tokens[0]] = true
		}
	}
	return found
}

// ending is the reason to end a stream after a token that it chose (noToken: one that it was given), or "". generated and length
// count its own tokens and those of its history, this one included.
func (j *Job) ending(chosen Token, s *detokenizer, generated, length int) string {
	switch {
	case chosen != noToken && j.engine.vocab.End(chosen) && !j.request.Sampling.IgnoreEnd, j.stops[chosen], s.stop():
		return EndStop
	case generated >= j.request.Sampling.MaxTokens, length > j.context:
		return EndLength
	}
	return ""
}

// setLambda moves λ and leaves a mark.
func (l *lane) setLambda(v Vector) {
	if l.lambda.Equal(v) {
		return
	}
	l.lambda = v
	l.detokenizer.add(Event{Type: EventLambda, Lane: l.spec.Index, Sample: l.spec.Sample, Index: len(l.generated), Lambda: v}, nil)
	l.detokenizer.release(false, l.job.emit)
}

// arrive applies the request's own changes of λ that are due.
func (l *lane) arrive() {
	for len(l.changes) > 0 && l.changes[0].At <= len(l.generated) {
		l.setLambda(l.changes[0].Lambda)
		l.changes = l.changes[1:]
	}
}

// end ends the lane; its job or branch is settled by the caller.
func (l *lane) end(reason string, cause *Error) {
	if l.ended {
		return
	}
	l.ended = true
	if l.population != nil {
		for _, p := range l.population.particles {
			p.ended = true
		}
	}
	l.job.live--
	l.detokenizer.release(true, l.job.emit)
	l.job.emit(Event{
		Type: EventEnd, Lane: l.spec.Index, Sample: l.spec.Sample, Lambda: l.lambda,
		Index: len(l.generated), Reason: reason, Error: cause, Totals: l.totals, Exact: l.exact,
	})
}
