package web

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"html"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/experiment"
	"realign/internal/instance"
	"realign/internal/preference"
	"realign/internal/stat"
	"realign/internal/study"
	"realign/internal/sweep"
	"realign/internal/sweep/reward"
	"realign/internal/sweep/runner"
)

// sweeping has the sweeps of a world decoded, too.
func (w *world) sweeping() {
	w.t.Helper()
	run := runner.New(runner.Config{
		Store: w.store, Generator: w.made, Pairs: w.models, Server: instance.Fixed("sweeping"), Rewards: reward.Environment{Headless: true},
	})
	w.t.Cleanup(func() { _ = run.Close() })
	w.Server.sweeper = run
}

func (w *world) awaitSweep(owner *person, id string) sweep.Sweep {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		got, err := w.store.Sweep(w.t.Context(), owner.ownerID(), id)
		if err != nil || time.Now().After(deadline) {
			w.t.Fatalf("the sweep is %s, %v", got.State, err)
		}
		if got.State == sweep.Done {
			return got
		}
	}
}

const sweepConfig = `{"pair": "table", "name": "Short <b>", "prompts": ["ab", {"prompt": "bc", "system": "cd", "category": "k"}, {"prompt": "e", "context": "fa"}],
"lambda": [0, 0.5, 1, 1.5, 2, 2.5, 3], "samples": 2, "sampling": {"max_tokens": 12, "temperature": 1}, "seed": 18446744073709551610,
"rewards": [{"reward": "length", "parameters": {"low": 5, "high": 7}}], "refine": {"rounds": 1}}`

// startSweep starts a sweep with a configuration and waits for its end.
func (w *world) startSweep(p *person, text string) sweep.Sweep {
	w.t.Helper()
	answer, _ := p.post("/sweeps", http.StatusSeeOther, "config", text)
	return w.awaitSweep(p, strings.TrimPrefix(answer.Header.Get("Location"), "/sweeps/"))
}

var formField = regexp.MustCompile(`(?s)<(input|textarea)[^>]*\bname="([^"]+)"[^>]*>`)

// fields are what a form on a page would send if nothing were changed.
func fields(page string) map[string]string {
	values := map[string]string{}
	for _, at := range formField.FindAllStringSubmatchIndex(page, -1) {
		tag, kind, name := page[at[0]:at[1]], page[at[2]:at[3]], page[at[4]:at[5]]
		switch {
		case kind == "textarea":
			text, _, _ := strings.Cut(page[at[1]:], "</textarea>")
			values[name] = html.UnescapeString(text)
		case strings.Contains(tag, `type="checkbox"`), strings.Contains(tag, `type="radio"`):
			if strings.Contains(tag, " checked") {
				values[name] = attribute(tag, "value")
			}
		case !strings.Contains(tag, `type="file"`):
			values[name] = attribute(tag, "value")
		}
	}
	for _, m := range regexp.MustCompile(`(?s)<select[^>]*\bname="([^"]+)"[^>]*>.*?</select>`).FindAllStringSubmatch(page, -1) {
		for _, option := range regexp.MustCompile(`<option value="([^"]*)"([^>]*)>`).FindAllStringSubmatch(m[0], -1) {
			if strings.Contains(option[2], "selected") {
				values[m[1]] = html.UnescapeString(option[1])
			}
		}
	}
	return values
}

