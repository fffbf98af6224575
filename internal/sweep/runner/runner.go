// Package runner runs sweeps: it has decoded what the plan asks for, has rewards judge what comes, and asks for the next
// plan until there is none. All that it knows is in the store after every step, so a sweep goes on where it was,
// whatever died. It decodes nothing itself, which the experiment's generator does, and has no SQL, no HTTP and no messages.
package runner

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/instance"
	"realign/internal/lru"
	"realign/internal/sweep"
	"realign/internal/sweep/reward"
)

// Store keeps sweeps. What does not exist, or is somebody else's, is NotFound.
type Store interface {
	// CreateSweep makes an experiment, too, where the sweep's has the sweep's own id.
	CreateSweep(ctx context.Context, w sweep.Sweep) error
	// Sweep is one of an owner's sweeps.
	Sweep(ctx context.Context, owner, id string) (sweep.Sweep, error)
	// OpenSweeps are those of an instance that have not ended.
	OpenSweeps(ctx context.Context, instance string) ([]sweep.Sweep, error)

	// SweepsUnderWay are those of an instance that are decoded or judged. ClaimSweep makes one, in a state, another instance's;
	// it is a Conflict where the sweep is not in that state, or not from's.
	SweepsUnderWay(ctx context.Context, instance string) ([]sweep.Key, error)
	ClaimSweep(ctx context.Context, id string, state sweep.State, from, to string) error

	// MoveSweep is a Conflict where the sweep is not in the first state.
	MoveSweep(ctx context.Context, id string, from, to sweep.State, reason string, at time.Time, report []byte) error
	// DeleteSweep removes a sweep; its experiment, too, unless something else is about it. It is a Conflict where
	// the sweep has not ended.
	DeleteSweep(ctx context.Context, owner, id string) error

	// AddRewards adds to what a sweep is judged by.
	AddRewards(ctx context.Context, owner, id string, added []sweep.Added) error

	// AddValues keeps what is new and replaces what was missing; a value that is there already stays as it is.
	AddValues(ctx context.Context, id string, judged []sweep.Judged) error
	// Outputs are a sweep's, in the order of cells, with their values: of all prompts, or of one. Without texts
	// they take much less room.
	Outputs(ctx context.Context, id string, prompt *int, texts bool) ([]sweep.Output, error)

	// Experiment is one of an owner's experiments.
	Experiment(ctx context.Context, owner, id string) (experiment.Experiment, error)
	// ExperimentOutputs are those of experiment.Store.
	ExperimentOutputs(ctx context.Context, experiment string, prompt *int, texts bool) ([]experiment.Output, error)
}

// Pairs knows aligned models.
type Pairs interface {
	// Trained resolves an aligned model's name ("" is the pair's default) and tells the β it was trained with, 0 when
	// nobody says. The error names the field.
	Trained(pair, aligned string) (name string, beta float64, err error)

	// CheckMix returns an error that names the field unless λ can be mixed so in an aligned model.
	CheckMix(pair, aligned, mix string) error
}

// Config is what a Runner is made of. Zero fields below Pairs stand for the defaults.
type Config struct {
	Store     Store                 // of sweeps and values
	Generator *experiment.Generator // whose outputs are kept in the same store
	Pairs     Pairs                 // which models there are

	Rewards  reward.Environment // Beta is filled in for each sweep
	Now      func() time.Time   // time.Now
	Log      *slog.Logger       // slog.Default()
	Server   instance.Server    // nil: it has no name
	MaxOpen  int                // sweeps that have not ended; 32
	MaxBytes int                // of their prompts together, which are in memory; 16 MiB
}

// Runner runs sweeps. Its methods may be called from any goroutine.
type Runner struct {
	config Config // with the defaults filled in; it does not change
	log    *slog.Logger

	moving sync.Mutex // held while a sweep goes from one state to another, so that one at a time does

	mu      sync.Mutex         // guards what follows
	closed  bool               // no sweep is started any more
	reports lru.Cache[*cached] // by sweep
}

// New makes a runner in which no sweep runs yet. Tidy and Inherit go on with those that ran when servers were stopped.
func New(c Config) *Runner {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.MaxOpen == 0 {
		c.MaxOpen = 32
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 16 << 20
	}
	c.Server = instance.Or(c.Server)
	return &Runner{config: c, log: c.Log}
}

// Close stops what runs and waits for it. Nothing is lost: a runner over the same store goes on with it. It is safe to
// call twice.
func (r *Runner) Close() error {
	r.moving.Lock()
	defer r.moving.Unlock()
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.config.Generator.StopAll(judges)
	return nil
}

// isClosed reports whether Close was called.
func (r *Runner) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// Create checks a configuration whose prompts have been read, in all that can be wrong with it, and starts the sweep.
// The error is Invalid and names the field; Unavailable where a reward's endpoint does not answer; Busy where too many
// sweeps are open.
func (r *Runner) Create(ctx context.Context, owner, id string, c *sweep.Config) (sweep.Sweep, error) {
	return r.create(ctx, sweep.Sweep{ID: id, Owner: owner, Experiment: id}, c)
}

