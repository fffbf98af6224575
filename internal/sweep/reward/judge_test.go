package reward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/sweep"
)

// server is an OpenAI-compatible endpoint that answers by answer, which gets the number of the question from 1.
type server struct {
	*httptest.Server
	asked atomic.Int64
}

// query is what was asked, and tells when nobody waits for the answer any more.
type query struct {
	completion
	gone <-chan struct{}
}

func newServer(t *testing.T, answer func(n int, w http.ResponseWriter, q query)) *server {
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/models" {
			io.WriteString(w, `{"data":[]}`)
			return
		}
		q := query{gone: r.Context().Done()}
		if err := json.NewDecoder(r.Body).Decode(&q.completion); err != nil || r.URL.Path != "/v1/chat/completions" {
			http.Error(w, "not a completion", http.StatusBadRequest)
			return
		}
		answer(int(s.asked.Add(1)), w, q)
	}))
	t.Cleanup(s.Close)
	return s
}

// say writes a completion of 100 tokens read and 10 written.
func say(w http.ResponseWriter, content string) {
	text, _ := json.Marshal(content)
	fmt.Fprintf(w, `{"choices":[{"message":{"role":"assistant","content":%s}}],"usage":{"prompt_tokens":100,"completion_tokens":10}}`, text)
}

// settled waits until so many questions have come, for one that nobody waits for any more may be on its way, and returns how many have.
func settled(asked *atomic.Int64, want int64) int64 {
	for late := time.Now().Add(10 * time.Second); asked.Load() < want && time.Now().Before(late); time.Sleep(time.Millisecond) {
	}
	return asked.Load()
}

type memory struct {
	sync.Mutex
	m map[string][]byte
}

func (c *memory) Get(key string) ([]byte, bool) {
	c.Lock()
	defer c.Unlock()
	b, ok := c.m[key]
	return b, ok
}

func (c *memory) Put(key string, answer []byte) {
	c.Lock()
	defer c.Unlock()
	c.m[key] = answer
}

// openJudge is a judge that is in a hurry.
func openJudge(t *testing.T, s *server, parameters string, e Environment) *judge {
	t.Helper()
	e.Headless = true
	r := open(t, "judge", fmt.Sprintf(`{"url":%q,"model":"m","price_in":10,"price_out":100%s}`, s.URL+"/v1", parameters), e, sweep.Row{Text: "p", Reference: "r"})
	j := r.(*judge)
	j.pause = time.Millisecond
	return j
}

