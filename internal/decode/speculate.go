package decode

import (
	"runtime"
	"slices"
)

// Speculation saves passes of a branch that needs two models, without changing a token: the models take turns. The one
// that has said what follows guesses the next token by itself; the other reads the last token and the guess in one
// pass of two rows. The token is chosen from what both said, as always. If it is the guess, the second row is what
// the reader says after it, so it is the reader's turn to guess; if not, the second row is forgotten, and one
// model reads the token alone.
//
// A token that follows a right guess costs one pass of two rows by one model, and another one a pass of one row besides:
// with costs t₂ and t₁ of such passes, and a share α of right guesses, t₂ + (1−α)·t₁ a token, against the cost of a
// pass of both models. All three are measured, and the cheaper way is taken. With several branches the passes of both
// models have several rows already, and all branches would have to wait for each model in turn, so none guesses.

// noGuess says that a branch has no guess.
const noGuess Token = -1

const (
	likelyMatch = 0.7 // share of right guesses that a new lane is credited with
	worthwhile  = 0.97
	staleAfter  = 400 // steps after which a cost is measured anew
	shadowEvery = 8   // steps, without guesses, between two looks at what one would have been
)

// speculation is what is known of the costs: seconds a step, of a single branch that is generating.
type speculation struct {
	both, one, two cost // one row for each of two models; one row for one of them; two rows for one
	guessing       bool // in this step
}

// Speculation says when branches guess.
type Speculation int

const (
	Measured Speculation = iota // where it is measured to be faster
	Always                      // wherever it is possible: for tests
	Never
)

// cost is a moving average.
type cost struct {
	seconds  float64
	measured int // the step when it was measured last; 0: never
}

func (c *cost) add(seconds float64, step int) {
	if c.measured > 0 {
		seconds = min(seconds, 4*c.seconds) // somebody else had the processor
		seconds = c.seconds + 0.1*(seconds-c.seconds)
	}
	c.seconds, c.measured = seconds, step
}

func (c *cost) stale(step int) bool { return c.measured == 0 || step-c.measured > staleAfter }

// plan decides whether branches guess in this step.
func (s *speculation) plan(e *Engine) {
	switch {
	case e.config.Speculation == Always:
		s.guessing = true
	case e.config.Speculation == Never, e.config.Serial, len(e.branches) != 1, len(e.branches[0].lanes) == 0, s.both.stale(e.steps):
		s.guessing = false
	case s.one.stale(e.steps), s.two.stale(e.steps):
		s.guessing = true
	default:
		s.guessing = s.two.seconds+(1-e.branches[0].guesser().match)*s.one.seconds < worthwhile*s.both.seconds
	}
}

// hopeless reports whether guesses would not pay if all were right.
func (s *speculation) hopeless() bool {
	return s.both.measured > 0 && s.two.measured > 0 && s.two.seconds >= worthwhile*s.both.seconds
}

// measure takes the time of a step.
func (s *speculation) measure(e *Engine, seconds float64) {
	if len(e.branches) != 1 || len(e.reading) > 0 {
		return
	}
	models, rows := 0, 0
	for _, x := range e.slots {
		rows += len(x.rows)
		if len(x.rows) > 0 {
			models++
		}
	}
	switch {
	case models == 2 && rows == 2:
		s.both.add(seconds, e.steps)
	case models == 1 && rows == 1 && e.branches[0].partial():
		s.one.add(seconds, e.steps)
	case models == 1 && rows == 2:
		s.two.add(seconds, e.steps)
	}
}

// partial reports whether one model has said what follows and another not yet.
func (b *branch) partial() bool {
	return slices.ContainsFunc(b.heard, func(h []heard) bool { return len(h) > 0 })
}

// guesser is the lane for which a branch guesses.
func (b *branch) guesser() *lane { return b.lanes[len(b.lanes)/2] }

// speculate plans the rows of a branch that guesses. It reports false where it does not.
func (e *Engine) speculate(b *branch) bool {
	if !e.speculation.guessing || len(b.lanes) == 0 || b.job.request.Plain {
		return false
	}
	reader, speaker, needed := -1, -1, 0
	for m, s := range b.job.slots {
		if !e.need[m] {
			continue
		}
		needed++
		if !s.model.Limits().Forgets || len(s.rows)+2 > s.model.Limits().Batch {
			return false
		}
		if len(b.heard[m]) > 0 {
			speaker = m
		} else {
			reader = m
		}
	}
	switch {
	case needed != 2 || reader < 0:
		return false
	case speaker < 0:
		// The model nearer to the mixture speaks first.
		for m := range b.job.slots {
			if e.need[m] && (m > 0) == b.nearAligned() {
				e.read(b, m, len(b.tokens))
			}
		}
		return true
	}
	end := len(b.tokens)
	l := b.guesser()
	if len(l.generated)+1 < b.job.request.Sampling.MaxTokens && len(b.tokens) < b.job.context {
		if g, ok := e.mixers[0].guess(l, b.heard[speaker][0].row, e.vocab); ok {
			b.guess = g
			end++
		}
	}
	e.read(b, reader, end)
	return true
}

// nearAligned reports whether the mixture that a branch guesses for is nearer to an aligned model than to the
// reference.
func (b *branch) nearAligned() bool { return weights(nil, b.guesser().lambda)[0] < 0.5 }

// guess is the token that a lane would choose if one model's logits were the mixture.
func (x *mixer) guess(l *lane, row []float32, vocab Vocabulary) (Token, bool) {
	if n := len(l.generated); n < len(l.spec.Prefix) {
		return l.spec.Prefix[n], true
	}
	if n := vocab.Size(); len(x.z) != n {
		x.z = make([]float64, n)
	}
	at, top := x.kernel.Mix(x.z, []float64{1}, [][]float32{row})
	if usable(top) != nil {
		return noGuess, false
	}
	return x.pick(l, at, top, false), true
}

// judge learns from the tokens that the lanes of a branch chose how often guesses are right.
func (e *Engine) judge(b *branch) {
	l := b.guesser()
	guess := b.guess
	if guess == noGuess {
		rows := b.said.rows
		near := 0
		if b.nearAligned() {
			near = len(rows) - 1
		}
		if e.steps%shadowEvery != 0 || len(e.branches) != 1 || e.config.Speculation != Measured || e.speculation.hopeless() || len(rows) != 2 || slices.ContainsFunc(rows, func(r []float32) bool { return r == nil }) {
			return
		}
		var ok bool
		if guess, ok = e.mixers[0].guess(l, rows[near], e.vocab); !ok {
			return
		}
	}
	right := 0.0
	if l.choice.event.ID == guess {
		right = 1
	}
	l.match += 0.1 * (right - l.match)
}

// remember copies what models said that is still to be used: their own memory is overwritten by their next pass.
func (e *Engine) remember() {
	for _, b := range e.branches {
		for _, list := range b.heard {
			for i := range list {
				if !list[i].own {
					list[i].row, list[i].own = slices.Clone(list[i].row), true
				}
			}
		}
	}
}

// divide gives the threads of a model that runs alone to it, where another would run at the same time otherwise.
func (e *Engine) divide() {
	active := 0
	for _, s := range e.slots {
		if len(s.rows) > 0 {
			active++
		}
	}
	for _, s := range e.slots {
		alone := active == 1 && len(s.rows) > 0 && len(s.rows) <= 2 && len(e.branches) == 1 && e.speculation.guessing
		if len(s.rows) > 0 && alone != s.alone {
			s.alone = alone
			threads := 0
			if alone {
				threads = runtime.GOMAXPROCS(0)
			}
			s.model.SetThreads(threads)
		}
	}
}
