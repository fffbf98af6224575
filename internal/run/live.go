package run

import (
	"encoding/json"

	"realign/internal/decode"
	"realign/internal/fault"
)

// live is a run that is being decoded, or whose end is not saved yet.
type live struct {
	run    Run
	client Client
	feed   *feed
	lanes  []laneState
	known  int // lanes that the stored run has

	tasks  []*task // unfinished decode requests
	busy   bool    // lanes are being added
	open   bool    // its stored status is, or is about to be, Running
	failed bool    // a lane ended with an error
	ending Map     // of a map: why some of its branches were cut off, so far
	next   int     // number of the last event queued
	queued int     // items in the queue or being saved
	slot   bool    // it counts against the limits

	unserve func() // ends the answers to other servers; nil without any
}

type laneState struct {
	sample int
	task   *task // that decodes it

	moves               int // of λ that were asked for
	tokens, savedTokens int
	ended, savedEnd     bool
}

// task is one decode request of a run.
type task struct {
	live     *live
	lanes    []int
	job      Job            // nil until it was taken
	held     []EncodedEvent // what came before that
	lost     bool           // some of that was dropped
	finished bool           // what its job still says is ignored
}

type EncodedEvent struct {
	Event decode.Event
	JSON  json.RawMessage
}

// item is one thing to save, in the queue to the writer.
type item struct {
	live   *live
	event  Event  // Seq 0: there is none
	typ    string // of the event
	lane   int    // of the event, or for EventLanes how many the run has then
	change *StatusChange
}

// put queues an event. The caller holds mu, as for all that follows here.
func (h *Hub) put(l *live, e decode.Event, encoded json.RawMessage) {
	l.next++
	h.enqueue(item{live: l, typ: e.Type, lane: e.Lane, event: Event{Run: l.run.ID, Seq: l.next, Event: encoded}})
}

func (h *Hub) enqueue(it item) {
	it.live.queued++
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
func (h *Hub) status(l *live, status Status) {
	l.open = status == Running
	change := &StatusChange{Run: l.run.ID, Status: status, Lanes: len(l.lanes), Instance: l.run.Instance}
	if !l.open {
		change.At = h.config.Now()
	}
	h.enqueue(item{live: l, change: change})
}

// accept takes one event of a task into the log.
func (h *Hub) accept(t *task, e EncodedEvent) {
	l := t.live
	switch e.Event.Type {
	case decode.EventToken, decode.EventLambda, decode.EventEnd:
		if e.Event.Lane < 0 || e.Event.Lane >= len(l.lanes) {
			return
		}
		lane := &l.lanes[e.Event.Lane]
		if lane.task != t || lane.ended {
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
	h.put(l, e.Event, e.JSON)
}

// finish ends a task: lanes still open end with cause, then come its stats, if any.
func (h *Hub) finish(t *task, cause *fault.Error, stats *EncodedEvent) {
	if t.finished {
		return
	}
	t.finished = true
	l := t.live
	for _, index := range t.lanes {
		h.endLane(l, index, cause)
	}
	if stats != nil {
		h.put(l, stats.Event, stats.JSON)
	}
	for i, other := range l.tasks {
		if other == t {
			l.tasks = append(l.tasks[:i:i], l.tasks[i+1:]...)
			break
		}
	}
	h.conclude(l)
}

// endLane puts the end of a lane that has none.
func (h *Hub) endLane(l *live, index int, cause *fault.Error) {
	lane := &l.lanes[index]
	if lane.ended {
		return
	}
	lane.ended, l.failed = true, true
	e := encode(endEvent(index, lane.sample, lane.tokens, cause))
	h.put(l, e.Event, e.JSON)
}

// conclude stores the run's status once nothing decodes for it, and forgets it once all is saved.
func (h *Hub) conclude(l *live) {
	if len(l.tasks) > 0 || l.busy {
		return
	}
	if l.open {
		status := Ended
		if l.failed {
			status = Failed
		}
		h.status(l, status)
	}
	if l.queued == 0 && h.live[l.run.ID] == l {
		h.drop(l)
	}
}

// cut ends whatever runs of a run with cause, and returns the jobs for the caller to stop when it has let
// go of mu.
func (h *Hub) cut(l *live, cause *fault.Error) (jobs []Job) {
	for len(l.tasks) > 0 {
		jobs = append(jobs, l.tasks[0].job)
		h.finish(l.tasks[0], cause, nil)
	}
	return jobs
}

// drop forgets a run of which everything is saved.
func (h *Hub) drop(l *live) {
	h.free(l)
	delete(h.live, l.run.ID)
	if l.unserve != nil {
		l.unserve()
	}
	l.feed.recent = nil
	if h.config.Peers != nil && l.feed.watchers > 0 { // it may go on elsewhere, or others may have saved its end
		l.feed.elsewhere = true
		h.follow(l.feed)
	}
	h.leave(l.feed)
}

// free gives back a run's place among those that run at once.
func (h *Hub) free(l *live) {
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
