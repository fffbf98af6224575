package decode

import "slices"

// Drafts save passes of branches that need two models, without changing a token: one model drafts tokens that may follow, and
// the models read the draft together with the token before it. A token is chosen from the logits of both models, as always.
// If it equals the drafted one, the draft is accepted, and what was read after it stands; if not, the draft is rejected, and
// what was read after it is trimmed. There are two schemes.
//
// Alternating: the models take turns. The model whose logits are there drafts one token by itself; the other model reads the
// last token and the drafted one in a pass of two rows, and, if the draft is accepted, drafts next.
//
// Drafting: the model nearer to the mixture drafts γ tokens, reading one after the other; the other model reads the last token
// and all of them in one pass (Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative Decoding",
// 2023, with a mixture of both models in place of the larger one).
//
// Several branches draft in step, one model reading for all of them. Whether a step drafts, and by which scheme, a Speculator says.

// Speculator says before each step whether branches draft what may follow, and how. An engine's loop alone calls it; package
// speculate has those that there are.
type Speculator interface {
	// Scheme is how the next step drafts. It is asked once a step, where any branch can draft.
	Scheme(Outlook) Scheme

	// Measure takes what a step took in which no branch read its prompt.
	Measure(StepCost)
}

// Outlook is what is known before a step.
type Outlook struct {
	Step       int     // its number, from 1
	Branches   int     // that are being decoded, 1 at least
	Acceptance float64 // share of the first branch's drafts that are accepted, as estimated so far
}

// Scheme is how branches draft in a step. The zero Scheme is that they do not.
type Scheme struct {
	Draft  bool
	Length int  // tokens γ of a draft, all of which one model makes; 0: the models take turns
	Probe  bool // without drafts: what would have been drafted is compared with what is chosen, which estimates Acceptance
}

// StepCost is what a step took.
type StepCost struct {
	Step     int // its number
	Branches int // that were decoded
	Scheme   Scheme
	Models   int     // that made a pass
	Rows     int     // of all of them
	Tokens   int     // chosen, over all branches
	Seconds  float64 // of the whole step
}

const initialAcceptance = 0.7 // acceptance rate that a new lane is credited with

// drafting is how the branches draft in this step. The engine's loop owns it.
type drafting struct {
	speculator  Speculator  // nil: they never do
	scheme      Scheme      // of this step
	draftPasses int         // passes of the drafter since the other model's last one
	reader      *modelState // that reads for all branches that draft
	tokens      int         // chosen in this step, over all branches
}

// plan decides whether branches draft in this step, how, and which model reads for those that do.
func (s *drafting) plan(e *Engine) {
	if s.speculator == nil || e.encodes() {
		return // no branch ever drafts
	}
	length := s.scheme.Length
	s.scheme, s.tokens, s.reader = Scheme{}, 0, nil
	near, far := e.firstDraftModels()
	if near != nil {
		s.scheme = s.speculator.Scheme(Outlook{Step: e.steps, Branches: len(e.branches), Acceptance: e.branches[0].acceptance()})
	}
	switch {
	case !s.scheme.Draft:
		s.draftPasses = 0
	case s.scheme.Length == 0:
		s.reader = e.mostAwaited()
	case s.scheme.Length != length || s.draftPasses >= s.scheme.Length:
		s.reader, s.draftPasses = far, 0
	default:
		s.reader = near
		s.draftPasses++
	}
}

// measure takes the seconds of a step.
func (s *drafting) measure(e *Engine, seconds float64) {
	if s.speculator == nil || len(e.reading) > 0 {
		return
	}
	c := StepCost{Step: e.steps, Branches: len(e.branches), Scheme: s.scheme, Tokens: s.tokens, Seconds: seconds}
	for _, x := range e.models {
		c.Rows += len(x.rows)
		if len(x.rows) > 0 {
			c.Models++
		}
	}
	s.speculator.Measure(c)
}

// acceptance is the share of the branch's drafts that are accepted, as its lane in the middle estimates it.
func (b *branch) acceptance() float64 {
	if len(b.lanes) == 0 {
		return initialAcceptance
	}
	return b.draftLane().acceptance
}

// draftLane is the lane that a branch drafts for.
func (b *branch) draftLane() *lane { return b.lanes[len(b.lanes)/2] }

// nearAligned reports whether the mixture that a branch drafts for is nearer to an aligned model than to the
// reference.
func (b *branch) nearAligned() bool { return weights(nil, b.draftLane().lambda)[0] < 0.5 }

