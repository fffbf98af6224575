package web

import (
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
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
