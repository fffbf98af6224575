package web

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// decodeStudy makes a study of the demo pair, begins to decode it and returns its path.
func (c *sweepClient) decodeStudy(prompts string) string {
	c.d.t.Helper()
	_, page := c.get("/studies")
	token := csrfMeta.FindStringSubmatch(page)
	if token == nil {
		c.d.t.Fatalf("no page: %.300s", page)
	}
	post := func(path string, fields url.Values) string {
		fields.Set(csrfField, token[1])
		answer, err := c.http.PostForm("http://"+c.d.addr+path, fields)
		if err != nil {
			c.d.t.Fatal(err)
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != http.StatusSeeOther {
			c.d.t.Fatalf("POST %s: %d\n%.2000s", path, answer.StatusCode, body)
		}
		return answer.Header.Get("Location")
	}
	fields := url.Values{}
	for name, value := range studyFields("pair", "demo/warmth-b0.1", "prompts", prompts, "format", "jsonl", "grid", "0, 0.5, 1, 1.5, 2", "samples", "2",
		"max_tokens", "40", "same_every", "12", "likert", "", "ranking", "") {
		if value != "" {
			fields.Set(name, value)
		}
	}
	path := post("/studies", fields)
	post(path+"/status", url.Values{"status": {"decoding"}})
	return path
}

// studyOutputs waits until the answers of a study are decoded, and returns them, but for spoilt ones.
func (c *sweepClient) studyOutputs(path string) (outputs []map[string]any) {
	c.d.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, page := c.get(path); strings.Contains(page, "Open for annotators") {
			break
		}
		if time.Now().After(deadline) {
			c.d.t.Fatalf("the study does not get ready:\n%s", c.d.log.String())
		}
	}
	_, text := c.get(path + "/export/ratings.jsonl")
	for line := range strings.Lines(text) {
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			c.d.t.Fatal(err)
		}
		if row["type"] == "output" && row["broken"] != true {
			outputs = append(outputs, row)
		}
	}
	return outputs
}

// TestStudyCrash kills the server and its worker again and again while a study is decoded: it gets ready, and every answer is
// there once. That they say what they would without is shown by the sweeps, which the same generator decodes.
func TestStudyCrash(t *testing.T) {
	d := newDaemon(t)
	d.start()
	defer func() { d.kill() }()
	c := &sweepClient{d: d}
	c.browse()
	const prompts = 40
	path := c.decodeStudy(strings.Join(dialogue(t, d, prompts), "\n"))
	for i := range 8 {
		time.Sleep(time.Duration(100+rand.IntN(400)) * time.Millisecond) // any moment will do
		if i%2 == 0 {
			d.kill()
			d.start()
			continue
		}
		for _, pid := range children(t, d.cmd.Process.Pid) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Logf("kill: %v", err)
			}
		}
	}
	seen := map[string]bool{}
	for _, o := range c.studyOutputs(path) {
		key := fmt.Sprint(o["prompt"], o["lambda"], o["sample"])
		if seen[key] || o["reason"] != "stop" && o["reason"] != "length" {
			t.Errorf("%v is there twice, or did not end", o)
		}
		seen[key] = true
	}
	if want := prompts * (5*2 + 1); len(seen) != want {
		t.Errorf("%d answers, want %d", len(seen), want)
	}
}
