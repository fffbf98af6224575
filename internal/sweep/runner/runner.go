// Package runner runs sweeps: it queues what the plan asks for, keeps what comes back, lets rewards judge it, and
// asks for the next plan until there is none. All that it knows is in the store after every step, so a sweep goes on
// where it was, whatever died. It decodes nothing itself, and has no SQL, no HTTP and no messages.
package runner

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"sync"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/sweep"
	"realign/internal/sweep/reward"
)

// Store keeps sweeps. What does not exist, or is somebody else's, is NotFound.
type Store interface {
	CreateSweep(ctx context.Context, w sweep.Sweep) error
	Sweep(ctx context.Context, owner, id string) (sweep.Sweep, error)
	OpenSweeps(ctx context.Context, instance string) ([]sweep.Sweep, error)

	// MoveSweep is a Conflict where the sweep is not in the first state.
	MoveSweep(ctx context.Context, id string, from, to sweep.State, reason string, at time.Time, report []byte) error
	DeleteSweep(ctx context.Context, owner, id string) error

	// AddOutputs and AddValues keep what is new; what is there already stays as it is.
	AddOutputs(ctx context.Context, id string, outputs []sweep.Output) (added int, err error)
	AddValues(ctx context.Context, id string, judged []sweep.Judged) error
	Outputs(ctx context.Context, id string, prompt *int, texts bool) ([]sweep.Output, error)
}

// Queue gets requests decoded, some time.
type Queue interface {
	// Start begins to load a pair here.
	Start(pair string) error

	// Offer queues work, unless it or its answer is there already.
	Offer(ctx context.Context, w decode.Work) error

	// Answers hands out answers, several at once, until ctx is done. One that take fails for is given again.
	Answers(ctx context.Context, batch string, atOnce int, take func(context.Context, decode.Answer) error) error

	// Withdraw takes back what nobody has begun; Forget removes all of a batch.
	Withdraw(ctx context.Context, batch string, answers bool) error
	Forget(ctx context.Context, batch string) error
}

// Pairs knows aligned models.
type Pairs interface {
	// Trained resolves an aligned model's name ("" is the pair's default) and tells the β it was trained with, 0 when
	// nobody says. The error names the field.
	Trained(pair, aligned string) (name string, beta float64, err error)
}

// Config is what a Runner is made of. Zero fields below Pairs stand for the defaults.
type Config struct {
	Store Store
	Queue Queue
	Pairs Pairs

	Rewards  reward.Environment // Beta is filled in for each sweep
	Now      func() time.Time   // time.Now
	Log      *slog.Logger       // slog.Default()
	Instance string             // name of this server among those that share the store
	MaxOpen  int                // sweeps that have not ended; 32
	Window   int                // items of a sweep in the queue at once; 48
	Judging  int                // items of a sweep that are judged at once; 4
	Retry    time.Duration      // after a failure of the store or of the queue; 2 s
}

// Runner runs sweeps. Its methods may be called from any goroutine.
type Runner struct {
	config Config
	log    *slog.Logger
	ctx    context.Context // of all that runs
	cancel context.CancelFunc

	moving sync.Mutex // held while a sweep goes from one state to another, so that one at a time does

	mu      sync.Mutex // guards what follows
	active  map[string]*active
	reports map[string]*cached
}

