package store_test

import (
	"bufio"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"realign/internal/run"
	"realign/internal/run/runtest"
	"realign/internal/session"
	"realign/internal/store"
)

const crashFolder = "REALIGN_TEST_CRASH_FOLDER"

// TestCrash kills a server's store and hub in the middle of 200 runs, and looks whether everything that a
// client had received is there afterwards.
func TestCrash(t *testing.T) {
	if dir := os.Getenv(crashFolder); dir != "" {
		crashChild(t, dir)
		return
	}
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrash$")
	child.Env = append(os.Environ(), crashFolder+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	type received struct {
		run  string
		seq  int
		hash uint64
	}
	var seen []received
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var r received
		if n, _ := fmt.Sscanf(lines.Text(), "event %s %d %x.", &r.run, &r.seq, &r.hash); n != 3 {
			continue // cut short by the kill
		}
		seen = append(seen, r)
		if len(seen) == 5_000 {
			if err := child.Process.Kill(); err != nil { // SIGKILL
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait()
	if len(seen) < 5_000 {
		t.Fatalf("the child got only %d events out", len(seen))
	}

	s := open(t, store.Config{Data: dir, Exclusive: true})
	if problems, err := s.IntegrityCheck(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("after the kill: %v, %v", problems, err)
	}
	logs := make(map[string][]run.Event)
	for _, r := range seen {
		if logs[r.run] == nil {
			if logs[r.run], err = s.Events(t.Context(), "ann", r.run, 0, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		if log := logs[r.run]; r.seq > len(log) || hash(log[r.seq-1].Event) != r.hash {
			t.Fatalf("event %d of run %s is lost or another one", r.seq, r.run)
		}
	}
	t.Logf("%d events received of %d runs, all there", len(seen), len(logs))

	if err := newHub(t, s, &runtest.Decoder{}).Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := s.Sessions(t.Context(), "ann", session.Query{Limit: session.MaxPage})
	if err != nil || page.Total != crashRuns {
		t.Fatalf("%d sessions, %v", page.Total, err)
	}
	for _, one := range page.Sessions {
		runs, err := s.Runs(t.Context(), "ann", one.ID)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := run.ReadTranscript(t.Context(), s, runs[0])
		if err != nil || runs[0].Status == run.Running || !tr.Done() {
			t.Fatalf("run %+v is not over: %v", runs[0], err)
		}
	}
	if problems, err := s.IntegrityCheck(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("after recovery: %v, %v", problems, err)
	}
}

const crashRuns = 200

// crashChild runs runs until it is killed and prints each event as a client receives it.
func crashChild(t *testing.T, dir string) {
	s := open(t, store.Config{Data: dir, Exclusive: true})
	gate := make(chan struct{})
	h := newHub(t, s, &runtest.Decoder{Gate: gate})
	var out sync.Mutex
	var watchers sync.WaitGroup
	for range crashRuns {
		run, err := h.Start(t.Context(), "ann", "", runtest.Spec(4, 4000))
		if err != nil {
			t.Fatal(err)
		}
		w, err := h.Watch(t.Context(), "ann", run.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		watchers.Go(func() {
			for {
				events, err := w.Next(t.Context())
				if err != nil {
					return
				}
				out.Lock()
				for _, e := range events {
					fmt.Printf("event %s %d %x.\n", e.Run, e.Seq, hash(e.Event))
				}
				out.Unlock()
			}
		})
	}
	close(gate)
	watchers.Wait()
	<-time.After(time.Minute)
	_, _ = io.WriteString(os.Stderr, "nobody killed the child\n")
}

func hash(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b)
	return h.Sum64()
}
