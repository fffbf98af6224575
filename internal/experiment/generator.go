package experiment

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Store keeps the outputs of experiments.
type Store interface {
	// AddOutputs keeps what is new, all of it or nothing; what is there already stays as it is.
	AddOutputs(ctx context.Context, experiment string, outputs []Output) (added int, err error)

	// ExperimentOutputs are in the order of their cells: of all prompts, or of one. Without texts they take much less room.
	ExperimentOutputs(ctx context.Context, experiment string, prompt *int, texts bool) ([]Output, error)
}

// Queue gets requests decoded, some time.
// Errors are those of messages that cannot be sent or stored; the generator tries again after them.
type Queue interface {
	// Start begins to load a pair here.
	Start(pair string) error

	// Offer queues work, unless it or its answer is there already.
	Offer(ctx context.Context, w decode.Work) error

	// Answers hands out answers, several at once, until ctx is done. One that take fails for is given again.
	Answers(ctx context.Context, batch string, atOnce int, take func(context.Context, decode.Answer) error) error

	// Withdraw takes back what nobody has begun, and with answers those that nobody has taken.
	Withdraw(ctx context.Context, batch string, answers bool) error
	// Forget removes all of a batch, answers included.
	Forget(ctx context.Context, batch string) error
}

// Client is the study or the sweep that outputs are decoded for. Its methods are called by goroutines of the Generator, of
// which Take's may be several; an error of theirs is told to those who watch, and the method is called again later.
type Client interface {
	// Plan are the items to decode next, given what is stored of the experiment, without texts; none when nothing is
	// missing. It is called again when all of them have come.
	Plan(ctx context.Context, outputs []Output) ([]Item, error)

	// Take has outputs that are stored, with their texts: perhaps twice, and not those that were stored before a restart.
	// ErrEnough says that it has them, and that Plan is to be asked again before more is decoded.
	Take(ctx context.Context, outputs []Output) error

	// Finish is called once Plan has returned nothing, with what is stored.
	Finish(ctx context.Context, outputs []Output) error
}

// ErrEnough is no failure: see Client.Take.
var ErrEnough = errors.New("nothing more is to be decoded as it was planned")

// Job is what a client wants decoded. Its batch in the queue is called by the client's id.
type Job struct {
	ID         string // of the study or the sweep
	Experiment string // its id
	Setup      *Setup // of the experiment; not to be written to
	Client     Client // the study or the sweep

	// Stored says that the job is about what is stored: nothing is decoded for it, and what a worker answers late is not taken.
	Stored bool
}

// Config is what a Generator is made of. Zero fields below Queue stand for the defaults.
type Config struct {
	Store Store // of the outputs
	Queue Queue // to the workers

	Elsewhere Elsewhere // nil: no other server shares the store

	Now    func() time.Time // time.Now
	Log    *slog.Logger     // slog.Default()
	Window int              // items of a job in the queue at once; 48
	AtOnce int              // answers of a job that are taken at once; 4
	Retry  time.Duration    // after a failure of the store, of the queue or of a client; 2 s
}

// Generator has jobs decoded in the background. All that it knows is in the store after every step, so a job that is
// started again goes on where it was, whatever died. Its methods may be called from any goroutine.
// Close ends it.
type Generator struct {
	config Config          // with the defaults filled in; it does not change
	ctx    context.Context // of all that runs
	cancel context.CancelFunc

	mu     sync.Mutex           // guards what follows
	closed bool                 // no job is started any more
	active map[string]*decoding // by the job's id
	paces  map[string]float64   // nil before the first
}

// NewGenerator makes a generator in which nothing is decoded yet.
func NewGenerator(c Config) *Generator {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	for _, number := range []struct {
		p *int
		n int
	}{{&c.Window, 48}, {&c.AtOnce, 4}} {
		if *number.p == 0 {
			*number.p = number.n
		}
	}
	if c.Retry == 0 {
		c.Retry = 2 * time.Second
	}
	g := &Generator{config: c, active: map[string]*decoding{}}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// Close stops what runs and waits for it. Nothing is lost: a job that is started again over the same store goes on. It is
// safe to call twice.
func (g *Generator) Close() error {
	g.mu.Lock()
	g.closed = true
	var all []*decoding
	for _, d := range g.active {
		all = append(all, d)
	}
	g.mu.Unlock()
	g.cancel()
	for _, d := range all {
		<-d.done
	}
	return nil
}

// Start begins a job, or goes on with it; one that runs is left alone. Unavailable after Close.
func (g *Generator) Start(j Job) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return fault.New(fault.Unavailable, "the server is stopping")
	}
	if g.active[j.ID] != nil {
		return nil
	}
	d := newDecoding(g, j)
	g.active[j.ID] = d
	g.hold(d)
	go func() {
		defer close(d.done)
		d.run()
	}()
	return nil
}

// Pause stops a job and takes back what no worker has begun. What workers have begun is decoded, and taken when the job is
// started again. A Client must call neither this nor Stop from its methods.
func (g *Generator) Pause(ctx context.Context, id string) error {
	if err := g.StopAnywhere(ctx, id); err != nil {
		return err
	}
	return g.config.Queue.Withdraw(ctx, id, false)
}

// Cancel is Pause for a job that will not be started again: nothing of it stays in the queue.
func (g *Generator) Cancel(ctx context.Context, id string) error {
	if err := g.StopAnywhere(ctx, id); err != nil {
		return err
	}
	return g.config.Queue.Forget(ctx, id)
}

// Stop ends the goroutines of a job, if it has some, and waits for them. What is queued of it stays.
func (g *Generator) Stop(id string) {
	g.mu.Lock()
	d := g.active[id]
	g.mu.Unlock()
	if d == nil {
		return
	}
	d.cancel()
	<-d.done
	g.forget(d)
	d.tell()
}

// ended is a job that is through, on its own goroutine.
func (g *Generator) ended(d *decoding) {
	d.cancel() // nothing reads answers any more when the queue goes
	if err := g.config.Queue.Forget(g.ctx, d.job.ID); err != nil && !errors.Is(err, context.Canceled) {
		g.config.Log.Warn("the queue of an experiment stays", "job", d.job.ID, "error", err)
	}
	g.forget(d)
	d.tell()
}

// forget takes a job out of those that run here, unless another one of the same id has taken its place.
func (g *Generator) forget(d *decoding) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.active[d.job.ID] == d {
		delete(g.active, d.job.ID)
		if d.release != nil {
			d.release()
		}
	}
}

// find is a job that runs here, or nil.
func (g *Generator) find(id string) *decoding {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.active[id]
}

// Client is whom a job is decoded for; nil for one that does not run here.
func (g *Generator) Client(id string) Client {
	d := g.find(id)
	if d == nil {
		return nil
	}
	return d.job.Client
}

// Each calls f for every output that was stored when a job was started, and for those that its client has taken since, in no order and
// without texts, unless the job does not run here. f must be quick and call nothing of the Generator.
func (g *Generator) Each(id string, f func(o *Output)) {
	d := g.find(id)
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.outputs {
		f(o)
	}
}

// Outputs are those that Each goes through, in the order of cells and without texts, from memory; it is false for a job that does not
// run here.
func (g *Generator) Outputs(id string) ([]Output, bool) {
	d := g.find(id)
	if d == nil {
		return nil, false
	}
	return d.all(), true
}
