//go:build unix

package worker

import (
	"os/exec"
	"syscall"
)

// detach gives a child a process group of its own: Ctrl-C at the terminal is for the server, which then
// ends its children in order.
func detach(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
