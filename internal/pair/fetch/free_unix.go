//go:build unix

package fetch

import "golang.org/x/sys/unix"

// freeBytes is what the disk of a folder has left for us.
func freeBytes(folder string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
