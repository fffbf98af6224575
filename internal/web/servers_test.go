package web

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"realign/internal/run"
	"realign/internal/store"
)

// serversTest is servers that share a database and a NATS server.
type serversTest struct {
	t        *testing.T
	postgres *postgresServer
	nats     *natsProcess
	servers  []*daemon
	db       *store.Store
}

// newServers starts so many servers, of which two at most have workers.
func newServers(t *testing.T, n int) *serversTest {
	t.Helper()
	first := newDaemon(t) // skips where there is no program
	x := &serversTest{t: t, postgres: newPostgres(t), nats: newNATS(t)}
	for range n {
		d := first
		if len(x.servers) > 0 {
			d = newDaemon(t)
		}
		x.servers = append(x.servers, d)
	}
	var wait sync.WaitGroup
	for i, d := range x.servers {
		x.launch(i)
		t.Cleanup(d.kill)
	}
	for i := range x.servers {
		wait.Go(func() { x.await(i) })
	}
	wait.Wait()
	var err error
	if x.db, err = store.Open(t.Context(), store.Config{DSN: x.postgres.dsn()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.db.Close() })
	return x
}

func (x *serversTest) launch(i int) {
	args := []string{"--db=" + x.postgres.dsn(), "--nats=" + x.nats.url()}
	if i > 1 {
		args = append(args, "--no-workers")
	}
	x.servers[i].launch(args...)
}

// await waits until a server is ready; one that has ended, since it started when the database was away, is started again, as a
// service manager does.
func (x *serversTest) await(i int) {
	x.t.Helper()
	d := x.servers[i]
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if ready(d) {
			return
		}
		if syscall.Kill(d.cmd.Process.Pid, 0) != nil || exited(d.cmd.Process.Pid) {
			_ = d.cmd.Wait()
			x.launch(i)
		}
		if time.Now().After(deadline) {
			x.t.Errorf("server %d is not ready:\n%s", i, d.log.String())
			return
		}
	}
}

func ready(d *daemon) bool {
	answer, err := http.Get("http://" + d.addr + "/readyz")
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// exited reports whether a child is a zombie.
func exited(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return bytes.HasPrefix(rest, []byte("Z"))
}

// settle waits until no run is called running any more, and says how long that took. It fails when nothing has come of those that
// are for as long as the others may take to end a dead server's.
func (x *serversTest) settle(movers []*mover) time.Duration {
	x.t.Helper()
	began := time.Now()
	moved, events := began, 0
	for ; ; time.Sleep(100 * time.Millisecond) {
		running, seq := 0, 0
		for _, m := range movers {
			states, err := x.db.RunStates(x.t.Context(), slices.Collect(maps.Keys(m.runs)))
			if err != nil {
				running = -1
				break
			}
			for _, s := range states {
				seq += s.Seq
				if s.Status == run.Running {
					running++
				}
			}
		}
		if running == 0 {
			return time.Since(began)
		}
		if seq != events {
			moved, events = time.Now(), seq
		}
		if time.Since(moved) > run.EndWithin {
			x.t.Errorf("%d runs stay running", running)
			return time.Since(began)
		}
	}
}

// TestServersCrash: three servers on one PostgreSQL and one NATS. Runs that are started on one of them are watched on another
// while a server is killed, PostgreSQL is stopped at once, or NATS is killed; all that was seen is stored, every run ends, and
// everything goes on. It needs the program: REALIGN_BIN=$PWD/bin/realign go test -run ServersCrash -v ./internal/web; with
// REALIGN_SERVER_ROUNDS=50 there are so many rounds, with 200 runs each.
func TestServersCrash(t *testing.T) {
	rounds, runs, browsers := 3, 24, 6
	if text := os.Getenv("REALIGN_SERVER_ROUNDS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
		runs, browsers = 200, 40
	}
	x := newServers(t, 3)
	for round := range rounds {
		var movers []*mover
		var stops []func()
		for i := range browsers {
			m := newMover()
			movers = append(movers, m)
			stops = append(stops, m.stream(t, x.servers[i%3], x.servers[(i+1+i/3%2)%3], runs/browsers, 60))
		}
		for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			flowing := 0
			for _, m := range movers {
				if m.flowing(1) {
					flowing++
				}
			}
			if flowing == browsers {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the runs of %d browsers of %d are seen on both servers\n%s", flowing, browsers, x.servers[0].log.String())
			}
		}
		time.Sleep(time.Duration(rand.IntN(700)) * time.Millisecond) // any moment will do
		what := x.harm(round)
		took := x.settle(movers)
		time.Sleep(300 * time.Millisecond) // for the last frames
		for _, stop := range stops {
			stop()
		}
		took += x.settle(movers) // what was refused meanwhile and asked for again may have begun late
		events, cut, made := 0, 0, 0
		for _, m := range movers {
			n, c := m.check(t, x.db)
			events, cut, made = events+n, cut+c, made+len(m.runs)
		}
		t.Logf("round %d, %s: %d runs, %d events were seen, %d lanes were cut off, all ended %.1f s later", round, what, made, events, cut, took.Seconds())
		for i := range x.servers {
			x.await(i)
		}
		if t.Failed() {
			for i, d := range x.servers {
				t.Logf("server %d:\n%s", i, tail(d.log.String(), 6000))
			}
			return
		}
	}
	if problems, err := x.db.IntegrityCheck(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("integrity: %v %v", problems, err)
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// harm does what servers have to live with, and says what it was.
func (x *serversTest) harm(round int) string {
	switch round % 3 {
	case 0:
		i := rand.IntN(len(x.servers))
		x.servers[i].kill()
		x.launch(i)
		return fmt.Sprintf("server %d killed", i)
	case 1:
		x.postgres.kill()
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
		x.postgres.start()
		return "PostgreSQL stopped at once"
	}
	x.nats.kill()
	time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
	x.nats.start()
	return "NATS killed"
}
