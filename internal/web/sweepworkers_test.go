package web

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sweepWorkers are the workers of a running sweep, as its page shows them, with the items that each has decoded.
var sweepWorkers = regexp.MustCompile(`how many items it has decoded">([^<:]+): (\d+)<`)

// TestSweepCrashOfAWorkerThatJoined: the server's own worker and one that joined it over NATS share a sweep of the demo pair.
// The one that joined is killed in the middle: every cell is there once, and outputs and ticket are those of one worker alone.
func TestSweepCrashOfAWorkerThatJoined(t *testing.T) {
	const token = "a token for this test only"
	shared := newDaemon(t)
	config := "pair: demo\naligned: length-b0.1\nprompts: [" + strings.Join(dialogue(t, shared, 60), ",") + "]\nlambda: {from: 0, to: 2, points: 5}\nsamples: 3\n" +
		"sampling: {max_tokens: 60, temperature: 1}\nrewards: [length, distinct]\nseed: 7\nrefine: {rounds: 0}\n"
	alone := newDaemon(t)
	alone.start()
	client := &sweepClient{d: alone}
	want, ticket := client.outputs(client.start(config))
	alone.kill()

	at := freeAddr(t)
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	shared.start("--nats-listen="+at, "--nats-token-file="+secret)
	defer func() { shared.kill() }()
	join := exec.Command(shared.program, "worker", "--pair=demo", "--nats="+at, "--nats-token-file="+filepath.Join(shared.data, "worker-token"), "--worker-id=joined", "--data="+t.TempDir())
	join.Dir = shared.cmd.Dir
	said := &logs{}
	join.Stderr = said
	join.WaitDelay = 5 * time.Second
	if err := join.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill := func() {
		if !killed {
			killed = true
			_ = join.Process.Kill()
			_ = join.Wait()
		}
	}
	defer kill()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(said.String(), "msg=ready"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			kill()
			t.Fatalf("the worker that joins is not ready:\n%s\n%s", said.String(), shared.log.String())
		}
	}

	client = &sweepClient{d: shared}
	path := client.start(config)
	shares := map[string]int{}
	for deadline := time.Now().Add(2 * time.Minute); !killed; time.Sleep(10 * time.Millisecond) {
		_, page := client.get(path + "/live")
		for _, m := range sweepWorkers.FindAllStringSubmatch(page, -1) {
			shares[m[1]], _ = strconv.Atoi(m[2])
		}
		switch {
		case len(shares) == 2 && shares["joined"] >= 3 && strings.Contains(page, `data-sweep-state="running"`):
			kill()
		case strings.Contains(page, `data-sweep-state="done"`):
			t.Fatalf("the sweep ended before both workers had decoded some of it: %v\n%s", shares, said.String())
		case time.Now().After(deadline):
			kill()
			t.Fatalf("the workers do not share the sweep: %v\n%s\n%s", shares, said.String(), shared.log.String())
		}
	}
	got, gotTicket := client.outputs(path)
	t.Logf("%d cells; items by worker when one was killed: %v", len(got)-1, shares)
	sameOutputs(t, got, want, gotTicket, ticket)
	for name, text := range map[string]string{"server": shared.log.String(), "worker": said.String()} {
		if strings.Contains(text, token) {
			t.Errorf("the log of the %s tells the token:\n%s", name, text)
		}
	}
}
