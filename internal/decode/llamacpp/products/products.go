// Package products has the kernels by which a CPU multiplies quantized weights, in the place of ggml's.
package products

/*
#cgo CFLAGS: -std=gnu11
#cgo linux LDFLAGS: -Wl,--wrap=llamafile_sgemm
#include "products.h"
*/
import "C"

import _ "github.com/ollama/ollama/ml/backend/ggml/ggml/src/ggml-cpu" // which calls the kernels

// InTiles says whether products of quantized weights on the CPU are in tiles, as they are from the start, or by ggml's kernels, the plain
// twin, which makes the same numbers. It holds for all contexts and must not change while a pass is made. It does nothing where there
// are no tiles.
func InTiles(on bool) {
	C.realign_products_in_tiles(C.bool(on))
}

// HasTiles says whether this build has products in tiles: on Linux, for processors with AVX2, FMA and F16C.
func HasTiles() bool { return bool(C.realign_products_has_tiles()) }
