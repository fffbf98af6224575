package decode

import (
	"cmp"
	"slices"

	"realign/internal/fault"
)

// Map asks for the λ-map of a prompt instead of lanes: every distinct continuation for every λ of an interval.
//
// At one prefix a candidate's score log p_λ(v)/T + G(v) is, up to a constant common to all, linear in λ, so the winner
// as a function of λ is the upper envelope of lines: the exact λ at which the next token flips comes with no further
// forward pass. A span of λ with one history is decoded like a lane and split where its next token flips.
type Map struct {
	From     float64 `json:"from"`           // λ of one end
	To       float64 `json:"to"`             // and of the other, above From
	Line     *Line   `json:"line,omitempty"` // From, To and what else is a λ of the map are then places on it, 0 to 1
	Sample   int     `json:"sample"`         // see Lane.Sample
	Branches int     `json:"branches"`       // most continuations; when there are more, the widest spans are followed

	// Live maps tell every token as it is found, in step events, and are decoded from one λ outwards: from Focus, until
	// SetLambda moves it.
	Live  bool    `json:"live,omitempty"`
	Fit   bool    `json:"fit,omitempty"` // fewer branches where the caches have no room for so many
	Focus float64 `json:"focus,omitempty"`
}

// MaxBranches limits Map.Branches.
const MaxBranches = 256

// Branch is one continuation of a λ-map: what a lane at any λ of the span says. Spans of a map share no inner
// point, and together they are its interval.
type Branch struct {
	From   float64  `json:"from"` // λ of its ends, or places on the map's line
	To     float64  `json:"to"`
	Tokens []Token  `json:"tokens"` // from the end of the prompt on
	Pieces []string `json:"pieces"` // the text that each token added
	Reason string   `json:"reason"` // as of a lane, or EndBudget: the tokens are a beginning only
}

// EndBudget is the reason of a branch that was not followed because others, on wider spans, were.
const EndBudget = "budget"

// Fork is where the texts on both sides of one λ part.
type Fork struct {
	Lambda float64   `json:"lambda"` // or a place on the map's line
	Index  int       `json:"index"`  // of the first token that differs
	Below  Candidate `json:"below"`  // chosen just below Lambda
	Above  Candidate `json:"above"`  // chosen from Lambda on
}

// Candidate is a token at a fork. At the fork's λ both have the same score, but for penalties: the mixture's
// log-probability over the temperature, plus the noise.
type Candidate struct {
	ID   Token    `json:"id"`   // in the pair's vocabulary
	Name string   `json:"name"` // as shown to a person
	Logp struct { // along a line: of the mixture at place 0, and at place 1
		Reference float64 `json:"reference"`
		Aligned   float64 `json:"aligned"`
	} `json:"logp"`
	Noise float64 `json:"noise"` // 0 when greedy
}

// validate checks a map over n aligned models with the rest of its request.
func (m *Map) validate(n int, r *Request) error {
	s := &r.Sampling
	if err := m.checkLine(n); err != nil {
		return err
	}
	if err := cmp.Or(CheckLambda("from", Vector{m.From}, 1), CheckLambda("to", Vector{m.To}, 1)); err != nil {
		return err
	}
	switch {
	case len(r.Lanes) > 0:
		return fault.Field("lanes", "do not go with a λ-map")
	case r.Plain:
		return fault.Field("plain", "does not go with a λ-map: its plain twin is a lane at each λ")
	case m.From >= m.To:
		return fault.Field("to", "%v is not above %v, where the interval begins", m.To, m.From)
	case m.Live && !(m.From <= m.Focus && m.Focus <= m.To):
		return fault.Field("focus", "%v is outside the map, which is of λ from %v to %v", m.Focus, m.From, m.To)
	case m.Sample < 0:
		return fault.Field("sample", "%d is negative", m.Sample)
	case m.Branches < 1 || m.Branches > MaxBranches:
		return fault.Field("branches", "%d is outside 1 to %d", m.Branches, MaxBranches)
	}
	// What survives must be an interval of λ for each token. Min-p compares with the most probable token only, whose
	// logit is convex in λ. The k-th largest logit is not, nor is the mass above one, which moreover is no line.
	switch {
	case s.Temperature > 0 && s.TopK > 0:
		return fault.Field("top_k", "does not go with a λ-map: a token may enter and leave the K most probable ones several times as λ grows; use min_p")
	case s.Temperature > 0 && s.TopP < 1:
		return fault.Field("top_p", "does not go with a λ-map: where a token enters the nucleus has no closed form in λ; use min_p")
	case repeatOn(s):
		return fault.Field("repeat_penalty", "does not go with a λ-map: it makes scores curved in λ; use presence_penalty or frequency_penalty")
	}
	return nil
}

// span is a part of a map's interval on which all tokens so far are equal. A map begins with one span over its whole interval. In each
// step a span chooses the next token for all of its λ: where that is one token it goes on, where they are several it is split into a
// span for each, and at the end of its text it becomes a branch of the map.
type span struct {
	job         *Job
	from, to    float64     // λ of its ends, or places of a line
	generated   []Token     // on all of it, from the end of the prompt on
	texts       []string    // that tokens added, as far as it is known
	detokenizer detokenizer // of generated
	ended       bool        // it was split, or its branch was told
	share       int         // of a live map: branches that it and what it is split into may have

	// Of one step.
	segments []segment // which tokens follow; ends are λ
	err      error     // logits that cannot be used
}

