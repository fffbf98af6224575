package run

import (
	"context"
	"slices"

	"realign/internal/decode"
	"realign/internal/fault"
)

// AddLanes decodes more lanes of a run, under its prompt, sampling parameters and seed, and returns their
// numbers. The run may have ended. Additions to one run take turns. It is a Conflict when the pair's files are no longer those
// of the run, and Busy when its turn does not come in time.
func (h *Hub) AddLanes(ctx context.Context, owner, runID string, lanes []decode.Lane) ([]int, error) {
	done, err := h.takeTurn(ctx, addition{owner, runID})
	if err != nil {
		return nil, err
	}
	defer done()
	run, err := h.config.Store.Run(ctx, owner, runID)
	if err != nil {
		return nil, err
	}
	if err := run.Spec.noMap("to which no lanes can be added"); err != nil {
		return nil, err
	}
	if run.Imported != nil { // its seal is of the lanes that came
		return nil, fault.New(fault.Conflict, "the run was imported: its lanes stay as they came; start a new one from its prompt")
	}
	if err := h.checkLanes(ctx, &run, lanes); err != nil {
		return nil, err
	}
	a, err := h.activate(ctx, run)
	if err == errElsewhere && h.config.Peers != nil {
		return h.ask(ctx, owner, runID, Control{Lanes: lanes})
	}
	if err != nil {
		return nil, err
	}
	defer h.jobs.Done()

	h.mu.Lock()
	first := len(a.lanes)
	h.mu.Unlock()
	lanes = NumberLanes(lanes, first)
	if n := first + len(lanes); n > decode.MaxLanes {
		err = fault.Field("lanes", "%d lanes, at most %d", n, decode.MaxLanes)
	}
	requests := newRequests(a, lanes)
	var jobs []Job
	if err == nil {
		jobs, err = h.decode(ctx, requests)
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	a.busy = false
	if err == nil && (h.active[a.run.ID] != a || h.unsaved[a] != nil) { // its events could not be saved meanwhile
		err = fault.New(fault.Unavailable, "the run was cut off")
	}
	if err != nil {
		for _, t := range requests {
			t.finished = true
		}
		h.stopLater(jobs)
		h.makeRoom()
		h.finalize(a)
		return nil, err
	}
	a.add(requests)
	h.status(a, Running)
	e := encode(decode.Event{Type: decode.EventLanes, Lanes: lanes})
	e.Event.Lane = len(a.lanes)
	h.appendEvent(a, e.Event, e.JSON)
	h.attach(a, requests, jobs)
	added := make([]int, len(lanes))
	for i := range lanes {
		added[i] = lanes[i].Index
	}
	return added, nil
}

// checkLanes checks lanes to be added by themselves.
func (h *Hub) checkLanes(ctx context.Context, run *Run, lanes []decode.Lane) error {
	_, files, err := h.config.Pairs.Models(ctx, run.Spec.Pair, run.Spec.Aligned)
	if err != nil {
		return err
	}
	if !slices.Equal(files, run.Spec.Files) {
		return fault.New(fault.Conflict, "the files of pair %s have changed since this run: start a new one", run.Spec.Pair)
	}
	spec := run.Spec
	spec.Lanes = NumberLanes(lanes, 0)
	return spec.Validate()
}

// errElsewhere says that a run cannot be decoded here just now; AddLanes asks the other server then.
var errElsewhere = fault.New(fault.Conflict, "the run is being decoded by another server")

// activate finds a run among the active ones or makes it active again, and reserves it for adding lanes, for a caller whose
// turn it is. On success the caller owes h.jobs.Done and must set busy to false.
func (h *Hub) activate(ctx context.Context, run Run) (*activeRun, error) {
	a, err := h.claim(run.ID)
	if a != nil || err != nil {
		return a, err
	}
	if run.Status == Running {
		// It is another server's, or ended between the two reads.
		if run, err = h.config.Store.Run(ctx, run.Owner, run.ID); err != nil {
			return nil, err
		}
		if run.Status == Running {
			return nil, errElsewhere
		}
	}
	t, err := ReadTexts(ctx, h.config.Store, run)
	if err != nil {
		return nil, err
	}
	client := clientOf(ctx)
	if err := h.reserve(run.Owner, client); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	run.Instance = h.config.Server.Name()
	a = &activeRun{run: run, client: client, slot: true, busy: true, known: len(t.Lanes), next: t.Seq, failed: t.Failed()}
	for i := range t.Lanes {
		n := len(t.Lanes[i].Tokens)
		a.lanes = append(a.lanes, laneState{sample: t.Lanes[i].Sample, tokens: n, savedTokens: n, ended: true, savedEnd: true})
	}
	a.feed = h.join(run.ID, t.Seq)
	h.active[run.ID] = a
	h.serveRun(a)
	return a, nil
}

// claim reserves an active run for adding lanes; nil when it is not active.
func (h *Hub) claim(run string) (*activeRun, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.active[run]
	switch {
	case h.closed:
		return nil, errClosed
	case a == nil:
		return nil, nil
	case h.unsaved[a] != nil:
		return nil, fault.New(fault.Unavailable, "the end of this run is not saved yet")
	}
	a.busy = true
	h.jobs.Add(1)
	return a, nil
}

// SetLambda moves λ of a lane from its next token on, or the focus of a live λ-map, which is its lane 0. It is a Conflict
// when the lane has ended.
func (h *Hub) SetLambda(ctx context.Context, owner, runID string, lane int, v decode.Vector) error {
	job, elsewhere, err := h.job(ctx, owner, runID, lane, func(a *activeRun) error {
		if m := a.run.Spec.Map; m != nil && !m.Live { // of a live one it moves the focus
			return a.run.Spec.noMap("which holds every λ already")
		}
		if err := decode.CheckLambda("lambda", v, a.run.Spec.lambdas()); err != nil {
			return err
		}
		if a.lanes[lane].moves++; a.lanes[lane].moves > MaxMoves {
			return fault.Field("lambda", "λ of this lane was moved %d times, the most there may be", MaxMoves)
		}
		return nil
	})
	if elsewhere {
		_, err = h.ask(ctx, owner, runID, Control{Lane: lane, Lambda: v})
	}
	if err != nil || elsewhere {
		return err
	}
	if job == nil {
		return fault.New(fault.Conflict, "lane %d has ended", lane)
	}
	return job.SetLambda(lane, v)
}

// Stop ends a lane of a run, or all of them for -1. Its `end` event follows. Stopping what has ended does
// nothing.
func (h *Hub) Stop(ctx context.Context, owner, runID string, lane int) error {
	if lane >= 0 {
		job, elsewhere, err := h.job(ctx, owner, runID, lane, func(a *activeRun) error {
			return a.run.Spec.noMap("which stops as a whole: name no lane")
		})
		if elsewhere {
			_, err = h.ask(ctx, owner, runID, Control{Lane: lane})
		}
		if err == errEnded {
			return nil
		}
		if err != nil || job == nil {
			return err
		}
		return job.Stop(lane)
	}
	run, err := h.find(ctx, owner, runID)
	if err == nil && run.elsewhere {
		_, err = h.ask(ctx, owner, runID, Control{Lane: -1})
	}
	if err == errEnded {
		return nil
	}
	if err != nil || run.elsewhere {
		return err
	}
	h.mu.Lock()
	var jobs []Job
	if run.active != nil {
		for _, q := range run.active.requests {
			jobs = append(jobs, q.job)
		}
	}
	h.mu.Unlock()
	for _, job := range jobs {
		if err := job.Stop(-1); err != nil {
			return err
		}
	}
	return nil
}

// StopSession ends all lanes of all runs of a session, as one does when it is deleted.
func (h *Hub) StopSession(owner, session string) { h.stopEverywhere(owner, session) }

// found is a run that somebody asks for: an active one, or how many lanes it has and whether another server decodes it.
type found struct {
	active    *activeRun // nil where it is not active here
	lanes     int        // as stored; only where active is nil
	elsewhere bool       // another server decodes it
}

// find finds an owner's run. Of one that is active, all that is needed is in memory: controls come often, and are not to wait
// for the store.
func (h *Hub) find(ctx context.Context, owner, runID string) (found, error) {
	h.mu.Lock()
	a := h.active[runID]
	h.mu.Unlock()
	if a != nil && a.run.Owner == owner { // neither changes
		return found{active: a}, nil
	}
	run, err := h.config.Store.Run(ctx, owner, runID)
	return found{lanes: run.Lanes, elsewhere: err == nil && h.remote(run)}, err
}

// job is what decodes a lane here; nil when the lane has ended, or another server decodes it.
func (h *Hub) job(ctx context.Context, owner, runID string, lane int, check func(*activeRun) error) (job Job, elsewhere bool, err error) {
	found, err := h.find(ctx, owner, runID)
	if err != nil {
		return nil, false, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	a, lanes := found.active, found.lanes
	if a != nil {
		lanes = len(a.lanes)
	}
	if lane < 0 || lane >= lanes {
		return nil, false, fault.New(fault.NotFound, "the run has no lane %d", lane)
	}
	if a == nil {
		return nil, found.elsewhere, nil
	}
	if err := check(a); err != nil {
		return nil, false, err
	}
	if s := a.lanes[lane]; !s.ended && s.request != nil {
		return s.request.job, false, nil
	}
	return nil, false, nil
}
