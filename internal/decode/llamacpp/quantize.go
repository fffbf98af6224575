package llamacpp

/*
#include <stdlib.h>

#include "quantize.h"
*/
import "C"

import (
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"realign/internal/fault"
	"realign/internal/gguf"
)

// WeightTypes lists the types that Quantize knows, as people write them.
func WeightTypes() (names []string) {
	for i := C.int32_t(0); C.realign_type_name(i) != nil; i++ {
		names = append(names, C.GoString(C.realign_type_name(i)))
	}
	return names
}

// Quantize writes a model with weights of another type. Weights that are quantised already are not quantised again.
// progress, when set, is told how many tensors of how many are done.
func Quantize(in, out, to string, threads int, progress func(done, total int)) error {
	kind := slices.Index(WeightTypes(), strings.ToLower(to))
	if kind < 0 {
		return fault.Field("quantize", "%.40q is none of %s", to, strings.Join(WeightTypes(), ", "))
	}
	head, err := gguf.Open(in)
	if err == nil {
		err = head.CheckModel()
	}
	if err != nil {
		return err
	}
	_ = start() // no device is used
	loading.Lock()
	defer loading.Unlock()
	log.forget()
	if progress != nil {
		log.watch(func(line string) {
			var done, total int
			if n, _ := fmt.Sscanf(line, "[%d/%d]", &done, &total); n == 2 { // as it reports each tensor
				progress(done, total)
			}
		})
		defer log.watch(nil)
	}
	from, into := C.CString(in), C.CString(out)
	defer C.free(unsafe.Pointer(from))
	defer C.free(unsafe.Pointer(into))
	if C.realign_quantize(from, into, C.int32_t(kind), C.int32_t(threads)) != 0 {
		return fault.New(fault.Invalid, "%s: llama.cpp cannot quantise it to %s%s", in, to, log.reason())
	}
	return nil
}
