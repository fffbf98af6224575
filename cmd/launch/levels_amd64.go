package main

import (
	"fmt"

	"github.com/klauspost/cpuid/v2"
)

// architecture is how the programs beside this one call it.
const architecture = "x86-64"

// levels are those of the x86-64 architecture that the processor knows, the best first.
func levels() (names []string) {
	for level := cpuid.CPU.X64Level(); level > 0; level-- {
		names = append(names, fmt.Sprint("v", level))
	}
	return names
}
