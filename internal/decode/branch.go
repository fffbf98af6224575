package decode

import (
	"slices"
	"sync"
	"sync/atomic"
)

// branch is one distinct history of a job: lanes whose tokens are equal so far share it, and so share every row
// decoded for it, whatever their λ. It is made by begin, fork or duplicate, and ends in settle: it is then
// retired, and its job keeps it until all its branches are. It belongs to the engine's loop.
type branch struct {
	job    *Job    // whose history it is
	seq    Seq     // its sequence in the cache of every model of the job
	tokens []Token // the reference's prompt and generated tokens; the last ones may not be in a model's cache yet
	have   []int   // by model of the job: how many tokens of its prompt and of what was generated are in its cache
	lanes  []*lane // that go on from here; none where span or scoring is set
	span   *span   // of a λ-map, instead of lanes
	later  bool    // its span of a live map rests in this step: others are nearer to the focus

	// scoring is a score request, instead of lanes. scored holds this step's logits rows for it, by position and model; a
	// model that is not needed has none.
	scoring *scoring
	scored  [][][]float32

	// pending holds the logits rows that no token was chosen from yet. pending[m][0] is the row of model m after the last
	// token; the list is empty for a model that has yet to read that token, or is not needed. pending[m][i] is the row after
	// the i-th token of the draft, as far as the model has read it: see draft.go.
	pending [][]logitsRow
	draft   []Token   // tokens that may follow, proposed by a model and not chosen yet
	drafted []int     // by model: how many tokens of the draft are in its cache, too
	largest Token     // greatest number of a token here and in prompts of models: see lost
	rows    modelRows // the rows that the next tokens are chosen by

	// λ of all its lanes, where that is in the weights of the model (Request.Mix); nil elsewhere
	strengths Vector

	normalisers []float64 // by λ of the request's Evaluate: log Σ_v exp(z_v/T) of this step's rows
}

// newBranch makes a branch of a job. Nothing of it is in a cache, and the engine does not know it yet.
func newBranch(j *Job, seq Seq, tokens []Token) *branch {
	n := len(j.models)
	return &branch{
		job: j, seq: seq, tokens: tokens, have: make([]int, n), pending: make([][]logitsRow, n), drafted: make([]int, n), largest: slices.Max(tokens),
	}
}

// logitsRow is the logits of one model after one token. It belongs to the model, whose next pass overwrites it, until it is
// copied.
type logitsRow struct {
	row        []float32 // by token; the length is that of the pair's vocabulary
	rowSummary           // made by the pass where the trace asks for it
	copied     bool      // row is a copy, and outlives the model's next pass
}

// live reports whether a lane or a span of the branch goes on.
func (b *branch) live() bool {
	return len(b.lanes) > 0 || b.span != nil && !b.span.ended || b.scoring != nil && !b.scoring.ended
}

// needs reports for each model of the job whether some lane's next token depends on it, in dst, which it grows
// and returns. A trace depends on all; without one, models of weight 0 are left behind, and catch up if λ
// moves. Lanes first take the changes of λ that are due.
func (b *branch) needs(dst []bool) []bool {
	dst = append(dst[:0], make([]bool, len(b.job.models))...)
	traced := !b.job.request.Trace.Off || b.span != nil || b.exact() || b.strengths != nil
	var room [MaxAligned + 1]float64
	for i := range dst {
		dst[i] = traced
	}
	if b.scoring != nil {
		b.job.request.Score.needs(dst)
	}
	if b.strengths != nil {
		return dst
	}
	for _, l := range b.lanes {
		l.arrive()
		for i, w := range weights(room[:0], l.lambda) {
			dst[i] = dst[i] || w != 0
		}
	}
	b.job.needParts(dst)
	for m := range dst {
		dst[m] = dst[m] && !b.lost(m)
	}
	return dst
}

// lag is how many tokens the model furthest behind has to read, among the models that are needed and whose logits after the
// last token are missing; 0 if none are.
func (b *branch) lag(need []bool) (n int) {
	for m, have := range b.have {
		if need[m] && len(b.pending[m]) == 0 {
			n = max(n, b.length(m)-have)
		}
	}
	return n
}

// logitsReady reports whether the logits after the last token are there, of all models that are needed.
func (b *branch) logitsReady(need []bool) bool { return b.live() && b.lag(need) == 0 }

