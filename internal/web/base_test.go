package web

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"realign/internal/fault"
)

func TestParseBase(t *testing.T) {
	for text, want := range map[string]basePath{"": "", "/": "", "/realign": "/realign", "/realign/": "/realign", "/a/b-1.2_~": "/a/b-1.2_~"} {
		if got, err := parseBase(text); err != nil || got != want {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
	for _, text := range []string{"realign", "//realign", "/a//b", "/a/../b", "/a b", `/a"b`, "/ä", "/a?b", "http://host/a"} {
		if _, err := parseBase(text); fault.Of(err) == nil || fault.Of(err).Field != "base-path" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAddressesInPages(t *testing.T) {
	page := `<!doctype html><html lang="en"><a href="/s/1?a=1&amp;b=2">x</a><a href="//other/">o</a><a href="https://other/">w</a><a href="#here">h</a>` +
		`<form action="/keys"><input name="next" value="/s/1"><textarea>href="/s/1" &lt;a href="/x"&gt;</textarea></form>` +
		`<script type="module" src="/static/app.js?v=1"></script><script>var a = '<a href="/no">';</script><p data-text="/help" title="/no">/no</p><br/>`
	want := `<!doctype html><html lang="en" data-base="/r"><a href="/r/s/1?a=1&amp;b=2">x</a><a href="//other/">o</a><a href="https://other/">w</a><a href="#here">h</a>` +
		`<form action="/r/keys"><input name="next" value="/s/1"><textarea>href="/s/1" &lt;a href="/x"&gt;</textarea></form>` +
		`<script type="module" src="/r/static/app.js?v=1"></script><script>var a = '<a href="/no">';</script><p data-text="/help" title="/no">/no</p><br/>`
	if got := string(basePath("/r").page([]byte(page))); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := string(basePath("").page([]byte(page))); got != page {
		t.Errorf("at the root: %s", got)
	}
}

func TestBasePathOfRequests(t *testing.T) {
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.URL.RequestURI())) })
	h := basePath("/r").serve(inner)
	for path, want := range map[string]string{
		"/r/": "200 /", "/r/s/1?a=b": "200 /s/1?a=b", "/r/r/x": "200 /r/x", "/r/a%2Fb": "200 /a%2Fb", "/healthz": "200 /healthz", "/readyz": "200 /readyz",
		"/r": "303 /r/", "/": "303 /r/", "/s/1": "404 ", "/rest": "404 ",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		said := w.Body.String()
		switch w.Code {
		case http.StatusSeeOther:
			said = w.Header().Get("Location")
		case http.StatusNotFound:
			said = ""
		}
		if strconv.Itoa(w.Code)+" "+said != want {
			t.Errorf("%s: %d %s, want %s", path, w.Code, said, want)
		}
	}
}
