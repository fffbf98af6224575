package decode

import (
	"slices"

	"realign/internal/fault"
)

// What a request goes through until it is decoded: it is checked and becomes tokens on the goroutine that asks; on the loop it is
// promised its cells and sequences or refused, and waits for room (see fair.go for whose turn it is); then it begins with its branches.

// Start admits a request, or queues it if there is no room now. Events go to emit in order from one
// goroutine, the last one being EventStats; emit must not block for long, as every other request waits for
// it. Errors are of kind Invalid (with the field), NotFound (an aligned model), Busy, or Unavailable.
func (e *Engine) Start(req Request, emit func(Event)) (*Job, error) {
	if len(req.Aligned) == 0 {
		req.Aligned = e.pair.AlignedNames()[:1]
	}
	if err := req.Validate(len(req.Aligned)); err != nil {
		return nil, err
	}
	if err := e.checkKind(&req); err != nil {
		return nil, err
	}
	prompt, err := e.encode(req.Prompt, req.Rendering)
	if err != nil {
		return nil, err
	}
	prompts, err := e.encodeAligned(&req)
	if err != nil {
		return nil, err
	}
	if err := e.checkTokens(&req); err != nil {
		return nil, err
	}
	// From here on the request has the seed that it is decoded with.
	if req.SeedByPrompt {
		req.Seed = PromptSeed(req.Seed, prompt)
	}
	j := &Job{engine: e, request: req, prompt: prompt, emit: emit, done: make(chan struct{}), stops: stopTokens(e.vocab, req.Sampling.Stop)}
	if prompts != nil {
		j.prompts = append([][]Token{nil}, prompts...)
	}
	if e.encodes() {
		j.separate(e.limits.Start)
	}
	if req.Encode {
		return j, j.encoded(e.vocab, e.config.Now())
	}
	if req.inWeights() {
		err = e.prepareBlend(req.Aligned)
	} else {
		err = e.prepare(req.Aligned, req.wants())
	}
	if err != nil {
		return nil, err
	}
	// Models and the queue are the loop's.
	if !e.do(func() { err = e.enqueue(j) }) {
		return nil, errClosed
	}
	if err != nil {
		return nil, err
	}
	return j, nil
}

// encode turns a prompt into tokens.
func (e *Engine) encode(p Prompt, r Rendering) ([]Token, error) {
	switch {
	case len(p.Tokens) > 0:
		for _, t := range p.Tokens {
			if t < 0 || int(t) >= e.vocab.Size() {
				return nil, fault.Field("prompt", "%v is outside the vocabulary of %d", t, e.vocab.Size())
			}
		}
		return p.Tokens, nil
	case p.Text != "" && p.Bare:
		return e.vocab.Encode(p.Text, p.Special)
	case p.Text != "" && p.Special:
		tokens, err := e.vocab.Encode(p.Text, true)
		if err != nil {
			return nil, err
		}
		if v, ok := e.vocab.(Ended); ok && e.encodes() {
			return v.EndPrompt(tokens), nil
		}
		start, err := e.vocab.EncodePlain("")
		if len(start) > 0 && len(tokens) > 0 && tokens[0] == start[0] {
			start = nil // the text has it
		}
		return append(start, tokens...), err
	case p.Text != "":
		return e.vocab.EncodePlain(p.Text)
	default:
		return e.encodeChat(p.Messages, r)
	}
}

// checkTokens checks the tokens named in lanes and bias against the vocabulary.
func (e *Engine) checkTokens(r *Request) error {
	for _, l := range r.Lanes {
		for _, t := range l.Prefix {
			if t < 0 || int(t) >= e.vocab.Size() {
				return fault.Field("prefix", "%v is outside the vocabulary of %d", t, e.vocab.Size())
			}
		}
	}
	for t := range r.Sampling.Bias {
		if t < 0 || int(t) >= e.vocab.Size() {
			return fault.Field("bias", "%v is outside the vocabulary of %d", t, e.vocab.Size())
		}
	}
	return nil
}

