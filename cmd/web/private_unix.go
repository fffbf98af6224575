//go:build unix

package main

import "syscall"

// keepPrivate makes new files of this process for its user alone.
func keepPrivate() { syscall.Umask(0o077) }
