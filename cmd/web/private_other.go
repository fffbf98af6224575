//go:build !unix

package main

// keepPrivate does nothing where files have no permissions of this kind.
func keepPrivate() {}
