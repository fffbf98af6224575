//go:build amd64 || arm64

// Command launch is the program realign of a release: it starts the one beside it that was compiled for the best level of the
// architecture that the processor knows. REALIGN_CPU names another level, for comparisons.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

func main() {
	os.Exit(launch())
}

// launch does not return when it succeeds: the program takes this one's place.
func launch() int {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return fail("cannot tell where it is: %v", err)
	}
	prefix := filepath.Join(filepath.Dir(self), "bin", "realign-"+architecture+"-")
	if named := os.Getenv("REALIGN_CPU"); named != "" {
		return become(prefix + named)
	}
	for _, level := range levels() {
		if _, err := os.Stat(prefix + level); err == nil {
			return become(prefix + level)
		}
	}
	return fail("there is no program for this processor that begins with %s", prefix)
}

// become puts a program in this one's place, with its arguments and environment. It returns an exit code only where
// that fails.
func become(program string) int {
	err := syscall.Exec(program, append([]string{program}, os.Args[1:]...), os.Environ())
	return fail("cannot start %s: %v", program, err)
}

// fail says why there is no program to start, and returns the exit code.
func fail(format string, args ...any) int {
	fmt.Fprintf(os.Stderr, "realign: "+format+"\n", args...)
	return 1
}
