package decode

import "realign/internal/fault"

// lane is one stream of tokens of a job, or one particle of such a stream. It is made when its job starts,
// belongs to the engine's loop, and ends with one end event; a particle ends without.
type lane struct {
	spec        Lane // as the request has it; Index and Sample name it in events
	job         *Job
	lambda      Vector      // in force for the next token
	generated   []Token     // chosen or given, the newest last; the end token is among them
	changes     []Change    // of the request, still to come
	detokenizer detokenizer // holds token events back until their text can be shown
	ended       bool        // an end event was emitted, or, of a particle, it goes on no further
	choice      choice      // of this step
	totals      *Totals     // sums over the tokens so far; nil before the first, and where they are not asked for
	acceptance  float64     // 0 to 1: how often the drafted token was the chosen one, lately (moving average)

	// Both are nil for an ordinary lane. A lane with a population is on no branch: its particles are.
	population *population // its particles, where it is decoded by some
	particle   *particle   // where this is one of them
	exact      *Exact      // what its end event tells of the particles
}

// setLambda moves λ and emits an event that says from which token on. Without a change there is no event.
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

// follow emits the lane's choice and ends the lane where an end token, a stop string or a limit says so. length is
// the number of tokens of its history, this one included. It reports whether the lane goes on.
func (l *lane) follow(vocab Vocabulary, length int) bool {
	if l.particle != nil {
		return l.grow(vocab, length)
	}
	event := l.choice.event
	if l.choice.err != nil {
		l.end(EndError, &Error{Code: string(fault.Internal), Message: l.choice.err.Error()})
		return false
	}
	l.generated = append(l.generated, event.ID)
	l.job.tokens++
	piece := vocab.Piece(event.ID)
	if l.job.request.Trace.Bytes {
		event.Bytes = piece
	}
	l.detokenizer.add(event, piece)
	chosen := event.ID
	if event.Index < len(l.spec.Prefix) {
		chosen = noToken
	}
	if reason := l.job.ending(chosen, &l.detokenizer, len(l.generated), length); reason != "" {
		l.end(reason, nil)
	} else {
		l.detokenizer.release(false, l.job.emit)
	}
	return !l.ended
}

// noToken is no token: every token of a vocabulary is 0 or more.
const noToken Token = -1

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
