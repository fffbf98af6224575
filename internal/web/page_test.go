package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gpu"
	"realign/internal/id"
	"realign/internal/pair"
	"realign/internal/run"
	"realign/internal/session"
	"realign/internal/title"
	"realign/web/templates"
)

// ran is a finished run of a person's.
func (p *person) ran(change func(map[string]any)) message {
	p.w.t.Helper()
	k := p.dial()
	defer k.close()
	s := spec(8, 0, 1)
	if change != nil {
		change(s)
	}
	started := k.start(s)
	k.follow(newTrack(started.Run), 2)
	p.w.settled(p, started.Run)
	return started
}

// settled waits until a run's status is saved, which is just after its last event is.
func (w *world) settled(p *person, runID string) {
	w.t.Helper()
	for {
		r, err := w.store.Run(w.t.Context(), p.owner(), runID)
		if err != nil {
			w.t.Fatal(err)
		}
		if r.Status != run.Running {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (p *person) owner() string {
	for _, c := range p.http.Jar.Cookies(mustParse(p.w.http.URL)) {
		if c.Name == ownerCookie {
			return ownerID(c.Value)
		}
	}
	p.w.t.Fatal("no owner cookie")
	return ""
}

var refreshed = regexp.MustCompile(`<script>alert`)

func TestPagesShowWhatWasDecoded(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	const hostile = `<script>alert(1)</script>"'&`
	made := p.ran(func(s map[string]any) { s["prompt"] = hostile + "abc" })
	for _, path := range []string{
		"/", "/?session=" + made.Session, "/?run=" + made.Run, "/s/" + made.Session, "/s/" + made.Session + "?run=" + made.Run,
		"/sessions", "/sessions?q=alert", "/shares", "/pairs", "/pairs/table",
	} {
		answer, body := p.do("GET", path, nil)
		if answer.StatusCode != 200 || refreshed.MatchString(body) || !strings.Contains(body, "</html>") {
			t.Errorf("%s: %d, markup of a user: %v", path, answer.StatusCode, refreshed.MatchString(body))
		}
		h := answer.Header
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'self'", "X-Content-Type-Options": "nosniff",
			"Cache-Control": "no-store", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY",
		} {
			if !strings.Contains(h.Get(name), want) {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
		if strings.Contains(body, " style=\"") || regexp.MustCompile(`<script[^>]*>[^<]`).MatchString(withoutJSON(body)) || regexp.MustCompile(` on[a-z]+="`).MatchString(body) {
			t.Errorf("%s: something inline that the policy forbids", path)
		}
	}
	if body := p.get("/sessions?q=nothing-like-it", 200); strings.Contains(body, made.Session) {
		t.Error("a search finds what does not match")
	}
	if w.get404(w.person(), "/s/"+made.Session, "/sessions/"+made.Session+"/export", "/?run="+made.Run, "/?session="+made.Session) {
		t.Error("somebody else's session is shown")
	}
}

// withoutJSON leaves out data blocks, which are not scripts.
func withoutJSON(body string) string {
	return regexp.MustCompile(`(?s)<script[^>]*type="application/json"[^>]*>.*?</script>`).ReplaceAllString(body, "")
}

func (w *world) get404(p *person, paths ...string) (bad bool) {
	for _, path := range paths {
		if answer, _ := p.do("GET", path, nil); answer.StatusCode != http.StatusNotFound {
			w.t.Logf("%s: %d", path, answer.StatusCode)
			bad = true
		}
	}
	return bad
}

func TestSessionsAreRenamedDeletedAndRestored(t *testing.T) {
	w := newWorld(t, setup{})
	p, other := w.person(), w.person()
	made := p.ran(nil)
	path := "/sessions/" + made.Session
	for _, action := range []string{"/rename", "/delete", "/restore"} {
		if answer, _ := other.post(path+action, http.StatusNotFound, "title", "mine"); answer == nil {
			t.Fatal()
		}
	}
	p.post(path+"/rename", http.StatusSeeOther, "title", "A <b>new</b> name")
	if body := p.get("/sessions", 200); !strings.Contains(body, "A &lt;b&gt;new&lt;/b&gt; name") || !strings.Contains(body, "The session is renamed.") {
		t.Error("the new name or the note is not shown")
	}
	if body := p.get("/sessions", 200); strings.Contains(body, "The session is renamed.") {
		t.Error("the note is shown twice")
	}
	for next, want := range map[string]string{"/s/" + made.Session: "/s/" + made.Session, "//evil.example": "/", "": "/sessions"} {
		if answer, _ := p.post(path+"/rename", http.StatusSeeOther, "title", "x", "next", next); answer.Header.Get("Location") != want {
			t.Errorf("renamed with next %q: sent on to %s", next, answer.Header.Get("Location"))
		}
	}
	if _, body := p.do("POST", path+"/rename", strings.NewReader(url.Values{"title": {" a\n b "}}.Encode()), "Accept", "application/json",
		"Content-Type", "application/x-www-form-urlencoded", csrfHeader, p.csrf); !strings.Contains(body, `"title":"a b"`) {
		t.Errorf("a program is not told the title as it is kept: %s", body)
	}
	p.post(path+"/rename", http.StatusBadRequest, "title", " ")
	p.post(path+"/rename", http.StatusBadRequest, "title", strings.Repeat("x", title.Max+1))
	p.post(path+"/delete", http.StatusSeeOther)
	if body := p.get("/sessions", 200); !strings.Contains(body, path+"/restore") {
		t.Error("deleting cannot be undone")
	}
	w.get404(p, "/s/"+made.Session)
	p.post(path+"/delete", http.StatusNotFound)
	p.post(path+"/restore", http.StatusSeeOther)
	p.get("/s/"+made.Session, 200)
}

func TestDeletingASessionStopsWhatRunsInIt(t *testing.T) {
	w := newWorld(t, setup{delay: 5 * time.Millisecond})
	p, other := w.person(), w.person()
	k, theirs := p.dial(), other.dial()
	made := k.start(spec(1900, 0, 1))
	kept := theirs.start(spec(1900, 0))
	other.post("/sessions/"+made.Session+"/delete", http.StatusNotFound)
	p.post("/sessions/"+made.Session+"/delete", http.StatusSeeOther)
	w.until(func() bool { return w.models.engine.Counters().Lanes == 1 })
	p.post("/sessions/"+made.Session+"/restore", http.StatusSeeOther)
	w.settled(p, made.Run)
	if r, err := w.store.Run(t.Context(), p.owner(), made.Run); err != nil || r.Status != run.Ended {
		t.Errorf("the run of a session that was deleted and restored: %+v, %v", r, err)
	}
	theirs.send(map[string]any{"type": "stop", "run": kept.Run})
	tr := newTrack(kept.Run)
	theirs.follow(tr, 1)
	if tr.ended[0] != decode.EndCancelled {
		t.Errorf("somebody else's lane ended with %q", tr.ended[0])
	}
}

func TestFormsNeedTheirToken(t *testing.T) {
	w := newWorld(t, setup{})
	p, other := w.person(), w.person()
	made := p.ran(nil)
	for _, path := range []string{
		"/sessions/" + made.Session + "/rename", "/sessions/" + made.Session + "/delete", "/sessions/" + made.Session + "/restore",
		"/sessions/import", "/runs/" + made.Run + "/share", "/shares/x/revoke", "/shares/x/expire",
	} {
		for name, token := range map[string]string{"none": "", "another's": other.csrf, "nonsense": "x"} {
			form := url.Values{"title": {"taken over"}}
			if token != "" {
				form.Set(csrfField, token)
			}
			answer, body := p.do("POST", path, strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
			if answer.StatusCode != http.StatusForbidden || !strings.Contains(body, "load the page again") {
				t.Errorf("%s with %s token: %d", path, name, answer.StatusCode)
			}
		}
		for _, header := range [][]string{
			{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"},
			{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1"},
		} {
			answer, _ := p.do("POST", path, strings.NewReader(""), append(header, csrfHeader, p.csrf)...)
			if answer.StatusCode != http.StatusForbidden {
				t.Errorf("%s from %v: %d", path, header, answer.StatusCode)
			}
		}
	}
	if body := p.get("/sessions", 200); strings.Contains(body, "taken over") {
		t.Error("a forged form was obeyed")
	}
}

func TestErrorsAreAPageForPeopleAndJSONForPrograms(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/nowhere", 404, "not_found"},
		{"GET", "/s/none", 404, "not_found"},
		{"GET", "/?run=none", 404, "not_found"},
		{"GET", "/?from=x", 400, "invalid"},
		{"GET", "/?from=c:none", 404, "not_found"},
		{"GET", "/c/none", 404, "not_found"},
		{"GET", "/pairs/none", 404, "not_found"},
		{"GET", "/sessions?after=none", 400, "invalid"},
		{"GET", "/sessions?q=" + strings.Repeat("x", session.MaxSearch+1), 400, "invalid"},
		{"GET", "/static/none.js", 404, "not_found"},
		{"GET", "/static/../server.go", 404, "not_found"},
		{"DELETE", "/sessions", 405, "invalid"},
		{"POST", "/runs/none/share", 404, "not_found"},
		{"POST", "/shares/none/revoke", 404, "not_found"},
	} {
		page, body := p.do(c.method, c.path, nil, csrfHeader, p.csrf, "Accept", "text/html,*/*")
		if page.StatusCode != c.status || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s %s: %d %s", c.method, c.path, page.StatusCode, page.Header.Get("Content-Type"))
		}
		answer, text := p.do(c.method, c.path, nil, csrfHeader, p.csrf, "Accept", "application/json")
		var e struct{ Code, Message string }
		if err := json.Unmarshal([]byte(text), &e); err != nil || answer.StatusCode != c.status || e.Code != c.code || e.Message == "" {
			t.Errorf("%s %s: %d %s", c.method, c.path, answer.StatusCode, text)
			continue
		}
		if !strings.Contains(body, escaped(e.Message)) {
			t.Errorf("%s %s: the page does not say %q", c.method, c.path, e.Message)
		}
	}
	w.models.busy = true
	made, token := p.shared(p.ranBefore())
	_ = made
	answer, body := p.do("POST", "/c/"+token+"/verify", nil, "X-Requested-With", "fetch")
	if answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") == "" || !strings.Contains(body, `"busy"`) {
		t.Errorf("busy: %d %s", answer.StatusCode, body)
	}
}

// escaped is a text as a page holds it.
func escaped(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(s)
}

// ranBefore makes a run while the decoder is not refusing.
func (p *person) ranBefore() message {
	p.w.models.setBusy(false)
	defer p.w.models.setBusy(true)
	return p.ran(nil)
}

func (d *tables) setBusy(busy bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy = busy
}

// shared makes a link to a run and returns the comparison's id and token.
func (p *person) shared(made message, fields ...string) (id, token string) {
	p.w.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	answer, body := p.do("POST", "/runs/"+made.Run+"/share", strings.NewReader(form.Encode()),
		"Content-Type", "application/x-www-form-urlencoded", csrfHeader, p.csrf, "Accept", "application/json")
	var out struct{ ID, URL string }
	if err := json.Unmarshal([]byte(body), &out); err != nil || answer.StatusCode != http.StatusCreated {
		p.w.t.Fatalf("share: %d %s", answer.StatusCode, body)
	}
	token, ok := strings.CutPrefix(out.URL, p.w.http.URL+"/c/")
	if !ok {
		p.w.t.Fatalf("share: %s", body)
	}
	return out.ID, token
}

func TestComparisonIsPublicUntilItIsWithdrawn(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	made := p.ran(func(s map[string]any) { s["prompt"] = "<script>alert(2)</script> abc" })
	linkID, token := p.shared(made, "title", "Two strengths")
	stranger := &person{w: w, http: &http.Client{}}
	decoded := w.models.engine.Counters().Tokens
	for range 2 {
		answer, body := stranger.do("GET", "/c/"+token, nil)
		if answer.StatusCode != 200 || refreshed.MatchString(body) || !strings.Contains(body, "Two strengths") {
			t.Fatalf("%d\n%.300s", answer.StatusCode, body)
		}
		if len(answer.Cookies()) != 0 || answer.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("cookies %v, referrer policy %q", answer.Cookies(), answer.Header.Get("Referrer-Policy"))
		}
		if !strings.Contains(body, `content="`+w.http.URL+"/c/"+token+`/picture.png"`) || !strings.Contains(body, "noindex") {
			t.Error("no preview for other sites, or robots are invited")
		}
		if strings.Contains(body, linkID) {
			t.Error("a stranger is shown what its owner may do")
		}
	}
	if body := p.get("/c/"+token, 200); !strings.Contains(body, linkID) {
		t.Error("its owner is not offered to revoke it")
	}
	answer, picture := stranger.do("GET", "/c/"+token+"/picture.png", nil)
	if _, err := png.Decode(strings.NewReader(picture)); err != nil || answer.Header.Get("Content-Type") != "image/png" {
		t.Errorf("picture: %d %v", answer.StatusCode, err)
	}
	if again, _ := stranger.do("GET", "/c/"+token+"/picture.png", nil, "If-None-Match", answer.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
		t.Errorf("picture again: %d", again.StatusCode)
	}
	answer, text := stranger.do("GET", "/c/"+token+".json", nil)
	if id.Digest([]byte(text)) != strings.Trim(answer.Header.Get("ETag"), `"`) {
		t.Error("the JSON is not the snapshot's canonical form")
	}
	if body := p.get("/?from=c:"+token, 200); !strings.Contains(body, "alert(2)") || refreshed.MatchString(body) {
		t.Error("it cannot be forked")
	}

	if after := w.models.engine.Counters().Tokens; after != decoded {
		t.Errorf("reading a comparison decoded %d tokens", after-decoded)
	}
	var v templates.Verification
	answer, text = stranger.do("POST", "/c/"+token+"/verify", nil, "X-Requested-With", "fetch")
	if err := json.Unmarshal([]byte(text), &v); err != nil || !v.Identical || v.Tokens != 16 || v.Lanes != 2 {
		t.Errorf("verify: %d %s", answer.StatusCode, text)
	}
	if answer, body := stranger.do("POST", "/c/"+token+"/verify", nil); answer.StatusCode != 200 || !strings.Contains(body, "</html>") {
		t.Errorf("verify by form: %d", answer.StatusCode)
	}
	w.models.mu.Lock()
	w.models.sum = strings.Repeat("6b", 32)
	w.models.mu.Unlock()
	if answer, text := stranger.do("POST", "/c/"+token+"/verify", nil, "X-Requested-With", "fetch"); answer.StatusCode != http.StatusConflict {
		t.Errorf("verify with other files: %d %s", answer.StatusCode, text)
	}

	gone := func(why string) {
		t.Helper()
		if w.get404(stranger, "/c/"+token, "/c/"+token+".json", "/c/"+token+"/picture.png") {
			t.Errorf("%s: it is still shown", why)
		}
		if answer, _ := stranger.do("POST", "/c/"+token+"/verify", nil); answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: verify %d", why, answer.StatusCode)
		}
	}
	w.person().post("/shares/"+linkID+"/revoke", http.StatusNotFound)
	p.post("/shares/"+linkID+"/expire", http.StatusBadRequest, "expires_at", "2020-01-01")
	for _, never := range []string{"0001-01-01", "0001-01-01T00:00", "0001-01-01T00:00:00Z", "0001-01-01T01:00:00+01:00"} {
		if _, body := p.post("/shares/"+linkID+"/expire", http.StatusBadRequest, "expires_at", never); !strings.Contains(body, "in the past") {
			t.Errorf("%s: %.200s", never, body)
		}
	}
	p.post("/shares/"+linkID+"/expire", http.StatusBadRequest, "days", "-1")
	p.post("/shares/"+linkID+"/expire", http.StatusSeeOther, "days", "1")
	p.get("/c/"+token, 200)
	w.clock.advance(25 * time.Hour)
	gone("expired")
	p.post("/shares/"+linkID+"/expire", http.StatusSeeOther, "days", "0")
	p.get("/c/"+token, 200)
	p.post("/shares/"+linkID+"/revoke", http.StatusSeeOther)
	gone("revoked")
	p.get("/shares", 200)
	if strings.Contains(w.logs.String(), token) {
		t.Error("the token is in the log")
	}
	if w.get404(stranger, "/c/"+token[:21], "/c/"+token+"x", "/c/"+strings.Repeat("A", 22)) {
		t.Error("a wrong token opens something")
	}
}

func TestVerifyShowsTheFirstDifference(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	_, token := p.shared(p.ran(nil))
	var stored struct {
		Lanes []struct{ Tokens []struct{ Text, Name string } }
	}
	if err := json.Unmarshal([]byte(p.get("/c/"+token+".json", 200)), &stored); err != nil {
		t.Fatal(err)
	}
	w.models.retrain(9)
	_, text := p.do("POST", "/c/"+token+"/verify", nil, csrfHeader, p.csrf, "X-Requested-With", "fetch")
	var v templates.Verification
	if err := json.Unmarshal([]byte(text), &v); err != nil || v.Identical || v.Error != "" {
		t.Fatalf("with other models: %s, %v", text, err)
	}
	was := stored.Lanes[v.Lane].Tokens[v.Index]
	if v.Stored != was.Text && v.Stored != was.Name || v.Decoded == v.Stored || v.Decoded == "" || strings.HasPrefix(v.Decoded, "token") {
		t.Errorf("%+v; stored was %+v", v, was)
	}
	_, body := p.do("POST", "/c/"+token+"/verify", nil, csrfHeader, p.csrf)
	want := fmt.Sprintf("in lane %d at token %d:", v.Lane+1, v.Index+1)
	if !strings.Contains(body, want) || !strings.Contains(body, "<q>"+escaped(v.Stored)+"</q>, decoded now <q>"+escaped(v.Decoded)+"</q>") {
		t.Errorf("the page does not say %q and %q instead of %q", want, v.Decoded, v.Stored)
	}
}

func TestNewLinkIsShownOnce(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	made := p.ran(nil)
	answer, _ := p.post("/runs/"+made.Run+"/share", http.StatusSeeOther)
	if answer.Header.Get("Location") != "/shares" {
		t.Fatal(answer.Header)
	}
	link := regexp.MustCompile(w.http.URL + `/c/[\w-]{22}`)
	address := link.FindString(p.get("/shares", 200))
	if address == "" {
		t.Fatal("the new link is not shown")
	}
	p.get(strings.TrimPrefix(address, w.http.URL), 200)
	if link.MatchString(p.get("/shares", 200)) {
		t.Error("it is shown a second time")
	}
}

func TestLinksLeadBackToTheirRun(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	made := p.ran(func(s map[string]any) { s["prompt"] = "abc <i>" + strings.Repeat("c", 300) })
	p.shared(made, "title", "A title")
	short := p.ran(func(s map[string]any) { s["prompt"] = "abcabc" })
	p.shared(short)
	back := func(run message) string {
		return `<a class="item-title" dir="auto" href="/s/` + run.Session + "?run=" + run.Run + `">`
	}
	words := regexp.MustCompile(`<p class="item-words">([^<]*)</p>`)
	body := p.get("/shares", 200)
	if !strings.Contains(body, back(made)+"A title</a>") || !strings.Contains(body, back(short)+"abcabc</a>") {
		t.Errorf("no way back\n%s", body)
	}
	if found := words.FindAllStringSubmatch(body, -1); len(found) != 1 || !strings.HasPrefix(found[0][1], "abc &lt;i&gt;ccc") || len(found[0][1]) > 220 {
		t.Errorf("the prompts are described as %q, wanted the beginning of the first and nothing twice", found)
	}
	p.get("/s/"+made.Session+"?run="+made.Run, 200)

	// Without its session a link stays, and leads nowhere until the session is back.
	p.post("/sessions/"+made.Session+"/delete", http.StatusSeeOther)
	body = p.get("/shares", 200)
	if strings.Contains(body, back(made)) || !strings.Contains(body, `<span class="item-title" dir="auto">A title</span>`) || !words.MatchString(body) {
		t.Errorf("a link of a deleted session\n%s", body)
	}
	p.post("/sessions/"+made.Session+"/restore", http.StatusSeeOther)
	if body := p.get("/shares", 200); !strings.Contains(body, back(made)) {
		t.Error("no way back to a session that was restored")
	}
}

func TestRunningRunCannotBeShared(t *testing.T) {
	w := newWorld(t, setup{delay: 2 * time.Millisecond})
	p := w.person()
	k := p.dial()
	run := k.start(spec(1900, 0)).Run
	answer, body := p.do("POST", "/runs/"+run+"/share", nil, csrfHeader, p.csrf, "X-Requested-With", "fetch")
	if answer.StatusCode != http.StatusConflict {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	w.person().post("/runs/"+run+"/share", http.StatusNotFound)
	k.send(map[string]any{"type": "stop", "run": run})
	k.follow(newTrack(run), 1)
}

func (p *person) upload(name, content string, status int) (*http.Response, string) {
	p.w.t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	_ = m.WriteField(csrfField, p.csrf)
	f, _ := m.CreateFormFile(name, "x.json")
	_, _ = io.WriteString(f, content)
	m.Close()
	answer, body := p.do("POST", "/sessions/import", &b, "Content-Type", m.FormDataContentType())
	if answer.StatusCode != status {
		p.w.t.Fatalf("import of %.60q: %d, want %d\n%.300s", content, answer.StatusCode, status, body)
	}
	return answer, body
}

func TestExportComesBackAsItWas(t *testing.T) {
	w := newWorld(t, setup{})
	p, other := w.person(), w.person()
	made := p.ran(nil)
	file := p.get("/sessions/"+made.Session+"/export", 200)
	answer, _ := other.upload("file", file, http.StatusSeeOther)
	place := answer.Header.Get("Location")
	other.get(place, 200)
	again := other.get("/sessions/"+strings.TrimPrefix(place, "/s/")+"/export", 200)
	if again != file {
		t.Error("the session is not the same after export and import")
	}
	asJSON, body := other.do("POST", "/sessions/import", strings.NewReader(file), "Content-Type", "application/json", csrfHeader, other.csrf)
	if asJSON.StatusCode != http.StatusCreated {
		t.Errorf("as JSON: %d %s", asJSON.StatusCode, body)
	}
	for _, garbage := range []string{"", "{", "[]", "null", "\x00\xff", `{"format":"realign-session","version":99}`, file[:len(file)/2], file + "{}",
		strings.Replace(file, `"reason":"length"`, `"reason":"boredom"`, 1)} {
		_, body := other.upload("file", garbage, http.StatusBadRequest)
		if !strings.Contains(body, "</html>") {
			t.Errorf("%.40q: not a page", garbage)
		}
	}
	other.upload("wrong", file, http.StatusBadRequest)
}

func TestHealthReadinessAndMetrics(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	p.get("/healthz", 200)
	p.get("/readyz", 200)
	w.models.become("loading")
	p.get("/readyz", 503)
	p.get("/healthz", 200)
	w.models.become("ready")
	made := p.ran(nil)
	body := p.get("/metrics", 200)
	for _, line := range []string{
		`realign_http_requests_total{method="GET",route="/healthz",status="200"} 2`,
		`realign_runs_total 1`, `realign_tokens_total{pair="table"} 16`, `realign_pair_ready{pair="table"} 1`,
		`realign_worker_restarts_total{pair="table"} 0`, `realign_lanes{pair="table"} 0`, `realign_queue_requests{pair="table"} 0`, "realign_sockets ",
	} {
		if !strings.Contains(body, line) {
			t.Errorf("no %s", line)
		}
	}
	if !strings.Contains(w.logs.String(), `"msg":"run started"`) || !strings.Contains(w.logs.String(), `"run":"`+made.Run+`"`) {
		t.Error("the log does not tell of the run by its id")
	}
	if !regexp.MustCompile(`realign_rows_total\{model="reference",pair="table"\} [1-9]`).MatchString(body) {
		t.Error("no rows of the reference")
	}
}

func TestStaticFilesAreCachedByContent(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	body := p.get("/", 200)
	path := regexp.MustCompile(`/static/app\.js[^"]*`).FindString(body)
	answer, _ := p.do("GET", path, nil)
	if answer.StatusCode != 200 || !strings.Contains(answer.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("%s: %d %q", path, answer.StatusCode, answer.Header.Get("Cache-Control"))
	}
	answer, _ = p.do("GET", "/static/app.js?v=old", nil)
	if answer.StatusCode != 200 || answer.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("another version: %d %q", answer.StatusCode, answer.Header.Get("Cache-Control"))
	}
	if again, _ := p.do("GET", "/static/app.js", nil, "If-None-Match", answer.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
		t.Errorf("revalidated: %d", again.StatusCode)
	}
}

func TestOnlyOurNamesAreAnsweredWithoutALogin(t *testing.T) {
	w := newWorld(t, setup{public: "https://realign.example"})
	p := w.person()
	for host, ok := range map[string]bool{"localhost:99": true, "[::1]": true, "realign.example": true, "evil.example": false, "realign.example.evil": false, "": true} {
		header := []string{}
		if host != "" {
			header = []string{"Host", host}
		}
		if answer, _ := p.do("GET", "/", nil, header...); (answer.StatusCode == 200) != ok {
			t.Errorf("%q: %d", host, answer.StatusCode)
		}
	}
	answer, _ := p.do("GET", "/", nil, "Host", "realign.example")
	for _, c := range answer.Cookies() {
		if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode {
			t.Errorf("%+v", c)
		}
	}
}

// absent adds a pair that is not installed.
type absent struct{ *tables }

func (a absent) Status() ([]pair.Status, <-chan struct{}) {
	all, changed := a.tables.Status()
	return append(all, pair.Status{Name: "large", State: pair.Absent, Message: "it is put in place by: make large"}), changed
}

// placedTables are tables whose workers tell where their models are.
type placedTables struct{ *tables }

func (p placedTables) Status() ([]pair.Status, <-chan struct{}) {
	all, changed := p.tables.Status()
	all[0].Placement = []gpu.Placement{
		{Model: "reference", Layers: 31, Loaded: true, On: []gpu.Share{{Device: "CUDA0", Layers: 31, Bytes: 4e9}}},
		{Model: "adapters", Layers: 31, On: []gpu.Share{{Device: "CUDA1", Layers: 20, Bytes: 3e9}}, Note: "no more fit"},
	}
	return all, changed
}

// A pair's page says on which devices its models are.
func TestPairPlacement(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	if body := p.get("/pairs/table", 200); !strings.Contains(body, "Known when its models are loaded") {
		t.Errorf("before anything is known the page says %s", body)
	}
	w.pairs = placedTables{w.models}
	body := p.get("/pairs/table", 200)
	for _, want := range []string{"31 of 31 layers on CUDA0 (4.0 GB of weights)", "20 of 31 layers on CUDA1 (3.0 GB); no more fit; when first used"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q: %s", want, body)
		}
	}
}

// A pair that is not installed is listed with the command that installs it, and cannot be chosen.
func TestPairThatIsNotInstalled(t *testing.T) {
	w := newWorld(t, setup{})
	dir := t.TempDir()
	for _, name := range []string{"table", "large"} {
		manifest := fmt.Sprintf(`{"name":%q,"title":"The %s one","reference":{"file":"r","install":"make %s"},"aligned":[{"name":"warm","file":"w"}]}`, name, name, name)
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, pair.ManifestName), []byte(manifest), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "table", "r"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w.library, w.pairs = pair.NewLibrary(dir), absent{w.models}
	p := w.person()
	for _, path := range []string{"/pairs", "/pairs/large"} {
		if body := p.get(path, 200); !strings.Contains(body, "The large one") || !strings.Contains(body, "not installed") || !strings.Contains(body, "put in place by: make large") {
			t.Errorf("%s does not tell of it: %s", path, body)
		}
	}
	if body := p.get("/", 200); strings.Contains(body, "The large one") || !strings.Contains(body, "The table one") {
		t.Error("it can be chosen, or the other cannot")
	}
}

func TestPasswordIsAskedFor(t *testing.T) {
	w := newWorld(t, setup{auth: AuthPassword})
	p := w.person()
	for _, path := range []string{"/", "/sessions", "/pairs"} {
		answer, _ := p.do("GET", path, nil)
		if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/login?next="+url.QueryEscape(path) {
			t.Errorf("%s: %d %s", path, answer.StatusCode, answer.Header.Get("Location"))
		}
	}
	for _, path := range []string{"/metrics", "/ws"} {
		if answer, _ := p.do("GET", path, nil); answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d", path, answer.StatusCode)
		}
	}
	if answer, _ := p.do("GET", "/sessions", nil, "Accept", "application/json"); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("a program: %d", answer.StatusCode)
	}
	p.get("/healthz", 200)
	p.get("/login", 200)
	p.post("/login", http.StatusForbidden, "password", "wrong horse")
	answer, _ := p.post("/login", http.StatusSeeOther, "password", "correct horse", "next", "//evil.example")
	if answer.Header.Get("Location") != "/" {
		t.Errorf("sent on to %s", answer.Header.Get("Location"))
	}
	p.load()
	made := p.ran(nil)
	_, token := p.shared(made)
	stranger := &person{w: w, http: &http.Client{}}
	stranger.get("/c/"+token, 200)
	if answer, _ := stranger.do("POST", "/c/"+token+"/verify", nil); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger decodes: %d", answer.StatusCode)
	}
	basic := func(password string) int {
		r, _ := http.NewRequest("GET", w.http.URL+"/metrics", nil)
		r.SetBasicAuth("anybody", password)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	if got := basic("correct horse"); got != 200 {
		t.Errorf("basic: %d", got)
	}
	p.post("/logout", http.StatusSeeOther)
	if answer, _ := p.do("GET", "/", nil); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("after logging out: %d", answer.StatusCode)
	}
	w.clock.stop()
	limited := false
	for range 8 {
		limited = limited || basic("wrong horse") == http.StatusTooManyRequests
	}
	if !limited || basic("correct horse") != http.StatusTooManyRequests {
		t.Error("passwords can be guessed without end")
	}
	w.clock.advance(time.Hour)
	if got := basic("correct horse"); got != 200 {
		t.Errorf("an hour later: %d", got)
	}
}

