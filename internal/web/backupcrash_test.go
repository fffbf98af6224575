package web

import (
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"realign/internal/run"
	"realign/internal/store"
)

// TestBackupCrash copies what the real program keeps while fifty runs stream, and starts it on the copy, of PostgreSQL on another
// server: the database is whole, every event that was seen before the copy began is there, and runs that were in the middle have
// an end. It needs the program: REALIGN_BIN=$PWD/bin/realign go test -run BackupCrash ./internal/web
func TestBackupCrash(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		d := newDaemon(t)
		copyWhileStreaming(t, d, nil, func(to string) (args []string, config store.Config) { return nil, store.Config{Data: to} })
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		d := newDaemon(t)
		here, there := newPostgres(t), newPostgres(t)
		for _, name := range []string{"pg_dump", "pg_restore"} {
			if _, err := exec.LookPath(name); err != nil {
				t.Skipf("there is no %s here", name)
			}
		}
		copyWhileStreaming(t, d, []string{"--db=" + here.dsn()}, func(to string) (args []string, config store.Config) {
			if out, err := exec.Command("pg_restore", "--no-owner", "-d", there.dsn(), filepath.Join(to, "realign.dump")).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			return []string{"--db=" + there.dsn()}, store.Config{DSN: there.dsn()}
		})
	})
}

// copyWhileStreaming does so with a server that is started with flags, which name the database for the copy, too. Restore makes
// of a copy what a server can be started on, with which flags.
func copyWhileStreaming(t *testing.T, d *daemon, args []string, restore func(to string) ([]string, store.Config)) {
	const browsers, runsEach = 10, 5
	d.start(args...)
	defer func() { d.kill() }()
	var all []*browser
	var wait sync.WaitGroup
	for range browsers {
		b := newBrowser(d)
		all = append(all, b)
		b.open(t)
		wait.Go(func() { b.stream(runsEach) })
	}
	d.awaitEvents(all, browsers*runsEach)
	before, seen := map[string]int{}, 0 // events of each run that were seen
	for deadline := time.Now().Add(time.Minute); seen < 500 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		seen = 0
		for _, b := range all {
			b.mu.Lock()
			for started, tr := range b.runs {
				before[started] = tr.seq
				seen += tr.seq
			}
			b.mu.Unlock()
		}
	}
	to := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command(d.program, append(append([]string{"backup", "--data=" + d.data}, args...), to)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, b := range all {
		b.conn.Close()
	}
	wait.Wait()
	d.kill()

	flags, config := restore(to)
	other := &daemon{t: t, program: d.program, data: to, addr: freeAddr(t)}
	other.start(flags...)
	db, err := store.Open(t.Context(), config)
	if err != nil {
		other.kill()
		t.Fatal(err)
	}
	defer db.Close()
	kept := awaitEnds(t, db, before)
	other.kill()
	if problems, err := db.IntegrityCheck(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("integrity: %v %v", problems, err)
	}
	t.Logf("%d runs: %d events had been seen when the copy began, %d are in it", len(before), seen, kept)
	if len(before) < browsers*runsEach || seen < 500 {
		t.Error("the runs did not stream")
	}
}

// awaitEnds waits until all runs have ended, as the server that died left them, and checks that they have the events that were
// seen of each. It returns how many there are.
func awaitEnds(t *testing.T, db *store.Store, seen map[string]int) (kept int) {
	t.Helper()
	for deadline := time.Now().Add(run.EndWithin); ; time.Sleep(100 * time.Millisecond) {
		states, err := db.RunStates(t.Context(), slices.Collect(maps.Keys(seen)))
		if err != nil {
			t.Fatal(err)
		}
		kept = 0
		running := 0
		for started, n := range seen {
			s, ok := states[started]
			if !ok || s.Seq < n {
				t.Fatalf("run %s, of which %d events had been seen: %+v", started, n, s)
			}
			if s.Status == run.Running {
				running++
			}
			kept += s.Seq
		}
		if running == 0 {
			return kept
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d runs are still called running", running)
		}
	}
}
