package runner

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/sweep"
	"realign/internal/sweep/reward"
)

// active is a sweep that runs: one goroutine walks through its plan, others take answers.
type active struct {
	runner  *Runner
	sweep   sweep.Sweep
	rewards []reward.Named // opened by run
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{} // closed when nothing of it runs any more
	news    chan struct{} // has room for one: an output or a value was kept

	mu      sync.Mutex                   // guards what follows
	outputs map[sweep.Cell]*sweep.Output // kept ones, without texts
	plan    sweep.Plan                   // that is worked on
	trouble string                       // why nothing moves just now
	meter   meter                        // of tokens
	workers map[string]int               // items that each has decoded since this began
	changed chan struct{}                // closed at the next change
}

func newActive(r *Runner, w sweep.Sweep) *active {
	a := &active{
		runner: r, sweep: w, done: make(chan struct{}), news: make(chan struct{}, 1),
		outputs: map[sweep.Cell]*sweep.Output{}, workers: map[string]int{}, changed: make(chan struct{}),
	}
	a.ctx, a.cancel = context.WithCancel(r.ctx)
	return a
}

// tell wakes those who watch.
func (a *active) tell() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.changed)
	a.changed = make(chan struct{})
}

// run works until the sweep is done or stopped. A store or a queue that fails is tried again.
func (a *active) run() {
	var answers sync.WaitGroup
	defer answers.Wait()
	for a.try(a.load) {
	}
	if a.ctx.Err() != nil {
		return
	}
	var err error
	if a.rewards, err = a.runner.rewards(a.ctx, &a.sweep.Setup); a.ctx.Err() != nil {
		return
	} else if err != nil {
		for a.try(func() error { return a.fail(err) }) {
		}
		a.cancel()
		return
	}
	if err := a.runner.config.Queue.Start(a.sweep.Setup.Config.Pair); err != nil {
		a.runner.log.Warn("the pair of a sweep cannot be started here", "sweep", a.sweep.ID, "error", err)
	}
	answers.Go(func() {
		for a.try(func() error {
			return a.runner.config.Queue.Answers(a.ctx, a.sweep.ID, a.runner.config.Judging, a.take)
		}) {
		}
	})
	for a.try(a.work) {
	}
	a.cancel()
}

// try runs f and, if it failed, waits and reports that it should be tried again.
func (a *active) try(f func() error) bool {
	err := f()
	if a.ctx.Err() != nil {
		return false
	}
	a.mu.Lock()
	a.trouble = ""
	if err != nil {
		a.trouble = fault.Of(err).Outside()
	}
	a.mu.Unlock()
	a.tell()
	if err == nil {
		return false
	}
	a.runner.log.Warn("a sweep waits", "sweep", a.sweep.ID, "error", err)
	select {
	case <-time.After(a.runner.config.Retry):
		return true
	case <-a.ctx.Done():
		return false
	}
}

// load reads what is kept.
func (a *active) load() error {
	outputs, err := a.runner.config.Store.Outputs(a.ctx, a.sweep.ID, nil, false)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range outputs {
		a.outputs[outputs[i].Cell] = &outputs[i]
	}
	return nil
}

// all are the outputs so far, in order.
func (a *active) all() []sweep.Output {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]sweep.Output, 0, len(a.outputs))
	for _, o := range a.outputs {
		all = append(all, *o)
	}
	slices.SortFunc(all, func(x, y sweep.Output) int { return x.Compare(y.Cell) })
	return all
}

// work goes through the stages of the plan to the end.
func (a *active) work() error {
	for {
		plan, err := sweep.Next(&a.sweep.Setup, a.all())
		if err != nil {
			return a.fail(err)
		}
		a.mu.Lock()
		a.plan = plan
		a.mu.Unlock()
		a.tell()
		if plan.Done {
			return a.finish(plan.Reason)
		}
		if err := reward.GaveUp(a.rewards); err != nil {
			return a.fail(err)
		}
		if err := a.judgeAgain(plan.Unjudged); err != nil {
			return err
		}
		if err := a.stage(plan.Items); err != nil {
			return err
		}
	}
}

// reoffer is how long nothing may come before what is waited for is offered again: a queue on another machine may
// have lost it.
const reoffer = time.Minute

// stage has items decoded and judged.
func (a *active) stage(items []sweep.Item) error {
	var waiting []sweep.Item
	for {
		waiting = slices.DeleteFunc(waiting, a.complete)
		for len(waiting) < a.runner.config.Window && len(items) > 0 {
			if !a.complete(items[0]) {
				if err := a.offer(items[0]); err != nil {
					return err
				}
				waiting = append(waiting, items[0])
			}
			items = items[1:]
		}
		if len(waiting) == 0 || reward.GaveUp(a.rewards) != nil {
			return nil
		}
		select {
		case <-a.news:
		case <-time.After(reoffer):
			for _, item := range waiting {
				if err := a.offer(item); err != nil {
					return err
				}
			}
		case <-a.ctx.Done():
			return a.ctx.Err()
		}
	}
}

// complete reports whether all cells of an item are kept and judged.
func (a *active) complete(item sweep.Item) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !slices.ContainsFunc(item.Cells(), func(c sweep.Cell) bool {
		o := a.outputs[c]
		return o == nil || !a.judged(o)
	})
}

// judged reports whether all rewards have said something of an output.
func (a *active) judged(o *sweep.Output) bool {
	return o.Failed() || !slices.ContainsFunc(a.rewards, func(r reward.Named) bool {
		_, ok := o.Rewards[r.Name]
		return !ok
	})
}

