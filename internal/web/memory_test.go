package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"realign/internal/study"
)

// maxMemory is what the web process may take, whatever comes in. Its worker, which holds the models, is another process.
const maxMemory = 600 << 20

// TestMemoryWhateverComesIn sends the real program what unfolds most, and looks at the peak of its memory after each. It
// needs the program, as TestCrash does, and /proc.
func TestMemoryWhateverComesIn(t *testing.T) {
	if _, err := os.Stat("/proc/self/clear_refs"); err != nil {
		t.Skip("the peak of a process's memory is read from /proc")
	}
	for _, c := range []struct {
		name string
		send func(*testing.T, *daemon, *browser)
	}{
		{"a session of empty runs", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/sessions/import", "s.json", repeated(`{"format":"realign-session","version":1,"runs":[{}`, `,{}`, 60<<20, `]}`), nil)
		}},
		{"a session of empty events", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/sessions/import", "s.json", repeated(strings.TrimSuffix(smallSession, `]}]}`)+`,{"type":"prompt"}`, `,{"type":"prompt"}`, 60<<20, `]}]}`), nil)
		}},
		{"a session of empty lanes", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/sessions/import", "s.json", repeated(`{"runs":[{"spec":{"lanes":[{}`, `,{}`, 60<<20, `]}}]}`), nil)
		}},
		{"a study of empty lines", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/studies/import", "s.jsonl", repeated(`{"type":"study"}`, "\n{}", 60<<20, "\n"), nil)
		}},
		{"a study's lists", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/studies/import", "s.jsonl", repeated(`{"type":"study","setup":{"grid":[0`, ",0", 3<<20, "]}}\n"), nil)
		}},
		{"prompts of a letter each", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/studies", "p.txt", repeated("", "a\n", 8<<20, ""), nil)
		}},
		{"a row of prompts", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/studies", "p.jsonl", repeated(`{"turns":[""`, `,""`, 8<<20-64, `]}`), nil)
		}},
		{"a table of empty cells", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/studies", "p.csv", repeated("prompt", ",x", 1<<10, repeated("\n", strings.Repeat(",", 511)+"\n", 7<<20, "")), nil)
		}},
		{"as many short prompts as are read", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/studies", "p.txt", repeated("", "a\n", 480<<10, ""), nil)
		}},
		{"as many cells as are read", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/studies", "p.csv", repeated("prompt", ",x", 1022, repeated("\n", strings.Repeat("a,", 511)+"a\n", 3900<<10, "")), nil)
		}},
		{"as many objects as are read", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/studies", "p.jsonl", repeated("", `{"prompt":"a"}`+"\n", 3400<<10, ""), nil)
		}},
		{"a study of long prompts", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/studies", "p.txt", repeated("", strings.Repeat("word ", 800)+"\n", 7<<20, ""), largeStudy)
		}},
		{"a study of ratings", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/studies/import", "s.jsonl", manyRatings(120<<20), nil)
		}},
		{"a study of long prompts, exported", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/studies/import", "s.jsonl", longPrompts(120<<20), nil)
		}},
		{"prompts of a sweep", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/sweeps", "p.txt", repeated("", "a\n", 60<<20, ""), sweepFields)
		}},
		{"a list of a sweep", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/sweeps", "p.json", repeated("[1", ",1", 60<<20, "]"), sweepFields)
		}},
		{"long prompts of a sweep", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/sweeps", "p.txt", repeated("", strings.Repeat("word ", 40)+"\n", 7<<20, ""), sweepFields)
		}},
		{"sweeps of long prompts, one after the other", func(t *testing.T, d *daemon, b *browser) {
			for range 6 {
				b.upload(t, "/sweeps", "p.txt", repeated("", strings.Repeat("word ", 40)+"\n", 7<<20, ""), sweepFields)
			}
		}},
		{"a configuration of dashes", func(t *testing.T, d *daemon, b *browser) {
			b.upload(t, "/sweeps", "", "", map[string]string{"config": repeated("", strings.Repeat("- ", 4000)+"a\n", 9<<20, "")})
		}},
		{"a form of fields", func(t *testing.T, d *daemon, b *browser) {
			b.post(t, "/studies", "application/x-www-form-urlencoded", repeated("a", "&a", 9<<20, ""))
		}},
		{"twelve uploads at once", func(t *testing.T, d *daemon, b *browser) {
			var wait sync.WaitGroup
			for i := range 12 {
				wait.Go(func() {
					if i%2 == 0 {
						b.upload(t, "/studies", "p.csv", repeated("prompt\n", `"`+strings.Repeat("words, ", 600)+"\"\n", 7<<20, ""), nil)
					} else {
						b.upload(t, "/sweeps", "p.txt", repeated("", strings.Repeat("word ", 40)+"\n", 7<<20, ""), sweepFields)
					}
				})
			}
			wait.Wait()
		}},
		{"messages of nothing", func(t *testing.T, d *daemon, b *browser) {
			b.post(t, "/v1/chat/completions", "application/json", repeated(`{"model":"demo","messages":[{}`, ",{}", 8<<20-64, "]}"))
		}},
		{"calls of all kinds, a hundred at once", func(t *testing.T, d *daemon, b *browser) {
			bodies := []struct{ path, body string }{
				{"/v1/chat/completions", repeated(`{"model":"demo","messages":[{"role":"user","content":[{}`, `,{"type":"text","text":"a"}`, 8<<20-64, "]}]}")},
				{"/v1/completions", repeated(`{"model":"demo","max_tokens":1,"prompt":[[1`, ",1],[1", 8<<20-64, "]]}")},
				{"/v1/completions", repeated(`{"model":"demo","max_tokens":1,"prompt":[1`, ",1", 8<<20-64, "]}")},
				{"/v1/completions", repeated(`{"model":"demo","max_tokens":1,"prompt":"`, "words ", 8<<20-64, `"}`)},
				{"/v1/score", repeated(`{"model":"demo","prompt":["`, `a","`, 200<<10, `"]}`)},
				{"/tokenize", repeated(`{"prompt":"`, "words ", 8<<20-64, `"}`)},
				{"/detokenize", repeated(`{"tokens":[1`, ",1", 500<<10, "]}")},
			}
			var wait sync.WaitGroup
			for i := range 100 {
				wait.Go(func() {
					c := bodies[i%len(bodies)]
					answer, err := http.Post(b.base+c.path, "application/json", strings.NewReader(c.body))
					if err != nil { // it was refused before all was sent
						return
					}
					_, _ = io.Copy(io.Discard, answer.Body)
					answer.Body.Close()
				})
			}
			wait.Wait()
		}},
		{"a hundred sockets", func(t *testing.T, d *daemon, b *browser) { flood(t, d) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDaemon(t)
			d.start("--queue=64")
			defer d.kill()
			b := newBrowser(d)
			b.open(t)
			defer b.conn.Close()
			began := time.Now()
			c.send(t, d, b)
			peak := d.peak()
			t.Logf("peak %d MiB, %v", peak>>20, time.Since(began).Round(time.Millisecond))
			if peak > maxMemory {
				t.Errorf("the server took %d MiB", peak>>20)
			}
			if answer, err := http.Get(b.base + "/healthz"); err != nil || answer.StatusCode != http.StatusOK {
				t.Errorf("it does not serve any more: %v", err)
			}
		})
	}
}

