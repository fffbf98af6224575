package run

import (
	"context"
	"slices"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/title"
)

// Start checks a spec, hands it to the decoder and saves the new run, in the session named or, for "", in
// a new one titled by the prompt. Lanes are numbered by their place. A refusal leaves nothing behind:
// Invalid names the field, NotFound is for the session or parent, Busy for limits.
func (h *Hub) Start(ctx context.Context, owner, sessionID string, spec Spec) (Run, error) {
	if sessionID != "" {
		if err := h.config.Store.HasSession(ctx, owner, sessionID); err != nil {
			return Run{}, err
		}
	}
	if err := h.resolve(ctx, owner, &spec); err != nil {
		return Run{}, err
	}
	client := clientOf(ctx)
	// A place among the owner's runs is taken before anything is decoded; it is the run's until its end.
	if err := h.reserve(owner, client); err != nil {
		return Run{}, err
	}
	defer h.jobs.Done()

	now := h.config.Now()
	run := Run{
		ID: id.New(), Session: sessionID, Owner: owner, Instance: h.config.Server.Name(),
		Spec: spec, Status: Running, CreatedAt: now, Lanes: spec.streams(),
	}
	name := ""
	if sessionID == "" {
		run.Session, name = id.New(), title.Of(spec.Prompt)
	}
	a := &activeRun{run: run, client: client, open: true, slot: true, known: spec.streams()}
	requests := newRequests(a, spec.Lanes)
	a.add(requests)
	jobs, err := h.decode(ctx, requests)
	if err == nil {
		h.mu.Lock()
		h.starting[run.ID] = true
		h.mu.Unlock()
		// It is decoded already: whoever asked for it may leave now, and it is kept all the same.
		err = h.config.Store.CreateRun(context.WithoutCancel(ctx), run, name)
	}
	if err != nil {
		stopAll(jobs)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.starting, run.ID)
	if err != nil {
		for _, t := range requests {
			t.finished = true
		}
		h.makeRoom()
		h.releaseSlot(a)
		return Run{}, err
	}
	h.counters.Runs++
	// From here on the run can be watched and steered.
	a.feed = h.join(run.ID, 0)
	h.active[run.ID] = a
	h.serveRun(a)
	h.attach(a, requests, jobs)
	return run, nil
}

// resolve completes a spec from outside and checks it.
func (h *Hub) resolve(ctx context.Context, owner string, spec *Spec) error {
	if spec.Pair == "" {
		return fault.Field("pair", "is empty")
	}
	names, files, err := h.config.Pairs.Models(ctx, spec.Pair, spec.Aligned)
	if err != nil {
		return err
	}
	spec.Aligned, spec.Files, spec.Build = names, files, h.config.Build
	spec.Lanes = NumberLanes(spec.Lanes, 0)
	if m := spec.Map; m != nil && m.Branches == 0 {
		mapped := *m
		mapped.Branches = DefaultMapBranches
		spec.Map = &mapped
	}
	spec.wholeLine()
	if spec.Parent != nil {
		if err := h.resolveParent(ctx, owner, spec); err != nil {
			return err
		}
	}
	if spec.Mode == Chat {
		spec.Rendering = spec.Rendering.At(h.config.Now())
	}
	return spec.Validate()
}

// resolveParent reads the parent's log and puts what its lane said before the spec's prompt. The errors are
// NotFound for the run, Invalid about parent for a lane it does not have, and Conflict for one that has not ended.
func (h *Hub) resolveParent(ctx context.Context, owner string, spec *Spec) error {
	parent, err := h.config.Store.Run(ctx, owner, spec.Parent.Run)
	if err != nil {
		return err
	}
	t, err := ReadTexts(ctx, h.config.Store, parent)
	if err != nil {
		return err
	}
	if err := parent.Spec.noMap("which has no lane to go on from: open one of its branches as a lane first"); err != nil {
		return err
	}
	lane := t.Lane(spec.Parent.Lane)
	if lane == nil {
		return fault.Field("parent", "the run has no lane %d", spec.Parent.Lane)
	}
	return spec.continueFrom(&parent.Spec, lane)
}

