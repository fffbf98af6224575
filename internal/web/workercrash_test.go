package web

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"realign/internal/decode"
)

// TestWorkerCrash kills the worker during a run, twenty times in a row: the run says so, what had been
// received stays, and the pair decodes again within its load time and 3 s. Like TestCrash it needs
// REALIGN_BIN, and /proc to find the worker in.
func TestWorkerCrash(t *testing.T) {
	d := newDaemon(t)
	began := time.Now()
	d.start()
	load := time.Since(began) // of the server and the pair
	defer d.kill()
	b := newBrowser(d)
	b.open(t)
	k := &wire{t: t, conn: b.conn}
	var slowest time.Duration
	kills := 20 * soakRounds(t, 1)
	free := watchBusy(t)
	for i := range kills {
		k.send(map[string]any{"type": "start", "spec": map[string]any{
			"pair": "demo", "prompt": "Hello?", "mode": "chat", "seed": fmt.Sprint(i), "lanes": []any{map[string]any{"lambda": 0.5}},
			"sampling": map[string]any{"max_tokens": 400, "temperature": 1, "top_p": 1, "ignore_end": true},
		}})
		tr := newTrack(k.want("started").Run)
		for tr.seq < 3 {
			k.take(tr)
		}
		worker := children(t, d.cmd.Process.Pid)
		if len(worker) != 1 {
			t.Fatalf("%d workers", len(worker))
		}
		if err := syscall.Kill(worker[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		for len(tr.ended) == 0 {
			k.take(tr)
		}
		if tr.ended[0] != decode.EndError {
			t.Fatalf("round %d: the lane ended with %q", i, tr.ended[0])
		}
		for {
			answer, err := http.Get("http://" + d.addr + "/readyz")
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK && len(children(t, d.cmd.Process.Pid)) == 1 && children(t, d.cmd.Process.Pid)[0] != worker[0] {
				break
			}
			if time.Since(killed) > time.Minute {
				t.Fatalf("round %d: not ready again:\n%s", i, d.log.String())
			}
			time.Sleep(10 * time.Millisecond)
		}
		slowest = max(slowest, time.Since(killed))
	}
	t.Logf("soak: worker killed %d times: loading takes %v; ready again within %v", kills, load, slowest)
	if slowest > load+3*time.Second && free() {
		t.Errorf("ready again after %v at most, where loading takes %v", slowest, load)
	}
}

func (k *wire) take(tr *track) {
	k.t.Helper()
	m, err := k.next()
	if err == nil {
		err = tr.take(m)
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// children lists the processes that a process has started and that live.
func children(t *testing.T, parent int) (found []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		t.Skip("there is no /proc")
	}
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has gone
		}
		_, rest, ok := strings.Cut(string(data), ") ") // the name may hold anything but this
		fields := strings.Fields(rest)
		if !ok || len(fields) < 2 || fields[1] != strconv.Itoa(parent) || fields[0] == "Z" {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			found = append(found, pid)
		}
	}
	return found
}