// plan fills the models' rows for one step: first those of every branch that is generating, then, in turns, up
// to PrefillChunk prompt tokens for those that are reading. What does not fit the batch of a model waits for
// the next step. Branches that rest, by rests, share or rank, get no row.
func (e *Engine) plan() {
	for _, s := range e.models {
		s.rows, s.summaries, s.readers, s.encodings = s.rows[:0], s.summaries[:0], s.readers[:0], s.encodings[:0]
	}
	e.reading = e.reading[:0]
	e.steps++
	e.drafting.plan(e)
	e.share()
	e.rank()
	budget := map[string]int{} // of prompt tokens, by client
	for _, prefill := range []bool{false, true} {
		for i := range e.branches {
			if prefill {
				i = (e.steps + i) % len(e.branches)
			}
			b := e.branches[i]
			client := b.job.request.Client
			e.need = b.needs(e.need)
			lag := b.lag(e.need)
			if e.rests(b) || b.later || !prefill && e.resting[i] {
				continue
			}
			if prefill != (lag > 1 || b.scoring != nil) {
				continue
			}
			if !prefill && e.speculate(b) {
				continue
			}
			n := lag
			for m, s := range b.job.models {
				if e.need[m] && len(b.pending[m]) == 0 {
					n = min(n, s.model.Limits().Batch-len(s.rows))
				}
			}
			if prefill {
				n = min(n, e.prefill(b)-budget[client])
				budget[client] += n
			}
			if n <= 0 {
				continue
			}
			// Unless the branch will be ready, its last token is held back: all models read it in the same pass, when
			// their logits are used.
			held := 0
			if n < lag && b.scoring == nil {
				held = 1
				e.reading = append(e.reading, b)
			}
			for m := range b.job.models {
				if e.need[m] && len(b.pending[m]) == 0 {
					e.read(b, m, min(b.have[m]+n, b.length(m)-held))
				}
			}
		}
	}
}

// read gives a model of a branch its next rows: tokens up to a position, and beyond the last one tokens of the draft.
func (e *Engine) read(b *branch, m, end int) {
	s := b.job.models[m]
	role := min(m, 1)
	from, length := b.have[m]+b.drafted[m], b.length(m)
	if end > from && b.job.lastPass[role] != e.steps {
		b.job.lastPass[role] = e.steps
		b.job.passes[role]++
	}
	if b.job.sources != nil {
		s.want(b.job.source, b.job.sourceOf(m))
	}
	trace := b.job.request.Trace
	for p := from; p < end; p++ {
		var t Token
		if p < length {
			t = b.token(m, p)
			b.job.rows[role]++
		} else {
			t = b.draft[p-length]
		}
		want := p >= length-1 || b.scoring != nil
		s.rows = append(s.rows, Row{Token: t, Pos: p, Seq: b.seq, Want: want, Source: b.job.source})
		s.summaries = append(s.summaries, rowSummary{traced: want && (!trace.Off || b.job.exact()) && b.span == nil && b.scoring == nil, alternatives: trace.Alternatives})
		s.readers = append(s.readers, reader{b, m})
	}
	b.have[m] = min(end, length)
	b.drafted[m] = end - b.have[m]
}

// collectLogits hands the logits of this step's passes to the branches that the rows were for.
func (e *Engine) collectLogits() {
	for _, s := range e.models {
		for i, r := range s.readers {
			switch {
			case !s.rows[i].Want || !r.branch.live(): // not asked for, or the branch ended when another model's pass failed
			case r.branch.scoring != nil:
				r.branch.collectScore(r.model, s.rows[i].Pos, s.model.Logits(i))
			default:
				r.branch.pending[r.model] = append(r.branch.pending[r.model], logitsRow{row: s.model.Logits(i), rowSummary: s.summaries[i]})
			}
		}
	}
}

// collectReady lists the branches whose logits are ready.
func (e *Engine) collectReady() {
	e.ready = e.ready[:0]
	for _, b := range e.branches {
		if e.need = b.needs(e.need); b.scoring == nil && b.logitsReady(e.need) {
			e.ready = append(e.ready, b)
		}
	}
	e.inStep()
}

// choose finds the next token of each lane of the ready branches, the segments of their spans, and the
// normalisers of their evaluation. Mixers work through these tasks at the same time; they write to lanes, spans
// and branches of their tasks only, and no branch moves on before all are done.
func (e *Engine) choose() {
	e.tasks = e.tasks[:0]
	for _, b := range e.ready {
		b.rows.load(e, b)
		if b.span != nil {
			e.tasks = append(e.tasks, laneTask{b, nil})
		}
		for _, l := range b.lanes {
			e.tasks = append(e.tasks, laneTask{b, l})
		}
		if len(b.job.request.Evaluate) > 0 {
			e.tasks = append(e.tasks, laneTask{b, nil})
		}
	}
	var next atomic.Int64
	work := func(x *mixer) {
		for i := next.Add(1) - 1; i < int64(len(e.tasks)); i = next.Add(1) - 1 {
			switch t := e.tasks[i]; {
			case t.lane != nil:
				t.lane.choice = x.choose(t.lane, &t.branch.rows, e.vocab)
			case t.branch.span != nil:
				x.evaluateSpan(t.branch.span, &t.branch.rows, e.vocab)
			default:
				x.evaluate(t.branch)
			}
		}
	}
	var wait sync.WaitGroup
	for i := 1; i < min(len(e.mixers), len(e.tasks)); i++ {
		wait.Go(func() { work(&e.mixers[i]) })
	}
	work(&e.mixers[0])
	wait.Wait()
}

