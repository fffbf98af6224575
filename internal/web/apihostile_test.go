package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"realign/internal/openai"
)

// rawServer is a server as it runs, and what its clients are told.
type rawServer struct {
	t    *testing.T
	addr string
}

// send writes bytes as they are, the last of them a little at a time where drip is set, and returns the status of the answer;
// 0 where the connection was closed without one.
func (h *rawServer) send(bytes string, drip bool) int {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() {
		if _, err := io.WriteString(conn, bytes); err != nil || !drip {
			return
		}
		for {
			if _, err := io.WriteString(conn, " "); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		h.t.Fatalf("no answer to %.80q", bytes)
	}
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

func post(path, body string, header ...string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n%s\r\n%s", path, len(body), strings.Join(append(header, ""), "\r\n"), body)
}

// Whatever comes in is answered with a 4xx within its limit of time, and a call of somebody else's goes on as if nothing were.
func TestAPIHostile(t *testing.T) {
	w := newWorld(t, setup{delay: 2 * time.Millisecond})
	w.bodyWait = 500 * time.Millisecond
	l, err := Listen("127.0.0.1:0", Certificate{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.Serve(ctx, l) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	h := &rawServer{t: t, addr: l.Addr().String()}

	const quiet = `{"model":"table@0.5","prompt":"abc","max_tokens":300,"ignore_eos":true,"seed":1}`
	var alone openai.Completion
	w.call("/v1/completions", quiet, 200, &alone)
	others, over := make(chan error, 1), make(chan struct{})
	go func() {
		for {
			var now openai.Completion
			answer, err := http.Post(w.http.URL+"/v1/completions", "application/json", strings.NewReader(quiet))
			if err == nil {
				err = json.NewDecoder(answer.Body).Decode(&now)
				answer.Body.Close()
			}
			if err == nil && (len(now.Choices) != 1 || now.Choices[0].Text != alone.Choices[0].Text) {
				err = fmt.Errorf("the reply is %+v", now)
			}
			select {
			case <-over:
				others <- err
				return
			default:
			}
			if err != nil {
				others <- err
				return
			}
		}
	}()

	const chat, text = "/v1/chat/completions", "/v1/completions"
	prompts := strings.TrimSuffix(strings.Repeat(`"a",`, 10_000), ",")
	for name, bytes := range map[string]string{
		"too large":        post(text, `{"model":"table","prompt":"`+strings.Repeat("a", 9<<20)+`"}`),
		"no end":           "POST " + text + " HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat("[", 1<<16)+"\r\n", 200),
		"nested":           post(chat, `{"model":"table","messages":`+strings.Repeat("[", 1<<20)),
		"nested objects":   post(chat, strings.Repeat(`{"model":`, 1<<18)),
		"many prompts":     post(text, `{"model":"table","prompt":[`+prompts+`]}`),
		"many scored":      post("/v1/score", `{"model":"table","prompt":[`+prompts+`]}`),
		"many λ":           post(text, `{"model":"table","prompt":"a","lambda":[`+strings.TrimSuffix(strings.Repeat("1,", 100_000), ",")+`]}`),
		"many fields":      post(text, `{`+many(100_000)+`}`),
		"one field twice":  post(text, `{"model":"table","model":"table","prompt":"a"}`),
		"long model":       post(text, `{"model":"`+strings.Repeat("a:", 1<<20)+`","prompt":"a"}`),
		"not UTF-8":        post(text, "{\"model\":\"table\",\"prompt\":\"\xff\xfe\",\"stop\":\"\xff\"}"),
		"not JSON":         post(chat, "\x00\x01\x02"),
		"nothing":          post(chat, ""),
		"a form":           post(chat, "model=table", "Content-Type: multipart/form-data; boundary=x"),
		"junk in a header": post(text, `{}`, "X\x00Y: z"),
		"no host":          "POST " + text + " HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
		"another host":     strings.Replace(post(text, `{}`), "Host: 127.0.0.1", "Host: evil.example", 1),
		"large header":     post(text, `{}`, "X-Y: "+strings.Repeat("a", 1<<20)),
		"two lengths":      post(text, `{}`, "Content-Length: 7"),
		"long key":         post(text, `{"model":"table","prompt":"abc"}`, "Authorization: Bearer rk-"+strings.Repeat("a", 30_000)),
		"strange method":   "BREW " + text + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
		"another origin":   post(text, `{"model":"table","prompt":"abc"}`, "Origin: https://evil.example", "Sec-Fetch-Site: cross-site"),
		"not HTTP":         "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
	} {
		began := time.Now()
		if status := h.send(bytes, false); status < 400 || status > 499 {
			t.Errorf("%s: %d", name, status)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s: answered after %v", name, took)
		}
	}
	for name, bytes := range map[string]string{
		"slow body":    fmt.Sprintf("POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n{", chat),
		"slow, scored": "POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n{",
	} {
		began := time.Now()
		if status, took := h.send(bytes, true), time.Since(began); status != 400 || took > 10*time.Second {
			t.Errorf("%s: %d after %v", name, status, took)
		}
	}
	// Every field with values of every wrong type.
	wrong := []string{`{}`, `[]`, `[[]]`, `"x"`, `-1`, `1e999`, `0.5`, `true`, `[null]`, `{"a":{"b":[]}}`, `"` + strings.Repeat("9", 1000) + `"`}
	var doc struct {
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(openAPIDocument, &doc); err != nil {
		t.Fatal(err)
	}
	for schema, path := range map[string]string{"ChatRequest": chat, "CompletionRequest": text, "ScoreRequest": "/v1/score", "TokenizeRequest": "/tokenize", "DetokenizeRequest": "/detokenize"} {
		for field := range doc.Components.Schemas[schema].Properties {
			body := map[string]json.RawMessage{"model": json.RawMessage(`"table"`), "max_tokens": json.RawMessage(`1`)}
			switch path {
			case chat:
				body["messages"] = json.RawMessage(`[{"role":"user","content":"abc"}]`)
			case text, "/v1/score":
				body["prompt"] = json.RawMessage(`"abc"`)
			}
			if path != chat && path != text {
				delete(body, "max_tokens")
			}
			for _, value := range wrong {
				body[field] = json.RawMessage(value)
				line := "{"
				for name, v := range body {
					line += fmt.Sprintf("%q:%s,", name, v)
				}
				if status := h.send(post(path, strings.TrimSuffix(line, ",")+"}"), false); status != 200 && (status < 400 || status > 499) {
					t.Errorf("%s with %s %.30s: %d", path, field, value, status)
				}
			}
		}
	}
	close(over)
	if err := <-others; err != nil {
		t.Errorf("another's call: %v", err)
	}
	w.until(func() bool { return w.models.engine.Counters().Lanes == 0 })
	if strings.Contains(w.logs.String(), "panic") {
		t.Error("a handler panicked")
	}
}

func many(n int) string {
	fields := make([]string, n)
	for i := range fields {
		fields[i] = fmt.Sprintf(`"f%d":%d`, i, i)
	}
	return strings.Join(fields, ",")
}
