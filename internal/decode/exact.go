package decode

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"realign/internal/fault"
)

// Exact λ. Decoding token by token drops the normaliser of what comes later, so whole replies are not distributed as
// π_ref(y)^{1−λ} π_al(y)^λ / Z. The ratio of the two densities is known: for a reply y that was drawn token by token it is
// w(y) = exp Σ_t log Z_t(λ), up to the constant 1/Z. A lane with Sampling.Exact = N is therefore decoded as N particles: streams
// drawn token by token, each with noise of its own, whose weights are the products of exp(log Z_t) so far. When the effective
// sample size (Σw)²/Σw² falls below N/2 they are resampled in proportion to their weights, systematically, and go on with equal ones
// (sequential Monte Carlo: Doucet, de Freitas & Gordon 2001, ch. 1; systematic resampling: Kitagawa 1996). log Z_t depends on the history and not on
// the token that is chosen, so a resampling that is due at token t is done before token t is chosen (the fully adapted filter of Pitt &
// Shephard 1999). In the end one particle is kept, in proportion to the weights: as N grows its distribution tends to that of whole
// replies. Particles that have ended keep their weights.
//
// Particle 0 has the noise of the lane without Exact, so it is the reply of token-wise decoding until a resampling replaces it. It is
// kept with the largest probability that the weights allow: see keep and systematic. At λ = 0 and 1 all weights are 1, and the lane is
// decoded without particles.

// MaxParticles limits Sampling.Exact.
const MaxParticles = 64

// Exact is what a lane's particles tell of it when it ends.
type Exact struct {
	Particles int     `json:"particles"`
	LogZ      float64 `json:"log_z"`          // log of the estimate of Σ_y π_ref(y)^{1−λ} π_al(y)^λ, over replies to their end or the token limit
	Size      float64 `json:"effective_size"` // (Σw)²/Σw² of the weights that the kept particle was drawn by, 1 to Particles
	Resampled int     `json:"resampled"`      // how often the particles were resampled

	// Changed says that the lane's tokens are not those of token-wise decoding with the same noise. Once particle 0 was replaced by another
	// history, it is true.
	Changed bool `json:"changed"`
}

// population is the particles of one lane.
type population struct {
	lane      *lane // what is told of it: tokens that are certain
	particles []*lane
	logZ      float64 // of the estimate, up to the last resampling
	resampled int
	replaced  bool // particle 0 has another history than token-wise decoding gives
}

// particle is what a lane is that stands for one particle of a population, and not for a lane of the request.
type particle struct {
	of        *population
	number    int
	logWeight float64     // since the last resampling
	tokens    []tokenSaid // all that it has chosen
	reason    string      // why it ended, once it has
}

// tokenSaid is a token event that is not told yet, with the bytes that its token stands for.
type tokenSaid struct {
	event Event
	bytes []byte
}

// validateExact checks that whole-reply realignment is defined for a request and that its token-wise draws have the densities that the
// weights are made of.
func (r *Request) validateExact() error {
	if r.Sampling.Exact == 0 {
		return nil
	}
	switch {
	case r.Map != nil:
		return fault.Field("exact", "does not go with a λ-map, whose texts are decoded token by token: set exact to 0")
	case len(r.Evaluate) > 0:
		return fault.Field("evaluate", "does not go with exact (%d): kept replies have no known density at another λ", r.Sampling.Exact)
	}
	for _, l := range r.Lanes {
		if len(l.Changes) > 0 {
			return fault.Field("changes", "lane %d moves λ: with exact (%d) a whole reply has one λ", l.Index, r.Sampling.Exact)
		}
	}
	return nil
}

// validateExact checks the number of particles and what it goes with.
func (s *Sampling) validateExact() error {
	if err := checkBound("exact", float64(s.Exact)); err != nil || s.Exact == 0 {
		return err
	}
	const needs = "exact λ is for temperature 1 without truncation and penalties"
	switch {
	case s.Exact == 1:
		return fault.Field("exact", "one particle corrects nothing: 2 to %d, or 0 for off", MaxParticles)
	case s.Temperature != 1:
		return fault.Field("temperature", "%v with exact %d: %s: set temperature to 1, or exact to 0", s.Temperature, s.Exact, needs)
	case s.TopK > 0:
		return fault.Field("top_k", "%d with exact %d: %s: set top_k to 0, or exact to 0", s.TopK, s.Exact, needs)
	case s.TopP < 1:
		return fault.Field("top_p", "%v with exact %d: %s: set top_p to 1, or exact to 0", s.TopP, s.Exact, needs)
	case s.MinP > 0:
		return fault.Field("min_p", "%v with exact %d: %s: set min_p to 0, or exact to 0", s.MinP, s.Exact, needs)
	case repeatOn(s):
		return fault.Field("repeat_penalty", "%v with exact %d: %s: set repeat_penalty to 1, or exact to 0", s.RepeatPenalty, s.Exact, needs)
	case s.PresencePenalty != 0:
		return fault.Field("presence_penalty", "%v with exact %d: %s: set presence_penalty to 0, or exact to 0", s.PresencePenalty, s.Exact, needs)
	case s.FrequencyPenalty != 0:
		return fault.Field("frequency_penalty", "%v with exact %d: %s: set frequency_penalty to 0, or exact to 0", s.FrequencyPenalty, s.Exact, needs)
	case len(s.Bias) > 0:
		return fault.Field("bias", "of %d tokens with exact %d: %s: leave bias out, or set exact to 0", len(s.Bias), s.Exact, needs)
	}
	return nil
}

