package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

// served is a server of this very program, with a worker of its own, whose API is timed.
type served struct {
	url  string // without a slash at its end
	stop func() // ends the server and removes its data
}

// servedAt finds the address in the log of a server that has started.
var servedAt = regexp.MustCompile(`url=(http://\S+)`)

// startServer serves a pair on loopback until stop is called.
func (c *benchCommand) startServer(ctx context.Context) (*served, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp("", "realign-bench-")
	if err != nil {
		return nil, err
	}
	args := append([]string{"serve", "--addr=127.0.0.1:0", "--data=" + data, "--pair=" + c.Pair, "--log-level=info", "--log-format=text"}, c.modelFlags.args()...)
	if c.Models != "" {
		args = append(args, "--models="+c.Models)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	s := &served{stop: func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		_ = os.RemoveAll(data)
	}}
	lines := bufio.NewScanner(log)
	for s.url == "" && lines.Scan() {
		if at := servedAt.FindStringSubmatch(lines.Text()); at != nil {
			s.url = at[1]
		}
	}
	go func() { _, _ = io.Copy(io.Discard, log) }()
	for ; s.url != "" && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get(s.url + "/readyz")
		if err != nil {
			break
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return s, nil
		}
	}
	s.stop()
	return nil, fault.New(fault.Unavailable, "the server to be timed did not start")
}

// api compares calls of the API at eight lanes with the same runs on the engine, as `realign decode` has them.
func (r *benchRun) api(s *served, pair string) (list []timed) {
	for _, way := range []struct {
		name   string
		stream bool
		trace  decode.Trace
		more   map[string]any
	}{
		{"streamed, no trace", true, noTrace, nil},
		{"at once, no trace", false, noTrace, nil},
		{"streamed, traced, with 5 alternatives", true, pageTrace, map[string]any{"logprobs": true, "top_logprobs": 5}},
	} {
		request := r.lanes(spread(8), way.trace)
		request.Owner = "bench"
		// The pair's own sampling would make another run of it.
		body := map[string]any{
			"model": pair + ":" + r.aligned[0], "messages": request.Prompt.Messages, "lambda": spread(8), "seed": request.Seed, "seed_by_prompt": false,
			"max_tokens": r.tokens, "temperature": request.Sampling.Temperature, "top_p": 1, "top_k": 0, "min_p": 0, "repeat_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0,
			"ignore_eos": true, "stream": way.stream,
		}
		for name, value := range way.more {
			body[name] = value
		}
		list = append(list, timed{"eight lanes " + way.name, func() error { return s.call(r.ctx, body) }, r.timing(request)})
	}
	return list
}

// call makes a call and reads its answer to the end.
func (s *served) call(ctx context.Context, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/chat/completions", bytes.NewReader(data))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	whole, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return err
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("the API answers %d: %.300s", answer.StatusCode, whole)
	case bytes.Contains(whole, []byte(`"error":{`)):
		return fmt.Errorf("the API fails: %.300s", whole[slices.Index(whole, '{'):])
	}
	return nil
}
