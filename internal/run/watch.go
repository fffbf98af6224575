package run

import (
	"context"

	"realign/internal/fault"
)

// watchBatch is how many events Next returns at most.
const watchBatch = 256

// feed is where watchers of a run wait for it. It exists while the run is active or has watchers.
// Hub.mu guards it.
type feed struct {
	run      string        // its id
	refs     int           // watchers, and one for the active run
	watchers int           // open watches
	seq      int           // number of the last saved event
	recent   []Event       // the last of them, ending with seq; empty when the run is not active
	changed  chan struct{} // closed and replaced when any of this changes
	fault    *fault.Error  // why events could not be saved
	faults   int           // how often that happened

	unfollow func() // ends what other servers tell; nil without any
	looks    int    // so many more looks into the store, for what another server may decode of the run
}

// join finds or makes the feed of a run. The caller holds mu.
func (h *Hub) join(run string, seq int) *feed {
	f := h.feeds[run]
	if f == nil {
		f = &feed{run: run, changed: make(chan struct{})}
		h.feeds[run] = f
	}
	f.refs++
	f.seq = max(f.seq, seq)
	return f
}

// leave gives up a reference to a feed, the last of which removes it. The caller holds mu.
func (h *Hub) leave(f *feed) {
	if f.refs--; f.refs == 0 {
		delete(h.feeds, f.run)
		if f.unfollow != nil {
			f.unfollow()
		}
	}
}

// broadcast wakes all who wait for the feed. The caller holds mu, as for fail and after.
func (f *feed) broadcast() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// publish takes an event that was saved. broadcast must follow.
func (f *feed) publish(e Event, keep int) {
	f.seq = max(f.seq, e.Seq)
	if len(f.recent) >= 2*keep {
		n := copy(f.recent, f.recent[len(f.recent)-keep:])
		clear(f.recent[n:])
		f.recent = f.recent[:n]
	}
	f.recent = append(f.recent, e)
}

// fail tells watchers why events could not be saved, each of them once.
func (f *feed) fail(cause *fault.Error) {
	f.fault = cause
	f.faults++
	f.broadcast()
}

// after copies events with numbers above seq, if memory has them.
func (f *feed) after(seq int) []Event {
	n := len(f.recent)
	if n == 0 || f.recent[0].Seq > seq+1 || f.recent[n-1].Seq <= seq {
		return nil
	}
	from := f.recent[seq+1-f.recent[0].Seq:]
	return append([]Event(nil), from[:min(len(from), watchBatch)]...)
}

// Watch follows a run. It holds no events, only the number of the last one it gave: one who reads slowly
// costs nothing and delays nobody. It is used by one goroutine at a time and must be closed.
type Watch struct {
	hub    *Hub   // whose run it is of
	feed   *feed  // of the run, shared with its other watches
	owner  string // of the run, for the store
	cursor int    // number of the last event given
	target int    // number of the last event when the watch began
	faults int    // failures of the feed that were told, as a count
	closed bool
}

// Watch follows a run from the event after the given number; 0 is from the beginning. A number above the
// last event's is Invalid.
func (h *Hub) Watch(ctx context.Context, owner, run string, after int) (*Watch, error) {
	// The feed comes before the look into the store, so that what is saved between the two is not missed.
	h.mu.Lock()
	f := h.join(run, 0)
	here := h.active[run] != nil
	if !here {
		h.follow(f)
	}
	h.mu.Unlock()
	if h.config.Peers != nil && !here {
		h.config.Peers.Flush(ctx)
	}
	stored, err := h.config.Store.Run(ctx, owner, run)
	h.mu.Lock()
	defer h.mu.Unlock()
	f.seq = max(f.seq, stored.Seq)
	if err == nil && h.remote(stored) {
		f.looks = lookAgain
	}
	if err == nil && h.closed {
		err = errClosed
	}
	if err == nil && (after < 0 || after > f.seq) {
		err = fault.Field("after", "%d is outside 0 to %d, the number of the last event", after, f.seq)
	}
	if err != nil {
		h.leave(f)
		return nil, err
	}
	f.watchers++
	return &Watch{hub: h, feed: f, owner: owner, cursor: after, target: f.seq}, nil
}

// Next returns the next events, 256 at most, and waits until there is one. A run that has ended may go on
// later: Next then waits, too. An Unavailable error says that events of the run could not be saved (then
// Next may be called again), or that the hub is closed.
func (w *Watch) Next(ctx context.Context) ([]Event, error) {
	h, f := w.hub, w.feed
	for {
		h.mu.Lock()
		seq, changed := f.seq, f.changed
		events := f.after(w.cursor)
		var err error
		if w.cursor >= seq {
			events = nil
			switch {
			case w.faults != f.faults:
				w.faults, err = f.faults, f.fault
			case h.done:
				err = errClosed
			}
		}
		h.mu.Unlock()
		if err != nil {
			return nil, err
		}
		// The feed keeps recent events only; older ones are in the store.
		if w.cursor < seq && len(events) == 0 {
			events, err = h.config.Store.Events(ctx, w.owner, f.run, w.cursor, watchBatch)
			if err != nil {
				return nil, err
			}
			if len(events) == 0 {
				return nil, fault.New(fault.NotFound, "the run was deleted")
			}
		}
		if len(events) > 0 {
			w.cursor = events[len(events)-1].Seq
			return events, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Wait waits until Next would return at once: one who watches many runs need not hold events of all.
func (w *Watch) Wait(ctx context.Context) error {
	for {
		w.hub.mu.Lock()
		ready := w.cursor < w.feed.seq || w.faults != w.feed.faults || w.hub.done
		changed := w.feed.changed
		w.hub.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Seq is the number of the last event that Next returned.
func (w *Watch) Seq() int { return w.cursor }

// CaughtUp reports whether Next has returned all events that were stored when the watch began.
func (w *Watch) CaughtUp() bool { return w.cursor >= w.target }

// Close ends the watch. It is safe to call twice.
func (w *Watch) Close() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	if !w.closed {
		w.closed = true
		w.feed.watchers--
		w.hub.leave(w.feed)
	}
}
