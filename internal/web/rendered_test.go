package web

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// What a form becomes for the models is told without decoding or keeping anything.
func TestRenderedPrompt(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	p.get("/", http.StatusOK)
	render := func(change func(map[string]any), status int) string {
		t.Helper()
		s := spec(4, 0, 1)
		s["system"], s["lanes"] = "cab", []any{}
		change(s)
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		_, body := p.post("/prompt", status, "spec", string(text))
		return body
	}
	var got struct{ Prompts []renderedPrompt }
	if err := json.Unmarshal([]byte(render(func(map[string]any) {}, http.StatusOK)), &got); err != nil || len(got.Prompts) != 1 || got.Prompts[0].Who != "reference" {
		t.Fatalf("%+v, %v", got, err)
	}
	var text strings.Builder
	for _, token := range got.Prompts[0].Tokens {
		text.WriteString(token.Text)
	}
	if !strings.HasPrefix(text.String(), "<start><turn>cab<turn>") || !strings.HasSuffix(text.String(), "<turn>") {
		t.Errorf("the prompt is %q", text.String())
	}
	plain := func(special bool) string {
		return render(func(s map[string]any) {
			s["mode"], s["prompt"], s["special"] = "plain", "ab|c", special
			delete(s, "system")
		}, http.StatusOK)
	}
	if !strings.Contains(plain(true), "turn") || strings.Contains(plain(false), "turn") {
		t.Error("the spelling of a special token counts as such if it is asked for, and only then")
	}
	for field, change := range map[string]func(map[string]any){
		"contrast":  func(s map[string]any) { s["contrast"] = map[string]any{} },
		"prompt":    func(s map[string]any) { s["prompt"] = " " },
		"mode":      func(s map[string]any) { s["mode"] = "song" },
		"pair":      func(s map[string]any) { s["pair"] = "nobody" },
		"variables": func(s map[string]any) { s["rendering"] = map[string]any{"variables": map[string]any{"messages": 1}} },
	} {
		if body := render(change, http.StatusBadRequest); !strings.Contains(body, field) {
			t.Errorf("%s: %s", field, body)
		}
	}
	if runs := p.get("/sessions", http.StatusOK); strings.Contains(runs, "/s/") {
		t.Error("something was kept")
	}
}
