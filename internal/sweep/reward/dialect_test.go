package reward

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/sweep"
)

// picky is an endpoint that refuses questions which have some fields, in the words of well-known ones, and remembers what it was asked.
type picky struct {
	refuses map[string]string // by the field: the answer to it
	query   string            // that addresses must have
	header  string            // that the key must be in
	answer  string

	mu    sync.Mutex
	asked []map[string]json.RawMessage
}

func (p *picky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var question map[string]json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&question); err != nil || !strings.HasSuffix(r.URL.Path, "/chat/completions") || r.URL.RawQuery != p.query {
		http.Error(w, "there is nothing at "+r.URL.String(), http.StatusNotFound)
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, question)
	p.mu.Unlock()
	if p.header != "" && r.Header.Get(p.header) != "secret" {
		http.Error(w, `{"error":"Access denied due to missing subscription key"}`, http.StatusUnauthorized)
		return
	}
	for field, words := range p.refuses {
		_, given := question[field]
		if field == "system" {
			given = strings.Contains(string(question["messages"]), `"role":"system"`)
		}
		if kind, ok := strings.CutPrefix(field, "response_format:"); ok {
			given = strings.Contains(string(question["response_format"]), kind)
		}
		if given {
			http.Error(w, words, http.StatusBadRequest)
			return
		}
	}
	say(w, p.answer)
}

// TestTrial: one trial question finds out how an endpoint wants to be asked, before anything is decoded, and what follows is asked
// so at once.
func TestTrial(t *testing.T) {
	const (
		oldLimit    = `{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","type":"invalid_request_error","param":"max_tokens","code":"unsupported_parameter"}}`
		temperature = `{"error":{"message":"Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.","param":"temperature","code":"unsupported_value"}}`
		schema      = `{"error":{"message":"Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.","param":null}}`
		object      = `{"detail":"json_object is not supported"}`
	)
	for name, test := range map[string]struct {
		endpoint *picky
		has      string // fields of the questions after the trial
		hasNot   string
	}{
		"as ever":       {&picky{}, "max_tokens temperature response_format", "max_completion_tokens"},
		"newer":         {&picky{refuses: map[string]string{"max_tokens": oldLimit, "temperature": temperature}}, "max_completion_tokens response_format", "max_tokens temperature"},
		"no schema":     {&picky{refuses: map[string]string{"response_format:json_schema": schema}}, "response_format max_tokens", ""},
		"no format":     {&picky{refuses: map[string]string{"response_format:json_schema": schema, "response_format:json_object": object}}, "max_tokens temperature", "response_format"},
		"silent":        {&picky{refuses: map[string]string{"response_format": "bad request", "temperature": "bad request"}}, "", "temperature response_format"},
		"no limit":      {&picky{refuses: map[string]string{"max_tokens": oldLimit, "max_completion_tokens": "unknown field max_completion_tokens"}}, "temperature", "max_tokens max_completion_tokens"},
		"no system":     {&picky{refuses: map[string]string{"system": "System role not supported"}}, "max_tokens", ""},
		"query":         {&picky{query: "api-version=2024-10-21"}, "max_tokens", ""},
		"key in header": {&picky{header: "api-key", query: "api-version=2024-10-21"}, "max_tokens", ""},
		"named header":  {&picky{header: "X-My-Key"}, "max_tokens", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := test.endpoint
			p.answer = `{"explanation":"","score":6}`
			s := httptest.NewServer(p)
			defer s.Close()
			address := s.URL + "/openai/v1/"
			if p.query != "" {
				address += "chat/completions?" + p.query
			}
			more := ""
			if p.header != "" {
				more = `,"key":"KEY"`
			}
			if p.header == "X-My-Key" {
				more += `,"key_header":"x-my-key"`
			}
			j := open(t, "judge", fmt.Sprintf(`{"url":%q,"model":"m","tries":1%s}`, address, more), Environment{Headless: true, Secret: func(string) string { return "secret" }}, sweep.Row{Text: "p"}).(*judge)
			if err := Check(t.Context(), []Named{{"judge", j}}); err != nil {
				t.Fatal(err)
			}
			trial := len(p.asked)
			if v := value(t, j, sweep.Row{Text: "p"}, sweep.Output{Text: "a"}); !v.OK() || v.Value != 6 {
				t.Fatalf("%+v", v)
			}
			if len(p.asked) != trial+1 || trial > 8 {
				t.Errorf("%d questions to find out, and %d for one answer", trial, len(p.asked)-trial)
			}
			last := p.asked[len(p.asked)-1]
			for _, field := range strings.Fields(test.has) {
				if last[field] == nil {
					t.Errorf("%s is not asked: %s", field, last)
				}
			}
			for _, field := range strings.Fields(test.hasNot) {
				if last[field] != nil {
					t.Errorf("%s is asked: %s", field, last)
				}
			}
		})
	}
}

