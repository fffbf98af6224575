package web

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// The soak is what make soak runs: the tests of crashes with more rounds, and those below, against the real program. Its
// length is the number of rounds in REALIGN_SOAK_ROUNDS.

// soakRounds is how often a test repeats what it does: usual, or as the soak says.
func soakRounds(t *testing.T, usual int) int {
	t.Helper()
	text := os.Getenv("REALIGN_SOAK_ROUNDS")
	if text == "" {
		if usual == 0 {
			t.Skip("REALIGN_SOAK_ROUNDS is not set: see make soak")
		}
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("REALIGN_SOAK_ROUNDS is %q, where a number of rounds belongs", text)
	}
	return n
}

// brokenProxy passes connections on to a server, badly: in pieces of any size, late, and cut off at any byte, in the middle
// of a frame or of an answer's head.
type brokenProxy struct {
	to   string
	l    net.Listener
	cuts atomic.Int64
	wait sync.WaitGroup
}

func newBrokenProxy(t *testing.T, to string) *brokenProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &brokenProxy{to: to, l: l}
	p.wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wait.Go(func() { p.pass(c) })
		}
	})
	t.Cleanup(func() { l.Close(); p.wait.Wait() })
	return p
}

func (p *brokenProxy) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	left := atomic.Int64{}
	left.Store(rand.Int64N(60_000)) // bytes until it is cut off
	copy := func(to, from net.Conn) {
		defer to.Close()
		defer from.Close()
		for {
			b := make([]byte, 1+rand.IntN(4096))
			n, err := from.Read(b)
			if keep := left.Add(int64(-n)); keep < 0 {
				n = max(0, n+int(keep))
				p.cuts.Add(1)
				err = io.EOF
			}
			if rand.IntN(20) == 0 {
				time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
			}
			if _, e := to.Write(b[:n]); e != nil || err != nil {
				return
			}
		}
	}
	both.Go(func() { copy(server, client) })
	both.Go(func() { copy(client, server) })
	both.Wait()
}

// TestSoakProxy: behind a proxy that misbehaves a browser gets every event of its runs once and in order.
func TestSoakProxy(t *testing.T) {
	rounds := soakRounds(t, 0)
	d := newDaemon(t)
	d.start()
	defer func() { d.kill() }()
	p := newBrokenProxy(t, d.addr)
	var events, connections atomic.Int64
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			jar, _ := cookiejar.New(nil)
			b := &patient{t: t, base: "http://" + p.l.Addr().String(), jar: jar, connections: &connections}
			for range rounds {
				got := b.run()
				if got == nil {
					return
				}
				events.Add(int64(got.seq))
				// Straight from the server, the run is what came by the proxy.
				straight := &browser{base: "http://" + d.addr, jar: jarFor(jar, b.base, "http://"+d.addr), runs: map[string]*track{got.run: got}}
				straight.open(t)
				if n, _ := straight.check(t); n != got.seq {
					t.Errorf("run %s: %d events of %d", got.run, got.seq, n)
				}
				straight.conn.Close()
			}
		})
	}
	all.Wait()
	t.Logf("soak: proxy: %d runs, %d events, %d connections, %d of them cut off, none lost or twice", 10*rounds, events.Load(), connections.Load(), p.cuts.Load())
}

func jarFor(from http.CookieJar, base, to string) http.CookieJar {
	a, _ := url.Parse(base)
	b, _ := url.Parse(to)
	jar, _ := cookiejar.New(nil)
	jar.SetCookies(b, from.Cookies(a))
	return jar
}

// patient is a browser that connects again whenever its connection breaks, and goes on after the last event.
type patient struct {
	t           *testing.T
	base        string
	jar         http.CookieJar
	connections *atomic.Int64
}

