package decode

import (
	"slices"
	"time"

	"realign/internal/fault"
)

// Job is a request that an engine has taken. It is made by Engine.Start, waits in the queue until its cells and
// sequences can be promised, is decoded, and ends with a stats event, after which Done is closed. The fields up to
// stops are fixed before it reaches the loop.
type Job struct {
	engine  *Engine        // that decodes it
	request Request        // with defaults, the seed that counts, and, of a map that fits itself to the room, fewer branches
	prompt  []Token        // of the reference, as tokens; of an encoder–decoder model the start token alone
	prompts [][]Token      // by slot, where a model has another prompt than the reference; nil stands for the reference's
	sources [][]Token      // of encoder–decoder models: what they read with their encoders, by slot; nil stands for the reference's
	untuned []int          // by request's model: the slot of its untuned one, where it is a proxy; or nil
	emit    func(Event)    // gets every event, in order, from one goroutine at a time
	done    chan struct{}  // closed after the last event
	stops   map[Token]bool // stop strings that are control tokens, which have no text to be found in

	// The rest belongs to the engine's loop.
	models   []*modelState // reference, then the request's aligned models, then the untuned ones of proxies
	source   int           // number of the sources among those that the models hold
	context  int           // tokens a sequence may hold
	cells    int           // cache cells promised
	streams  int           // sequences promised
	spare    []Seq         // sequences promised and not used yet
	retired  []*branch     // without lanes: what they read is still in the caches
	broken   bool          // a model failed under it
	cached   int           // prompt tokens that were in a cache already, of the model that had most
	lanes    []*lane       // of the request, ended ones included
	spans    []*span       // of a λ-map, split and ended ones included
	focus    float64       // λ from which a live map is decoded outwards
	waiting  []waiting     // parts of a live map that no branch was left for
	scoring  *scoring      // of a score request
	live     int           // lanes, spans or scorings that have not ended
	began    time.Time     // when it was queued
	tokens   int           // emitted, over all lanes
	accepted int64         // drafted tokens that were accepted, and rejected
	rejected int64
	rows     [2]int64 // decoded by the reference, by aligned models
	passes   [2]int64 // of the models, by the same roles, that had rows of this job
	lastPass [2]int   // the engine's step that was counted last
}

// Done is closed after the last event.
func (j *Job) Done() <-chan struct{} { return j.done }

// SetLambda moves a lane's λ from the next token on, also while the request waits for room; of a live map it
// moves the focus. It does not wait for a pass of the models, but for opening a model whose weight was 0.
// Errors are Invalid for a λ outside its range, NotFound for a lane that the job does not have, and Conflict
// for one that has ended or whose λ cannot move.
func (j *Job) SetLambda(index int, v Vector) error {
	n := len(j.request.Aligned)
	if j.request.Map != nil {
		n = 1 // a place of the map
	}
	if err := CheckLambda("lambda", v, n); err != nil {
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

// Stop ends a lane as cancelled, or all lanes for -1, before the next token, and does not wait for a pass of
// the models. Stopping what has ended does nothing. The error is always nil.
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

// start makes the lanes, or the span or scoring in their place, and emits the start event.
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
	started := &PromptProgress{Tokens: j.promptTokens(), Aligned: j.alignedPrompts(), Total: j.promptLength()}
	if j.request.SeedByPrompt {
		started.Seed = &j.request.Seed
	}
	j.emit(Event{Type: EventStart, Prompt: started})
}

// encoded answers a request that only encodes.
func (j *Job) encoded(vocab Vocabulary, now time.Time) error {
	started := &PromptProgress{Tokens: j.promptTokens(), Aligned: j.alignedPrompts(), Total: j.promptLength(), Pieces: make([][]byte, len(j.promptTokens()))}
	for i, t := range j.promptTokens() {
		started.Pieces[i] = vocab.Piece(t)
	}
	for _, tokens := range append([][]Token{j.promptTokens()}, started.Aligned...) {
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
	return detokenizer{stops: j.request.Sampling.Stop, leading: ok && spaced.FirstSpace() && (len(j.request.Prompt.Messages) > 0 || j.sources != nil)}
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
		PromptTokens: j.promptLength(),
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

// takeSeq takes one of the sequences that the job was promised. There must be one.
func (j *Job) takeSeq() Seq {
	s := j.spare[len(j.spare)-1]
	j.spare = j.spare[:len(j.spare)-1]
	return s
}

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
