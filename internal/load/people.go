package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// socket is a browser's socket.
type socket struct {
	*websocket.Conn
	stop func() bool // takes back that the end of ctx closes it
}

// close closes the socket.
func (s *socket) close() {
	s.stop()
	s.Close()
}

// dial loads the page, for its cookie, and opens the socket, which is closed when ctx ends.
func (l *load) dial(ctx context.Context, client *http.Client, server string) (*socket, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", server+"/", nil)
	if err != nil {
		return nil, err
	}
	if _, err := l.read(client, r); err != nil {
		return nil, err
	}
	where, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	origin := where.Scheme + "://" + where.Host
	dialer := websocket.Dialer{Jar: client.Jar, HandshakeTimeout: time.Minute, TLSClientConfig: l.config.Cert, ReadBufferSize: 1024, WriteBufferSize: 1024}
	conn, _, err := dialer.DialContext(ctx, "ws"+strings.TrimPrefix(server, "http")+"/ws", http.Header{"Origin": {origin}})
	if err != nil {
		return nil, err
	}
	return &socket{conn, context.AfterFunc(ctx, func() { conn.Close() })}, nil
}

// idle has a page open. Reading answers the server's pings.
func (l *load) idle(ctx context.Context, i int) {
	began := time.Now()
	s, err := l.dial(ctx, l.client(), l.server(i))
	l.here.Done()
	if err != nil {
		l.opened.fail(err)
		return
	}
	defer s.close()
	l.opened.add(time.Since(began))
	for {
		if _, _, err := s.NextReader(); err != nil {
			return
		}
	}
}

// frame is what a runner reads of the server's frames.
type frame struct {
	Type, Run, Message string
	First              int               // number of the first of Events in the run's log
	Events             []json.RawMessage // as the server sent them
}

// runner starts runs, one after the other.
func (l *load) runner(ctx context.Context, i int) {
	client := l.client()
	began := time.Now()
	s, err := l.dial(ctx, client, l.server(i))
	var other *socket
	if err == nil && l.config.Elsewhere {
		other, err = l.dial(ctx, client, l.server(i+1))
	}
	l.here.Done()
	if err != nil {
		l.opened.fail(err)
		return
	}
	defer s.close()
	l.opened.add(time.Since(began))
	there := arrivals{at: map[string]time.Time{}}
	if other != nil {
		defer other.close()
		go there.read(other)
	}
	<-l.begin
	for ctx.Err() == nil {
		if err := l.run(ctx, s, other, &there); err != nil && ctx.Err() == nil {
			l.runs.fail(err)
			pause(ctx, time.Second)
		}
		pause(ctx, l.config.Think)
	}
}

// run starts one run and watches it to its end.
func (l *load) run(ctx context.Context, s, other *socket, there *arrivals) error {
	lanes := make([]any, l.config.Lanes)
	for i := range lanes {
		lanes[i] = map[string]any{"lambda": 2 * float64(i) / float64(max(1, len(lanes)-1))}
	}
	began := time.Now()
	err := s.WriteJSON(map[string]any{"type": "start", "spec": map[string]any{
		"pair": l.config.Pair, "prompt": "What did you think of the film?", "mode": "chat", "seed": fmt.Sprint(rand.Uint64()), "lanes": lanes,
		"sampling": map[string]any{"max_tokens": l.config.Tokens, "temperature": 1, "top_p": 1, "ignore_end": true},
	}})
	if err != nil {
		return err
	}
	here := map[string]time.Time{}
	run, first := "", true
	for {
		var f frame
		if err := s.ReadJSON(&f); err != nil {
			return err
		}
		now := time.Now()
		switch f.Type {
		case "error":
			return fmt.Errorf("%s", f.Message)
		case "started":
			run = f.Run
			if other != nil {
				if err := other.WriteJSON(map[string]any{"type": "watch", "run": run}); err != nil {
					return err
				}
			}
		case "events":
			if first {
				l.first.add(now.Sub(began))
				first = false
			}
			for i, e := range f.Events {
				here[fmt.Sprint(f.Run, " ", f.First+i)] = now
				if bytes.HasPrefix(e, []byte(`{"type":"token"`)) {
					l.tokens.Add(1)
				}
				if bytes.HasPrefix(e, []byte(`{"type":"stats"`)) {
					l.runs.add(now.Sub(began))
					if other != nil {
						pause(ctx, 100*time.Millisecond)
						there.compare(here, &l.later)
						return other.WriteJSON(map[string]any{"type": "unwatch", "run": run})
					}
					return nil
				}
			}
		}
	}
}

