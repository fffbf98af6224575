package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// streams is a crowd of clients that stream at the same time.
type streams struct {
	steady, leaving, slow int
	tokens                int // of each reply
}

// told is what the clients that stayed saw.
type told struct {
	first []time.Duration // until the first token
	whole []time.Duration // until the end of the stream
}

// run streams to all at once. Where they do not behave, some leave in the middle of their replies and some read a little at a
// time, until those that stay have everything.
func (s streams) run(t *testing.T, w *world, behave bool) (seen told) {
	var mu sync.Mutex // guards seen
	var steady, others sync.WaitGroup
	over, end := context.WithCancel(context.Background())
	defer end()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(16 << 10) // so that reading slowly is felt
		}
		return conn, err
	}}}
	defer client.CloseIdleConnections()
	open := func(ctx context.Context, tokens int) (io.ReadCloser, error) {
		body := fmt.Sprintf(`{"model":"table","lambda":[0.5,1.5],"messages":[{"role":"user","content":"abc"}],"stream":true,"logprobs":true,"top_logprobs":20,"ignore_eos":true,"max_tokens":%d}`, tokens)
		r, err := http.NewRequestWithContext(ctx, "POST", w.http.URL+"/v1/chat/completions", strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		answer, err := client.Do(r)
		if err == nil && answer.StatusCode != http.StatusOK {
			answer.Body.Close()
			err = fmt.Errorf("status %d", answer.StatusCode)
		}
		if err != nil {
			return nil, err
		}
		return answer.Body, nil
	}
	// read reads a stream to its end, or so many messages of it.
	read := func(body io.Reader, most int) (first time.Time, n int, done bool) {
		lines := bufio.NewReader(body)
		for most == 0 || n < most {
			line, err := lines.ReadString('\n')
			if err != nil {
				return first, n, false
			}
			if line == "data: [DONE]\n" {
				return first, n, true
			}
			if strings.HasPrefix(line, "data: ") && strings.Contains(line, `"token":`) {
				if n++; n == 1 {
					first = time.Now()
				}
			}
		}
		return first, n, false
	}
	stay := func(group *sync.WaitGroup, tokens int, count bool) {
		group.Go(func() {
			began := time.Now()
			body, err := open(context.Background(), tokens)
			if err != nil {
				t.Error(err)
				return
			}
			defer body.Close()
			first, n, done := read(body, 0)
			if !done || n < tokens {
				t.Errorf("a client that stayed has %d messages with tokens, done: %v", n, done)
				return
			}
			if count {
				mu.Lock()
				seen.first, seen.whole = append(seen.first, first.Sub(began)), append(seen.whole, time.Since(began))
				mu.Unlock()
			}
		})
	}
	for range s.steady {
		stay(&steady, s.tokens, true)
	}
	for i := range s.leaving + s.slow {
		if behave {
			stay(&others, s.tokens, false)
			continue
		}
		others.Go(func() {
			body, err := open(over, 4*s.tokens)
			if err != nil {
				t.Error(err)
				return
			}
			defer body.Close()
			if i < s.leaving {
				read(body, s.tokens/2+i)
				return
			}
			for part := make([]byte, 512); err == nil; _, err = body.Read(part) {
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	steady.Wait()
	end()
	others.Wait()
	return seen
}

func descriptors() int {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0 // not Linux
	}
	return len(files)
}

// Many stream at the same time, some leave in the middle and some read slowly: nothing is left of them, and the others are
// not slower than among clients that behave. REALIGN_SIMULATIONS runs the crowd that docs/api.md tells of, and judges times.
func TestAPICrowd(t *testing.T) {
	crowd, rounds, judge := streams{steady: 9, leaving: 3, slow: 2, tokens: 30}, 1, false
	if os.Getenv("REALIGN_SIMULATIONS") != "" {
		crowd, rounds, judge = streams{steady: 35, leaving: 10, slow: 5, tokens: 100}, 5, true
	}
	w := newWorld(t, setup{delay: 20 * time.Millisecond}) // about the pace of real models
	goroutines, files := runtime.NumGoroutine(), descriptors()
	var calm, rough told
	for range rounds { // interleaved, so that both meet the same machine
		a, b := crowd.run(t, w, true), crowd.run(t, w, false)
		calm.first, calm.whole = append(calm.first, a.first...), append(calm.whole, a.whole...)
		rough.first, rough.whole = append(rough.first, b.first...), append(rough.whole, b.whole...)
		w.until(func() bool { return w.models.engine.Counters().Lanes == 0 })
	}
	if len(rough.first) != crowd.steady*rounds || len(calm.first) != len(rough.first) {
		t.Fatalf("%d and %d streams came to their ends", len(calm.first), len(rough.first))
	}
	w.until(func() bool { return runtime.NumGoroutine() <= goroutines+2 && descriptors() <= files+2 })
	w.until(func() bool { // a call gives its place back after its lanes have ended
		w.calls.mu.Lock()
		defer w.calls.mu.Unlock()
		return w.calls.all == 0 && len(w.calls.by) == 0
	})
	loss := 1 - quantile(calm.whole, 0.5).Seconds()/quantile(rough.whole, 0.5).Seconds()
	t.Logf("first token: median %v, p95 %v; a stream of %d tokens: %v, among clients that behave %v: %.1f%% lost",
		quantile(rough.first, 0.5), quantile(rough.first, 0.95), crowd.tokens, quantile(rough.whole, 0.5), quantile(calm.whole, 0.5), 100*loss)
	if judge && loss > 0.1 {
		t.Errorf("clients that stay lose %.1f%%", 100*loss)
	}
}
