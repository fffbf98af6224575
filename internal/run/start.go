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
	if err := h.reserve(owner, client); err != nil {
		return Run{}, err
	}
	defer h.jobs.Done()

	now := h.config.Now()
	run := Run{
		ID: id.New(), Session: sessionID, Owner: owner, Instance: h.instance(),
		Spec: spec, Status: Running, CreatedAt: now, Lanes: spec.streams(),
	}
	name := ""
	if sessionID == "" {
		run.Session, name = id.New(), title.Of(spec.Prompt)
	}
	l := &activeRun{run: run, client: client, open: true, slot: true, known: spec.streams()}
	t := h.newRequest(l, spec.Lanes)
	job, err := h.decode(ctx, t, spec.Lanes)
	if err == nil {
		h.mu.Lock()
		h.starting[run.ID] = true
		h.mu.Unlock()
		// It is decoded already: whoever asked for it may leave now, and it is kept all the same.
		if err = h.config.Store.CreateRun(context.WithoutCancel(ctx), run, name); err != nil {
			_ = job.Stop(-1)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.starting, run.ID)
	if err != nil {
		t.finished = true
		h.makeRoom()
		h.releaseSlot(l)
		return Run{}, err
	}
	h.counters.Runs++
	l.feed = h.join(run.ID, 0)
	h.active[run.ID] = l
	h.serveRun(l)
	h.attach(t, job)
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

func (h *Hub) resolveParent(ctx context.Context, owner string, spec *Spec) error {
	parent, err := h.config.Store.Run(ctx, owner, spec.Parent.Run)
	if err != nil {
		return err
	}
	t, err := ReadTranscript(ctx, h.config.Store, parent)
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

// reserve takes a place among the runs at once. On success the caller owes h.jobs.Done, and h.free for the
// live it makes.
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

// newRequest adds lanes to a run, all to be decoded by one request.
func (h *Hub) newRequest(l *activeRun, lanes []decode.Lane) *request {
	if l.run.Spec.Map != nil {
		return newMapRequest(l)
	}
	t := &request{active: l}
	for _, lane := range lanes {
		t.lanes = append(t.lanes, lane.Index)
		l.lanes = append(l.lanes, laneState{sample: lane.Sample, request: t})
	}
	return t
}

// decode makes the request of a task. Its events are held until take. It is given up when ctx ends, when the hub is closed, and
// when no worker has taken it in time.
func (h *Hub) decode(ctx context.Context, t *request, lanes []decode.Lane) (Job, error) {
	waiting, cancel := context.WithTimeout(h.ctx, h.config.StartWait)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	spec := &t.active.run.Spec
	request := spec.Request(t.active.run.ID, slices.Clone(lanes))
	t.active.client.sign(&request, t.active.run.Owner)
	job, err := h.config.Decoder.Decode(waiting, spec.Pair, request, func(e decode.Event) { h.sink(t, e) })
	if fault.KindOf(err) == fault.Unavailable && waiting.Err() == context.DeadlineExceeded {
		err = errLate
	}
	return job, err
}

// attach begins to log the events of a task whose job was taken. The caller holds mu.
func (h *Hub) attach(t *request, job Job) {
	l := t.active
	t.job = job
	l.requests = append(l.requests, t)
	h.counters.Requests++
	h.counters.Lanes += int64(len(t.lanes))
	held := t.held
	t.held = nil
	for _, e := range held {
		if !t.finished {
			h.accept(t, e)
		}
	}
	h.makeRoom()
	switch {
	case t.lost:
		h.tooSlow(l)
	case h.closed:
		h.stopLater(h.abort(l, fault.New(fault.Unavailable, "%s", Stopped)))
	}
	h.jobs.Go(func() {
		select {
		case <-job.Done():
		case <-h.abandon:
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.finish(t, fault.New(fault.Unavailable, "the decoder stopped while this was being decoded"), nil)
	})
}
