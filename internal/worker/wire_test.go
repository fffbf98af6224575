package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
	"realign/internal/run"
)

// inside serves a pair in this process, as a worker that joined by itself.
func inside(t *testing.T, p *Pool, c ServeConfig) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	c.URL, c.Pair = p.URL(), "demo"
	go func() { ended <- Serve(ctx, c) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	awaitWorkers(t, p, 1)
}

func opens(delay time.Duration) func(context.Context, func(float64)) (decode.Pair, error) {
	return func(context.Context, func(float64)) (decode.Pair, error) { return table(delay), nil }
}

func TestBusy(t *testing.T) {
	p := newPool(t, Config{})
	inside(t, p, ServeConfig{Open: opens(5 * time.Millisecond), Engine: decode.Config{Queue: 1}})
	var runs []run.Job
	for range 100 {
		r, err := p.Decode(context.Background(), "demo", request(8, 400), func(decode.Event) {})
		if err == nil {
			runs = append(runs, r)
			continue
		}
		if fault.KindOf(err) != fault.Busy {
			t.Fatal(err)
		}
		break
	}
	if len(runs) == 100 {
		t.Error("never busy")
	}
	for _, r := range runs {
		r.Stop(-1)
		within(t, "stopping", r.Done())
	}
}

// TestRunThatNobodyWants: a worker stops a run that no pool names.
func TestRunThatNobodyWants(t *testing.T) {
	p := newPool(t, Config{})
	inside(t, p, ServeConfig{Open: opens(30 * time.Millisecond)})
	conn, err := nats.Connect(p.own.own)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sub, err := conn.SubscribeSync(events("deadpool", "*", "orphan"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Request(orders("demo"), encoded(order{Run: "orphan", Pool: "deadpool", Request: request(1, 450)}), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal("the run was not stopped")
		}
		var b batch
		if err := read(m.Data, &b); err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			if e.Type != decode.EventEnd {
				continue
			}
			if e.Reason != decode.EndCancelled {
				t.Errorf("ended with %s", e.Reason)
			}
			return
		}
	}
}

// TestChildEndsWithParent: a child whose standard input ends, as it does when its parent dies, ends too.
func TestChildEndsWithParent(t *testing.T) {
	p := newPool(t, Config{})
	c := process("demo", p.URL(), "")
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	awaitWorkers(t, p, 1)
	stdin.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := c.Wait(); err != nil {
			t.Errorf("the child: %v", err)
		}
	}()
	within(t, "the end of the child", ended)
}

// TestMisbehavingWorker: whatever a worker sends, the run ends in order.
func TestMisbehavingWorker(t *testing.T) {
	start := `{"first":1,"events":[{"type":"start","lane":0,"prompt":{"total":3,"done":0}}]}`
	token := `{"first":2,"events":[{"type":"token","lane":0,"lambda":0.5,"id":3,"text":"x"}]}`
	for name, test := range map[string]struct {
		send []string
		code fault.Kind
		say  string
	}{
		"gap":         {[]string{start, `{"first":3,"events":[{"type":"token"}]}`}, fault.Unavailable, "lost"},
		"not JSON":    {[]string{start, token, "\x00{"}, fault.Internal, "cannot be read"},
		"wrong shape": {[]string{start, `[]`}, fault.Internal, "cannot be read"},
		"no number":   {[]string{start, `{}`}, fault.Internal, "cannot be read"},
		"twice, then a fault": {[]string{start, token, start, token, `{"fault":{"code":"unavailable","message":"so there"}}`},
			fault.Unavailable, "so there"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, Config{})
			conn, err := nats.Connect(p.own.own)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.QueueSubscribe(orders("demo"), queueGroup, func(m *nats.Msg) {
				var o order
				if err := read(m.Data, &o); err != nil {
					t.Error(err)
					return
				}
				m.Respond(encoded(receipt{Worker: "liar"}))
				for _, text := range test.send {
					conn.Publish(events(o.Pool, "liar", o.Run), []byte(text))
				}
			})
			conn.Publish(beatOf("demo", "liar"), []byte("{"))
			conn.Publish(beatOf("demo", "liar"), encoded(workerBeat{Worker: "liar", Pair: "demo", State: pair.Ready}))
			awaitWorkers(t, p, 1)
			l := newLog()
			r, err := p.Decode(context.Background(), "demo", request(2, 5), l.sink)
			if err != nil {
				t.Fatal(err)
			}
			within(t, "the run", r.Done())
			for _, e := range l.ends(t, 2) {
				if e.Error == nil || e.Error.Code != string(test.code) || !strings.Contains(e.Error.Message, test.say) {
					t.Errorf("lane %d: %+v", e.Lane, e.Error)
				}
			}
			tokens := 0
			for _, e := range l.all() {
				if e.Type == decode.EventToken {
					tokens++
				}
			}
			if tokens > 1 {
				t.Errorf("a batch that came twice was told twice")
			}
		})
	}
}

