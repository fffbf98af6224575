package pair

import "syscall"

// What the file system says when a folder is a file, and when a rename meets a folder with something in it.
const (
	errNotDir   = syscall.ENOTDIR
	errNotEmpty = syscall.ENOTEMPTY
)
