//go:build unix

package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"runtime/metrics"
	"syscall"
	"time"
)

// limitMemory bounds the data of this process: beyond it the system gives none, and the runtime ends the process. Where
// the system does not count mappings as data, the watch does.
func limitMemory(bytes int64) {
	most := syscall.Rlimit{Cur: uint64(bytes), Max: uint64(bytes)}
	if !detectsRaces {
		_ = syscall.Setrlimit(syscall.RLIMIT_DATA, &most) // the watch is there, too
	}
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	go watchMemory(uint64(bytes))
}

// patience is how many times its limit of processor time a call may take: the machine may be busy.
const patience = 4

// watchTime ends the process when it has taken so much more processor time, unless done is closed before.
func watchTime(most time.Duration, done <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for most += processorTime(); processorTime() <= most; {
		select {
		case <-done:
			return
		case <-tick.C:
		}
	}
	fmt.Fprintln(os.Stderr, outOfTime)
	os.Exit(2)
}

// processorTime is what the process has taken so far.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // there is no such process only where it has ended
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// watchMemory ends the process when it holds more.
func watchMemory(most uint64) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	for {
		time.Sleep(10 * time.Millisecond)
		if metrics.Read(sample); sample[0].Value.Uint64() > most {
			fmt.Fprintln(os.Stderr, "out of memory")
			os.Exit(2)
		}
	}
}

// detach gives the process a group of its own: Ctrl-C at the terminal is for the program, which ends its calls in order.
func detach(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
