package llamacpp

/*
#include <stdlib.h>
#include "bridge.h"
*/
import "C"

import (
	"cmp"
	"unsafe"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Model is a context on some weights, perhaps with a LoRA adapter: a decode.Model. It has a cache of its own and
// belongs to one goroutine at a time.
type Model struct {
	limits decode.Limits
	c      *C.realign_context // the C side of it; nil once closed
	length []int              // positions held by each sequence

	// The rows of the next pass and the logits of the last: memory of c.
	token    []C.llama_token
	position []C.llama_pos
	sequence []C.llama_seq_id
	want     []C.int8_t
	logits   []*C.float
	rows     int // in the last pass; 0 if that failed
	threads  int // of passes, as opened
	active   int // threads of the next pass

	scaled  *strengths // strengths of adapters by row, where they have some; or nil
	encoded bool       // of an encoder–decoder model: it holds a source
}

var _ decode.Model = (*Model)(nil)

// newModel makes a context; a is nil for the weights as they are.
func newModel(w *weights, a *adapter, o Options) (*Model, error) { return newContext(w, a, nil, o) }

// newContext makes a context in which an adapter, if any, has one strength, or each row has strengths of its own.
func newContext(w *weights, a *adapter, s *strengths, o Options) (*Model, error) {
	loading.Lock()
	defer loading.Unlock()
	log.forget()
	c := C.realign_open(w.pointer(), C.realign_options{
		cells:         C.uint32_t(o.Cells),
		batch:         C.uint32_t(o.Batch),
		sequences:     C.uint32_t(o.Sequences),
		threads:       C.int32_t(o.Threads),
		float32_cache: C.bool(o.Float32Cache),
		flash:         C.bool(!o.NoFlash && !o.Float32Cache), // llama.cpp's fused kernels round keys and values to half precision
		strengths:     s.c(),
		source:        C.uint32_t(w.source),
		scale:         C.float(w.scale),
	})
	if c == nil {
		return nil, fault.New(fault.Unavailable, "a context of %d cells cannot be made%s", o.Cells, log.reason())
	}
	if a != nil && !bool(C.realign_adapt(c, a.pointer, C.float(a.scale))) {
		C.realign_close(c)
		return nil, fault.New(fault.Internal, "the adapter cannot be applied%s", log.reason())
	}
	return &Model{
		limits: decode.Limits{
			Vocab:     int(C.llama_vocab_n_tokens(w.vocabulary())),
			Train:     int(C.llama_model_n_ctx_train(w.pointer())),
			Cells:     int(c.cells),
			Batch:     o.Batch,
			Sequences: o.Sequences,
			Forgets:   bool(c.forgets),
		},
		threads:  o.Threads,
		active:   o.Threads,
		c:        c,
		scaled:   s,
		length:   make([]int, o.Sequences),
		token:    unsafe.Slice(c.token, max(o.Batch, w.source)),
		position: unsafe.Slice(c.position, o.Batch),
		sequence: unsafe.Slice(c.sequence, o.Batch),
		want:     unsafe.Slice(c.want, o.Batch),
		logits:   unsafe.Slice(c.logits, o.Batch),
	}, nil
}

// Limits is what the context was built for.
func (m *Model) Limits() decode.Limits { return m.limits }

// Forward runs one pass. A full cache is an error of kind Busy; rows that could not be decoded at all are
// a mistake of the caller, of kind Internal, but for a token that does not exist (Invalid).
func (m *Model) Forward(rows []decode.Row) error {
	if m.c == nil {
		return fault.New(fault.Unavailable, "the model is closed")
	}
	m.rows = 0
	if len(rows) == 0 {
		return nil
	}
	if len(rows) > m.limits.Batch {
		return fault.New(fault.Internal, "%d rows in one pass, the limit is %d", len(rows), m.limits.Batch)
	}
	// The arrays are C's: bridge.c hands them to llama_decode.
	for i, row := range rows {
		if err := m.check(row); err != nil {
			m.unwind(rows[:i])
			return err
		}
		m.length[row.Seq]++
		m.token[i] = C.llama_token(row.Token)
		m.position[i] = C.llama_pos(row.Pos)
		m.sequence[i] = C.llama_seq_id(row.Seq)
		m.want[i] = 0
		if row.Want {
			m.want[i] = 1
		}
	}
	var result C.int32_t
	pass := func() { result = C.realign_forward(m.c, C.int32_t(len(rows))) }
	if m.scaled != nil {
		pass = func() { result = m.scaled.forward(m.c, len(rows)) }
	}
	// Several threads: on a caller of their own, see call.
	if m.active > 1 {
		call(m.active, pass)
	} else {
		pass()
	}
	switch result {
	case 0:
		m.rows = len(rows)
		return nil
	case unscaled:
		return fault.New(fault.Internal, "an adapter has products whose columns are not the rows of a pass: this model cannot be decoded in one pass with its adapters; use --one-pass off")
	// llama_decode found no cells; what was noted of the rows is taken back.
	case 1:
		m.unwind(rows)
		return fault.New(fault.Busy, "the cache of %d tokens has no room for %d more", m.limits.Cells, len(rows))
	default:
		m.unwind(rows)
		return fault.New(fault.Internal, "llama_decode of %d rows failed with %d", len(rows), result)
	}
}

// check reports why a row cannot follow those before it.
func (m *Model) check(row decode.Row) error {
	switch {
	case row.Token < 0 || int(row.Token) >= m.limits.Vocab:
		return fault.New(fault.Invalid, "%v is not in the vocabulary of %d", row.Token, m.limits.Vocab)
	case row.Seq < 0 || int(row.Seq) >= m.limits.Sequences:
		return fault.New(fault.Internal, "sequence %d is not in [0, %d)", row.Seq, m.limits.Sequences)
	case row.Pos != m.length[row.Seq]:
		return fault.New(fault.Internal, "position %d of sequence %d, which holds %d", row.Pos, row.Seq, m.length[row.Seq])
	case row.Pos >= m.limits.Cells:
		return fault.New(fault.Busy, "the cache has %d cells: no room for position %d", m.limits.Cells, row.Pos)
	}
	return nil
}

// unwind forgets rows that did not enter the cache.
func (m *Model) unwind(rows []decode.Row) {
	for _, row := range rows {
		m.length[row.Seq]--
	}
}

// Logits is the logits after row i of the last pass, in memory of the context: no copy. It is nil for a
// row that did not want them.
func (m *Model) Logits(i int) []float32 {
	if i < 0 || i >= m.rows || m.logits[i] == nil {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(m.logits[i])), m.limits.Vocab)
}

