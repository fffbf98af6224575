package run

import (
	"context"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Peers are the other servers that share the store. A run is decoded by one server; the others let people watch and steer it.
// The log in the store is the truth: what Peers tells only saves a look into it, and may be lost. Methods may be called from
// any goroutine; Publish, Follow and Serve do not wait for the network.
type Peers interface {
	// Publish tells those who follow a run of events that are saved, in order.
	Publish(run string, events []Event)

	// Follow calls f with the events of a run that others publish, one call at a time, until stop is called. f must be quick.
	Follow(run string, f func([]Event)) (stop func())

	// Flush waits until what Follow asked for is in force.
	Flush(ctx context.Context)

	// Serve answers what other servers ask of a run that is decoded here, until stop is called.
	Serve(run string, f func(context.Context, Control) ([]int, error)) (stop func())

	// Ask asks the server that decodes a run. It is Unavailable where none answers.
	Ask(ctx context.Context, run string, c Control) ([]int, error)

	// StopAll asks all other servers to stop the runs of an owner, or of a session of theirs unless that is "".
	StopAll(owner, session string)

	// OnStopAll calls f with what others ask by StopAll, until stop is called.
	OnStopAll(f func(owner, session string)) (stop func())
}

// Control is what one server asks of the one that decodes a run.
type Control struct {
	Owner  string        `json:"owner"` // whose run it is
	Client Client        `json:"client"`
	Lane   int           `json:"lane"`             // to be moved or stopped; -1 stops all
	Lambda decode.Vector `json:"lambda,omitempty"` // where the lane is moved to; without, it is stopped
	Lanes  []decode.Lane `json:"lanes,omitempty"`  // to be added; then nothing else counts
}

// serveRun answers other servers about a run that is active here. The caller holds mu.
func (h *Hub) serveRun(a *activeRun) {
	if h.config.Peers == nil {
		return
	}
	id := a.run.ID
	a.unserve = h.config.Peers.Serve(id, func(ctx context.Context, c Control) ([]int, error) {
		h.mu.Lock()
		here := h.active[id] != nil
		h.mu.Unlock()
		if !here {
			return nil, errNobody
		}
		ctx = WithClient(ctx, c.Client)
		switch {
		case len(c.Lanes) > 0:
			return h.AddLanes(ctx, c.Owner, id, c.Lanes)
		case c.Lambda != nil:
			return nil, h.SetLambda(ctx, c.Owner, id, c.Lane, c.Lambda)
		}
		return nil, h.Stop(ctx, c.Owner, id, c.Lane)
	})
}

// errNobody answers a control of a run that the store calls running and that no server decodes.
var errNobody = fault.New(fault.Unavailable, "the server that decodes this run does not answer: if it has died, the others end the run within %d seconds", int(EndWithin.Seconds()))

// EndWithin is how soon after the death of a server the others have ended its runs, at most.
const EndWithin = 30 * time.Second

// remote reports whether a stored run is decoded by another server.
func (h *Hub) remote(run Run) bool { return h.config.Peers != nil && run.Status == Running }

// ask passes a control on to the server that decodes the run.
func (h *Hub) ask(ctx context.Context, owner, run string, c Control) ([]int, error) {
	c.Owner, c.Client = owner, clientOf(ctx)
	added, err := h.config.Peers.Ask(ctx, run, c)
	if fault.KindOf(err) != fault.Unavailable {
		return added, err
	}
	if now, lookErr := h.config.Store.Run(ctx, owner, run); lookErr == nil && now.Status != Running {
		return nil, errEnded
	}
	return nil, err
}

// errEnded answers a control of a run that ended while it was on its way.
var errEnded = fault.New(fault.Conflict, "the run has ended")

// follow has a feed told of what other servers save of its run. The caller holds mu; Peers.Flush must follow.
func (h *Hub) follow(f *feed) {
	if h.config.Peers == nil || f.unfollow != nil {
		return
	}
	f.unfollow = h.config.Peers.Follow(f.run, func(events []Event) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.feeds[f.run] == f && h.active[f.run] == nil {
			f.heard(events, h.config.Recent)
		}
	})
}

// heard takes events that another server has saved. What is missing before them is read from the store.
func (f *feed) heard(events []Event, keep int) {
	for _, e := range events {
		if e.Seq <= f.seq {
			continue
		}
		if len(e.Event) == 0 { // too large to be told
			f.seq, f.recent = e.Seq, nil
			continue
		}
		if n := len(f.recent); n > 0 && f.recent[n-1].Seq != e.Seq-1 {
			f.recent = nil
		}
		f.publish(e, keep)
	}
	f.looks = lookAgain
	f.broadcast()
}

// How often the log is looked at for what was not heard of runs that other servers decode.
const (
	lookEvery = time.Second
	lookAgain = 5  // looks at a run that has ended: it may go on elsewhere before what other servers tell arrives here
	lookAtAll = 15 // of so many looks one is at runs, too, that had ended when they were looked at last
)

// look brings the feeds of runs that other servers decode up to the log until the hub is closed: what peers tell may be lost.
func (h *Hub) look() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-tick.C:
		case <-h.stop:
			return
		}
		h.mu.Lock()
		var runs []string
		for id, f := range h.feeds {
			if (f.looks > 0 || n%lookAtAll == 0) && h.active[id] == nil {
				runs = append(runs, id)
			}
		}
		h.mu.Unlock()
		if len(runs) == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(h.ctx, 5*time.Second)
		states, err := h.config.Store.RunStates(ctx, runs)
		cancel()
		if err != nil {
			continue // it is looked at again soon
		}
		h.mu.Lock()
		for id, s := range states {
			// The run may have come here, or its feed gone, while the store was asked.
			if f := h.feeds[id]; f != nil && h.active[id] == nil {
				f.looks = max(0, f.looks-1)
				if s.Status == Running {
					f.looks = lookAgain
				}
				// Events that no message told of: watchers read them from the store.
				if s.Seq > f.seq {
					f.seq, f.recent = s.Seq, nil
					f.broadcast()
				}
			}
		}
		h.mu.Unlock()
	}
}

// RunState is how far a run is.
type RunState struct {
	Seq    int    // number of its last event that is saved
	Status Status // as the store has it
}

// stopHere stops the runs of an owner that are decoded here, or those of one session unless that is "".
func (h *Hub) stopHere(owner, session string) {
	h.mu.Lock()
	var jobs []Job
	for _, a := range h.active {
		if a.run.Owner == owner && (session == "" || a.run.Session == session) {
			for _, q := range a.requests {
				jobs = append(jobs, q.job)
			}
		}
	}
	h.mu.Unlock()
	stopAll(jobs)
}

// stopEverywhere stops the runs of an owner, or of one session, on all servers.
func (h *Hub) stopEverywhere(owner, session string) {
	h.stopHere(owner, session)
	if h.config.Peers != nil {
		h.config.Peers.StopAll(owner, session)
	}
}
