package decode

import (
	"fmt"
	"slices"

	"realign/internal/fault"
)

// modelState is one model of the pair with the rows of its next pass. It is made when a request first names the
// model, and lives as long as the engine. It belongs to the loop; while a pass is made, to that pass's
// goroutine.
type modelState struct {
	name  string // "reference", an aligned model's name, an untuned one's, or blendName
	model Model  // unopened until it is used
	vocab int    // tokens that the model itself has; all of the pair's until it is used
	rows  []Row  // of this step's pass
	err   error  // why the pass failed; nil after fail has told it

	sources   [][]Token  // of an encoder–decoder model: what it holds, or will with its next pass, by number
	encodings []encoding // of the next pass

	summaries []rowSummary // of each row of the pass
	readers   []reader     // whose row it is
	threads   int          // of the model's passes; 0: what it was opened with
}

// reader names whose row it is: a branch, and the place of the model in the models of the branch's job.
type reader struct {
	branch *branch
	model  int // 0 is the reference
}

// rowSummary is what the trace needs of one logits row: its log Σ exp and its most probable tokens.
type rowSummary struct {
	traced       bool          // whether the rest is asked for
	alternatives int           // how many of the most probable tokens are wanted
	logSum       float64       // log Σ exp of the row
	top          []Alternative // most probable tokens, best first; none if none are wanted
	err          error         // logits that no distribution has
}

// pass decodes the planned rows and sums up the traced ones: work that runs for all models at the same
// time.
func (s *modelState) pass(k Kernel, vocab Vocabulary) {
	if s.err = s.encode(); s.err != nil {
		return
	}
	if s.err = s.model.Forward(s.rows); s.err == nil {
		s.sum(k, vocab)
	}
}

// sum sums up what the traced rows of the last pass say.
func (s *modelState) sum(k Kernel, vocab Vocabulary) {
	for i := range s.summaries {
		r := &s.summaries[i]
		if !r.traced {
			continue
		}
		row := s.model.Logits(i)
		var top float64
		top, r.logSum = k.Sum(row)
		if r.err = usable(top); r.err == nil {
			r.top = mostProbableOfRow(k, row, r.logSum, r.alternatives, vocab)
		}
	}
}

// unopened stands for a model that no request has needed yet: it reads nothing, and holds nothing.
type unopened struct{ limits Limits }

func (u unopened) Limits() Limits         { return u.limits }
func (unopened) Forward([]Row) error      { return fmt.Errorf("the model is not open") }
func (unopened) Logits(int) []float32     { return nil }
func (unopened) Copy(_, _ Seq, _ int) int { return 0 }
func (unopened) Trim(Seq, int) bool       { return true }
func (unopened) SetThreads(int)           {}
func (unopened) Close() error             { return nil }

// modelState finds or makes the slot of an aligned model. The loop calls it.
func (e *Engine) modelState(name string) *modelState {
	for _, s := range e.models[1:] {
		if s.name == name {
			return s
		}
	}
	s := &modelState{name: name, model: unopened{e.limits}, vocab: e.vocab.Size()}
	e.models = append(e.models, s)
	return s
}

// prepare opens the wanted ones of some aligned models, on the goroutine of its caller: that can take as long as reading a
// large file, and whatever else is decoded goes on meanwhile. A name that the pair does not have is an error, wanted or not.
func (e *Engine) prepare(names []string, wanted []bool) error {
	for i, name := range names {
		if !slices.Contains(e.pair.AlignedNames(), name) {
			return fault.New(fault.NotFound, "the pair has no aligned model %q", name)
		}
		if !wanted[i] {
			continue
		}
		if err := e.open(name); err != nil {
			return err
		}
		if untuned, ok := e.untuned(name); ok {
			if err := e.open(untuned); err != nil {
				return err
			}
		}
	}
	return nil
}

// open opens an aligned model unless it is open.
func (e *Engine) open(name string) error {
	if _, open := e.opened.Load(name); open {
		return nil
	}
	m, err := e.pair.Aligned(name)
	if err != nil {
		return err
	}
	v := m.Limits().Vocab
	if v > e.vocab.Size() {
		m.Close()
		return fault.Field("aligned", "%s has %d tokens, the pair's vocabulary %d", name, v, e.vocab.Size())
	}
	wide := widen(m, e.vocab.Size())
	if !e.do(func() {
		if s := e.modelState(name); !isOpen(s) { // it is the same one if two callers opened it
			s.model, s.vocab = wide, v
		}
	}) {
		return errClosed
	}
	e.opened.Store(name, true)
	return nil
}

// isOpen reports whether a slot has its model.
func isOpen(s *modelState) bool {
	_, not := s.model.(unopened)
	return !not
}

// errClosed is what requests to a closed engine get.
var errClosed = fault.New(fault.Unavailable, "the engine is closed")

// wants reports for each aligned model of a request whether its answer depends on it: a trace, a map and an evaluation depend on all,
// lanes and scores on those that λ gives a weight.
func (r *Request) wants() []bool {
	wanted := make([]bool, len(r.Aligned))
	all := !r.Trace.Off || r.Map != nil || len(r.Evaluate) > 0
	for i := range wanted {
		wanted[i] = all
		for _, l := range r.Lanes {
			wanted[i] = wanted[i] || l.Lambda[i] != 0
			for _, c := range l.Changes {
				wanted[i] = wanted[i] || c.Lambda[i] != 0
			}
		}
		if r.Score != nil {
			for _, v := range r.Score.Lambda {
				wanted[i] = wanted[i] || v[i] != 0
			}
		}
	}
	return wanted
}
