package web

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"realign/web/templates"
)

// TestVerifyCrash verifies runs of the real program after its server and worker were killed: lanes that ended, one that was
// stopped, and one that was added later, so that other rows were decoded beside theirs. It needs the program, as TestCrash does.
func TestVerifyCrash(t *testing.T) {
	d := newDaemon(t)
	d.start()
	b := newBrowser(d)
	b.open(t)
	var paths []string
	for i := range 4 {
		paths = append(paths, b.shared(t, i))
	}
	d.kill()
	d.start()
	defer d.kill()
	for _, path := range paths {
		var v templates.Verification
		if err := json.Unmarshal(b.form(t, path+"/verify"), &v); err != nil || !v.Identical {
			t.Fatalf("%s: %+v, %v", path, v, err)
		}
		t.Logf("%d tokens on %d lanes, numbers at most %.2g nats apart", v.Tokens, v.Lanes, v.Deviation)
	}
}

// shared decodes a run and returns the path of a link to it.
func (b *browser) shared(t *testing.T, seed int) string {
	t.Helper()
	k := &wire{t: t, conn: b.conn}
	lanes := []any{}
	for i := range 5 {
		lanes = append(lanes, map[string]any{"lambda": float64(i) / 2, "sample": i % 2})
	}
	k.send(map[string]any{"type": "start", "spec": map[string]any{
		"pair": "demo", "prompt": "What did you think of the film?", "mode": "chat", "seed": fmt.Sprint(seed), "lanes": lanes, "alternatives": 5,
		"sampling": map[string]any{"max_tokens": 60, "temperature": float64(seed) / 2, "top_p": 0.95, "stop": []string{"zebra"}, "ignore_end": true},
	}})
	tr := newTrack(k.want("started").Run)
	for tr.seq < 40 {
		k.take(tr)
	}
	k.send(map[string]any{"type": "stop", "run": tr.run, "lane": 2})
	k.send(map[string]any{"type": "lambda", "run": tr.run, "lane": 1, "lambda": 1.75})
	for len(tr.ended) < len(lanes) {
		k.take(tr)
	}
	k.send(map[string]any{"type": "lanes", "run": tr.run, "lanes": []any{map[string]any{"lambda": 0.25}}})
	for len(tr.ended) < len(lanes)+1 {
		k.take(tr)
	}
	var made struct{ URL string }
	for deadline := time.Now().Add(10 * time.Second); made.URL == "" && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		_ = json.Unmarshal(b.form(t, "/runs/"+tr.run+"/share"), &made)
	}
	u, err := url.Parse(made.URL)
	if err != nil || !strings.HasPrefix(u.Path, "/c/") {
		t.Fatalf("no link: %+v", made)
	}
	return u.Path
}

// form sends an empty form as a program does and returns the answer.
func (b *browser) form(t *testing.T, path string) []byte {
	t.Helper()
	client := &http.Client{Jar: b.jar}
	page, err := client.Get(b.base + "/studies/new")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(page.Body)
	page.Body.Close()
	r, _ := http.NewRequest(http.MethodPost, b.base+path, nil)
	r.Header.Set(csrfHeader, string(formToken.FindSubmatch(text)[1]))
	r.Header.Set("Accept", "application/json")
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	said, _ := io.ReadAll(answer.Body)
	return said
}
