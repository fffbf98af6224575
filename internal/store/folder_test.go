package store_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"realign/internal/store"
)

// TestProtect: what is kept is for its owner alone, whoever made it, and what else is in the folder stays as it is.
func TestProtect(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for path, mode := range map[string]fs.FileMode{
		"realign.db": 0o644, "realign.db-wal": 0o644, "nats/jetstream/x.blk": 0o640, "pairs/mine/base.gguf": 0o755, "notes.txt": 0o644,
	} {
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(outside, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "pairs", "mine", "linked.gguf")); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		n, err := store.Protect(dir)
		if err != nil || (n > 0) != (round == 0) {
			t.Fatalf("round %d: %d, %v", round, n, err)
		}
	}
	for path, want := range map[string]fs.FileMode{
		"": 0o700, "realign.db": 0o600, "realign.db-wal": 0o600, "nats": 0o700, "nats/jetstream/x.blk": 0o600, "pairs/mine": 0o700,
		"pairs/mine/base.gguf": 0o700, "pairs/mine/linked.gguf": 0o644, "notes.txt": 0o644,
	} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has %v, want %v: %v", path, info.Mode().Perm(), want, err)
		}
	}

	shared := t.TempDir()
	if err := os.Chmod(shared, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Protect(shared); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(shared); info.Mode().Perm() != 0o777 {
		t.Errorf("a folder like /tmp is closed: %v", info.Mode())
	}
}

// TestDatabaseIsForItsOwner: a database, new or old, and the files that SQLite makes beside it.
func TestDatabaseIsForItsOwner(t *testing.T) {
	dir := t.TempDir()
	for round := range 2 {
		s := open(t, store.Config{Data: dir})
		if err := s.SetMeta(t.Context(), "k", "v"); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"realign.db", "realign.db-wal", "realign.db-shm"} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("round %d: %s: %v, %v", round, name, info, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, "realign.db"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
