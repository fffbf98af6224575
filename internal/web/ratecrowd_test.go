package web

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"realign/internal/preference"
	"realign/internal/racetest"
)

// crowd is many annotators at once, whose connections drop and who click again.
type crowd struct {
	t    testing.TB
	base string // of the server
	path string // of the invite

	mu    sync.Mutex // guards what follows
	said  map[string]preference.Choice
	kept  map[string]bool // acknowledged
	took  []time.Duration // from an answer to the next question, of clicks that got through at once
	drops int
	again int
}

// acknowledged counts the answers that the server said it has.
func (c *crowd) acknowledged() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.kept)
}

func newCrowd(t testing.TB, base, path string) *crowd {
	return &crowd{t: t, base: base, path: path, said: map[string]preference.Choice{}, kept: map[string]bool{}}
}

// rate has one annotator answer until there is nothing left, ctx ends or the server is gone.
func (c *crowd) rate(ctx context.Context, name string, random *rand.Rand, think time.Duration) error {
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Timeout: 30 * time.Second}
	page, err := c.send(ctx, client, "/join", url.Values{"name": {name}})
	if err != nil {
		return err
	}
	return c.answerAll(ctx, client, page, random, think)
}

func (c *crowd) answerAll(ctx context.Context, client *http.Client, page string, random *rand.Rand, think time.Duration) error {
	choices := []preference.Choice{preference.PreferA, preference.PreferB, preference.Tie, preference.BothBad}
	for {
		at := strings.Index(page, "data-rate-answer")
		if at < 0 {
			if strings.Contains(page, "that was all") {
				return nil
			}
			return fmt.Errorf("neither a question nor the end: %.300s", page)
		}
		id := questionID.FindStringSubmatch(page[at:])[1]
		choice := choices[random.IntN(len(choices))]
		c.mu.Lock()
		if before, ok := c.said[id]; ok {
			choice = before // asked again, since the acknowledgement was lost: the same click
		}
		c.said[id] = choice
		c.mu.Unlock()
		if think > 0 {
			time.Sleep(think/2 + rand.N(think))
		}
		form := url.Values{"question": {id}, "choice": {string(choice)}}
		var clicks sync.WaitGroup
		clean := true
		switch random.IntN(10) {
		case 0, 1: // the connection drops at some moment, and the page tries again
			clean = false
			short, cancel := context.WithTimeout(ctx, time.Duration(random.IntN(4000))*time.Microsecond)
			_, _ = c.send(short, client, "/answer", form)
			cancel()
			c.count(&c.drops)
		case 2: // an impatient second click, at the same time
			clean = false
			clicks.Go(func() { _, _ = c.send(ctx, client, "/answer", form) })
			c.count(&c.again)
		}
		began := time.Now()
		next, err := c.send(ctx, client, "/answer", form)
		took := time.Since(began)
		clicks.Wait()
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.kept[id] = true
		if clean {
			c.took = append(c.took, took)
		}
		c.mu.Unlock()
		page = next
	}
}

func (c *crowd) count(n *int) {
	c.mu.Lock()
	*n++
	c.mu.Unlock()
}

// send sends a form as the page's script does and returns what the page shows next.
func (c *crowd) send(ctx context.Context, client *http.Client, to string, form url.Values) (string, error) {
	r, err := http.NewRequestWithContext(ctx, "POST", c.base+c.path+to, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if to != "/join" {
		r.Header.Set("X-Requested-With", "fetch")
	}
	answer, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %.300s", to, answer.StatusCode, body)
	}
	return string(body), err
}

func (c *crowd) quantile(p float64) time.Duration {
	slices.Sort(c.took)
	return c.took[min(len(c.took)-1, int(p*float64(len(c.took))))].Round(time.Millisecond / 10)
}

// TestFiftyAnnotatorsAtOnce has fifty annotators answer at the same time, a fifth of the clicks cut off in flight
// and a tenth made twice, and checks that every answer is stored exactly once and as it was given, that no item
// has more than its overlap, and how long it took from an answer to the next question.
func TestFiftyAnnotatorsAtOnce(t *testing.T) {
	if racetest.Enabled {
		t.Skip("minutes under the race detector")
	}
	if testing.Short() {
		t.Skip("half a minute")
	}
	const annotators, overlap = 50, 3
	const think = time.Second // far less than anybody needs to read two answers
	w := newWorld(t, setup{})
	owner := w.person()
	id, path := w.openStudy(owner, studyFields(
		"grid", "0, 0.5, 1, 1.5, 2", "prompts", strings.Repeat("abc\nbca\n", 20), "overlap", fmt.Sprint(overlap), "same_every", "10", "scheme", "active"))
	c := newCrowd(t, w.http.URL, path)
	free := watchBusy(t)
	var wait sync.WaitGroup
	for i := range annotators {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(5, uint64(i)))
			if err := c.rate(t.Context(), fmt.Sprint("annotator ", i), random, think); err != nil {
				t.Errorf("annotator %d: %v", i, err)
			}
		})
	}
	wait.Wait()
	ratings, err := w.store.Ratings(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	perItem := map[string]int{}
	for _, r := range ratings {
		if want, ok := c.said[r.ID]; !ok || want != r.Answer.Choice {
			t.Errorf("rating %s is %s, and was %q when it was given", r.ID, r.Answer.Choice, want)
		}
		if r.Catch == preference.NoCatch {
			perItem[r.Item]++
		}
	}
	if len(ratings) != len(c.kept) {
		t.Errorf("%d ratings are stored, %d were acknowledged", len(ratings), len(c.kept))
	}
	items, err := w.store.StudyItems(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		if it.Catch == preference.NoCatch && (perItem[it.ID] != overlap || it.Answers != overlap) {
			t.Errorf("item %s has %d ratings and counts %d, for an overlap of %d", it.ID, perItem[it.ID], it.Answers, overlap)
		}
	}
	p95 := c.quantile(0.95)
	t.Logf("%d ratings by %d annotators, %d clicks dropped, %d made twice; answer to next question: median %v, p95 %v, most %v",
		len(ratings), annotators, c.drops, c.again, c.quantile(0.5), p95, c.quantile(1))
	if p95 > 200*time.Millisecond && free() {
		t.Errorf("p95 is %v", p95)
	}
}

// lateness begins to watch how late timers wake, which says how busy others keep the machine; the function it
// returns stops it and returns the 95th percentile.
func lateness(t *testing.T) func() time.Duration {
	const nap = 5 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan []time.Duration, 1)
	go func() {
		var late []time.Duration
		for ctx.Err() == nil {
			began := time.Now()
			time.Sleep(nap)
			late = append(late, time.Since(began)-nap)
		}
		done <- late
	}()
	return func() time.Duration {
		stop()
		late := <-done
		slices.Sort(late)
		return late[len(late)*95/100]
	}
}
