package web

import (
	"net/http"
	"testing"

	"realign/internal/study"
)

// Every part of a page that is drawn anew has an ETag: whoever has it already gets nothing more.
func TestFragmentsAreKnownAgain(t *testing.T) {
	w := newWorld(t, setup{})
	w.sweeping()
	p := w.person()
	swept := w.startSweep(p, sweepConfig)
	_, _, id := p.createStudy(studyFields("prompts", "abc\nbca"), "", "")
	p.post("/studies/"+id+"/status", 303, "status", "decoding")
	w.awaitStudy(p, id, study.Ready)
	for _, path := range []string{"/sweeps/" + swept.ID + "/live", "/studies/" + id, "/studies/" + id + "/results/live"} {
		first, body := p.do("GET", path, nil, "X-Requested-With", "fetch")
		tag := first.Header.Get("ETag")
		if first.StatusCode != http.StatusOK || tag == "" || body == "" || first.Header.Get("Cache-Control") != "private, no-cache" {
			t.Errorf("%s: %d, ETag %q, %d bytes", path, first.StatusCode, tag, len(body))
		}
		if again, body := p.do("GET", path, nil, "X-Requested-With", "fetch", "If-None-Match", tag); again.StatusCode != http.StatusNotModified || body != "" {
			t.Errorf("%s again: %d, %d bytes", path, again.StatusCode, len(body))
		}
	}
	before, _ := p.do("GET", "/studies/"+id, nil, "X-Requested-With", "fetch")
	p.post("/studies/"+id+"/status", 303, "status", "open")
	if after, _ := p.do("GET", "/studies/"+id, nil, "X-Requested-With", "fetch", "If-None-Match", before.Header.Get("ETag")); after.StatusCode != http.StatusOK {
		t.Errorf("what has changed: %d", after.StatusCode)
	}
	if page, _ := p.do("GET", "/studies/"+id, nil); page.Header.Get("Cache-Control") != "no-store" || page.Header.Get("ETag") != "" {
		t.Errorf("the whole page: %v", page.Header)
	}
}