// arrivals are when events came on another server.
type arrivals struct {
	mu sync.Mutex           // guards at
	at map[string]time.Time // by run and number of the event
}

// read notes events until the socket is closed.
func (a *arrivals) read(s *socket) {
	for {
		var f frame
		if s.ReadJSON(&f) != nil {
			return
		}
		now := time.Now()
		a.mu.Lock()
		for i := range f.Events {
			a.at[fmt.Sprint(f.Run, " ", f.First+i)] = now
		}
		a.mu.Unlock()
	}
}

// compare notes how much later than here events came there. Those from before the watch began came together, as soon as it did, and
// are left out.
func (a *arrivals) compare(here map[string]time.Time, later *Series) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var began time.Time
	for _, at := range a.at {
		if began.IsZero() || at.Before(began) {
			began = at
		}
	}
	for key, at := range here {
		if other, ok := a.at[key]; ok && at.After(began) {
			later.add(max(0, other.Sub(at)))
		}
	}
	clear(a.at)
}

// program calls the API, one call after the other.
func (l *load) program(ctx context.Context, i int) {
	l.here.Done()
	<-l.begin
	client := &http.Client{Transport: &l.http, Timeout: 5 * time.Minute}
	for ctx.Err() == nil {
		body, _ := json.Marshal(map[string]any{
			"model": l.config.Pair + "@1", "max_tokens": l.config.Tokens, "seed": rand.IntN(1 << 30),
			"messages": []any{map[string]string{"role": "user", "content": "What did you think of the film?"}},
		})
		r, err := http.NewRequestWithContext(ctx, "POST", l.server(i)+"/v1/chat/completions", bytes.NewReader(body))
		if err != nil {
			l.calls.fail(err)
			return
		}
		r.Header.Set("Content-Type", "application/json")
		if l.config.Key != "" {
			r.Header.Set("Authorization", "Bearer "+l.config.Key)
		}
		began := time.Now()
		_, err = l.read(client, r)
		switch {
		case err == nil:
			l.calls.add(time.Since(began))
		case ctx.Err() == nil:
			l.calls.fail(err)
			pause(ctx, time.Second)
		}
	}
}

// asked finds the id of the question in a page.
var asked = regexp.MustCompile(`name="question" value="([^"]+)"`)

// annotator joins a study and answers until there is nothing left.
func (l *load) annotator(ctx context.Context, i int) {
	client, at := l.client(), l.server(i)+l.config.Rate
	send := func(path string, form url.Values) (string, error) {
		r, err := http.NewRequestWithContext(ctx, "POST", at+path, strings.NewReader(form.Encode()))
		if err != nil {
			return "", err
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return l.read(client, r)
	}
	page, err := send("/join", url.Values{"name": {fmt.Sprintf("annotator %d %d", i, rand.Uint32())}})
	l.here.Done()
	<-l.begin
	for err == nil && ctx.Err() == nil {
		question := asked.FindStringSubmatch(page)
		if question == nil {
			return // that was all
		}
		pause(ctx, l.config.Think)
		began := time.Now()
		if page, err = send("/answer", url.Values{"question": {question[1]}, "choice": {[]string{"a", "b", "tie"}[rand.IntN(3)]}}); err == nil {
			l.ratings.add(time.Since(began))
		}
	}
	if err != nil && ctx.Err() == nil {
		l.ratings.fail(err)
	}
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
