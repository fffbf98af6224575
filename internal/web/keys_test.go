package web

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"realign/internal/apikey"
	"realign/internal/decode"
	"realign/internal/openai"
	"realign/internal/run"
	"realign/internal/session"
)

var madeKey = regexp.MustCompile(`value="(rk-[^"]+)"`)

// key makes a key on the page and returns its secret.
func (p *person) key(name string, fields ...string) string {
	p.w.t.Helper()
	_, body := p.post("/keys", 201, append([]string{"name", name}, fields...)...)
	m := madeKey.FindStringSubmatch(body)
	if m == nil {
		p.w.t.Fatalf("no key on the page:\n%s", body)
	}
	return m[1]
}

// Keys of the page: shown once, one's own only, with the limits asked for, and gone when revoked.
func TestKeysPage(t *testing.T) {
	w := newWorld(t, setup{})
	a, b := w.person(), w.person()
	if body := a.get("/keys", 200); !strings.Contains(body, "No keys yet") || !strings.Contains(body, `href="/keys" aria-current="page"`) {
		t.Errorf("%s", body)
	}
	secret := a.key("bench-one", "days", "7", "requests_per_minute", "3", "lanes", "2")
	w.call("/v1/completions", `{"model":"table","prompt":"abc","max_tokens":2}`, 200, nil, "Authorization", "Bearer "+secret)
	w.call("/v1/completions", `{"model":"table","prompt":"abc","max_tokens":2,"n":3}`, 400, nil, "Authorization", "Bearer "+secret)
	page := a.get("/keys", 200)
	for _, want := range []string{"bench-one", "At most 3 requests a minute, 2 lanes", "last used", "expires", ">good<"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, secret) || strings.Contains(w.logs.String(), secret) {
		t.Error("the key is shown again, or logged")
	}
	if strings.Contains(b.get("/keys", 200), "bench-one") {
		t.Error("another's keys are listed")
	}
	id := regexp.MustCompile(`/keys/([^/]+)/revoke`).FindStringSubmatch(page)[1]
	b.post("/keys/"+id+"/revoke", 404)
	a.post("/keys", 400, "name", "!")
	a.post("/keys", 400, "name", "x", "lanes", "many")
	a.post("/keys", 400, "name", "x", "lanes", "-1")
	a.post("/keys", 409, "name", "bench-one")
	a.post("/keys/"+id+"/revoke", 303)
	w.call("/v1/completions", `{"model":"table","prompt":"abc","max_tokens":2}`, 401, nil, "Authorization", "Bearer "+secret)
	if page := a.get("/keys", 200); !strings.Contains(page, ">revoked<") || strings.Contains(page, "/revoke") {
		t.Error("the key is not shown as revoked")
	}
	locked := newWorld(t, setup{auth: AuthPassword}).person()
	if answer, _ := locked.do("GET", "/keys", nil); answer.StatusCode != 303 || !strings.HasPrefix(answer.Header.Get("Location"), "/login") {
		t.Errorf("who has not logged in gets %d", answer.StatusCode)
	}
}

