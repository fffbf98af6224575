package main

import "github.com/klauspost/cpuid/v2"

// architecture is how the programs beside this one call it.
const architecture = "arm64"

// levels are the versions of the Arm architecture that programs are compiled for and the processor knows, the best first: with
// what multiplies quantised weights, and without.
func levels() []string {
	if cpuid.CPU.Supports(cpuid.ASIMDDP, cpuid.FPHP, cpuid.ASIMDHP) {
		return []string{"v8.2", "v8"}
	}
	return []string{"v8"}
}
