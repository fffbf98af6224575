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

// Config sets an engine's limits. Zero fields mean the defaults, which fill puts there. It is read by any
// goroutine and written by none once the engine runs.
type Config struct {
	PrefillChunk int              // prompt tokens read in one step, over all requests, so that streams never stall; 128 by default
	Queue        int              // requests that may wait for room, 64 by default; one more is refused as Busy
	Log          *slog.Logger     // for failures of models
	Now          func() time.Time // clock of all seconds that are reported and of measured costs; time.Now by default
	Kernel       Kernel           // plain Go by default
	PrefixCells  int              // cache cells kept for owners' next requests: half of them by default, none if negative

	// Speculation makes what says when branches draft, and how (see package speculate); nil: they never do. Each engine has
	// its own.
	Speculation func() Speculator

	// Serial decodes the models, and mixes the lanes, one after another instead of at the same time.
	Serial bool
}

// fill puts defaults in place of zero fields. With one processor the engine is serial in any case.
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
	// Fixed when the engine is made. Any goroutine may read them.
	pair   Pair
	config Config
	vocab  Vocabulary
	limits Limits // of the reference, and of every other model but for what it was trained for

	// Requests to the loop. Both channels are unbuffered: a sender waits until the loop takes the function, or
	// is done.
	commands chan func()   // run by the loop between steps
	controls chan func()   // of lanes: run by the loop between steps, and while models make a pass
	quit     chan struct{} // closed by Close: the loop then ends all jobs as cancelled
	done     chan struct{} // closed by the loop when it has ended
	close    sync.Once     // so that quit is closed once
	opened   sync.Map      // names of the aligned models that the loop knows to be open

	// The rest belongs to the loop: its goroutine alone reads and writes it. In a step it lends mixers and
	// models to goroutines, and waits for them.
	models      []*modelState  // models in use: the reference, then aligned ones in the order of first use
	jobs        []*Job         // requests being decoded
	queue       []*Job         // waiting for room
	resting     []bool         // by branch: left out of this step, so that other clients' are not late
	clients     int            // whose branches are in this step
	stopped     []*Job         // whose lanes were ended while models made a pass, and that are to be settled
	branches    []*branch      // of all jobs being decoded, in the order in which they were made
	freeSeqs    []Seq          // sequences that are promised to no job and held by no prefix entry
	cells       int            // cache cells promised to jobs that are being decoded
	prefixes    []*prefixEntry // prefix cache: entries of finished jobs, least recently used first
	prefixCells int            // that they hold
	silent      []float32      // see silence
	sources     []sourceSlot   // of encoder–decoder models
	steps       int            // so far; also says which branch prefills first, in turns
	counters    Counters       // as Counters returns them, but for the gauges
	drafting    drafting       // how branches draft in this step
	threads     threads        // measured costs of passes, by the number of threads
	mixers      []mixer        // one for each lane that may be mixed at the same time as others

	// Of one step. The slices are buffers that the next step uses again.
	passed  chan struct{} // gets one for every pass that was made
	need    []bool        // by model of the branch that is looked at: what branch.needs wrote last
	tasks   []laneTask    // what the mixers are to choose or to evaluate
	ready   []*branch     // branches whose logits this step's passes give
	reading []*branch     // branches still reading their prompt
}

// laneTask is a lane that is to choose, on its branch; without a lane it is the branch's span, or its evaluation.
type laneTask struct {
	branch *branch
	lane   *lane
}

// Counters are totals since the engine started, but for the gauges.
type Counters struct {
	Requests int64            `json:"requests"` // taken since the start; refused ones and those that only encode are not counted
	Tokens   int64            `json:"tokens"`   // emitted, over all lanes
	Rows     map[string]int64 `json:"rows"`     // decoded per model, by name
	Passes   map[string]int64 `json:"passes"`   // forward passes made per model, by name
	Seconds  float64          `json:"seconds"`  // spent in steps

	Lanes int `json:"lanes"` // gauge: being decoded
	Queue int `json:"queue"` // gauge: requests waiting for room
}

// NewEngine starts an engine over a pair, which it owns from now on: Close closes it. One goroutine, the loop,
// runs until then.
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
	if c.Speculation != nil {
		e.drafting.speculator = c.Speculation()
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
	e.sources = make([]sourceSlot, e.limits.Sources)
	e.passed = make(chan struct{})
	go e.loop()
	return e
}

// Limits is what the reference's context was built for, which holds for requests.
func (e *Engine) Limits() Limits { return e.limits }

// Close stops every request (their lanes end as cancelled), waits, and closes the pair.
func (e *Engine) Close() error {
	e.close.Do(func() { close(e.quit) })
	<-e.done
	return e.pair.Close()
}

// Counters returns a copy of the engine's counters, with the gauges as they are now; all is zero once the
// engine is closed.
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

// step decodes one pass of each model that has work and chooses the next token of every branch whose logits are
// there. The package comment has its parts in order.
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
		e.drafting.tokens += len(e.ready)
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
	e.drafting.measure(e, spent)
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
