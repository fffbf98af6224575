package experiment

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

// decoding is a job that runs: one goroutine walks through its plan, others take answers. It lives from Generator.Start to
// its end, or until it is stopped.
type decoding struct {
	generator *Generator
	job       Job             // what the client wants; it does not change
	ctx       context.Context // ends when the job is through, stopped, or the generator closed
	cancel    context.CancelFunc
	done      chan struct{} // closed when nothing of it runs any more
	news      chan struct{} // has room for one: the client has an output
	release   func()        // ends the answers to other servers; nil without any

	mu      sync.Mutex       // guards what follows
	outputs map[Cell]*Output // stored when the job was started, and those that the client has taken since; without texts
	enough  bool             // the client has said ErrEnough since it was asked for a plan
	trouble string           // why nothing moves just now
	meter   meter            // of tokens
	workers map[string]int   // items that each has decoded since this began
	changed chan struct{}    // closed at the next change
}

// newDecoding makes a job ready to run; run is called once, by a goroutine of its own.
func newDecoding(g *Generator, j Job) *decoding {
	d := &decoding{
		generator: g, job: j, done: make(chan struct{}), news: make(chan struct{}, 1),
		outputs: map[Cell]*Output{}, workers: map[string]int{}, changed: make(chan struct{}),
	}
	d.ctx, d.cancel = context.WithCancel(g.ctx)
	d.meter.add(g.config.Now(), 0)
	return d
}

// tell wakes those who watch.
func (d *decoding) tell() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.changed)
	d.changed = make(chan struct{})
}

// run works until the job is through or stopped. What fails is tried again.
func (d *decoding) run() {
	var answers sync.WaitGroup
	defer answers.Wait()
	for d.try(d.load) {
	}
	if !d.job.Stored {
		d.start()
		answers.Go(func() {
			for d.try(func() error {
				return d.generator.config.Queue.Answers(d.ctx, d.job.ID, d.generator.config.AtOnce, d.take)
			}) {
			}
		})
	}
	for d.try(d.work) {
	}
	d.cancel()
}

// start has the pair loaded here; where it cannot be, workers elsewhere may have it.
func (d *decoding) start() {
	if err := d.generator.config.Queue.Start(d.job.Setup.Pair); err != nil {
		d.generator.config.Log.Warn("the pair of an experiment cannot be started here", "job", d.job.ID, "error", err)
		d.complain(err)
	}
}

// try runs f and, if it failed, waits and reports that it should be tried again.
func (d *decoding) try(f func() error) bool {
	err := f()
	if d.ctx.Err() != nil || err == nil {
		return false
	}
	d.complain(err)
	d.generator.config.Log.Warn("an experiment waits", "job", d.job.ID, "error", err)
	select {
	case <-time.After(d.generator.config.Retry):
		return true
	case <-d.ctx.Done():
		return false
	}
}

// complain notes why nothing moves, until something does.
func (d *decoding) complain(err error) {
	d.mu.Lock()
	d.trouble = fault.Of(err).Outside()
	d.mu.Unlock()
	d.tell()
}

// load reads what is stored.
func (d *decoding) load() error {
	outputs, err := d.generator.config.Store.ExperimentOutputs(d.ctx, d.job.Experiment, nil, false)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range outputs {
		d.outputs[outputs[i].Cell] = &outputs[i]
	}
	return nil
}

// all are the outputs so far, in order.
func (d *decoding) all() []Output {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]Output, 0, len(d.outputs))
	for _, o := range d.outputs {
		all = append(all, *o)
	}
	slices.SortFunc(all, func(x, y Output) int { return x.Compare(y.Cell) })
	return all
}

// work has everything decoded that the client asks for, to the end.
// It returns nil at the end, and an error to be called again.
func (d *decoding) work() error {
	for {
		d.mu.Lock()
		d.enough = false
		d.mu.Unlock()
		items, err := d.job.Client.Plan(d.ctx, d.all())
		if err != nil {
			return err
		}
		d.tell()
		if len(items) == 0 {
			break
		}
		if err := d.decode(items); err != nil {
			return err
		}
	}
	if err := d.job.Client.Finish(d.ctx, d.all()); err != nil {
		return err
	}
	d.generator.ended(d)
	return nil
}

