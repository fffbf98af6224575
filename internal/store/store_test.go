package store_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"database/sql"

	"realign/internal/fault"
	"realign/internal/session"
	"realign/internal/store"
	"realign/internal/store/storetest"
)

var (
	_ session.Store   = (*store.Store)(nil)
	_ session.Shared  = (*store.Store)(nil)
	_ session.Archive = (*store.Store)(nil)
)

func open(t testing.TB, config store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *store.Store { return open(t, store.Config{Data: t.TempDir()}) })
}

// TestPostgres needs REALIGN_TEST_POSTGRES, the address of a database in which it may create schemas.
func TestPostgres(t *testing.T) {
	dsn := os.Getenv("REALIGN_TEST_POSTGRES")
	if dsn == "" {
		t.Skip("REALIGN_TEST_POSTGRES is not set: not run on PostgreSQL")
	}
	admin, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	storetest.Run(t, func(t *testing.T) *store.Store {
		schema := "test_" + session.NewID()
		if _, err := admin.Exec("CREATE SCHEMA " + schema); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = admin.Exec("DROP SCHEMA " + schema + " CASCADE") })
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set("search_path", schema)
		u.RawQuery = q.Encode()
		return open(t, store.Config{DSN: u.String()})
	})
}

func TestOpenTwice(t *testing.T) {
	config := store.Config{Data: filepath.Join(t.TempDir(), "a folder", "with ?#%20"), Exclusive: true}
	s := open(t, config)
	if err := s.SetMeta(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), config); fault.KindOf(err) != fault.Conflict {
		t.Errorf("a second server: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if v, err := open(t, config).Meta(t.Context(), "k"); v != "v" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
}

func TestBadPlaces(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("not a database, and long enough to have no header of one"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config store.Config
		kind   fault.Kind
		words  string
	}{
		"folder below a file": {store.Config{Data: filepath.Join(file, "data")}, fault.Invalid, filepath.Join(file, "data")},
		"unwritable folder":   {store.Config{Data: "/proc"}, fault.Invalid, "/proc"},
		"not a database":      {store.Config{DSN: "sqlite:" + file}, fault.Unavailable, "damaged"},
		"unknown DSN":         {store.Config{DSN: "mysql://x"}, fault.Invalid, "postgres://"},
		"bad DSN":             {store.Config{DSN: "postgres://%zz"}, fault.Invalid, "PostgreSQL"},
		"nobody answers":      {store.Config{DSN: "postgres://u@127.0.0.1:1/x?connect_timeout=2"}, fault.Unavailable, "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := store.Open(t.Context(), c.config)
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%q: %v; want %q and %q", fault.KindOf(err), err, c.kind, c.words)
			}
		})
	}
}