func TestPointwise(t *testing.T) {
	s := newServer(t, func(_ int, w http.ResponseWriter, q query) {
		if q.Model != "m" || len(q.Messages) != 2 || !strings.Contains(string(q.Format), `"json_schema"`) || !strings.Contains(q.Messages[1].Content, "what is λ?") {
			http.Error(w, "not what was meant to be asked", http.StatusBadRequest)
			return
		}
		score := 3
		if strings.Contains(q.Messages[1].Content, "a strength") {
			score = 8
		}
		say(w, fmt.Sprintf("Sure!\n```json\n{\"explanation\": \"because\", \"score\": %d}\n```", score))
	})
	cache := &memory{m: map[string][]byte{}}
	j := openJudge(t, s, "", Environment{Cache: cache})
	rows := []sweep.Row{{Text: "what is λ?"}, {Text: "what is λ?"}}
	outputs := []sweep.Output{{Text: "a strength"}, {Text: "no >>> idea"}}
	for try := range 2 {
		values := j.Score(t.Context(), rows, outputs)
		if values[0].Value != 8 || values[1].Value != 3 || !values[0].OK() || !values[1].OK() {
			t.Fatalf("%+v", values)
		}
		want := (100*10 + 10*100) / 1e6
		if try == 1 {
			want = 0 // kept
		}
		if values[0].Cost != want || values[1].Cost != want {
			t.Errorf("cost %v and %v, want %v", values[0].Cost, values[1].Cost, want)
		}
	}
	if n := s.asked.Load(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}

// TestPairwise has a judge that always prefers what stands first, one that prefers the better answer, and one that calls a tie.
func TestPairwise(t *testing.T) {
	verdicts := map[string]func(question string) string{
		"first": func(string) string { return "A" },
		"tie":   func(string) string { return "tie" },
		"better": func(q string) string {
			if strings.Index(q, "good") < strings.Index(q, "bad") {
				return "A"
			}
			return "B"
		},
	}
	for name, want := range map[string][2]float64{"first": {0.5, 0.5}, "tie": {0.5, 0.5}, "better": {1, 0}} {
		s := newServer(t, func(_ int, w http.ResponseWriter, q query) {
			_, answers, _ := strings.Cut(q.Messages[1].Content, "<<< ANSWER A")
			say(w, fmt.Sprintf(`{"explanation":"","winner":%q}`, verdicts[name](answers)))
		})
		j := openJudge(t, s, `,"mode":"pairwise"`, Environment{})
		row := sweep.Row{Text: "p"}
		outputs := []sweep.Output{
			{Cell: sweep.Cell{Lambda: 0, Sample: 0}, Text: "good"}, {Cell: sweep.Cell{Lambda: 1, Sample: 0}, Text: "bad"},
			{Cell: sweep.Cell{Lambda: 0, Sample: 1}, Text: "bad"}, {Cell: sweep.Cell{Lambda: 1, Sample: 1}, Text: "good"},
		}
		values := j.Score(t.Context(), []sweep.Row{row, row, row, row}, outputs)
		if values[0].Value != want[0] || values[2].Value != want[1] || values[1].Value != 0.5 || values[3].Value != 0.5 {
			t.Errorf("%s: %+v", name, values)
		}
		if n := s.asked.Load(); n != 4 {
			t.Errorf("%s: asked %d times, want both orders of two pairs", name, n)
		}
		lone := j.Score(t.Context(), []sweep.Row{row}, outputs[:1])
		if lone[0].OK() || !strings.Contains(lone[0].Missing, "no answer at λ = 1") {
			t.Errorf("%s: %+v", name, lone)
		}
		j = openJudge(t, s, `,"mode":"pairwise","against":"reference"`, Environment{})
		if v := value(t, j, sweep.Row{Text: "p", Reference: "bad"}, outputs[0]); v.Value != want[0] || !v.OK() {
			t.Errorf("%s against the reference: %+v", name, v)
		}
	}
}

// TestFailures has an endpoint that fails for a while and then answers, and one that never does: the first costs nothing but
// time, the second gives a missing value with the reason, never zero.
func TestFailures(t *testing.T) {
	t.Parallel() // with others that wait
	for name, test := range map[string]struct {
		fail  func(w http.ResponseWriter, gone <-chan struct{})
		says  string
		again bool // whether it is asked again
	}{
		"429": {func(w http.ResponseWriter, _ <-chan struct{}) { http.Error(w, "slow down", http.StatusTooManyRequests) }, "429 Too Many Requests", true},
		"500": {func(w http.ResponseWriter, _ <-chan struct{}) { http.Error(w, "oops", http.StatusInternalServerError) }, "500 Internal Server Error", true},
		"503": {func(w http.ResponseWriter, _ <-chan struct{}) { http.Error(w, "oops", http.StatusServiceUnavailable) }, "503 Service Unavailable", true},
		"400": {func(w http.ResponseWriter, _ <-chan struct{}) { http.Error(w, "no such\nmodel", http.StatusBadRequest) }, "400 Bad Request: no such model", false},
		"redirect": {func(w http.ResponseWriter, _ <-chan struct{}) {
			w.Header().Set("Location", "/v1/models")
			w.WriteHeader(http.StatusFound)
		}, "302 Found", false},
		"late":      {func(_ http.ResponseWriter, gone <-chan struct{}) { <-gone }, "did not answer in time", true},
		"not JSON":  {func(w http.ResponseWriter, _ <-chan struct{}) { io.WriteString(w, `{"choices":[`) }, "answer is not JSON", true},
		"empty":     {func(w http.ResponseWriter, _ <-chan struct{}) { io.WriteString(w, `{"choices":[]}`) }, "no choices", true},
		"prose":     {func(w http.ResponseWriter, _ <-chan struct{}) { say(w, "I would say seven.") }, "verdict is not JSON", true},
		"no score":  {func(w http.ResponseWriter, _ <-chan struct{}) { say(w, `{"explanation":"fine"}`) }, "no score from 1 to 10", true},
		"score 0":   {func(w http.ResponseWriter, _ <-chan struct{}) { say(w, `{"explanation":"fine","score":0}`) }, "no score from 1 to 10", true},
		"hang up":   {func(http.ResponseWriter, <-chan struct{}) { panic(http.ErrAbortHandler) }, "closed the connection", true},
		"too large": {func(w http.ResponseWriter, _ <-chan struct{}) { io.WriteString(w, strings.Repeat("x", maxAnswer+1)) }, "more than", false},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := ""
			if name == "late" {
				timeout = `,"timeout":1`
			}
			s := newServer(t, func(n int, w http.ResponseWriter, q query) {
				if n <= 2 {
					test.fail(w, q.gone)
					return
				}
				say(w, `{"explanation":"","score":6}`)
			})
			v := value(t, openJudge(t, s, timeout, Environment{}), sweep.Row{Text: "p"}, sweep.Output{Text: "a"})
			if test.again && (!v.OK() || v.Value != 6 || s.asked.Load() != 3) {
				t.Errorf("%+v after %d questions, want 6 at the third", v, s.asked.Load())
			}
			always := newServer(t, func(_ int, w http.ResponseWriter, q query) { test.fail(w, q.gone) })
			v = value(t, openJudge(t, always, timeout+`,"tries":2`, Environment{}), sweep.Row{Text: "p"}, sweep.Output{Text: "a"})
			if v.OK() || !strings.Contains(v.Missing, test.says) {
				t.Errorf("%+v, want it missing for %q", v, test.says)
			}
			want := int64(1)
			if test.again {
				want = 2
			}
			if n := settled(&always.asked, want); n != want {
				t.Errorf("asked %d times, want %d", n, want)
			}
			if name == "prose" && v.Cost != 2*(100*10+10*100)/1e6 {
				t.Errorf("two answers of no use cost %v", v.Cost)
			}
		})
	}
}

