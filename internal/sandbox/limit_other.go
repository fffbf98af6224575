//go:build !unix

package sandbox

import (
	"os/exec"
	"time"
)

// limitMemory does nothing: the limit of time ends a computation here.
func limitMemory(int64) {}

// patience is 1: the limit of time is on the clock here.
const patience = 1

func watchTime(time.Duration, <-chan struct{}) {}

func processorTime() time.Duration { return 0 }

// detach does nothing where there are no groups of processes.
func detach(*exec.Cmd) {}
