package web

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"realign/internal/experiment"
	"realign/internal/study"
)

// The seed that a study's answers were decoded with depends on the study's secret. Until the study is closed nobody is told
// it, nor a seed of an answer: not by a sweep of its answers, and not by a second study of them, though that one is closed.
func TestSecretSeedOfAnExperiment(t *testing.T) {
	w := newWorld(t, setup{})
	w.sweeping()
	p := w.person()
	_, _, id := p.createStudy(studyFields("same_every", "0", "broken_every", "0", "likert", "", "ranking", "", "pairwise", "on", "prompts", "abc\nbca\ncab"), "", "")
	p.post("/studies/"+id+"/status", 303, "status", "decoding")
	w.awaitStudy(p, id, study.Ready)
	answer, _ := p.post("/sweeps", http.StatusSeeOther, "study", id, "reward", "length", "param.length.low", "3", "param.length.high", "5")
	swept := w.awaitSweep(p, strings.TrimPrefix(answer.Header.Get("Location"), "/sweeps/"))
	form := fields(p.get("/studies/new?sweep="+swept.ID, 200))
	form["title"], form["same_every"], form["broken_every"] = "Second", "0", "0"
	_, _, second := p.createStudy(form, "", "")
	p.post("/studies/"+second+"/status", 303, "status", "decoding")
	w.awaitStudy(p, second, study.Ready)
	p.post("/studies/"+second+"/status", 303, "status", "closed")

	e, err := w.store.Experiment(t.Context(), p.ownerID(), id)
	if err != nil || !e.Secret {
		t.Fatalf("%+v, %v", e.Secret, err)
	}
	secrets := []string{strconv.FormatUint(e.Setup.Seed, 10)}
	for i := range e.Setup.Prompts {
		secrets = append(secrets, strconv.FormatUint(experiment.PromptSeed(e.Setup.Seed, i), 10))
	}
	at, replay := "/sweeps/"+swept.ID, "/?from=w:"+swept.ID+":1&sample=0&lanes=0.5"
	for _, path := range []string{
		at, at + "/live", at + "/table", at + "/prompts/0", at + "/ticket", at + "/export.jsonl", at + "/export.csv", at + "/rewards",
		"/sweeps/new?from=" + swept.ID, "/sweeps", "/studies/" + id, "/studies/" + id + "/export/ratings.jsonl",
		"/studies/" + id + "/agreement", "/studies/" + id + "/agreement.json",
		"/studies/new?sweep=" + swept.ID, "/studies/" + second, "/studies/" + second + "/export/ratings.jsonl",
	} {
		page := p.get(path, 200)
		for _, secret := range secrets {
			if strings.Contains(page, secret) {
				t.Errorf("%s tells a seed", path)
			}
		}
		if strings.Contains(page, "from=w:") || strings.Contains(page, "from=w%3A") {
			t.Errorf("%s leads to the playground", path)
		}
	}
	if page := p.get(replay, 409); strings.Contains(page, secrets[2]) || !strings.Contains(page, "once it is closed") {
		t.Errorf("the playground says %.300s", page)
	}

	p.post("/studies/"+id+"/status", 303, "status", "closed")
	if page := p.get(replay, 200); !strings.Contains(page, secrets[2]) {
		t.Error("an answer of a study that is closed cannot be repeated")
	}
	if page := p.get(at+"/prompts/0", 200); !strings.Contains(page, "from=w") {
		t.Error("no link to the playground when the study is closed")
	}
	for _, one := range []string{id, second} {
		if file := p.get("/studies/"+one+"/export/ratings.jsonl", 200); !strings.Contains(file, secrets[1]) {
			t.Errorf("the export of %s lacks the seeds of its answers", one)
		}
	}
}
