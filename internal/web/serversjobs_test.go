package web

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"realign/internal/preference"
	"realign/internal/study"
)

// at is the client on another server: its cookies are good there.
func (c *sweepClient) at(d *daemon) *sweepClient { return &sweepClient{d: d, http: c.http} }

// press sends the form of a button of a sweep's page.
func (c *sweepClient) press(path, button string) {
	c.d.t.Helper()
	_, page := c.get(path)
	token := csrfMeta.FindStringSubmatch(page)
	if token == nil {
		c.d.t.Fatalf("no page of the sweep: %.300s", page)
	}
	answer, err := c.http.PostForm("http://"+c.d.addr+path+"/"+button, url.Values{csrfField: {token[1]}})
	if err != nil {
		c.d.t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode >= 400 {
		c.d.t.Fatalf("%s: %d\n%s", button, answer.StatusCode, tail(c.d.log.String(), 3000))
	}
}

// outputsOf counts the outputs of an experiment.
func (x *serversTest) outputsOf(experiment string) int {
	x.t.Helper()
	list, err := x.db.ExperimentOutputs(x.t.Context(), experiment, nil, false)
	if err != nil {
		x.t.Fatal(err)
	}
	return len(list)
}

// grows waits until an experiment has more outputs than n.
func (x *serversTest) grows(experiment string, n int) {
	x.t.Helper()
	for deadline := time.Now().Add(time.Minute); x.outputsOf(experiment) <= n; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			for i, d := range x.servers {
				x.t.Logf("server %d:\n%s", i, tail(d.log.String(), 3000))
			}
			x.t.Fatalf("experiment %s stays at %d outputs", experiment, n)
		}
	}
}

// rests checks that an experiment that was stopped gets no outputs any more, not even those that workers had begun: a sweep that is
// asked for after it is decoded behind all that is queued, and takes longer than what was begun.
func (x *serversTest) rests(experiment string) {
	x.t.Helper()
	before := x.outputsOf(experiment)
	after := &sweepClient{d: x.servers[1]}
	path := after.start("pair: demo\naligned: length-b0.1\nprompts: [How was the meal?, Was the trip good?]\nlambda: {from: 0, to: 2, points: 5}\nsamples: 3\n" +
		"sampling: {max_tokens: 80, temperature: 1}\nrewards: [distinct]\nseed: 5\nrefine: {rounds: 0}\n")
	after.await(path, "done", func(page string) bool { return strings.Contains(page, `data-sweep-state="done"`) })
	if now := x.outputsOf(experiment); now != before {
		x.t.Errorf("experiment %s went on from %d to %d outputs after it was stopped on another server", experiment, before, now)
	}
}

// TestServersCrashUnderSweepsAndStudies: a sweep that is decoded by one server is paused, resumed and cancelled on others and
// taken over from one that is killed, and so is a study; answers of annotators that were acknowledged are stored though servers
// and PostgreSQL go down meanwhile. It needs the program, as TestServersCrash does.
func TestServersCrashUnderSweepsAndStudies(t *testing.T) {
	x := newServers(t, 3)
	a, b, c := x.servers[0], x.servers[1], x.servers[2]

	config := "pair: demo\naligned: warmth-b0.1\nprompts: [" + strings.Join(dialogue(t, a, 160), ",") + "]\nlambda: {from: 0, to: 2, points: 5}\nsamples: 3\n" +
		"sampling: {max_tokens: 40, temperature: 1}\nrewards: [distinct]\nseed: 5\nrefine: {rounds: 0}\n"
	here := &sweepClient{d: c}
	path := here.start(config)
	id := strings.TrimPrefix(path, "/sweeps/")
	x.grows(id, 0)
	here.at(b).press(path, "pause")
	x.rests(id)
	n := x.outputsOf(id)
	here.at(a).press(path, "resume")
	x.grows(id, n)
	n = x.outputsOf(id)
	a.kill() // the sweep is its by now
	began := time.Now()
	x.grows(id, n+1)
	for { // what workers had begun is not the others' doing: the sweep must be another's
		keys := 0
		for _, d := range []*daemon{b, c} {
			if strings.Contains(d.log.String(), "servers have died") {
				keys++
			}
		}
		if keys > 0 {
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatal("nobody noticed that a server has died")
		}
		time.Sleep(50 * time.Millisecond)
	}
	x.grows(id, x.outputsOf(id))
	t.Logf("the sweep went on %.1f s after the server was killed", time.Since(began).Seconds())
	x.launch(0)
	x.await(0)
	here.at(a).press(path, "cancel")
	x.rests(id)

	o := newOwner(t, b)
	study1 := o.create(map[string]string{
		"title": "Which do you like?", "format": "lines", "prompts": "What did you think of the film?\nHow was the meal?\nDid you like the book?\nWas the trip good?",
		"pair": "demo/", "grid": "0 0.5 1 1.5 2", "samples": "2", "max_tokens": "24", "temperature": "1", "top_k": "0", "top_p": "1", "min_p": "0", "seed": "3",
		"mode": "chat", "pairwise": "on", "overlap": "30", "cap": "0", "same_every": "0", "broken_every": "10", "scheme": "active",
	})
	o.post("/studies/"+study1+"/status", "status", "decoding")
	x.grows(study1, 0)
	o.base = "http://" + c.addr
	if x.outputsOf(study1) < 40 {
		o.post("/studies/"+study1+"/status", "status", "halted")
		x.rests(study1)
		o.base = "http://" + a.addr
		o.post("/studies/"+study1+"/status", "status", "decoding")
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(o.get("/studies/"+study1), "The answers are there"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("decoding did not go on:\n%s", tail(a.log.String(), 3000))
		}
	}
	o.post("/studies/"+study1+"/status", "status", "open")
	invited := inviteURL.FindStringSubmatch(o.post("/studies/" + study1 + "/invite"))[1]
	crowds := []*crowd{newCrowd(t, "http://"+a.addr, invited), newCrowd(t, "http://"+b.addr, invited)}
	var wait sync.WaitGroup
	for i, crowd := range crowds {
		for k := range 6 {
			wait.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), uint64(k)))
				_ = crowd.rate(context.Background(), fmt.Sprintf("annotator %d of server %d", k, i), random, 20*time.Millisecond)
			})
		}
	}
	for deadline := time.Now().Add(time.Minute); crowds[0].acknowledged() < 5 || crowds[1].acknowledged() < 5; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody could answer")
		}
	}
	b.kill()
	time.Sleep(200 * time.Millisecond)
	x.postgres.kill()
	x.postgres.start()
	wait.Wait()
	var ratings []study.Rating
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		var err error
		if ratings, err = x.db.Ratings(t.Context(), study1); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	stored := map[string]preference.Choice{}
	for _, r := range ratings {
		if _, twice := stored[r.ID]; twice {
			t.Errorf("rating %s is there twice", r.ID)
		}
		stored[r.ID] = r.Answer.Choice
	}
	for i, crowd := range crowds {
		for question := range crowd.kept {
			if stored[question] != crowd.said[question] {
				t.Errorf("server %d: answer %q to question %s was acknowledged and is stored as %q", i, crowd.said[question], question, stored[question])
			}
		}
		t.Logf("server %d: %d answers were acknowledged, %d are stored in all", i, len(crowd.kept), len(stored))
	}
}
