package store_test

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/run"
	"realign/internal/session"
	"realign/internal/store"
)

// kept is a store with a run of 700 events.
func kept(t *testing.T, config store.Config) {
	t.Helper()
	s, now := open(t, config), time.Now()
	in := &session.Session{ID: "s", Owner: "ann", Title: "t", CreatedAt: now, UpdatedAt: now}
	if err := s.CreateRun(t.Context(), run.Run{ID: "r", Session: "s", Owner: "ann", Status: run.Running, CreatedAt: now, Lanes: 1}, in.Title); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), batchOf("r", 1, 700)); err != nil {
		t.Fatal(err)
	}
}

func wholeCopy(t *testing.T, config store.Config) {
	t.Helper()
	s := open(t, config)
	if problems, err := s.IntegrityCheck(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("%v %q", err, problems)
	}
	if run, err := s.Run(t.Context(), "ann", "r"); err != nil || run.Seq != 700 {
		t.Errorf("%+v %v", run, err)
	}
}

func TestBackupOfSQLite(t *testing.T) {
	from := store.Config{Data: t.TempDir()}
	if _, err := store.Backup(t.Context(), from, t.TempDir()); fault.KindOf(err) != fault.NotFound {
		t.Errorf("a copy of nothing: %v", err)
	}
	kept(t, from)
	to := t.TempDir()
	name, err := store.Backup(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(to, name)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	wholeCopy(t, store.Config{Data: to})
	if _, err := store.Backup(t.Context(), from, to); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a copy over another: %v", err)
	}
}

// The dump of a PostgreSQL database is restored in another one, with the commands of docs/operate.md.
func TestBackupOfPostgres(t *testing.T) {
	admin := os.Getenv("REALIGN_TEST_POSTGRES")
	if admin == "" {
		t.Skip("REALIGN_TEST_POSTGRES is not set")
	}
	where, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { u := *where; u.Path = "/" + name; return u.String() }
	run := func(program string, args ...string) {
		t.Helper()
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("there is no " + program)
		}
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
	}
	from, to := "from_"+id.New(), "to_"+id.New()
	for _, name := range []string{from, to} {
		run("psql", "-d", admin, "-qc", "CREATE DATABASE "+name)
		t.Cleanup(func() { run("psql", "-d", admin, "-qc", "DROP DATABASE "+name+" WITH (FORCE)") })
	}
	kept(t, store.Config{DSN: at(from)})
	dir := t.TempDir()
	name, err := store.Backup(t.Context(), store.Config{DSN: at(from)}, dir)
	if fault.KindOf(err) == fault.Unavailable {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	run("pg_restore", "--no-owner", "-d", at(to), filepath.Join(dir, name))
	wholeCopy(t, store.Config{DSN: at(to)})
}
