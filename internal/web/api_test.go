package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"realign/internal/apikey"
	"realign/internal/decode"
	"realign/internal/openai"
)

// call posts a body to the API and reads the answer as JSON into v.
func (w *world) call(path, body string, status int, v any, header ...string) http.Header {
	w.t.Helper()
	r, err := http.NewRequest("POST", w.http.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != status {
		w.t.Fatalf("POST %s %.200s: %d, want %d: %.500s, %v", path, body, answer.StatusCode, status, data, err)
	}
	if v != nil {
		if err := json.Unmarshal(data, v); err != nil {
			w.t.Fatalf("POST %s: %v: %s", path, err, data)
		}
	}
	return answer.Header
}

// lanes decodes on the engine itself.
func (w *world) lanes(r decode.Request) (texts []string) {
	w.t.Helper()
	texts = make([]string, len(r.Lanes))
	job, err := w.models.engine.Start(r, func(e decode.Event) {
		if e.Type == decode.EventToken {
			texts[e.Lane] += e.Text
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	<-job.Done()
	return texts
}

// A reply of the API is what the engine decodes with the seed that the reply tells.
func TestAPIEqualsTheEngine(t *testing.T) {
	w := newWorld(t, setup{})
	var a openai.ChatCompletion
	var b openai.Completion
	w.call("/v1/chat/completions", `{"model":"table:warm","messages":[{"role":"user","content":"abcab"}],"lambda":[0,0.5,1,2],"n":2,"seed":5,"max_tokens":20,"temperature":0.9,"realign":true,"return_token_ids":true,"logprobs":true,"top_logprobs":2}`, 200, &a)
	if len(a.Choices) != 8 || a.Object != "chat.completion" || a.Usage.Completion == 0 || a.Usage.Total != a.Usage.Prompt+a.Usage.Completion {
		t.Fatalf("%+v", a)
	}
	r := decode.Request{Aligned: []string{"warm"}, Prompt: decode.Prompt{Messages: []decode.Message{{Role: "user", Content: "abcab"}}}, Sampling: decode.Sampling{MaxTokens: 20, Temperature: 0.9, TopP: 1}, Seed: *a.Choices[0].Realign.Seed}
	for i, c := range a.Choices {
		r.Lanes = append(r.Lanes, decode.Lane{Index: i, Lambda: c.Lambda, Sample: i % 2})
	}
	for i, text := range w.lanes(r) {
		c := a.Choices[i]
		if c.Message.Content != text || c.Index != i {
			t.Errorf("choice %d at %v is %q, the engine says %q", i, c.Lambda, c.Message.Content, text)
		}
		if len(c.TokenIDs) != len(c.Logprobs.Content) || len(c.Realign.Tokens) != len(c.TokenIDs) || c.Realign.Totals == nil || len(c.Logprobs.Content[0].Top) != 2 {
			t.Errorf("choice %d: %+v", i, c)
		}
	}
	// The seed itself, as the playground takes it.
	w.call("/v1/completions", `{"model":"table:warm@0.5","prompt":"abcab","seed":5,"seed_by_prompt":false,"max_tokens":20,"temperature":0.9,"repeat_penalty":1.2,"penalty_window":3,"ignore_eos":true,"realign":true}`, 200, &b)
	plain := decode.Request{
		Aligned: []string{"warm"}, Prompt: decode.Prompt{Text: "abcab"}, Seed: 5, Lanes: []decode.Lane{{Lambda: decode.Vector{0.5}}},
		Sampling: decode.Sampling{MaxTokens: 20, Temperature: 0.9, TopP: 1, RepeatPenalty: 1.2, PenaltyWindow: 3, IgnoreEnd: true},
	}
	if texts := w.lanes(plain); b.Choices[0].Text != texts[0] || *b.Choices[0].Realign.Seed != 5 || len(b.Choices[0].Realign.Tokens) != 20 {
		t.Errorf("%+v, the engine says %q", b.Choices[0], texts)
	}
	if b := a.Choices[2].Realign.Beta; b == nil || *b != 0.2 {
		t.Errorf("effective β at 0.5: %v", b)
	}
}

// stream posts a body and returns the data of each event, and the comments.
func (w *world) stream(body, path string) (data, comments []string) {
	w.t.Helper()
	answer, err := http.Post(w.http.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" {
		b, _ := io.ReadAll(answer.Body)
		w.t.Fatalf("%d, %s: %s", answer.StatusCode, answer.Header.Get("Content-Type"), b)
	}
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if d, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			data = append(data, d)
		} else if c, ok := strings.CutPrefix(lines.Text(), ": "); ok {
			comments = append(comments, c)
		}
	}
	return data, comments
}

// A stream tells what the whole answer would, in the order that clients expect.
func TestAPIStreams(t *testing.T) {
	w := newWorld(t, setup{})
	const body = `{"model":"table:warm@0.5","messages":[{"role":"user","content":"abc"}],"n":3,"seed":5,"max_tokens":15,"logprobs":true%s}`
	var whole openai.ChatCompletion
	w.call("/v1/chat/completions", fmt.Sprintf(body, ""), 200, &whole)
	data, _ := w.stream(fmt.Sprintf(body, `,"stream":true,"stream_options":{"include_usage":true}`), "/v1/chat/completions")
	if data[len(data)-1] != "[DONE]" {
		t.Fatalf("the stream ends with %s", data[len(data)-1])
	}
	texts, roles, ends, tokens := map[int]string{}, map[int]int{}, map[int]string{}, map[int]int{}
	var usage *openai.Usage
	for i, line := range data[:len(data)-1] {
		var c openai.ChatChunk
		if err := json.Unmarshal([]byte(line), &c); err != nil || c.Object != "chat.completion.chunk" || c.Choices == nil {
			t.Fatalf("%s: %v", line, err)
		}
		if len(c.Choices) == 0 {
			if usage = c.Usage; i != len(data)-2 {
				t.Error("the usage is not last")
			}
			continue
		}
		choice := c.Choices[0]
		if choice.Delta.Role != "" {
			roles[choice.Index] = i
		}
		if choice.Delta.Content != nil {
			texts[choice.Index] += *choice.Delta.Content
		}
		if choice.Logprobs != nil {
			tokens[choice.Index] += len(choice.Logprobs.Content)
		}
		if choice.FinishReason != nil {
			if ends[choice.Index] != "" {
				t.Error("two reasons")
			}
			ends[choice.Index] = *choice.FinishReason
		} else if ends[choice.Index] != "" {
			t.Error("something comes behind the reason")
		}
	}
	for i, c := range whole.Choices {
		if texts[i] != c.Message.Content || ends[i] != *c.FinishReason || tokens[i] != len(c.Logprobs.Content) || roles[i] != i {
			t.Errorf("choice %d: streamed %q, %s, %d tokens, role in chunk %d; at once %+v", i, texts[i], ends[i], tokens[i], roles[i], c)
		}
	}
	if usage == nil || *usage != whole.Usage {
		cached := whole.Usage
		if usage != nil {
			cached.Details = usage.Details // the second call may find the prompt read
		}
		if usage == nil || *usage != cached {
			t.Errorf("usage %+v, at once %+v", usage, whole.Usage)
		}
	}
	data, _ = w.stream(`{"model":"table@1","prompt":"abc","stream":true,"max_tokens":5,"seed":1}`, "/v1/completions")
	text := ""
	for _, line := range data[:len(data)-1] {
		var c openai.Completion
		if err := json.Unmarshal([]byte(line), &c); err != nil || c.Object != "text_completion" {
			t.Fatalf("%s: %v", line, err)
		}
		text += c.Choices[0].Text
	}
	_, comments := w.stream(`{"model":"table@1","prompt":"`+strings.Repeat("abc", 500)+`","stream":true,"max_tokens":1}`, "/v1/completions")
	if len(comments) == 0 || !strings.HasPrefix(comments[0], "reading the prompt: ") {
		t.Errorf("while a long prompt is read: %q", comments)
	}
	var once openai.Completion
	w.call("/v1/completions", `{"model":"table@1","prompt":"abc","max_tokens":5,"seed":1}`, 200, &once)
	if text != once.Choices[0].Text || text == "" {
		t.Errorf("streamed %q, at once %q", text, once.Choices[0].Text)
	}
}

// Log-likelihoods as harnesses ask for them: those of the tokens sent, one λ after another from the cache, at once by
// /v1/score, and those of lanes that are made to say the prompt.
func TestAPIScores(t *testing.T) {
	w := newWorld(t, setup{})
	tokens := []decode.Token{3, 4, 5, 4, 3, 5, 6}
	ids, err := json.Marshal(tokens)
	if err != nil {
		t.Fatal(err)
	}
	var grid openai.ScoreAnswer
	w.call("/v1/score", fmt.Sprintf(`{"model":"table:warm","prompt":[%s],"from":2}`, ids), 200, &grid)
	if len(grid.Lambda) != 9 || len(grid.Data) != 1 {
		t.Fatalf("%+v", grid)
	}
	passes := w.models.engine.Counters().Passes["reference"]
	for k, v := range grid.Lambda {
		var a openai.Completion
		w.call("/v1/completions", fmt.Sprintf(`{"model":"table:warm@%v","prompt":[%s],"temperature":0,"max_tokens":1,"logprobs":1,"seed":1234,"echo":true}`, v[0], ids), 200, &a)
		l := a.Choices[0].Logprobs
		if len(l.Logprob) != len(tokens)+1 || l.Logprob[0] != nil || l.Top[0] != nil || len(l.Offset) != len(tokens)+1 {
			t.Fatalf("%+v", l)
		}
		sum, greedy := 0.0, true
		for i, x := range l.Logprob[2:len(tokens)] { // as lm-evaluation-harness cuts them: [ctxlen:-1]
			sum += *x
			best := math.Inf(-1)
			for _, y := range l.Top[2+i] {
				best = max(best, y)
			}
			greedy = greedy && *x == best
		}
		if math.Abs(sum-grid.Data[0].Logprob[k]) > 1e-12 || greedy != grid.Data[0].Greedy[k] {
			t.Errorf("λ = %v: echo gives %v, %v, score %v, %v", v, sum, greedy, grid.Data[0].Logprob[k], grid.Data[0].Greedy[k])
		}
		r := decode.Request{Aligned: []string{"warm"}, Prompt: decode.Prompt{Tokens: tokens[:1]}, Sampling: decode.Sampling{MaxTokens: len(tokens), TopP: 1}, Lanes: []decode.Lane{{Lambda: v, Prefix: tokens[1:]}}}
		want := []float64{}
		var last decode.Event
		job, err := w.models.engine.Start(r, func(e decode.Event) {
			if e.Type == decode.EventToken {
				want = append(want, e.Logp.Mixture)
				last = e
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		<-job.Done()
		for i, x := range l.Logprob[1:] {
			if math.Abs(*x-want[i]) > 1e-12 {
				t.Errorf("λ = %v, token %d: %v, a lane says %v", v, i+1, *x, want[i])
			}
		}
		if l.Tokens[len(tokens)] != last.Name && l.Tokens[len(tokens)] != last.Text {
			t.Errorf("the next token is %q, a lane says %q", l.Tokens[len(tokens)], last.Name)
		}
	}
	lanes := int64(len(grid.Lambda)) * int64(len(tokens)) // passes of the lanes above: a token each
	if more := w.models.engine.Counters().Passes["reference"] - passes; more > lanes {
		t.Errorf("asking λ after λ took %d passes beyond those of the lanes: the cache was not used", more-lanes)
	}
	// Two samples at two λ, echoed, with prompt log-probabilities in vLLM's shape.
	var a openai.Completion
	w.call("/v1/completions", fmt.Sprintf(`{"model":"table:warm","lambda":[0.3,1],"prompt":[%s],"n":2,"max_tokens":3,"prompt_logprobs":2,"return_token_ids":true}`, ids), 200, &a)
	if len(a.Choices) != 4 || len(a.Choices[3].PromptLogprobs) != len(tokens) || a.Choices[0].PromptLogprobs[0] != nil || len(a.Choices[0].PromptTokens) != len(tokens) {
		t.Errorf("%+v", a.Choices)
	}
}

func TestAPITokenizer(t *testing.T) {
	w := newWorld(t, setup{})
	var a struct {
		Tokens []decode.Token `json:"tokens"`
		Count  int
	}
	w.call("/tokenize", `{"prompt":"abc","add_special_tokens":false}`, 200, &a)
	bare := len(a.Tokens)
	var back struct{ Prompt string }
	ids, _ := json.Marshal(a.Tokens)
	w.call("/detokenize", `{"tokens":`+string(ids)+`}`, 200, &back)
	if bare != 3 || a.Count != bare || back.Prompt != "abc" {
		t.Errorf("%+v, %q", a, back.Prompt)
	}
	w.call("/tokenize", `{"messages":[{"role":"user","content":"abc"}]}`, 200, &a)
	if len(a.Tokens) <= bare {
		t.Errorf("a conversation has %d tokens", len(a.Tokens))
	}
	w.call("/detokenize", `{"tokens":[100000]}`, 400, nil)
	w.call("/tokenize", `{"model":"nobody","prompt":"a"}`, 404, nil)
	w.call("/tokenize", `[]`, 400, nil)
}

func TestAPIModels(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	var list struct {
		Object string
		Data   []struct{ ID, Object string }
	}
	if err := json.Unmarshal([]byte(p.get("/v1/models", 200)), &list); err != nil || len(list.Data) != 8 || list.Object != "list" {
		t.Errorf("%+v, %v", list, err)
	}
	for _, m := range list.Data {
		p.get("/v1/models/"+m.ID, 200)
	}
	p.get("/v1/models/table:warm@0.123", 200)
	p.get("/v1/models/nobody", 404)
	if body := p.get("/v1/openapi.json", 200); !json.Valid([]byte(body)) {
		t.Error("the OpenAPI document is not JSON")
	}
}

// Errors have OpenAI's form and the right status, and name the field.
func TestAPIErrors(t *testing.T) {
	w := newWorld(t, setup{})
	for _, test := range []struct {
		path, body string
		status     int
		param      string
	}{
		{"/v1/chat/completions", `{`, 400, "body"},
		{"/v1/chat/completions", `{"model":"nobody","messages":[{"role":"user","content":"x"}]}`, 404, "model"},
		{"/v1/chat/completions", `{"model":"table:cold","messages":[{"role":"user","content":"x"}]}`, 404, "model"},
		{"/v1/chat/completions", `{"model":"table","messages":[{"role":"user","content":"x"}],"tools":[{}]}`, 400, "tools"},
		{"/v1/completions", `{"model":"table","prompt":[1000000]}`, 400, "prompt"},
		{"/v1/completions", `{"model":"table","prompt":[1000000],"stream":true}`, 400, "prompt"},
		{"/v1/completions", `{"model":"table","prompt":"` + strings.Repeat("a", 1<<20) + `"}`, 400, "prompt"},
		{"/v1/completions", strings.Repeat(" ", 9<<20), 400, "body"},
		{"/v1/score", `{"model":"table","prompt":"abc","from":0}`, 400, "from"},
		{"/v1/score", `{"model":"table","prompt":"abc","from":100}`, 400, "from"},
	} {
		var e openai.ErrorBody
		w.call(test.path, test.body, test.status, &e)
		if e.Error.Param == nil || *e.Error.Param != test.param || e.Error.Message == "" || e.Error.Type == "" {
			t.Errorf("%s %.60s: %+v", test.path, test.body, e.Error)
		}
	}
	w.models.mu.Lock()
	w.models.busy = true
	w.models.mu.Unlock()
	var e openai.ErrorBody
	for _, more := range []string{"", `,"stream":true`} {
		h := w.call("/v1/completions", `{"model":"table","prompt":"abc"`+more+`}`, 429, &e)
		if h.Get("Retry-After") == "" || *e.Error.Code != "rate_limit_exceeded" || h.Get("X-Request-Id") == "" {
			t.Errorf("%+v, %v", e.Error, h)
		}
	}
}

func TestAPIKeys(t *testing.T) {
	w := newWorld(t, setup{auth: AuthPassword})
	make := func(name string, expires time.Time, limits apikey.Limits) string {
		k, secret, err := apikey.New(name, "", expires, limits, w.clock.now())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.store.CreateKey(context.Background(), k, apikey.Hash(secret)); err != nil {
			t.Fatal(err)
		}
		return secret
	}
	const body = `{"model":"table","prompt":"abc","max_tokens":2}`
	w.call("/v1/completions", body, 401, nil)
	w.call("/v1/completions", body, 401, nil, "Authorization", "Bearer rk-wrong")
	good := make("good", time.Time{}, apikey.Limits{})
	w.call("/v1/completions", body, 200, nil, "Authorization", "Bearer "+good)
	short := make("short", w.clock.now().Add(time.Hour), apikey.Limits{})
	w.call("/v1/completions", body, 200, nil, "Authorization", "Bearer "+short)
	w.clock.advance(2 * time.Hour)
	w.call("/v1/completions", body, 401, nil, "Authorization", "Bearer "+short)
	few := make("few", time.Time{}, apikey.Limits{Requests: 2})
	w.call("/v1/completions", body, 200, nil, "Authorization", "Bearer "+few)
	w.call("/v1/completions", body, 200, nil, "Authorization", "Bearer "+few)
	w.call("/v1/completions", body, 429, nil, "Authorization", "Bearer "+few)
	w.clock.advance(time.Minute)
	w.call("/v1/completions", body, 200, nil, "Authorization", "Bearer "+few)
	narrow := make("narrow", time.Time{}, apikey.Limits{Lanes: 2})
	w.call("/v1/completions", `{"model":"table","prompt":"abc","max_tokens":2,"n":2}`, 200, nil, "Authorization", "Bearer "+narrow)
	w.call("/v1/completions", `{"model":"table","prompt":"abc","max_tokens":2,"n":3}`, 400, nil, "Authorization", "Bearer "+narrow)
	thrifty := make("thrifty", time.Time{}, apikey.Limits{Tokens: 5})
	w.call("/v1/completions", `{"model":"table","prompt":"abcabc","max_tokens":20}`, 200, nil, "Authorization", "Bearer "+thrifty)
	w.call("/v1/completions", body, 429, nil, "Authorization", "Bearer "+thrifty)
	if err := w.store.RevokeKey(context.Background(), "good", w.clock.now()); err != nil {
		t.Fatal(err)
	}
	w.call("/v1/completions", body, 401, nil, "Authorization", "Bearer "+good)
	if strings.Contains(w.logs.String(), good) || strings.Contains(w.logs.String(), "abcabc") {
		t.Error("the log holds a key or a text")
	}
	keys, err := w.store.Keys(context.Background())
	if err != nil || len(keys) != 5 || keys[len(keys)-1].UsedAt.IsZero() {
		t.Errorf("%+v, %v", keys, err)
	}
}

// A client that goes away frees its lanes, and nothing is left of it.
func TestAPIClientsThatLeave(t *testing.T) {
	w := newWorld(t, setup{delay: 5 * time.Millisecond})
	before := runtime.NumGoroutine()
	for _, more := range []string{`,"stream":true`, ""} {
		w.leave(`{"model":"table","prompt":"abc","max_tokens":1000,"n":4,"logit_bias":{"1":-100,"2":-100,"0":-100}`+more+`}`, 4)
	}
	http.DefaultClient.CloseIdleConnections()
	w.until(func() bool { return runtime.NumGoroutine() <= before+5 })
}

// leave posts a body to /v1/completions, goes away once so many lanes are being decoded, and waits until there are none.
func (w *world) leave(body string, lanes int, header ...string) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "POST", w.http.URL+"/v1/completions", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		if answer, err := http.DefaultClient.Do(r); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
	}()
	w.until(func() bool { return w.models.engine.Counters().Lanes == lanes })
	cancel()
	<-left
	w.until(func() bool { return w.models.engine.Counters().Lanes == 0 })
}

// until waits for something to become true.
func (w *world) until(ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			w.t.Fatal("it did not happen within 20 seconds")
		}
		time.Sleep(2 * time.Millisecond)
	}
}
