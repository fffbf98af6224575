package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// answerLimit is how soon, of a hundred, 99 controls are to be answered.
const answerLimit = 100 * time.Millisecond

// TestLatency measures how soon a move of λ and a stop are answered (by the event that says so) while 20 other users drag a slider
// each and models are loaded: one after another those of the pair that everybody uses, and another pair with all of its own. Beside
// each, an answer that needs neither a model nor the store is timed, as are a timer and a write to the disk, on which starts and ends of runs wait,
// and before and after how much slower other programs make the machine: where it is too busy for one of them, the limit says nothing.
// It needs the program: REALIGN_BIN=$PWD/bin/realign go test -v -run Latency ./internal/web
func TestLatency(t *testing.T) {
	const users, rounds, movesEach = 20, 100, 5
	d := newDaemon(t)
	busy := slowdown()
	models := t.TempDir()
	aligned := copyPair(t, filepath.Join(filepath.Dir(filepath.Dir(d.program)), "models", "demo"), models, "demo")
	copyPair(t, filepath.Join(models, "demo"), models, "second")
	d.start("--models=" + models)
	defer d.kill()
	var others sync.WaitGroup
	var conns []*websocket.Conn
	defer others.Wait()
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	disk, late := newDiskProbe(t), lateness(t)
	drags := new(atomic.Int64)
	for range users {
		b := newBrowser(d)
		b.open(t)
		conns = append(conns, b.conn)
		others.Go(func() { drag(b.conn, drags) })
	}

	b, loader := newBrowser(d), newBrowser(d)
	b.open(t)
	loader.open(t)
	k, loads := &wire{t: t, conn: b.conn}, &wire{t: t, conn: loader.conn}
	loaded := 0
	var echoes, moves, stops []time.Duration
	for round := range rounds {
		if n := round * (2*len(aligned) - 1) / rounds; n >= loaded { // the first of the demo pair is everybody's
			loaded++
			pair, name := "demo", aligned[(n+1)%len(aligned)]
			if n+1 >= len(aligned) {
				pair = "second"
			}
			loads.send(map[string]any{"type": "start", "spec": steered(pair, []string{name}, 3)})
		}
		run := k.start(steered("demo", aligned[:1], 240)).Run
		for i := range movesEach {
			echoes = append(echoes, timed(func() { k.send(map[string]any{"type": "nothing", "ref": "echo"}); k.await(`"ref":"echo"`) }))
			lambda := fmt.Sprintf("1.%02d%02d1", round, i)
			moves = append(moves, timed(func() {
				k.send(map[string]any{"type": "lambda", "run": run, "lane": 0, "lambda": json.Number(lambda)})
				k.await(`{"type":"lambda",`, `"lambda":`+lambda)
			}))
		}
		stops = append(stops, timed(func() {
			k.send(map[string]any{"type": "stop", "run": run})
			k.await(`"run":"`+run+`"`, `"reason":"cancelled"`)
		}))
	}
	waited := late()
	t.Logf("one timer in twenty woke %v late", waited)
	t.Logf("%d moves by others; %d models were loaded", drags.Load(), loaded)
	for _, m := range []struct {
		what string
		took []time.Duration
	}{{"an echo", echoes}, {"a move of λ", moves}, {"a stop", stops}, {"the disk", disk.stop()}} {
		t.Logf("%-12s p50 %v, p99 %v of %d", m.what, quantile(m.took, 0.5), quantile(m.took, 0.99), len(m.took))
	}
	echo := quantile(echoes, 0.99)
	for _, c := range conns {
		c.Close()
	}
	d.kill()
	others.Wait()
	busy = max(busy, slowdown())
	t.Logf("other programs make computing on all processors take %.1f times as long", busy)
	if drags.Load() < users*rounds {
		t.Errorf("the others moved λ %d times only", drags.Load())
	}
	for what, took := range map[string][]time.Duration{"moves of λ": moves, "stops": stops} {
		p99 := quantile(took, 0.99)
		t.Logf("%s: p99 is %.1f times that of an echo", what, float64(p99)/float64(echo))
		switch {
		case p99 <= answerLimit:
		case echo > answerLimit || busy > 1.5 || waited > answerLimit/4 || quantile(disk.took, 0.99) > answerLimit/4:
			t.Logf("%s: p99 %v: the machine is too busy to tell", what, p99)
		default:
			t.Errorf("%s: p99 %v, at most %v", what, p99, answerLimit)
		}
	}
}

// diskProbe times writes of 4 KiB to the disk that tests are on, ten a second, until it is stopped.
type diskProbe struct {
	took []time.Duration
	quit chan struct{}
	done chan struct{}
}

