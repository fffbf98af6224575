package decode

import (
	"cmp"
	"math"

	"realign/internal/fault"
)

// mixer turns the logits of one branch into the next tokens of its lanes. It owns the buffers for that.
type mixer struct {
	branch  *branch
	rows    [][]float32 // per model, nil where not needed
	logSums []float64   // of the rows, when traced
	tops    [][]Alternative
	err     error // of a row

	z         []float64
	w         []float64
	buffers   buffers
	d         divergence
	chooser   chooser
	penalties penalties
}

// load points the mixer at the rows of a branch.
func (x *mixer) load(b *branch) {
	x.branch, x.err = b, nil
	x.rows, x.logSums, x.tops = x.rows[:0], x.logSums[:0], x.tops[:0]
	for m, s := range b.job.slots {
		i := b.rows[m]
		if i < 0 {
			x.rows = append(x.rows, nil)
			continue
		}
		x.rows = append(x.rows, s.model.Logits(i))
		if s.traced[i] {
			x.logSums = append(x.logSums, s.logSums[i])
			x.err = cmp.Or(x.err, s.bad[i])
		}
	}
	if size := b.job.engine.vocab.Size(); x.z == nil {
		x.z, x.buffers.p = make([]float64, size), make([]float64, size)
	}
}

// next chooses a lane's next token, emits it, and ends the lane if that was its last. It reports whether the
// lane goes on.
func (x *mixer) next(e *Engine, l *lane) (Token, bool) {
	if x.err != nil {
		return 0, l.fail(x.err)
	}
	j := l.job
	x.w = weights(x.w, l.lambda)
	mix(x.z, x.w, x.rows)
	at, top, err := maximum(x.z)
	if err != nil {
		return 0, l.fail(err)
	}
	traced := !j.request.Trace.Off
	if traced {
		diverge(&x.d, x.z, top, x.w, x.rows, x.logSums, &x.buffers)
	}
	position := len(l.generated)
	var t Token
	if position < len(l.spec.Prefix) {
		t = l.spec.Prefix[position]
	} else {
		t = x.pick(l, at, top, traced)
	}
	event := Event{
		Type: EventToken, Lane: l.spec.Index, Lambda: l.lambda, Sample: l.spec.Sample, Index: position, ID: t,
	}
	if traced {
		x.trace(&event, e.vocab, j.request.Trace.Alternatives)
	}
	l.generated = append(l.generated, t)
	j.tokens++
	e.counters.Tokens++
	return t, l.follow(event, e.vocab, len(x.branch.tokens)+1)
}

// pick applies bias and penalties, chooses, and takes them back.
func (x *mixer) pick(l *lane, at int, top float64, traced bool) Token {
	s := &l.job.request.Sampling
	g := newNoise(l.job.request.Seed, l.spec.Sample, len(l.generated))
	if !penalised(s) {
		return Token(x.chooser.choose(x.z, at, top, s, g))
	}
	logSum := x.d.logSum
	if !traced && repeatOn(s) {
		logSum = logSumExp(x.buffers.p, x.z, top)
	}
	x.penalties.apply(x.z, logSum, l.generated, s)
	defer x.penalties.undo(x.z)
	at, top, err := maximum(x.z)
	if err != nil { // every token was biased away: there is nothing left but the mixture itself
		x.penalties.undo(x.z)
		at, top, _ = maximum(x.z)
	}
	return Token(x.chooser.choose(x.z, at, top, s, g))
}

// trace fills in what the distributions say about the chosen token and the prefix.
func (x *mixer) trace(event *Event, vocab Vocabulary, alternatives int) {
	t := event.ID
	logp := &Logp{Reference: finite(float64(x.rows[0][t]) - x.logSums[0]), Mixture: finite(x.z[t] - x.d.logSum)}
	for i, row := range x.rows[1:] {
		logp.Aligned = append(logp.Aligned, finite(float64(row[t])-x.logSums[i+1]))
	}
	kl, logZ := finite(x.d.klReference), finite(x.d.logZ)
	event.Logp, event.KLReference, event.LogZ = logp, &kl, &logZ
	event.KLAligned = append(Vector(nil), x.d.klAligned...)
	event.Name = vocab.Name(t)
	if alternatives == 0 {
		return
	}
	if len(x.tops) == 0 { // the models' own are the same for all lanes of the branch
		for i, row := range x.rows {
			x.tops = append(x.tops, mostProbable(row, x.logSums[i], alternatives, vocab))
		}
	}
	event.Top = &Top{Reference: x.tops[0], Mixture: mostProbable(x.z, x.d.logSum, alternatives, vocab)}
	event.Top.Aligned = append(event.Top.Aligned, x.tops[1:]...)
}

// mostProbable lists the n largest logits, largest first, ties in the order of tokens.
func mostProbable[F float32 | float64](row []F, logSum float64, n int, vocab Vocabulary) []Alternative {
	n = min(n, len(row))
	best := make([]int, 0, n)
	least := F(math.Inf(-1))
	for v, z := range row {
		if len(best) == n && z <= least {
			continue
		}
		i := len(best)
		if i < n {
			best = append(best, v)
		} else {
			i--
		}
		for ; i > 0 && row[best[i-1]] < z; i-- {
			best[i] = best[i-1]
		}
		best[i] = v
		least = row[best[len(best)-1]]
	}
	list := make([]Alternative, len(best))
	for i, v := range best {
		list[i] = Alternative{ID: Token(v), Name: vocab.Name(Token(v)), Logp: finite(float64(row[v]) - logSum)}
	}
	return list
}

// finite is x, or the largest number JSON can hold where a model rules a token out altogether.
func finite(x float64) float64 {
	return max(min(x, math.MaxFloat64), -math.MaxFloat64)
}

// follow emits a token and ends the lane where an end token, a stop string or a limit says so. length is
// the number of tokens of its history, this one included.
func (l *lane) follow(event Event, vocab Vocabulary, length int) bool {
	s := &l.job.request.Sampling
	forced := event.Index < len(l.spec.Prefix)
	l.speller.add(event, vocab.Piece(event.ID))
	switch {
	case vocab.End(event.ID) && !forced && !s.IgnoreEnd, l.speller.stop():
		l.end(EndStop, nil)
	case len(l.generated) >= s.MaxTokens, length > l.job.context:
		l.end(EndLength, nil)
	default:
		l.speller.release(false, l.job.emit)
	}
	return !l.ended
}

// fail ends the lane because its logits cannot be used.
func (l *lane) fail(err error) bool {
	l.end(EndError, &Error{Code: string(fault.Internal), Message: err.Error()})
	return false
}
