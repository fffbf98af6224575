package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gpu"
	"realign/internal/pair"
)

// gpuAccess is what the program can learn of GPUs; a build without models has none of it.
type gpuAccess struct {
	here func() ([]gpu.Device, error)                                             // those that backends in this process find: it may end the process
	plan func(p *pair.Pair, o modelFlags, devices []gpu.Device) (gpu.Plan, error) // where the models of a pair would go
}

// devicesCommand is `realign devices`, and, with --here, the process that tries one backend.
type devicesCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
	Here bool `hidden:"" help:"Load backends into this process."`
}

// Run lists devices. Without --here, each backend is tried in a process of its own.
func (c *devicesCommand) Run(ctx context.Context, h env, log *slog.Logger) error {
	var devices []gpu.Device
	switch {
	case h.gpu.here == nil:
		return fault.New(fault.Unavailable, "this build of realign cannot load models: it was compiled without llama.cpp")
	case c.Here:
		var err error
		if devices, err = h.gpu.here(); err != nil && len(devices) == 0 {
			return fault.Wrap(err, fault.Unavailable, "no device can be used")
		}
	default:
		_, devices = backends(ctx, log)
	}
	if c.JSON {
		return printJSON(h, append([]gpu.Device{}, devices...))
	}
	return printDevices(h, devices)
}

// printDevices shows devices as a table.
func printDevices(h env, devices []gpu.Device) error {
	if len(devices) == 0 {
		_, err := fmt.Fprintln(h.stdout, "No GPU was found: models are decoded on the CPU. docs/gpu.md tells what is needed for one.")
		return err
	}
	w := tabwriter.NewWriter(h.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "DEVICE\tFREE\tMEMORY\tBACKEND\tDESCRIPTION")
	for _, d := range devices {
		fmt.Fprintf(w, "%s\t%.1f GB\t%.1f GB\t%s\t%s\n", d.Name, float64(d.Free)/1e9, float64(d.Total)/1e9, d.Backend, d.Description)
	}
	return w.Flush()
}

// printPlacements says where models that were loaded are, if they tell.
func printPlacements(h env, models decode.Pair) {
	if placed, ok := models.(interface{ Placements() []gpu.Placement }); ok {
		fmt.Fprintln(h.stdout)
		for _, at := range placed.Placements() {
			fmt.Fprintf(h.stdout, "%s: %s.\n", at.Model, at.Where())
		}
	}
}

// backends finds GPU backends that work, and their devices, without loading any here.
func backends(ctx context.Context, log *slog.Logger) (folders []string, devices []gpu.Device) {
	program, err := os.Executable()
	if err != nil {
		log.Warn("GPUs are not looked for: this program is not found", "error", err)
		return nil, nil
	}
	if path, err := filepath.EvalSymlinks(program); err == nil {
		program = path
	}
	probe := func(ctx context.Context, folder string) ([]gpu.Device, error) {
		return probeBackend(ctx, program, folder)
	}
	folders, devices = gpu.ChooseBackend(ctx, gpu.BackendFolders(program), log, probe)
	if len(devices) == 0 && runtime.GOOS == "darwin" { // Metal is part of the program
		if devices, err = probe(ctx, ""); err != nil {
			log.Warn("Metal does not work: decoding is on the CPU", "error", err)
		}
	}
	return folders, devices
}

// probeBackend lists the devices of a folder's backend from a process of its own.
func probeBackend(ctx context.Context, program, folder string) ([]gpu.Device, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // drivers compile their kernels the first time
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "devices", "--here", "--json", "--log-level=warn")
	cmd.Env = append(os.Environ(), gpu.BackendVariable+"="+folder)
	cmd.WaitDelay = time.Second
	var devices []gpu.Device
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			line, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
			if exit.ExitCode() == exitCodes[fault.Unavailable] {
				return nil, gpu.UnusableBackend(line)
			}
			err = fmt.Errorf("%w: %.300s", err, line)
		}
		return nil, err
	}
	if err := json.Unmarshal(out, &devices); err != nil {
		return nil, fmt.Errorf("what it printed is no list of devices: %w", err)
	}
	return devices, nil
}