func (b *patient) connect() *websocket.Conn {
	u, _ := url.Parse(b.base)
	for range 500 {
		if len(b.jar.Cookies(u)) == 0 {
			client := http.Client{Jar: b.jar, Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
			if answer, err := client.Get(b.base + "/"); err == nil {
				_, _ = io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
			continue
		}
		dialer := websocket.Dialer{Jar: b.jar, HandshakeTimeout: 10 * time.Second}
		if conn, _, err := dialer.Dial("ws://"+u.Host+"/ws", http.Header{"Origin": {b.base}}); err == nil {
			b.connections.Add(1)
			return conn
		}
	}
	b.t.Error("no connection gets through in 500 tries")
	return nil
}

// run starts a run and follows it to its end.
func (b *patient) run() *track {
	var tr *track
	for tries := 0; tries < 500; tries++ {
		conn := b.connect()
		if conn == nil {
			return nil
		}
		var err error
		if tr == nil {
			err = conn.WriteJSON(map[string]any{"type": "start", "spec": map[string]any{
				"pair": "demo", "prompt": "What did you think of the film?", "mode": "chat", "seed": fmt.Sprint(rand.Uint64()),
				"lanes":    []any{map[string]any{"lambda": 0}, map[string]any{"lambda": 1.5}},
				"sampling": map[string]any{"max_tokens": 60, "temperature": 1, "top_p": 1, "ignore_end": true},
			}})
		} else {
			err = conn.WriteJSON(map[string]any{"type": "watch", "run": tr.run, "after": tr.seq})
		}
		for err == nil && (tr == nil || len(tr.ended) < 2 || tr.stats == 0) {
			var m message
			_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
			if err = conn.ReadJSON(&m); err != nil {
				break
			}
			switch {
			case m.Type == "started" && tr == nil:
				tr = newTrack(m.Run)
			case m.Type == "error" && tr == nil:
				err = errors.New("busy")
			case tr != nil:
				if bad := tr.take(m); bad != nil {
					b.t.Error(bad)
					conn.Close()
					return nil
				}
			}
		}
		conn.Close()
		if err == nil {
			return tr
		}
	}
	b.t.Error("a run does not come to its end in 500 connections")
	return nil
}

// maxStop is how long a server may take to end after SIGTERM.
const maxStop = 10 * time.Second

// TestSoakTerminate: SIGTERM ends the server in time, in order and without a worker left, whatever it is doing.
func TestSoakTerminate(t *testing.T) {
	rounds := soakRounds(t, 0)
	slowest := map[string]time.Duration{}
	for round := range rounds {
		for name, prepare := range map[string]func(d *daemon) func(){
			"idle": func(d *daemon) func() { d.start(); return nil },
			"starting": func(d *daemon) func() {
				d.launch()
				time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond) // any moment will do
				return nil
			},
			"200 runs": func(d *daemon) func() {
				d.start()
				var all []*browser
				var wait sync.WaitGroup
				for range 25 {
					b := newBrowser(d)
					b.open(t)
					all = append(all, b)
					wait.Go(func() { b.stream(8) })
				}
				d.awaitEvents(all, 200)
				return wait.Wait
			},
			"a client that reads nothing": func(d *daemon) func() {
				d.start()
				b := newBrowser(d)
				b.open(t)
				go b.stream(8)
				silent := newBrowser(d)
				silent.open(t)
				for i := range 30 {
					_ = silent.conn.WriteJSON(map[string]any{"type": "start", "spec": map[string]any{
						"pair": "demo", "prompt": "Hello?", "mode": "chat", "seed": fmt.Sprint(i), "alternatives": 10, "lanes": []any{map[string]any{"lambda": 0.5}},
						"sampling": map[string]any{"max_tokens": 200, "temperature": 1, "top_p": 1, "ignore_end": true},
					}})
				}
				return nil
			},
			"a sweep": func(d *daemon) func() {
				d.start()
				client := &sweepClient{d: d}
				client.start("pair: demo\naligned: length-b0.1\nprompts: [" + strings.Join(dialogue(t, d, 40), ",") + "]\nlambda: {from: 0, to: 2, points: 5}\nsamples: 2\n" +
					"sampling: {max_tokens: 60, temperature: 1}\nrewards: [length]\nseed: 7\nrefine: {rounds: 0}\n")
				return nil
			},
			"a study":                          decodingStudy,
			"a sweep whose endpoint is silent": silentEndpoint,
			"a λ-map":                          decodingMap,
			"a schema that never ends":         triedSchema,
			"a template that hangs":            hangingTemplate,
			"a worker just killed": func(d *daemon) func() {
				d.start()
				for _, pid := range children(t, d.cmd.Process.Pid) {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
				return nil
			},
		} {
			d := newDaemon(t)
			after := prepare(d)
			workers := children(t, d.cmd.Process.Pid)
			began := time.Now()
			if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- d.cmd.Wait() }()
			select {
			case err := <-ended:
				var exit *exec.ExitError
				if err != nil && !(name == "starting" && errors.As(err, &exit)) { // a start that is broken off is no success
					t.Errorf("round %d, %s: it ends with %v:\n%.3000s", round, name, err, d.log.String())
				}
			case <-time.After(3 * maxStop):
				d.kill()
				t.Errorf("round %d, %s: it does not end in %v", round, name, 3*maxStop)
			}
			took := time.Since(began)
			slowest[name] = max(slowest[name], took)
			if took > maxStop {
				t.Errorf("round %d, %s: it took %v", round, name, took)
			}
			for _, pid := range workers {
				if err := syscall.Kill(pid, 0); err == nil && alive(pid) {
					t.Errorf("round %d, %s: worker %d is left", round, name, pid)
				}
			}
			if after != nil {
				after()
			}
		}
	}
	for name, took := range slowest {
		t.Logf("soak: SIGTERM, %s: %d times, ended within %v", name, rounds, took.Round(time.Millisecond))
	}
}

// alive reports whether a process runs, as against waiting to be forgotten by its parent.
func alive(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, ok := strings.Cut(string(data), ") ")
	return err == nil && ok && !strings.HasPrefix(rest, "Z")
}