func TestEveryKindHasAStatus(t *testing.T) {
	for _, kind := range []fault.Kind{fault.Invalid, fault.NotFound, fault.Conflict, fault.Busy, fault.Forbidden, fault.Unavailable, fault.Internal} {
		if statuses[kind] == 0 {
			t.Errorf("%s has none", kind)
		}
	}
	f, status := outside(fmt.Errorf("read secret file: %w", io.ErrUnexpectedEOF))
	if status != 500 || f.Message != "internal error" {
		t.Errorf("%d %q", status, f.Message)
	}
	f, status = outside(fault.Field("reference", "/srv/realign/pairs/mine/base.gguf is not a file"))
	if status != 400 || f.Message != "base.gguf is not a file" {
		t.Errorf("a path of the server is told: %d %q", status, f.Message)
	}
}

func TestLaneTextIsWhole(t *testing.T) {
	l := laneView(&run.Lane{Text: "ab…", Tokens: []run.Token{{Text: "a"}, {Text: "b"}}, Lane: decode.Lane{Lambda: decode.Vector{1}}})
	if l.Tokens[1].Text != "b" || l.Tail != "…" {
		t.Errorf("%+v, then %q", l.Tokens, l.Tail)
	}
}

func TestReadyKnowsTheDatabase(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	p.get("/readyz", 200)
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	if body := p.get("/readyz", http.StatusServiceUnavailable); !strings.Contains(body, "database") {
		t.Error(body)
	}
	p.get("/healthz", 200)
}