// TestTrialFails: an endpoint that cannot judge stops the start of a sweep, in its own words.
func TestTrialFails(t *testing.T) {
	for name, test := range map[string]struct {
		answer      func(w http.ResponseWriter)
		field, says string
	}{
		"no model":   {func(w http.ResponseWriter) { http.Error(w, "the model `m` does not exist", http.StatusNotFound) }, "url", "404 Not Found: the model `m` does not exist"},
		"bad model":  {func(w http.ResponseWriter) { http.Error(w, "unknown model m", http.StatusBadRequest) }, "url", "400 Bad Request: unknown model m"},
		"no credit":  {func(w http.ResponseWriter) { http.Error(w, "no credit", http.StatusPaymentRequired) }, "url", "402 Payment Required: no credit"},
		"wrong key":  {func(w http.ResponseWriter) { http.Error(w, "not you", http.StatusForbidden) }, "key", "403 Forbidden: not you"},
		"overloaded": {func(w http.ResponseWriter) { http.Error(w, "come back", http.StatusServiceUnavailable) }, "url", "503 Service Unavailable: come back"},
		"no verdict": {func(w http.ResponseWriter) { say(w, "It is a fine answer.") }, "url", "verdict is not JSON: It is a fine answer."},
		"hangs up":   {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, "url", "does not answer a trial question"},
	} {
		for _, kind := range []string{"judge", "http"} {
			if kind == "http" && name == "no verdict" {
				test.says = "neither a number"
			}
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); test.answer(w) }))
			parameters := fmt.Sprintf(`{"url":%q,"model":"m","tries":1,"key":"KEY"}`, s.URL)
			if kind == "http" {
				parameters = strings.Replace(parameters, `"model":"m",`, "", 1)
			}
			r := open(t, kind, parameters, Environment{Headless: true, Secret: func(string) string { return "secret" }}, sweep.Row{Text: "p"})
			f := fault.Of(Check(t.Context(), []Named{{"mine", r}}))
			if f == nil || f.Kind != fault.Invalid || f.Field != "rewards.mine."+test.field || !strings.Contains(f.Message, test.says) || strings.Contains(f.Error(), "secret") {
				t.Errorf("%s of %s: %v, want %s: %s", kind, name, f, test.field, test.says)
			}
			s.Close()
		}
	}
}

