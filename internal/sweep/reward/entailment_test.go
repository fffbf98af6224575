package reward

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"realign/internal/sweep"
)

// follows is what the local endpoints of these tests judge by: the premise has every word of the hypothesis.
func follows(premise, hypothesis string) bool {
	for _, word := range plain(hypothesis) {
		if !strings.Contains(strings.ToLower(premise), word) {
			return false
		}
	}
	return true
}

// classifier is a text-classification server; its answers are lists of one list, or flat.
func classifier(t *testing.T, flat bool, label string) (*httptest.Server, *atomic.Int64) {
	asked := new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var body struct{ Inputs [][]string }
		data, _ := io.ReadAll(r.Body)
		if json.Unmarshal(data, &body) != nil || len(body.Inputs) != 1 || len(body.Inputs[0]) != 2 {
			http.Error(w, "no pair", http.StatusUnprocessableEntity)
			return
		}
		p := 0.05
		if follows(body.Inputs[0][0], body.Inputs[0][1]) {
			p = 0.9
		}
		one := fmt.Sprintf(`[{"label":"contradiction","score":0.01},{"label":%q,"score":%g},{"label":"neutral","score":%g}]`, label, p, 0.99-p)
		if !flat {
			one = "[" + one + "]"
		}
		fmt.Fprint(w, one)
	}))
	t.Cleanup(s.Close)
	return s, asked
}

func entailmentOf(t *testing.T, parameters string) *entailment {
	t.Helper()
	return open(t, "entailment", parameters, Environment{Headless: true}, sweep.Row{Text: "p", Context: "c"}).(*entailment)
}

// A sentence that follows from the context counts, one that does not does not, whichever form the server's answers have.
func TestEntailmentByAClassifier(t *testing.T) {
	row := sweep.Row{Text: "Where?", Context: "The museum is in Paris and opens at nine."}
	for _, flat := range []bool{false, true} {
		s, asked := classifier(t, flat, "ENTAILMENT")
		r := entailmentOf(t, fmt.Sprintf(`{"url":%q,"tries":1}`, s.URL))
		if err := r.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		asked.Store(0)
		v := value(t, r, row, sweep.Output{Text: "The museum is in Paris. It closes at noon."})
		if !v.OK() || math.Abs(v.Value-(0.9+0.05)/2) > 1e-9 || asked.Load() != 2 {
			t.Errorf("flat %v: %+v after %d questions", flat, v, asked.Load())
		}
		r = entailmentOf(t, fmt.Sprintf(`{"url":%q,"tries":1,"reduce":"min"}`, s.URL))
		if v := value(t, r, row, sweep.Output{Text: "The museum is in Paris. It closes at noon."}); v.Value != 0.05 {
			t.Errorf("the least: %+v", v)
		}
		if v := value(t, r, row, sweep.Output{Text: " "}); v.OK() || !strings.Contains(v.Missing, "no sentence") {
			t.Errorf("no sentence: %+v", v)
		}
	}
	s, _ := classifier(t, false, "LABEL_2")
	r := entailmentOf(t, fmt.Sprintf(`{"url":%q,"tries":3}`, s.URL))
	if err := r.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "LABEL_2") {
		t.Errorf("another label: %v", err)
	}
	r = entailmentOf(t, fmt.Sprintf(`{"url":%q,"label":"label_2"}`, s.URL))
	if v := value(t, r, row, sweep.Output{Text: "The museum is in Paris."}); v.Value != 0.9 {
		t.Errorf("a label by name: %+v", v)
	}
}

func TestEntailmentByALanguageModel(t *testing.T) {
	say := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Model    string
			Messages []struct{ Content string }
		}
		data, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/v1/chat/completions" || json.Unmarshal(data, &body) != nil || body.Model != "m" || len(body.Messages) != 2 {
			http.Error(w, "bad", 400)
			return
		}
		word := say
		if word == "" {
			premise, hypothesis, _ := strings.Cut(strings.TrimPrefix(body.Messages[1].Content, "Premise:\n"), "\n\nHypothesis:\n")
			word = map[bool]string{true: "Entailment.", false: "neutral"}[follows(premise, hypothesis)]
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"choices": []any{map[string]any{"finish_reason": "stop", "message": map[string]string{"content": word}}}})
	}))
	defer s.Close()
	row := sweep.Row{Text: "Where?", Context: "The museum is in Paris and opens at nine."}
	r := entailmentOf(t, fmt.Sprintf(`{"url":%q,"format":"openai","model":"m","tries":1}`, s.URL+"/v1"))
	if v := value(t, r, row, sweep.Output{Text: "The museum is in Paris. It closes at noon."}); v.Value != 0.5 {
		t.Errorf("%+v", v)
	}
	for word, want := range map[string]float64{"<think>neutral or contradiction?</think> entailment": 1, "Contradiction": 0, "**entailment**": 1} {
		say = word
		if v := value(t, r, row, sweep.Output{Text: "The museum opens."}); !v.OK() || v.Value != want {
			t.Errorf("%q: %+v", word, v)
		}
	}
	say = "I do not know"
	if v := value(t, r, row, sweep.Output{Text: "The museum opens."}); v.OK() || !strings.Contains(v.Missing, "none of entailment") {
		t.Errorf("another word: %+v", v)
	}
}

func TestEntailmentParameters(t *testing.T) {
	for parameters, field := range map[string]string{
		`{}`: "url", `{"url":"http://h","format":"tgi"}`: "format", `{"url":"http://h","format":"openai"}`: "model", `{"url":"http://h","model":"m"}`: "model",
		`{"url":"http://h","label":""}`: "label", `{"url":"http://h","reduce":"max"}`: "reduce",
	} {
		_, err := entails().make([]byte(parameters), Environment{Headless: true})
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v, want an error about %s", parameters, err, field)
		}
	}
}