// CreateOver is Create for a sweep about the outputs of an experiment that exists, which c is about: see sweep.Over. Only
// what the configuration asks for and the experiment lacks is decoded. NotFound where it is not the owner's.
func (r *Runner) CreateOver(ctx context.Context, owner, id, over string, c *sweep.Config) (sweep.Sweep, error) {
	e, err := r.config.Store.Experiment(ctx, owner, over)
	if err != nil {
		return sweep.Sweep{}, err
	}
	outputs, err := r.config.Store.ExperimentOutputs(ctx, over, nil, false)
	if err != nil {
		return sweep.Sweep{}, err
	}
	w := sweep.Sweep{ID: id, Owner: owner, Experiment: over}
	w.Setup.Unweighted, err = c.Fits(&e.Setup, outputs)
	if err != nil {
		return sweep.Sweep{}, err
	}
	return r.create(ctx, w, c)
}

// create sets a sweep up and starts it. Of w it has the id, the owner, the experiment and whether that cannot be
// reweighted.
func (r *Runner) create(ctx context.Context, w sweep.Sweep, c *sweep.Config) (sweep.Sweep, error) {
	setup, rewards, err := r.setup(ctx, c)
	if err != nil {
		return sweep.Sweep{}, err
	}
	if err := reward.Check(ctx, rewards); err != nil {
		return sweep.Sweep{}, err
	}
	setup.Unweighted = w.Setup.Unweighted
	w.Setup, w.State, w.Instance, w.Created = setup, sweep.Running, r.config.Server.Name(), r.config.Now().UTC().Truncate(time.Microsecond)
	// What cannot be planned is refused before anything is kept.
	if _, err := sweep.Next(&w.Setup, nil); err != nil {
		return w, err
	}
	// Others create sweeps at the same time: from the count to the creation it is one at a time.
	r.moving.Lock()
	defer r.moving.Unlock()
	if r.isClosed() {
		return w, errClosed
	}
	open, err := r.config.Store.OpenSweeps(ctx, r.config.Server.Name())
	if err != nil {
		return w, err
	}
	if len(open) >= r.config.MaxOpen {
		return w, fault.New(fault.Busy, "%d sweeps have not ended yet: cancel one, or wait", len(open))
	}
	size := promptBytes(&w.Setup.Config)
	for i := range open {
		size += promptBytes(&open[i].Setup.Config)
	}
	if len(open) > 0 && size > r.config.MaxBytes {
		return w, fault.New(fault.Busy, "the prompts of the %d sweeps that have not ended and of this one have %d MiB, at most %d: cancel one, or wait",
			len(open), size>>20, r.config.MaxBytes>>20)
	}
	if err := r.config.Store.CreateSweep(ctx, w); err != nil {
		return w, err
	}
	return w, r.start(w)
}

// promptBytes is about how much a sweep's prompts have, in bytes.
func promptBytes(c *sweep.Config) (size int) {
	const row = 100 // beside its texts
	for i := range c.Prompts.Rows {
		p := &c.Prompts.Rows[i]
		size += row + len(p.Text) + len(p.System) + len(p.Context) + len(p.Reference) + len(p.Category)
		for _, m := range p.History {
			size += row + len(m.Content)
		}
		for _, t := range p.Turns {
			size += len(t)
		}
		for name, x := range p.Other {
			size += row + len(name) + len(x)
		}
	}
	return size
}

// errClosed refuses what comes after Close has begun.
var errClosed = fault.New(fault.Unavailable, "the server is stopping")

// setup looks up what a configuration leaves open, and opens its rewards.
func (r *Runner) setup(ctx context.Context, c *sweep.Config) (sweep.Setup, []reward.Named, error) {
	s := sweep.NewSetup(*c, r.config.Now())
	if err := c.Validate(); err != nil {
		return s, nil, err
	}
	var err error
	if s.Aligned, s.Beta, err = r.config.Pairs.Trained(c.Pair, c.Aligned); err != nil {
		return s, nil, err
	}
	if err := r.config.Pairs.CheckMix(c.Pair, s.Aligned, c.Mix); err != nil {
		return s, nil, err
	}
	rewards, err := r.rewards(ctx, &s)
	s.RewardInfos = reward.InfosOf(rewards)
	return s, rewards, err
}

// rewards opens the rewards of a setup, with its β₀.
func (r *Runner) rewards(ctx context.Context, s *sweep.Setup) ([]reward.Named, error) {
	e := r.config.Rewards
	e.Beta = s.Beta
	return reward.Open(ctx, &s.Config, e)
}

// start runs a sweep whose stored state is Running or Judging. Its rewards are opened by its own goroutine: what is stored
// with one sweep keeps neither the server from starting nor another sweep waiting.
func (r *Runner) start(w sweep.Sweep) error {
	e, err := r.config.Store.Experiment(context.Background(), w.Owner, w.Experiment)
	if err != nil {
		return err
	}
	return r.config.Generator.Start(experiment.Job{
		ID: w.ID, Experiment: w.Experiment, Setup: &e.Setup, Client: &judging{runner: r, sweep: w}, Stored: w.State == sweep.Judging,
	})
}

