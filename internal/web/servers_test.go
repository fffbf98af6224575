package web

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats-server/v2/server"

	"realign/internal/run"
	"realign/internal/store"
)

// postgresServer is a PostgreSQL server of a test's own, which can be killed and started again.
type postgresServer struct {
	t        testing.TB
	bin, dir string
	as       *syscall.Credential // nil: it runs as we do
	cmd      *exec.Cmd
}

// newPostgres makes and starts a server; the test is skipped where there is none.
func newPostgres(t testing.TB) *postgresServer {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append(found, path)
	}
	if len(found) == 0 {
		t.Skip("there is no PostgreSQL here: scripts/setup postgres installs it")
	}
	dir, err := os.MkdirTemp("", "realign-pg") // short: the socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &postgresServer{t: t, bin: filepath.Dir(found[0]), dir: dir}
	if os.Getuid() == 0 { // PostgreSQL does not started as root
		who, err := user.Lookup("postgres")
		if err != nil {
			if who, err = user.Lookup("nobody"); err != nil {
				t.Skip("PostgreSQL does not run as root, and there is no other user")
			}
		}
		uid, _ := strconv.Atoi(who.Uid)
		gid, _ := strconv.Atoi(who.Gid)
		p.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := p.command("initdb", "--pgdata="+filepath.Join(dir, "data"), "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	p.start()
	t.Cleanup(p.kill)
	return p
}

func (p *postgresServer) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	return cmd
}

func (p *postgresServer) start() {
	p.cmd = p.command("postgres", "-D", filepath.Join(p.dir, "data"), "-k", p.dir, "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=32MB")
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// kill stops the server as pg_ctl stop -m immediate does: without a last checkpoint, and every connection at once.
func (p *postgresServer) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	_ = p.cmd.Wait()
}

func (p *postgresServer) dsn() string { return "postgres://postgres@/postgres?host=" + p.dir }

// natsProcess is a NATS server as a process of its own: this test program once more.
type natsProcess struct {
	t         testing.TB
	dir, port string
	cmd       *exec.Cmd
}

const natsProcessOf = "REALIGN_TEST_NATS_PORT"

func newNATS(t *testing.T) *natsProcess {
	_, port, _ := net.SplitHostPort(freeAddr(t))
	n := &natsProcess{t: t, dir: t.TempDir(), port: port}
	n.start()
	t.Cleanup(n.kill)
	return n
}

func (n *natsProcess) start() {
	n.cmd = exec.Command(os.Args[0], "-test.run=^TestNATSProcess$")
	n.cmd.Env = append(os.Environ(), natsProcessOf+"="+n.port, "REALIGN_TEST_NATS_DIR="+n.dir)
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
}

func (n *natsProcess) kill() {
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
}

func (n *natsProcess) url() string { return "nats://127.0.0.1:" + n.port }

