package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"realign/internal/fault"
)

// kept are the beginnings of the names of what the program keeps in its data folder.
var kept = []string{"realign.db", "nats", "pairs", "sha256.json", "checksums.json", "heads.json", "worker-token"}

// others are the permissions of everybody but the owner.
const others fs.FileMode = 0o077

// Protect takes from everybody but their owner the permissions of the data folder and of what the program keeps there: older
// programs made files that all users of the machine could read. What else is in the folder is left as it is, and so is a
// folder that cannot be the program's alone: a home, or one like /tmp. Symbolic links are not followed. It returns how many
// files and folders it has changed.
func Protect(dir string) (changed int, err error) {
	err = eachOpen(dir, func(path string, mode fs.FileMode) error {
		changed++
		return os.Chmod(path, mode&^others)
	})
	if err != nil {
		return changed, fault.Field("data", "the files in the folder cannot be closed to other users: %v", err)
	}
	return changed, nil
}

// eachOpen calls f for each file and folder of the program's that others than the owner have permissions on.
func eachOpen(dir string, f func(path string, mode fs.FileMode) error) error {
	look := func(path string, info fs.FileInfo, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // SQLite removes files of its own at any time
			return nil
		case err != nil:
			return err
		case info.Mode()&fs.ModeSymlink != 0 || info.Mode().Perm()&others == 0:
			return nil
		}
		return f(path, info.Mode().Perm())
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !ours(e.Name()) {
			continue
		}
		err := filepath.WalkDir(filepath.Join(dir, e.Name()), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return look(path, nil, err)
			}
			info, err := d.Info()
			return look(path, info, err)
		})
		if err != nil {
			return err
		}
	}
	if !alone(dir) {
		return nil
	}
	info, err := os.Stat(dir)
	return look(dir, info, err)
}

// ours reports whether the program made what has this name in its data folder.
func ours(name string) bool {
	for _, beginning := range kept {
		if strings.HasPrefix(name, beginning) {
			return true
		}
	}
	return false
}

// alone reports whether a folder can be the program's alone.
func alone(dir string) bool {
	full, err := filepath.Abs(dir)
	home, _ := os.UserHomeDir() // none is no folder's path
	if err != nil || full == home || full == filepath.Dir(full) {
		return false
	}
	info, err := os.Stat(dir)
	return err == nil && info.Mode()&fs.ModeSticky == 0
}

// closeFile makes a file that only its owner can read and write, or makes an existing one so; SQLite gives its other files
// the same permissions.
func closeFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&others != 0 {
		err = f.Chmod(info.Mode().Perm() &^ others)
	}
	return errors.Join(err, f.Close())
}
