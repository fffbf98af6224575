package web

import (
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"realign/internal/run"
	"realign/internal/store"
)

// TestBackupCrash copies what the real program keeps while fifty runs stream, and starts it on the copy: the database is whole,
// every event that was seen before the copy began is there, and runs that were in the middle have an end. It needs the program:
// REALIGN_BIN=$PWD/bin/realign go test -run BackupCrash ./internal/web
func TestBackupCrash(t *testing.T) {
	const browsers, runsEach = 10, 5
	d := newDaemon(t)
	d.start()
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
	before, seen := map[string]int{}, 0 // events of each started that were seen
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
	if out, err := exec.Command(d.program, "backup", "--data="+d.data, to).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, b := range all {
		b.conn.Close()
	}
	wait.Wait()
	d.kill()

	other := &daemon{t: t, program: d.program, data: to, addr: freeAddr(t)}
	other.start()
	other.kill()
	db, err := store.Open(t.Context(), store.Config{Data: to})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if problems, err := db.IntegrityCheck(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("integrity: %v %v", problems, err)
	}
	ids := make([]string, 0, len(before))
	for started := range before {
		ids = append(ids, started)
	}
	states, err := db.RunStates(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for started, n := range before {
		s, ok := states[started]
		if !ok || s.Seq < n || s.Status == run.Running {
			t.Errorf("run %s, of which %d events had been seen: %+v", started, n, s)
		}
		kept += s.Seq
	}
	t.Logf("%d runs: %d events had been seen when the copy began, %d are in it", len(before), seen, kept)
	if len(before) < browsers*runsEach || seen < 500 {
		t.Error("the runs did not stream")
	}
}
