// Command launch is the program realign of a release: it starts the one beside it that was compiled for the best level of the
// x86-64 architecture that the processor knows. REALIGN_CPU names another level, for comparisons.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/klauspost/cpuid/v2"
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
	folder := filepath.Join(filepath.Dir(self), "bin")
	named := os.Getenv("REALIGN_CPU")
	if named != "" {
		return become(filepath.Join(folder, "realign-x86-64-"+named))
	}
	for level := cpuid.CPU.X64Level(); level > 0; level-- {
		program := filepath.Join(folder, fmt.Sprint("realign-x86-64-v", level))
		if _, err := os.Stat(program); err == nil {
			return become(program)
		}
	}
	return fail("there is no program for this processor in %s", folder)
}

func become(program string) int {
	err := syscall.Exec(program, append([]string{program}, os.Args[1:]...), os.Environ())
	return fail("cannot start %s: %v", program, err)
}

func fail(format string, args ...any) int {
	fmt.Fprintf(os.Stderr, "realign: "+format+"\n", args...)
	return 1
}
