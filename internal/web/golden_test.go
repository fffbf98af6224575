package web

import (
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/preference"
	"realign/internal/run"
	"realign/internal/study"
)

var update = flag.Bool("update", false, "write testdata anew")

// goldenItem is a question without the ids, which are random.
type goldenItem struct {
	Kind   study.Kind
	Prompt int
	Catch  preference.Catch
	Texts  []string
}

// TestGoldenStudy: a study of the table decodes to what it did when testdata was written, and asks the same about it:
// seeds, noise, catch trials and spoilt answers do not change.
func TestGoldenStudy(t *testing.T) {
	w := newWorld(t, setup{})
	s := study.Setup{
		Title: "Golden", Pair: "table", Mode: run.Chat, System: "ab", Grid: []float64{0, 0.3, 0.6, 0.9, 1, 1.2, 1.5, 1.8, 2}, Samples: 2,
		Sampling: decode.Sampling{MaxTokens: 24, Temperature: 1, TopP: 1}, Seed: 1<<64 - 3,
		Pairwise: true, Likert: &study.Scale{Points: 5, Criteria: []string{"good"}}, Ranked: 4,
		Overlap: 2, SameEvery: 8, BrokenEvery: 8, Scheme: study.BalancedScheme,
	}
	prompts := []study.Prompt{{Place: 1, Line: 1, Text: "abc"}, {Place: 2, Line: 2, Text: "b", System: "cd"}, {Place: 3, Line: 3, Text: "dea", Category: "last"}}
	made, err := w.studyService.CreateOver(t.Context(), "ann", "", s, prompts, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	// Without a secret, which is random: as studies began before there were any.
	own := made.Setup.Experiment(prompts)
	made.Instance, made.Experiment = w.studyService.Server.Name(), made.ID
	if err := w.store.BeginStudy(t.Context(), made, &own, made.Setup.Outputs(prompts)); err != nil {
		t.Fatal(err)
	}
	if err := w.studyService.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); made.Status != study.Ready; time.Sleep(5 * time.Millisecond) {
		if made, err = w.store.Study(t.Context(), "ann", made.ID); err != nil || time.Now().After(deadline) {
			t.Fatalf("the study is %s, %v", made.Status, err)
		}
	}
	outputs, err := w.store.StudyOutputs(t.Context(), made.ID)
	if err != nil {
		t.Fatal(err)
	}
	items, err := w.store.StudyItems(t.Context(), made.ID)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for i := range outputs {
		texts[outputs[i].ID] = outputs[i].Text
		outputs[i].ID = ""
	}
	var asked []goldenItem
	for _, it := range items {
		g := goldenItem{Kind: it.Kind, Prompt: it.Prompt, Catch: it.Catch}
		for _, id := range it.Outputs {
			g.Texts = append(g.Texts, texts[id])
		}
		asked = append(asked, g)
	}
	slices.SortStableFunc(asked, func(a, b goldenItem) int { // items of equal λ are in the order of their ids
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		return strings.Compare(string(x), string(y))
	})
	got, err := json.MarshalIndent(map[string]any{"outputs": outputs, "items": asked}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/study.json"
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the study differs from %s:\n%s", file, got)
	}
}
