//go:build !unix

package store

import "io"

// lockFile does nothing where there is no flock.
func lockFile(string) (io.Closer, error) { return nil, nil }