// TestPairwiseFailures: a pair whose second order has no verdict has no value, and costs what was answered; a refusal is none.
func TestPairwiseFailures(t *testing.T) {
	for name, test := range map[string]struct {
		second func(w http.ResponseWriter)
		says   string
		cost   float64 // in completions
	}{
		"500":        {func(w http.ResponseWriter) { http.Error(w, "oops", http.StatusInternalServerError) }, "500 Internal Server Error: oops (asked 2 times)", 1},
		"no winner":  {func(w http.ResponseWriter) { say(w, `{"explanation":"","winner":"both"}`) }, "named none of A, B and tie", 3},
		"not JSON":   {func(w http.ResponseWriter) { say(w, "A, I think") }, "verdict is not JSON", 3},
		"no content": {func(w http.ResponseWriter) { io.WriteString(w, `{"choices":[{"message":{"content":null}}]}`) }, "verdict is not JSON", 1},
		"refusal":    {func(w http.ResponseWriter) { io.WriteString(w, `{"choices":[{"message":{"refusal":"no"}}]}`) }, "the judge refused", 1},
	} {
		s := newServer(t, func(n int, w http.ResponseWriter, q query) {
			if n == 1 {
				say(w, `{"explanation":"","winner":"A"}`)
				return
			}
			test.second(w)
		})
		j := openJudge(t, s, `,"mode":"pairwise","against":"reference","tries":2`, Environment{})
		v := value(t, j, sweep.Row{Text: "p", Reference: "r"}, sweep.Output{Text: "a"})
		if v.OK() || !strings.Contains(v.Missing, test.says) || math.Abs(v.Cost-test.cost*(100*10+10*100)/1e6) > 1e-12 {
			t.Errorf("%s: %+v, want it missing for %q at the price of %g", name, v, test.says, test.cost)
		}
	}
}

// TestCacheKeepsNoFailures: only verdicts that could be read are kept, and one that cannot be read any more is asked for again.
func TestCacheKeepsNoFailures(t *testing.T) {
	s := newServer(t, func(n int, w http.ResponseWriter, _ query) {
		switch n {
		case 1:
			http.Error(w, "slow down", http.StatusTooManyRequests)
		case 2, 3:
			say(w, "seven")
		default:
			say(w, `{"explanation":"","score":7}`)
		}
	})
	cache := &memory{m: map[string][]byte{}}
	j := openJudge(t, s, `,"tries":3`, Environment{Cache: cache})
	ask := func() sweep.Value { return value(t, j, sweep.Row{Text: "p"}, sweep.Output{Text: "a"}) }
	if v := ask(); v.OK() || len(cache.m) != 0 {
		t.Fatalf("%+v, %d kept", v, len(cache.m))
	}
	if v := ask(); v.Value != 7 || len(cache.m) != 1 {
		t.Fatalf("%+v, %d kept", v, len(cache.m))
	}
	for key := range cache.m {
		cache.m[key] = []byte("{")
	}
	if v := ask(); v.Value != 7 || s.asked.Load() != 5 {
		t.Errorf("%+v after %d questions", v, s.asked.Load())
	}
}

