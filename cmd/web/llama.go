//go:build cgo && !nollama

package main

import (
	"context"
	"runtime/debug"

	"realign/internal/decode"
	"realign/internal/decode/llamacpp"
	"realign/internal/pair"
)

// kernel is the arithmetic over a vocabulary in vector instructions.
func kernel() decode.Kernel { return llamacpp.Kernel{} }

// openModels loads a pair with llama.cpp.
func openModels(_ context.Context, p *pair.Pair, o modelFlags, progress func(float64)) (decode.Pair, error) {
	files := p.Files()
	spec := llamacpp.Spec{
		Reference: files[0].Path,
		Options:   llamacpp.Options{Threads: o.Threads, Cells: o.Cells, GPULayers: o.GPULayers, Float32Cache: o.F32Cache},
		Progress:  func(_ string, x float64) { progress(x) },
	}
	for _, f := range files[1:] {
		spec.Aligned = append(spec.Aligned, llamacpp.Aligned{Name: f.Role, Path: f.Path})
	}
	return llamacpp.Open(spec)
}

func engineVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "llama.cpp"
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/ollama/ollama" {
			return "llama.cpp of " + m.Path + " " + m.Version
		}
	}
	return "llama.cpp"
}
