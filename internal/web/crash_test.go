package web

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"realign/internal/decode"
	"realign/internal/store"
)

// TestCrash kills the real program, again and again, while 200 runs stream to 25 browsers, and checks that
// what a browser had received is there after the restart, byte for byte, that every run that was cut off
// says so, and that the database is whole. It needs the program: REALIGN_BIN=$PWD/bin/realign go test -run Crash ./internal/web
func TestCrash(t *testing.T) {
	const browsers, runsEach = 25, 8
	rounds := soakRounds(t, 3)
	d := newDaemon(t)
	var all []*browser
	for range browsers {
		all = append(all, newBrowser(d))
	}
	for round := range rounds {
		d.start()
		var wait sync.WaitGroup
		for _, b := range all {
			b.open(t)
			wait.Go(func() { b.stream(runsEach) })
		}
		d.awaitEvents(all, browsers*runsEach)
		time.Sleep(time.Duration(200+rand.IntN(1500)) * time.Millisecond) // any moment will do
		d.kill()
		wait.Wait()
		received, cut := 0, 0
		d.start()
		for _, b := range all {
			b.open(t)
			n, c := b.check(t)
			received, cut = received+n, cut+c
			b.conn.Close()
		}
		t.Logf("soak: kill -9, round %d: %d runs, %d events had been received, %d lanes were cut off", round, browsers*runsEach, received, cut)
		d.kill()
		for _, b := range all {
			b.runs = map[string]*track{}
		}
	}
	db, err := store.Open(context.Background(), store.Config{Data: d.data})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if problems, err := db.IntegrityCheck(context.Background()); err != nil || len(problems) > 0 {
		t.Errorf("integrity: %v %v", problems, err)
	}
}

// daemon is the program as a process.
type daemon struct {
	t                   *testing.T
	program, data, addr string
	cmd                 *exec.Cmd
	log                 bytes.Buffer
}

// newDaemon prepares the program that REALIGN_BIN names, on a folder of its own; without one the test is skipped.
func newDaemon(t *testing.T) *daemon {
	t.Helper()
	program := os.Getenv("REALIGN_BIN")
	if program == "" {
		t.Skip("REALIGN_BIN does not name the program")
	}
	program, err := filepath.Abs(program)
	if err != nil {
		t.Fatal(err)
	}
	return &daemon{t: t, program: program, data: t.TempDir(), addr: freeAddr(t)}
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (d *daemon) start(more ...string) {
	d.t.Helper()
	d.launch(more...)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get("http://" + d.addr + "/readyz")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			d.kill()
			d.t.Fatalf("not ready:\n%s", d.log.String())
		}
	}
}

// launch starts the process without waiting for it.
func (d *daemon) launch(more ...string) {
	d.t.Helper()
	d.log.Reset()
	d.cmd = exec.Command(d.program, append([]string{"serve", "--data=" + d.data, "--addr=" + d.addr, "--queue=256"}, more...)...)
	d.cmd.Dir = filepath.Dir(filepath.Dir(d.program))
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	d.cmd.WaitDelay = 5 * time.Second
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) kill() {
	_ = d.cmd.Process.Kill()
	_ = d.cmd.Wait()
}

// awaitEvents waits until every run has been started and has sent something, or a minute has passed.
func (d *daemon) awaitEvents(all []*browser, runs int) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		n := 0
		for _, b := range all {
			n += b.started()
		}
		if n >= runs {
			return
		}
	}
	d.t.Log("not every run was started before the kill")
}

type browser struct {
	base string
	jar  http.CookieJar
	conn *websocket.Conn

	mu   sync.Mutex // guards runs
	runs map[string]*track
}

func newBrowser(d *daemon) *browser {
	jar, _ := cookiejar.New(nil)
	return &browser{base: "http://" + d.addr, jar: jar, runs: map[string]*track{}}
}

func (b *browser) open(t *testing.T) {
	t.Helper()
	answer, err := (&http.Client{Jar: b.jar}).Get(b.base + "/")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	u, _ := url.Parse(b.base)
	b.conn, _, err = (&websocket.Dialer{Jar: b.jar}).Dial("ws://"+u.Host+"/ws", http.Header{"Origin": {b.base}})
	if err != nil {
		t.Fatal(err)
	}
}

func (b *browser) started() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.runs)
}

// stream starts runs, again when the server is busy, and collects what comes until the socket breaks.
func (b *browser) stream(n int) {
	start := func() {
		_ = b.conn.WriteJSON(map[string]any{"type": "start", "spec": map[string]any{
			"pair": "demo", "prompt": "What did you think of the film?", "mode": "chat", "seed": fmt.Sprint(rand.Uint64()),
			"alternatives": 3, "lanes": []any{map[string]any{"lambda": 0}, map[string]any{"lambda": 1.5}},
			"sampling": map[string]any{"max_tokens": 100, "temperature": 1, "top_p": 1, "ignore_end": true},
		}})
	}
	for range n {
		start()
	}
	for {
		var m message
		if b.conn.ReadJSON(&m) != nil {
			return
		}
		switch m.Type {
		case "started":
			b.mu.Lock()
			b.runs[m.Run] = newTrack(m.Run)
			b.mu.Unlock()
		case "events":
			if err := b.runs[m.Run].take(m); err != nil {
				panic(err) // a gap, before any crash: the log says which
			}
		case "error":
			time.Sleep(20 * time.Millisecond)
			start()
		}
	}
}

// check reads every run again from its beginning and, on top of what had been received, from there.
func (b *browser) check(t *testing.T) (received, cut int) {
	t.Helper()
	k := &wire{t: t, conn: b.conn}
	for run, seen := range b.runs {
		received += seen.seq
		before := bytes.Join(seen.raw(), []byte("\n"))
		k.send(map[string]any{"type": "watch", "run": run, "after": seen.seq})
		k.catchUp(seen)
		whole := newTrack(run)
		k.send(map[string]any{"type": "watch", "run": run})
		k.catchUp(whole)
		all := bytes.Join(whole.raw(), []byte("\n"))
		if !bytes.HasPrefix(all, before) || whole.seq != seen.seq {
			t.Errorf("run %s is not what had been received", run)
		}
		if len(whole.ended) != 2 {
			t.Errorf("run %s: %d lanes of 2 have ended", run, len(whole.ended))
		}
		for _, reason := range whole.ended {
			if reason == decode.EndError {
				cut++
			}
		}
	}
	return received, cut
}

// catchUp takes a run's events until the server says that these were all that is stored.
func (k *wire) catchUp(tr *track) {
	k.t.Helper()
	for {
		m, err := k.next()
		if err != nil {
			k.t.Fatal(err)
		}
		if m.Type == "error" {
			k.t.Fatalf("run %s after %d: %+v", tr.run, tr.seq, m)
		}
		if m.Type == "caught_up" && m.Run == tr.run {
			return
		}
		if err := tr.take(m); err != nil {
			k.t.Fatal(err)
		}
	}
}
