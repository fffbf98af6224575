package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"realign/internal/store"
)

// TestBackup: a copy has the database and what says which pairs were added, with --files their models too; a server takes it.
// What cannot be copied leaves nothing behind.
func TestBackup(t *testing.T) {
	data, at := t.TempDir(), t.TempDir()
	backup := func(code int, want string, args ...string) {
		t.Helper()
		got, out, bad := runCommand(t, "", append([]string{"backup"}, args...)...)
		if got != code || !strings.Contains(out+bad, want) {
			t.Errorf("%q: code %d, %q %q; want %d and %q", args, got, out, bad, code, want)
		}
		if left, _ := filepath.Glob(filepath.Join(at, "*.part-*")); len(left) > 0 {
			t.Errorf("%q leaves %q", args, left)
		}
	}
	first, second := filepath.Join(at, "first"), filepath.Join(at, "second")
	backup(3, "there is no database at", "--data", data, first)
	db, err := store.Open(t.Context(), store.Config{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() // the server runs meanwhile
	if err := db.SetMeta(t.Context(), "note", "kept"); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"pair.json": "{}", "model.gguf": "weights"} {
		if err := os.MkdirAll(filepath.Join(data, "pairs", "mine"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(data, "pairs", "mine", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	backup(0, "first: realign.db and 1 files of pairs", "--data", data, first)
	backup(0, "second: realign.db and 2 files of pairs", "--data", data, "--files", second)
	if _, err := os.Stat(filepath.Join(first, "pairs", "mine", "model.gguf")); err == nil {
		t.Error("a model was copied that was not asked for")
	}
	if text, err := os.ReadFile(filepath.Join(second, "pairs", "mine", "model.gguf")); err != nil || string(text) != "weights" {
		t.Errorf("%q %v", text, err)
	}
	copied, err := store.Open(t.Context(), store.Config{Data: first})
	if err != nil {
		t.Fatal(err)
	}
	if note, err := copied.Meta(t.Context(), "note"); err != nil || note != "kept" {
		t.Errorf("%q %v", note, err)
	}
	if err := copied.Close(); err != nil {
		t.Fatal(err)
	}
	backup(2, "is there already", "--data", data, first)
	backup(2, "folder: ", "--data", data, filepath.Join(at, "none", "copy"))
	backup(7, "pg_dump", "--db", "postgres://somebody@127.0.0.1:1/none", filepath.Join(at, "third"))
	backup(2, "expected", "--data", data)
}