// New makes a runner and goes on with the sweeps that ran when the server was stopped.
func New(ctx context.Context, c Config) (*Runner, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	for _, number := range []struct{ p, to *int }{
		{&c.MaxOpen, new(32)}, {&c.Window, new(48)}, {&c.Judging, new(4)},
	} {
		if *number.p == 0 {
			*number.p = *number.to
		}
	}
	if c.Retry == 0 {
		c.Retry = 2 * time.Second
	}
	r := &Runner{config: c, log: c.Log, active: map[string]*active{}, reports: map[string]*cached{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	open, err := c.Store.OpenSweeps(ctx, c.Instance)
	if err != nil {
		return nil, err
	}
	for _, w := range open {
		if w.State != sweep.Running {
			continue
		}
		if err := r.start(w); err != nil {
			r.log.Error("a sweep cannot go on", "sweep", w.ID, "error", err)
			if err := r.move(ctx, &w, sweep.Failed, fault.Of(err).Outside(), nil); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// Close stops what runs and waits for it. Nothing is lost: a runner over the same store goes on with it. It is safe to
// call twice.
func (r *Runner) Close() error {
	r.moving.Lock()
	defer r.moving.Unlock()
	r.cancel()
	r.mu.Lock()
	var all []*active
	for _, a := range r.active {
		all = append(all, a)
	}
	r.mu.Unlock()
	for _, a := range all {
		<-a.done
	}
	return nil
}

// NewID is an identifier nobody else has: 80 random bits, fit for an address.
func NewID() string { return strings.ToLower(rand.Text()[:16]) }

// Create checks a configuration whose prompts have been read, in all that can be wrong with it, and starts the sweep.
// The error is Invalid and names the field; Unavailable where a reward's endpoint does not answer; Busy where too many
// sweeps are open.
func (r *Runner) Create(ctx context.Context, owner, id string, c *sweep.Config) (sweep.Sweep, error) {
	setup, rewards, err := r.setup(c)
	if err != nil {
		return sweep.Sweep{}, err
	}
	if err := reward.Check(ctx, rewards); err != nil {
		return sweep.Sweep{}, err
	}
	w := sweep.Sweep{ID: id, Owner: owner, Instance: r.config.Instance, Setup: setup, State: sweep.Running, Created: r.config.Now().UTC().Truncate(time.Microsecond)}
	if _, err := sweep.Next(&w.Setup, nil); err != nil {
		return w, err
	}
	r.moving.Lock()
	defer r.moving.Unlock()
	if r.ctx.Err() != nil {
		return w, errClosed
	}
	open, err := r.config.Store.OpenSweeps(ctx, r.config.Instance)
	if err != nil {
		return w, err
	}
	if len(open) >= r.config.MaxOpen {
		return w, fault.New(fault.Busy, "%d sweeps have not ended yet: cancel one, or wait", len(open))
	}
	if err := r.config.Store.CreateSweep(ctx, w); err != nil {
		return w, err
	}
	return w, r.start(w)
}

var errClosed = fault.New(fault.Unavailable, "the server is stopping")

// setup looks up what a configuration leaves open, and opens its rewards.
func (r *Runner) setup(c *sweep.Config) (sweep.Setup, []reward.Named, error) {
	s := sweep.Setup{Config: *c}
	if err := c.Validate(); err != nil {
		return s, nil, err
	}
	var err error
	if s.Aligned, s.Beta, err = r.config.Pairs.Trained(c.Pair, c.Aligned); err != nil {
		return s, nil, err
	}
	rewards, err := r.rewards(&s)
	for _, named := range rewards {
		info := named.Info()
		s.Judges = append(s.Judges, sweep.Judge{Name: named.Name, Title: info.Title, Unit: info.Unit, Direction: info.Direction})
	}
	return s, rewards, err
}

func (r *Runner) rewards(s *sweep.Setup) ([]reward.Named, error) {
	e := r.config.Rewards
	e.Beta = s.Beta
	return reward.Open(&s.Config, e)
}

// start runs a sweep whose stored state is Running.
func (r *Runner) start(w sweep.Sweep) error {
	rewards, err := r.rewards(&w.Setup)
	if err != nil {
		return err
	}
	a := newActive(r, w, rewards)
	r.mu.Lock()
	r.active[w.ID] = a
	r.mu.Unlock()
	go func() {
		defer close(a.done)
		a.run()
	}()
	return nil
}

// stop ends the goroutines of a sweep, if it has some, and waits for them.
func (r *Runner) stop(id string) {
	r.mu.Lock()
	a := r.active[id]
	r.mu.Unlock()
	if a == nil {
		return
	}
	a.cancel()
	<-a.done
	r.mu.Lock()
	delete(r.active, id)
	r.mu.Unlock()
	a.tell()
}

// move stores a state.
func (r *Runner) move(ctx context.Context, w *sweep.Sweep, to sweep.State, reason string, report []byte) error {
	if !w.State.Can(to) {
		return fault.New(fault.Conflict, "a sweep that is %s cannot become %s", w.State, to)
	}
	if err := r.config.Store.MoveSweep(ctx, w.ID, w.State, to, reason, r.config.Now(), report); err != nil {
		return err
	}
	w.State, w.Reason = to, reason
	return nil
}

// change takes one of an owner's sweeps to another state.
func (r *Runner) change(ctx context.Context, owner, id string, to sweep.State, then func(w *sweep.Sweep) error) error {
	r.moving.Lock()
	defer r.moving.Unlock()
	if r.ctx.Err() != nil {
		return errClosed
	}
	w, err := r.config.Store.Sweep(ctx, owner, id)
	if err != nil || w.State == to {
		return err
	}
	if !w.State.Can(to) {
		return fault.New(fault.Conflict, "a sweep that is %s cannot become %s", w.State, to)
	}
	return then(&w)
}

// Pause lets a sweep rest: what workers have begun is finished and kept, and nothing new is begun. Pausing one that
// rests does nothing.
func (r *Runner) Pause(ctx context.Context, owner, id string) error {
	return r.change(ctx, owner, id, sweep.Paused, func(w *sweep.Sweep) error {
		if err := r.move(ctx, w, sweep.Paused, "", nil); err != nil {
			return err
		}
		r.stop(id)
		return r.config.Queue.Withdraw(ctx, id, false)
	})
}

// Resume goes on with a sweep that was paused.
func (r *Runner) Resume(ctx context.Context, owner, id string) error {
	return r.change(ctx, owner, id, sweep.Running, func(w *sweep.Sweep) error {
		if err := r.move(ctx, w, sweep.Running, "", nil); err != nil {
			return err
		}
		return r.start(*w)
	})
}

// Cancel ends a sweep. What it has is kept, with the report of it.
func (r *Runner) Cancel(ctx context.Context, owner, id string) error {
	return r.change(ctx, owner, id, sweep.Cancelled, func(w *sweep.Sweep) error {
		r.stop(id)
		report, err := r.final(ctx, w)
		if err != nil {
			return err
		}
		if err := r.move(ctx, w, sweep.Cancelled, "", report); err != nil {
			return err
		}
		return r.config.Queue.Forget(ctx, id)
	})
}

// Delete removes a sweep that has ended.
func (r *Runner) Delete(ctx context.Context, owner, id string) error {
	return r.config.Store.DeleteSweep(ctx, owner, id)
}
