package decode

import (
	"math"
	"math/bits"
	"slices"
)

// Speculation saves passes of branches that need two models, without changing a token: one model drafts tokens that may
// follow, and the models read the draft together with the token before it. A token is chosen from the logits of both models,
// as always. If it equals the drafted one, the draft is accepted, and what was read after it stands; if not, the draft is
// rejected, and what was read after it is trimmed. There are two schemes.
//
// Alternating: the models take turns. The model whose logits are there drafts one token by itself; the other model reads the
// last token and the drafted one in a pass of two rows, and, if the draft is accepted, drafts next.
//
// Drafting: the model nearer to the mixture drafts γ tokens, reading one after the other; the other model reads the last token
// and all of them in one pass (Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative Decoding",
// 2023, with a mixture of both models in place of the larger one).
//
// With t(n) the cost of a pass of n rows by one model and α the acceptance rate, a token costs t(2) + (1−α)·t(1) by turns
// and ((γ + α^γ)·t(1) + t(γ+1))·(1−α)/(1−α^(γ+1)) by drafts: a round gives a token for each accepted one and one more, for which
// the drafter reads its last token if all were accepted. Both are compared with a pass of both models. All costs are
// measured, and the cheapest way is taken. Several branches draft in step, one model reading for all of them; what
// their tokens cost with drafts and without is measured as a whole.

// Speculation says when branches draft.
type Speculation int

const (
	Measured    Speculation = iota // the scheme that is measured to be fastest, if any is
	Alternating                    // one scheme, wherever it is possible: for tests and measurements
	Drafting
	Never
)

const (
	initialAcceptance = 0.7 // acceptance rate that a new lane is credited with
	worthwhile        = 0.97
	staleAfter        = 1000 // steps after which a cost is measured anew
	batchStaleAfter   = 4000 // the same for what several branches cost, which takes a trial
	trialSteps        = 6    // that several branches draft to measure what it costs
	probeEvery        = 8    // steps without drafts between two checks of what a draft would have been
)

// draftLengths are the numbers of tokens γ that a draft may have.
var draftLengths = []int{3, 7}

// speculation is what is known of the costs, and this step's scheme.
type speculation struct {
	both    cost                  // seconds of a step in which one branch generates, one row for each of two models
	one     map[int]cost          // the same for rows of one model, by their number
	batches map[costKey]batchCost // of several branches, in seconds and tokens

	speculating bool
	gamma       int         // tokens of a draft; 0: the models take turns
	draftPasses int         // passes of the drafter since the other model's last one
	trial       int         // steps that are left of a trial
	reader      *modelState // that reads for all branches that draft
	tokens      int         // chosen in this step, over all branches
}

// costKey names a measurement of several branches: about how many there are, and whether they draft.
type costKey struct {
	size        int // bits of the number of branches: log₂, rounded down, plus 1
	speculating bool
}

func (e *Engine) costKey(speculating bool) costKey {
	return costKey{bits.Len(uint(len(e.branches))), speculating}
}

// batchCost is what tokens cost several branches: moving sums of seconds and of tokens.
type batchCost struct {
	seconds, tokens float64
	measured        int
}

func (p batchCost) add(seconds float64, tokens, step int) batchCost {
	return batchCost{0.9*p.seconds + seconds, 0.9*p.tokens + float64(tokens), step}
}

func (p batchCost) stale(step int) bool { return p.measured == 0 || step-p.measured > batchStaleAfter }

// cost is a moving average. It begins with the better of two measurements, and begins anew when it is stale: the first
// pass of a kind that was not made for long finds threads asleep.
type cost struct {
	seconds  float64
	measured int // the step when it was measured last; 0: never
	begun    int // measurements of the beginning, 2 at most
}

func (c cost) add(seconds float64, step int) cost {
	switch {
	case c.stale(step):
		return cost{seconds, step, 1}
	case c.begun == 1:
		return cost{min(c.seconds, seconds), step, 2}
	}
	seconds = min(seconds, 4*c.seconds) // somebody else had the processor
	return cost{c.seconds + 0.1*(seconds-c.seconds), step, 2}
}

func (c cost) stale(step int) bool { return c.measured == 0 || step-c.measured > staleAfter }

