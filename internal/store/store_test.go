package store_test

import (
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/racetest"
	"realign/internal/run"
	"realign/internal/session"
	"realign/internal/share"
	"realign/internal/store"
	"realign/internal/store/storetest"
	"realign/internal/study"
)

var (
	_ run.Store       = (*store.Store)(nil)
	_ share.Links     = (*store.Store)(nil)
	_ session.Archive = (*store.Store)(nil)
	_ study.Store     = (*store.Store)(nil)
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

func TestPostgres(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *store.Store { return open(t, postgres(t)) })
}

// Nothing waits for a connection to the database while it holds one: with one, all of it works still.
func TestOneConnection(t *testing.T) {
	if racetest.Enabled {
		t.Skip("it is about connections: without the race detector it takes seconds")
	}
	for name, config := range map[string]func(t *testing.T) store.Config{
		"sqlite":   func(t *testing.T) store.Config { return store.Config{Data: t.TempDir()} },
		"postgres": postgres,
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) *store.Store {
				s := open(t, config(t))
				s.LimitConnections()
				return s
			})
		})
	}
}

// postgres is a schema of its own. It needs REALIGN_TEST_POSTGRES, the address of a database in which tests may
// create schemas.
func postgres(t *testing.T) store.Config {
	t.Helper()
	dsn := os.Getenv("REALIGN_TEST_POSTGRES")
	if dsn == "" {
		t.Skip("REALIGN_TEST_POSTGRES is not set: not run on PostgreSQL")
	}
	admin, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	schema := "test_" + id.New()
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
	return store.Config{DSN: u.String()}
}

// What was kept before a step of the migrations is complete after it.
func TestMigrationsFillWhatTheyAdd(t *testing.T) {
	for name, config := range map[string]func(t *testing.T) store.Config{
		"sqlite":   func(t *testing.T) store.Config { return store.Config{Data: t.TempDir()} },
		"postgres": postgres,
	} {
		t.Run(name, func(t *testing.T) {
			config := config(t)
			s := open(t, config)
			c := share.Link{ID: "c1", Owner: "ann", Kind: share.ComparisonLink, Subject: "gone", Title: "one", Digest: "d", CreatedAt: time.Unix(1, 0).UTC()}
			prompt := strings.Repeat("“é” ", 60)
			if err := s.Before(t.Context(), 2, c, "hash", `{"prompt":"`+prompt+`"}`); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			list, err := open(t, config).Links(t.Context(), "ann")
			c.Prompt = string([]rune(prompt)[:200])
			if err != nil || len(list) != 1 || list[0] != (share.Listed{Link: c}) {
				t.Errorf("%+v, %v", list, err)
			}
		})
	}
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

// Programs that find a new database at the same time all make its tables.
func TestOpenAtOnce(t *testing.T) {
	for range 5 {
		data := t.TempDir()
		var all errgroup.Group
		for range 6 {
			all.Go(func() error {
				db, err := store.Open(t.Context(), store.Config{Data: data})
				if err != nil {
					return err
				}
				return db.Close()
			})
		}
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
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