// draftModels are the two models that a branch can draft with, the one nearer to its mixture first, as positions in its
// job's models. It reports false for a branch that cannot.
func (e *Engine) draftModels(b *branch) (near, far int, ok bool) {
	if len(b.lanes) == 0 || b.job.request.Plain || b.job.exact() {
		return 0, 0, false
	}
	e.need = b.needs(e.need)
	var models []int
	for m, s := range b.job.models {
		if !e.need[m] {
			continue
		}
		if !s.model.Limits().Forgets || len(b.pending[m]) == 0 && b.length(m)-b.have[m] != 1 {
			return 0, 0, false // it cannot forget, or has more to read
		}
		models = append(models, m)
	}
	if len(models) != 2 {
		return 0, 0, false
	}
	if b.nearAligned() {
		return models[1], models[0], true
	}
	return models[0], models[1], true
}

// firstDraftModels are the draft models of the first branch that has any, the nearer one first.
func (e *Engine) firstDraftModels() (near, far *modelState) {
	for _, b := range e.branches {
		if n, f, ok := e.draftModels(b); ok {
			return b.job.models[n], b.job.models[f]
		}
	}
	return nil, nil
}

// mostAwaited is the model that most drafting branches wait for: its logits after the last token are missing.
func (e *Engine) mostAwaited() (most *modelState) {
	count := map[*modelState]int{}
	for _, b := range e.branches {
		near, far, ok := e.draftModels(b)
		if !ok {
			continue
		}
		for _, m := range []int{near, far} {
			if s := b.job.models[m]; len(b.pending[m]) == 0 {
				if count[s]++; most == nil || count[s] > count[most] {
					most = s
				}
			}
		}
	}
	return most
}

// speculate plans the rows of a branch that drafts. It reports false where it does not.
func (e *Engine) speculate(b *branch) bool {
	s := &e.drafting
	if !s.scheme.Draft {
		return false
	}
	near, far, ok := e.draftModels(b)
	if !ok {
		return false
	}
	reader, other := near, far
	switch {
	case b.job.models[far] == s.reader, b.job.models[near] != s.reader && len(b.pending[near]) > 0:
		reader, other = far, near
	}
	if x := b.job.models[reader]; len(x.rows)+len(b.draft)+2 > x.model.Limits().Batch {
		return false
	}
	switch {
	case len(b.pending[reader]) == 0:
		if len(b.pending[other]) > 0 {
			e.extendDraft(b, other)
		}
		e.read(b, reader, b.length(reader)+len(b.draft))
	case s.scheme.Length > 0 && e.extendDraft(b, reader):
		e.read(b, reader, b.length(reader)+len(b.draft))
	}
	return true
}

// extendDraft lets a model of a branch draft the token after the last one it read. It reports false where there is nothing to
// draft, or that was done before.
func (e *Engine) extendDraft(b *branch, speaker int) bool {
	l, n := b.draftLane(), len(b.draft)
	if n != b.drafted[speaker] || len(l.generated)+n+1 >= b.job.request.Sampling.MaxTokens || len(b.tokens)+n >= b.job.context {
		return false
	}
	g, ok := e.mixers[0].draftToken(l, b.draft, b.pending[speaker][n].row, e.vocab)
	if ok = ok && b.known(g); ok {
		b.draft = append(b.draft, g)
	}
	return ok
}

// draftToken is the token that a lane would choose, after its tokens and the draft so far, if one model's logits were
// the mixture.
func (x *mixer) draftToken(l *lane, so []Token, row []float32, vocab Vocabulary) (Token, bool) {
	n := len(l.generated)
	l.generated = append(l.generated, so...)
	defer func() { l.generated = l.generated[:n] }()
	if n := len(l.generated); n < len(l.spec.Prefix) {
		return l.spec.Prefix[n], true
	}
	if n := vocab.Size(); len(x.z) != n {
		x.z = make([]float64, n)
	}
	at, top := x.kernel.Mix(x.z, []float64{1}, [][]float32{row})
	if usable(top) != nil {
		return 0, false
	}
	return x.pick(l, at, top, false), true
}

// updateAcceptance updates the acceptance rate of a lane from the token that it chose.
func (e *Engine) updateAcceptance(b *branch) {
	l := b.draftLane()
	var drafted Token
	if len(b.draft) > 0 {
		drafted = b.draft[0]
	} else {
		rows := b.rows.rows
		near := 0
		if b.nearAligned() {
			near = len(rows) - 1
		}
		if !e.drafting.scheme.Probe || len(e.branches) != 1 || len(rows) != 2 || slices.ContainsFunc(rows, func(r []float32) bool { return r == nil }) {
			return
		}
		var ok bool
		if drafted, ok = e.mixers[0].draftToken(l, nil, rows[near], e.vocab); !ok {
			return
		}
	}
	right := 0.0
	if l.choice.event.ID == drafted {
		right = 1
	}
	l.acceptance += 0.1 * (right - l.acceptance)
}

// copyPendingLogits copies the logits rows that are still to be used: the models overwrite theirs in the next pass.
func (e *Engine) copyPendingLogits() {
	for _, b := range e.branches {
		for _, list := range b.pending {
			for i := range list {
				if !list[i].copied {
					list[i].row, list[i].copied = slices.Clone(list[i].row), true
				}
			}
		}
	}
}
