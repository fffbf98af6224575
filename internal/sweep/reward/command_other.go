//go:build !unix

package reward

import "os/exec"

// grouped does nothing where there are no process groups: the shell alone is ended then.
func grouped(*exec.Cmd) {}
