package llamacpp

/*
#include "strengths.h"
*/
import "C"

import (
	"unsafe"
)

// unscaled is the result of a pass in which an adapter could not be given its strengths.
const unscaled = C.REALIGN_UNSCALED

// keepUnused is how many passes an adapter that no row uses is computed all the same: to leave it out, the graph must be built
// anew.
const keepUnused = 64

// strengths are those of a context's rows, for each adapter that was added to it.
// It is C memory beside the Go slices, made before its context and freed after it; whoever owns the context guards
// it.
type strengths struct {
	pointer  *C.realign_strengths
	adapters []*adapter  // by number
	rows     [][]C.float // by adapter's number and row of the next pass: C memory
	use      []C.bool    // which of them passes compute
	idle     int         // passes since all of those were needed
}

// newStrengths is for passes of at most so many rows. No adapter is added yet.
func newStrengths(batch int) *strengths {
	return &strengths{pointer: C.realign_strengths_new(C.uint32_t(batch))}
}

// c is what the C functions take, nil for none.
func (s *strengths) c() *C.realign_strengths {
	if s == nil {
		return nil
	}
	return s.pointer
}

// add adds an adapter to a context of so many rows a pass, and returns its number.
func (s *strengths) add(a *adapter, batch int) int {
	C.realign_strengths_add(s.pointer, a.pointer, C.int32_t(a.place))
	s.adapters, s.use = append(s.adapters, a), append(s.use, false)
	s.rows = s.rows[:0]
	for i := range s.adapters {
		s.rows = append(s.rows, unsafe.Slice((*C.float)(C.realign_strengths_of(s.pointer, C.int32_t(i))), batch))
	}
	return len(s.adapters) - 1
}

// fit reports whether some adapters fit in one graph that has so many nodes without them. A single one does in any case.
func (s *strengths) fit(c *C.realign_context, nodes int, use []bool) bool {
	count := 0
	list := make([]C.bool, len(use)+1)
	for i, u := range use {
		if list[i] = C.bool(u); u {
			count++
		}
	}
	return count <= 1 || bool(C.realign_strengths_fit(s.pointer, c, C.int32_t(nodes), &list[0]))
}

// choose says which adapters the next pass needs. Others are left in the graph for a while if they fit. bare is as for fit.
func (s *strengths) choose(c *C.realign_context, needed []bool, bare int) {
	if len(needed) == 0 {
		return
	}
	missing, spare := false, false
	both := make([]bool, len(needed))
	for i, n := range needed {
		used := bool(s.use[i])
		missing, spare, both[i] = missing || n && !used, spare || !n && used, n || used
	}
	if s.idle++; !spare {
		s.idle = 0
	}
	if !missing && s.idle < keepUnused {
		return
	}
	s.idle = 0
	next := needed
	if missing && s.fit(c, bare, both) {
		next = both
	}
	for i, n := range next {
		s.use[i] = C.bool(n)
	}
	C.realign_strengths_use(s.pointer, c, &s.use[0])
}

// forward makes a pass of rows with the strengths that were set.
func (s *strengths) forward(c *C.realign_context, n int) C.int32_t {
	return C.realign_forward_strengths(c, s.pointer, C.int32_t(n))
}

// Close frees the strengths, after their context.
func (s *strengths) Close() {
	C.realign_strengths_free(s.pointer)
	s.pointer = nil
}

// set gives a row of the next pass its strength.
func (s *strengths) set(number, row int, x float32) { s.rows[number][row] = C.float(x) }

// nodes are those of the last pass's graph.
func (s *strengths) nodes() int { return int(C.realign_strengths_nodes(s.pointer)) }