func (a *active) offer(item sweep.Item) error {
	id, err := json.Marshal(item)
	if err != nil {
		return err
	}
	config := &a.sweep.Setup.Config
	request := config.Request(item, a.sweep.Setup.Aligned)
	request.Run = a.sweep.ID // without an owner, for whom the engine would keep what it read: numbers must not depend on what ran before
	request.Totals = true
	if config.Reweights() {
		request.Evaluate = config.Evaluate()
	}
	return a.runner.config.Queue.Offer(a.ctx, decode.Work{Batch: a.sweep.ID, ID: string(id), Pair: config.Pair, Request: request})
}

// take keeps an answer and has it judged. It may be called by several goroutines, and twice for one answer.
func (a *active) take(ctx context.Context, answer decode.Answer) error {
	var item sweep.Item
	if err := json.Unmarshal([]byte(answer.ID), &item); err != nil || item.Prompt < 0 || item.Prompt >= len(a.sweep.Setup.Config.Prompts.Rows) {
		a.runner.log.Error("an answer to nothing that was asked", "sweep", a.sweep.ID, "id", answer.ID)
		return nil
	}
	outputs := a.sweep.Setup.Outputs(item, answer)
	added, err := a.runner.config.Store.AddOutputs(ctx, a.sweep.ID, outputs)
	if err != nil {
		return err
	}
	if added < len(outputs) { // some came before: those count
		if outputs, err = a.kept(ctx, item.Cells()); err != nil {
			return err
		}
	}
	if err := a.judge(ctx, outputs); err != nil {
		return err
	}
	a.mu.Lock()
	for _, o := range outputs[:added] {
		a.meter.add(a.runner.config.Now(), o.Tokens)
	}
	if added > 0 {
		a.workers[answer.Worker]++
	}
	a.mu.Unlock()
	a.note(outputs)
	return nil
}

// note remembers outputs as they are kept.
func (a *active) note(outputs []sweep.Output) {
	a.mu.Lock()
	for i := range outputs {
		o := outputs[i]
		o.Text = ""
		a.outputs[o.Cell] = &o
	}
	a.trouble = ""
	a.mu.Unlock()
	a.tell()
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// kept reads outputs of one prompt, with texts and values.
func (a *active) kept(ctx context.Context, cells []sweep.Cell) ([]sweep.Output, error) {
	all, err := a.runner.config.Store.Outputs(ctx, a.sweep.ID, &cells[0].Prompt, true)
	return slices.DeleteFunc(all, func(o sweep.Output) bool { return !slices.Contains(cells, o.Cell) }), err
}

// judgeAgain has cells judged that were kept before the server was stopped in the middle.
func (a *active) judgeAgain(cells []sweep.Cell) error {
	byPrompt := map[int][]sweep.Cell{}
	for _, c := range cells {
		byPrompt[c.Prompt] = append(byPrompt[c.Prompt], c)
	}
	for _, prompt := range slices.Sorted(maps.Keys(byPrompt)) {
		outputs, err := a.kept(a.ctx, byPrompt[prompt])
		if err == nil {
			err = a.judge(a.ctx, outputs)
		}
		if err != nil {
			return err
		}
		a.note(outputs)
	}
	return nil
}

// judge asks each reward for what it has not said of some outputs, fills it in, and keeps it.
func (a *active) judge(ctx context.Context, outputs []sweep.Output) error {
	rows := a.sweep.Setup.Config.Prompts.Rows
	var judged []sweep.Judged
	for _, r := range a.rewards {
		var asked []sweep.Output
		var of []sweep.Row
		var at []int
		for i, o := range outputs {
			if _, ok := o.Rewards[r.Name]; !ok && !o.Failed() {
				asked, of, at = append(asked, o), append(of, rows[o.Prompt]), append(at, i)
			}
		}
		if len(asked) == 0 {
			continue
		}
		values := r.Judge(ctx, of, asked)
		if ctx.Err() != nil { // what it says then is that it was stopped
			return ctx.Err()
		}
		for n, i := range at {
			v := sweep.Missing("the reward gave %d values for %d texts", len(values), len(asked))
			if len(values) == len(asked) {
				v = values[n]
			}
			o := &outputs[i]
			o.Rewards = maps.Clone(o.Rewards)
			if o.Rewards == nil {
				o.Rewards = map[string]sweep.Value{}
			}
			o.Rewards[r.Name] = v
			judged = append(judged, sweep.Judged{Cell: o.Cell, Values: map[string]sweep.Value{r.Name: v}})
		}
	}
	return a.runner.config.Store.AddValues(ctx, a.sweep.ID, judged)
}

// finish ends a sweep of which all is there.
func (a *active) finish(reason string) error {
	return a.end(sweep.Done, reason)
}

// fail ends a sweep that cannot go on.
func (a *active) fail(err error) error {
	a.runner.log.Error("a sweep failed", "sweep", a.sweep.ID, "error", err)
	return a.end(sweep.Failed, fault.Of(err).Outside())
}

func (a *active) end(state sweep.State, reason string) error {
	report, err := a.runner.encode(&a.sweep, a.all())
	if err != nil {
		return err
	}
	// Not under Runner.moving, whose holder may wait for this goroutine: the store takes one of two moves.
	if err := a.runner.move(a.ctx, &a.sweep, state, reason, report); err != nil && fault.KindOf(err) != fault.Conflict {
		return err
	}
	a.cancel() // nothing reads answers any more when the queue goes
	if err := a.runner.config.Queue.Forget(a.runner.ctx, a.sweep.ID); err != nil && !errors.Is(err, context.Canceled) {
		a.runner.log.Warn("the queue of a sweep stays", "sweep", a.sweep.ID, "error", err)
	}
	a.runner.mu.Lock()
	if a.runner.active[a.sweep.ID] == a {
		delete(a.runner.active, a.sweep.ID)
	}
	a.runner.mu.Unlock()
	return nil
}
