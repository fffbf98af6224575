package worker

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"realign/internal/fault"
)

const (
	rightToken = "0123456789abcdef0123"
	otherToken = "another-0123456789ab"
)

// notes is a log that can be read while it is written.
type notes struct {
	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{}
}

func newNotes() *notes { return &notes{news: make(chan struct{}, 1)} }

func (n *notes) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case n.news <- struct{}{}:
	default:
	}
	return n.text.Write(b)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

func (n *notes) until(t *testing.T, word string) {
	t.Helper()
	late := time.After(30 * time.Second)
	for !strings.Contains(n.String(), word) {
		select {
		case <-n.news:
		case <-late:
			t.Fatalf("no %q in %s", word, n)
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func sums(of string) func(context.Context, string) (map[string]string, error) {
	return func(context.Context, string) (map[string]string, error) {
		return map[string]string{"reference": "aa", "warm": of}, nil
	}
}

// joined runs a worker that wants to join at an address; its end comes on the channel.
func joined(t *testing.T, url, token, warm string) (*notes, <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log, ended := newNotes(), make(chan error, 1)
	go func() {
		ended <- Serve(ctx, ServeConfig{
			URL: url, Token: token, Pair: "demo", Build: "b1", Files: sums(warm), Open: opens(time.Millisecond), Wait: 200 * time.Millisecond,
			Log: slog.New(slog.NewTextHandler(log, nil)),
		})
	}()
	t.Cleanup(cancel)
	return log, ended
}

// refused waits for the end of a worker and checks what it says; it never says a token.
func refused(t *testing.T, name string, log *notes, ended <-chan error, kind fault.Kind, says string) {
	t.Helper()
	select {
	case err := <-ended:
		if fault.KindOf(err) != kind || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s with %q", name, err, kind, says)
		}
		for _, secret := range []string{rightToken, otherToken} {
			if err != nil && strings.Contains(err.Error(), secret) || strings.Contains(log.String(), secret) {
				t.Errorf("%s: a token is told: %v, %s", name, err, log)
			}
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("%s: it does not end: %s", name, log)
	}
}

func TestJoin(t *testing.T) {
	addr := freeAddr(t)
	data := t.TempDir() // where the certificate is kept
	open := func(t *testing.T, addr, token, build, warm string) *Pool {
		t.Helper()
		return newPool(t, Config{Listen: addr, Token: token, Build: build, Files: sums(warm), Data: data})
	}
	p := open(t, addr, rightToken, "b1", "bb")
	right, pin := p.JoinToken(), pinMark+p.own.pin
	for name, test := range map[string]struct {
		url, token, warm string
		kind             fault.Kind
		says             string
	}{
		"no token":         {addr, pin, "bb", fault.Forbidden, addr + " does not take the token"},
		"no fingerprint":   {addr, rightToken, "bb", fault.Forbidden, "this machine does not trust the certificate of the NATS server at " + addr},
		"another server":   {addr, rightToken + pinMark + strings.Repeat("0", 64), "bb", fault.Forbidden, addr + " has another certificate than the one in the token"},
		"another pair":     {addr, PairToken(right, "other"), "bb", fault.Forbidden, "does not take the token"},
		"another token":    {addr, otherToken + pin, "bb", fault.Forbidden, "does not take the token"},
		"a token as user":  {"nats://" + otherToken + pin + "@" + addr, "", "bb", fault.Forbidden, "does not take the token"},
		"a password":       {"nats://realign:" + right + "@" + addr, "", "bb", fault.Forbidden, "does not take the token"},
		"nobody there":     {"nats://" + rightToken + "@127.0.0.1:1", "", "bb", fault.Unavailable, "no NATS server answers at 127.0.0.1:1"},
		"no such host":     {"nats://nowhere.invalid:4222", rightToken, "bb", fault.Unavailable, "no NATS server answers at nowhere.invalid:4222"},
		"no address":       {"nats://" + rightToken + "@:%zz", "", "bb", fault.Invalid, "nats: is not an address like"},
		"another protocol": {"http://" + addr, rightToken, "bb", fault.Invalid, "nats: is not an address like"},
		"another file":     {addr, right, "cc", fault.Conflict, "pair demo has another file of warm than the server's"},
	} {
		log, ended := joined(t, test.url, test.token, test.warm)
		refused(t, name, log, ended, test.kind, test.says)
	}
	if n := len(p.Workers()); n > 0 {
		t.Errorf("%d workers have joined", n)
	}
	log, ended := joined(t, addr, PairToken(right, "demo"), "bb")
	awaitWorkers(t, p, 1)
	l := newLog()
	r, err := p.Decode(t.Context(), "demo", request(2, 5), l.sink)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the run", r.Done())
	l.ends(t, 2)

	// The server comes back: with the same token and files the worker joins again, without them it leaves.
	p.Close()
	log.until(t, "waiting for it")
	p = open(t, addr, rightToken, "b2", "bb")
	awaitWorkers(t, p, 1)
	log.until(t, "of another build")
	p.Close()
	p = open(t, addr, rightToken, "b1", "cc")
	refused(t, "another file later", log, ended, fault.Conflict, "another file of warm")

	log, ended = joined(t, addr, right, "cc")
	awaitWorkers(t, p, 1)
	p.Close()
	open(t, addr, otherToken, "b1", "cc")
	refused(t, "another token later", log, ended, fault.Forbidden, "does not take the token")
}

// TestJoinOtherVersion: a server of another protocol is refused, but not where one of ours is on the same cluster.
func TestJoinOtherVersion(t *testing.T) {
	central := newPool(t, Config{Build: "b1"})
	future := nats.MsgHandler(func(m *nats.Msg) { m.Respond([]byte(`{"pool":"f","protocol":9,"build":"b9","more":[1]}`)) })
	for _, alone := range []bool{true, false} {
		cluster, all := central.URL(), central.own.own
		if alone {
			e, err := embed(&Config{Log: central.log})
			if err != nil {
				t.Fatal(err)
			}
			defer e.server.Shutdown()
			cluster, all = e.child, e.own
		}
		conn, err := nats.Connect(all)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Subscribe(greetings, future); err != nil {
			t.Fatal(err)
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		log, ended := joined(t, cluster, "", "bb")
		if alone {
			refused(t, "another version", log, ended, fault.Conflict, "the worker is realign b1 (protocol 3) and the server realign b9 (protocol 9)")
		} else {
			awaitWorkers(t, central, 1)
		}
	}
	// A worker of the future is told, too.
	if f := central.refuse(&joinRequest{Protocol: 9, Build: "b9", Worker: "w", Pair: "demo"}); f == nil || f.Kind != fault.Conflict {
		t.Errorf("%v", f)
	}
}

// TestJoinMoreServers: a worker is compared with each server that comes, not only with the first.
func TestJoinMoreServers(t *testing.T) {
	central := newPool(t, Config{})
	log, ended := joined(t, central.URL(), "", "bb")
	awaitWorkers(t, central, 1)
	newPool(t, Config{URL: central.own.own, Files: sums("cc")})
	refused(t, "a server that came later", log, ended, fault.Conflict, "another file of warm")
}

func TestPoolRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, test := range map[string]struct {
		c     Config
		kind  fault.Kind
		field string
	}{
		"no token":      {Config{Listen: "127.0.0.1:0"}, fault.Invalid, "nats_listen"},
		"for workers":   {Config{Listen: "127.0.0.1:0", Token: rightToken + pinMark + "00"}, fault.Invalid, "nats_token"},
		"half a cert":   {Config{Listen: "127.0.0.1:0", Token: rightToken, TLSCert: "x"}, fault.Invalid, "nats_tls_cert"},
		"no such cert":  {Config{Listen: "127.0.0.1:0", Token: rightToken, TLSCert: "/x", TLSKey: "/y"}, fault.Invalid, "nats_tls_cert"},
		"a short token": {Config{Listen: "127.0.0.1:0", Token: "short"}, fault.Invalid, "nats_token"},
		"a taken port":  {Config{Listen: taken.Addr().String(), Token: rightToken}, fault.Unavailable, ""},
		"no address":    {Config{Listen: "nonsense", Token: rightToken}, fault.Invalid, "nats_listen"},
		"both":          {Config{Listen: "127.0.0.1:0", URL: "nats://127.0.0.1:1", Token: rightToken}, fault.Invalid, "nats_listen"},
		"no URL":        {Config{URL: "nats://%"}, fault.Invalid, "nats"},
		"nobody there":  {Config{URL: "nats://127.0.0.1:1"}, fault.Unavailable, ""},
	} {
		test.c.Pairs = library(t, "demo")
		_, err := NewPool(test.c)
		f := fault.Of(err)
		if f == nil || f.Kind != test.kind || f.Field != test.field || strings.Contains(f.Error(), rightToken) {
			t.Errorf("%s: %v, want %s of %q", name, err, test.kind, test.field)
		}
	}
}
