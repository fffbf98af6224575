package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"realign/internal/backend"
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
		cmd.Env = append(os.Environ(), backend.Variable+"="+folders)
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
	for _, say := range []string{folders[0], "abort", "the driver is broken", "decoding is on the CPU"} {
		if !strings.Contains(log, say) {
			t.Errorf("the log does not say %q: %s", say, log)
		}
	}
	out, log := realign(both, "devices")
	if !strings.Contains(out, "No GPU was found") || !strings.Contains(log, "libggml-vulkan.so: ") {
		t.Errorf("devices says %q and logs %q", out, log)
	}
}
