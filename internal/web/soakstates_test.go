package web

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
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

// triedSchema has a JSON Schema tried that would take years.
func triedSchema(d *daemon) func() {
	d.start()
	client := &sweepClient{d: d}
	levels := `"d0":{"not":{"const":"never"}}`
	for i := 1; i <= 34; i++ {
		levels += fmt.Sprintf(`,"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i, i-1, i-1)
	}
	config := `{"pair":"demo","aligned":"length-b0.1","prompts":["Hello?"],"lambda":[0,1],"samples":1,"sampling":{"max_tokens":8,"temperature":1},` +
		`"rewards":[{"reward":"json","parameters":{"schema":{"$ref":"#/$defs/d34","$defs":{` + levels + `}}}}],"refine":{"rounds":0}}`
	form, ended := client.form(config), make(chan struct{})
	go func() {
		defer close(ended)
		if answer, err := client.http.PostForm("http://"+d.addr+"/sweeps", form); err == nil {
			answer.Body.Close()
		}
	}()
	d.works("reward") // it is being tried: that takes up to a limit of seconds
	select {
	case <-ended:
		d.t.Errorf("the schema was answered at once:\n%s", d.log.String())
	default:
	}
	return func() { <-ended }
}

// hangingTemplate has a prompt rendered by a chat template that would take minutes.
func hangingTemplate(d *daemon) func() {
	models := d.t.TempDir()
	copyPair(d.t, filepath.Join(filepath.Dir(filepath.Dir(d.program)), "models", "demo"), models, "demo")
	folder := filepath.Join(models, "demo")
	manifest, err := os.ReadFile(filepath.Join(folder, "pair.json"))
	if err == nil {
		manifest = bytes.Replace(manifest, []byte(`"title":`), []byte(`"template": "slow.jinja", "title":`), 1)
		err = os.WriteFile(filepath.Join(folder, "pair.json"), manifest, 0o600)
	}
	loops := "<|im_start|>{% for i in range(60000) %}{% for j in range(60000) %}{% endfor %}{% endfor %}"
	if err := cmp.Or(err, os.WriteFile(filepath.Join(folder, "slow.jinja"), []byte(loops), 0o600)); err != nil {
		d.t.Fatal(err)
	}
	d.start("--models=" + models)
	b := newBrowser(d)
	b.open(d.t)
	if err := b.conn.WriteJSON(map[string]any{"type": "start", "spec": map[string]any{
		"pair": "demo", "prompt": "Hello?", "mode": "chat", "seed": "1", "lanes": []any{map[string]any{"lambda": 0.5}},
		"sampling": map[string]any{"max_tokens": 20, "temperature": 1, "top_p": 1},
	}}); err != nil {
		d.t.Fatal(err)
	}
	d.works("template") // it is being rendered
	return nil
}

// works waits until a confined process of a program has computed for a fifth of a second, as none does that has an answer.
func (d *daemon) works(program string) {
	d.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		own := children(d.t, d.cmd.Process.Pid)
		for _, pid := range own[:len(own):len(own)] {
			own = append(own, children(d.t, pid)...) // of a worker
		}
		for _, pid := range own {
			command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if err == nil && bytes.HasPrefix(command, []byte("realign-sandbox:"+program)) && ticks(pid) >= 20 {
				return
			}
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("no %s is at work:\n%s", program, d.log.String())
		}
	}
}

// ticks is the time that a process has computed itself, in hundredths of a second.
func ticks(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, ok := strings.Cut(string(stat), ") ")
	if fields := strings.Fields(rest); err == nil && ok && len(fields) > 11 {
		n, _ := strconv.Atoi(fields[11])
		return n
	}
	return 0
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
