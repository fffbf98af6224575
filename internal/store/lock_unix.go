//go:build unix

package store

import (
	"errors"
	"io"
	"os"
	"syscall"

	"realign/internal/fault"
)

// notLocked says why a file cannot be locked: another has it, or the file system has no locks.
func notLocked(err error, path string) error {
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fault.New(fault.Conflict, "another realign serves the data in %s", path)
	}
	return fault.Wrap(err, fault.Unavailable, "the file system of %s cannot lock files (%s), as NFS without a lock service: put the data on another one", path, err)
}

// lockFile holds a file until it is closed, or the process ends in any way.
func lockFile(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.Field("data", "cannot open %s: %s", path, reason(err))
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, notLocked(err, path)
	}
	return f, nil
}
