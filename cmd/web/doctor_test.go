package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"realign/internal/gguf/gguftest"
	"realign/internal/store"
)

// TestDoctor: one line for each thing, and the exit code of what is wrong.
func TestDoctor(t *testing.T) {
	folder, data := models(t), filepath.Join(t.TempDir(), "data")
	for name, file := range map[string]*gguftest.File{"r": gguftest.Model(1), "w": gguftest.Adapter(2), "t": gguftest.Adapter(3)} {
		if err := os.WriteFile(filepath.Join(folder, "demo", name), file.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	manifest := `{"name":"demo","reference":{"file":"r"},"aligned":[{"name":"warm","adapter":"w"},{"name":"terse","adapter":"t"}]}`
	if err := os.WriteFile(filepath.Join(folder, "demo", "pair.json"), []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	doctor := func(code int, want ...string) {
		t.Helper()
		got, out, bad := runCommand(t, "", "doctor", "--models", folder, "--data", data)
		if got != code || (bad == "") != (code == 0) {
			t.Errorf("code %d, want %d: %q\n%s", got, code, bad, out)
		}
		for _, line := range want {
			if !strings.Contains("\n"+out, "\n"+line) {
				t.Errorf("no line %q in\n%s", line, out)
			}
		}
	}
	doctor(0, "ok     database: none yet", "ok     data folder: "+data+" is not there yet", "ok     free disk: ", "ok     pair demo: 3 files are whole", "ok     NATS: can be started")
	if _, err := os.Stat(data); err == nil {
		t.Error("looking makes a data folder")
	}
	db, err := store.Open(t.Context(), store.Config{Data: data, Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	doctor(0, "ok     database: version", "ok     NATS: is inside the server that is running")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(data, "realign.db"), 0o644); err != nil {
		t.Fatal(err)
	}
	doctor(6, "WRONG  data folder: other users can reach "+filepath.Join(data, "realign.db"))
	if _, err := store.Protect(data); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "realign.db"), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	doctor(7, "WRONG  database: ", "ok     data folder")
	if err := os.Remove(filepath.Join(data, "realign.db")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "demo", "w")); err != nil {
		t.Fatal(err)
	}
	doctor(3, "WRONG  pair demo: ")
}

// TestWithoutHome: where nothing says where to keep things, nothing is kept in whatever folder this is.
func TestWithoutHome(t *testing.T) {
	for _, name := range []string{"HOME", "XDG_DATA_HOME", "REALIGN_DATA"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	t.Chdir(t.TempDir())
	for _, args := range [][]string{{"serve"}, {"doctor"}, {"pairs", "list"}} {
		code, _, bad := runCommand(t, "", args...)
		if code != 2 || !strings.HasPrefix(bad, "realign: --data: ") || strings.Count(bad, "\n") != 1 {
			t.Errorf("%v: %d %q", args, code, bad)
		}
	}
	if left, _ := os.ReadDir("."); len(left) > 0 {
		t.Errorf("%v is made", left)
	}
	if code, out, bad := runCommand(t, "", "serve", "--help"); code != 0 || out == "" {
		t.Errorf("help: %d %q", code, bad)
	}
}
