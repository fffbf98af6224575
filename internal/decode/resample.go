package decode

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"realign/internal/fault"
)

// Weights of the particles of exact λ, and what is done where they differ too much; see exact.go.

// inStep leaves out of the ready branches those of exact jobs other branches of which are not ready.
func (e *Engine) inStep() {
	if !slices.ContainsFunc(e.ready, func(b *branch) bool { return b.job.exact() }) {
		return
	}
	late := map[*Job]bool{}
	for _, b := range e.branches {
		if b.job.exact() && !slices.Contains(e.ready, b) {
			late[b.job] = true
		}
	}
	e.ready = slices.DeleteFunc(e.ready, func(b *branch) bool { return late[b.job] })
}

// weigh multiplies the weights of all particles that have just chosen by the local normalisers of their histories, and resamples
// populations that need it: their replaced particles choose anew. It is called after choose and before any branch advances.
func (e *Engine) weigh() {
	var done []*Job
	for _, b := range slices.Clone(e.ready) {
		if !b.job.exact() || slices.Contains(done, b.job) {
			continue
		}
		done = append(done, b.job)
		for _, l := range b.job.lanes {
			if l.population != nil && !l.ended {
				l.population.weigh(e)
			}
		}
		for _, b := range slices.Clone(e.ready) {
			if b.job == done[len(done)-1] {
				e.settle(b) // those that a resampling, or an error, left without lanes
			}
		}
	}
}

// weigh is Engine.weigh for one population.
func (p *population) weigh(e *Engine) {
	at, forbidden := 0, 0
	for _, l := range p.particles {
		if l.ended {
			continue
		}
		at = len(l.generated)
		switch err := l.choice.err; {
		case errors.Is(err, errNothingLeft):
			l.particle.logWeight = math.Inf(-1)
			forbidden++
		case err != nil:
			p.lane.end(EndError, &Error{Code: string(fault.Internal), Message: err.Error()})
			return
		case at >= len(l.spec.Prefix): // the given tokens are not drawn
			l.particle.logWeight += *l.choice.event.LogZ
		}
	}
	w, _ := p.weights()
	switch {
	case w == nil:
		p.lane.end(EndError, &Error{Code: string(fault.Internal), Message: errNothingLeft.Error()})
	case forbidden > 0 || effective(w) < float64(len(w))/2:
		p.resample(e, w, at)
	}
}

// weights are the particles' weights, their mean being 1, and the log of the mean before that; nil where all are 0.
func (p *population) weights() (w []float64, logMean float64) {
	top := math.Inf(-1)
	for _, l := range p.particles {
		top = max(top, l.particle.logWeight)
	}
	if math.IsInf(top, -1) {
		return nil, top
	}
	sum := 0.0
	for _, l := range p.particles {
		w = append(w, math.Exp(l.particle.logWeight-top))
		sum += w[len(w)-1]
	}
	mean := sum / float64(len(w))
	for i := range w {
		w[i] /= mean
	}
	return w, top + math.Log(mean)
}

// effective is the effective sample size of weights, (Σw)²/Σw² [Kish 1965; Kong, Liu & Wong 1994].
func effective(w []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, x := range w {
		sum += x
		squares += x * x
	}
	return sum * sum / squares
}

// resample gives each particle as many places as its weight says. One that has a place stays in its own, the others are replaced by
// those that have more than one.
func (p *population) resample(e *Engine, w []float64, at int) {
	_, logMean := p.weights()
	p.logZ += logMean
	p.resampled++
	source := systematic(w, p.draws(resampleDraws, at))
	for _, l := range p.particles {
		l.particle.logWeight = 0
	}
	for i, from := range source {
		if from != i {
			p.replace(e, p.particles[i], p.particles[from])
		}
	}
}

// systematic says for each particle which one it goes on as. Weights have the mean 1. The places are dealt out along a random order:
// particle i gets those of u, u+1, u+2 … that fall into its stretch of the weights' sum, the integer above or below its weight. Whoever
// gets one stays, and the random order makes the others' places exchangeable, so that each place holds a particle drawn in proportion to
// the weights.
func systematic(w []float64, g Noise) []int {
	n := len(w)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(g.bits(a+1), g.bits(b+1)) })
	u, sum := uniform(g.bits(0)), 0.0
	source := make([]int, n)
	var free, copies []int
	dealt := 0
	for rank, i := range order {
		if sum += w[i]; rank == n-1 {
			sum = float64(n)
		}
		places := max(0, int(math.Ceil(sum-u))-dealt)
		dealt += places
		if source[i] = i; places == 0 {
			free = append(free, i)
		}
		for range places - 1 {
			copies = append(copies, i)
		}
	}
	for k, i := range free {
		source[i] = copies[k]
	}
	return source
}