// enqueue checks that a job fits at all, and puts it in the queue.
func (e *Engine) enqueue(j *Job) error {
	j.models = []*modelState{e.models[0]}
	for _, name := range j.request.Aligned {
		j.models = append(j.models, e.modelState(name))
	}
	if j.request.inWeights() {
		j.models = []*modelState{e.modelState(blendName)} // it has the vocabulary of the reference
	} else {
		e.addUntuned(j)
		if err := e.checkPrompt(j); err != nil {
			return err
		}
	}
	limits := e.limits
	j.context = min(limits.Train, limits.Cells)
	if len(j.promptTokens()) == 0 {
		return fault.Field("prompt", "has no tokens")
	}
	if err := e.checkSources(j); err != nil {
		return err
	}
	longest := j.longest()
	if longest >= j.context {
		return fault.Field("prompt", "%d tokens, at most %d fit the context of %d", longest, j.context-1, j.context)
	}
	j.context -= longest - len(j.prompt) // of the reference, so that all models stay within theirs
	lanes, kind := len(j.request.Lanes), "lanes"
	if j.request.Map != nil {
		e.fit(j)
		lanes, kind = j.request.Map.Branches, "branches"
	}
	if j.request.Score != nil {
		lanes = 1
	}
	if lanes > limits.Sequences {
		return fault.Field(kind, "%d, at most %d", lanes, limits.Sequences)
	}
	if j.exact() {
		lanes, kind = 0, "particles of lanes"
		for _, l := range j.request.Lanes {
			lanes += j.request.Streams(l)
		}
		if lanes > limits.Sequences {
			return fault.Field("exact", "%d lanes with %d particles each need %d sequences, and the models hold %d: ask for fewer lanes or particles",
				len(j.request.Lanes), j.request.Sampling.Exact, lanes, limits.Sequences)
		}
	}
	j.streams = lanes
	if j.request.Score == nil {
		j.cells = lanes * min(j.request.Sampling.MaxTokens, j.context-len(j.prompt))
	}
	if j.request.Plain || j.request.inWeights() {
		j.cells += lanes * longest
	} else {
		j.cells += longest
	}
	if j.cells > limits.Cells {
		return j.tooLarge(kind, limits.Cells)
	}
	if err := e.guestRoom(j); err != nil {
		return err
	}
	if len(e.queue) >= e.config.Queue && !e.pushOut(j) {
		return fault.New(fault.Busy, "%d requests are waiting already", len(e.queue))
	}
	e.counters.Requests++
	j.start(e.config.Now())
	e.wait(j)
	e.admit()
	return nil
}

// begin gives a job its sequences, if there is room: one branch for all its lanes, or, plain, one for each. What it
// shares with entries of the prefix cache it takes before they are evicted.
func (e *Engine) begin(j *Job) bool {
	if !e.mayHold(j) || e.cells+j.cells > e.limits.Cells || !e.evictFor(j.streams, 0) || !e.takeSource(j) {
		return false
	}
	e.jobs = append(e.jobs, j)
	j.spare = append(j.spare, e.freeSeqs[len(e.freeSeqs)-j.streams:]...)
	e.freeSeqs = e.freeSeqs[:len(e.freeSeqs)-j.streams]
	root := func() *branch {
		b := newBranch(j, j.takeSeq(), slices.Clone(j.prompt))
		e.branches = append(e.branches, b)
		if !j.request.Plain && !j.request.inWeights() && j.scoring == nil { // the logits of what is in the cache are gone
			e.reuse(b)
		}
		return b
	}
	if j.scoring != nil {
		root().scoring = j.scoring
	}
	if m := j.request.Map; m != nil {
		root().span = j.spans[0]
		j.spans[0].share = m.Branches
	}
	var roots []*branch
	for _, l := range j.lanes {
		if l.ended { // stopped while it waited
			continue
		}
		for _, s := range l.streams() {
			b := j.rootFor(roots, l)
			if b == nil {
				b = root()
				roots = append(roots, b)
				if j.request.inWeights() {
					b.tune(l.lambda)
				}
			}
			b.lanes = append(b.lanes, s)
		}
	}
	e.evictFor(0, j.cells)
	e.cells += j.cells
	return true
}
