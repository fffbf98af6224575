package run

import (
	"encoding/json"

	"realign/internal/decode"
	"realign/internal/fault"
)

// activeRun is a run that is being decoded, or whose end is not saved yet. Hub.mu guards it.
type activeRun struct {
	run    Run         // as it is stored, or is about to be
	client Client      // who started it: it counts against the client's limit
	feed   *feed       // where its watchers wait
	lanes  []laneState // by number; a λ-map has one
	known  int         // lanes that the stored run has

	requests []*request // unfinished decode requests
	busy     bool       // lanes are being added
	open     bool       // its stored status is, or is about to be, Running
	failed   bool       // a lane ended with an error
	ending   Map        // of a map: why some of its branches were cut off, so far
	next     int        // number of the last event queued
	queued   int        // items in the queue or being saved
	slot     bool       // it counts against the limits

	unserve func() // ends the answers to other servers; nil without any
}

// laneState is what the hub knows of a lane while its run is active. What is queued and what is saved are counted apart, since
// a store that fails takes back what was only queued.
type laneState struct {
	sample  int
	request *request // that decodes it

	moves       int  // of λ that were asked for; MaxMoves at most
	tokens      int  // token events queued so far
	savedTokens int  // and saved
	ended       bool // its end is queued
	savedEnd    bool // and saved
}

// request is one decode request of a run.
type request struct {
	active   *activeRun
	lanes    []int
	job      Job            // nil until it was taken
	held     []EncodedEvent // what came before that
	lost     bool           // some of that was dropped
	finished bool           // what its job still says is ignored
}

// EncodedEvent is an event with its JSON form, which is stored and sent as it is.
type EncodedEvent struct {
	Event decode.Event
	JSON  json.RawMessage
}

// logEntry is one thing to save, in the queue to the writer.
type logEntry struct {
	active *activeRun
	event  Event  // Seq 0: there is none
	typ    string // of the event
	lane   int    // of the event, or for EventLanes how many the run has then
	change *StatusChange
}

// appendEvent queues an event. The caller holds mu, as for all that follows here.
func (h *Hub) appendEvent(l *activeRun, e decode.Event, encoded json.RawMessage) {
	l.next++
	h.enqueue(logEntry{active: l, typ: e.Type, lane: e.Lane, event: Event{Run: l.run.ID, Seq: l.next, Event: encoded}})
}

func (h *Hub) enqueue(it logEntry) {
	it.active.queued++
	h.pending = append(h.pending, it)
	h.bytes += len(it.event.Event)
	h.signal()
}

func (h *Hub) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// status queues a change of the run's stored status.
func (h *Hub) status(l *activeRun, status Status) {
	l.open = status == Running
	change := &StatusChange{Run: l.run.ID, Status: status, Lanes: len(l.lanes), Instance: l.run.Instance}
	if !l.open {
		change.At = h.config.Now()
	}
	h.enqueue(logEntry{active: l, change: change})
}

// accept takes one event of a task into the log.
func (h *Hub) accept(t *request, e EncodedEvent) {
	l := t.active
	switch e.Event.Type {
	case decode.EventToken, decode.EventLambda, decode.EventEnd:
		if e.Event.Lane < 0 || e.Event.Lane >= len(l.lanes) {
			return
		}
		lane := &l.lanes[e.Event.Lane]
		if lane.request != t || lane.ended {
			return
		}
		if e.Event.Type == decode.EventToken {
			lane.tokens++
		}
		if e.Event.Type == decode.EventEnd {
			lane.ended = true
			l.failed = l.failed || e.Event.Reason == decode.EndError
		}
	case decode.EventFork, decode.EventBranch, decode.EventStep:
		if l.run.Spec.Map == nil || l.lanes[0].ended || e.Event.Fork == nil && e.Event.Branch == nil && e.Event.Span == nil {
			return
		}
		if e.Event.Branch != nil {
			l.branch(e.Event)
		}
	case decode.EventStats:
		if l.run.Spec.Map != nil {
			h.endMap(l)
		}
		h.finish(t, fault.New(fault.Internal, "the decoder forgot this lane"), &e)
		return
	}
	h.appendEvent(l, e.Event, e.JSON)
}

// finish ends a task: lanes still open end with cause, then come its stats, if any.
func (h *Hub) finish(t *request, cause *fault.Error, stats *EncodedEvent) {
	if t.finished {
		return
	}
	t.finished = true
	l := t.active
	for _, index := range t.lanes {
		h.endLane(l, index, cause)
	}
	if stats != nil {
		h.appendEvent(l, stats.Event, stats.JSON)
	}
	for i, other := range l.requests {
		if other == t {
			l.requests = append(l.requests[:i:i], l.requests[i+1:]...)
			break
		}
	}
	h.finalize(l)
}

// endLane puts the end of a lane that has none.
func (h *Hub) endLane(l *activeRun, index int, cause *fault.Error) {
	lane := &l.lanes[index]
	if lane.ended {
		return
	}
	lane.ended, l.failed = true, true
	e := encode(endEvent(index, lane.sample, lane.tokens, cause))
	h.appendEvent(l, e.Event, e.JSON)
}

// finalize stores the run's status once nothing decodes for it, and forgets it once all is saved.
func (h *Hub) finalize(l *activeRun) {
	if len(l.requests) > 0 || l.busy {
		return
	}
	if l.open {
		status := Ended
		if l.failed {
			status = Failed
		}
		h.status(l, status)
	}
	if l.queued == 0 && h.active[l.run.ID] == l {
		h.forget(l)
	}
}

// abort ends whatever runs of a run with cause, and returns the jobs for the caller to stop when it has let
// go of mu.
func (h *Hub) abort(l *activeRun, cause *fault.Error) (jobs []Job) {
	for len(l.requests) > 0 {
		jobs = append(jobs, l.requests[0].job)
		h.finish(l.requests[0], cause, nil)
	}
	return jobs
}

// forget forgets a run of which everything is saved.
func (h *Hub) forget(l *activeRun) {
	h.releaseSlot(l)
	delete(h.active, l.run.ID)
	if l.unserve != nil {
		l.unserve()
	}
	l.feed.recent = nil
	if h.config.Peers != nil && l.feed.refs > 1 { // somebody watches, or is about to: it may go on elsewhere, or others may have saved its end
		l.feed.looks = lookAgain
		h.follow(l.feed)
	}
	h.leave(l.feed)
}

// releaseSlot gives back a run's place among those that run at once.
func (h *Hub) releaseSlot(l *activeRun) {
	if !l.slot {
		return
	}
	l.slot = false
	h.slots--
	if h.owners[l.run.Owner]--; h.owners[l.run.Owner] == 0 {
		delete(h.owners, l.run.Owner)
	}
	if h.clients[l.client.name()]--; h.clients[l.client.name()] == 0 {
		delete(h.clients, l.client.name())
	}
}

func endEvent(lane, sample, index int, cause *fault.Error) decode.Event {
	return decode.Event{
		Type: decode.EventEnd, Lane: lane, Sample: sample, Index: index, Reason: decode.EndError,
		Error: &decode.Error{Code: string(cause.Kind), Message: cause.Message},
	}
}

// encode makes an event's JSON form. Numbers that JSON cannot hold cost a token its trace.
func encode(e decode.Event) EncodedEvent {
	b, err := json.Marshal(e)
	if err != nil {
		e.Logp, e.Top, e.KLReference, e.KLAligned, e.LogZ = nil, nil, nil, nil, nil
		if b, err = json.Marshal(e); err != nil {
			b = json.RawMessage(`{"type":"unreadable"}`)
		}
	}
	return EncodedEvent{e, b}
}