// TestVerdicts: what models say in place of the JSON that they are asked for.
func TestVerdicts(t *testing.T) {
	for text, want := range map[string]float64{
		`<think>If {good} I say {"score": 3}.</think> {"explanation":"ok","score":7}`: 7,
		`I weigh {"score": 3}.</think>{"score":7}`:                                    7,
		"<Thinking>\n{\"score\": 2}\n</Thinking>\n```json\n{\"score\": 7}\n```":       7,
		`{"explanation":"ok","score":"7"}`:                                            7,
		`{"explanation":"ok","score":"7/10"}`:                                         7,
		`{"explanation":"ok","score":"7.5 out of 10"}`:                                7.5,
		`For instance {"score": 1} would be harsh. My verdict: {"score": 7} (final).`: 7,
		`{"score": 7, "explanation": "uses {braces} and \"quotes\""}`:                 7,
		`{x} {"score": 7} {"note": "done"}`:                                           7,
	} {
		s := newServer(t, func(_ int, w http.ResponseWriter, _ query) { say(w, text) })
		if v := value(t, openJudge(t, s, `,"tries":1`, Environment{}), sweep.Row{Text: "p"}, sweep.Output{Text: "a"}); v.Value != want || !v.OK() {
			t.Errorf("%s: %+v, want %g", text, v, want)
		}
	}
	for text, says := range map[string]string{
		`<think>If {good} I say {"score": 3}.`: "thought to the end of its answer: raise max_tokens",
		`{"score": "seven"}`:                   "no score from 1 to 10",
		`{"score": "71"}`:                      "no score from 1 to 10",
		`{"score": [7]}`:                       "no score from 1 to 10",
		strings.Repeat("{", 5000):              "verdict is not JSON",
	} {
		s := newServer(t, func(_ int, w http.ResponseWriter, _ query) { say(w, text) })
		if v := value(t, openJudge(t, s, `,"tries":1`, Environment{}), sweep.Row{Text: "p"}, sweep.Output{Text: "a"}); v.OK() || !strings.Contains(v.Missing, says) {
			t.Errorf("%.60s: %+v, want it missing for %q", text, v, says)
		}
	}
	parts := `{"choices":[{"message":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"{\"score\":2}"}]},{"type":"text","text":"{\"score\":"},{"type":"text","text":"7}"}]}}]}`
	s := newServer(t, func(_ int, w http.ResponseWriter, _ query) { io.WriteString(w, parts) })
	if v := value(t, openJudge(t, s, `,"tries":1`, Environment{}), sweep.Row{Text: "p"}, sweep.Output{Text: "a"}); v.Value != 7 {
		t.Errorf("parts: %+v", v)
	}
	for winner, want := range map[string]float64{
		"A": 1, "a": 1, "Answer A": 1, "answer_a": 1, "[[A]]": 1, "Answer A is better.": 1, "The better answer is A": 1, "B": 0, "Assistant B": 0, "tie": 0.5, "Tie": 0.5, "a tie": 0.5, "equally good": 0.5,
	} {
		s := newServer(t, func(_ int, w http.ResponseWriter, _ query) { say(w, fmt.Sprintf(`{"winner":%q}`, winner)) })
		j := openJudge(t, s, `,"tries":1`, Environment{})
		if share, _, err := j.prefer(t.Context(), &sweep.Row{Text: "p"}, "", "x", "y"); err != nil || share != want {
			t.Errorf("%s: %g, %v, want %g", winner, share, err, want)
		}
	}
	for _, winner := range []string{"", "both", "A or B", "C", "neither", "Answer A is better than B"} {
		var v verdict
		v.Winner, _ = json.Marshal(winner)
		if share, err := v.share(); err == nil {
			t.Errorf("%q is %g", winner, share)
		}
	}
}

// TestCutOff: a verdict that was cut off would be cut off again, and is not paid for again.
func TestCutOff(t *testing.T) {
	s := newServer(t, func(_ int, w http.ResponseWriter, _ query) {
		io.WriteString(w, `{"choices":[{"finish_reason":"length","message":{"content":"{\"explanation\": \"so"}}]}`)
	})
	v := value(t, openJudge(t, s, "", Environment{}), sweep.Row{Text: "p"}, sweep.Output{Text: "a"})
	if v.OK() || !strings.Contains(v.Missing, "raise max_tokens") || s.asked.Load() != 1 {
		t.Errorf("%+v after %d questions", v, s.asked.Load())
	}
}

func TestRetryAfterForms(t *testing.T) {
	var first time.Time
	s := newServer(t, func(n int, w http.ResponseWriter, _ query) {
		if n == 1 {
			first = time.Now()
			w.Header().Set("Retry-After", "0.3")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		say(w, `{"score":6}`)
	})
	if v := value(t, openJudge(t, s, "", Environment{}), sweep.Row{Text: "p"}, sweep.Output{Text: "a"}); !v.OK() || time.Since(first) < 300*time.Millisecond {
		t.Errorf("%+v, asked again after %v", v, time.Since(first))
	}
}
