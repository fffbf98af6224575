package decode

import (
	"slices"
	"sync"
	"sync/atomic"
)

// branch is one distinct history of a job: lanes whose tokens are equal so far share it, and so share
// every row decoded for it, whatever their λ.
type branch struct {
	job    *Job
	seq    Seq
	tokens []Token // prompt and generated tokens; the last ones may not be in a model's cache yet
	have   []int   // per model of the job: how many of them are
	lanes  []*lane
	span   *span // of a λ-map, instead of lanes

	rows []int  // per model: index of the wanted row in this step's pass, or −1
	said prefix // those rows
}

// live reports whether a lane or a span of the branch goes on.
func (b *branch) live() bool { return len(b.lanes) > 0 || b.span != nil && !b.span.ended }

// needs reports for each model of the job whether some lane's next token depends on it. A trace depends
// on all; without one, models of weight 0 are left behind, and catch up if λ moves.
func (b *branch) needs(dst []bool) []bool {
	dst = append(dst[:0], make([]bool, len(b.job.slots))...)
	traced := !b.job.request.Trace.Off || b.span != nil
	var room [MaxAligned + 1]float64
	for i := range dst {
		dst[i] = traced
	}
	for _, l := range b.lanes {
		l.arrive()
		for i, w := range weights(room[:0], l.lambda) {
			dst[i] = dst[i] || w != 0
		}
	}
	return dst
}

// lag is how many tokens the needed model furthest behind has to read: at least 1.
func (b *branch) lag(need []bool) int {
	n := 1
	for m, have := range b.have {
		if need[m] {
			n = max(n, len(b.tokens)-have)
		}
	}
	return n
}

// plan fills the slots' rows for one step: first one row for every branch that is generating, then, in
// turns, up to PrefillChunk prompt tokens for those that are reading.
func (e *Engine) plan() {
	for _, s := range e.slots {
		s.rows, s.said = s.rows[:0], s.said[:0]
	}
	e.ready = e.ready[:0]
	e.reading = e.reading[:0]
	e.steps++
	budget := e.config.PrefillChunk
	for _, prefill := range []bool{false, true} {
		for i := range e.branches {
			b := e.branches[i]
			if prefill {
				b = e.branches[(e.steps+i)%len(e.branches)]
			}
			e.need = b.needs(e.need)
			lag := b.lag(e.need)
			if prefill != (lag > 1) {
				continue
			}
			n := lag
			for m, s := range b.job.slots {
				if e.need[m] {
					n = min(n, s.model.Limits().Batch-len(s.rows))
				}
			}
			if prefill {
				n = min(n, budget)
				budget -= n
			}
			if n > 0 {
				e.feed(b, n, n == lag)
			}
		}
	}
}

// feed gives each needed model of a branch its next rows, n at most. Unless the branch will be ready, its
// last token is held back: all models read it in the same pass, when their logits are used.
func (e *Engine) feed(b *branch, n int, ready bool) {
	b.rows = append(b.rows[:0], make([]int, len(b.have))...)
	for m, s := range b.job.slots {
		b.rows[m] = -1
		if !e.need[m] {
			continue
		}
		end := len(b.tokens)
		if !ready {
			end = min(b.have[m]+n, end-1)
		}
		role := min(m, 1)
		if end > b.have[m] && b.job.lastPass[role] != e.steps {
			b.job.lastPass[role] = e.steps
			b.job.passes[role]++
		}
		b.job.rows[role] += int64(end - b.have[m])
		for p := b.have[m]; p < end; p++ {
			want := p == len(b.tokens)-1
			s.rows = append(s.rows, Row{Token: b.tokens[p], Pos: p, Seq: b.seq, Want: want})
			trace := b.job.request.Trace
			s.said = append(s.said, said{traced: want && !trace.Off && b.span == nil, alternatives: trace.Alternatives})
		}
		b.have[m] = end
		if ready {
			b.rows[m] = len(s.rows) - 1
		}
	}
	if ready {
		e.ready = append(e.ready, b)
	} else {
		e.reading = append(e.reading, b)
	}
}

