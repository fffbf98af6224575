//go:build cgo && !nollama

package main

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"realign/internal/decode"
	"realign/internal/decode/llamacpp"
	"realign/internal/decode/llamacpp/attention"
	"realign/internal/decode/llamacpp/products"
	"realign/internal/gpu"
	"realign/internal/pair"
)

// kernel is the arithmetic over a vocabulary in vector instructions.
func kernel() decode.Kernel { return llamacpp.Kernel{} }

// cpuKernels chooses the kernels of the CPU, where this build has two.
func cpuKernels() (k kernelChoice) {
	if attention.HasBlocks() {
		k.attendInBlocks = attention.InBlocks
	}
	if products.HasTiles() {
		k.multiplyInTiles = products.InTiles
	}
	return k
}

// quantize makes a model's weights smaller.
func quantize() func(in, out, to string, progress func(done, total int)) error {
	return func(in, out, to string, progress func(done, total int)) error {
		loadBackends(context.Background(), gpu.Choice{None: true})
		return llamacpp.Quantize(in, out, to, runtime.NumCPU(), progress)
	}
}

// openModels loads a pair with llama.cpp.
func openModels(ctx context.Context, p *pair.Pair, o modelFlags, progress func(float64)) (decode.Pair, error) {
	spec, err := specOf(p, o)
	if err != nil {
		return nil, err
	}
	loadBackends(ctx, spec.Options.Offload)
	attention.InBlocks(!o.PlainAttention)
	products.InTiles(!o.PlainProducts)
	spec.Progress = func(_ string, x float64) { progress(x) }
	models, err := llamacpp.Open(spec)
	if err != nil {
		return nil, asFlagError(err)
	}
	for _, at := range models.Placements() {
		slog.Info("placed", "model", at.Model, "where", at.Where())
	}
	return models, nil
}

// specOf is a pair with the flags, as llama.cpp is to open it. Errors name the flag.
func specOf(p *pair.Pair, o modelFlags) (llamacpp.Spec, error) {
	choice, err := o.offload()
	if err != nil {
		return llamacpp.Spec{}, asFlagError(err)
	}
	onePass, err := llamacpp.ParseOnePass(cmp.Or(o.OnePass, "auto"))
	if err != nil {
		return llamacpp.Spec{}, asFlagError(err)
	}
	files := p.Files()
	spec := llamacpp.Spec{
		Reference: files[0].Path, Contrasts: map[string]decode.Contrast{}, Untuned: map[string]llamacpp.Aligned{},
		Options: llamacpp.Options{Threads: o.Threads, Cells: o.Cells, Sequences: o.Sequences, Offload: choice, Float32Cache: o.F32Cache, OnePass: onePass},
	}
	spec.Variables = p.TemplateVariables
	if spec.Template.Source, spec.Template.Name, err = p.ChatTemplate(); err != nil {
		return llamacpp.Spec{}, err
	}
	for _, a := range p.Aligned {
		spec.Aligned = append(spec.Aligned, llamacpp.Aligned{Name: a.Name})
		if a.Contrast != nil {
			spec.Contrasts[a.Name] = *a.Contrast
		}
	}
	for _, f := range files[1:] {
		a := p.Of(f)
		if f.Untuned() {
			spec.Untuned[a.Name] = llamacpp.Aligned{Name: f.Role, Path: f.Path}
			continue
		}
		i := slices.IndexFunc(spec.Aligned, func(x llamacpp.Aligned) bool { return x.Name == a.Name })
		spec.Aligned[i].Path, spec.Aligned[i].Scale = f.Path, f.Scale
	}
	return spec, nil
}

// gpus is what llama.cpp knows of GPUs.
func gpus() gpuAccess {
	return gpuAccess{
		here: llamacpp.Devices,
		plan: func(p *pair.Pair, o modelFlags, devices []gpu.Device) (gpu.Plan, error) {
			spec, err := specOf(p, o)
			if err != nil {
				return gpu.Plan{}, err
			}
			plan, err := llamacpp.Plan(spec, devices)
			return plan, asFlagError(err)
		},
	}
}

// backendsOnce: llama.cpp looks for backends once in a process.
var backendsOnce sync.Once

// loadBackends makes llama.cpp find the backends that work, before it is first used in this process.
func loadBackends(ctx context.Context, choice gpu.Choice) {
	backendsOnce.Do(func() {
		var folders []string
		if !choice.None && choice.Layers != 0 {
			folders, _ = backends(ctx, slog.Default())
		}
		// Set in any case: by itself llama.cpp would look beside the program.
		_ = os.Setenv(gpu.BackendVariable, strings.Join(folders, string(filepath.ListSeparator)))
	})
}

// engineVersion says which llama.cpp this program has.
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
