package decode

import (
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
// kept with the largest probability that the weights allow: see kept and systematic in resample.go. At λ = 0 and 1 all weights are 1, and the lane is
// decoded without particles.

// MaxParticles limits Sampling.Exact.
const MaxParticles = 64

// Exact is what a lane's particles tell of it when it ends.
type Exact struct {
	Particles int     `json:"particles"`      // as the request asks for: Sampling.Exact
	LogZ      float64 `json:"log_z"`          // log of the estimate of Σ_y π_ref(y)^{1−λ} π_al(y)^λ, over replies to their end or the token limit
	Size      float64 `json:"effective_size"` // (Σw)²/Σw² of the weights that the kept particle was drawn by, 1 to Particles
	Resampled int     `json:"resampled"`      // how often the particles were resampled

	// Changed says that the lane's tokens are not those of token-wise decoding with the same noise. Once particle 0 was replaced by another
	// history, it is true.
	Changed bool `json:"changed"`
}

// population is the particles of one lane. It is made with the lane and ends with it, when one particle is
// kept. It belongs to the engine's loop.
type population struct {
	lane      *lane   // what is told of it: tokens that are certain
	particles []*lane // their number does not change; ended ones stay
	logZ      float64 // log of the estimate of the normaliser, up to the last resampling
	resampled int     // how often
	replaced  bool    // particle 0 has another history than token-wise decoding gives
}

// particle is what a lane is that stands for one particle of a population, and not for a lane of the request.
type particle struct {
	of        *population // the population
	number    int         // place in the population; 0 has the lane's own noise
	logWeight float64     // natural log of its weight since the last resampling; −∞ where no token is left to it
	tokens    []tokenSaid // all that it has chosen, also what the lane has told already
	reason    string      // why it ended, as in an end event; "" while it goes on
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

// keep ends the lane with one of its particles, drawn by weight, and tells what of its reply was not certain
// before.
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

// noise is what a lane's next token is chosen with.
func (l *lane) noise() Noise {
	number := 0
	if l.particle != nil {
		number = l.particle.number
	}
	return particleNoise(l.job.request.Seed, l.spec.Sample, number, len(l.generated))
}

// clone is a copy that can be added to.
func (t *Totals) clone() *Totals {
	if t == nil {
		return nil
	}
	c := *t
	c.Evaluated, c.KLAligned, c.Logp.Aligned = slices.Clone(t.Evaluated), slices.Clone(t.KLAligned), slices.Clone(t.Logp.Aligned)
	return &c
}
