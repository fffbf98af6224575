//go:build unix

package reward

import (
	"os/exec"
	"syscall"
)

// grouped makes a command a process group, which ends as a whole: the shell is not what takes the time.
func grouped(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
}