func attribute(tag, name string) string {
	m := regexp.MustCompile(name + `="([^"]*)"`).FindStringSubmatch(tag)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

// People rate outputs of a sweep: the form offers λ from end to end where none is surely best, and nothing is decoded for it.
func TestStudyOfASweep(t *testing.T) {
	w := newWorld(t, setup{})
	w.sweeping()
	p := w.person()
	swept := w.startSweep(p, sweepConfig)
	if page := p.get("/sweeps/"+swept.ID, 200); !strings.Contains(page, "/studies/new?sweep="+swept.ID) {
		t.Error("the page of the sweep does not offer to have its outputs rated")
	}
	decoded, _ := w.queue.Decoded()
	form := fields(p.get("/studies/new?sweep="+swept.ID, 200))
	if form["experiment"] != swept.ID || form["samples"] != "1" || form["pair"] != "" || form["max_tokens"] != "" {
		t.Errorf("the form is %v", form)
	}
	var report sweep.Report
	if err := json.Unmarshal(swept.Report, &report); err != nil {
		t.Fatal(err)
	}
	grid, err := decode.ParseNumbers("grid", form["grid"])
	if err != nil || report.Best != nil || !slices.Equal(grid, []float64{0, 0.5, 1.5, 2, 3}) {
		t.Errorf("the grid is %v, %v, the best λ %+v", grid, err, report.Best)
	}
	form["title"], form["broken_every"] = "Which is better?", "5"
	answer, page, id := p.createStudy(form, "", "")
	if answer.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d: %.3000s", answer.StatusCode, page)
	}
	p.post("/studies/"+id+"/status", 303, "status", "decoding")
	st := w.awaitStudy(p, id, study.Ready)
	if now, _ := w.queue.Decoded(); now != decoded {
		t.Errorf("%d items were decoded for the study", now-decoded)
	}
	outputs, err := w.store.StudyOutputs(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	made, err := w.store.ExperimentOutputs(t.Context(), swept.ID, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[experiment.Cell]string{}
	for _, o := range made {
		texts[o.Cell] = o.Text
	}
	for _, o := range outputs {
		if text := texts[o.Cell()]; !o.Broken && (o.Text != text || !o.Done || o.Seed != experiment.PromptSeed(swept.Setup.Config.Seed, o.Source)) {
			t.Errorf("%+v, where the sweep has %q", o, text)
		}
	}
	if st.Experiment != swept.ID || len(outputs) < 3*5+3 {
		t.Errorf("%d outputs of experiment %s", len(outputs), st.Experiment)
	}
	for path, other := range map[string]string{"/sweeps/" + swept.ID: "/studies/" + id, "/studies/" + id: "/sweeps/" + swept.ID} {
		if page := p.get(path, 200); !strings.Contains(page, `href="`+other+`"`) {
			t.Errorf("%s does not lead to %s", path, other)
		}
	}

	// A λ and a sample that are not there are decoded, and only they; the sweep stays as it is.
	form["grid"], form["samples"], form["same_every"] = "0.25, 1", "2", "0"
	_, _, id = p.createStudy(form, "", "")
	p.post("/studies/"+id+"/status", 303, "status", "decoding")
	w.awaitStudy(p, id, study.Ready)
	if now, _ := w.queue.Decoded(); now != decoded+3 {
		t.Errorf("%d items were decoded for the λ that was not there, want one a prompt", now-decoded)
	}
	after, err := w.store.Outputs(t.Context(), swept.ID, nil, false)
	if err != nil || len(after) != report.Outputs {
		t.Errorf("the sweep has %d outputs, %v, where it had %d", len(after), err, report.Outputs)
	}

	// What does not belong to the experiment is refused by name; nobody else can rate it.
	form["prompts"] += "\n{\"prompt\": \"another\"}"
	if answer, page, _ := p.createStudy(form, "", ""); answer.StatusCode != http.StatusBadRequest || !strings.Contains(page, "is not a prompt of the experiment") {
		t.Errorf("another prompt: %d", answer.StatusCode)
	}
	w.person().get("/studies/new?sweep="+swept.ID, 404)
	if answer, _, _ := w.person().createStudy(form, "", ""); answer.StatusCode != http.StatusNotFound {
		t.Errorf("somebody else's outputs: %d", answer.StatusCode)
	}
	p.post("/sweeps/"+swept.ID+"/delete", 303)
	if page := p.get("/studies/"+id, 200); !strings.Contains(page, "ready to open") {
		t.Error("the study is gone with the sweep")
	}
}

// Where a best λ is known, those nearest to it are offered.
func TestRatedNearTheBest(t *testing.T) {
	r := &sweep.Report{Best: &sweep.Best{Lambda: stat.Interval{Estimate: 2.3, Low: 2, High: 2.6}}}
	if grid := near(r, []float64{0, 0.5, 1, 1.5, 2, 2.5, 3}); !slices.Equal(grid, []float64{1, 1.5, 2, 2.5, 3}) {
		t.Errorf("the grid is %v", grid)
	}
}

const conversations = `{"pair": "table", "lambda": [0, 1, 2], "samples": 1, "sampling": {"max_tokens": 12, "temperature": 1}, "rewards": ["length"], "refine": {"rounds": 0},
"prompts": [{"messages": [{"role": "system", "content": "cd"}, {"role": "user", "content": "ab"}, {"role": "assistant", "content": "fe"}, {"role": "user", "content": "bc"}]}, "bc"]}`

// Conversations stay what they are on the way from a sweep to a study of its outputs, and from that to a sweep again.
func TestConversationsOfAnExperiment(t *testing.T) {
	w := newWorld(t, setup{})
	w.sweeping()
	p := w.person()
	swept := w.startSweep(p, conversations)
	want := []decode.Message{{Role: "user", Content: "ab"}, {Role: "assistant", Content: "fe"}}
	decoded, _ := w.queue.Decoded()
	form := fields(p.get("/studies/new?sweep="+swept.ID, 200))
	form["title"], form["same_every"], form["broken_every"] = "Conversations", "0", "0"
	answer, page, id := p.createStudy(form, "", "")
	if answer.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d: %.3000s", answer.StatusCode, page)
	}
	prompts, err := w.store.StudyPrompts(t.Context(), id)
	if err != nil || len(prompts) != 2 || !slices.Equal(prompts[0].History, want) || prompts[0].Text != "bc" || prompts[0].System != "cd" || prompts[1].History != nil {
		t.Errorf("the study asks %+v, %v", prompts, err)
	}
	p.post("/studies/"+id+"/status", 303, "status", "decoding")
	w.awaitStudy(p, id, study.Ready)
	answer, _ = p.post("/sweeps", http.StatusSeeOther, "study", id, "reward", "distinct")
	again := w.awaitSweep(p, strings.TrimPrefix(answer.Header.Get("Location"), "/sweeps/"))
	row := again.Setup.Config.Prompts.Rows[0]
	if again.Experiment != swept.ID || !slices.Equal(row.History, want) || row.Text != "bc" || row.System != "cd" {
		t.Errorf("the second sweep asks %+v of experiment %s", row, again.Experiment)
	}
	if now, _ := w.queue.Decoded(); now != decoded {
		t.Errorf("%d items were decoded again", now-decoded)
	}
}

// Rewards judge the outputs of a study, and more of them later, and nothing is decoded for it.
func TestRewardsOfAStudy(t *testing.T) {
	w := newWorld(t, setup{})
	w.sweeping()
	p := w.person()
	_, _, id := p.createStudy(studyFields("same_every", "5", "samples", "2", "prompts", "abc\nbca\ncab"), "", "")
	if page := p.get("/sweeps/new?study="+id, 409); !strings.Contains(page, "not decoded yet") {
		t.Errorf("rewards of a draft: %.300s", page)
	}
	p.post("/studies/"+id+"/status", 303, "status", "decoding")
	w.awaitStudy(p, id, study.Ready)
	decoded, _ := w.queue.Decoded()
	if page := p.get("/sweeps/new?study="+id, 200); strings.Contains(page, `name="prompts"`) || !strings.Contains(page, `name="study" value="`+id+`"`) {
		t.Error("the form asks for more than rewards")
	}
	if answer, page := p.post("/sweeps", http.StatusBadRequest, "study", id); !strings.Contains(page, "choose at least one") {
		t.Errorf("without a reward: %d", answer.StatusCode)
	}
	answer, _ := p.post("/sweeps", http.StatusSeeOther, "study", id, "reward", "length", "param.length.low", "3", "param.length.high", "5")
	made := w.awaitSweep(p, strings.TrimPrefix(answer.Header.Get("Location"), "/sweeps/"))
	outputs, err := w.store.Outputs(t.Context(), made.ID, nil, true)
	if err != nil || len(outputs) != 3*3*2 || made.Experiment != id || made.Setup.Unweighted {
		t.Errorf("%d outputs, %v, of experiment %s", len(outputs), err, made.Experiment)
	}
	more := url.Values{csrfField: {p.csrf}, "reward": {"length", "distinct"}}
	r, body := p.do("POST", "/sweeps/"+made.ID+"/rewards", strings.NewReader(more.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	if r.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d: %.500s", r.StatusCode, body)
	}
	made = w.awaitSweep(p, made.ID)
	var names []string
	for _, j := range made.Setup.RewardInfos {
		names = append(names, j.Name)
	}
	if !slices.Equal(names, []string{"length", "length 2", "distinct"}) {
		t.Errorf("the rewards are %q", names)
	}
	if outputs, err = w.store.Outputs(t.Context(), made.ID, nil, false); err != nil || len(outputs[0].Rewards) != 3 {
		t.Errorf("%+v, %v", outputs[0], err)
	}
	if page := p.get(fmt.Sprintf("/sweeps/%s/rewards", made.ID), 200); !strings.Contains(page, "Judge the outputs") {
		t.Error("no form for more rewards")
	}
	if now, _ := w.queue.Decoded(); now != decoded {
		t.Errorf("%d items were decoded for rewards", now-decoded)
	}
}

// Whether rewards and people agree: annotators who mostly prefer the answer that one reward prefers agree with it and not
// with its opposite, on the page, as JSON and as CSV, and by category.
func TestAgreement(t *testing.T) {
	w := newWorld(t, setup{})
	w.sweeping()
	p := w.person()
	prompts := "category,prompt\n"
	for i := range 12 {
		prompts += fmt.Sprintf("%s,%s\n", []string{"odd <b>", "even"}[i%2], strings.Repeat("abcde"[i%5:i%5+1], 1+i/5)+"bc")
	}
	_, _, id := p.createStudy(studyFields("format", "csv", "prompts", prompts, "likert", "", "ranking", "", "overlap", "7", "broken_every", "6", "pairwise", "on"), "", "")
	p.get("/studies/"+id+"/agreement", 409)
	p.post("/studies/"+id+"/status", 303, "status", "decoding")
	w.awaitStudy(p, id, study.Ready)
	if page := p.get("/studies/"+id+"/agreement", 200); !strings.Contains(page, "No reward has judged these answers yet") {
		t.Error("without rewards the page says something else")
	}
	answer, _ := p.post("/sweeps", http.StatusSeeOther, "study", id, "reward", "implicit")
	made := w.awaitSweep(p, strings.TrimPrefix(answer.Header.Get("Location"), "/sweeps/"))
	p.post("/sweeps/"+made.ID+"/rewards", 303, "reward", "pattern", "param.pattern.pattern", "a")
	made = w.awaitSweep(p, made.ID)
	swept, err := w.store.Outputs(t.Context(), made.ID, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	rewards := map[experiment.Cell]float64{}
	for _, o := range swept {
		rewards[o.Cell] = o.Rewards["implicit"].Value
	}
	p.post("/studies/"+id+"/status", 303, "status", "open")
	st, err := w.store.Study(t.Context(), p.ownerID(), id)
	if err != nil {
		t.Fatal(err)
	}
	told, agreed, ties := 0, 0, 0
	for k := range 7 {
		who, _, err := w.studyService.Join(t.Context(), &st, fmt.Sprintf("Annotator %d", k))
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; ; n++ {
			q, err := w.studyService.Question(t.Context(), &st, who.ID)
			if err != nil {
				t.Fatal(err)
			}
			if q.Finished() {
				break
			}
			a, b := q.Outputs[0], q.Outputs[1]
			choice := preference.PreferA
			if rewards[b.Cell()] > rewards[a.Cell()] {
				choice = preference.PreferB
			}
			catch := a.Broken || b.Broken
			switch {
			case !catch && n%9 == 4:
				choice = preference.Tie
				ties++
			case !catch && n%9 == 7: // against the reward
				choice = map[preference.Choice]preference.Choice{preference.PreferA: preference.PreferB, preference.PreferB: preference.PreferA}[choice]
				fallthrough
			case !catch:
				told++
				if rewards[a.Cell()] != rewards[b.Cell()] && n%9 != 7 {
					agreed += 2
				} else if rewards[a.Cell()] == rewards[b.Cell()] {
					agreed++
				}
			}
			if err := w.studyService.Answer(t.Context(), &st, who.ID, q.Assignment.ID, study.Answer{Choice: choice}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var report struct {
		People  struct{ Pairs, Ties, Prompts, Annotators int }
		Rewards []struct {
			Sweep, Name string
			Overall     struct {
				Pairs, Unjudged int
				Share           struct{ Estimate, Low, High float64 }
			}
			Categories []struct{ Category string }
			Curve      []any
		}
	}
	if err := json.Unmarshal([]byte(p.get("/studies/"+id+"/agreement.json", 200)), &report); err != nil {
		t.Fatal(err)
	}
	first := report.Rewards[0]
	if report.People.Pairs != told || report.People.Ties != ties || report.People.Annotators != 7 || len(report.Rewards) != 2 {
		t.Errorf("%+v, want %d pairs and %d ties", report.People, told, ties)
	}
	if first.Name != "implicit" || first.Sweep != made.ID || first.Overall.Pairs != told || math.Abs(first.Overall.Share.Estimate-float64(agreed)/float64(2*told)) > 1e-12 ||
		first.Overall.Share.Low <= 0.5 || len(first.Categories) != 2 || len(first.Curve) == 0 {
		t.Errorf("%+v, want a share of %d/%d", first, agreed, 2*told)
	}
	page := p.get("/studies/"+id+"/agreement", 200)
	for _, want := range []string{`data-verdict="agrees"`, "surely more often than a coin", "People: u(λ)", "odd &lt;b&gt;", `href="/sweeps/` + made.ID + `"`, "like these 7 annotators"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	rows, err := csv.NewReader(strings.NewReader(p.get("/studies/"+id+"/agreement.csv", 200))).ReadAll()
	if err != nil || len(rows) != 1+2*3 || rows[1][1] != "implicit" || rows[2][2] != "even" {
		t.Errorf("%v, %v", rows, err)
	}
	w.person().get("/studies/"+id+"/agreement", 404)
}