// find is a sweep that runs here, or nil.
func (r *Runner) find(id string) *judging {
	j, _ := r.config.Generator.Client(id).(*judging)
	return j
}

// move stores a state. It leaves w as it is, which others may read.
func (r *Runner) move(ctx context.Context, w *sweep.Sweep, to sweep.State, reason string, report []byte) error {
	if !w.State.Can(to) {
		return fault.New(fault.Conflict, "a sweep that is %s cannot become %s", w.State, to)
	}
	return r.config.Store.MoveSweep(ctx, w.ID, w.State, to, reason, r.config.Now(), report)
}

// change takes one of an owner's sweeps to another state.
func (r *Runner) change(ctx context.Context, owner, id string, to sweep.State, then func(w *sweep.Sweep) error) error {
	r.moving.Lock()
	defer r.moving.Unlock()
	if r.isClosed() {
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
		return r.config.Generator.Pause(ctx, id)
	})
}

// Resume goes on with a sweep that was paused.
func (r *Runner) Resume(ctx context.Context, owner, id string) error {
	return r.change(ctx, owner, id, sweep.Running, func(w *sweep.Sweep) error {
		if err := r.claim(ctx, w); err != nil {
			return err
		}
		if err := r.move(ctx, w, sweep.Running, "", nil); err != nil {
			return err
		}
		w.State, w.Reason = sweep.Running, ""
		return r.start(*w)
	})
}

// Cancel ends a sweep. What it has is kept, with the report of it.
func (r *Runner) Cancel(ctx context.Context, owner, id string) error {
	return r.change(ctx, owner, id, sweep.Cancelled, func(w *sweep.Sweep) error {
		if err := r.config.Generator.StopAnywhere(ctx, id); err != nil {
			return err
		}
		report, err := r.final(ctx, w)
		if err != nil {
			return err
		}
		if err := r.move(ctx, w, sweep.Cancelled, "", report); err != nil {
			return err
		}
		return r.config.Generator.Cancel(ctx, id)
	})
}

// Delete removes a sweep that has ended.
func (r *Runner) Delete(ctx context.Context, owner, id string) error {
	return r.config.Store.DeleteSweep(ctx, owner, id)
}

// JudgeAgain asks the endpoints of a sweep that has ended for what they failed at. Nothing is decoded, and what they answered
// stays.
func (r *Runner) JudgeAgain(ctx context.Context, owner, id string) error {
	return r.change(ctx, owner, id, sweep.Judging, func(w *sweep.Sweep) error { return r.judge(ctx, w) })
}

// AddRewards has more rewards judge the outputs of a sweep that has ended. Nothing is decoded. Errors are those of Create.
func (r *Runner) AddRewards(ctx context.Context, owner, id string, more []sweep.Reward) error {
	known, err := r.config.Store.Sweep(ctx, owner, id)
	if err != nil {
		return err
	}
	if !known.State.Ended() {
		return fault.New(fault.Conflict, "the sweep is %s: wait for its end", known.State)
	}
	added, err := r.added(ctx, &known.Setup.Config, more) // endpoints are asked, which takes a while: not while others wait
	if err != nil {
		return err
	}
	return r.change(ctx, owner, id, sweep.Judging, func(w *sweep.Sweep) error {
		if len(w.Setup.Config.Rewards) != len(known.Setup.Config.Rewards) {
			return fault.New(fault.Conflict, "other rewards were added at the same time: look at the sweep, and try again")
		}
		if err := r.config.Store.AddRewards(ctx, owner, id, added); err != nil {
			return err
		}
		w.Setup.Add(added)
		return r.judge(ctx, w)
	})
}

// added opens and tries rewards that are added to those of a configuration.
func (r *Runner) added(ctx context.Context, c *sweep.Config, more []sweep.Reward) (added []sweep.Added, err error) {
	all := *c
	all.Rewards = append(slices.Clone(all.Rewards), more...)
	setup, rewards, err := r.setup(ctx, &all)
	if err != nil {
		return nil, err
	}
	first := len(c.Rewards)
	for i := range more {
		added = append(added, sweep.Added{Reward: all.Rewards[first+i], Info: setup.RewardInfos[first+i]})
	}
	return added, reward.Check(ctx, rewards[first:])
}

// judge starts the judging of a sweep that has ended.
func (r *Runner) judge(ctx context.Context, w *sweep.Sweep) error {
	w.Before = w.State
	if err := r.claim(ctx, w); err != nil {
		return err
	}
	if err := r.move(ctx, w, sweep.Judging, w.Reason, nil); err != nil {
		return err
	}
	w.State = sweep.Judging
	r.config.Generator.Stop(w.ID) // it may have told its end just now, and not be through
	return r.start(*w)
}
