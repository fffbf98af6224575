package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"realign/internal/apikey"
	"realign/internal/store/storetest"
	"realign/internal/sweep"
)

// TestSomebodyElsesThings tries every route that names something with the id of something of somebody else's, as another
// owner and as nobody: whatever a route is added for, it is tried here. None opens it, and none changes it.
func TestSomebodyElsesThings(t *testing.T) {
	w := newWorld(t, setup{})
	ann := w.person()
	made := ann.ran(nil)
	share, _ := ann.shared(made)
	study, _ := w.openStudy(ann, studyFields())
	swept := ann.swept("annssweep0000000000000", 2, 1, sweep.Done, nil)
	key, secret, err := apikey.New("of ann", ann.ownerID(), time.Time{}, apikey.Limits{}, w.clock.now())
	if err == nil {
		err = w.store.CreateKey(t.Context(), key, apikey.Hash(secret))
	}
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{
		"/s/": made.Session, "/sessions/": made.Session, "/runs/": made.Run, "/shares/": share, "/studies/": study, "/sweeps/": swept.ID, "/keys/": key.ID,
	}
	before := map[string]string{}
	ann.get("/studies", 200) // takes the note of what was done last
	pages := []string{"/s/" + made.Session, "/shares", "/studies/" + study, "/sweeps/" + swept.ID, "/sessions", "/keys"}
	for _, path := range pages {
		before[path] = ann.get(path, 200)
	}
	tries := 0
	other, nobody := w.person(), w.strangers()
	for _, r := range w.handler.(*echo.Echo).Routes() {
		if !strings.Contains(r.Path, ":id") {
			continue
		}
		path := ""
		for beginning, id := range ids {
			if strings.HasPrefix(r.Path, beginning) {
				path = strings.Replace(r.Path, ":id", id, 1)
			}
		}
		if path == "" {
			t.Errorf("%s %s: nothing of this kind is tried", r.Method, r.Path)
			continue
		}
		path = strings.NewReplacer(":file", "ratings.csv", ":n", "0").Replace(path)
		for who, p := range map[string]*person{"another": other, "nobody": nobody} {
			form := url.Values{csrfField: {p.csrf}, "title": {"taken"}, "status": {"closed"}, "pinned": {"1"}, "expires_at": {"2999-01-01"}}
			for name, value := range studyFields() {
				form.Set(name, value)
			}
			answer, body := p.do(r.Method, path, strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
			tries++
			if answer.StatusCode != http.StatusNotFound && answer.StatusCode != http.StatusForbidden {
				t.Errorf("%s as %s: %s %s: %d %.300s", r.Path, who, r.Method, path, answer.StatusCode, body)
			}
		}
	}
	for _, path := range []string{"/?session=" + made.Session, "/?run=" + made.Run, "/sweeps/new?from=" + swept.ID, "/sweeps/compare?a=" + swept.ID + "&b=" + swept.ID} {
		for who, p := range map[string]*person{"another": other, "nobody": nobody} {
			answer, body := p.do("GET", path, nil)
			tries++
			if answer.StatusCode == http.StatusOK && (strings.Contains(body, made.Session) || strings.Contains(body, storetest.NewSweep(swept.ID, "", 2, swept.Created).Setup.Config.Prompts.Rows[0].Text)) {
				t.Errorf("as %s: GET %s shows it", who, path)
			}
		}
	}
	k := other.dial()
	for i, frame := range []map[string]any{
		{"type": "watch", "run": made.Run}, {"type": "lambda", "run": made.Run, "lane": 0, "lambda": 1}, {"type": "stop", "run": made.Run},
		{"type": "lanes", "run": made.Run, "lanes": []any{map[string]any{"lambda": 1}}},
		{"type": "start", "session": made.Session, "spec": map[string]any{"pair": "table", "prompt": "x", "mode": "plain", "lanes": []any{map[string]any{"lambda": 1}}, "sampling": map[string]any{"max_tokens": 2, "top_p": 1}}},
		{"type": "start", "spec": map[string]any{"pair": "table", "prompt": "x", "mode": "plain", "parent": map[string]any{"run": made.Run, "lane": 0}, "lanes": []any{map[string]any{"lambda": 1}}, "sampling": map[string]any{"max_tokens": 2, "top_p": 1}}},
	} {
		frame["ref"] = fmt.Sprint(i)
		k.send(frame)
		tries++
		for {
			m, err := k.next()
			if err != nil {
				t.Fatalf("frame %v: %v", frame, err)
			}
			if m.Type == "error" && m.Ref == fmt.Sprint(i) {
				break
			}
			if m.Type == "started" || m.Type == "events" || m.Type == "lanes" {
				t.Errorf("frame %v is answered with %s", frame, m.Type)
				break
			}
		}
	}
	for _, path := range pages {
		if ann.get(path, 200) != before[path] {
			t.Errorf("%s is not what it was", path)
		}
	}
	t.Logf("soak: %d attempts at somebody else's things, none of which did anything", tries)
}