// smallSession is a session that imports.
const smallSession = `{"format":"realign-session","version":1,"title":"t","created_at":"2026-01-01T00:00:00Z","runs":[
{"spec":{"pair":"demo","aligned":["warm"],"prompt":"p","mode":"chat","lanes":[{"lane":0,"lambda":1,"sample":0}],
"sampling":{"max_tokens":3,"temperature":1,"top_p":1},"seed":"1"},"created_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:00Z","events":[
{"type":"end","lane":0,"reason":"stop"}]}]}`

// sweepFields ask for a sweep, prompts apart.
var sweepFields = map[string]string{
	"name": "memory", "pair": "demo:warmth-b0.1", "from": "0", "to": "1", "points": "3", "samples": "1", "max_tokens": "8", "reward": "readability", "objective": "readability",
}

// largeStudy are the fields of a study, prompts apart.
var largeStudy = map[string]string{
	"title": "memory", "pair": "demo/warmth-b0.1", "grid": "0, 1", "samples": "1", "max_tokens": "8", "temperature": "1", "top_k": "0", "top_p": "1",
	"min_p": "0", "mode": "chat", "pairwise": "on", "overlap": "1", "cap": "0", "same_every": "0", "broken_every": "0", "scheme": "balanced",
}

// exportedStudy is the first line of an exported study.
const exportedStudy = `{"type":"study","format":"realign-study","version":1,"setup":{"title":"t","pair":"demo","aligned":"warm","mode":"chat","grid":[0,1],"samples":1,` +
	`"sampling":{"max_tokens":8,"temperature":1,"top_p":1},"seed":"1","pairwise":true,"overlap":1,"cap":0,"scheme":"balanced"},"beta":0,"files":[],"build":"b","created_at":"2026-01-01T00:00:00Z"}` + "\n"