// replace makes one particle go on as a copy of another, with its own noise.
func (p *population) replace(e *Engine, to, from *lane) {
	if to.particle.number == 0 && !slices.Equal(to.generated, from.generated) {
		p.replaced = true
	}
	if b := e.branchOf(to); b != nil {
		b.lanes = slices.DeleteFunc(b.lanes, func(l *lane) bool { return l == to })
		if len(b.lanes) == 0 && !from.ended {
			e.settle(b) // its sequence may be needed at once
		}
	}
	to.generated = slices.Clone(from.generated)
	to.detokenizer = from.detokenizer.clone()
	to.totals = from.totals.clone()
	to.ended = from.ended
	to.particle.tokens, to.particle.reason = slices.Clone(from.particle.tokens), from.particle.reason
	if from.ended {
		return
	}
	b := e.branchOf(from)
	if p.lane.job.request.Plain {
		b = e.duplicate(b)
		e.ready = append(e.ready, b)
	}
	b.lanes = append(b.lanes, to)
	to.choice = e.mixers[0].choose(to, &b.rows, e.vocab)
}

// branchOf finds the branch that a lane is on.
func (e *Engine) branchOf(l *lane) *branch {
	for _, b := range e.branches {
		if slices.Contains(b.lanes, l) {
			return b
		}
	}
	return nil
}

// duplicate makes a branch that has the history of another, and what the models said after it.
func (e *Engine) duplicate(b *branch) *branch {
	d := newBranch(b.job, e.sequence(b.job), slices.Clone(b.tokens))
	for m, s := range b.job.models {
		d.have[m] = s.model.Copy(d.seq, b.seq, b.have[m])
		d.pending[m] = slices.Clone(b.pending[m])
	}
	d.rows.load(e, d)
	e.branches = append(e.branches, d)
	return d
}

// sequence takes one of a job's sequences: an unused one, or that of the branch which was retired first. Only resampling retires a
// branch while more are to come, so only exact jobs come to that.
func (e *Engine) sequence(j *Job) Seq {
	if len(j.spare) > 0 {
		return j.takeSeq()
	}
	b := j.retired[0]
	j.retired = j.retired[1:]
	for _, s := range j.models {
		s.model.Trim(b.seq, 0)
	}
	return b.seq
}

// kept draws a particle in proportion to the weights, whose mean is 1, and draws particle 0 as often as that allows: with probability
// min(1, w₀), and otherwise one of those of weight above 1, in proportion to what is above it. Particles are exchangeable, so each is as
// likely to be number 0, and the two cases add up to w_i/N: (1/N)·min(1, w_i) + (1/N)·Σ_j (1−w_j)₊ · (w_i−1)₊/Σ_j (w_j−1)₊, where the
// two sums are equal. Of all ways to draw by weight it keeps the token-wise reply most often (the maximal coupling), so the share of lanes
// that change estimates the total variation distance between the replies of token-wise decoding and those kept.
func kept(w []float64, g Noise) int {
	if uniform(g.bits(0)) < w[0] {
		return 0
	}
	above := 0.0
	for _, x := range w {
		above += max(0, x-1)
	}
	last := 0
	for i, left := 0, uniform(g.bits(1))*above; i < len(w); i++ {
		if w[i] <= 1 {
			continue
		}
		if last = i; left < w[i]-1 {
			break
		}
		left -= w[i] - 1
	}
	return last
}

// Numbers that stand in a particle's place in the key of draws that are not a particle's.
const (
	resampleDraws = 1 << 20
	keepDraws     = resampleDraws + 1
)

// draws is the noise of resampling, or of keeping one reply, at a position. It is that of the lane's sample, whatever its
// λ.
func (p *population) draws(kind, position int) Noise {
	return particleNoise(p.lane.job.request.Seed, p.lane.spec.Sample, kind, position)
}

// particleNoise keys the generator for one particle of a sample; particle 0 has the noise of the sample itself. λ is no part of it: lanes
// stay coupled.
func particleNoise(seed uint64, sample, particle, position int) Noise {
	if particle > 0 {
		seed = SplitMix(seed ^ uint64(particle)*0x8cb92ba72f3d8dd7)
	}
	return NewNoise(seed, sample, position)
}

// uniform is a number in (0, 1) from random bits.
func uniform(b uint64) float64 { return (float64(b>>11) + 0.5) * 0x1p-53 }
