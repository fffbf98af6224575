package decode

import "slices"

// Background requests fill the time that nobody waits for. They hold their cells and sequences, and rest between two
// tokens while any other request is being decoded, so that it runs as fast as alone; those that wait for room are
// passed by others.

// rests reports whether a branch is left out of this step.
func (e *Engine) rests(b *branch) bool {
	return b.job.request.Background && slices.ContainsFunc(e.jobs, func(j *Job) bool { return !j.request.Background })
}

// wait puts a job in the queue: a background one last, others before those.
func (e *Engine) wait(j *Job) {
	at := len(e.queue)
	if !j.request.Background {
		if i := slices.IndexFunc(e.queue, func(j *Job) bool { return j.request.Background }); i >= 0 {
			at = i
		}
	}
	e.queue = slices.Insert(e.queue, at, j)
}