// manyRatings is an exported study of about so many bytes, nearly all of them ratings.
func manyRatings(size int) string {
	var b strings.Builder
	b.WriteString(exportedStudy + `{"type":"prompt","place":1,"line":1,"prompt":"p"}
{"type":"output","id":"1","prompt":1,"lambda":0,"sample":0,"seed":"1","text":"a"}
{"type":"output","id":"2","prompt":1,"lambda":1,"sample":0,"seed":"1","text":"b"}
`)
	for n := 0; b.Len() < size; n++ {
		fmt.Fprintf(&b, `{"type":"rating","item":"%d","question":"pairwise","prompt":1,"shown":["1","2"],"lambda":[0,1],"annotator":"n%d",`+
			`"asked_at":"2026-01-01T00:00:00Z","at":"2026-01-01T00:00:00Z","answer":{"choice":"a"}}`+"\n", n/1000, n%1000)
	}
	return b.String()
}

// longPrompts is an exported study of about so many bytes, nearly all of them prompts: as many as a study may have.
func longPrompts(size int) string {
	var b strings.Builder
	b.WriteString(exportedStudy)
	text := strings.Repeat("word ", size/study.MaxPrompts/5)
	for n := range study.MaxPrompts {
		fmt.Fprintf(&b, `{"type":"prompt","place":%d,"line":%d,"prompt":"%s"}`+"\n", n+1, n+1, text)
	}
	return b.String()
}

// repeated is a text of about so many bytes.
func repeated(head, unit string, size int, tail string) string {
	return head + strings.Repeat(unit, size/len(unit)) + tail
}

// peak is the most memory that the web process has held, in bytes.
func (d *daemon) peak() int64 {
	d.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		d.t.Fatalf("the server is gone: %v\n%s", err, d.log.String())
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(data)
	if m == nil {
		d.t.Fatalf("the server is gone:\n%.2000s", d.log.String())
	}
	n, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return n << 10
}

var formToken = regexp.MustCompile(`name="_csrf" value="([^"]+)"`)

// upload sends a form with a file, if it has a name. Any answer will do: its beginning is returned.
func (b *browser) upload(t *testing.T, path, name, content string, fields map[string]string) []byte {
	t.Helper()
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() {
		for field, value := range fields {
			_ = form.WriteField(field, value)
		}
		if name != "" {
			part, _ := form.CreateFormFile("file", name)
			_, _ = io.WriteString(part, content)
		}
		_ = w.CloseWithError(form.Close())
	}()
	return b.request(t, path, form.FormDataContentType(), r)
}

func (b *browser) post(t *testing.T, path, kind, content string) {
	t.Helper()
	b.request(t, path, kind, strings.NewReader(content))
}

func (b *browser) request(t *testing.T, path, kind string, body io.Reader) []byte {
	t.Helper()
	client := &http.Client{Jar: b.jar}
	page, err := client.Get(b.base + "/studies/new")
	if err != nil {
		t.Error(err)
		return nil
	}
	text, _ := io.ReadAll(page.Body)
	page.Body.Close()
	token := formToken.FindSubmatch(text)
	if token == nil {
		t.Error("the page has no form")
		return nil
	}
	r, _ := http.NewRequest(http.MethodPost, b.base+path, body)
	r.Header.Set("Content-Type", kind)
	r.Header.Set(csrfHeader, string(token[1]))
	r.Header.Set("Accept", "application/json")
	answer, err := client.Do(r)
	if err != nil { // it was refused before all was sent
		t.Logf("%s: %v", path, err)
		return nil
	}
	said, _ := io.ReadAll(io.LimitReader(answer.Body, 300))
	answer.Body.Close()
	t.Logf("%s: %d %s", path, answer.StatusCode, said)
	return said
}

