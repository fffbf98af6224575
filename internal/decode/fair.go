package decode

import (
	"slices"

	"realign/internal/fault"
)

// Clients share an engine: what waits is begun in turns, so that whoever holds least comes first, among clients and then among the
// owners of one; a client with many branches does not make a step long for others; and no client takes all the room that a
// second request could need. Requests without a client, such as those of a command, are of one client, and Background ones wait for
// all others anyway.

// Limits on what one client has in a step that several share. A step's time grows with its rows, and all wait
// for it.
const (
	leastShare   = 8 // branches that a client may have in it, however few another has
	guestShare   = 2 // the same for a guest's client, beside others; alone it has leastShare, as whoever comes next waits for its step
	guestPrefill = 8 // a guest's prompt tokens are this part of PrefillChunk at most
)

// holds are the cells and sequences promised to the jobs that are decoded and that match.
func (e *Engine) holds(match func(*Request) bool) (cells, streams int) {
	for _, j := range e.jobs {
		if match(&j.request) {
			cells += j.cells
			streams += j.streams
		}
	}
	return cells, streams
}

// mayHold reports whether a job leaves the room that is others': guests together have a half, and a client that holds some already three
// quarters. Its first request may take all of it.
func (e *Engine) mayHold(j *Job) bool {
	if j.request.Client == "" {
		return true
	}
	cells, streams := e.holds(func(r *Request) bool { return r.Client == j.request.Client })
	if cells > 0 && (4*(cells+j.cells) > 3*e.limits.Cells || 4*(streams+j.streams) > 3*e.limits.Sequences) {
		return false
	}
	if !j.request.Guest {
		return true
	}
	cells, streams = e.holds(func(r *Request) bool { return r.Guest })
	return 2*(cells+j.cells) <= e.limits.Cells && 2*(streams+j.streams) <= e.limits.Sequences
}

// guestRoom refuses a guest's request that would never have room.
func (e *Engine) guestRoom(j *Job) error {
	if !j.request.Guest {
		return nil
	}
	if most := e.limits.Cells / 2; j.cells > most {
		return fault.Field("max_tokens", "%d lanes or texts of %d tokens need more memory than the half that clients without a cookie have: ask for fewer tokens or lanes, or send a page's cookie", j.streams, j.request.Sampling.MaxTokens)
	}
	if most := e.limits.Sequences / 2; j.streams > most {
		return fault.Field("lanes", "%d, at most %d without a cookie", j.streams, most)
	}
	return nil
}

// turnOf is how much a job's client and its owner hold: the job with the least is begun first.
func (e *Engine) turnOf(j *Job) (client, owner int) {
	client, _ = e.holds(func(r *Request) bool { return r.Client == j.request.Client })
	owner, _ = e.holds(func(r *Request) bool { return r.Client == j.request.Client && r.Owner == j.request.Owner })
	return client, owner
}

// admit begins jobs that wait, while there are cells and sequences for the one whose turn it is. A client that holds what it may is
// passed over; Background jobs are begun after all others.
func (e *Engine) admit() {
	for {
		var first *Job
		var client, owner int
		for _, j := range e.queue {
			if first != nil && j.request.Background && !first.request.Background {
				break
			}
			if !e.mayHold(j) {
				continue
			}
			if c, o := e.turnOf(j); first == nil || c < client || c == client && o < owner {
				first, client, owner = j, c, o
			}
		}
		if first == nil || !e.begin(first) {
			return
		}
		e.queue = slices.DeleteFunc(e.queue, func(j *Job) bool { return j == first })
	}
}

// pushOut makes a place in a full queue for a client that has fewer there than another one: the last of the one that has most ends as
// busy. It reports whether there is a place.
func (e *Engine) pushOut(j *Job) bool {
	waiting := map[string]int{}
	for _, q := range e.queue {
		waiting[q.request.Client]++
	}
	var last *Job
	for _, q := range e.queue {
		if q.request.Background { // its work would be lost
			continue
		}
		if last == nil || waiting[q.request.Client] >= waiting[last.request.Client] {
			last = q
		}
	}
	if last == nil || waiting[last.request.Client] <= waiting[j.request.Client]+1 {
		return false
	}
	last.endLanes(-1, EndError, &Error{Code: string(fault.Busy), Message: "others wait, too, and you have most that waits: try again later"})
	e.leaveQueue(last)
	return true
}

// prefill is how many prompt tokens of a branch's client may be read in a step.
func (e *Engine) prefill(b *branch) int {
	parts := e.clients
	if b.job.request.Guest {
		parts = max(parts, guestPrefill)
	}
	return max(1, e.config.PrefillChunk/parts)
}

// share says which branches rest in this step: where several clients have branches that generate, each has as many in a step as the
// one with the fewest, or leastShare, in turns; guests have fewer.
func (e *Engine) share() {
	e.resting = append(e.resting[:0], make([]bool, len(e.branches))...)
	count := map[string]int{}
	for _, b := range e.branches {
		if !e.rests(b) {
			count[b.job.request.Client]++
		}
	}
	e.clients = max(1, len(count))
	most := 0
	for _, n := range count {
		if most == 0 || n < most {
			most = n
		}
	}
	most = max(most, leastShare)
	guestMost := leastShare
	if e.clients > 1 {
		guestMost = guestShare
	}
	seen := map[string]int{}
	for i, b := range e.branches {
		client := b.job.request.Client
		n, most := count[client], most
		if b.job.request.Guest {
			most = guestMost
		}
		if n <= most || e.rests(b) {
			continue
		}
		// Turns move on by most places a step, so that every branch of the client comes.
		turn := (seen[client] + n - e.steps*most%n) % n
		seen[client]++
		e.resting[i] = turn >= most
	}
}
