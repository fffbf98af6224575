//go:build unix

package store

import (
	"io"
	"os"
	"syscall"

	"realign/internal/fault"
)

// lockFile holds a file until it is closed, or the process ends in any way.
func lockFile(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.Field("data", "cannot open %s: %s", path, reason(err))
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fault.New(fault.Conflict, "another realign serves the data in %s", path)
	}
	return f, nil
}