func (c cost) unsure(step int) bool { return c.stale(step) || c.begun < 2 }

// plan decides whether branches draft in this step, how, and which model reads for those that do.
func (s *speculation) plan(e *Engine) {
	gamma := s.gamma
	s.speculating, s.gamma = s.scheme(e)
	s.tokens, s.reader = 0, nil
	switch {
	case !s.speculating:
		s.draftPasses = 0
	case s.gamma == 0:
		s.reader = e.mostAwaited()
	default:
		drafter, other := e.firstDraftModels()
		if s.gamma != gamma || s.draftPasses >= s.gamma {
			s.reader, s.draftPasses = other, 0
		} else {
			s.reader = drafter
			s.draftPasses++
		}
	}
}

// scheme is the cheapest way: whether to draft, and how many tokens (0: the models take turns).
func (s *speculation) scheme(e *Engine) (speculating bool, gamma int) {
	switch e.config.Speculation {
	case Never:
		return false, 0
	case Alternating:
		return true, 0
	case Drafting:
		return true, draftLengths[0]
	}
	if near, _ := e.firstDraftModels(); near == nil || e.config.Serial {
		return false, 0
	}
	if len(e.branches) > 1 {
		with, without := s.batches[e.costKey(true)], s.batches[e.costKey(false)]
		switch {
		case s.trial > 0:
			s.trial--
			return true, 0
		case without.stale(e.steps), s.neverPays():
			return false, 0
		case with.stale(e.steps):
			s.trial = trialSteps
			return true, 0
		}
		return with.seconds*without.tokens < worthwhile*without.seconds*with.tokens, 0
	}
	switch {
	case s.both.stale(e.steps):
		return false, 0
	case s.one[1].stale(e.steps), s.one[2].unsure(e.steps):
		return true, 0
	}
	match := min(e.branches[0].draftLane().acceptance, 0.999)
	t1, best := s.one[1].seconds, worthwhile*s.both.seconds
	if byTurns := s.one[2].seconds + (1-match)*t1; byTurns < best {
		speculating, best = true, byTurns
	}
	for _, g := range draftLengths {
		all := math.Pow(match, float64(g))
		tokens := (1 - all*match) / (1 - match)
		if verify := s.one[g+1]; !verify.unsure(e.steps) {
			if byDraft := ((float64(g)+all)*t1 + verify.seconds) / tokens; byDraft < best {
				speculating, gamma, best = true, g, byDraft
			}
		} else if ((float64(g)+all)*t1+s.one[2].seconds)/tokens < best { // could be, if more rows cost no more: find out
			return true, g
		}
	}
	return speculating, gamma
}

// neverPays reports whether drafts would not pay even if all were accepted: they, too, need a pass for each token and another
// one of at least two rows, and the more rows passes have already, the less is saved by adding some.
func (s *speculation) neverPays() bool {
	two := s.one[2]
	return s.both.measured > 0 && two.measured > 0 && min(two.seconds, s.one[1].seconds+two.seconds/float64(slices.Max(draftLengths)+1)) >= worthwhile*s.both.seconds
}

// measure takes the time of a step.
func (s *speculation) measure(e *Engine, seconds float64) {
	if len(e.reading) > 0 {
		return
	}
	if s.one == nil {
		s.one, s.batches = map[int]cost{}, map[costKey]batchCost{}
	}
	if len(e.branches) > 1 {
		key := e.costKey(s.speculating)
		s.batches[key] = s.batches[key].add(seconds, s.tokens, e.steps)
		return
	}
	models, rows := 0, 0
	for _, x := range e.models {
		rows += len(x.rows)
		if len(x.rows) > 0 {
			models++
		}
	}
	switch {
	case models == 2 && rows == 2:
		s.both = s.both.add(seconds, e.steps)
	case models == 1 && s.speculating:
		s.one[rows] = s.one[rows].add(seconds, e.steps)
	}
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
	s := &e.speculation
	if !s.speculating {
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
	case s.gamma > 0 && e.extendDraft(b, reader):
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
		if e.steps%probeEvery != 0 || len(e.branches) != 1 || e.config.Speculation != Measured || e.speculation.neverPays() || len(rows) != 2 || slices.ContainsFunc(rows, func(r []float32) bool { return r == nil }) {
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