// Copy makes dst hold the first n positions of src. For recurrent models, which hold no past states, dst
// is left empty when n is not all of src. Sequences out of range are ignored.
func (m *Model) Copy(dst, src decode.Seq, n int) int {
	if m.c == nil || !m.has(dst) || !m.has(src) {
		return 0
	}
	n = max(0, min(n, m.length[src]))
	if dst == src {
		m.Trim(src, n)
		return m.length[src]
	}
	if !bool(C.realign_copy(m.c, C.llama_seq_id(dst), C.llama_seq_id(src), C.int32_t(n), C.int32_t(m.length[src]))) {
		n = 0
	}
	m.length[dst] = n
	return n
}

// Trim keeps the first n positions of a sequence.
func (m *Model) Trim(seq decode.Seq, n int) bool {
	if m.c == nil || !m.has(seq) || n < 0 {
		return false
	}
	if n >= m.length[seq] {
		return true
	}
	if n > 0 && !bool(m.c.forgets) || !bool(C.realign_trim(m.c, C.llama_seq_id(seq), C.int32_t(n))) {
		return false
	}
	m.length[seq] = n
	return true
}

// SetThreads says on how many threads the next passes run; 0 is what the model was opened with.
func (m *Model) SetThreads(n int) {
	if m.c != nil {
		if m.active = cmp.Or(n, m.threads); m.active == 1 {
			rest()
		}
		C.realign_threads(m.c, C.int32_t(m.active))
	}
}

// has reports whether the context has such a sequence.
func (m *Model) has(seq decode.Seq) bool { return seq >= 0 && int(seq) < m.limits.Sequences }

// Close frees the context.
func (m *Model) Close() error {
	if m.c != nil {
		if m.active > 1 {
			rest()
		}
		C.realign_close(m.c)
		m.c, m.rows = nil, 0
	}
	return nil
}
