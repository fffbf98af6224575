package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLevels: on processors that qemu plays the program for their level is started, or the best one below it. It needs qemu-user.
func TestLevels(t *testing.T) {
	qemu, err := exec.LookPath("qemu-x86_64")
	if err != nil {
		t.Skip("there is no qemu-x86_64")
	}
	dir := t.TempDir()
	launcher := filepath.Join(dir, "realign")
	build := exec.Command("go", "build", "-o", launcher, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, level := range []string{"v1", "v3", "v4"} {
		text := fmt.Sprintf("#!/bin/sh\necho %s \"$@\"\n", level)
		if err := os.WriteFile(filepath.Join(dir, "bin", "realign-x86-64-"+level), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ cpu, named, want string }{
		{"Opteron_G1", "", "v1"}, {"core2duo", "", "v1"}, {"Nehalem", "", "v1"}, {"Haswell", "", "v3"}, {"Haswell", "v1", "v1"},
	} {
		cmd := exec.Command(qemu, "-cpu", c.cpu, launcher, "decode", "--lambda", "0,1")
		cmd.Env = append(os.Environ(), "REALIGN_CPU="+c.named)
		out, err := cmd.Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != c.want+" decode --lambda 0,1" {
			t.Errorf("%s, %q: %q %v, want %s", c.cpu, c.named, got, err, c.want)
		}
	}
}
