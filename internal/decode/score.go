package decode

import (
	"math"
	"sync"
	"sync/atomic"

	"realign/internal/fault"
)

// Score asks for the log-probabilities of the prompt's own tokens instead of lanes: under each model and under mixtures of
// them. The models read the prompt once, in chunks, whatever the number of λ, since their logits do not depend on it.
type Score struct {
	// Lambda are the mixtures: up to MaxEvaluate of them, one λ per aligned model each.
	Lambda []Vector `json:"lambda"`

	// Alternatives is how many of the most probable tokens are listed for each mixture, best first.
	Alternatives int `json:"alternatives,omitempty"`
}

// MaxScoreAlternatives limits Score.Alternatives.
const MaxScoreAlternatives = 20

// Scored is what the models and the mixtures say about one token of a prompt, given those before it. Log-probabilities are
// natural and of the distributions before temperature and truncation; for what has none (a model of weight 0 that was
// not read) they are NaN, which JSON has as null.
type Scored struct {
	ID   Token  `json:"id"`   // in the pair's vocabulary
	Name string `json:"name"` // as shown to a person
	Text []byte `json:"text"` // the bytes that it stands for

	Reference Vector `json:"reference"` // one number: log p under the reference
	Aligned   Vector `json:"aligned"`   // one per aligned model
	Mixture   Vector `json:"mixture"`   // one per λ of the request

	Top [][]Alternative `json:"top,omitempty"` // one list per λ
}

// validate checks a score request over n aligned models.
func (s *Score) validate(n int, r *Request) error {
	switch {
	case len(r.Lanes) > 0 || r.Map != nil:
		return fault.Field("score", "does not go with lanes or a λ-map")
	case r.Plain:
		return fault.Field("plain", "does not go with a score: its plain twin is a lane with the prompt as its prefix")
	case len(s.Lambda) == 0 || len(s.Lambda) > MaxEvaluate:
		return fault.Field("lambda", "%d λ, where 1 to %d can be scored at once", len(s.Lambda), MaxEvaluate)
	case s.Alternatives < 0 || s.Alternatives > MaxScoreAlternatives:
		return fault.Field("alternatives", "%d is outside 0 to %d", s.Alternatives, MaxScoreAlternatives)
	}
	for _, v := range s.Lambda {
		if err := CheckLambda("lambda", v, n); err != nil {
			return err
		}
	}
	return nil
}

// scoring is a score request while it is being computed. It belongs to one branch, which reads the prompt, and
// ends when all of it is scored.
type scoring struct {
	job   *Job // whose request it is
	ended bool // an end event was emitted
	done  int  // tokens of the prompt after which the distributions are known
}

// end ends the scoring; the caller settles its branch.
func (s *scoring) end(reason string, cause *Error) {
	if s == nil || s.ended {
		return
	}
	s.ended = true
	s.job.live--
	s.job.emit(Event{Type: EventEnd, Index: s.done, Reason: reason, Error: cause})
}

// needs adds to dst the models that the mixtures of a score depend on: those of weight ≠ 0 in some of them.
func (s *Score) needs(dst []bool) {
	var room [MaxAligned + 1]float64
	for _, v := range s.Lambda {
		for i, w := range weights(room[:0], v) {
			dst[i] = dst[i] || w != 0
		}
	}
}

// collectScore keeps a row for this step's scores. pos is the token's place in the prompt.
func (b *branch) collectScore(model, pos int, row []float32) {
	at := pos - b.scoring.done
	for len(b.scored) <= at {
		b.scored = append(b.scored, make([][]float32, len(b.job.models)))
	}
	b.scored[at][model] = row
}

// scores reports what the logits of this step say about the prompts that are scored, position by position. Models that
// are needed read the same positions in the same pass: they begin together and go on by the same number of tokens.
func (e *Engine) scores() {
	// Of a copy: settle takes branches that have ended from the engine's.
	for _, b := range append([]*branch(nil), e.branches...) {
		if b.scoring == nil || !b.live() || len(b.scored) == 0 {
			continue
		}
		rows := b.scored
		for i := range rows {
			rows[i] = b.job.compose(rows[i])
		}
		found := make([]Scored, len(rows))
		failed := make([]error, len(rows))
		var next atomic.Int64
		work := func(x *mixer) {
			for i := next.Add(1) - 1; i < int64(len(rows)); i = next.Add(1) - 1 {
				found[i], failed[i] = x.score(b.job, rows[i], b.tokens, b.scoring.done+int(i), e.vocab)
			}
		}
		var wait sync.WaitGroup
		for i := 1; i < min(len(e.mixers), len(rows)); i++ {
			wait.Go(func() { work(&e.mixers[i]) })
		}
		work(&e.mixers[0])
		wait.Wait()
		b.scored = nil
		for i := range found {
			if failed[i] != nil {
				b.scoring.end(EndError, &Error{Code: string(fault.Internal), Message: failed[i].Error()})
				break
			}
			b.scoring.done++
			b.job.emit(Event{Type: EventScore, Index: b.scoring.done, Scored: &found[i]})
		}
		if b.scoring.done == len(b.tokens) {
			b.scoring.end(EndStop, nil)
		}
		if b.scoring.ended {
			e.settle(b)
		}
	}
}

// score is what the rows after position at say about the token that follows it. Behind the last token of the
// prompt that is the most probable one under the first mixture. rows are those of the reference and of the
// aligned models; one that was not needed is nil, and its log-probability NaN.
func (x *mixer) score(j *Job, rows [][]float32, tokens []Token, at int, vocab Vocabulary) (Scored, error) {
	request := j.request.Score
	s := Scored{ID: -1}
	if at+1 < len(tokens) {
		s.ID = tokens[at+1]
	}
	if n := vocab.Size(); len(x.z) != n {
		x.z = make([]float64, n)
	}
	for i, v := range request.Lambda {
		x.w = weights(x.w, v)
		best, top := x.kernel.Mix(x.z, x.w, rows)
		if err := usable(top); err != nil {
			return s, err
		}
		logSum := top + math.Log(x.kernel.Expect(nil, x.z, top, nil))
		// Behind the last token there is none to score: the likeliest at the first λ stands for it.
		if i == 0 && s.ID < 0 {
			s.ID = Token(best)
		}
		s.Mixture = append(s.Mixture, finite(x.z[s.ID]-logSum))
		if request.Alternatives > 0 {
			s.Top = append(s.Top, mostProbable(x.kernel, x.z, logSum, request.Alternatives, vocab))
		}
	}
	for m, row := range rows {
		logp := math.NaN()
		if row != nil {
			top, logSum := x.kernel.Sum(row)
			if err := usable(top); err != nil {
				return s, err
			}
			logp = finite(float64(row[s.ID]) - logSum)
		}
		if m == 0 {
			s.Reference = Vector{logp}
		} else {
			s.Aligned = append(s.Aligned, logp)
		}
	}
	s.Name, s.Text = vocab.Name(s.ID), vocab.Piece(s.ID)
	return s, nil
}
