package llamacpp

/*
#include "kernel.h"
*/
import "C"

import (
	"math"
	"slices"
	"unsafe"

	"realign/internal/decode"
)

// Kernel is the engine's arithmetic over the vocabulary in vector instructions, several times as fast as plain
// Go.
type Kernel struct{}

var _ decode.Kernel = Kernel{}

// Mix implements decode.Kernel.
func (Kernel) Mix(z, w []float64, rows [][]float32) (int, float64) {
	add := C.bool(false)
	for i, row := range rows {
		if w[i] != 0 {
			C.realign_mix(first(z), (*C.float)(unsafe.SliceData(row[:len(z)])), C.int64_t(len(z)), C.double(w[i]), add)
			add = true
		}
	}
	var at C.int64_t
	top := C.realign_maximum(first(z), C.int64_t(len(z)), &at)
	return int(at), float64(top)
}

// Sum implements decode.Kernel.
func (Kernel) Sum(row []float32) (top, logSum float64) {
	var sum C.double
	top = float64(C.realign_sum((*C.float)(unsafe.SliceData(row)), C.int64_t(len(row)), &sum))
	return top, top + math.Log(float64(sum))
}

// Expect implements decode.Kernel.
func (Kernel) Expect(means, z []float64, top float64, rows [][]float32) float64 {
	var mean C.double
	if len(means) == 0 {
		return float64(C.realign_expect(first(z), C.int64_t(len(z)), C.double(top), nil, nil, &mean))
	}
	var total C.double
	reference := (*C.float)(unsafe.SliceData(rows[0][:len(z)]))
	for i := range means {
		row := (*C.float)(unsafe.SliceData(rows[i+1][:len(z)]))
		total = C.realign_expect(first(z), C.int64_t(len(z)), C.double(top), row, reference, &mean)
		means[i] = float64(mean)
	}
	return float64(total)
}

// Candidates implements decode.Kernel.
func (Kernel) Candidates(dst []decode.Token, z []float64, cutoff, top, inverse, score float64, g decode.Noise) []decode.Token {
	dst = slices.Grow(dst, len(z))
	n := C.realign_contend(places(dst[len(dst):cap(dst)]), first(z), C.int64_t(len(z)), C.double(cutoff), C.double(top), C.double(inverse), C.double(score), C.uint64_t(g))
	return dst[:len(dst)+int(n)]
}

// Top implements decode.Kernel.
func (Kernel) Top(best []decode.Token, z []float64) {
	C.realign_top(first(z), C.int64_t(len(z)), places(best), C.int64_t(len(best)))
}

// TopOfRow implements decode.Kernel.
func (Kernel) TopOfRow(best []decode.Token, row []float32) {
	C.realign_top_of_row((*C.float)(unsafe.SliceData(row)), C.int64_t(len(row)), places(best), C.int64_t(len(best)))
}

// places is where tokens lie, for C.
func places(tokens []decode.Token) *C.int32_t {
	return (*C.int32_t)(unsafe.Pointer(unsafe.SliceData(tokens)))
}

// first is where the numbers lie, for C. The slice is kept alive by its caller.
func first(z []float64) *C.double { return (*C.double)(unsafe.SliceData(z)) }
