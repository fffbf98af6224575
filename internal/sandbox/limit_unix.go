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
