package run

import (
	"context"
	"errors"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

// write is the writer: the only goroutine that appends to the store's log.
func (h *Hub) write() {
	var last time.Time
	for {
		var retry <-chan time.Time
		h.mu.Lock()
		if len(h.unsaved) > 0 {
			retry = time.After(h.config.Retry)
		}
		h.mu.Unlock()
		select {
		case <-h.wake:
			select {
			case <-time.After(h.config.Interval - time.Since(last)):
			case <-h.stop:
			}
			last = time.Now()
			h.flush()
		case <-retry:
			h.retryUnsaved()
		case <-h.stop:
			h.flush()
			h.retryUnsaved()
			return
		}
	}
}

// A commit takes so much at most: what waits longer is seen later.
const (
	commitEvents = 4096
	commitBytes  = 4 << 20
)

// flush saves what is queued.
func (h *Hub) flush() {
	for {
		items := h.dequeue()
		if len(items) == 0 {
			return
		}
		if err := h.save(items); err != nil && h.outlast(items, err) != nil {
			h.saveApart(items)
		}
	}
}

// dequeue takes what one commit saves off the queue, in order. It counts as queued until it is saved.
func (h *Hub) dequeue() []logEntry {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, size := 0, 0
	for n < len(h.pending) && n < commitEvents && size < commitBytes {
		size += len(h.pending[n].event.Event)
		n++
	}
	items := h.pending[:n:n]
	if h.pending = h.pending[n:]; len(h.pending) == 0 {
		h.pending = nil
	}
	return items
}

// saveApart saves each run by itself, so that one that cannot be saved does not cost the others their
// events.
func (h *Hub) saveApart(items []logEntry) {
	var order []*activeRun
	runs := make(map[*activeRun][]logEntry)
	for _, it := range items {
		if runs[it.active] == nil {
			order = append(order, it.active)
		}
		runs[it.active] = append(runs[it.active], it)
	}
	for _, a := range order {
		if err := h.save(runs[a]); err != nil {
			h.fail(a, runs[a], err)
		}
	}
}

// save appends items to the store in one transaction and shows them to the watchers.
func (h *Hub) save(items []logEntry) error {
	var batch Batch
	for _, it := range items {
		if it.change != nil {
			batch.Changes = append(batch.Changes, *it.change)
		} else {
			batch.Events = append(batch.Events, it.event)
		}
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), h.config.Outage)
	defer cancel()
	if err := h.config.Store.Append(ctx, batch); err != nil {
		if ctx.Err() != nil {
			err = fault.Wrap(errors.Join(ErrUnreachable, err), fault.Unavailable, "the store does not answer")
		}
		return err
	}
	h.tellPeers(items)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counters.Commits++
	h.counters.CommitSeconds += time.Since(began).Seconds()
	touched := make(map[*activeRun]bool)
	for _, it := range items {
		h.saved(it)
		touched[it.active] = true
	}
	for a := range touched {
		a.feed.broadcast()
		h.finalize(a)
	}
	h.makeRoom()
	return nil
}

// saved notes that an item is in the store.
func (h *Hub) saved(it logEntry) {
	a := it.active
	a.queued--
	if it.change != nil {
		a.run.Status, a.run.EndedAt = it.change.Status, it.change.At
		return
	}
	h.bytes -= len(it.event.Event)
	h.counters.Events++
	h.counters.Bytes += int64(len(it.event.Event))
	switch it.typ {
	case decode.EventToken:
		h.counters.Tokens++
		a.lanes[it.lane].savedTokens++
	case decode.EventBranch:
		a.lanes[0].savedTokens++
	case decode.EventEnd:
		a.lanes[it.lane].savedEnd = true
	case decode.EventLanes:
		a.known = it.lane
	}
	a.feed.publish(it.event, h.config.Recent)
}

// makeRoom wakes decoders that wait for room in the queue. The caller holds mu.
func (h *Hub) makeRoom() {
	close(h.room)
	h.room = make(chan struct{})
}

// fail gives up the unsaved events of a run: its jobs are stopped, its watchers told, and the ends of its
// lanes kept to be saved later.
func (h *Hub) fail(a *activeRun, items []logEntry, err error) {
	cause := fault.Of(err)
	cause = fault.Wrap(err, fault.Unavailable, "cannot save: %s", cause.Message)
	h.log.Error("cannot save a run's events", "run", a.run.ID, "err", err)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counters.SaveFailures++
	// Events of the run that wait are dropped, those of others stay.
	kept := h.pending[:0]
	for _, it := range h.pending {
		if it.active == a {
			items = append(items, it)
		} else {
			kept = append(kept, it)
		}
	}
	clear(h.pending[len(kept):])
	h.pending = kept
	for _, it := range items {
		h.bytes -= len(it.event.Event)
	}
	var jobs []Job
	for _, q := range a.requests {
		q.finished = true
		jobs = append(jobs, q.job)
	}
	// The log ends with what was saved: each lane gets an end after its last saved token, and the run a status.
	a.requests, a.queued, a.open, a.next = nil, 0, false, a.feed.seq
	a.lanes = a.lanes[:a.known]
	var tail []logEntry
	for i := range a.lanes {
		lane := &a.lanes[i]
		lane.ended, lane.tokens = true, lane.savedTokens
		if !lane.savedEnd {
			a.next++
			e := encode(decode.EndWithError(decode.Lane{Index: i, Sample: lane.sample}, lane.tokens, cause))
			tail = append(tail, logEntry{active: a, typ: decode.EventEnd, lane: i,
				event: Event{Run: a.run.ID, Seq: a.next, Event: e.JSON}})
			h.bytes += len(e.JSON)
		}
	}
	tail = append(tail, logEntry{active: a, change: &StatusChange{
		Run: a.run.ID, Status: Failed, At: h.config.Now(), Lanes: a.known}})
	a.queued = len(tail)
	// That is tried again until it can be saved.
	h.unsaved[a] = tail
	h.releaseSlot(a)
	a.feed.fail(cause)
	h.makeRoom()
	h.stopLater(jobs)
}

// stopLater stops jobs from a goroutine of its own: a job may be in the middle of a call to its sink.
func (h *Hub) stopLater(jobs []Job) {
	if len(jobs) > 0 {
		h.jobs.Go(func() { stopAll(jobs) })
	}
}

// retryUnsaved tries again to save the ends of runs whose events could not be saved.
func (h *Hub) retryUnsaved() {
	h.mu.Lock()
	broken := make([]*activeRun, 0, len(h.unsaved))
	for a := range h.unsaved {
		broken = append(broken, a)
	}
	h.mu.Unlock()
	for _, a := range broken {
		h.mu.Lock()
		tail := h.unsaved[a]
		delete(h.unsaved, a)
		h.mu.Unlock()
		err := h.save(tail)
		if err == nil {
			continue
		}
		mended := fault.KindOf(err) == fault.Conflict && h.mendFromLog(a)
		h.mu.Lock()
		if fault.KindOf(err) == fault.Unavailable || fault.KindOf(err) == fault.Conflict && !mended {
			h.unsaved[a] = tail
		} else { // it was deleted, or the log has its end: there is nothing to save
			for _, it := range tail {
				h.bytes -= len(it.event.Event)
			}
			h.forget(a)
		}
		h.mu.Unlock()
	}
}
