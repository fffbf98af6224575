package mtbench_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/mtbench"
	"realign/internal/sweep"
	"realign/internal/sweep/reward"
)

const file = `{"question_id":81,"category":"writing","turns":["abc","bcd"]}

{"question_id":111,"category":"math","turns":["ca","ab"],"reference":["a","b"]}
`

func TestRead(t *testing.T) {
	questions, err := mtbench.Read(strings.NewReader(file))
	if err != nil || len(questions) != 2 || questions[1].Category != "math" || questions[1].Reference[1] != "b" || string(questions[0].ID) != "81" {
		t.Fatalf("%+v, %v", questions, err)
	}
	for text, says := range map[string]string{
		"": "none", "{": "line 1", "\n{\"turns\":[]}": "line 2 has 0 turns", `{"turns":["a"," "]}`: "turn 2 is empty",
	} {
		if _, err := mtbench.Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

// judgeOf is a judge on this machine that says what say makes of the question that it is asked.
func judgeOf(t *testing.T, mode string, say func(question string) string) reward.Reward {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Messages []struct{ Content string } }
		data, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(data, &body)
		content, _ := json.Marshal(say(body.Messages[len(body.Messages)-1].Content))
		fmt.Fprintf(w, `{"choices":[{"message":{"role":"assistant","content":%s}}]}`, content)
	}))
	t.Cleanup(s.Close)
	config := sweep.Config{Rewards: []sweep.Reward{{Reward: "judge", Name: "judge", Parameters: json.RawMessage(fmt.Sprintf(`{"url":%q,"model":"m","mode":%q,"tries":1}`, s.URL+"/v1", mode))}}}
	rewards, err := reward.Open(t.Context(), &config, reward.Environment{Headless: true})
	if err != nil {
		t.Fatal(err)
	}
	return rewards[0].Reward
}

// Both turns are decoded at every λ, the second after what that λ said first, and both are judged: single answers turn by turn with the conversation
// before them and the right answer, pairs as conversations in both orders.
func TestBothTurns(t *testing.T) {
	questions, err := mtbench.Read(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	engine := decode.NewEngine(decodetest.New(decodetest.Options{Seed: 5, EndLogit: -1}), decode.Config{})
	defer engine.Close()
	var requests []decode.Request
	decodes := func(_ context.Context, r decode.Request) ([]decode.Reply, error) {
		requests = append(requests, r)
		var gather decode.Gather
		j, err := engine.Start(r, gather.Add)
		if err != nil {
			return nil, err
		}
		<-j.Done()
		replies, _ := gather.Replies(r.Lanes)
		return replies, nil
	}
	c := mtbench.Config{Aligned: "warm", Lambdas: []float64{0, 1, 2}, Sampling: decode.Sampling{MaxTokens: 9, TopP: 1}, Seed: 3}
	var answers []mtbench.Answer
	for i := range questions {
		own, err := c.Ask(t.Context(), decodes, i, &questions[i])
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, own...)
	}
	if len(requests) != 8 || len(requests[0].Lanes) != 3 || requests[0].Sampling.Temperature != 0.7 || requests[4].Sampling.Temperature != 0 {
		t.Fatalf("%d requests", len(requests))
	}
	for i := range 3 { // the second turns of the first question
		m := requests[1+i].Prompt.Messages
		if len(m) != 3 || m[0].Content != "abc" || m[1].Role != "assistant" || strings.TrimSpace(answers[i].Turns[0]) != "" && m[1].Content != answers[i].Turns[0] || m[2].Content != "bcd" {
			t.Errorf("the second turn of %v asks %+v", answers[i].Lambda, m)
		}
	}

	var mu sync.Mutex
	var asked []string
	single := judgeOf(t, "pointwise", func(question string) string {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, question)
		if strings.Contains(question, "before the answer") {
			return `{"explanation":"second","score":4}`
		}
		return `{"explanation":"first","score":8}`
	})
	for i := range questions {
		mtbench.Score(t.Context(), single, false, &questions[i], answers[3*i:3*i+3])
	}
	references := 0
	for _, question := range asked {
		if strings.Contains(question, "REFERENCE ANSWER") {
			references++
		}
	}
	if len(asked) != 12 || references != 6 {
		t.Errorf("%d questions to the judge, %d with a right answer", len(asked), references)
	}
	for _, row := range mtbench.Table(questions, answers) {
		if row.All.Estimate != 6 || row.Turns[0].Estimate != 8 || row.Turns[1].Estimate != 4 || row.Categories["math"].Estimate != 6 || row.All.Answers != 4 || row.All.Low > 6 || row.All.High < 6 {
			t.Errorf("%+v", row)
		}
	}

	// The judge prefers the conversation with more of the letter a in its last reply.
	preferred := judgeOf(t, "pairwise", func(question string) string {
		count := func(name string) int {
			_, rest, _ := strings.Cut(question, "<<< "+name+"\n")
			text, _, _ := strings.Cut(rest, "\n>>>")
			_, last, ok := strings.Cut(text, "Reply to turn 2:")
			if !ok {
				return -1
			}
			return strings.Count(last, "a")
		}
		a, b := count("ANSWER A"), count("ANSWER B")
		switch {
		case a < 0 || b < 0:
			return "no second reply"
		case a > b:
			return `{"explanation":"","winner":"A"}`
		case b > a:
			return `{"explanation":"","winner":"B"}`
		}
		return `{"explanation":"","winner":"tie"}`
	})
	for i := range answers {
		answers[i].Scores, answers[i].Missing = nil, nil
	}
	for i := range questions {
		own := answers[3*i : 3*i+3]
		mtbench.Score(t.Context(), preferred, true, &questions[i], own)
		for _, a := range own {
			x, y := strings.Count(a.Turns[1], "a"), strings.Count(own[1].Turns[1], "a")
			want := 0.5
			if a.Lambda != 1 && x > y {
				want = 1
			} else if a.Lambda != 1 && x < y {
				want = 0
			}
			if len(a.Scores) != 1 || a.Missing[0] != "" || math.Abs(a.Scores[0]-want) > 1e-9 {
				t.Errorf("λ = %v: %v, %q, want %v", a.Lambda, a.Scores, a.Missing, want)
			}
		}
	}
}

// What a model thought is neither judged nor carried into the next turn.
func TestThoughtsStayOut(t *testing.T) {
	q := mtbench.Question{Category: "writing", Turns: []string{"one", "two"}}
	decodes := func(_ context.Context, r decode.Request) ([]decode.Reply, error) {
		for _, m := range r.Prompt.Messages {
			if strings.Contains(m.Content, "secret") {
				t.Errorf("the conversation has the thought: %+v", r.Prompt.Messages)
			}
		}
		return []decode.Reply{{Text: "<think>secret</think>said", Reason: decode.EndStop}}, nil
	}
	c := mtbench.Config{Aligned: "warm", Lambdas: []float64{1}, Sampling: decode.Sampling{MaxTokens: 9, TopP: 1}}
	answers, err := c.Ask(t.Context(), decodes, 0, &q)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	for _, mode := range []string{"pointwise", "pairwise"} {
		judge := judgeOf(t, mode, func(question string) string {
			mu.Lock()
			defer mu.Unlock()
			if strings.Contains(question, "secret") || !strings.Contains(question, "said") {
				t.Errorf("%s: the judge is asked %s", mode, question)
			}
			return `{"explanation":"x","score":8,"winner":"tie"}`
		})
		mtbench.Score(t.Context(), judge, mode == "pairwise", &q, answers)
	}
}
