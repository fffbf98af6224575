package web

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"realign/internal/run"
	"realign/internal/store"
)

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