// TestAtOnce: an endpoint is never asked more questions at a time than it was said to take, and a sweep that is stopped waits for none.
func TestAtOnce(t *testing.T) {
	var now, most atomic.Int64
	s := newServer(t, func(_ int, w http.ResponseWriter, _ query) {
		n := now.Add(1)
		defer now.Add(-1)
		for {
			before := most.Load()
			if n <= before || most.CompareAndSwap(before, n) {
				break
			}
		}
		time.Sleep(5 * time.Millisecond)
		say(w, `{"explanation":"","score":6}`)
	})
	j := openJudge(t, s, `,"at_once":3`, Environment{})
	rows, outputs := make([]sweep.Row, 24), make([]sweep.Output, 24)
	var wait sync.WaitGroup
	for range 2 { // two batches of answers are judged at a time
		wait.Go(func() {
			for _, v := range j.Score(t.Context(), rows, outputs) {
				if !v.OK() {
					t.Errorf("%+v", v)
				}
			}
		})
	}
	wait.Wait()
	if n := most.Load(); n != 3 {
		t.Errorf("%d questions at a time, want 3", n)
	}

	hangs := newServer(t, func(_ int, _ http.ResponseWriter, q query) { <-q.gone })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	began := time.Now()
	for _, v := range openJudge(t, hangs, `,"at_once":1`, Environment{}).Score(ctx, rows, outputs) {
		if v.OK() || v.Missing != "stopped before it was judged" {
			t.Errorf("%+v", v)
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel() // with others that wait
	s := newServer(t, func(n int, w http.ResponseWriter, _ query) {
		if n == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		say(w, `{"explanation":"","score":6}`)
	})
	start := time.Now()
	if v := value(t, openJudge(t, s, "", Environment{}), sweep.Row{Text: "p"}, sweep.Output{Text: "a"}); !v.OK() {
		t.Fatalf("%+v", v)
	}
	if took := time.Since(start); took < time.Second {
		t.Errorf("asked again after %v, want a second", took)
	}
}

func TestReachable(t *testing.T) {
	key := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if key = r.Header.Get("Authorization"); key != "Bearer right" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		say(w, `{"score":7}`)
	}))
	rewards := func(name, url, secret string) []Named {
		r, err := Open(t.Context(), &sweep.Config{
			Prompts: sweep.Prompts{Rows: []sweep.Row{{Text: "p"}}},
			Rewards: []sweep.Reward{{Reward: name, Name: "mine", Parameters: json.RawMessage(url)}},
		}, Environment{Headless: true, Secret: func(string) string { return secret }})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	with := fmt.Sprintf(`{"url":%q,"model":"m","key":"KEY"}`, s.URL)
	if err := Check(t.Context(), rewards("judge", with, "right")); err != nil {
		t.Error(err)
	}
	if f := fault.Of(Check(t.Context(), rewards("judge", with, "wrong"))); f == nil || f.Field != "rewards.mine.key" {
		t.Errorf("%v", f)
	}
	s.Close()
	for _, name := range []string{"judge", "http"} {
		parameters := fmt.Sprintf(`{"url":%q,"model":"m"}`, s.URL)
		if name == "http" {
			parameters = fmt.Sprintf(`{"url":%q}`, s.URL)
		}
		f := fault.Of(Check(t.Context(), rewards(name, parameters, "")))
		if f == nil || f.Kind != fault.Invalid || f.Field != "rewards.mine.url" || !strings.Contains(f.Message, "does not answer") {
			t.Errorf("%s: %v, want an invalid address that does not answer", name, f)
		}
	}
}

func TestHTTP(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q asked
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		switch q.Answer {
		case "number":
			fmt.Fprint(w, q.Lambda*2)
		case "object":
			fmt.Fprint(w, `{"value": 0}`)
		case "missing":
			fmt.Fprint(w, `{"missing": "no idea"}`)
		default:
			fmt.Fprint(w, `{"score": 3}`)
		}
	}))
	defer s.Close()
	row := sweep.Row{Text: "p"}
	r := open(t, "http", fmt.Sprintf(`{"url":%q,"direction":"lower","tries":1}`, s.URL), Environment{Headless: true}, row)
	if r.Info().Direction != sweep.Lower {
		t.Error("the direction was not taken")
	}
	outputs := []sweep.Output{{Cell: sweep.Cell{Lambda: 1.5}, Text: "number"}, {Text: "object"}, {Text: "missing"}, {Text: "?"}}
	v := r.Score(t.Context(), []sweep.Row{row, row, row, row}, outputs)
	if v[0].Value != 3 || !v[1].OK() || v[1].Value != 0 || v[2].Missing != "no idea" || !strings.Contains(v[3].Missing, "neither a number") {
		t.Errorf("%+v", v)
	}
}

