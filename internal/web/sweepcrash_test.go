package web

import (
	"encoding/csv"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sweepClient is somebody who starts a sweep on the real program and reads what became of it.
type sweepClient struct {
	d    *daemon
	http *http.Client
}

func (c *sweepClient) get(path string) (int, string) {
	answer, err := c.http.Get("http://" + c.d.addr + path)
	if err != nil {
		return 0, ""
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, ""
	}
	return answer.StatusCode, string(b)
}

// browse makes it somebody with cookies.
func (c *sweepClient) browse() {
	jar, _ := cookiejar.New(nil)
	c.http = &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// form are the fields of a new sweep of a configuration.
func (c *sweepClient) form(config string) url.Values {
	c.d.t.Helper()
	c.browse()
	_, page := c.get("/sweeps/new")
	token := csrfMeta.FindStringSubmatch(page)
	if token == nil {
		c.d.t.Fatalf("no form: %.300s", page)
	}
	return url.Values{csrfField: {token[1]}, "config": {config}}
}

// start starts a sweep and returns its path.
func (c *sweepClient) start(config string) string {
	c.d.t.Helper()
	answer, err := c.http.PostForm("http://"+c.d.addr+"/sweeps", c.form(config))
	if err != nil {
		c.d.t.Fatal(err)
	}
	answer.Body.Close()
	path := answer.Header.Get("Location")
	if path == "" {
		c.d.t.Fatalf("the sweep was not started: %d", answer.StatusCode)
	}
	return path
}

// outputs waits for the end of a sweep and returns its cells, as CSV has them, with its ticket.
func (c *sweepClient) outputs(path string) ([][]string, string) {
	c.d.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, page := c.get(path + "/live"); strings.Contains(page, `data-sweep-state="done"`) {
			break
		}
		if time.Now().After(deadline) {
			c.d.t.Fatalf("the sweep does not end:\n%s", c.d.log.String())
		}
	}
	_, text := c.get(path + "/export.csv")
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		c.d.t.Fatal(err)
	}
	_, ticket := c.get(path + "/ticket.md")
	return rows, ticket
}

// dialogue are rows of the examples' prompts.
func dialogue(t *testing.T, d *daemon, n int) []string {
	t.Helper()
	prompts, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(d.program)), "examples", "dialogue.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(prompts), "\n")[:n]
}

// TestSweepCrash kills the server, and the worker, ten times in all during a sweep of the demo pair: it ends, every cell is
// there once, and its outputs and its ticket are those of a sweep that nothing happened to.
func TestSweepCrash(t *testing.T) {
	whole, broken := newDaemon(t), newDaemon(t)
	config := "pair: demo\naligned: warmth-b0.1\nprompts: [" + strings.Join(dialogue(t, whole, 40), ",") + "]\nlambda: {from: 0, to: 2, points: 5}\nsamples: 3\n" +
		"sampling: {max_tokens: 40, temperature: 1}\nrewards: [sentiment, distinct]\nseed: 5\nrefine: {rounds: 1}\n"
	whole.start()
	client := &sweepClient{d: whole}
	want, ticket := client.outputs(client.start(config))
	whole.kill()

	broken.start()
	defer func() { broken.kill() }()
	client = &sweepClient{d: broken}
	path := client.start(config)
	for i := range 10 {
		time.Sleep(time.Duration(100+rand.IntN(500)) * time.Millisecond) // any moment will do
		if i%2 == 0 {
			broken.kill()
			broken.start()
			continue
		}
		for _, pid := range children(t, broken.cmd.Process.Pid) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Logf("kill: %v", err)
			}
		}
	}
	before, _ := client.get(path + "/live")
	got, gotTicket := client.outputs(path)
	t.Logf("%d cells; the page answered %d after the tenth kill", len(want)-1, before)
	sameOutputs(t, got, want, gotTicket, ticket)
}

// sameOutputs checks that a sweep that was interfered with ended as one that was not.
func sameOutputs(t *testing.T, got, want [][]string, gotTicket, ticket string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d cells, want %d", len(got)-1, len(want)-1)
	}
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("row %d: %q, undisturbed %q", i, got[i], want[i])
		}
	}
	if gotTicket != ticket {
		t.Errorf("the ticket is\n%s\nundisturbed\n%s", gotTicket, ticket)
	}
}