// flood has a hundred sockets send frames of a MiB that unfold to as much as they can.
func flood(t *testing.T, d *daemon) {
	lanes := repeated(`{"type":"start","spec":{"lanes":[{}`, `,{}`, 1<<20-64, `]}}`)
	prompt := `{"type":"start","spec":{"pair":"demo","mode":"chat","prompt":"` + strings.Repeat("x", 200<<10) +
		`","history":[{"role":"user","content":"` + strings.Repeat("y", 700<<10) + `"}],"lanes":[{"lambda":1}],"sampling":{"max_tokens":4,"top_p":1}}}`
	var wait sync.WaitGroup
	for i := range 100 {
		b := newBrowser(d) // an owner of its own: guests of one network get fewer sockets
		b.open(t)
		conn := b.conn
		wait.Go(func() {
			defer conn.Close()
			read := make(chan struct{}) // closed when the server has read all, or has given up
			all := sync.OnceFunc(func() { close(read) })
			conn.SetPongHandler(func(string) error { all(); return nil })
			go func() {
				defer all()
				for {
					if _, r, err := conn.NextReader(); err != nil {
						return
					} else {
						_, _ = io.Copy(io.Discard, r)
					}
				}
			}()
			frame := []byte(lanes)
			if i%2 == 1 {
				frame = []byte(prompt)
			}
			for range 10 {
				if err := conn.WriteMessage(websocket.TextMessage, bytes.Clone(frame)); err != nil {
					return
				}
			}
			if conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)) == nil {
				<-read
			}
		})
	}
	wait.Wait()
}

// TestMemoryOfALargeSession: what the server exports it imports, however large, and neither takes much memory. It needs the program,
// as TestCrash does.
func TestMemoryOfALargeSession(t *testing.T) {
	d := newDaemon(t)
	d.start()
	defer d.kill()
	b := newBrowser(d)
	b.open(t)
	defer b.conn.Close()
	k := &wire{t: t, conn: b.conn}
	lanes := make([]any, 8)
	for i := range lanes {
		lanes[i] = map[string]any{"lambda": float64(i) / 4}
	}
	made := k.start(map[string]any{"pair": "demo", "prompt": "Hello?", "mode": "chat", "seed": "1", "alternatives": 10, "lanes": lanes,
		"sampling": map[string]any{"max_tokens": 200, "temperature": 1, "top_p": 1, "ignore_end": true}})
	k.await(`"type":"stats"`)
	client := &http.Client{Jar: b.jar}
	export := func(id string) []byte {
		t.Helper()
		answer, err := client.Get(b.base + "/sessions/" + id + "/export")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		data, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("the export: %d, %v, %.300s", answer.StatusCode, err, data)
		}
		return data
	}
	var small map[string]json.RawMessage
	var runs []json.RawMessage
	if err := json.Unmarshal(export(made.Session), &small); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(small["runs"], &runs); err != nil || len(runs) != 1 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	copies := slices.Repeat(runs, 90<<20/len(runs[0]))
	small["runs"], _ = json.Marshal(copies)
	file, _ := json.Marshal(small)
	for _, what := range []string{"a copy", "the export of the copy"} {
		var imported struct{ Session string }
		said := b.upload(t, "/sessions/import", "s.json", string(file), nil)
		if err := json.Unmarshal(said, &imported); err != nil || imported.Session == "" {
			t.Fatalf("%s of %d MiB is not imported: %s", what, len(file)>>20, said)
		}
		if file = export(imported.Session); len(file) < 78<<20 {
			t.Errorf("%s has %d MiB left", what, len(file)>>20)
		}
	}
	if peak := d.peak(); peak > maxMemory {
		t.Errorf("the server took %d MiB", peak>>20)
	}
}
