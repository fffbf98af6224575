package web

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestForgedSessionIsFoundOut imports a session whose words, but not their token ids, were changed: its page says that it
// was changed, and verifying it finds the first difference. One without a signature says imported until it is verified.
func TestForgedSessionIsFoundOut(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	made := p.ran(nil)
	w.settled(p, made.Run)
	file := p.get("/sessions/"+made.Session+"/export", 200)
	if !strings.Contains(file, `"seal":{"digest":"`) {
		t.Fatal("what was decoded here is exported without a signature")
	}
	text := regexp.MustCompile(`"text":"[a-z]+"`).FindString(file)
	for name, c := range map[string]struct{ file, origin, verdict, after string }{
		"unchanged": {file, `data-origin="here"`, `"identical":true`, "found it as shown"},
		"unsigned":  {regexp.MustCompile(`,"seal":\{[^}]*\}`).ReplaceAllString(file, ""), `data-origin="unsigned"`, `"identical":true`, "found it as shown"},
		"forged":    {strings.Replace(file, text, `"text":"forged"`, 1), `data-origin="altered"`, `"what":"text"`, "It has not been verified here"},
	} {
		answer, body := p.do("POST", "/sessions/import", strings.NewReader(c.file), "Content-Type", "application/json", csrfHeader, p.csrf)
		session := regexp.MustCompile(`"session":"([a-z0-9]+)"`).FindStringSubmatch(body)
		if answer.StatusCode != http.StatusCreated || session == nil {
			t.Fatalf("%s: %d %s", name, answer.StatusCode, body)
		}
		runs, err := w.store.Runs(t.Context(), p.ownerID(), session[1])
		if err != nil || len(runs) != 1 {
			t.Fatal(runs, err)
		}
		_, body = p.do("POST", "/runs/"+runs[0].ID+"/share", nil, csrfHeader, p.csrf, "X-Requested-With", "fetch")
		path := regexp.MustCompile(`/c/[\w-]{22}`).FindString(body)
		if page := p.get(path, 200); !strings.Contains(page, c.origin) {
			t.Errorf("%s: the page does not say %s", name, c.origin)
		}
		if _, body = p.do("POST", path+"/verify", nil, csrfHeader, p.csrf, "X-Requested-With", "fetch"); !strings.Contains(body, c.verdict) {
			t.Errorf("%s: %s", name, body)
		}
		if page := strings.Join(strings.Fields(p.get(path, 200)), " "); !strings.Contains(page, c.after) {
			t.Errorf("%s: verified, the page does not say %q", name, c.after)
		}
	}
	if key := p.get("/key", 200); !strings.Contains(file, regexp.MustCompile(`"key":"[^"]+"`).FindString(key)) {
		t.Errorf("the file is signed by another key than %s", key)
	}
}
