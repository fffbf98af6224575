package web

import (
	"compress/gzip"
	"io"
	"net/http"
	"regexp"
	"testing"
)

// A first visit is small: the page, its script and its styles are at most 60 kB on the wire, and are what they are
// uncompressed.
func TestFirstLoadIsSmall(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	page := p.get("/", http.StatusOK)
	wire := 0
	fetch := func(path string, want string) {
		r, err := http.NewRequest(http.MethodGet, w.http.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", "gzip")
		answer, err := (&http.Transport{DisableCompression: true}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body := &counted{r: answer.Body}
		if answer.Header.Get("Content-Encoding") != "gzip" || answer.Header.Get("Vary") == "" {
			t.Fatalf("%s: encoding %q, Vary %q", path, answer.Header.Get("Content-Encoding"), answer.Header.Get("Vary"))
		}
		z, err := gzip.NewReader(body)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		if want != "" && string(text) != want {
			t.Errorf("%s is something else when it is compressed", path)
		}
		wire += body.n
	}
	fetch("/", "")
	for _, m := range regexp.MustCompile(`(?:href|src)="(/static/[^"]+\.(?:js|css)[^"]*)"`).FindAllStringSubmatch(page, -1) {
		fetch(m[1], p.get(m[1], http.StatusOK))
	}
	if wire < 10_000 || wire > 60_000 {
		t.Errorf("%d bytes on the first visit, at most 60,000", wire)
	}
	t.Logf("%d bytes on the first visit", wire)
}

// What streams, and what is no text, is left alone.
func TestStreamsAreNotCompressed(t *testing.T) {
	w := newWorld(t, setup{})
	for _, path := range []string{"/healthz", "/v1/models"} {
		r, _ := http.NewRequest(http.MethodGet, w.http.URL+path, nil)
		r.Header.Set("Accept-Encoding", "gzip")
		answer, err := (&http.Transport{DisableCompression: true}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s is compressed", path)
		}
	}
}

type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