// choose finds the next token of each lane of the branches whose logits are there: several lanes at the same
// time, as many as there are mixers.
func (e *Engine) choose() {
	e.turns = e.turns[:0]
	for _, b := range e.ready {
		if !b.live() {
			continue // ended by a failed pass
		}
		b.said.load(b)
		if b.span != nil {
			e.turns = append(e.turns, turn{b, nil})
		}
		for _, l := range b.lanes {
			e.turns = append(e.turns, turn{b, l})
		}
	}
	var next atomic.Int64
	work := func(x *mixer) {
		for i := next.Add(1) - 1; i < int64(len(e.turns)); i = next.Add(1) - 1 {
			if t := e.turns[i]; t.lane != nil {
				t.lane.choice = x.choose(t.lane, &t.branch.said, e.vocab)
			} else {
				x.look(t.branch.span, &t.branch.said, e.vocab)
			}
		}
	}
	var wait sync.WaitGroup
	for i := 1; i < min(len(e.mixers), len(e.turns)); i++ {
		wait.Go(func() { work(&e.mixers[i]) })
	}
	work(&e.mixers[0])
	wait.Wait()
}

// advance moves the lanes of a branch on to the tokens they chose, and forks the branch where those differ.
func (e *Engine) advance(b *branch) {
	var forks []*branch
	stay := Token(-1)
	kept := b.lanes[:0:0]
	for _, l := range b.lanes {
		goes := l.follow(e.vocab, len(b.tokens)+1)
		if l.choice.err == nil {
			e.counters.Tokens++
		}
		if !goes {
			continue
		}
		t := l.choice.event.ID
		switch {
		case stay < 0 || stay == t:
			stay = t
			kept = append(kept, l)
		default:
			i := slices.IndexFunc(forks, func(f *branch) bool { return f.tokens[len(f.tokens)-1] == t })
			if i < 0 {
				i = len(forks)
				forks = append(forks, e.fork(b, t))
			}
			forks[i].lanes = append(forks[i].lanes, l)
		}
	}
	b.lanes = kept
	if stay >= 0 {
		b.tokens = append(b.tokens, stay)
	}
	e.settle(b)
}

// fork makes a branch that has the history of b and then a token. It copies no cache cell.
func (e *Engine) fork(b *branch, t Token) *branch {
	f := &branch{job: b.job, seq: b.job.takeSeq(), have: slices.Clone(b.have)}
	f.tokens = append(append(make([]Token, 0, len(b.tokens)+64), b.tokens...), t)
	for m, s := range b.job.slots {
		s.model.Copy(f.seq, b.seq, b.have[m])
	}
	e.branches = append(e.branches, f)
	return f
}

// settleJob settles a job some of whose lanes were ended from outside: its branches, or, while it waits, its
// place in the queue.
func (e *Engine) settleJob(j *Job) {
	for _, b := range slices.Clone(e.branches) {
		if b.job == j {
			e.settle(b)
		}
	}
	if i := slices.Index(e.queue, j); i >= 0 && j.live == 0 {
		e.queue = slices.Delete(e.queue, i, i+1)
		j.finish(e.config.Now())
		e.admit() // the next one may have waited for this one only
	}
}

// settle takes ended lanes off a branch, retires it when it has none left, and finishes the job when it was
// the last.
//
// A retired branch keeps its cells until the job ends. They are promised to the job in any case, and a hole
// in the cache would be filled by the job's other branches, whose attention would then sum in another order
// than a lane alone does: enough to move logits that are computed in eight bits.
func (e *Engine) settle(b *branch) {
	b.lanes = slices.DeleteFunc(b.lanes, func(l *lane) bool { return l.ended })
	if b.live() {
		return
	}
	j := b.job
	j.retired = append(j.retired, b)
	e.branches = slices.DeleteFunc(e.branches, func(x *branch) bool { return x == b })
	if slices.ContainsFunc(e.branches, func(x *branch) bool { return x.job == j }) {
		return
	}
	e.freeSeqs = append(e.freeSeqs, j.spare...)
	j.spare = nil
	e.cells -= j.cells
	e.keep(j)
	e.jobs = slices.DeleteFunc(e.jobs, func(x *Job) bool { return x == j })
	j.finish(e.config.Now())
	e.admit()
}