// advance moves the lanes of a branch on to the tokens they chose, and forks the branch where those differ. The branch
// itself goes on with the first token of its draft, if a lane chose that.
func (e *Engine) advance(b *branch) {
	var forks []*branch
	stay := Token(-1)
	going := b.lanes[:0:0]
	e.updateAcceptance(b)
	for _, l := range b.lanes {
		if l.choice.err == nil && l.particle == nil {
			e.counters.Tokens++
		}
		b.total(l)
		if l.follow(e.vocab, len(b.tokens)+1) {
			going = append(going, l)
			if t := l.choice.event.ID; stay < 0 || len(b.draft) > 0 && t == b.draft[0] {
				stay = t
			}
		}
	}
	b.lanes = b.lanes[:0]
	for _, l := range going {
		t := l.choice.event.ID
		if t == stay {
			b.lanes = append(b.lanes, l)
			continue
		}
		i := slices.IndexFunc(forks, func(f *branch) bool { return f.tokens[len(f.tokens)-1] == t })
		if i < 0 {
			i = len(forks)
			forks = append(forks, e.fork(b, t))
		}
		forks[i].lanes = append(forks[i].lanes, l)
	}
	if stay >= 0 {
		e.extend(b, stay)
	}
	e.settle(b)
}

// extend gives a branch its next token. Logits that follow another token are dropped.
func (e *Engine) extend(b *branch, t Token) {
	right := len(b.draft) > 0 && b.draft[0] == t
	for m, s := range b.job.models {
		switch {
		case b.drafted[m] == 0:
			b.pending[m] = b.pending[m][:0]
		case right:
			b.have[m]++
			b.drafted[m]--
			b.job.rows[min(m, 1)]++
			b.pending[m] = b.pending[m][:copy(b.pending[m], b.pending[m][1:])]
		default:
			s.model.Trim(b.seq, b.have[m])
			b.drafted[m] = 0
			b.pending[m] = b.pending[m][:0]
		}
	}
	if right {
		b.job.accepted++
		b.draft = b.draft[:copy(b.draft, b.draft[1:])]
	} else {
		b.job.rejected += int64(len(b.draft))
		b.draft = b.draft[:0]
	}
	b.tokens, b.largest = append(b.tokens, t), max(b.largest, t)
}

// fork makes a branch that has the history of b and then a token. It copies no cache cell.
func (e *Engine) fork(b *branch, t Token) *branch { return e.forkAt(b, len(b.tokens), b.have, t) }

// forkAt is fork from a beginning of b's history, of which each model had so many tokens in its cache.
func (e *Engine) forkAt(b *branch, length int, have []int, t Token) *branch {
	f := newBranch(b.job, e.sequence(b.job), append(append(make([]Token, 0, length+64), b.tokens[:length]...), t))
	if b.strengths != nil {
		f.tune(b.strengths)
	}
	for m, s := range b.job.models {
		f.have[m] = s.model.Copy(f.seq, b.seq, have[m])
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
	e.leaveQueue(j)
	e.admit() // the next one may have waited for this one only
}

// leaveQueue takes a job without lanes out of the queue, if it is there.
func (e *Engine) leaveQueue(j *Job) {
	if i := slices.Index(e.queue, j); i >= 0 && j.live == 0 {
		e.queue = slices.Delete(e.queue, i, i+1)
		j.finish(e.config.Now())
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
	if b.live() || !slices.Contains(e.branches, b) {
		return
	}
	j := b.job
	j.retired = append(j.retired, b)
	e.branches = slices.DeleteFunc(e.branches, func(x *branch) bool { return x == b })
	if slices.ContainsFunc(e.branches, func(x *branch) bool { return x.job == j }) || e.resume(j) {
		return
	}
	j.tellCertain()
	e.freeSeqs = append(e.freeSeqs, j.spare...)
	j.spare = nil
	e.cells -= j.cells
	e.retain(j)
	e.releaseSource(j)
	e.jobs = slices.DeleteFunc(e.jobs, func(x *Job) bool { return x == j })
	j.finish(e.config.Now())
	e.admit()
}
