package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// TestPermissionsOfTheGuide: on a cluster with the permissions that docs/guide.md gives, a server and a worker work.
func TestPermissionsOfTheGuide(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guide.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```\n(permissions: .*?)```").FindSubmatch(guide)
	all := regexp.MustCompile("The server needs all of them for (.*?); a worker").FindSubmatch(guide)
	if block == nil || all == nil {
		t.Fatal("the guide gives no permissions")
	}
	var subjects []string
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllSubmatch(all[1], -1) {
		subjects = append(subjects, fmt.Sprintf("%q", m[1]))
	}
	may := "[" + strings.Join(subjects, ", ") + "]"
	text := fmt.Sprintf("listen: 127.0.0.1:-1\njetstream: {store_dir: %q}\nmax_payload: 8MB\nauthorization: {users: [\n"+
		"{user: server, password: s, permissions: {publish: %s, subscribe: %s}}\n{user: worker, password: w, %s}\n]}\n",
		t.TempDir(), may, may, strings.ReplaceAll(string(block[1]), "PAIR", "demo"))
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	options, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	options.NoSigs, options.NoLog = true, true
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the cluster does not start")
	}
	addr := strings.TrimPrefix(s.ClientURL(), "nats://")
	p := newPool(t, Config{URL: "nats://server:s@" + addr})
	q := openQueue(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, ServeConfig{URL: "nats://worker:w@" + addr, Pair: "demo", Open: opens(time.Millisecond), Engine: drafting})
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	awaitWorkers(t, p, 1)
	l := newLog()
	r, err := p.Decode(t.Context(), "demo", request(2, 5), l.sink)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the run", r.Done())
	l.ends(t, 2)
	var got answers
	defer got.read(t, q, "b")()
	if err := q.Offer(t.Context(), work("b", 1, 5)); err != nil {
		t.Fatal(err)
	}
	for _, a := range got.until(t, 1) {
		if a.Fault != nil {
			t.Error(a.Fault)
		}
	}
}