// A call with store becomes a session of the key's owner, and its reply is the one that it has without.
func TestAPIStore(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	secret := p.key("notebook")
	ctx := context.Background()
	sessions := func() []session.Session {
		page, err := w.store.Sessions(ctx, p.ownerID(), session.Query{Limit: 50})
		if err != nil {
			t.Fatal(err)
		}
		return page.Sessions
	}
	const chat = `{"model":"table:warm","messages":[{"role":"system","content":"bca"},{"role":"user","content":"acbbca"},{"role":"assistant","content":"cab"},{"role":"user","content":"bacbab"}],"lambda":[0,0.5,2],"n":2,"seed":5,"max_tokens":12,"realign":true,"return_token_ids":true,"logprobs":true,"top_logprobs":2%s}`
	var passing, kept openai.ChatCompletion
	w.call("/v1/chat/completions", fmt.Sprintf(chat, ""), 200, &passing, "Authorization", "Bearer "+secret)
	if n := len(sessions()); n != 0 {
		t.Fatalf("%d sessions are kept of a call without store", n)
	}
	h := w.call("/v1/chat/completions", fmt.Sprintf(chat, `,"store":true`), 200, &kept, "Authorization", "Bearer "+secret)
	if !reflect.DeepEqual(kept.Choices, passing.Choices) || kept.Usage.Total != passing.Usage.Total {
		t.Errorf("with store: %+v\nwithout: %+v", kept, passing)
	}
	all := sessions()
	if len(all) != 1 || h.Get(sessionHeader) != all[0].ID || all[0].Title != "bacbab" || all[0].Runs != 1 {
		t.Fatalf("%+v, %v", all, h)
	}
	runs, err := w.store.Runs(ctx, p.ownerID(), all[0].ID)
	if err != nil || len(runs) != 1 {
		t.Fatalf("%+v, %v", runs, err)
	}
	stored, err := run.ReadTranscript(ctx, w.store, runs[0])
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range kept.Choices {
		if lane := stored.Lane(i); lane.Text != c.Message.Content || !lane.Lambda.Equal(c.Lambda) {
			t.Errorf("lane %d at %v says %q, the reply %q at %v", i, lane.Lambda, lane.Text, c.Message.Content, c.Lambda)
		}
	}
	if seed := runs[0].Spec.Seed; seed != *kept.Choices[0].Realign.Seed {
		t.Errorf("seed %d is kept, the reply tells %d", seed, *kept.Choices[0].Realign.Seed)
	}
	exported := p.get("/sessions/"+all[0].ID+"/export", 200)
	p.get("/s/"+all[0].ID, 200)

	// The session survives its way through a file.
	if made, err := session.ImportSession(ctx, w.store, w.shares.Signer, p.ownerID(), strings.NewReader(exported), w.clock.now()); err != nil || made.Found[run.DecodedHere] != 1 {
		t.Errorf("%+v, %v", made, err)
	} else if err := w.store.DeleteSession(ctx, p.ownerID(), made.Session.ID, w.clock.now()); err != nil {
		t.Error(err)
	}

	// A batch is one session with a run a prompt; token ids are kept as their text; a stream is kept, too.
	var ids struct{ Tokens []decode.Token }
	w.call("/tokenize", `{"prompt":"abcab"}`, 200, &ids)
	tokens, _ := json.Marshal(ids.Tokens)
	h = w.call("/v1/completions", `{"model":"table@0.5","prompt":["abca","cba","bbb","ccc","aab","bca"],"max_tokens":3,"seed":1,"store":true}`, 200, nil, "Authorization", "Bearer "+secret)
	if one, err := w.store.Session(ctx, p.ownerID(), h.Get(sessionHeader)); err != nil || one.Runs != 6 {
		t.Errorf("%+v, %v", one, err)
	}
	w.call("/v1/completions", fmt.Sprintf(`{"model":"table@0.5","prompt":%s,"max_tokens":3,"stream":true,"store":true}`, tokens), 200, nil, "Authorization", "Bearer "+secret)
	w.call("/v1/completions", `{"model":"table@0.5","prompt":"abcab","max_tokens":1,"temperature":0,"echo":true,"logprobs":1,"store":true}`, 200, nil, "Authorization", "Bearer "+secret)
	if all = sessions(); len(all) != 4 || all[0].Title != "abcab" || all[1].Title != "abcab" {
		t.Errorf("%+v", all)
	}

	// With the seed as it is, the session has that seed.
	h = w.call("/v1/completions", `{"model":"table@0.5","prompt":"abcab","max_tokens":3,"seed":77,"seed_by_prompt":false,"store":true}`, 200, nil, "Authorization", "Bearer "+secret)
	if runs, err = w.store.Runs(ctx, p.ownerID(), h.Get(sessionHeader)); err != nil || len(runs) != 1 || runs[0].Spec.Seed != 77 {
		t.Errorf("%+v, %v", runs, err)
	}

	// What no session can be made of is refused at the field, and nothing is kept of it.
	k, plain, err := apikey.New("shell", "", time.Time{}, apikey.Limits{}, w.clock.now())
	if err == nil {
		err = w.store.CreateKey(ctx, k, apikey.Hash(plain))
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, key, path, body, say string }{
		{"no key", "none", "/v1/completions", `{"model":"table","prompt":"abc","store":true}`, "/keys"},
		{"no owner", plain, "/v1/completions", `{"model":"table","prompt":"abc","store":true}`, "/keys"},
		{"no key, streamed", "none", "/v1/completions", `{"model":"table","prompt":"abc","store":true,"stream":true}`, "/keys"},
		{"two users", secret, "/v1/chat/completions", `{"model":"table","messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}],"store":true}`, "history"},
		{"ends with an answer", secret, "/v1/chat/completions", `{"model":"table","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"store":true}`, "user"},
		{"nothing decoded", secret, "/v1/completions", `{"model":"table","prompt":"abc","max_tokens":0,"echo":true,"logprobs":1,"store":true}`, "max_tokens"},
		{"no text", secret, "/v1/completions", `{"model":"table","prompt":[2,2,2],"store":true}`, "session"},
	} {
		var e openai.ErrorBody
		w.call(test.path, test.body, 400, &e, "Authorization", "Bearer "+test.key)
		if e.Error.Param == nil || *e.Error.Param != "store" || !strings.Contains(e.Error.Message, test.say) {
			t.Errorf("%s: %+v", test.name, e.Error)
		}
	}
	if n := len(sessions()); n != 5 {
		t.Errorf("%d sessions after refusals", n)
	}
	for _, text := range []string{"bacbab", "acbbca", "abcab", passing.Choices[0].Message.Content, secret} {
		if strings.Contains(w.logs.String(), text) {
			t.Errorf("the log holds %q", text)
		}
	}
}

// A client that goes away frees the lanes of a call that is kept, and what was decoded stays.
func TestAPIStoreLeft(t *testing.T) {
	w := newWorld(t, setup{delay: 5 * time.Millisecond})
	p := w.person()
	secret := p.key("notebook")
	w.leave(`{"model":"table","prompt":"abc","max_tokens":1000,"n":4,"store":true,"logit_bias":{"1":-100,"2":-100,"0":-100}}`, 4, "Authorization", "Bearer "+secret)
	w.until(func() bool { // lanes end before what they said is kept
		page, err := w.store.Sessions(context.Background(), p.ownerID(), session.Query{Limit: 50})
		return err == nil && len(page.Sessions) == 1
	})
}