// reoffer is how long nothing may come before what is waited for is offered again: a queue on another machine may
// have lost it.
const reoffer = time.Minute

// decode has items decoded, some of them in the queue at a time, and waits until the client has them, or enough.
func (d *decoding) decode(items []Item) error {
	items = d.job.Setup.fit(items)
	var waiting []Item
	for {
		if d.hasEnough() {
			return nil
		}
		waiting = slices.DeleteFunc(waiting, d.complete)
		for len(waiting) < d.generator.config.Window && len(items) > 0 {
			if !d.complete(items[0]) {
				if err := d.offer(items[0]); err != nil {
					return err
				}
				waiting = append(waiting, items[0])
			}
			items = items[1:]
		}
		if len(waiting) == 0 {
			return nil
		}
		select {
		case <-d.news:
		case <-time.After(reoffer):
			for _, item := range waiting {
				if err := d.offer(item); err != nil {
					return err
				}
			}
		case <-d.ctx.Done():
			return d.ctx.Err()
		}
	}
}

// hasEnough reports whether the client has said ErrEnough since it was asked for a plan.
func (d *decoding) hasEnough() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.enough
}

// complete reports whether the client has all cells of an item.
func (d *decoding) complete(item Item) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !slices.ContainsFunc(item.Cells(), func(c Cell) bool { return d.outputs[c] == nil })
}

// offer queues an item. The queue knows it by the item's JSON, so that what is there already is not queued twice.
func (d *decoding) offer(item Item) error {
	id, err := json.Marshal(item)
	if err != nil {
		return err
	}
	return d.generator.config.Queue.Offer(d.ctx, decode.Work{
		Batch: d.job.ID, ID: string(id), Pair: d.job.Setup.Pair, Request: d.job.Setup.Request(item, d.job.ID),
	})
}

// take stores an answer and hands it to the client. It may be called by several goroutines, and twice for one answer.
func (d *decoding) take(ctx context.Context, answer decode.Answer) error {
	var item Item
	if err := json.Unmarshal([]byte(answer.ID), &item); err != nil || item.Prompt < 0 || item.Prompt >= len(d.job.Setup.Prompts) {
		d.generator.config.Log.Error("an answer to nothing that was asked", "job", d.job.ID, "id", answer.ID)
		return nil
	}
	outputs := d.job.Setup.Outputs(item, &answer)
	added, err := d.generator.config.Store.AddOutputs(ctx, d.job.Experiment, outputs)
	if err != nil {
		return err
	}
	if added < len(outputs) { // some came before: those count
		if outputs, err = d.stored(ctx, item.Cells()); err != nil {
			return err
		}
	}
	err = d.job.Client.Take(ctx, outputs)
	enough := errors.Is(err, ErrEnough)
	if err != nil && !enough {
		return err
	}
	d.note(outputs, added, answer.Worker, enough)
	return nil
}

// note remembers outputs that the client has, of which some were new, and whether it has enough.
func (d *decoding) note(outputs []Output, added int, worker string, enough bool) {
	d.mu.Lock()
	d.enough = d.enough || enough
	now, tokens := d.generator.config.Now(), 0
	for i := range outputs {
		o := outputs[i]
		o.Text = ""
		d.outputs[o.Cell] = &o
		if i < added {
			tokens += o.Tokens
		}
	}
	if added > 0 {
		d.meter.add(now, tokens)
		d.workers[worker]++
	}
	d.trouble = ""
	rate := d.meter.rate(now)
	d.mu.Unlock()
	d.generator.notePace(d.job.Setup.Pair, rate)
	d.tell()
	select {
	case d.news <- struct{}{}:
	default:
	}
}

// stored reads outputs of one prompt, with texts.
func (d *decoding) stored(ctx context.Context, cells []Cell) ([]Output, error) {
	all, err := d.generator.config.Store.ExperimentOutputs(ctx, d.job.Experiment, &cells[0].Prompt, true)
	return slices.DeleteFunc(all, func(o Output) bool { return !slices.Contains(cells, o.Cell) }), err
}
