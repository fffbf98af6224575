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
	for _, c := range []struct {
		goarch, qemu, prefix string
		levels               []string
		want                 []choice
	}{
		{"amd64", "qemu-x86_64", "x86-64", []string{"v1", "v3", "v4"}, []choice{
			{"Opteron_G1", "", "v1"}, {"core2duo", "", "v1"}, {"Nehalem", "", "v1"}, {"Haswell", "", "v3"}, {"Haswell", "v1", "v1"},
		}},
		{"arm64", "qemu-aarch64", "arm64", []string{"v8", "v8.2"}, []choice{
			{"cortex-a53", "", "v8"}, {"cortex-a72", "", "v8"}, {"cortex-a76", "", "v8.2"}, {"neoverse-n1", "", "v8.2"}, {"cortex-a76", "v8", "v8"},
		}},
	} {
		t.Run(c.goarch, func(t *testing.T) {
			qemu, err := exec.LookPath(c.qemu)
			if err != nil {
				t.Skipf("there is no %s", c.qemu)
			}
			launcher := built(t, c.goarch, c.prefix, c.levels)
			for _, want := range c.want {
				want.check(t, qemu, launcher)
			}
		})
	}
}

// choice is what is started on a processor, with a level that is named or with none.
type choice struct{ cpu, named, want string }

func (c choice) check(t *testing.T, qemu, launcher string) {
	t.Helper()
	cmd := exec.Command(qemu, "-cpu", c.cpu, launcher, "decode", "--lambda", "0,1")
	cmd.Env = append(os.Environ(), "REALIGN_CPU="+c.named)
	var said strings.Builder
	cmd.Stderr = &said // qemu warns of what it cannot play
	out, err := cmd.Output()
	if got := strings.TrimSpace(string(out)); err != nil || got != c.want+" decode --lambda 0,1" {
		t.Errorf("%s, %q: %q %v, want %s\n%s", c.cpu, c.named, got, err, c.want, said.String())
	}
}

// built is the launcher beside programs that say which they are.
func built(t *testing.T, goarch, prefix string, levels []string) string {
	t.Helper()
	dir := t.TempDir()
	launcher := filepath.Join(dir, "realign")
	build := exec.Command("go", "build", "-o", launcher, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+goarch)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, level := range levels {
		text := fmt.Sprintf("#!/bin/sh\necho %s \"$@\"\n", level)
		if err := os.WriteFile(filepath.Join(dir, "bin", "realign-"+prefix+"-"+level), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return launcher
}
