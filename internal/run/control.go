package run

import (
	"context"
	"slices"

	"realign/internal/decode"
	"realign/internal/fault"
)

// AddLanes decodes more lanes of a run, under its prompt, sampling parameters and seed, and returns their
// numbers. The run may have ended. It is a Conflict when the pair's files are no longer those of the run, or while
// other lanes are being added.
func (h *Hub) AddLanes(ctx context.Context, owner, runID string, lanes []decode.Lane) ([]int, error) {
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
	l, err := h.revive(ctx, run)
	if err != nil {
		return nil, err
	}
	defer h.jobs.Done()

	h.mu.Lock()
	first := len(l.lanes)
	h.mu.Unlock()
	lanes = NumberLanes(lanes, first)
	if n := first + len(lanes); n > decode.MaxLanes {
		err = fault.Field("lanes", "%d lanes, at most %d", n, decode.MaxLanes)
	}
	t := &request{active: l}
	var job Job
	if err == nil {
		job, err = h.decode(ctx, t, lanes)
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	l.busy = false
	if err == nil && (h.active[l.run.ID] != l || h.unsaved[l] != nil) { // its events could not be saved meanwhile
		err = fault.New(fault.Unavailable, "the run was cut off")
	}
	if err != nil {
		t.finished = true
		if job != nil {
			h.stopLater([]Job{job})
		}
		h.makeRoom()
		h.finalize(l)
		return nil, err
	}
	for _, lane := range lanes {
		t.lanes = append(t.lanes, lane.Index)
		l.lanes = append(l.lanes, laneState{sample: lane.Sample, request: t})
	}
	h.status(l, Running)
	e := encode(decode.Event{Type: decode.EventLanes, Lanes: lanes})
	e.Event.Lane = len(l.lanes)
	h.appendEvent(l, e.Event, e.JSON)
	h.attach(t, job)
	return slices.Clone(t.lanes), nil
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

// revive finds a run among the live ones or makes it live again, and reserves it for adding lanes. On
// success the caller owes h.jobs.Done and must set busy to false.
func (h *Hub) revive(ctx context.Context, run Run) (*activeRun, error) {
	l, err := h.claim(run.ID)
	if l != nil || err != nil {
		return l, err
	}
	if run.Status == Running {
		// It is another server's, or ended between the two reads.
		if run, err = h.config.Store.Run(ctx, run.Owner, run.ID); err != nil {
			return nil, err
		}
		if run.Status == Running {
			return nil, fault.New(fault.Conflict, "the run is being decoded by another server")
		}
	}
	t, err := ReadTranscript(ctx, h.config.Store, run)
	if err != nil {
		return nil, err
	}
	client := clientOf(ctx)
	if err := h.reserve(run.Owner, client); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l = &activeRun{run: run, client: client, slot: true, busy: true, known: len(t.Lanes), next: t.Seq, failed: t.Failed()}
	if other := h.active[run.ID]; other != nil {
		h.releaseSlot(l)
		h.jobs.Done()
		return nil, errAdding
	}
	for i := range t.Lanes {
		n := len(t.Lanes[i].Tokens)
		l.lanes = append(l.lanes, laneState{sample: t.Lanes[i].Sample, tokens: n, savedTokens: n, ended: true, savedEnd: true})
	}
	l.feed = h.join(run.ID, t.Seq)
	h.active[run.ID] = l
	return l, nil
}

var errAdding = fault.New(fault.Conflict, "lanes are being added to this run")

// claim reserves a live run for adding lanes; nil when it is not live.
func (h *Hub) claim(run string) (*activeRun, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.active[run]
	switch {
	case h.closed:
		return nil, errClosed
	case l == nil:
		return nil, nil
	case h.unsaved[l] != nil:
		return nil, fault.New(fault.Unavailable, "the end of this run is not saved yet")
	case l.busy:
		return nil, errAdding
	}
	l.busy = true
	h.jobs.Add(1)
	return l, nil
}

// SetLambda moves λ of a lane from its next token on. It is a Conflict when the lane has ended.
func (h *Hub) SetLambda(ctx context.Context, owner, runID string, lane int, v decode.Vector) error {
	job, err := h.job(ctx, owner, runID, lane, func(l *activeRun) error {
		if err := l.run.Spec.noMap("which holds every λ already"); err != nil {
			return err
		}
		if err := decode.CheckLambda("lambda", v, len(l.run.Spec.Aligned)); err != nil {
			return err
		}
		if l.lanes[lane].moves++; l.lanes[lane].moves > MaxMoves {
			return fault.Field("lambda", "λ of this lane was moved %d times, the most there may be", MaxMoves)
		}
		return nil
	})
	if err != nil {
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
		job, err := h.job(ctx, owner, runID, lane, func(l *activeRun) error {
			return l.run.Spec.noMap("which stops as a whole: name no lane")
		})
		if err != nil || job == nil {
			return err
		}
		return job.Stop(lane)
	}
	l, err := h.find(ctx, owner, runID)
	if err != nil {
		return err
	}
	h.mu.Lock()
	var jobs []Job
	if l.live != nil {
		for _, t := range l.live.requests {
			jobs = append(jobs, t.job)
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
func (h *Hub) StopSession(owner, session string) {
	h.mu.Lock()
	var jobs []Job
	for _, l := range h.active {
		if l.run.Session == session && l.run.Owner == owner {
			for _, t := range l.requests {
				jobs = append(jobs, t.job)
			}
		}
	}
	h.mu.Unlock()
	stopAll(jobs)
}

// found is a run that somebody asks for: a live one, or how many lanes it has.
type found struct {
	live  *activeRun
	lanes int
}

// find finds an owner's run. Of one that is live, all that is needed is in memory: controls come often, and are not to wait
// for the store.
func (h *Hub) find(ctx context.Context, owner, runID string) (found, error) {
	h.mu.Lock()
	l := h.active[runID]
	h.mu.Unlock()
	if l != nil && l.run.Owner == owner { // neither changes
		return found{live: l}, nil
	}
	run, err := h.config.Store.Run(ctx, owner, runID)
	return found{lanes: run.Lanes}, err
}

// job is what decodes a lane; nil when the lane has ended.
func (h *Hub) job(ctx context.Context, owner, runID string, lane int, check func(*activeRun) error) (Job, error) {
	found, err := h.find(ctx, owner, runID)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l, lanes := found.live, found.lanes
	if l != nil {
		lanes = len(l.lanes)
	}
	if lane < 0 || lane >= lanes {
		return nil, fault.New(fault.NotFound, "the run has no lane %d", lane)
	}
	if l == nil {
		return nil, nil
	}
	if err := check(l); err != nil {
		return nil, err
	}
	if s := l.lanes[lane]; !s.ended && s.request != nil {
		return s.request.job, nil
	}
	return nil, nil
}
