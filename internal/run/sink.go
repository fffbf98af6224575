package run

import (
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

// sink takes an event from a decoder. It waits while the queue to the store is full, Patience at most: then
// the run ends.
func (h *Hub) sink(q *request, e decode.Event) {
	encoded := encode(e)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !q.finished && h.full(q) && !h.waitForRoom(q) {
		if q.job == nil {
			q.lost = true // attachOne ends the run
			return
		}
		h.tooSlow(q.active)
	}
	switch {
	case q.finished:
	case q.job == nil:
		q.held = append(q.held, encoded)
	default:
		h.accept(q, encoded)
	}
}

// tooSlow ends a run that the store cannot keep up with.
func (h *Hub) tooSlow(a *activeRun) {
	h.counters.SaveFailures++
	h.log.Error("the store is too slow for a run", "run", a.run.ID, "queue", len(h.pending))
	h.stopLater(h.abort(a, fault.New(fault.Unavailable, "cannot save: the store is too slow")))
}

// full reports whether an event of a request has to wait. The caller holds mu, as for all that follows here.
func (h *Hub) full(q *request) bool {
	return q.active.queued+len(q.held) >= h.config.QueueEvents || h.bytes >= h.config.QueueBytes
}

// waitForRoom waits until the queue is no longer full, or the request is over. It lets go of mu meanwhile.
func (h *Hub) waitForRoom(q *request) bool {
	h.counters.Stalls++
	timer := time.NewTimer(h.config.Patience)
	defer timer.Stop()
	for !q.finished && !q.lost && h.full(q) {
		room := h.room
		h.mu.Unlock()
		late := false
		select {
		case <-room:
		case <-timer.C:
			late = true
		}
		h.mu.Lock()
		if late {
			return false
		}
	}
	return true
}
