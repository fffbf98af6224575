package web

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"realign/internal/decode"
	"realign/internal/preference"
	"realign/internal/study"
)

var questionOf = regexp.MustCompile(`Question\s+(\d+)\s+of\s+at\s+most\s+(\d+)`)

// TestNumbersTellNoCatchTrial has one annotator answer and skip all of a study: how many questions there may be must not
// change with what was asked.
func TestNumbersTellNoCatchTrial(t *testing.T) {
	w := newWorld(t, setup{})
	owner := w.person()
	id, path := w.openStudy(owner, studyFields("overlap", "1", "same_every", "4", "broken_every", "5", "max_tokens", "24", "prompts", "abc\nbca\ncab\nacb\nbac\ncba"))
	ann := w.annotator(path, "Ann")
	st, err := w.store.Study(t.Context(), owner.ownerID(), id)
	if err != nil {
		t.Fatal(err)
	}
	items, err := w.store.StudyItems(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	catch := map[string]preference.Catch{}
	for _, it := range items {
		catch[it.ID] = it.Catch
	}
	people, err := w.store.StudyAnnotators(t.Context(), id)
	if err != nil || len(people) != 1 {
		t.Fatal(people, err)
	}
	trials, most := 0, ""
	for n := 1; ; n++ {
		q := ann.question()
		if q.id == "" {
			break
		}
		m := questionOf.FindStringSubmatch(strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(q.page, " ")), " "))
		if m == nil || m[1] != strconv.Itoa(n) {
			t.Fatalf("question %d has no number, or another: %v", n, m)
		}
		_, asked, err := w.store.Had(t.Context(), people[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		if most == "" {
			most = m[2]
		}
		if m[2] != most {
			t.Errorf("question %d (catch trial %q) is one of at most %s, the ones before of %s", n, catch[asked.Item], m[2], most)
		}
		if catch[asked.Item] != preference.NoCatch {
			trials++
		}
		if n%5 == 0 {
			ann.send("/skip", 303, "question", q.id, "reason", "unsure")
		} else {
			ann.send("/answer", 303, "question", q.id, "choice", "tie")
		}
	}
	if bound, _ := strconv.Atoi(most); trials < 4 || bound < len(items)/2 {
		t.Errorf("%d catch trials, at most %s questions", trials, most)
	}
	if st.Setup.Secret == "" {
		t.Error("the study has no secret")
	}
}

// TestStudiesAreNotRepeatedBySeed decodes a study's prompts again as somebody would who knows all that the study's page
// shows, seed included: at λ of the grid the answers must be others. Greedy ones are the same: that is what greedy means.
func TestStudiesAreNotRepeatedBySeed(t *testing.T) {
	w := newWorld(t, setup{})
	owner := w.person()
	for temperature, repeated := range map[string]bool{"1": false, "0": true} {
		id, _ := w.openStudy(owner, studyFields("temperature", temperature))
		st, err := w.store.Study(t.Context(), owner.ownerID(), id)
		if err != nil {
			t.Fatal(err)
		}
		prompts, err := w.store.StudyPrompts(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		outputs, err := w.store.StudyOutputs(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		known := st.Setup
		known.Secret = ""
		same := 0
		for _, o := range outputs {
			if w.decoded(&known, prompts[o.Prompt-1].Text, o) == o.Text {
				same++
			}
		}
		if repeated != (same == len(outputs)) || !repeated && same > len(outputs)/3 {
			t.Errorf("temperature %s: %d of %d answers are decoded again by the seed", temperature, same, len(outputs))
		}
		file := owner.get("/studies/"+id+"/export/ratings.jsonl", 200)
		if strings.Contains(file, st.Setup.Secret) || strings.Contains(file, strconv.FormatUint(outputs[0].Seed, 10)) {
			t.Error("an export tells the secret, or seeds, before the study is closed")
		}
		owner.post("/studies/"+id+"/status", 303, "status", "closed")
		file = owner.get("/studies/"+id+"/export/ratings.jsonl", 200)
		if !strings.Contains(file, `"secret":"`+st.Setup.Secret) || !strings.Contains(file, strconv.FormatUint(outputs[0].Seed, 10)) {
			t.Error("the export of a closed study has no secret, or no seeds")
		}
	}
}

// decoded is the text of an output of a setup.
func (w *world) decoded(s *study.Setup, prompt string, o study.Output) string {
	w.t.Helper()
	var mu sync.Mutex
	var text strings.Builder
	job, err := w.models.Decode(context.Background(), s.Pair, decode.Request{
		Run: "again", Aligned: []string{s.Aligned}, Prompt: decode.Prompt{Messages: []decode.Message{{Role: "user", Content: prompt}}},
		Lanes: []decode.Lane{{Lambda: decode.Vector{o.Lambda}, Sample: o.Sample}}, Sampling: s.Sampling, Seed: s.PromptSeed(o.Prompt),
	}, func(e decode.Event) {
		mu.Lock()
		defer mu.Unlock()
		text.WriteString(e.Text)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	<-job.Done()
	mu.Lock()
	defer mu.Unlock()
	return text.String()
}
