package openai

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/fault"
)

func TestModelNames(t *testing.T) {
	for name, want := range map[string]Model{
		"demo":                     {Pair: "demo"},
		"demo@0.5":                 {Pair: "demo", Lambda: decode.Vector{0.5}},
		"demo@1/4":                 {Pair: "demo", Lambda: decode.Vector{0.25}},
		"demo@-1":                  {Pair: "demo", Lambda: decode.Vector{-1}},
		"demo:warmth-b0.1":         {Pair: "demo", Aligned: []string{"warmth-b0.1"}},
		"demo:warmth-b0.1@0":       {Pair: "demo", Aligned: []string{"warmth-b0.1"}, Lambda: decode.Vector{0}},
		"demo:warm@0.5+short@0.25": {Pair: "demo", Aligned: []string{"warm", "short"}, Lambda: decode.Vector{0.5, 0.25}},
		"demo:warm+short":          {Pair: "demo", Aligned: []string{"warm", "short"}},
	} {
		got, err := ParseModel(name)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if again, err := ParseModel(got.String()); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s is written %s, and read %+v, %v", name, got, again, err)
		}
	}
	for _, name := range []string{"", "@1", ":warm", "demo:", "demo@", "demo@x", "demo@NaN", "demo@21", "demo@Inf", "demo:warm@1+short", "demo:a+b+c+d+e", "demo/x", "demo:warm@1@2", "a b", strings.Repeat("a", 100)} {
		if m, err := ParseModel(name); fault.KindOf(err) != fault.Invalid || fault.Of(err).Field != "model" {
			t.Errorf("%q: %+v, %v", name, m, err)
		}
	}
}

func resolve(m Model) (Known, error) {
	if m.Pair != "demo" {
		return Known{}, &fault.Error{Kind: fault.NotFound, Field: "model", Message: "no such pair"}
	}
	names := m.Aligned
	if names == nil {
		names = []string{"warm"}
	}
	s := decode.DefaultSampling()
	s.MinP = 0.1
	return Known{Aligned: names, Sampling: s}, nil
}

// chat is a body for chat completions with some fields more.
func chat(more string) string {
	return `{"model":"demo@0.5","messages":[{"role":"user","content":"hi"}]` + more + `}`
}

func text(more string) string { return `{"model":"demo@0.5","prompt":"abc"` + more + `}` }