// TestFeedSplits: no message is larger than the bound, and none is needed twice.
func TestFeedSplits(t *testing.T) {
	var sizes []int
	next := 1
	f := newFeed(func(data []byte) error {
		var b batch
		if err := read(data, &b); err != nil {
			t.Fatal(err)
		}
		if b.First != next {
			t.Fatalf("batch from %d, want %d", b.First, next)
		}
		next += len(b.Events)
		sizes = append(sizes, len(data))
		return nil
	}, nil)
	for i := range 5000 {
		f.emit(decode.Event{Type: decode.EventToken, Index: i, Text: strings.Repeat("é", 200)})
	}
	f.emit(decode.Event{Type: decode.EventStats})
	if err := f.run(); err != nil {
		t.Fatal(err)
	}
	if next != 5002 {
		t.Errorf("%d events came, want 5001", next-1)
	}
	for _, n := range sizes {
		if n > maxBatch {
			t.Errorf("a message of %d bytes", n)
		}
	}
}

// The lanes of one pass travel in one message, though their events come one by one.
func TestFeedGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counts []int
		f := newFeed(func(data []byte) error {
			var b batch
			if err := read(data, &b); err != nil {
				t.Error(err)
			}
			counts = append(counts, len(b.Events))
			return nil
		}, nil)
		go func() {
			for pass := range 3 {
				time.Sleep(2 * gathering) // a pass
				for lane := range 8 {
					time.Sleep(gathering / 100)
					f.emit(decode.Event{Type: decode.EventToken, Lane: lane, Index: pass})
				}
			}
			f.emit(decode.Event{Type: decode.EventStats})
		}()
		if err := f.run(); err != nil {
			t.Fatal(err)
		}
		if want := []int{0, 8, 8, 9}; !slices.Equal(counts, want) { // the first message says that the run was admitted
			t.Errorf("messages of %v events, want %v", counts, want)
		}
	})
}

func TestLastWords(t *testing.T) {
	l := &crashLine{to: io.Discard}
	fmt.Fprint(l, strings.Repeat("loading\n", 1000), strings.Repeat("x", 5000), "\nx.cpp:7: GGML_AS")
	fmt.Fprint(l, "SERT(a) failed\n", strings.Repeat("frame\n", 10000), "SIGSEGV")
	if got := l.String(); got != "x.cpp:7: GGML_ASSERT(a) failed" {
		t.Errorf("%q", got)
	}
	if cap(l.line) > 2*maxLine {
		t.Errorf("%d bytes kept", cap(l.line))
	}
}

func FuzzRead(f *testing.F) {
	for _, m := range []any{
		order{Run: "r", Pool: "p", Request: request(2, 3)}, receipt{Worker: "w"}, batch{First: 1, Events: []decode.Event{{Type: "token"}}},
		batch{Fault: fault.New(fault.Busy, "later")}, control{Run: "r", Lane: -1, Lambda: decode.Vector{1, 2}}, reply{},
		workerBeat{Worker: "w", Pair: "demo", State: pair.Ready}, poolBeat{Pool: "p", Runs: []string{"r"}},
	} {
		f.Add(encoded(m))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range []interface{ check() error }{
			&order{}, &receipt{}, &control{}, &reply{}, &workerBeat{}, &poolBeat{},
		} {
			if err := read(data, m); err == nil {
				encoded(m) // what was read can be sent on
			}
		}
		// A run takes a batch whole or fails, and numbers never go back.
		n := 0
		r := &remoteRun{
			log: slog.New(slog.DiscardHandler), sink: func(decode.Event) { n++ }, admitted: make(chan struct{}),
			next: 1, ended: map[int]bool{}, tokens: map[int]int{}, lambda: map[int]decode.Vector{},
		}
		for range 2 {
			r.accept(data)
		}
		if r.next != n+1 {
			t.Fatalf("next is %d after %d events", r.next, n)
		}
	})
}

// TestVersionIsInEveryName: programs of different protocols share neither subjects nor queues, and the queues of all earlier
// protocols are removed.
func TestVersionIsInEveryName(t *testing.T) {
	if want := fmt.Sprintf("realign.v%d.", protocol); prefix != want {
		t.Errorf("subjects begin with %s, want %s", prefix, want)
	}
	if work, answers := fmt.Sprintf("REALIGN_WORK_V%d", protocol), fmt.Sprintf("REALIGN_ANSWERS_V%d", protocol); workStream != work || answerStream != answers {
		t.Errorf("the queues are %s and %s", workStream, answerStream)
	}
	p := newPool(t, Config{Data: t.TempDir()})
	stream, err := jetstream.New(p.conn)
	if err != nil {
		t.Fatal(err)
	}
	var old []string
	for version := 1; version < protocol; version++ {
		old = append(old, fmt.Sprintf("REALIGN_WORK_V%d", version), fmt.Sprintf("REALIGN_ANSWERS_V%d", version))
	}
	for _, name := range old {
		if _, err := stream.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{"old." + name}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Queue(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range old {
		if _, err := stream.Stream(t.Context(), name); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}
