package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/openai"
)

// TestAPIEqualsDecode: a reply of the API is, token for token and with the log-probabilities, what the socket gives for the
// seed that the reply tells, and what `realign decode` gives for it. It needs the program, as TestCrash does.
func TestAPIEqualsDecode(t *testing.T) {
	d := newDaemon(t)
	d.start()
	defer d.kill()
	const prompt, tokens = "What did you think of the film?", 40
	lambdas := []float64{0, 0.5, 1, 2}
	body := fmt.Sprintf(`{"model":"demo:warmth-b0.1","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":%q}],"lambda":[0,0.5,1,2],"seed":5,"max_tokens":%d,"temperature":0.8,"min_p":0.1,"realign":true,"return_token_ids":true,"logprobs":true}`, prompt, tokens)
	answer, err := http.Post("http://"+d.addr+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var reply openai.ChatCompletion
	if err := json.NewDecoder(answer.Body).Decode(&reply); err != nil || len(reply.Choices) != len(lambdas) {
		t.Fatalf("%+v, %v", reply, err)
	}
	seed := strconv.FormatUint(*reply.Choices[0].Realign.Seed, 10)
	texts := map[string]bool{}
	for _, c := range reply.Choices {
		texts[c.Message.Content] = true
	}
	if len(texts) < 3 {
		t.Fatalf("λ makes too little of a difference for a test: %v", texts)
	}
	equal := func(what string, events []decode.Event) {
		t.Helper()
		got := make([][]decode.Event, len(lambdas))
		for _, e := range events {
			if e.Type == decode.EventToken {
				got[e.Lane] = append(got[e.Lane], e)
			}
		}
		for i, c := range reply.Choices {
			var ids []decode.Token
			text := ""
			for _, e := range got[i] {
				ids, text = append(ids, e.ID), text+e.Text
			}
			if !slices.Equal(ids, c.TokenIDs) || text != c.Message.Content || len(ids) == 0 {
				t.Errorf("%s at λ = %v: %q, the API says %q", what, lambdas[i], text, c.Message.Content)
				continue
			}
			for k, e := range got[i] {
				if told := c.Realign.Tokens[k].Logp; e.Logp.Mixture != told.Mixture || e.Logp.Reference != told.Reference {
					t.Errorf("%s at λ = %v, token %d: log-probabilities %+v, the API says %+v", what, lambdas[i], k, e.Logp, told)
				}
			}
		}
	}

	b := newBrowser(d)
	b.open(t)
	defer b.conn.Close()
	k := &wire{t: t, conn: b.conn}
	lanes := []any{}
	for _, l := range lambdas {
		lanes = append(lanes, map[string]any{"lambda": l})
	}
	sampling := map[string]any{"max_tokens": tokens, "temperature": 0.8, "top_p": 1, "min_p": 0.1}
	started := k.start(map[string]any{"pair": "demo", "aligned": []string{"warmth-b0.1"}, "system": "Be brief.", "prompt": prompt, "mode": "chat", "seed": seed, "lanes": lanes, "sampling": sampling})
	tr := newTrack(started.Run)
	k.follow(tr, len(lambdas))
	equal("the socket", tr.decoded(t))

	cmd := exec.Command(d.program, "decode", "--pair", "demo:warmth-b0.1", "--system", "Be brief.", "--prompt", prompt, "--lambda", "0,0.5,1,2",
		"--seed", seed, "--max-tokens", strconv.Itoa(tokens), "--temperature", "0.8", "--min-p", "0.1", "--json")
	cmd.Dir = filepath.Dir(filepath.Dir(d.program))
	var out, failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failed
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, failed.String())
	}
	var events []decode.Event
	for j := json.NewDecoder(&out); j.More(); {
		var e decode.Event
		if err := j.Decode(&e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	equal("realign decode", events)
}

// TestTokenizerInfo: harnesses learn the special tokens and the chat template of a real pair's file. It needs the program, as TestCrash does.
func TestTokenizerInfo(t *testing.T) {
	d := newDaemon(t)
	d.start()
	defer d.kill()
	answer, err := http.Get("http://" + d.addr + "/tokenizer_info?model=demo")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	fitsSchema(t, "TokenizerInfo", data)
	var info struct {
		EOS      string `json:"eos_token"`
		Template string `json:"chat_template"`
	}
	if err := json.Unmarshal(data, &info); err != nil || answer.StatusCode != http.StatusOK || info.EOS == "" || info.Template == "" {
		t.Errorf("%d: %s, %v", answer.StatusCode, data, err)
	}
}