// oneModel reports whether a mixture is one of its models: then token-wise decoding is exact.
func oneModel(v Vector) bool {
	mixed := 0
	for _, w := range weights(nil, v) {
		if w != 0 {
			mixed++
		}
	}
	return mixed == 1
}

// Streams is how many sequences a lane may need at once: one, or one for each of its particles.
func (r *Request) Streams(l Lane) int {
	if r.Sampling.Exact == 0 || oneModel(l.Lambda) {
		return 1
	}
	return r.Sampling.Exact
}

// populate gives a lane its particles where the request asks for them.
func (l *lane) populate() {
	n := l.job.request.Streams(l.spec)
	if n == 1 {
		return
	}
	l.population = &population{lane: l}
	for i := range n {
		p := &lane{acceptance: initialAcceptance, spec: l.spec, job: l.job, lambda: l.lambda, detokenizer: l.job.newDetokenizer()}
		p.particle = &particle{of: l.population, number: i}
		l.population.particles = append(l.population.particles, p)
	}
}

// streams are what is decoded for a lane: itself, or its particles.
func (l *lane) streams() []*lane {
	if l.population == nil {
		return []*lane{l}
	}
	return l.population.particles
}

// exact reports whether a lane of the branch is a particle.
func (b *branch) exact() bool {
	return slices.ContainsFunc(b.lanes, func(l *lane) bool { return l.particle != nil })
}

// exact reports whether a lane of the job has particles. All branches of such a job choose their next tokens in the same step, since
// particles are compared at equal lengths.
func (j *Job) exact() bool { return j.request.Sampling.Exact > 0 }

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

// grow adds its choice to a particle, and reports whether it goes on.
func (l *lane) grow(vocab Vocabulary, length int) bool {
	p, event := l.particle, l.choice.event
	l.generated = append(l.generated, event.ID)
	piece := vocab.Piece(event.ID)
	if l.job.request.Trace.Bytes {
		event.Bytes = piece
	}
	if l.job.request.Trace.Off {
		event.LogZ = nil
	}
	p.tokens = append(p.tokens, tokenSaid{event, piece})
	l.detokenizer.add(event, piece)
	chosen := event.ID
	if event.Index < len(l.spec.Prefix) {
		chosen = noToken
	}
	p.reason = l.job.ending(chosen, &l.detokenizer, len(l.generated), length)
	l.detokenizer.release(false, func(Event) {})
	l.ended = p.reason != ""
	return !l.ended
}

// tellCertain tells the tokens of a job's lanes with particles that have become certain, and ends lanes all particles of which have
// ended.
func (j *Job) tellCertain() {
	for _, l := range j.lanes {
		if l.population != nil && !l.ended {
			l.population.tellCertain()
		}
	}
}

// tellCertain tells those tokens that all particles have in common: whichever is kept, its reply begins with them.
func (p *population) tellCertain() {
	first := p.particles[0]
	certain := len(first.generated)
	going := !first.ended
	for _, l := range p.particles[1:] {
		going = going || !l.ended
		n := len(p.lane.generated)
		certain = min(certain, n+common(first.generated[n:], l.generated[n:]))
	}
	for _, t := range first.particle.tokens[len(p.lane.generated):certain] {
		p.lane.tell(t)
	}
	if !going {
		p.keep()
	}
}

// tell emits a token of the lane's reply.
func (l *lane) tell(t tokenSaid) {
	l.generated = append(l.generated, t.event.ID)
	l.job.tokens++
	l.job.engine.counters.Tokens++
	l.detokenizer.add(t.event, t.bytes)
	l.detokenizer.stop()
	l.detokenizer.release(false, l.job.emit)
}

// keep ends the lane with one of its particles.
func (p *population) keep() {
	w, logMean := p.weights()
	i := kept(w, p.draws(keepDraws, 0))
	k, first := p.particles[i], p.particles[0]
	for _, t := range k.particle.tokens[len(p.lane.generated):] {
		p.lane.tell(t)
	}
	p.lane.totals = k.totals
	p.lane.exact = &Exact{
		Particles: len(w), LogZ: finite(p.logZ + logMean), Size: effective(w), Resampled: p.resampled,
		Changed: p.replaced || !slices.Equal(k.generated, first.generated),
	}
	p.lane.end(k.particle.reason, nil)
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

// noise is what a lane's next token is chosen with.
func (l *lane) noise() Noise {
	number := 0
	if l.particle != nil {
		number = l.particle.number
	}
	return particleNoise(l.job.request.Seed, l.spec.Sample, number, len(l.generated))
}

// uniform is a number in (0, 1) from random bits.
func uniform(b uint64) float64 { return (float64(b>>11) + 0.5) * 0x1p-53 }

// clone is a copy that can be added to.
func (t *Totals) clone() *Totals {
	if t == nil {
		return nil
	}
	c := *t
	c.Evaluated, c.KLAligned, c.Logp.Aligned = slices.Clone(t.Evaluated), slices.Clone(t.KLAligned), slices.Clone(t.Logp.Aligned)
	return &c
}
