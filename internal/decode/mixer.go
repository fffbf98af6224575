package decode

import (
	"cmp"
	"math"
	"slices"
)

// modelRows is the models' logits after one history: the rows that one step's passes gave for a branch. It is
// loaded before lanes choose, and holds until the branch moves on. Its slices have one entry per model: the
// reference, then the request's aligned models.
type modelRows struct {
	rows    [][]float32     // logits; nil where not needed
	logSums []float64       // log Σ exp of each row, when traced
	tops    [][]Alternative // most probable tokens of each row, when traced
	err     error           // why a row has no distribution
}

// load takes the first pending row of each model of the branch, and composes the rows of proxies.
func (p *modelRows) load(e *Engine, b *branch) {
	p.rows, p.logSums, p.tops, p.err = p.rows[:0], p.logSums[:0], p.tops[:0], nil
	traced := !b.job.request.Trace.Off && b.span == nil
	for m, list := range b.pending {
		switch {
		case b.lost(m): // it has no distribution, and whatever is said is impossible under it
			p.rows, p.logSums, p.tops = append(p.rows, e.silence()), append(p.logSums, 0), append(p.tops, nil)
		case len(list) == 0:
			p.rows = append(p.rows, nil)
		default:
			said := list[0].rowSummary
			p.rows, p.logSums, p.tops = append(p.rows, list[0].row), append(p.logSums, said.logSum), append(p.tops, said.top)
			if traced {
				p.err = cmp.Or(p.err, said.err)
			}
		}
	}
	p.compose(e, b, traced)
}

// choice is what a lane decodes next. A mixer makes it; advance carries it out.
type choice struct {
	event Event // of the token
	err   error // logits that cannot be used: the lane ends
}

// mixer turns the logits of the models into the next tokens of lanes. It owns the buffers for that, and changes nothing
// else, so that several can work at the same time.
type mixer struct {
	kernel    Kernel     // the engine's
	z, far    []float64  // mixtures, one entry a token; far: at the other end of a span
	w         []float64  // factors of the rows in the mixture, of the last call
	d         divergence // of z, where the trace or a particle needs it
	chooser   chooser
	penalties penalties
}

// choose finds a lane's next token and its trace, and changes nothing of the lane. A given token of the lane's
// prefix is traced as if it had been chosen.
func (x *mixer) choose(l *lane, logits *modelRows, vocab Vocabulary) choice {
	if logits.err != nil {
		return choice{err: logits.err}
	}
	if n := vocab.Size(); len(x.z) != n {
		x.z = make([]float64, n)
	}
	x.w = l.factors(x.w)
	at, top := x.kernel.Mix(x.z, x.w, logits.rows)
	if err := usable(top); err != nil {
		return choice{err: err}
	}
	trace := l.job.request.Trace
	// A particle's weight needs the normaliser, whether or not it is traced.
	if !trace.Off || l.particle != nil {
		x.d.fill(x.kernel, x.z, top, x.w, logits.rows, logits.logSums)
	}
	event := Event{
		Type: EventToken, Lane: l.spec.Index, Lambda: l.lambda, Sample: l.spec.Sample, Index: len(l.generated),
	}
	if event.Index < len(l.spec.Prefix) {
		event.ID = l.spec.Prefix[event.Index]
	} else {
		event.ID = x.pick(l, at, top, !trace.Off || l.particle != nil)
	}
	if !trace.Off {
		x.trace(&event, logits, vocab, trace.Alternatives)
		if l.job.request.inWeights() {
			event.alone()
		}
	} else if l.particle != nil {
		logZ := finite(x.d.logZ)
		event.LogZ = &logZ
	}
	return choice{event: event}
}

// pick applies bias and penalties, chooses, and takes them back.
func (x *mixer) pick(l *lane, at int, top float64, traced bool) Token {
	s := &l.job.request.Sampling
	g := l.noise()
	if !penalised(s) {
		return Token(x.chooser.choose(x.kernel, x.z, at, top, s, g))
	}
	logSum := x.d.logSum
	if !traced && repeatOn(s) {
		logSum = top + math.Log(x.kernel.Expect(nil, x.z, top, nil))
	}
	x.penalties.apply(x.z, logSum, l.generated, s)
	defer x.penalties.undo(x.z)
	at, top = maximum(x.z)
	if usable(top) != nil { // every token was biased away: there is nothing left but the mixture itself
		x.penalties.undo(x.z)
		at, top = maximum(x.z)
	}
	return Token(x.chooser.choose(x.kernel, x.z, at, top, s, g))
}

// trace fills in what the distributions before temperature and truncation say about the chosen token and the
// prefix.
func (x *mixer) trace(event *Event, logits *modelRows, vocab Vocabulary, alternatives int) {
	t := event.ID
	logp := &Logp{Reference: finite(float64(logits.rows[0][t]) - logits.logSums[0]), Mixture: finite(x.z[t] - x.d.logSum)}
	for i, row := range logits.rows[1:] {
		logp.Aligned = append(logp.Aligned, finite(float64(row[t])-logits.logSums[i+1]))
	}
	kl, logZ := finite(x.d.klReference), finite(x.d.logZ)
	event.Logp, event.KLReference, event.LogZ = logp, &kl, &logZ
	for _, kl := range x.d.klAligned {
		event.KLAligned = append(event.KLAligned, finite(kl))
	}
	event.Name = vocab.Name(t)
	if alternatives > 0 {
		event.Top = &Top{
			Reference: logits.tops[0], Aligned: slices.Clone(logits.tops[1:]),
			Mixture: mostProbable(x.kernel, x.z, x.d.logSum, alternatives, vocab),
		}
	}
}

// mostProbable lists the n largest logits of a mixture, largest first, ties in the order of tokens.
func mostProbable(k Kernel, z []float64, logSum float64, n int, vocab Vocabulary) []Alternative {
	best := make([]Token, min(n, len(z)))
	k.Top(best, z)
	return alternatives(best, z, logSum, vocab)
}

// mostProbableOfRow is mostProbable for the logits of one model.
func mostProbableOfRow(k Kernel, row []float32, logSum float64, n int, vocab Vocabulary) []Alternative {
	best := make([]Token, min(n, len(row)))
	k.TopOfRow(best, row)
	return alternatives(best, row, logSum, vocab)
}

// alternatives are tokens with their log-probabilities; nil without any.
func alternatives[F float32 | float64](tokens []Token, z []F, logSum float64, vocab Vocabulary) (list []Alternative) {
	for _, t := range tokens {
		list = append(list, Alternative{ID: t, Name: vocab.Name(t), Logp: finite(float64(z[t]) - logSum)})
	}
	return list
}

// finite is x, or the largest number JSON can hold, with its sign, where a model rules a token out altogether.
func finite(x float64) float64 {
	return max(min(x, math.MaxFloat64), -math.MaxFloat64)
}