// newSpan adds a span to a job.
func newSpan(j *Job, from, to float64) *span {
	s := &span{job: j, from: from, to: to, detokenizer: j.newDetokenizer()}
	j.spans = append(j.spans, s)
	j.live++
	return s
}

// split is the spans that go on with one token each: s itself if there is one.
func (s *span) split() []*span {
	if len(s.segments) == 1 {
		return []*span{s}
	}
	parts := make([]*span, len(s.segments))
	for i, x := range s.segments {
		p := newSpan(s.job, x.from, x.to)
		p.generated, p.texts, p.detokenizer = slices.Clone(s.generated), slices.Clone(s.texts), s.detokenizer.clone()
		p.share = s.share
		parts[i] = p
	}
	s.ended = true // no event tells of it: its parts go on
	s.job.live--
	return parts
}

// follow takes a token and ends the span where a lane ends. length is the number of tokens of its history, this one
// included. It reports whether the span goes on.
func (s *span) follow(t Token, vocab Vocabulary, length int) bool {
	s.generated = append(s.generated, t)
	s.job.tokens++
	s.detokenizer.add(Event{Type: EventToken}, vocab.Piece(t))
	if reason := s.job.ending(t, &s.detokenizer, len(s.generated), length); reason != "" {
		s.end(reason, nil)
	} else {
		s.detokenizer.release(false, s.addText)
	}
	return !s.ended
}

// addText keeps the text of the next token, and tells it where the map is live.
func (s *span) addText(e Event) {
	s.texts = append(s.texts, e.Text)
	if m := s.job.request.Map; m.Live {
		index := len(s.texts) - 1
		s.job.emit(Event{Type: EventStep, Sample: m.Sample, Index: index, ID: s.generated[index], Text: e.Text, Span: &Span{s.from, s.to}})
	}
}

// end ends the span and emits its branch event; the branch is settled by the caller.
func (s *span) end(reason string, cause *Error) {
	if s.ended {
		return
	}
	s.ended = true
	s.job.live--
	s.detokenizer.release(true, s.addText)
	s.job.emit(Event{Type: EventBranch, Error: cause, Branch: &Branch{
		From: s.from, To: s.to, Tokens: s.generated, Pieces: s.texts, Reason: reason,
	}})
}

// advanceSpans moves the spans of a job that are ready on to the tokens found for them. A span on which several tokens
// follow is split; each part needs a branch, and while there are sequences the widest ones get it. Those of a live map that get
// none wait for what others leave.
func (e *Engine) advanceSpans(j *Job) {
	type part struct {
		*span
		of *branch
	}
	var parts []part
	ready := slices.DeleteFunc(slices.Clone(e.ready), func(b *branch) bool { return b.job != j || !b.live() })
	for _, b := range ready {
		s := b.span
		if s.err != nil {
			s.end(EndError, &Error{Code: string(fault.Internal), Message: s.err.Error()})
			continue
		}
		var on []*span // that go on
		for i, p := range s.split() {
			if i > 0 {
				j.emit(Event{Type: EventFork, Fork: e.forkEvent(b, s.segments[i-1], s.segments[i])})
			}
			e.counters.Tokens++
			if p.follow(s.segments[i].token, e.vocab, len(b.tokens)+1) {
				parts = append(parts, part{p, b})
				on = append(on, p)
			}
		}
		if j.request.Map.Live {
			shareOut(s.share, on)
		}
	}
	slices.SortStableFunc(parts, func(x, y part) int { return cmp.Compare(y.to-y.from, x.to-x.from) })
	for _, p := range parts {
		// The branch of a span that was split goes to its widest part, before it has that part's token.
		switch t := p.generated[len(p.generated)-1]; {
		case j.request.Map.Live && p.share == 0:
			j.waiting = append(j.waiting, p.of.keep(p.span))
		case p.of.span == p.span:
		case p.of.span.ended:
			p.of.span = p.span
		case len(j.spare) > 0:
			e.fork(p.of, t).span = p.span
		default:
			p.end(EndBudget, nil)
		}
	}
	for _, b := range ready {
		if b.live() {
			e.extend(b, b.span.generated[len(b.span.generated)-1])
		}
		e.settle(b)
	}
}

// forkEvent says why two tokens part where a segment begins.
func (e *Engine) forkEvent(b *branch, below, above segment) *Fork {
	f := &Fork{Lambda: above.from, Index: len(b.span.generated)}
	ends := e.ends(b.job.request.Map, b.rows.rows)
	r := &b.job.request
	f.Below.ID, f.Above.ID = below.token, above.token
	for _, c := range []*Candidate{&f.Below, &f.Above} {
		t := c.ID
		c.Name = e.vocab.Name(t)
		c.Logp.Reference, c.Logp.Aligned = ends[0](t), ends[1](t)
		if r.Sampling.Temperature > 0 {
			c.Noise = Gumbel(r.Seed, r.Map.Sample, f.Index, t)
		}
	}
	return f
}