// TestRightToLeft: texts of people and models have the direction that they are written in.
func TestRightToLeft(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	const said = "ما رأيك في الفيلم؟"
	made := p.ran(func(s map[string]any) { s["prompt"] = said })
	_, token := p.shared(made)
	id, path := w.openStudy(p, studyFields("prompts", said, "title", said))
	rater := w.annotator(path, "Sara")
	around := regexp.MustCompile(`<(\w+)([^<>]*)>\s*` + regexp.QuoteMeta(said))
	for page, body := range map[string]string{
		"a run": p.get("/s/"+made.Session, 200), "a comparison": p.get("/c/"+token, 200), "sessions": p.get("/sessions", 200), "studies": p.get("/studies", 200),
		"a study": p.get("/studies/"+id, 200), "a question": rater.get(path, 200), "the playground": p.get("/?run="+made.Run, 200),
	} {
		found := around.FindAllStringSubmatch(body, -1)
		if len(found) == 0 {
			t.Errorf("%s does not show it", page)
		}
		for _, m := range found {
			if m[1] != "title" && m[1] != "span" && !strings.Contains(m[2], `dir="auto"`) {
				t.Errorf("%s: %.200s", page, m[0])
			}
		}
		if m := regexp.MustCompile(`<(\w+)([^<>]*data-text[^<>]*)>`).FindStringSubmatch(body); m != nil && !strings.Contains(m[2], `dir="auto"`) {
			t.Errorf("%s: %s", page, m[0])
		}
	}
}
