package modelstore

import (
	"io/fs"
	"path"
	"strings"
)

// huggingFace adds the models of the hub's cache: models--ORG--NAME/snapshots/COMMIT/FILE, a link into blobs. Of each
// repository the snapshot that refs/main names is taken, or the newest.
func (s *scan) huggingFace() {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		s.broken(".", "cannot be read: %v", err)
		return
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), "models--")
		if !ok || !e.IsDir() || s.ctx.Err() != nil {
			continue
		}
		snapshot := s.snapshot(e.Name())
		if snapshot == "" {
			continue // nothing of it was downloaded
		}
		repository := "hf:" + strings.Replace(rest, "--", "/", 1)
		s.walk(snapshot, func(p string) string {
			if p == snapshot {
				return repository
			}
			return repository + ":" + strings.TrimPrefix(p, snapshot+"/")
		}, nil)
	}
}

// snapshot is the folder of the snapshot to take of a repository, "" when there is none.
func (s *scan) snapshot(repository string) string {
	snapshots := path.Join(repository, "snapshots")
	if f, _, err := s.open(path.Join(repository, "refs", "main")); err == nil {
		name := make([]byte, 64)
		n, _ := f.Read(name)
		f.Close()
		commit := strings.TrimSpace(string(name[:n]))
		if fs.ValidPath(commit) && !strings.Contains(commit, "/") && commit != "." {
			if info, err := s.root.Stat(path.Join(snapshots, commit)); err == nil && info.IsDir() {
				return path.Join(snapshots, commit)
			}
		}
	}
	entries, _ := fs.ReadDir(s.root.FS(), snapshots)
	newest, at := "", int64(0)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.IsDir() && (newest == "" || info.ModTime().UnixNano() > at) {
			newest, at = path.Join(snapshots, e.Name()), info.ModTime().UnixNano()
		}
	}
	return newest
}
