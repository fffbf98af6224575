package llamacpp

import (
	"cmp"
	"slices"

	"realign/internal/decode"
	"realign/internal/fault"
)

// maxJoined is how many adapters of a pair share a context with the reference. Each gets a part of the context's sequences,
// of which llama.cpp has 256; further ones have contexts of their own.
const maxJoined = 3

// maxSequences is how many sequences llama.cpp can tell apart.
const maxSequences = 256

// view is one model of a shared context: a decode.Joint. Its sequences are a range of the context's.
// It is used by one goroutine at a time, but others make passes of the same context, so the context's mutex is
// taken for every call that touches it.
type view struct {
	in      *shared       // the context
	limits  decode.Limits // its part of the context's
	first   decode.Seq    // where its range of the context's sequences begins
	adapter int           // its number in the context; -1: the reference
	threads int           // of its next pass

	at, rows int         // where its rows are in the context's last pass, and how many
	own      [][]float32 // copies of their logits, where others may have made a pass since; nil after a joint pass
	closed   bool
}

var _ decode.Joint = (*view)(nil)

// joint is a shared context that is divided between views.
// The pair makes it when it is opened, and closes it; views are made while Pair.loading is held, or before others
// know the pair.
type joint struct {
	*shared
	each    decode.Limits // of every view
	threads int           // of a pass, as opened
	views   []*view       // made so far, the reference's first
	most    int           // views that there is room for
}

// jointOptions are the sizes of a context that holds the reference and n adapters: the caches of all of them, and passes no larger
// than one model's.
func jointOptions(o Options, n int) Options {
	models := n + 1
	o.Sequences = min(o.Sequences, maxSequences/models)
	o.Batch = max(o.Batch, models*o.Sequences) / models * models
	o.Sequences, o.Cells = models*o.Sequences, models*o.Cells
	return o
}

// newJoint makes a context for the reference and up to n adapters.
func newJoint(w *weights, o Options, n int) (*joint, error) {
	s, err := newShared(w, jointOptions(o, n))
	if err != nil {
		return nil, err
	}
	each := s.context.limits
	each.Cells /= n + 1
	each.Batch /= n + 1
	each.Sequences /= n + 1
	return &joint{shared: s, each: each, threads: o.Threads, most: n + 1}, nil
}

// view makes the next model: the reference first, without an adapter. It reports false if there is no room.
func (j *joint) view(a *adapter) (*view, bool) {
	if len(j.views) == j.most {
		return nil, false
	}
	v := &view{in: j.shared, limits: j.each, first: decode.Seq(len(j.views) * j.each.Sequences), adapter: -1, threads: j.threads}
	if a != nil {
		v.adapter = j.join(a)
		strengths := make([]float32, v.adapter+1)
		strengths[v.adapter] = float32(a.scale)
		for s := range v.limits.Sequences {
			j.set(v.first+decode.Seq(s), strengths)
		}
	}
	j.views = append(j.views, v)
	return v, true
}

// Limits are the view's part of what the context was built for.
func (v *view) Limits() decode.Limits { return v.limits }

// Context is the same for all models of the context.
func (v *view) Context() any { return v.in }

// Forward runs a pass of this model alone. Its logits are copies, as other models of the context make passes of their own.
func (v *view) Forward(rows []decode.Row) error {
	if v.closed {
		return errClosed
	}
	v.in.mu.Lock()
	defer v.in.mu.Unlock()
	v.own, v.rows = nil, 0
	if len(rows) == 0 {
		return nil
	}
	moved, err := v.move(nil, rows)
	if err == nil {
		err = v.in.forward(moved, v.threads)
	}
	if err != nil {
		return err
	}
	v.at, v.rows = 0, len(rows)
	v.own = make([][]float32, len(rows))
	for i := range rows {
		v.own[i] = slices.Clone(v.in.logits(i))
	}
	return nil
}

// ForwardJoint runs one pass of several models of the context.
func (v *view) ForwardJoint(models []decode.Model, rows [][]decode.Row) error {
	v.in.mu.Lock()
	defer v.in.mu.Unlock()
	err := v.forward(models, rows)
	if err != nil { // none has logits of a pass that was not made
		for _, m := range models {
			if x, ok := m.(*view); ok {
				x.rows = 0
			}
		}
	}
	return err
}

// forward is ForwardJoint; the caller holds the mutex.
func (v *view) forward(models []decode.Model, rows [][]decode.Row) error {
	var moved []decode.Row
	threads := 0
	for i, m := range models {
		x, ok := m.(*view)
		if !ok || x.in != v.in {
			return fault.New(fault.Internal, "models of different contexts in one pass")
		}
		if x.closed {
			return errClosed
		}
		threads = max(threads, x.threads)
		x.at, x.rows, x.own = len(moved), len(rows[i]), nil
		var err error
		if moved, err = x.move(moved, rows[i]); err != nil {
			return err
		}
	}
	return v.in.forward(moved, threads)
}

// errClosed is what a model that was closed answers.
var errClosed = fault.New(fault.Unavailable, "the model is closed")

// move appends rows with their sequences as the context knows them.
func (v *view) move(dst, rows []decode.Row) ([]decode.Row, error) {
	if len(rows) > v.limits.Batch {
		return nil, fault.New(fault.Internal, "%d rows in one pass, the limit is %d", len(rows), v.limits.Batch)
	}
	for _, row := range rows {
		if !v.has(row.Seq) {
			return nil, fault.New(fault.Internal, "sequence %d is not in [0, %d)", row.Seq, v.limits.Sequences)
		}
		if row.Pos >= v.limits.Cells {
			return nil, fault.New(fault.Busy, "the cache has %d cells: no room for position %d", v.limits.Cells, row.Pos)
		}
		row.Seq += v.first
		dst = append(dst, row)
	}
	return dst, nil
}

// Logits is the logits after a row of the last pass, or nil.
func (v *view) Logits(i int) []float32 {
	switch {
	case i < 0 || i >= v.rows:
		return nil
	case v.own != nil:
		return v.own[i]
	}
	return v.in.logits(v.at + i)
}

// Copy implements decode.Model.
func (v *view) Copy(dst, src decode.Seq, n int) int {
	if v.closed || !v.has(dst) || !v.has(src) {
		return 0
	}
	v.in.mu.Lock()
	defer v.in.mu.Unlock()
	return v.in.context.Copy(v.first+dst, v.first+src, n)
}

// Trim implements decode.Model.
func (v *view) Trim(seq decode.Seq, n int) bool {
	if v.closed || !v.has(seq) {
		return false
	}
	v.in.mu.Lock()
	defer v.in.mu.Unlock()
	return v.in.context.Trim(v.first+seq, n)
}

// SetThreads says on how many threads the next passes run. Where several models make one pass, the most counts.
func (v *view) SetThreads(n int) { v.threads = cmp.Or(n, v.in.context.threads) }

// has reports whether the view has such a sequence.
func (v *view) has(seq decode.Seq) bool { return seq >= 0 && int(seq) < v.limits.Sequences }

// Close ends the use of the model. The context is the pair's.
func (v *view) Close() error {
	v.closed = true
	return nil
}
