package run

import (
	"encoding/json"

	"realign/internal/decode"
	"realign/internal/fault"
)

// activeRun is a run that is being decoded, or whose end is not saved yet. Hub.mu guards it.
// It is made by Start or activate, and given up by forget.
type activeRun struct {
	run    Run         // as it is stored, or is about to be
	client Client      // who started it: it counts against the client's limit
	feed   *feed       // where its watchers wait
	lanes  []laneState // by number; a λ-map has one
	known  int         // lanes that the stored run has

	requests []*request // unfinished decode requests
	busy     bool       // lanes are being added, or requests attached: it is not over yet
	open     bool       // its stored status is, or is about to be, Running
	failed   bool       // a lane ended with an error
	ending   Map        // of a map: why some of its branches were cut off, so far
	next     int        // number of the last event queued; that of the next one is one more
	queued   int        // items in the queue or being saved
	slot     bool       // it counts against the limits of runs at once

	unserve func() // ends the answers to other servers; nil without any
}

// laneState is what the hub knows of a lane while its run is active. What is queued and what is saved are counted apart, since
// a store that fails takes back what was only queued.
type laneState struct {
	sample  int      // Lane.Sample of the request
	request *request // that decodes it; nil where none does since the run became active

	moves       int  // of λ that were asked for; MaxMoves at most
	tokens      int  // token events queued so far
	savedTokens int  // and saved
	ended       bool // its end is queued
	savedEnd    bool // and saved
}

// request is one decode request of a run. It is made before its decoder has taken it (see decodeOne), attached to
// its run once that has, and finished with its stats or by an error. Hub.mu guards it.
type request struct {
	active   *activeRun     // whose lanes it decodes
	lanes    []int          // their numbers; of a map, 0
	asked    []decode.Lane  // the same as they were asked for; none of a map
	job      Job            // nil until it was taken
	held     []EncodedEvent // what came before that
	lost     bool           // some of that was dropped, as there was no room: attachOne ends the run
	finished bool           // what its job still says is ignored
}

// EncodedEvent is an event with its JSON form, which is stored and sent as it is.
type EncodedEvent struct {
	Event decode.Event
	JSON  json.RawMessage // one line, as encoding/json writes it
}

// logEntry is one thing to save, in the queue to the writer: an event, or a change of the run's status.
type logEntry struct {
	active *activeRun    // whose event or status it is
	event  Event         // Seq 0: there is none
	typ    string        // of the event
	lane   int           // of the event, or for EventLanes how many the run has then
	change *StatusChange // of the status; nil for an event
}

// appendEvent queues an event. The caller holds mu, as for all that follows here.
func (h *Hub) appendEvent(a *activeRun, e decode.Event, encoded json.RawMessage) {
	a.next++
	h.enqueue(logEntry{active: a, typ: e.Type, lane: e.Lane, event: Event{Run: a.run.ID, Seq: a.next, Event: encoded}})
}

// enqueue adds to the queue and wakes the writer. It does not wait for room: see sink.
func (h *Hub) enqueue(it logEntry) {
	it.active.queued++
	h.pending = append(h.pending, it)
	h.bytes += len(it.event.Event)
	h.signal()
}

// signal wakes the writer, unless it is to wake already.
func (h *Hub) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// status queues a change of the run's stored status.
func (h *Hub) status(a *activeRun, status Status) {
	a.open = status == Running
	change := &StatusChange{Run: a.run.ID, Status: status, Lanes: len(a.lanes), Instance: a.run.Instance}
	if !a.open {
		change.At = h.config.Now()
	}
	h.enqueue(logEntry{active: a, change: change})
}

// accept takes one event of a request into the log.
func (h *Hub) accept(q *request, e EncodedEvent) {
	a := q.active
	switch e.Event.Type {
	case decode.EventToken, decode.EventLambda, decode.EventEnd:
		if e.Event.Lane < 0 || e.Event.Lane >= len(a.lanes) {
			return
		}
		lane := &a.lanes[e.Event.Lane]
		if lane.request != q || lane.ended {
			return
		}
		if e.Event.Type == decode.EventToken {
			lane.tokens++
		}
		if e.Event.Type == decode.EventEnd {
			lane.ended = true
			a.failed = a.failed || e.Event.Reason == decode.EndError
		}
	case decode.EventFork, decode.EventBranch, decode.EventStep:
		if a.run.Spec.Map == nil || a.lanes[0].ended || e.Event.Fork == nil && e.Event.Branch == nil && e.Event.Span == nil {
			return
		}
		if e.Event.Branch != nil {
			a.branch(e.Event)
		}
	case decode.EventStats:
		if a.run.Spec.Map != nil {
			h.endMap(a)
		}
		h.finish(q, fault.New(fault.Internal, "the decoder forgot this lane"), &e)
		return
	}
	h.appendEvent(a, e.Event, e.JSON)
}

// finish ends a request: lanes still open end with cause, then come its stats, if any.
func (h *Hub) finish(q *request, cause *fault.Error, stats *EncodedEvent) {
	if q.finished {
		return
	}
	q.finished = true
	a := q.active
	for _, index := range q.lanes {
		h.endLane(a, index, cause)
	}
	if stats != nil {
		h.appendEvent(a, stats.Event, stats.JSON)
	}
	for i, other := range a.requests {
		if other == q {
			a.requests = append(a.requests[:i:i], a.requests[i+1:]...)
			break
		}
	}
	h.finalize(a)
}

// endLane puts the end of a lane that has none.
func (h *Hub) endLane(a *activeRun, index int, cause *fault.Error) {
	lane := &a.lanes[index]
	if lane.ended {
		return
	}
	lane.ended, a.failed = true, true
	e := encode(decode.EndWithError(decode.Lane{Index: index, Sample: lane.sample}, lane.tokens, cause))
	h.appendEvent(a, e.Event, e.JSON)
}

// finalize stores the run's status once nothing decodes for it, and forgets it once all is saved.
func (h *Hub) finalize(a *activeRun) {
	if len(a.requests) > 0 || a.busy {
		return
	}
	if a.open {
		status := Ended
		if a.failed {
			status = Failed
		}
		h.status(a, status)
	}
	if a.queued == 0 && h.active[a.run.ID] == a {
		h.forget(a)
	}
}

// abort ends whatever runs of a run with cause, and returns the jobs for the caller to stop when it has let
// go of mu.
func (h *Hub) abort(a *activeRun, cause *fault.Error) (jobs []Job) {
	for len(a.requests) > 0 {
		jobs = append(jobs, a.requests[0].job)
		h.finish(a.requests[0], cause, nil)
	}
	return jobs
}

// forget forgets a run of which everything is saved.
func (h *Hub) forget(a *activeRun) {
	h.releaseSlot(a)
	delete(h.active, a.run.ID)
	if a.unserve != nil {
		a.unserve()
	}
	a.feed.recent = nil
	if h.config.Peers != nil && a.feed.refs > 1 { // somebody watches, or is about to: it may go on elsewhere, or others may have saved its end
		a.feed.looks = lookAgain
		h.follow(a.feed)
	}
	h.leave(a.feed)
}

// releaseSlot gives back a run's place among those that run at once.
func (h *Hub) releaseSlot(a *activeRun) {
	if !a.slot {
		return
	}
	a.slot = false
	h.slots--
	if h.owners[a.run.Owner]--; h.owners[a.run.Owner] == 0 {
		delete(h.owners, a.run.Owner)
	}
	if h.clients[a.client.name()]--; h.clients[a.client.name()] == 0 {
		delete(h.clients, a.client.name())
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
