package decode

import (
	"slices"
)

// prefixEntry is an entry of the prefix cache: the histories that a finished job left in the models' caches,
// kept for its owner's next request. A follow-up turn, or the same prompt again, then reads only what is new.
// An entry is never used for another owner. It is made by retain and ends in evict, which frees its sequences;
// it belongs to the loop.
type prefixEntry struct {
	owner     string        // Request.Owner of the job; no entry of "" stays
	models    []*modelState // of the job
	histories []history     // one for each branch that the job had
	cells     int           // cache cells that it may hold: the tokens that the job's busiest model read or reused
}

// history is what each of the entry's models was given, and how much of it is in its cache.
type history struct {
	seq    Seq       // the same in all of them
	tokens [][]Token // by model: its prompt and what was generated
	have   []int     // by model: how many of the tokens are in its cache
}

// retain makes the sequences of a finished job an entry of the prefix cache, or frees them where nothing is to be kept.
func (e *Engine) retain(j *Job) {
	k := &prefixEntry{owner: j.request.Owner, models: j.models, cells: j.cached + int(max(j.rows[0], j.rows[1]))}
	for _, b := range j.retired {
		h := history{seq: b.seq, have: b.have}
		for m := range b.have {
			h.tokens = append(h.tokens, b.history(m))
		}
		k.histories = append(k.histories, h)
	}
	j.retired = nil
	e.prefixes = append(e.prefixes, k)
	e.prefixCells += k.cells
	if j.request.Owner == "" || j.request.Plain || j.request.inWeights() || j.sources != nil || j.broken || k.cells > e.config.PrefixCells {
		e.evict(k)
	}
	for e.prefixCells > e.config.PrefixCells {
		e.evict(e.prefixes[0])
	}
}

// evict frees the sequences of an entry. Cells that other sequences hold, too, stay.
func (e *Engine) evict(k *prefixEntry) {
	for _, h := range k.histories {
		for _, s := range k.models {
			s.model.Trim(h.seq, 0)
		}
		e.freeSeqs = append(e.freeSeqs, h.seq)
	}
	e.prefixes = slices.DeleteFunc(e.prefixes, func(x *prefixEntry) bool { return x == k })
	e.prefixCells -= k.cells
}

// evictFor evicts entries, the least recently used first, until there are this many free sequences and cells.
func (e *Engine) evictFor(sequences, cells int) bool {
	for len(e.prefixes) > 0 && (len(e.freeSeqs) < sequences || e.cells+e.prefixCells+cells > e.limits.Cells) {
		e.evict(e.prefixes[0])
	}
	return len(e.freeSeqs) >= sequences && e.cells+cells <= e.limits.Cells
}

// reuse lets a branch that has nothing in the caches begin with the longest prefix of its tokens that an entry of its owner
// holds. The last token is left out: it is read for its logits.
func (e *Engine) reuse(b *branch) {
	var best *prefixEntry
	var from history
	length := 0
	for _, k := range e.prefixes {
		if k.owner != b.job.request.Owner {
			continue
		}
		for _, h := range k.histories {
			if n := common(h.tokens[0], b.tokens[:len(b.tokens)-1]); n > length {
				best, from, length = k, h, n
			}
		}
	}
	if best == nil {
		return
	}
	for m, s := range b.job.models {
		if i := slices.Index(best.models, s); i >= 0 {
			n := common(from.tokens[i], b.history(m)[:b.length(m)-1]) // models may have other prompts than the reference
			b.have[m] = s.model.Copy(b.seq, from.seq, min(n, from.have[i]))
		}
	}
	b.job.cached = slices.Max(b.have)
	e.prefixes = append(slices.DeleteFunc(e.prefixes, func(x *prefixEntry) bool { return x == best }), best)
}

// common is the length of the longest common prefix.
func common(a, b []Token) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
