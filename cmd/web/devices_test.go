package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"realign/internal/gpu"
)

// A backend that ends the process which loads it, and one that is no library, are told of and left out: what is decoded
// is the same. It needs the program: REALIGN_BIN=$PWD/bin/realign go test -run BrokenBackend ./cmd/web
func TestBrokenBackend(t *testing.T) {
	program := os.Getenv("REALIGN_BIN")
	if program == "" {
		t.Skip("REALIGN_BIN does not name the program")
	}
	realign := func(folders string, args ...string) (stdout, stderr string) {
		t.Helper()
		var out, bad strings.Builder
		cmd := exec.Command(program, args...)
		cmd.Dir = filepath.Join("..", "..")
		cmd.Env = append(os.Environ(), gpu.BackendVariable+"="+folders)
		cmd.Stdout, cmd.Stderr = &out, &bad
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, bad.String())
		}
		return out.String(), bad.String()
	}
	decode := []string{"decode", "--prompt", "Did you like it?", "--seed", "7", "--max-tokens", "8"}
	want, _ := realign("", decode...)

	root := t.TempDir()
	folders := make([]string, 2)
	for i, name := range []string{"rocm", "vulkan"} {
		folders[i] = filepath.Join(root, "lib", "ollama", name)
		if err := os.MkdirAll(folders[i], 0o755); err != nil {
			t.Fatal(err)
		}
	}
	source := filepath.Join(root, "abort.c")
	library := filepath.Join(folders[0], "libggml-hip.so")
	err := errors.Join(
		os.WriteFile(filepath.Join(folders[1], "libggml-vulkan.so"), []byte("no library"), 0o644),
		os.WriteFile(source, []byte(`#include <stdio.h>
#include <stdlib.h>
__attribute__((constructor)) static void fail(void) { fputs("the driver is broken\\n", stderr); abort(); }`), 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	both := strings.Join(folders, string(filepath.ListSeparator))
	got, log := realign(both, decode...)
	if got != want {
		t.Errorf("with broken backends it says %q, without %q", got, want)
	}
	for _, say := range []string{folders[0], "SIGABRT", "the driver is broken", "decoding is on the CPU"} {
		if !strings.Contains(log, say) {
			t.Errorf("the log does not say %q: %s", say, log)
		}
	}
	out, log := realign(both, "devices")
	if !strings.Contains(out, "No GPU was found") || !strings.Contains(log, "libggml-vulkan.so: ") {
		t.Errorf("devices says %q and logs %q", out, log)
	}
}

// With a device, the program says what it has and where the pair's layers go, and decodes there what it decodes on the
// CPU. make gpu-test runs it.
func TestGPUProgram(t *testing.T) {
	name := os.Getenv("REALIGN_GPU_TEST")
	program := os.Getenv("REALIGN_BIN")
	if name == "" || program == "" {
		t.Skip("REALIGN_GPU_TEST and REALIGN_BIN are not set: see make gpu-test")
	}
	realign := func(code int, args ...string) string {
		t.Helper()
		cmd := exec.Command(program, args...)
		cmd.Dir = filepath.Join("..", "..")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return string(out)
	}
	device := ""
	for line := range strings.Lines(realign(0, "devices")) {
		if fields := strings.Fields(line); len(fields) > 0 && strings.HasPrefix(fields[0], name) {
			device = fields[0]
			break
		}
	}
	if device == "" {
		t.Fatalf("devices lists none of %s", name)
	}
	const layers = "6 of 6 layers on "
	if out := realign(0, "pairs", "show", "demo", "--devices", device); strings.Count(out, layers+device) != 2 {
		t.Errorf("pairs show does not say that both models fit on %s:\n%s", device, out)
	}
	if out := realign(0, "pairs", "show", "demo", "--devices", device, "--gpu-layers", "3"); !strings.Contains(out, "3 of 6 layers on "+device) {
		t.Errorf("pairs show with three layers says:\n%s", out)
	}
	if out := realign(2, "pairs", "show", "demo", "--gpu-layers", "7"); !strings.Contains(out, "--gpu-layers: 7 is not between 0 and 6") {
		t.Errorf("too many layers: %s", out)
	}
	if out := realign(2, "decode", "--prompt", "Hello?", "--devices", "CUDA99"); !strings.Contains(out, `--devices: there is no device "CUDA99", but `+device) {
		t.Errorf("an unknown device: %s", out)
	}
	out := realign(0, "decode", "--prompt", "Hello?", "--lambda", "0.5", "--max-tokens", "4", "--devices", device, "--log-level", "info")
	if strings.Count(out, layers+device) != 2 {
		t.Errorf("the log does not say where models are:\n%s", out)
	}
}

// An installed Ollama has the library that all backends need a folder above them, where only its own starting script
// makes the system look. It is found there all the same.
func TestGPUFromOllamasFolders(t *testing.T) {
	name, program, built := os.Getenv("REALIGN_GPU_TEST"), os.Getenv("REALIGN_BIN"), os.Getenv(gpu.BackendVariable)
	if name == "" || program == "" || built == "" {
		t.Skip("REALIGN_GPU_TEST, REALIGN_BIN and " + gpu.BackendVariable + " are not set: see make gpu-test")
	}
	root := filepath.Join(t.TempDir(), "lib", "ollama")
	folder := filepath.Join(root, filepath.Base(built))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	libraries, err := filepath.Glob(filepath.Join(built, "libggml-*"))
	if err != nil || len(libraries) == 0 {
		t.Fatalf("no libraries in %s: %v", built, err)
	}
	for _, library := range libraries {
		data, err := os.ReadFile(library)
		if err != nil {
			t.Fatal(err)
		}
		data = bytes.ReplaceAll(data, []byte("$ORIGIN"), []byte("/absent")) // where it looks for others
		into := folder
		if strings.HasPrefix(filepath.Base(library), "libggml-base") {
			into = root
		}
		if err := os.WriteFile(filepath.Join(into, filepath.Base(library)), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "devices")
	cmd.Env = append(os.Environ(), gpu.BackendVariable+"="+folder)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), name+"0 ") {
		t.Errorf("%v: %s", err, out)
	}
}

// A device that turns out to be too small is left, unless it was asked for layers.
func TestGPUTooSmall(t *testing.T) {
	program := os.Getenv("REALIGN_BIN")
	if os.Getenv("REALIGN_GPU_TEST") != "Vulkan" || program == "" {
		t.Skip("it takes the Vulkan backend to pretend: see make gpu-test BACKEND=vulkan")
	}
	decode := func(layers string) (stdout, log string, err error) {
		var out, bad strings.Builder
		cmd := exec.Command(program, "decode", "--prompt", "Did you like it?", "--max-tokens", "4", "--gpu-layers", layers)
		cmd.Dir = filepath.Join("..", "..")
		cmd.Env = append(os.Environ(), "GGML_VK_FORCE_MAX_BUFFER_SIZE=100000")
		cmd.Stdout, cmd.Stderr = &out, &bad
		err = cmd.Run()
		return out.String(), bad.String(), err
	}
	want, _, err := decode("0")
	if err != nil || want == "" {
		t.Fatalf("on the CPU: %v: %q", err, want)
	}
	got, log, err := decode("auto")
	if err != nil || got != want || !strings.Contains(log, "decoded on the CPU") {
		t.Errorf("auto: %v: %q, on the CPU %q; the log says %s", err, got, want, log)
	}
	if got, log, err := decode("all"); err == nil || got != "" || !strings.Contains(log, "realign: ") {
		t.Errorf("all: %v: %q: %s", err, got, log)
	}
}