// TestHTTPFailures: an address that fails for a while is asked again, and one that always does gives a missing value.
func TestHTTPFailures(t *testing.T) {
	t.Parallel() // with others that wait
	for name, test := range map[string]struct {
		fail  func(w http.ResponseWriter, gone <-chan struct{})
		says  string
		again bool
	}{
		"429": {func(w http.ResponseWriter, _ <-chan struct{}) { w.WriteHeader(http.StatusTooManyRequests) }, "429 Too Many Requests", true},
		"500": {func(w http.ResponseWriter, _ <-chan struct{}) { w.WriteHeader(http.StatusInternalServerError) }, "500 Internal Server Error", true},
		"404": {func(w http.ResponseWriter, _ <-chan struct{}) { http.Error(w, "not here", http.StatusNotFound) }, "404 Not Found: not here", false},
		"redirect": {func(w http.ResponseWriter, _ <-chan struct{}) {
			w.Header().Set("Location", "/other")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, "307", false},
		"late":    {func(_ http.ResponseWriter, gone <-chan struct{}) { <-gone }, "did not answer in time", true},
		"hang up": {func(http.ResponseWriter, <-chan struct{}) { panic(http.ErrAbortHandler) }, "closed the connection", true},
		"no JSON": {func(w http.ResponseWriter, _ <-chan struct{}) { io.WriteString(w, "fine") }, "neither a number", true},
		"null":    {func(w http.ResponseWriter, _ <-chan struct{}) { io.WriteString(w, "null") }, "neither a number", true},
		"endless": {func(w http.ResponseWriter, _ <-chan struct{}) { io.WriteString(w, "1e999") }, "neither a number", true},
	} {
		t.Run(name, func(t *testing.T) {
			var asked, failures atomic.Int64
			failures.Store(2)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				if asked.Add(1) <= failures.Load() {
					test.fail(w, r.Context().Done())
					return
				}
				if r.URL.Path != "/" || r.Header.Get("Authorization") != "Bearer secret" {
					t.Errorf("asked %s as %q", r.URL, r.Header.Get("Authorization"))
				}
				fmt.Fprint(w, 6)
			}))
			defer s.Close()
			timeout := 60.0
			if name == "late" {
				timeout = 1
			}
			judge := func() sweep.Value {
				r := open(t, "http", fmt.Sprintf(`{"url":%q,"key":"KEY","tries":3,"timeout":%g}`, s.URL, timeout), Environment{Headless: true, Secret: func(string) string { return "secret" }}, sweep.Row{Text: "p"})
				r.(*overHTTP).pause = time.Millisecond
				return value(t, r, sweep.Row{Text: "p"}, sweep.Output{Text: "a"})
			}
			if v := judge(); test.again && (!v.OK() || v.Value != 6 || asked.Load() != 3) {
				t.Errorf("%+v after %d questions, want 6 at the third", v, asked.Load())
			}
			asked.Store(0)
			failures.Store(1000)
			want := int64(1)
			if test.again {
				want = 3
			}
			if v := judge(); v.OK() || !strings.Contains(v.Missing, test.says) || strings.Contains(v.Missing, "secret") || settled(&asked, want) != want {
				t.Errorf("%+v after %d questions, want it missing for %q after %d", v, asked.Load(), test.says, want)
			}
		})
	}
}

// FuzzVerdict: whatever an endpoint says, it is a verdict or an error.
func FuzzVerdict(f *testing.F) {
	f.Add([]byte(`{"choices":[{"message":{"content":"{\"score\":3}"}}]}`))
	f.Add([]byte(`{"value":null}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		for _, check := range []func(v *verdict) error{
			func(v *verdict) error { _, err := v.score(); return err }, func(v *verdict) error { _, err := v.share(); return err },
		} {
			if err := readVerdict(answer, check); err != nil && !errors.As(err, new(unreadable)) {
				t.Errorf("%v", err)
			}
		}
		if v, err := answered(answer); err == nil && !v.OK() && v.Missing == "" {
			t.Errorf("%+v", v)
		}
	})
}
