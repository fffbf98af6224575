package web

import (
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// buffer sets how much the kernel takes for a wire that nobody reads. A small one makes reading slow, too.
func (k *wire) buffer(t testing.TB, bytes int) {
	if err := k.conn.NetConn().(*net.TCPConn).SetReadBuffer(bytes); err != nil {
		t.Fatal(err)
	}
}

// large is a run with tens of MB of events.
func large(lanes, tokens int) map[string]any {
	l := make([]float64, lanes)
	for i := range l {
		l[i] = float64(i) / 8
	}
	s := spec(tokens, l...)
	s["alternatives"] = 10
	return s
}

// watchAll follows a run from its beginning on n sockets and returns how long that took, and the sum
// of bytes.
func watchAll(t testing.TB, p *person, run string, lanes, n int) (took time.Duration, events int) {
	start := time.Now()
	var wait sync.WaitGroup
	for range n {
		k := p.dial()
		k.send(map[string]any{"type": "watch", "run": run})
		tr := newTrack(run)
		wait.Go(func() {
			defer k.close()
			for len(tr.ended) < lanes || tr.stats == 0 {
				m, err := k.next()
				if err == nil {
					err = tr.take(m)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
		defer func() { events = tr.seq }()
	}
	wait.Wait()
	return time.Since(start), events
}

// One of eight watchers stops reading: the others get everything, it is dropped, and it resumes without a
// gap. What the server holds meanwhile does not grow with what it has missed.
func TestOneWhoStopsReadingIsDroppedAndResumes(t *testing.T) {
	const lanes, tokens = 16, 250
	w := newWorld(t, setup{})
	w.writeTimeout = 4 * time.Second // enough for those who read on a busy machine
	p := w.person()
	starter := p.dial()
	run := starter.start(large(lanes, tokens)).Run
	starter.close()
	lazy := p.dial()
	lazy.buffer(t, 4<<10)
	seen := newTrack(run)
	lazy.send(map[string]any{"type": "watch", "run": run})
	for seen.seq == 0 {
		m, err := lazy.next()
		if err != nil {
			t.Fatal(err)
		}
		if err := seen.take(m); err != nil {
			t.Fatal(err)
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	took, events := watchAll(t, p, run, lanes, 7)
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d events in %v; heap %+d KiB with the lazy watcher behind by most of them", events, took, (int64(after.HeapAlloc)-int64(before.HeapAlloc))>>10)

	w.until(func() bool { return strings.Contains(p.get("/metrics", 200), "realign_sockets_dropped_total 1\n") })
	lazy.close()
	lazy = p.dial()
	lazy.send(map[string]any{"type": "watch", "run": run, "after": seen.seq})
	lazy.follow(seen, lanes)
	if seen.seq != events {
		t.Errorf("%d events after resuming, others saw %d", seen.seq, events)
	}
}

// BenchmarkStoppedReader compares how long seven watchers take when an eighth reads with when it has
// stopped, interleaved in one process.
func BenchmarkStoppedReader(b *testing.B) {
	const lanes, tokens = 16, 250
	w := newWorld(b, setup{delay: 4 * time.Millisecond}) // about the pace of real models
	p := w.person()
	var ratios []float64
	round := func(stopped bool) time.Duration {
		starter := p.dial()
		defer starter.close()
		run := starter.start(large(lanes, tokens)).Run
		eighth := p.dial()
		defer eighth.close()
		eighth.send(map[string]any{"type": "watch", "run": run})
		if stopped {
			eighth.buffer(b, 4<<10)
		} else {
			go func() {
				for {
					if _, _, err := eighth.conn.ReadMessage(); err != nil {
						return
					}
				}
			}()
		}
		go func() {
			for {
				if _, _, err := starter.conn.ReadMessage(); err != nil {
					return
				}
			}
		}()
		took, _ := watchAll(b, p, run, lanes, 6)
		return took
	}
	for b.Loop() {
		reading, stopped := round(false), round(true)
		ratios = append(ratios, stopped.Seconds()/reading.Seconds())
	}
	slices.Sort(ratios)
	n := len(ratios)
	b.ReportMetric(ratios[n/2], "ratio")
	b.ReportMetric(ratios[n/4], "ratio-q1")
	b.ReportMetric(ratios[3*n/4], "ratio-q3")
}
