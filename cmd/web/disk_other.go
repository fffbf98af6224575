//go:build !(linux || darwin || freebsd)

package main

import "errors"

// freeBytes does not know on this system.
func freeBytes(string) (uint64, error) { return 0, errors.ErrUnsupported }
