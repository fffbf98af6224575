package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"realign/internal/pair"
	"realign/internal/worker"
)

// TestWorkerRefused: a worker that cannot join ends with one line and a code of its own, and no token is told.
func TestWorkerRefused(t *testing.T) {
	const right, wrong = "0123456789abcdef0123", "another-0123456789ab"
	here, elsewhere := models(t), models(t)
	if err := os.WriteFile(filepath.Join(elsewhere, "demo", "w"), []byte("a later one"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REALIGN_DATA", t.TempDir())
	library := pair.Resolver{Library: pair.NewLibrary(here), Sums: pair.OpenSums("")}
	pool, err := worker.NewPool(worker.Config{Pairs: library.Library, Listen: "127.0.0.1:0", Token: right, Build: build(), Files: library.FileSums})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	addr := pool.URL()[strings.LastIndex(pool.URL(), "@")+1:]
	data := t.TempDir()
	file, err := keepToken(data, pool)
	if err != nil {
		t.Fatal(err)
	}
	shown := func(args ...string) string {
		code, out, bad := runCommand(t, "", append([]string{"token", "--data", data}, args...)...)
		if code != 0 || bad != "" || strings.Contains(out, right) != (len(args) == 0) {
			t.Fatalf("token %v: %d %q %q", args, code, out, bad)
		}
		return strings.TrimSpace(out)
	}
	all, forPair, forOther := shown(), shown("--pair", "demo"), shown("--pair", "other")
	_, pin, _ := strings.Cut(all, right)
	for name, test := range map[string]struct {
		models string
		args   []string
		code   int
		say    string
	}{
		"no token":      {here, []string{"--nats", addr, "--nats-token", "x" + pin}, 6, addr + " does not take the token"},
		"unknown":       {here, []string{"--nats", addr, "--nats-token", right}, 6, "does not trust the certificate"},
		"its token":     {elsewhere, []string{"--nats", addr, "--nats-token", forPair}, 4, "another file of warm"},
		"of another":    {here, []string{"--nats", addr, "--nats-token", forOther}, 6, "does not take the token"},
		"another token": {here, []string{"--nats", addr, "--nats-token", wrong + pin}, 6, "does not take the token"},
		"another file":  {elsewhere, []string{"--nats", addr, "--nats-token-file", file}, 4, "another file of warm"},
		"nobody there":  {here, []string{"--nats", "nats://" + right + "@127.0.0.1:1", "--wait", "10ms"}, 7, "no NATS server answers at 127.0.0.1:1"},
		"no such pair":  {here, []string{"--nats", addr, "--nats-token", right, "--pair", "nobody"}, 2, "--pair"},
		"no address":    {here, []string{"--nats", "http://" + right, "--pair", "demo"}, 2, "--nats: is not an address"},
		"no file":       {here, []string{"--nats", addr, "--nats-token-file", file + "s"}, 2, "--nats-token-file"},
		"two tokens":    {here, []string{"--nats", addr, "--nats-token-file", file, "--nats-token", right}, 2, "--nats-token-file: there is a token already"},
	} {
		args := append([]string{"worker", "--models", test.models, "--log-level", "error"}, test.args...)
		if name != "no such pair" {
			args = append(args, "--pair", "demo")
		}
		code, out, bad := runCommand(t, "", args...)
		if code != test.code || !strings.Contains(bad, test.say) || strings.Count(bad, "\n") != 1 || out != "" {
			t.Errorf("%s: code %d, want %d: %q, want %q", name, code, test.code, bad, test.say)
		}
		if strings.Contains(bad, right) || strings.Contains(bad, wrong) {
			t.Errorf("%s: a token is told: %q", name, bad)
		}
	}
}