// TestNATSProcess is the NATS server of other tests, in a process that they start.
func TestNATSProcess(t *testing.T) {
	port, err := strconv.Atoi(os.Getenv(natsProcessOf))
	if err != nil {
		t.Skip("it is started by other tests")
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: os.Getenv("REALIGN_TEST_NATS_DIR"), MaxPayload: 8 << 20, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	s.WaitForShutdown()
}

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

// mover is a browser whose cookie is good on all servers.
type mover struct {
	jar   http.CookieJar
	owner string

	mu    sync.Mutex // guards what follows
	runs  map[string]*track
	there map[string]*track // the same runs, watched on another server
	wait  sync.WaitGroup
}

func newMover() *mover {
	jar, _ := cookiejar.New(nil)
	return &mover{jar: jar, runs: map[string]*track{}, there: map[string]*track{}}
}

func (m *mover) dial(d *daemon) (*websocket.Conn, error) {
	base := "http://" + d.addr
	answer, err := (&http.Client{Jar: m.jar, Timeout: 20 * time.Second}).Get(base + "/")
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	u, _ := url.Parse(base)
	for _, c := range m.jar.Cookies(u) {
		if c.Name == ownerCookie {
			m.owner = ownerID(c.Value)
		}
	}
	conn, _, err := (&websocket.Dialer{Jar: m.jar, HandshakeTimeout: 20 * time.Second}).Dial("ws://"+u.Host+"/ws", http.Header{"Origin": {base}})
	return conn, err
}

// stream starts runs on one server and watches each of them on another, too, until the sockets break or are closed.
func (m *mover) stream(t *testing.T, here, there *daemon, runs, tokens int) (stop func()) {
	t.Helper()
	conn, err := m.dial(here)
	if err != nil {
		t.Fatalf("%v\n%s", err, here.log.String())
	}
	other, err := m.dial(there)
	if err != nil {
		t.Fatalf("%v\n%s", err, there.log.String())
	}
	start := func() {
		_ = conn.WriteJSON(map[string]any{"type": "start", "spec": map[string]any{
			"pair": "demo", "prompt": "What did you think of the film?", "mode": "chat", "seed": fmt.Sprint(rand.Uint64()),
			"lanes":    []any{map[string]any{"lambda": 0}, map[string]any{"lambda": 1.5}},
			"sampling": map[string]any{"max_tokens": tokens, "temperature": 1, "top_p": 1, "ignore_end": true},
		}})
	}
	m.wait.Go(func() {
		m.read(t, conn, m.runs, func(started string) {
			_ = other.WriteJSON(map[string]any{"type": "watch", "run": started})
		}, start)
	})
	m.wait.Go(func() { m.read(t, other, m.there, nil, nil) })
	for range runs {
		start()
	}
	return func() {
		conn.Close()
		other.Close()
		m.wait.Wait()
	}
}

// read takes what a socket says until it ends.
func (m *mover) read(t *testing.T, conn *websocket.Conn, tracks map[string]*track, started func(string), again func()) {
	for tries := 0; ; {
		var got message
		if conn.ReadJSON(&got) != nil {
			return
		}
		switch {
		case got.Type == "started":
			m.mu.Lock()
			m.runs[got.Run], m.there[got.Run] = newTrack(got.Run), newTrack(got.Run)
			m.mu.Unlock()
			started(got.Run)
		case got.Type == "events":
			m.mu.Lock()
			err := tracks[got.Run].take(got)
			m.mu.Unlock()
			if err != nil {
				t.Error(err)
			}
		case got.Type == "error" && got.Run == "" && again != nil && tries < 1000:
			tries++
			time.Sleep(50 * time.Millisecond)
			again()
		}
	}
}

// flowing reports whether so many runs have begun, and have been seen on both servers.
func (m *mover) flowing(runs int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for id, tr := range m.there {
		if tr.seq > 0 && m.runs[id].seq > 0 {
			n++
		}
	}
	return n >= runs
}

// check compares what was seen of runs with their logs, which must have an end. It returns the numbers of events and of lanes
// that were cut off.
func (m *mover) check(t *testing.T, db *store.Store) (events, cut int) {
	t.Helper()
	for id, here := range m.runs {
		started, err := db.Run(t.Context(), m.owner, id)
		if err != nil {
			t.Errorf("run %s, which was started, is not there: %v", id, err)
			continue
		}
		whole, err := run.ReadTranscript(t.Context(), db, started)
		if err != nil {
			t.Fatal(err)
		}
		var log []run.Event
		for after := 0; ; after = log[len(log)-1].Seq {
			more, err := db.Events(t.Context(), m.owner, id, after, 2048)
			if err != nil {
				t.Fatal(err)
			}
			if len(more) == 0 {
				break
			}
			log = append(log, more...)
		}
		for _, seen := range []*track{here, m.there[id]} {
			events += seen.seq
			if seen.seq > len(log) {
				t.Errorf("run %s: %d events were seen and %d are stored", id, seen.seq, len(log))
				continue
			}
			for i, raw := range seen.events {
				if !bytes.Equal(raw, log[i].Event) {
					t.Errorf("run %s: event %d is not what was seen\n%s\n%s", id, i+1, raw, log[i].Event)
					break
				}
			}
		}
		for i := range whole.Lanes {
			switch whole.Lanes[i].Reason {
			case "":
				t.Errorf("run %s is %s and lane %d has no end", id, started.Status, i)
			case "error":
				cut++
			}
		}
	}
	return events, cut
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