func newDiskProbe(t *testing.T) *diskProbe {
	f, err := os.Create(filepath.Join(t.TempDir(), "probe"))
	if err != nil {
		t.Fatal(err)
	}
	p := &diskProbe{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		defer f.Close()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			began := time.Now()
			_, err := f.WriteAt(make([]byte, 4096), 0)
			if err := cmp.Or(err, f.Sync()); err != nil {
				return
			}
			p.took = append(p.took, time.Since(began))
			select {
			case <-p.quit:
				return
			case <-tick.C:
			}
		}
	}()
	return p
}

// stop returns how long the writes took.
func (p *diskProbe) stop() []time.Duration {
	close(p.quit)
	<-p.done
	return p.took
}

// copyPair copies a pair under another name and returns its aligned models.
func copyPair(t *testing.T, from, to, name string) (aligned []string) {
	t.Helper()
	to = filepath.Join(to, name)
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(to, "pair.json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.Replace(data, []byte(`"name": "demo"`), []byte(`"name": "`+name+`"`), 1)
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	var manifest struct{ Aligned []struct{ Name string } }
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	for _, a := range manifest.Aligned {
		aligned = append(aligned, a.Name)
	}
	return aligned
}

func steered(pair string, aligned []string, tokens int) map[string]any {
	return map[string]any{
		"pair": pair, "aligned": aligned, "prompt": "What did you think of the film?", "mode": "chat", "seed": "7",
		"alternatives": 5, "lanes": []any{map[string]any{"lambda": 0.5}},
		"sampling": map[string]any{"max_tokens": tokens, "temperature": 1, "top_p": 1, "ignore_end": true},
	}
}

// drag starts one run after another and drags its slider sixty times a second, until the socket is closed.
func drag(conn *websocket.Conn, moves *atomic.Int64) {
	var mu sync.Mutex // guards run, and writing
	run := ""
	start := func() {
		_ = conn.WriteJSON(map[string]any{"type": "start", "ref": "start", "spec": steered("demo", nil, 240)})
	}
	ctx := make(chan struct{})
	defer close(ctx)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-ctx:
				return
			case <-time.After(time.Second / 60):
			}
			mu.Lock()
			if run != "" {
				_ = conn.WriteJSON(map[string]any{"type": "lambda", "run": run, "lane": 0, "lambda": float64(i%200) / 100})
				moves.Add(1)
			}
			mu.Unlock()
		}
	}()
	mu.Lock()
	start()
	mu.Unlock()
	for {
		_, data, err := conn.ReadMessage()
		if err != nil {
			return
		}
		mu.Lock()
		switch {
		case bytes.HasPrefix(data, []byte(`{"type":"started"`)):
			var m message
			_ = json.Unmarshal(data, &m)
			run = m.Run
		case bytes.Contains(data, []byte(`{"type":"stats"`)), bytes.HasPrefix(data, []byte(`{"type":"error","ref":"start"`)):
			run = ""
			start()
		}
		mu.Unlock()
	}
}

// await reads until a frame has all of some parts.
func (k *wire) await(parts ...string) {
	k.t.Helper()
	_ = k.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	for {
		_, data, err := k.conn.ReadMessage()
		if err != nil {
			k.t.Fatalf("waiting for %q: %v", parts, err)
		}
		text := string(data)
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(text, p) }) {
			return
		}
	}
}

func timed(do func()) time.Duration {
	began := time.Now()
	do()
	return time.Since(began)
}

// quantile is the smallest of some durations that so large a part of them is not above.
func quantile(all []time.Duration, q float64) time.Duration {
	all = slices.Sorted(slices.Values(all))
	return all[max(0, int(math.Ceil(q*float64(len(all))))-1)].Round(10 * time.Microsecond)
}

// watchBusy begins to watch how busy others keep the machine. The function it returns, to be called once, says whether times
// can be judged, and logs why not.
func watchBusy(t *testing.T) (free func() bool) {
	before, late := slowdown(), lateness(t)
	return func() bool {
		waited, busy := late(), max(before, slowdown())
		if waited <= 10*time.Millisecond && busy <= 1.5 {
			return true
		}
		t.Logf("the machine is too busy to tell: one timer in twenty woke %v late, computing on all processors takes %.1f times as long", waited, busy)
		return false
	}
}

// slowdown is how many times as long as alone a computation takes that keeps every processor busy.
func slowdown() float64 {
	const work = 300 * time.Millisecond
	ratios := make([]float64, runtime.NumCPU())
	var wait sync.WaitGroup
	for i := range ratios {
		wait.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			spent := func() time.Duration {
				var u syscall.Rusage
				if syscall.Getrusage(1, &u) != nil { // of this thread
					return 0
				}
				return time.Duration(u.Utime.Nano() + u.Stime.Nano())
			}
			began, from := time.Now(), spent()
			for spent()-from < work && time.Since(began) < 20*work {
			}
			ratios[i] = float64(time.Since(began)) / float64(work)
		})
	}
	wait.Wait()
	return slices.Max(ratios)
}
