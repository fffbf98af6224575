package web

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"realign/internal/preference"
	"realign/internal/store"
)

// TestCrashLosesNoRating kills the real program while a study is decoded, and then again and again while twenty
// annotators answer, and checks that every answer that was acknowledged is stored, as it was given and once, and
// that decoding goes on where it stopped. It needs the program: REALIGN_BIN=$PWD/bin/realign go test -run CrashLosesNoRating ./internal/web
func TestCrashLosesNoRating(t *testing.T) {
	const annotators = 20
	rounds := soakRounds(t, 3)
	d := newDaemon(t)
	d.start()
	defer func() { d.kill() }()
	o := newOwner(t, d)
	id := o.create(map[string]string{
		"title": "Which do you like?", "format": "lines", "prompts": "What did you think of the film?\nHow was the meal?\nDid you like the book?\nWas the trip good?",
		"pair": "demo/", "grid": "0 0.5 1 1.5 2", "samples": "2", "max_tokens": "24", "temperature": "1", "top_k": "0", "top_p": "1", "min_p": "0", "seed": "3",
		"mode": "chat", "pairwise": "on", "overlap": "30", "cap": "0", "same_every": "0", "broken_every": "10", "scheme": "active",
	})
	o.post("/studies/"+id+"/status", "status", "decoding")
	decoded := func() (n int) {
		if m := regexp.MustCompile(`(\d+) of 40 answers`).FindStringSubmatch(o.get("/studies/" + id)); m != nil {
			_, _ = fmt.Sscan(m[1], &n)
		}
		return n
	}
	for deadline := time.Now().Add(time.Minute); decoded() == 0 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	before := decoded()
	d.kill()
	d.start()
	for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(o.get("/studies/"+id), "The answers are there"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("decoding did not go on:\n%s", d.log.String())
		}
	}
	t.Logf("killed when %d of 40 answers were decoded", before)
	o.post("/studies/"+id+"/status", "status", "open")
	path := inviteURL.FindStringSubmatch(o.post("/studies/" + id + "/invite"))[1]

	c := newCrowd(t, o.base, path)
	for round := range rounds {
		var wait sync.WaitGroup
		for i := range annotators {
			wait.Go(func() {
				random := rand.New(rand.NewPCG(uint64(round), uint64(i)))
				_ = c.rate(context.Background(), fmt.Sprintf("annotator %d of round %d", i, round), random, 20*time.Millisecond)
			})
		}
		before := c.acknowledged()
		for deadline := time.Now().Add(time.Minute); c.acknowledged() == before && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond) // any moment will do
		d.kill()
		wait.Wait()
		db, err := store.Open(t.Context(), store.Config{Data: d.data})
		if err != nil {
			t.Fatal(err)
		}
		ratings, err := db.Ratings(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		stored := map[string]preference.Choice{}
		for _, r := range ratings {
			if _, twice := stored[r.ID]; twice {
				t.Errorf("rating %s is there twice", r.ID)
			}
			stored[r.ID] = r.Answer.Choice
		}
		for question := range c.kept {
			if stored[question] != c.said[question] {
				t.Errorf("answer %q to question %s was acknowledged and is stored as %q", c.said[question], question, stored[question])
			}
		}
		if problems, err := db.IntegrityCheck(t.Context()); err != nil || len(problems) > 0 {
			t.Errorf("integrity: %v %v", problems, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("soak: kill -9 while people rate, round %d: %d answers acknowledged, %d stored", round, len(c.kept), len(stored))
		if len(c.kept) == before {
			t.Error("nothing was acknowledged before the kill")
		}
		d.start()
	}
}

// theOwner is a browser on a daemon.
type theOwner struct {
	t          *testing.T
	base, csrf string
	http       *http.Client
}

func newOwner(t *testing.T, d *daemon) *theOwner {
	jar, _ := cookiejar.New(nil)
	o := &theOwner{t: t, base: "http://" + d.addr, http: &http.Client{Jar: jar}}
	o.csrf = csrfMeta.FindStringSubmatch(o.get("/studies"))[1]
	return o
}

func (o *theOwner) do(r *http.Request, err error) (string, string) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
	answer, err := o.http.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		o.t.Fatalf("%s %s: %d %v\n%.2000s", r.Method, r.URL, answer.StatusCode, err, body)
	}
	return answer.Request.URL.Path, string(body)
}

func (o *theOwner) get(path string) string {
	o.t.Helper()
	_, body := o.do(http.NewRequest("GET", o.base+path, nil))
	return body
}

// post sends a form and returns the page that it leads to.
func (o *theOwner) post(path string, fields ...string) string {
	o.t.Helper()
	form := url.Values{csrfField: {o.csrf}}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	r, err := http.NewRequest("POST", o.base+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, body := o.do(r, err)
	return body
}

func (o *theOwner) create(fields map[string]string) string {
	o.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	_ = form.WriteField(csrfField, o.csrf)
	for name, value := range fields {
		_ = form.WriteField(name, value)
	}
	_ = form.Close()
	r, err := http.NewRequest("POST", o.base+"/studies", &body)
	r.Header.Set("Content-Type", form.FormDataContentType())
	path, _ := o.do(r, err)
	return strings.TrimPrefix(path, "/studies/")
}
