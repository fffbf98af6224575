package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"realign/internal/fault"
	"realign/internal/store"
)

// TestNewerData: a program does not touch what a later one has changed, and says which is newer.
func TestNewerData(t *testing.T) {
	for name, config := range map[string]func(t *testing.T) store.Config{
		"sqlite":   func(t *testing.T) store.Config { return store.Config{Data: t.TempDir()} },
		"postgres": postgres,
	} {
		t.Run(name, func(t *testing.T) {
			config := config(t)
			s := open(t, config)
			x, err := store.Examine(t.Context(), config)
			if err != nil || x.Version == 0 || x.Version != x.Known {
				t.Fatalf("%+v, %v", x, err)
			}
			if err := s.Become(t.Context(), x.Known+3); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("of version %d and this program knows versions up to %d", x.Known+3, x.Known)
			if _, err := store.Open(t.Context(), config); fault.KindOf(err) != fault.Conflict || !strings.Contains(err.Error(), want) {
				t.Errorf("opened: %v, want %q", err, want)
			}
			if _, err := store.Examine(t.Context(), config); fault.KindOf(err) != fault.Conflict || !strings.Contains(err.Error(), want) {
				t.Errorf("examined: %v", err)
			}
		})
	}
}

// TestDamagedFile: a server does not start on a damaged file, and says what to do.
func TestDamagedFile(t *testing.T) {
	config := store.Config{Data: t.TempDir(), Exclusive: true}
	s := open(t, config)
	for i := range 500 {
		if err := s.SetMeta(t.Context(), fmt.Sprint("key", i), strings.Repeat("v", 200)); err != nil {
			t.Fatal(err)
		}
	}
	if x, err := store.Examine(t.Context(), config); err != nil || !x.Served {
		t.Errorf("while it is served: %+v, %v", x, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if x, err := store.Examine(t.Context(), config); err != nil || x.Served {
		t.Errorf("whole: %+v, %v", x, err)
	}
	path := filepath.Join(config.Data, "realign.db")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(string(data), "vvvv") &^ 4095 // the page of the last value that was written
	copy(data[at:], strings.Repeat("\xff", 4096))
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"opened": openFails(t, config), "examined": examineFails(t, config)} {
		if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "is damaged") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func openFails(t *testing.T, config store.Config) error {
	s, err := store.Open(t.Context(), config)
	if err == nil {
		_ = s.Close()
	}
	return err
}

func examineFails(t *testing.T, config store.Config) error {
	_, err := store.Examine(t.Context(), config)
	return err
}

func TestExamineNothing(t *testing.T) {
	if _, err := store.Examine(t.Context(), store.Config{Data: t.TempDir()}); fault.KindOf(err) != fault.NotFound {
		t.Errorf("%v", err)
	}
}
