package decode

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"realign/internal/fault"
)

// Config sets an engine's limits. Zero fields mean the defaults.
type Config struct {
	PrefillChunk int          // prompt tokens read in one step, over all requests, so that streams never stall
	Queue        int          // requests that may wait for room; one more is refused as Busy
	Log          *slog.Logger // for failures of models
	Now          func() time.Time
	Kernel       Kernel // plain Go by default
	PrefixCells  int    // cache cells kept for owners' next requests: half of them by default, none if negative

	// Speculation says when branches draft what may follow, and how.
	Speculation Speculation

	// Serial decodes the models, and mixes the lanes, one after another instead of at the same time.
	Serial bool
}

func (c *Config) fill() {
	if c.PrefillChunk <= 0 {
		c.PrefillChunk = 128
	}
	if c.Queue <= 0 {
		c.Queue = 64
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Kernel == nil {
		c.Kernel = Plain{}
	}
	if runtime.GOMAXPROCS(0) == 1 {
		c.Serial = true
	}
}

// Engine decodes any number of requests over one pair. One goroutine owns the models; the methods may be
// called from any.
type Engine struct {
	pair   Pair
	config Config
	vocab  Vocabulary
	limits Limits // of the reference, and of every other model but for what it was trained for

	commands chan func() // run by the loop between steps
	controls chan func() // of lanes: run by the loop between steps, and while models make a pass
	quit     chan struct{}
	done     chan struct{}
	close    sync.Once
	opened   sync.Map // names of the aligned models that the loop knows to be open

	// The rest belongs to the loop.
	models      []*modelState // models in use: the reference, then aligned ones in the order of first use
	jobs        []*Job        // requests being decoded
	queue       []*Job        // waiting for room
	resting     []bool        // by branch: left out of this step, so that other clients' are not late
	clients     int           // whose branches are in this step
	stopped     []*Job        // whose lanes were ended while models made a pass, and that are to be settled
	branches    []*branch
	freeSeqs    []Seq
	cells       int            // cache cells promised to jobs that are being decoded
	prefixes    []*prefixEntry // prefix cache: entries of finished jobs, least recently used first
	prefixCells int            // that they hold
	silent      []float32      // see silence
	steps       int            // so far; also says which branch prefills first, in turns
	counters    Counters
	speculation speculation
	threads     threads
	mixers      []mixer // one for each lane that may be mixed at the same time as others

	// Of one step.
	passed  chan struct{} // gets one for every pass that was made
	need    []bool
	tasks   []laneTask
	ready   []*branch // branches whose logits this step's passes give
	reading []*branch // branches still reading their prompt
}

// laneTask is a lane that is to choose, on its branch; without a lane it is the branch's span, or its evaluation.
type laneTask struct {
	branch *branch
	lane   *lane
}

// Counters are totals since the engine started, but for the gauges.
type Counters struct {
	Requests int64            `json:"requests"`
	Tokens   int64            `json:"tokens"` // emitted, over all lanes
	Rows     map[string]int64 `json:"rows"`   // decoded per model, by name
	Passes   map[string]int64 `json:"passes"`
	Seconds  float64          `json:"seconds"` // spent in steps

	Lanes int `json:"lanes"` // gauge: being decoded
	Queue int `json:"queue"` // gauge: requests waiting for room
}

// NewEngine starts an engine over a pair, which it owns from now on.
func NewEngine(p Pair, c Config) *Engine {
	c.fill()
	e := &Engine{
		pair: p, config: c, vocab: p.Vocabulary(),
		commands: make(chan func()), controls: make(chan func()), quit: make(chan struct{}), done: make(chan struct{}),
		counters: Counters{Rows: map[string]int64{}, Passes: map[string]int64{}},
		threads:  threads{},
	}
	e.mixers = make([]mixer, 1)
	if !c.Serial {
		e.mixers = make([]mixer, runtime.GOMAXPROCS(0))
	}
	for i := range e.mixers {
		e.mixers[i].kernel = c.Kernel
	}
	e.models = []*modelState{{name: "reference", model: widen(p.Reference(), e.vocab.Size()), vocab: p.Reference().Limits().Vocab}}
	e.limits = p.Reference().Limits()
	if c.PrefixCells == 0 {
		e.config.PrefixCells = e.limits.Cells / 2
	}
	e.config.PrefixCells = max(e.config.PrefixCells, 0)
	for s := e.limits.Sequences - 1; s >= 0; s-- {
		e.freeSeqs = append(e.freeSeqs, Seq(s))
	}
	e.passed = make(chan struct{})
	go e.loop()
	return e
}

// Limits is what the pair's contexts were built for.
func (e *Engine) Limits() Limits { return e.limits }

// Close stops every request (their lanes end as cancelled), waits, and closes the pair.
func (e *Engine) Close() error {
	e.close.Do(func() { close(e.quit) })
	<-e.done
	return e.pair.Close()
}

// Counters returns a copy of the engine's counters.
func (e *Engine) Counters() (c Counters) {
	e.do(func() {
		c = e.counters
		c.Rows, c.Passes = map[string]int64{}, map[string]int64{}
		for k, v := range e.counters.Rows {
			c.Rows[k] = v
		}
		for k, v := range e.counters.Passes {
			c.Passes[k] = v
		}
		for _, b := range e.branches {
			c.Lanes += len(b.lanes)
			if b.span != nil || b.scoring != nil {
				c.Lanes++
			}
		}
		c.Queue = len(e.queue)
	})
	return c
}

// do runs f on the loop and waits. It reports false if the engine is closed, and then f did not run.
func (e *Engine) do(f func()) bool {
	ran := make(chan struct{})
	select {
	case e.commands <- func() { defer close(ran); f() }:
		<-ran
		return true
	case <-e.done:
		return false
	}
}

// control runs f on the loop and waits, and does not wait for a pass that models are making: f uses no model and settles
// no job. It reports false if the engine is closed, and then f did not run.
func (e *Engine) control(f func()) bool {
	ran := make(chan struct{})
	select {
	case e.controls <- func() { defer close(ran); f() }:
		<-ran
		return true
	case <-e.done:
		return false
	}
}

// steer does a control while no model makes a pass.
func (e *Engine) steer(f func()) {
	f()
	e.settleStopped()
}

// settleStopped settles the jobs some of whose lanes were ended by controls. Those that waited go first: the room that others
// leave is not for them.
func (e *Engine) settleStopped() {
	if len(e.stopped) == 0 {
		return
	}
	for _, j := range e.stopped {
		e.leaveQueue(j)
	}
	for _, j := range e.stopped {
		e.settleJob(j)
	}
	e.stopped = e.stopped[:0]
}

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
	if req.SeedByPrompt {
		req.Seed = PromptSeed(req.Seed, prompt)
	}
	j := &Job{engine: e, request: req, prompt: prompt, emit: emit, done: make(chan struct{}), stops: stopTokens(e.vocab, req.Sampling.Stop)}
	if prompts != nil {
		j.prompts = append([][]Token{nil}, prompts...)
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
	if len(j.prompt) == 0 {
		return fault.Field("prompt", "has no tokens")
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
// shares with keepsakes it takes before they make room.
func (e *Engine) begin(j *Job) bool {
	if !e.mayHold(j) || e.cells+j.cells > e.limits.Cells || !e.evictFor(j.streams, 0) {
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

// loop owns the models until the engine is closed.
func (e *Engine) loop() {
	defer close(e.done)
	for {
		if len(e.branches) == 0 {
			select {
			case f := <-e.commands:
				f()
				continue
			case f := <-e.controls:
				e.steer(f)
				continue
			case <-e.quit:
			}
		}
		for drained := false; !drained; {
			select {
			case f := <-e.commands:
				f()
			case f := <-e.controls:
				e.steer(f)
			case <-e.quit:
				e.abandon()
				return
			default:
				drained = true
			}
		}
		e.step()
	}
}

// abandon ends everything as cancelled.
func (e *Engine) abandon() {
	for _, j := range append(slices.Clone(e.queue), e.jobs...) {
		j.endLanes(-1, EndCancelled, nil)
		e.settleJob(j)
	}
}

// step decodes one pass of each model that has work and chooses the next token of every branch whose
// logits are there.
func (e *Engine) step() {
	started := e.config.Now()
	e.plan()
	e.forward()
	for _, b := range e.reading {
		if b.live() { // not ended by a failed pass
			b.job.progress(b)
		}
	}
	e.collectLogits()
	e.scores()
	for e.collectReady(); len(e.ready) > 0; e.collectReady() { // again where a draft was accepted
		e.choose()
		e.weigh()
		e.speculation.tokens += len(e.ready)
		for _, b := range e.ready {
			if len(b.lanes) > 0 {
				e.advance(b)
			}
		}
		for _, j := range slices.Clone(e.jobs) {
			if j.request.Map != nil {
				e.advanceSpans(j)
			}
			if j.exact() {
				j.tellCertain()
			}
		}
	}
	e.copyPendingLogits()
	spent := e.config.Now().Sub(started).Seconds()
	e.counters.Seconds += spent
	e.speculation.measure(e, spent)
}

// forward runs the planned passes, at the same time where that wins, and does what is asked of lanes meanwhile.
func (e *Engine) forward() {
	var wait sync.WaitGroup
	passes := 0
	planned := e.passes()
	measure := e.divide(len(planned))
	began := e.config.Now()
	for _, slots := range planned {
		for _, s := range slots {
			e.counters.Rows[s.name] += int64(len(s.rows))
			e.counters.Passes[s.name]++
		}
		if e.config.Serial {
			e.pass(slots)
			continue
		}
		passes++
		wait.Go(func() { e.pass(slots); e.passed <- struct{}{} })
	}
	for passes > 0 {
		select {
		case <-e.passed:
			passes--
		case f := <-e.controls:
			f()
		}
	}
	wait.Wait()
	measure(e.config.Now().Sub(began).Seconds())
	e.settleStopped()
	for _, s := range e.models {
		if s.err != nil {
			e.fail(s)
		}
	}
}

// fail ends the lanes of every job that uses a model whose pass failed.
func (e *Engine) fail(s *modelState) {
	e.config.Log.Error("forward pass failed", "model", s.name, "rows", len(s.rows), "error", s.err)
	cause := &Error{Code: string(fault.Internal), Message: fmt.Sprintf("the %s model failed: %v", s.name, s.err)}
	s.err = nil
	for _, j := range slices.Clone(e.jobs) {
		if slices.Contains(j.models, s) {
			j.broken = true
			j.endLanes(-1, EndError, cause)
			e.settleJob(j)
		}
	}
}
