//go:build !cgo || nollama

package main

import (
	"context"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/pair"
)

// openModels fails: this build has no llama.cpp. It serves as a server for workers elsewhere, and in tests.
func openModels(context.Context, *pair.Pair, modelFlags, func(float64)) (decode.Pair, error) {
	return nil, fault.New(fault.Unavailable, "this build of realign cannot load models: it was compiled without llama.cpp")
}

// tryApart is nothing: openModels says why at once.
func tryApart() func(*pair.Pair, modelFlags) trial { return nil }

// checkVocabulariesApart is nothing: only llama.cpp reads vocabularies.
func checkVocabulariesApart() func(context.Context, *pair.Pair) (map[string][]gguf.Finding, error) {
	return nil
}

// gpus is nothing: there are no models to put on one.
func gpus() gpuAccess { return gpuAccess{} }

// quantize is nothing, as this build has no llama.cpp.
func quantize() func(in, out, to string, progress func(done, total int)) error { return nil }

// kernel is the arithmetic over a vocabulary in plain Go.
func kernel() decode.Kernel { return decode.Plain{} }

// cpuKernels are none, as this build has no llama.cpp.
func cpuKernels() kernelChoice { return kernelChoice{} }

// engineVersion says that there is none.
func engineVersion() string { return "none" }
