package web

import (
	"context"

	"realign/internal/fault"
	"realign/internal/run"
)

// watch is a run that a socket follows.
type watch struct {
	cancel context.CancelFunc // ends its feeder
	done   chan struct{}      // closed when its feeder has gone
}

// maxFailures is how often in a row a watch may fail before it ends. The client may watch again.
const maxFailures = 3

// watch begins to follow a run, anew if the socket does already.
func (k *socket) watch(run string, after int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.endWatch(run)
	if err := k.room(); err != nil {
		return err
	}
	w, err := k.server.hub.Watch(k.ctx, k.owner, run, after)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(k.ctx)
	this := &watch{cancel: cancel, done: make(chan struct{})}
	k.watches[run] = this
	k.server.metrics.watches.Inc()
	k.tasks.Go(func() {
		defer close(this.done)
		defer k.server.metrics.watches.Dec()
		defer cancel()
		defer w.Close()
		k.feed(ctx, run, w)
	})
	return nil
}

// room is Busy when the socket watches as many runs as it may. The caller holds mu.
func (k *socket) room() error {
	if len(k.watches) < maxWatches {
		return nil
	}
	for run, w := range k.watches {
		select {
		case <-w.done: // it ended by itself
			delete(k.watches, run)
		default:
		}
	}
	if len(k.watches) >= maxWatches {
		return fault.New(fault.Busy, "this socket watches %d runs already", maxWatches)
	}
	return nil
}

// unwatch ends a watch, if there is one.
func (k *socket) unwatch(run string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.endWatch(run)
}

// endWatch waits until nothing of the watch can be sent any more. The caller holds mu.
func (k *socket) endWatch(run string) {
	if w, ok := k.watches[run]; ok {
		w.cancel()
		<-w.done
		delete(k.watches, run)
	}
}

// feed offers a run's events to the writer, which takes them when the client has taken what came before.
func (k *socket) feed(ctx context.Context, run string, w *run.Watch) {
	for caught, failures := false, 0; ; {
		if !caught && w.CaughtUp() {
			caught = true
			if !k.offerFrame(ctx, caughtUpFrame{"caught_up", run, w.Seq()}) {
				return
			}
		}
		if w.Wait(ctx) != nil {
			return
		}
		err := k.feedBatch(ctx, run, w)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			failures = 0
			continue
		}
		if failures++; !k.tell(ctx, run, err) || failures == maxFailures {
			return
		}
	}
}

// feedBatch reads and offers what is there of a run. The socket's feeders take turns, so that it holds the
// events of one of them only.
func (k *socket) feedBatch(ctx context.Context, run string, w *run.Watch) error {
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	events, err := w.Next(ctx)
	if err != nil {
		return err
	}
	for _, frame := range encodeEvents(run, events) {
		if !k.offer(ctx, frame) {
			return ctx.Err()
		}
	}
	return nil
}

// tell tells the client why a watch stumbled, and reports whether it goes on: it does when events could
// not be saved, since more may come.
func (k *socket) tell(ctx context.Context, run string, err error) bool {
	f := fault.Of(err)
	if f.Kind == fault.Internal {
		k.log.Error("watch failed", "run", run, "error", err)
	}
	ok := k.offerFrame(ctx, errorFrame{Type: "error", Run: run, wireError: errorBody(f)})
	return ok && f.Kind == fault.Unavailable
}

// offerFrame encodes a frame and offers it.
func (k *socket) offerFrame(ctx context.Context, frame any) bool {
	data, err := marshal(frame)
	if err != nil {
		k.log.Error("frame not encoded", "error", err)
		return false
	}
	return k.offer(ctx, data)
}

// offer waits for the writer to take a frame, and reports whether it did.
func (k *socket) offer(ctx context.Context, frame []byte) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case k.frames <- frame:
		return true
	case <-ctx.Done():
		return false
	}
}
