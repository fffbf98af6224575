package runner

import (
	"context"
	"slices"

	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/instance"
	"realign/internal/sweep"
)

// Several servers may share the store: a sweep runs on the one that it names, and another one takes it over when that one has
// died, or goes on with it after a pause.

// claim makes a sweep this server's, in the state that it is in.
func (r *Runner) claim(ctx context.Context, w *sweep.Sweep) error {
	return instance.Claim(r.config.Server, &w.Instance, func(from, to string) error {
		return r.config.Store.ClaimSweep(ctx, w.ID, w.State, from, to)
	})
}

// judges reports whether a client of the generator is a sweep.
func judges(c experiment.Client) bool { _, ok := c.(*judging); return ok }

// Inherit goes on with the sweeps that a dead server left.
func (r *Runner) Inherit(ctx context.Context, dead string) error { return r.takeUp(ctx, dead) }

// Tidy stops the sweeps that are not this server's any more, and starts those of its own that do not run.
func (r *Runner) Tidy(ctx context.Context) error {
	active := r.config.Generator.Active(judges)
	me := r.config.Server.Name()
	mine, err := r.config.Store.SweepsUnderWay(ctx, me)
	if err != nil {
		return err
	}
	for _, id := range active {
		if !slices.ContainsFunc(mine, func(w sweep.Key) bool { return w.ID == id }) {
			r.config.Generator.Stop(id)
		}
	}
	if !slices.ContainsFunc(mine, func(w sweep.Key) bool { return !slices.Contains(active, w.ID) }) {
		return nil
	}
	return r.takeUp(ctx, me)
}

// takeUp starts the sweeps of a server that are under way, without those that run.
func (r *Runner) takeUp(ctx context.Context, from string) error {
	if !r.moving.TryLock() { // what moves now is under way for a reason
		return nil
	}
	defer r.moving.Unlock()
	if r.isClosed() {
		return nil
	}
	keys, err := r.config.Store.SweepsUnderWay(ctx, from)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if r.find(k.ID) != nil {
			continue
		}
		w, err := r.config.Store.Sweep(ctx, k.Owner, k.ID)
		if err == nil && (w.Instance != from || w.State != sweep.Running && w.State != sweep.Judging) {
			continue
		}
		if err == nil {
			err = r.claim(ctx, &w)
		}
		if kind := fault.KindOf(err); kind == fault.Conflict || kind == fault.NotFound {
			continue // another server was faster
		}
		if err != nil {
			return err
		}
		if err := r.start(w); err != nil {
			r.log.Error("a sweep cannot go on", "sweep", w.ID, "error", err)
			if err := r.move(ctx, &w, sweep.Failed, fault.Of(err).Outside(), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// Lost stops all sweeps here: another server goes on with them.
func (r *Runner) Lost() {
	r.config.Generator.StopAll(judges)
}