// reserve takes a place among the runs at once. On success the caller owes h.jobs.Done, and h.releaseSlot for the
// activeRun it makes.
func (h *Hub) reserve(owner string, client Client) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed
	}
	if h.slots >= h.config.MaxRuns {
		h.counters.Refused++
		return fault.New(fault.Busy, "%d runs are being decoded, the most there may be", h.slots)
	}
	if n := h.owners[owner]; n >= h.config.MaxOwnerRuns {
		h.counters.Refused++
		return fault.New(fault.Busy, "%d of your runs are being decoded, the most you may have", n)
	}
	if n := h.clients[client.name()]; n >= h.config.most(client) {
		h.counters.Refused++
		return fault.New(fault.Busy, "%d runs of your address are being decoded, the most there may be", n)
	}
	h.slots++
	h.owners[owner]++
	h.clients[client.name()]++
	h.jobs.Add(1)
	return nil
}

// newRequests are the requests that decode lanes of a run, or its map.
func newRequests(a *activeRun, lanes []decode.Lane) (list []*request) {
	if a.run.Spec.Map != nil {
		return []*request{{active: a, lanes: []int{0}}}
	}
	for _, asked := range ByMix(lanes) {
		q := &request{active: a, asked: asked}
		for _, lane := range asked {
			q.lanes = append(q.lanes, lane.Index)
		}
		list = append(list, q)
	}
	return list
}

// add takes over the lanes of requests, whose numbers follow those that there are.
func (a *activeRun) add(requests []*request) {
	for _, t := range requests {
		for range t.lanes {
			a.lanes = append(a.lanes, laneState{})
		}
	}
	for _, t := range requests {
		for i, index := range t.lanes {
			a.lanes[index].request = t
			if t.asked != nil {
				a.lanes[index].sample = t.asked[i].Sample
			}
		}
	}
}

// decode makes requests, whose events are held until attach. Where one is refused, those made before it are returned with the
// error, for the caller to stop.
func (h *Hub) decode(ctx context.Context, requests []*request) (jobs []Job, err error) {
	for _, t := range requests {
		job, err := h.decodeOne(ctx, t)
		if err != nil {
			return jobs, err
		}
		jobs = append(jobs, job)
	}
	return jobs, nil
}

// decodeOne makes a request. It is given up when ctx ends, when the hub is closed, and when no worker has taken it in time.
func (h *Hub) decodeOne(ctx context.Context, q *request) (Job, error) {
	waiting, cancel := context.WithTimeout(h.ctx, h.config.StartWait)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	spec := &q.active.run.Spec
	request := spec.Request(q.active.run.ID, slices.Clone(q.asked))
	q.active.client.sign(&request, q.active.run.Owner)
	job, err := h.config.Decoder.Decode(waiting, spec.Pair, request, func(e decode.Event) { h.sink(q, e) })
	if fault.KindOf(err) == fault.Unavailable && waiting.Err() == context.DeadlineExceeded {
		err = errLate
	}
	return job, err
}

// attach begins to log the events of requests whose jobs were taken. The caller holds mu.
func (h *Hub) attach(a *activeRun, requests []*request, jobs []Job) {
	a.busy = true // one may be over before another is attached
	for i, t := range requests {
		h.attachOne(t, jobs[i])
	}
	a.busy = false
	h.finalize(a)
}

// attachOne logs what was held of a request and then what comes. A goroutine waits for its job, and ends what the
// decoder left open.
func (h *Hub) attachOne(q *request, job Job) {
	a := q.active
	q.job = job
	a.requests = append(a.requests, q)
	h.counters.Requests++
	h.counters.Lanes += int64(len(q.lanes))
	held := q.held
	q.held = nil
	for _, e := range held {
		if !q.finished {
			h.accept(q, e)
		}
	}
	h.makeRoom()
	switch {
	case q.lost:
		h.tooSlow(a)
	case h.closed:
		h.stopLater(h.abort(a, fault.New(fault.Unavailable, "%s", Stopped)))
	}
	h.jobs.Go(func() {
		select {
		case <-job.Done():
		case <-h.abandon:
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.finish(q, fault.New(fault.Unavailable, "the decoder stopped while this was being decoded"), nil)
	})
}
