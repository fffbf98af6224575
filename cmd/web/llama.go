//go:build cgo && !nollama

package main

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"

	"realign/internal/backend"
	"realign/internal/decode"
	"realign/internal/decode/llamacpp"
	"realign/internal/offload"
	"realign/internal/pair"
)

// kernel is the arithmetic over a vocabulary in vector instructions.
func kernel() decode.Kernel { return llamacpp.Kernel{} }

// openModels loads a pair with llama.cpp.
func openModels(ctx context.Context, p *pair.Pair, o modelFlags, progress func(float64)) (decode.Pair, error) {
	spec, err := specOf(p, o)
	if err != nil {
		return nil, err
	}
	loadBackends(ctx, spec.Options.Offload)
	spec.Progress = func(_ string, x float64) { progress(x) }
	models, err := llamacpp.Open(spec)
	if err != nil {
		return nil, flagged(err)
	}
	for _, at := range models.Placements() {
		slog.Info("placed", "model", at.Model, "where", at.Where())
	}
	return models, nil
}

func specOf(p *pair.Pair, o modelFlags) (llamacpp.Spec, error) {
	choice, err := o.offload()
	if err != nil {
		return llamacpp.Spec{}, flagged(err)
	}
	onePass, err := llamacpp.ParseOnePass(cmp.Or(o.OnePass, "auto"))
	if err != nil {
		return llamacpp.Spec{}, flagged(err)
	}
	files := p.Files()
	spec := llamacpp.Spec{
		Reference: files[0].Path,
		Options:   llamacpp.Options{Threads: o.Threads, Cells: o.Cells, Offload: choice, Float32Cache: o.F32Cache, OnePass: onePass},
	}
	for _, f := range files[1:] {
		spec.Aligned = append(spec.Aligned, llamacpp.Aligned{Name: f.Role, Path: f.Path})
	}
	return spec, nil
}

// gpus is what llama.cpp knows of GPUs.
func gpus() gpu {
	return gpu{
		here: llamacpp.Devices,
		plan: func(p *pair.Pair, o modelFlags, devices []offload.Device) (offload.Plan, error) {
			spec, err := specOf(p, o)
			if err != nil {
				return offload.Plan{}, err
			}
			plan, err := llamacpp.Plan(spec, devices)
			return plan, flagged(err)
		},
	}
}

// backendsOnce: llama.cpp looks for backends once in a process.
var backendsOnce sync.Once

// loadBackends makes llama.cpp find the backends that work, before it is first used in this process.
func loadBackends(ctx context.Context, choice offload.Choice) {
	backendsOnce.Do(func() {
		var folders []string
		if !choice.None && choice.Layers != 0 {
			folders, _ = backends(ctx, slog.Default())
		}
		// Set in any case: by itself llama.cpp would look beside the program.
		_ = os.Setenv(backend.Variable, strings.Join(folders, string(filepath.ListSeparator)))
	})
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
