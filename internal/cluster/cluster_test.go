package cluster_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"realign/internal/cluster"
	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/instance"
	"realign/internal/run"
	"realign/internal/run/runtest"
	"realign/internal/store"
)

// two are hubs that share a store and a NATS server.
type two struct {
	store   *store.Store
	decoder *runtest.Decoder // of the first
	first   *run.Hub
	second  *run.Hub
	nats    *server.Server
	conns   []*nats.Conn
}

func newTwo(t *testing.T) *two {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS does not start")
	}
	db, err := store.Open(t.Context(), store.Config{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	x := &two{store: db, decoder: &runtest.Decoder{Gate: make(chan struct{})}, nats: s}
	x.first, x.second = x.hub(t, "first", x.decoder), x.hub(t, "second", &runtest.Decoder{})
	return x
}

func (x *two) hub(t *testing.T, name string, d *runtest.Decoder) *run.Hub {
	t.Helper()
	conn, err := nats.Connect(x.nats.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	x.conns = append(x.conns, conn)
	quiet := slog.New(slog.DiscardHandler)
	h := run.NewHub(run.Config{
		Store: x.store, Decoder: d, Pairs: d, Logger: quiet, Server: instance.Fixed(name), Interval: -1, Retry: time.Millisecond, Peers: cluster.NewPeers(conn, quiet),
	})
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// until reads a watch up to the n-th event of a type, and what came with it.
func until(t *testing.T, w *run.Watch, n int, typ string) (last decode.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		events, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("after event %d: %v", w.Seq(), err)
		}
		for _, e := range events {
			d, err := e.Decode()
			if err != nil {
				t.Fatal(err)
			}
			if d.Type != typ {
				continue
			}
			if n--; n == 0 {
				return d
			}
		}
	}
}

func (x *two) start(t *testing.T, lanes, tokens int) (run.Run, *run.Watch) {
	t.Helper()
	started, err := x.first.Start(t.Context(), "ann", "", runtest.Spec(lanes, tokens))
	if err != nil {
		t.Fatal(err)
	}
	w, err := x.second.Watch(t.Context(), "ann", started.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return started, w
}

// A run of one server is watched, moved, widened and stopped on another.
func TestARunIsSteeredFromAnotherServer(t *testing.T) {
	ctx := t.Context()
	x := newTwo(t)
	started, w := x.start(t, 2, 1000)
	x.decoder.Gate <- struct{}{}
	until(t, w, 2, decode.EventToken)
	if err := x.second.SetLambda(ctx, "ann", started.ID, 1, decode.Vector{3}); err != nil {
		t.Fatal(err)
	}
	x.decoder.Gate <- struct{}{}
	if e := until(t, w, 1, decode.EventLambda); e.Lane != 1 || e.Lambda[0] != 3 {
		t.Errorf("%+v", e)
	}
	for what, err := range map[string]error{
		"no such lane": x.second.SetLambda(ctx, "ann", started.ID, 7, decode.Vector{1}),
		"not theirs":   x.second.Stop(ctx, "bob", started.ID, -1),
	} {
		if fault.KindOf(err) != fault.NotFound {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := x.second.SetLambda(ctx, "ann", started.ID, 1, decode.Vector{99}); fault.Of(err) == nil || fault.Of(err).Field != "lambda" {
		t.Errorf("λ out of bounds: %v", err)
	}
	added, err := x.second.AddLanes(ctx, "ann", started.ID, []decode.Lane{{Lambda: decode.Vector{2}}})
	if err != nil || !slices.Equal(added, []int{2}) {
		t.Fatalf("%v %v", added, err)
	}
	until(t, w, 1, decode.EventLanes)
	close(x.decoder.Gate)
	if err := x.second.Stop(ctx, "ann", started.ID, 0); err != nil {
		t.Fatal(err)
	}
	if err := x.second.Stop(ctx, "ann", started.ID, -1); err != nil {
		t.Fatal(err)
	}
	until(t, w, 3, decode.EventEnd)
	x.awaitStatus(t, started.ID, run.Ended)
	if err := x.second.Stop(ctx, "ann", started.ID, -1); err != nil {
		t.Errorf("stop again: %v", err)
	}
}

func (x *two) awaitStatus(t *testing.T, started string, want run.Status) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		stored, err := x.store.Run(t.Context(), "ann", started)
		if err != nil {
			t.Fatal(err)
		}
		if stored.Status == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("run %s is %s, want %s", started, stored.Status, want)
		}
	}
}

// A session that is deleted on one server stops being decoded on another.
func TestASessionIsStoppedFromAnotherServer(t *testing.T) {
	x := newTwo(t)
	started, w := x.start(t, 1, 1000)
	x.decoder.Gate <- struct{}{}
	until(t, w, 1, decode.EventToken)
	x.second.StopSession("ann", started.Session)
	if e := until(t, w, 1, decode.EventEnd); e.Reason != decode.EndCancelled {
		t.Errorf("%+v", e)
	}
}

// What NATS loses is found in the log.
func TestAWatchGoesOnWithoutNATS(t *testing.T) {
	x := newTwo(t)
	_, w := x.start(t, 1, 20)
	x.decoder.Gate <- struct{}{}
	until(t, w, 1, decode.EventToken)
	x.nats.Shutdown()
	close(x.decoder.Gate)
	until(t, w, 1, decode.EventEnd)
}

// A run that was ended here and is gone on with on another server is seen here.
func TestARunGoesOnElsewhere(t *testing.T) {
	x := newTwo(t)
	close(x.decoder.Gate)
	started, _ := x.start(t, 1, 5)
	w, err := x.first.Watch(t.Context(), "ann", started.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	until(t, w, 1, decode.EventStats)
	x.awaitStatus(t, started.ID, run.Ended)
	if _, err := x.second.AddLanes(t.Context(), "ann", started.ID, []decode.Lane{{Lambda: decode.Vector{2}}}); err != nil {
		t.Fatal(err)
	}
	until(t, w, 1, decode.EventEnd)
	x.awaitStatus(t, started.ID, run.Ended)
	if stored, err := x.store.Run(t.Context(), "ann", started.ID); err != nil || stored.Instance != "second" {
		t.Errorf("the run is %q's: %v", stored.Instance, err)
	}
}

// shared is servers in memory.
type shared struct {
	mu      sync.Mutex // guards what follows
	seen    map[string]time.Time
	orphans map[string]bool
	down    bool
}

var errDown = fault.New(fault.Unavailable, "down")

func (s *shared) do(f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return errDown
	}
	f()
	return nil
}

// fail has the servers out of reach, or in reach again.
func (s *shared) fail(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// remove takes a server for dead.
func (s *shared) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, name)
}

