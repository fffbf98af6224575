package session

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// KeepDeleted is how long what was deleted can be restored, and how long a revoked link's snapshot is kept.
const KeepDeleted = 30 * 24 * time.Hour

// purgeEvery is how often it is looked for what was deleted long enough ago.
const purgeEvery = time.Hour

// Purged counts what was removed for good.
type Purged struct {
	Sessions int // deleted ones, with their runs
	Runs     int // deleted by themselves
	Links    int // revoked ones, with their snapshots
}

// PurgeConfig is what a Purger is made of.
type PurgeConfig struct {
	Store interface { // what is purged
		// Purge removes, for good, what was deleted or revoked before a time. Studies and sweeps are not among it: they are
		// gone as soon as they are deleted.
		Purge(ctx context.Context, before time.Time) (Purged, error)
	}
	Now    func() time.Time // the clock
	Tick   <-chan time.Time // when to look; nil is every hour
	Logger *slog.Logger     // for what was purged, and what failed
}

// Purger removes what was deleted more than KeepDeleted ago: at its start, and every hour.
// Its one goroutine runs from NewPurger to Close.
type Purger struct {
	config PurgeConfig
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// NewPurger starts to purge.
func NewPurger(c PurgeConfig) *Purger {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Purger{config: c, cancel: cancel}
	p.done.Go(func() { p.run(ctx) })
	return p
}

// run purges at every tick until Close.
func (p *Purger) run(ctx context.Context) {
	tick := p.config.Tick
	if tick == nil {
		every := time.NewTicker(purgeEvery)
		defer every.Stop()
		tick = every.C
	}
	for {
		p.purge(ctx)
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}

// purge looks once. What fails is tried again at the next tick.
func (p *Purger) purge(ctx context.Context) {
	before := p.config.Now().Add(-KeepDeleted)
	n, err := p.config.Store.Purge(ctx, before)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		p.config.Logger.Error("what was deleted cannot be purged", "error", err)
	case n != Purged{}:
		p.config.Logger.Info("purged what was deleted", "before", before.UTC().Format(time.RFC3339), "sessions", n.Sessions, "runs", n.Runs, "links", n.Links)
	}
}

// Close stops purging and waits until it has. It is safe to call twice.
func (p *Purger) Close() error {
	p.cancel()
	p.done.Wait()
	return nil
}
