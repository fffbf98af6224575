package run

import (
	"context"
	"errors"
	"time"

	"realign/internal/fault"
)

// ErrUnreachable is wrapped by errors of a store that could not be reached, as while its server is started again: it may be back
// in a moment, and what was written may have been saved or not.
var ErrUnreachable = errors.New("the store cannot be reached")

// outlast tries to save again while the store cannot be reached, Config.Outage at most. Decoders wait meanwhile as for a slow
// store.
func (h *Hub) outlast(items []logEntry, err error) error {
	for deadline := time.Now().Add(h.config.Outage); errors.Is(err, ErrUnreachable) && time.Now().Before(deadline); {
		h.log.Warn("the store cannot be reached: saving is tried again", "err", err)
		select {
		case <-time.After(h.config.Retry):
		case <-h.stop:
			return err
		}
		err = h.save(items)
	}
	return err
}

// Inherit ends the runs of a server that is dead. Runs that another server ends at the same moment are left to it.
func (h *Hub) Inherit(ctx context.Context, dead string) error {
	runs, err := h.config.Store.Running(ctx, dead)
	for i := 0; i < len(runs) && err == nil; i++ {
		err = h.endStored(ctx, runs[i])
	}
	return err
}

// Tidy ends the runs of this server that the store has as running and that nothing here decodes: those whose beginning or
// end could not be told from a failure while the store was out of reach.
func (h *Hub) Tidy(ctx context.Context) error {
	runs, err := h.config.Store.Running(ctx, h.config.Server.Name())
	for i := 0; i < len(runs) && err == nil; i++ {
		run := runs[i]
		if h.holds(run.ID) {
			continue
		}
		// What was active and is not is saved, so what the store says now is of a run that is lost, or became active again just now.
		states, err := h.config.Store.RunStates(ctx, []string{run.ID})
		if err != nil {
			return err
		}
		if states[run.ID].Status != Running || h.holds(run.ID) {
			continue
		}
		if err := h.endStored(ctx, run); err != nil {
			return err
		}
	}
	return err
}

// holds reports whether a run is active here, or being started.
func (h *Hub) holds(run string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.active[run] != nil || h.starting[run]
}

// endStored ends a run that nobody decodes. What cannot be ended is left for a person to look at; an error says that the store
// cannot save.
func (h *Hub) endStored(ctx context.Context, run Run) error {
	cut, err := h.recoverRun(ctx, run)
	switch {
	case err == nil:
		h.log.Info("ended a run that a server was stopped in", "run", run.ID, "instance", run.Instance, "lanes_cut", cut)
	case fault.KindOf(err) == fault.Unavailable || ctx.Err() != nil:
		return err
	case fault.KindOf(err) == fault.Conflict: // another server has ended it
	default:
		h.log.Error("cannot end a run that a server was stopped in", "run", run.ID, "err", err)
	}
	return nil
}

// Lost ends all runs that are decoded here: the other servers took this one for dead.
func (h *Hub) Lost() {
	taken := fault.New(fault.Unavailable, "this server did not answer for a while, and the others took it for dead")
	h.mu.Lock()
	var jobs []Job
	for _, a := range h.active {
		jobs = append(jobs, h.abort(a, taken)...)
	}
	h.mu.Unlock()
	stopAll(jobs)
}

// mendFromLog ends a run whose last events were saved though the store had not said so, or whose end another server has saved.
// It reports whether nothing is left to be done.
func (h *Hub) mendFromLog(a *activeRun) bool {
	ctx, cancel := context.WithTimeout(context.Background(), h.config.Outage)
	defer cancel()
	run, err := h.config.Store.Run(ctx, a.run.Owner, a.run.ID)
	switch {
	case err == nil && run.Status == Running:
		err = h.endStored(ctx, run)
	case err == nil:
		h.reached(run.ID, run.Seq)
	}
	return err == nil || fault.KindOf(err) == fault.NotFound
}

// reached tells those who watch a run here how far its log is by now, which they are to read.
func (h *Hub) reached(run string, seq int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.feeds[run]; f != nil && seq > f.seq {
		f.seq, f.recent = seq, nil
		f.broadcast()
	}
}

// tellPeers tells the other servers of events that are saved.
func (h *Hub) tellPeers(items []logEntry) {
	if h.config.Peers == nil {
		return
	}
	var order []string
	runs := make(map[string][]Event)
	for _, it := range items {
		if it.event.Seq == 0 {
			continue
		}
		id := it.active.run.ID
		if runs[id] == nil {
			order = append(order, id)
		}
		runs[id] = append(runs[id], it.event)
	}
	for _, id := range order {
		h.config.Peers.Publish(id, runs[id])
	}
}
