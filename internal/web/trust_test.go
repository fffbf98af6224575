package web

import (
	"encoding/json"
	"strings"
	"testing"

	"realign/internal/decode"
)

// What is said of a run's lanes: by their weights where several samples were decoded token by token, by the particles where there were any,
// and nothing where token-wise decoding is exact or whole replies are not defined.
func TestTrust(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	k := p.dial()
	said := func(edit func(*decode.Sampling), lambdas ...float64) ([]string, string) {
		t.Helper()
		s := spec(12, lambdas...)
		sampling := decode.Sampling{MaxTokens: 12, Temperature: 1, TopP: 1}
		edit(&sampling)
		data, err := json.Marshal(sampling)
		if err != nil {
			t.Fatal(err)
		}
		s["sampling"] = json.RawMessage(data)
		seen := map[any]int{}
		for _, lane := range s["lanes"].([]any) {
			l := lane.(map[string]any)
			l["sample"] = seen[l["lambda"]]
			seen[l["lambda"]]++
		}
		started := k.start(s)
		k.follow(newTrack(started.Run), 1)
		var answer struct{ Lanes []string }
		if err := json.Unmarshal([]byte(p.get("/runs/"+started.Run+"/trust", 200)), &answer); err != nil {
			t.Fatal(err)
		}
		w.person().get("/runs/"+started.Run+"/trust", 404)
		return answer.Lanes, p.get("/s/"+started.Session, 200)
	}
	lanes, page := said(func(*decode.Sampling) {}, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 1.5)
	if lanes[0] != "" || !strings.Contains(lanes[1], "of replies would be others") || lanes[5] != lanes[1] || !strings.HasPrefix(lanes[6], "One sample does not say") {
		t.Errorf("token by token: %q", lanes)
	}
	if !strings.Contains(page, lanes[1]) {
		t.Errorf("the page does not say %q", lanes[1])
	}
	lanes, page = said(func(s *decode.Sampling) { s.Exact = 4 }, 0, 0.5)
	if lanes[0] != "" || !strings.Contains(lanes[1], "one of 4 particles") || !strings.Contains(page, lanes[1]) {
		t.Errorf("with particles: %q", lanes)
	}
	if lanes, _ = said(func(s *decode.Sampling) { s.Temperature = 0.7 }, 0.5, 0.5, 0.5, 0.5); strings.Join(lanes, "") != "" {
		t.Errorf("at another temperature: %q", lanes)
	}
	if lanes, _ = said(func(s *decode.Sampling) { s.TopK = 5 }, 0.5, 0.5, 0.5, 0.5); strings.Join(lanes, "") != "" {
		t.Errorf("truncated: %q", lanes)
	}
}
