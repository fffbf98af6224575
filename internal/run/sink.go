package run

import (
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

// sink takes an event from a decoder. It waits while the queue to the store is full, Patience at most: then
// the run ends.
func (h *Hub) sink(t *request, e decode.Event) {
	encoded := encode(e)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !t.finished && h.full(t) && !h.waitForRoom(t) {
		if t.job == nil {
			t.lost = true // take will end it
			return
		}
		h.tooSlow(t.active)
	}
	switch {
	case t.finished:
	case t.job == nil:
		t.held = append(t.held, encoded)
	default:
		h.accept(t, encoded)
	}
}

// tooSlow ends a run that the store cannot keep up with.
func (h *Hub) tooSlow(l *activeRun) {
	h.counters.SaveFailures++
	h.log.Error("the store is too slow for a run", "run", l.run.ID, "queue", len(h.pending))
	h.stopLater(h.abort(l, fault.New(fault.Unavailable, "cannot save: the store is too slow")))
}

func (h *Hub) full(t *request) bool {
	return t.active.queued+len(t.held) >= h.config.QueueEvents || h.bytes >= h.config.QueueBytes
}

// waitForRoom waits until the queue is no longer full, or the task is over. It lets go of mu meanwhile.
func (h *Hub) waitForRoom(t *request) bool {
	h.counters.Stalls++
	timer := time.NewTimer(h.config.Patience)
	defer timer.Stop()
	for !t.finished && !t.lost && h.full(t) {
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
