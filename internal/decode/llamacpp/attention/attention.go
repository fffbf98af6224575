// Package attention has the kernel by which a CPU attends over a cache, in the place of ggml's.
package attention

/*
#cgo CFLAGS: -std=gnu11 -Wno-psabi
#cgo linux LDFLAGS: -Wl,--wrap=ggml_compute_forward_flash_attn_ext
#include "attention.h"
*/
import "C"

import _ "github.com/ollama/ollama/ml/backend/ggml/ggml/src/ggml-cpu" // which calls the kernel

// InBlocks says whether attention on the CPU is in blocks of keys, as it is from the start, or by ggml's kernel, the plain twin, which
// takes one key after another. It holds for all contexts and must not change while a pass is made. It does nothing where
// there are no blocks.
func InBlocks(on bool) {
	C.realign_attention_in_blocks(C.bool(on))
}

// HasBlocks says whether this build has attention in blocks: on Linux, for processors that convert half precision in vectors.
func HasBlocks() bool { return bool(C.realign_attention_has_blocks()) }
