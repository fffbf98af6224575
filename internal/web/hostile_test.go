package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestHostile has 90 sockets without cookies send what they can, and wants an honest user beside them served: at least nine of ten
// tries, and 95 of 100 within three times what they take alone. When the sockets close, their runs end. Of one round two tries alone
// decide the 95th of 100: where a round misses, others join it, up to four. It needs the
// program: REALIGN_BIN=$PWD/bin/realign go test -v -run Hostile ./internal/web
func TestHostile(t *testing.T) {
	const tries, rounds, limit = 40, 4, 3
	d := newDaemon(t)
	busy := slowdown()
	d.start()
	defer d.kill()
	var alone, beside []time.Duration
	served := 0
	times := func() float64 { return float64(quantile(beside, 0.95)) / float64(quantile(alone, 0.95)) }
	for round := 1; round <= rounds && (round == 1 || times() > limit); round++ {
		b := newBrowser(d) // one may start so many runs in a minute
		b.open(t)
		k := &wire{t: t, conn: b.conn}
		waits, n := k.honest(tries)
		if n != tries {
			t.Fatalf("alone %d of %d are served", n, tries)
		}
		alone = append(alone, waits...)
		waits, n = besideHostile(t, d, func() ([]time.Duration, int) { return k.honest(tries) })
		beside, served = append(beside, waits...), served+n
		t.Logf("first token alone p50 %v, p95 %v; beside hostile sockets %d of %d served, p50 %v, p95 %v: %.2f times", quantile(alone, 0.5),
			quantile(alone, 0.95), served, round*tries, quantile(beside, 0.5), quantile(beside, 0.95), times())
		if 10*served < 9*round*tries {
			t.Errorf("%d of %d tries served", served, round*tries)
		}
	}
	d.kill()
	busy = max(busy, slowdown())
	switch {
	case times() <= limit:
	case busy > 1.5:
		t.Logf("the machine is too busy to tell: computing on all processors takes %.1f times as long", busy)
	default:
		t.Errorf("p95 of the wait is %v, alone %v", quantile(beside, 0.95), quantile(alone, 0.95))
	}
}

// besideHostile does something while 90 hostile sockets are open, and waits, when they are closed, until nothing is decoded for them.
func besideHostile(t *testing.T, d *daemon, do func() ([]time.Duration, int)) ([]time.Duration, int) {
	t.Helper()
	const sockets = 90
	lanes := func() string { return d.gauge(t, `realign_lanes{pair="demo"}`) }
	var all sync.WaitGroup
	stop := make(chan struct{})
	sent, started := new(atomic.Int64), new(atomic.Int64)
	for range sockets {
		all.Go(func() { hostile(d.addr, stop, sent, started) })
	}
	for deadline := time.Now().Add(20 * time.Second); started.Load() < 5 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	waits, served := do()
	left := lanes()
	for i := 0; i < 50 && left == "0"; i++ { // between two of their runs there may be none
		time.Sleep(20 * time.Millisecond)
		left = lanes()
	}
	close(stop)
	all.Wait()
	t.Logf("%d frames were sent and %d runs started by %d sockets, %s lanes of them at the end", sent.Load(), started.Load(), sockets, left)
	if started.Load() == 0 || left == "0" {
		t.Error("the hostile sockets did nothing")
	}
	for deadline := time.Now().Add(10 * time.Second); lanes() != "0" || d.gauge(t, `realign_runs`) != "0"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s lanes are still decoded for nobody", lanes())
		}
	}
	return waits, served
}

// honest starts one run after another, and returns how long each took to its first token, and how many came to their end.
func (k *wire) honest(tries int) (waits []time.Duration, served int) {
	for i := range tries {
		began := time.Now()
		ref := fmt.Sprintf("try%d", i)
		k.send(map[string]any{"type": "start", "ref": ref, "spec": map[string]any{
			"pair": "demo", "prompt": fmt.Sprintf("Question %d: what did you think of the film?", i), "mode": "chat", "seed": fmt.Sprint(i), "alternatives": 5,
			"lanes":    []any{map[string]any{"lambda": 0}, map[string]any{"lambda": 0.5}, map[string]any{"lambda": 1}},
			"sampling": map[string]any{"max_tokens": 16, "temperature": 1, "top_p": 1, "ignore_end": true},
		}})
		waited := false
		for {
			_ = k.conn.SetReadDeadline(time.Now().Add(time.Minute))
			_, data, err := k.conn.ReadMessage()
			if err != nil {
				k.t.Fatal(err)
			}
			if bytes.HasPrefix(data, []byte(`{"type":"error","ref":"`+ref)) {
				break
			}
			if !waited && bytes.Contains(data, []byte(`{"type":"token"`)) {
				waited = true
				waits = append(waits, time.Since(began))
			}
			if bytes.Contains(data, []byte(`{"type":"stats"`)) {
				served++
				break
			}
		}
	}
	return waits, served
}

// hostile opens sockets without a cookie, and starts large runs on each, twice as fast as a socket may.
func hostile(addr string, stop chan struct{}, sent, started *atomic.Int64) {
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	lanes := []any{}
	for i := range 16 {
		lanes = append(lanes, map[string]any{"lambda": float64(i) / 8})
	}
	start, _ := json.Marshal(map[string]any{"type": "start", "spec": map[string]any{
		"pair": "demo", "prompt": strings.Repeat("What did you think of the film? ", 12), "mode": "chat", "seed": "1", "alternatives": 10, "lanes": lanes,
		"sampling": map[string]any{"max_tokens": 100, "temperature": 1, "top_p": 1, "ignore_end": true},
	}})
	for !stopped() {
		conn, _, err := websocket.DefaultDialer.Dial("ws://"+addr+"/ws", nil)
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		go func() {
			for {
				_, data, err := conn.ReadMessage()
				if err != nil {
					return
				}
				if bytes.HasPrefix(data, []byte(`{"type":"started"`)) {
					started.Add(1)
				}
			}
		}()
		for err == nil && !stopped() {
			_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
			if err = conn.WriteMessage(websocket.TextMessage, start); err == nil {
				sent.Add(1)
			}
			time.Sleep(10 * time.Millisecond)
		}
		conn.Close()
	}
}

// gauge reads one number of /metrics.
func (d *daemon) gauge(t *testing.T, name string) string {
	answer, err := http.Get("http://" + d.addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			return value
		}
	}
	return ""
}