func (s *shared) Alone() bool { return false }

func (s *shared) JoinServers(_ context.Context, name string) error {
	return s.do(func() { s.seen[name] = time.Now() })
}

func (s *shared) RenewServer(_ context.Context, name string) (there bool, err error) {
	return there, s.do(func() {
		if _, there = s.seen[name]; there {
			s.seen[name] = time.Now()
		}
	})
}

func (s *shared) LeaveServers(_ context.Context, name string) error {
	return s.do(func() { delete(s.seen, name); s.orphans[name] = true })
}

func (s *shared) RemoveDead(_ context.Context, silent time.Duration) (n int, err error) {
	return n, s.do(func() {
		for name, at := range s.seen {
			if time.Since(at) > silent {
				delete(s.seen, name)
				s.orphans[name] = true
				n++
			}
		}
	})
}

func (s *shared) Orphans(context.Context) (names []string, err error) {
	return names, s.do(func() {
		for name := range s.orphans {
			names = append(names, name)
		}
	})
}

// heir notes what it is told.
type heir struct {
	inherited chan string
	lost      chan struct{}
}

func (h heir) Inherit(_ context.Context, dead string) error { h.inherited <- dead; return nil }
func (h heir) Tidy(context.Context) error                   { return nil }
func (h heir) Lost()                                        { h.lost <- struct{}{} }

func newShared() *shared { return &shared{seen: map[string]time.Time{}, orphans: map[string]bool{}} }

func join(t *testing.T, s *shared) (*cluster.Member, heir) {
	t.Helper()
	m, err := cluster.Join(t.Context(), cluster.Config{Store: s, Label: "same", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	h := heir{make(chan string, 1000), make(chan struct{}, 10)}
	if err := m.Start(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m, h
}

// inBubble runs a test whose clock goes on when everybody waits, so that minutes of it take no time.
func inBubble(t *testing.T, f func(t *testing.T, s *shared)) {
	synctest.Test(t, func(t *testing.T) { f(t, newShared()) })
}

// spared fails where somebody was taken for dead.
func spared(t *testing.T, all ...heir) {
	t.Helper()
	for _, h := range all {
		select {
		case name := <-h.inherited:
			t.Fatalf("%s was taken for dead", name)
		case <-h.lost:
			t.Fatal("a server was told that it is dead")
		default:
		}
	}
}

// Servers of one label have names of their own; what one leaves another gets in time, and not before the first is silent.
func TestADeadServerHasHeirs(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shared) {
		dead, _ := join(t, s)
		alive, h := join(t, s)
		if dead.Name() == alive.Name() {
			t.Fatalf("both are called %s", dead.Name())
		}
		time.Sleep(10 * time.Minute)
		spared(t, h)
		name := dead.Name()
		dead.Rest() // it says no word any more
		time.Sleep(run.EndWithin)
		select {
		case got := <-h.inherited:
			if got != name {
				t.Errorf("inherited from %s, want %s", got, name)
			}
		default:
			t.Errorf("nobody inherits within %v", run.EndWithin)
		}
	})
}

// After the database was away nobody is taken for dead who could not say that it is alive, however long that was.
func TestAnOutageKillsNobody(t *testing.T) {
	for _, outage := range []time.Duration{5 * time.Second, 15 * time.Second, 10 * time.Minute} {
		inBubble(t, func(t *testing.T, s *shared) {
			_, first := join(t, s)
			_, second := join(t, s)
			time.Sleep(time.Minute)
			s.fail(true)
			time.Sleep(outage)
			s.fail(false)
			time.Sleep(time.Minute)
			spared(t, first, second)
		})
	}
}

// A server that was taken for dead lets go of everything, under a new name.
func TestAServerThatWasTakenForDead(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shared) {
		m, h := join(t, s)
		name := m.Name()
		s.remove(name)
		<-h.lost
		if m.Name() == name {
			t.Error("it has its old name")
		}
	})
}
