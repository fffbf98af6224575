package experiment

import "context"

// Elsewhere reaches the generators of other servers that share the store and the queue. A job runs on one of them.
type Elsewhere interface {
	// Hold has stop called when another server wants the job to stop here, until release is called.
	Hold(job string, stop func()) (release func())

	// StopElsewhere has the server that a job runs on stop it, and waits until it has. It is nil where it runs on none.
	StopElsewhere(ctx context.Context, job string) error
}

// hold lets other servers stop a job that runs here.
func (g *Generator) hold(d *decoding) {
	if g.config.Elsewhere != nil {
		d.release = g.config.Elsewhere.Hold(d.job.ID, func() { g.Stop(d.job.ID) })
	}
}

// StopAnywhere is Stop for a job that may run on another server. It is Unavailable where that one does not answer.
func (g *Generator) StopAnywhere(ctx context.Context, id string) error {
	g.mu.Lock()
	here := g.active[id] != nil
	g.mu.Unlock()
	g.Stop(id)
	if here || g.config.Elsewhere == nil {
		return nil
	}
	return g.config.Elsewhere.StopElsewhere(ctx, id)
}

// Active are the ids of the jobs that run here for some clients.
func (g *Generator) Active(of func(Client) bool) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var ids []string
	for id, d := range g.active {
		if of(d.job.Client) {
			ids = append(ids, id)
		}
	}
	return ids
}

// StopAll is Stop for all jobs that run here for some clients.
func (g *Generator) StopAll(of func(Client) bool) {
	for _, id := range g.Active(of) {
		g.Stop(id)
	}
}
