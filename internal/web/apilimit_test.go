package web

import (
	"net/http"
	"strings"
	"testing"

	"realign/internal/apikey"
	"realign/internal/fault"
)

// One client has half of all places, by where it comes from, and a key its lanes in all calls together.
func TestPlacesOfCalls(t *testing.T) {
	busy := func(err error) bool { return fault.KindOf(err) == fault.Busy }
	p := newPlaces(4)
	here, there := &client{owner: "api", place: "10.0.0.1"}, &client{owner: "api", place: "10.0.0.2"}
	for _, who := range []*client{here, here, there} {
		if err := p.enter(who, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.enter(here, 1); !busy(err) {
		t.Errorf("more than half for one: %v", err)
	}
	if err := p.enter(there, 1); err != nil {
		t.Error(err)
	}
	if err := p.enter(&client{place: "10.0.0.3"}, 1); !busy(err) {
		t.Errorf("more than there are: %v", err)
	}
	p.leave(here, 1)
	if err := p.enter(here, 1); err != nil {
		t.Error(err)
	}

	p = newPlaces(100)
	keyed := &client{place: "key:1", key: &apikey.Key{Name: "few", Limits: apikey.Limits{Lanes: 5}}}
	if err := p.enter(keyed, 3); err != nil {
		t.Fatal(err)
	}
	if err := p.enter(keyed, 3); !busy(err) || !strings.Contains(err.Error(), "few has 3 lanes at work") {
		t.Errorf("six lanes of five: %v", err)
	}
	if err := p.enter(keyed, 2); err != nil {
		t.Error(err)
	}
	p.leave(keyed, 3)
	p.leave(keyed, 2)
	if err := p.enter(keyed, 5); err != nil || len(p.by) != 1 {
		t.Errorf("%v, %v", err, p.by)
	}
}

// Scripts of other sites' pages use the API from origins that were named, and from no others, and nothing but the API.
func TestAPIOrigins(t *testing.T) {
	const tools = "https://tools.example"
	named, none := newWorld(t, setup{origins: []string{tools}}), newWorld(t, setup{})
	ask := func(w *world, method, path, origin string) (int, http.Header) {
		t.Helper()
		r, err := http.NewRequest(method, w.http.URL+path, strings.NewReader(`{"model":"table","prompt":"abc","max_tokens":1}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", origin)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		if method == http.MethodOptions {
			r.Header.Set("Access-Control-Request-Method", "POST")
			r.Header.Set("Access-Control-Request-Headers", "authorization,content-type,x-stainless-lang")
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode, answer.Header
	}
	status, h := ask(named, "OPTIONS", "/v1/completions", tools)
	if status != 204 || h.Get("Access-Control-Allow-Origin") != tools || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "x-stainless-lang") {
		t.Errorf("asked beforehand: %d, %v", status, h)
	}
	if status, h := ask(named, "POST", "/v1/completions", tools); status != 200 || h.Get("Access-Control-Allow-Origin") != tools || h.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("a call: %d, %v", status, h)
	}
	for name, test := range map[string]struct {
		w      *world
		path   string
		origin string
	}{
		"another origin": {named, "/v1/completions", "https://tools.example.evil"},
		"another path":   {named, "/login", tools},
		"none is named":  {none, "/v1/completions", tools},
	} {
		if status, h := ask(test.w, "POST", test.path, test.origin); status != 403 || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d, %v", name, status, h)
		}
		if status, h := ask(test.w, "OPTIONS", test.path, test.origin); h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s, asked beforehand: %d, %v", name, status, h)
		}
	}
	for _, origin := range []string{"*", "tools.example", "https://tools.example/", "ftp://tools.example", ""} {
		if _, err := ParseOrigins([]string{origin}); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %v", origin, err)
		}
	}
}
