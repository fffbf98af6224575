package web

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// States in which TestSoakTerminate ends a server. What they return is done when it has ended.

// decodingStudy has the answers of a study decoded, of which some are there.
func decodingStudy(d *daemon) func() {
	d.start()
	client := &sweepClient{d: d}
	client.browse()
	path := client.decodeStudy(strings.Join(dialogue(d.t, d, 40), "\n"))
	client.await(path, "decoded", func(page string) bool { return strings.Contains(page, "tokens/s") })
	return nil
}

// silentEndpoint has a sweep judged by an endpoint that answers the trial question and no other.
func silentEndpoint(d *daemon) func() {
	asked, gone := make(chan struct{}, 64), make(chan struct{})
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "capital of France") {
			_, _ = io.WriteString(w, "1")
			return
		}
		select {
		case asked <- struct{}{}:
		default:
		}
		select {
		case <-r.Context().Done():
		case <-gone:
		}
	}))
	d.start("--endpoints=" + endpoint.URL)
	client := &sweepClient{d: d}
	client.start("pair: demo\naligned: length-b0.1\nprompts: [" + strings.Join(dialogue(d.t, d, 8), ",") + "]\nlambda: [0, 1]\nsamples: 2\n" +
		"sampling: {max_tokens: 20, temperature: 1}\nrewards: [{reward: http, parameters: {url: \"" + endpoint.URL + "\"}}]\nrefine: {rounds: 0}\n")
	select {
	case <-asked:
	case <-time.After(time.Minute):
		d.t.Errorf("the endpoint is not asked:\n%s", d.log.String())
	}
	return func() { close(gone); endpoint.Close() }
}

// decodingMap has a λ-map decoded, of which something is there.
func decodingMap(d *daemon) func() {
	d.start()
	b := newBrowser(d)
	b.open(d.t)
	_ = b.conn.WriteJSON(map[string]any{"type": "start", "spec": map[string]any{
		"pair": "demo", "prompt": "What did you think of the film?", "mode": "chat", "seed": "1", "map": map[string]any{"from": 0, "to": 2, "branches": 16},
		"sampling": map[string]any{"max_tokens": 400, "temperature": 1, "top_p": 1, "ignore_end": true},
	}})
	for {
		var m message
		if err := b.conn.ReadJSON(&m); err != nil || m.Type == "error" {
			d.t.Fatalf("the map is not decoded: %+v, %v", m, err)
		}
		if m.Type == "events" {
			return nil
		}
	}
}

// await waits until a page says something.
func (c *sweepClient) await(path, what string, says func(page string) bool) {
	c.d.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		_, page := c.get(path)
		if says(page) {
			return
		}
		if time.Now().After(deadline) {
			c.d.t.Fatalf("%s is not %s:\n%s", path, what, c.d.log.String())
		}
	}
}