func TestParse(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		chat bool
		ok   func(*Call) bool
	}{
		"defaults": {chat(""), true, func(c *Call) bool {
			return c.Sampling.MinP == 0.1 && c.Sampling.MaxTokens == 512 && c.N == 1 && c.Logprobs == -1 && len(c.Requests()) == 1 && c.Seed == nil
		}},
		"text defaults": {text(""), false, func(c *Call) bool { return c.Sampling.MaxTokens == 16 && c.Prompts[0].Special }},
		"λ in the body": {chat(`,"lambda":2`), true, func(c *Call) bool { return c.Lambda[0][0] == 2 }},
		"a list of λ": {chat(`,"lambda":[0,0.5,"1/4"],"n":2`), true, func(c *Call) bool {
			r := c.Requests()[0]
			return len(r.Lanes) == 6 && r.Lanes[4].Lambda[0] == 0.25 && r.Lanes[5].Sample == 1
		}},
		"hotter than OpenAI's": {chat(`,"temperature":5`), true, func(c *Call) bool { return c.Sampling.Temperature == 5 }},
		"a prefix": {chat(`,"lambda":[0,1],"n":2,"prefix":[5,6]`), true, func(c *Call) bool {
			r := c.Requests()[0]
			return len(r.Lanes) == 4 && slices.Equal(r.Lanes[0].Prefix, []decode.Token{5, 6}) && slices.Equal(r.Lanes[3].Prefix, []decode.Token{5, 6})
		}},
		"a prefix for each choice": {chat(`,"lambda":[0,1],"prefix":[[],[7]]`), true, func(c *Call) bool {
			r := c.Requests()[0]
			return len(r.Lanes[0].Prefix) == 0 && slices.Equal(r.Lanes[1].Prefix, []decode.Token{7})
		}},
		"λ by name":            {`{"model":"demo:warm+short","messages":[{"role":"user","content":"x"}],"lambda":{"warm":0.5}}`, true, func(c *Call) bool { return c.Lambda[0].Equal(decode.Vector{0.5, 0}) }},
		"lists for two models": {`{"model":"demo:warm+short","messages":[{"role":"user","content":"x"}],"lambda":[[0,1],[1,0]]}`, true, func(c *Call) bool { return len(c.Lambda) == 2 }},
		"parts":                {`{"model":"demo","messages":[{"role":"developer","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"user","content":"x"}]}`, true, func(c *Call) bool { return c.Prompts[0].Messages[0] == decode.Message{Role: "system", Content: "ab"} }},
		"new limit":            {chat(`,"max_completion_tokens":7`), true, func(c *Call) bool { return c.Sampling.MaxTokens == 7 }},
		"stop as a text":       {chat(`,"stop":"\n"`), true, func(c *Call) bool { return len(c.Sampling.Stop) == 1 }},
		"harmless":             {chat(`,"user":"u","tools":[],"tool_choice":"none","response_format":{"type": "text"},"modalities":["text"],"parallel_tool_calls":false,"metadata":{"a":"b"}`), true, func(*Call) bool { return true }},
		"bias":                 {chat(`,"logit_bias":{"5":-100,"6":2.5}`), true, func(c *Call) bool { return c.Sampling.Bias[5] < -1e9 && c.Sampling.Bias[6] == 2.5 }},
		"variables of the template": {chat(`,"chat_template_kwargs":{"enable_thinking":false}`), true, func(c *Call) bool {
			return c.Requests()[0].Rendering.Variables["enable_thinking"] == false
		}},
		"a negative seed":     {chat(`,"seed":-1`), true, func(c *Call) bool { return *c.Seed == 1<<64-1 }},
		"log-probabilities":   {chat(`,"logprobs":true,"top_logprobs":20`), true, func(c *Call) bool { return c.Logprobs == 20 && c.Requests()[0].Trace.Alternatives == 20 }},
		"token ids":           {`{"model":"demo","prompt":[1,2,3]}`, false, func(c *Call) bool { return len(c.Prompts) == 1 && len(c.Prompts[0].Tokens) == 3 }},
		"several texts":       {`{"model":"demo","prompt":["a","b"]}`, false, func(c *Call) bool { return len(c.Prompts) == 2 }},
		"several token lists": {`{"model":"demo","prompt":[[1],[2,3]]}`, false, func(c *Call) bool { return len(c.Prompts) == 2 && len(c.Prompts[1].Tokens) == 2 }},
		"what lm-eval sends": {`{"model":"demo@1","prompt":[[5,6,7]],"temperature":0,"max_tokens":1,"logprobs":1,"seed":1234,"echo":true}`, false, func(c *Call) bool {
			return c.GreedyNext() && c.Echo && len(c.Scores(nil)) == 1 && c.Scores(nil)[0].Score.Alternatives == 1
		}},
		"scores only": {`{"model":"demo","prompt":"ab","max_tokens":0,"logprobs":0,"echo":true}`, false, func(c *Call) bool { return c.Requests() == nil && c.Scores(nil) != nil }},
	} {
		parse := ParseCompletion
		if test.chat {
			parse = ParseChat
		}
		if c, err := parse([]byte(test.body), resolve); err != nil || !test.ok(c) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

// Each body is refused, and the error names the field.
func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ body, field string }{
		{`[]`, "body"}, {`{`, "body"}, {`{"model":}`, "model"}, {`{"model":1}`, "model"}, {chat(`,"model":"x"`), "model"}, {chat("") + "x", "body"},
		{`{"messages":[]}`, "model"}, {`{"model":"demo"}`, "messages"}, {`{"model":"demo","messages":[]}`, "messages"}, {`{"model":"demo","messages":"x"}`, "messages"},
		{`{"model":"demo","messages":[{"role":"king","content":"x"}]}`, "messages"}, {`{"model":"demo","messages":[{"role":"tool","content":"x"}]}`, "messages"},
		{`{"model":"demo","messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, "messages"}, {`{"model":"demo","messages":[{"role":"user","content":5}]}`, "messages"},
		{`{"model":"demo","messages":[{"role":"user","content":" "}]}`, "prompt"},
		{chat(`,"lamda":1`), "lamda"}, {chat(`,"tools":[{}]`), "tools"}, {chat(`,"response_format":{"type":"json_object"}`), "response_format"}, {chat(`,"functions":[{}]`), "functions"},
		{chat(`,"audio":{}`), "audio"}, {chat(`,"reasoning_effort":"high"`), "reasoning_effort"}, {chat(`,"modalities":["audio"]`), "modalities"},
		{chat(`,"lambda":"x"`), "lambda"}, {chat(`,"lambda":21`), "lambda"}, {chat(`,"lambda":[]`), "lambda"}, {chat(`,"lambda":[[1,2]]`), "lambda"}, {chat(`,"lambda":{"cold":1}`), "lambda"},
		{chat(`,"n":0`), "n"}, {chat(`,"n":65`), "n"}, {chat(`,"n":1.5`), "n"}, {chat(`,"n":33,"lambda":[0,1]`), "n"},
		{chat(`,"temperature":101`), "temperature"}, {chat(`,"temperature":-1`), "temperature"}, {chat(`,"temperature":"hot"`), "temperature"}, {chat(`,"top_p":0`), "top_p"},
		{chat(`,"max_tokens":-1`), "max_tokens"}, {chat(`,"max_tokens":0`), "max_tokens"}, {chat(`,"max_tokens":5000`), "max_tokens"}, {chat(`,"top_logprobs":3`), "top_logprobs"},
		{chat(`,"logprobs":true,"top_logprobs":21`), "logprobs"}, {chat(`,"logit_bias":{"x":1}`), "logit_bias"}, {chat(`,"logit_bias":{"1":101}`), "logit_bias"},
		{chat(`,"prefix":"x"`), "prefix"}, {chat(`,"prefix":[[1],[2]]`), "prefix"}, {chat(`,"prefix":[1.5]`), "prefix"}, {chat(`,"prefix":[-1]`), "prefix"},
		{chat(`,"stop":["` + strings.Repeat("a", 65) + `"]`), "stop"}, {chat(`,"stop":[1]`), "stop"}, {chat(`,"seed":1.5`), "seed"}, {chat(`,"seed":"x"`), "seed"},
		{chat(`,"chat_template_kwargs":{"messages":1}`), "chat_template_kwargs"}, {chat(`,"chat_template_kwargs":{"x":[]}`), "chat_template_kwargs"}, {chat(`,"chat_template_kwargs":5`), "chat_template_kwargs"}, {chat(`,"seed":1.5`), "seed"}, {chat(`,"seed":"x"`), "seed"},
		{chat(`,"stream_options":{"include_usage":true}`), "stream_options"}, {chat(`,"user":` + strings.Repeat("[", 20) + strings.Repeat("]", 20)), "body"},
	} {
		if _, err := ParseChat([]byte(test.body), resolve); fault.Of(err) == nil || fault.Of(err).Kind != fault.Invalid || fault.Of(err).Field != test.field {
			t.Errorf("%.100s: %v, want the field %s", test.body, err, test.field)
		}
	}
	many := strings.TrimSuffix(strings.Repeat(`"a",`, 10_000), ",")
	for _, test := range []struct{ body, field string }{
		{`{"model":"demo"}`, "prompt"}, {`{"model":"demo","prompt":[]}`, "prompt"}, {`{"model":"demo","prompt":5}`, "prompt"}, {`{"model":"demo","prompt":[1.5]}`, "prompt"}, {`{"model":"demo","prompt":["a",1]}`, "prompt"}, {`{"model":"demo","prompt":[null]}`, "prompt"}, {`{"model":"demo","prompt":[[1,null]]}`, "prompt"},
		{`{"model":"demo","prompt":{}}`, "prompt"}, {`{"model":"demo","prompt":[` + many + `]}`, "prompt"}, {text(`,"suffix":"x"`), "suffix"}, {text(`,"best_of":2`), "best_of"}, {text(`,"logprobs":21`), "logprobs"},
		{text(`,"echo":true,"stream":true`), "stream"}, {`{"model":"demo:warm+short","prompt":"a"}`, "lambda"}, {`{"model":"demo@1","prompt":""}`, "prompt"},
	} {
		if _, err := ParseCompletion([]byte(test.body), resolve); fault.Of(err) == nil || fault.Of(err).Kind != fault.Invalid || fault.Of(err).Field != test.field {
			t.Errorf("%.100s: %v, want the field %s", test.body, err, test.field)
		}
	}
	if _, err := ParseChat([]byte(`{"model":"nobody","messages":[]}`), resolve); fault.KindOf(err) != fault.NotFound {
		t.Errorf("%v", err)
	}
}

// What clients read is there and has the form that they read.
func TestReplyShapes(t *testing.T) {
	c, err := ParseChat([]byte(chat(`,"lambda":[0,1],"logprobs":true,"top_logprobs":1,"realign":true,"return_token_ids":true`)), resolve)
	if err != nil {
		t.Fatal(err)
	}
	r := NewReply(c, "chatcmpl-1", 5, "v1")
	seed := uint64(9)
	r.Event(0, decode.Event{Type: decode.EventStart, Prompt: &decode.PromptProgress{Tokens: []decode.Token{1, 2}, Total: 2, Seed: &seed}})
	kl := 0.5
	for lane := range 2 {
		r.Event(0, decode.Event{Type: decode.EventToken, Lane: lane, ID: 7, Text: "é", Bytes: []byte("é"), KLReference: &kl, LogZ: &kl, Logp: &decode.Logp{Mixture: -0.5, Aligned: decode.Vector{-1}},
			Top: &decode.Top{Mixture: []decode.Alternative{{ID: 8, Name: "x", Logp: -0.1}}}})
		r.Event(0, decode.Event{Type: decode.EventEnd, Lane: lane, Reason: []string{decode.EndStop, decode.EndLength}[lane]})
	}
	r.Event(0, decode.Event{Type: decode.EventStats, Stats: &decode.Stats{PromptTokens: 2, Cached: 1}})
	data, err := json.Marshal(r.ChatCompletion(0.1))
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "chat.json")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || strings.TrimSpace(string(want)) != string(data) {
		t.Errorf("%s\nwant %s, %v", data, want, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(chat(`,"lambda":[0,1],"n":2`))
	f.Add(text(`,"echo":true,"logprobs":1,"max_tokens":0`))
	f.Add(`{"model":"demo:warm@1+short@2","prompt":[[1,2],[3]],"logit_bias":{"1":2}}`)
	f.Fuzz(func(t *testing.T, body string) {
		for _, parse := range []func([]byte, Resolve) (*Call, error){ParseChat, ParseCompletion} {
			c, err := parse([]byte(body), resolve)
			if err != nil {
				if k := fault.KindOf(err); k != fault.Invalid && k != fault.NotFound {
					t.Errorf("%q: %v", body, err)
				}
				continue
			}
			for _, r := range c.Requests() {
				if _, err := json.Marshal(r); err != nil { // it goes to a worker
					t.Errorf("%q: %v", body, err)
				}
			}
		}
		if _, err := ParseScore([]byte(body), resolve, []float64{0, 1}); err != nil {
			if k := fault.KindOf(err); k != fault.Invalid && k != fault.NotFound {
				t.Errorf("%q: %v", body, err)
			}
		}
	})
}

// A name that is taken is written so that it is read again, and never leads outside of the pairs' folder.
func FuzzModel(f *testing.F) {
	for _, name := range []string{"demo@1/6", "demo:warm@0.5+short@-1", "a:b@1e1", "../x@1", "a@0x1p3"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		m, err := ParseModel(name)
		if err != nil {
			if e := fault.Of(err); e.Kind != fault.Invalid || e.Field != "model" {
				t.Errorf("%q: %v", name, err)
			}
			return
		}
		if again, err := ParseModel(m.String()); err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%q is written %q, and read %+v, %v", name, m, again, err)
		}
		if strings.ContainsAny(m.Pair, `/\,`) || strings.HasPrefix(m.Pair, ".") {
			t.Errorf("%q names the pair %q", name, m.Pair)
		}
	})
}

// Clients are told what failed, and no folder of the server.
func TestErrorsTellNoPaths(t *testing.T) {
	for _, err := range []error{
		fault.New(fault.Unavailable, "/srv/models/demo/r.gguf: no such file"), errors.New("open /srv/models/r.gguf"), fault.Field("model", "/srv/models/r.gguf is gone"),
	} {
		if body, _ := Error(err); strings.Contains(body.Error.Message, "/srv") {
			t.Errorf("%v: %s", err, body.Error.Message)
		}
	}
}
