package web

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"realign/internal/study"
	"realign/internal/sweep"
)

// All that is wrong with a form is told at once, and a file that was read need not be chosen again.
func TestFormsTellAllThatIsWrong(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	answer, page, _ := p.createStudy(studyFields("title", " ", "grid", "0, many", "overlap", "two", "temperature", "hot", "prompts", ""), "p.csv", "prompt,category\nabc,x\nbca,y\n")
	if answer.StatusCode != http.StatusBadRequest {
		t.Fatalf("%d", answer.StatusCode)
	}
	alert := textBetween(page, `role="alert"`, "</ul>")
	for _, field := range []string{"title", "grid", "overlap", "temperature"} {
		if !strings.Contains(alert, "<strong>"+field+"</strong>") || !strings.Contains(page, `id="error-`+field+`"`) {
			t.Errorf("%s is not told: %s", field, alert)
		}
	}
	if strings.Count(alert, "<li>") != 4 {
		t.Errorf("%s", alert)
	}
	if !strings.Contains(page, "abc") || !strings.Contains(page, `value="jsonl" selected`) {
		t.Error("what the file said is gone")
	}

	_, page = p.ask(400, []byte("prompt,category\nabc,x\n"), "p.csv", "pair", "table:warm", "from", "some", "points", "3", "samples", "many", "reward", "length", "objective", "length")
	alert = textBetween(page, `role="alert"`, "</ul>")
	for _, field := range []string{"from", "samples"} {
		if !strings.Contains(alert, "<strong>"+field+"</strong>") {
			t.Errorf("%s is not told: %s", field, alert)
		}
	}
	if !strings.Contains(page, `value="jsonl" selected`) || !strings.Contains(page, "category&#34;:&#34;x") {
		t.Error("what the file of the sweep said is gone")
	}
}

// Help stands beside a label, not in it: it would be read as the name of the field.
func TestHelpIsNotInLabels(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	for _, path := range []string{"/", "/studies/new", "/sweeps/new", "/keys"} {
		page := p.get(path, http.StatusOK)
		for rest := page; strings.Contains(rest, "<label"); {
			_, after, _ := strings.Cut(rest, "<label")
			label, more, _ := strings.Cut(after, "</label>")
			if strings.Contains(label, "field-help") {
				t.Errorf("%s: help in a label: %.200s", path, label)
			}
			rest = more
		}
	}
}

// A new sweep like another says in its fields what that one said, and shows the whole configuration only where fields cannot.
func TestSweepAgain(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	answer, _ := p.ask(303, []byte("prompt,category\nabc,x\nbcd,y\n"), "prompts.csv", append(slices.Clone(goodForm), "name", "First", "temperature", "0.9", "seed", "77", "rounds", "1", "budget", "5000")...)
	first := strings.TrimPrefix(answer.Header.Get("Location"), "/sweeps/")
	page := p.get("/sweeps/new?from="+first, http.StatusOK)
	for _, want := range []string{`value="First"`, `value="0.9"`, `value="77"`, `value="5000"`, `value="3"`, `value="table:warm" selected`, `category&#34;:&#34;y`} {
		if !strings.Contains(page, want) {
			t.Errorf("the form lacks %s", want)
		}
	}
	if config := textBetween(page, `class="sweep-config"`, "</textarea>"); strings.Contains(config, "pair") {
		t.Errorf("a configuration is there and would win: %.300s", config)
	}
	// What fields cannot say.
	answer, _ = p.ask(303, nil, "", "config", "pair: table\nprompts: [abc]\nlambda: [0, 0.1, 1]\nsystem: Be brief.\nrewards: [length]\n")
	second := strings.TrimPrefix(answer.Header.Get("Location"), "/sweeps/")
	page = p.get("/sweeps/new?from="+second, http.StatusOK)
	if !strings.Contains(textBetween(page, `class="sweep-config"`, "</textarea>"), "Be brief.") || !strings.Contains(page, "stands for all fields above") {
		t.Error("the configuration is not shown, or not said to stand for the fields")
	}
}

// λ = 1 may be missing from a grid, but not without a word.
func TestGridWithoutTheAlignedModel(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	answer, _ := p.ask(303, []byte("abc\n"), "p.txt", "pair", "table:warm", "from", "0", "to", "2", "points", "4", "samples", "1", "reward", "length", "objective", "length", "max_tokens", "8")
	if page := p.get(answer.Header.Get("Location"), http.StatusOK); !strings.Contains(page, "λ = 1, the aligned model itself, is not among the λ") {
		t.Error("a sweep without λ = 1 says nothing")
	}
	_, _, id := p.createStudy(studyFields(), "", "") // 0, 0.5, 1.5
	page := p.get("/studies/"+id, http.StatusOK)
	if !strings.Contains(page, "λ = 1, the aligned model itself, is not among the λ") {
		t.Error("a study without λ = 1 says nothing")
	}
	if !strings.Contains(page, "At most 108 tokens to decode") { // 3 prompts, 3 λ, 12 tokens
		t.Errorf("what it takes is not said: %s", textBetween(page, "data-cost", "</p>"))
	}
}

// Eight models of one pair can be told apart.
func TestSweepModelsHaveTheirBeta(t *testing.T) {
	w := newWorld(t, setup{})
	page := w.person().get("/sweeps/new", http.StatusOK)
	if option := textBetween(page, `value="table:warm"`, "</option>"); !strings.Contains(option, "β 0.1") {
		t.Errorf("the model is called %q", option)
	}
}

// A file that cannot be imported is told where it was chosen.
func TestImportOfAWrongFile(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	for _, path := range []string{"/sessions/import", "/studies/import"} {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		_ = form.WriteField(csrfField, p.csrf)
		part, _ := form.CreateFormFile("file", "a.json")
		_, _ = part.Write([]byte("nothing of the kind"))
		_ = form.Close()
		answer, page := p.do("POST", path, &body, "Content-Type", form.FormDataContentType())
		if answer.StatusCode != http.StatusBadRequest || !strings.Contains(page, `id="import-error"`) || !strings.Contains(page, "choose a file that Realign has exported") ||
			!strings.Contains(page, `action="`+path+`"`) {
			t.Errorf("%s: %d\n%.300s", path, answer.StatusCode, page)
		}
	}
}

// A study that is paused invites nobody, closing one is asked twice, and its page's head follows its state.
func TestStudyPageAndInvitation(t *testing.T) {
	w := newWorld(t, setup{})
	owner := w.person()
	id, path := w.openStudy(owner, studyFields())
	owner.post("/studies/"+id+"/status", 303, "status", "paused")
	stranger := w.person()
	if page := stranger.get(path, http.StatusOK); strings.Contains(page, `name="name"`) || !strings.Contains(page, "paused: come back later") {
		t.Error("a paused study invites to join")
	}
	page := owner.get("/studies/"+id, http.StatusOK)
	live := textBetween(page, "data-study-live", "setup-title")
	if !strings.Contains(live, "<h1") || !strings.Contains(live, "Preview as annotator") {
		t.Error("the head of a study does not follow its state")
	}
	if menu := textBetween(live, "<summary class=\"button\">Close for good", "</details>"); !strings.Contains(menu, "cannot be opened again") || !strings.Contains(menu, `value="closed"`) {
		t.Errorf("closing is one press: %.200s", menu)
	}
	if strings.Count(live, `value="closed"`) != 1 {
		t.Error("there is another way to close it")
	}
}

// Answers can be taken back one after another, to the first.
func TestUndoOfSeveralAnswers(t *testing.T) {
	w := newWorld(t, setup{})
	_, path := w.openStudy(w.person(), studyFields())
	a := w.annotator(path, "Ada")
	var texts [][]string
	for range 3 {
		q := a.question()
		texts = append(texts, q.texts)
		a.send("/answer", http.StatusSeeOther, "question", q.id, "choice", "a")
	}
	for i := 2; i >= 0; i-- {
		a.send("/undo", http.StatusSeeOther, "question", a.question().id)
		if again := a.question(); !slices.Equal(again.texts, texts[i]) {
			t.Errorf("answer %d is not asked again: %v, want %v", i+1, again.texts, texts[i])
		}
	}
	if strings.Contains(a.question().page, "Undo the last answer") {
		t.Error("there is more to take back than was answered")
	}
}

// An answer that was cut off says so to who rates it.
func TestAnswersThatWereCutOff(t *testing.T) {
	w := newWorld(t, setup{})
	owner := w.person()
	id, path := w.openStudy(owner, studyFields("max_tokens", "2"))
	outputs, err := w.store.StudyOutputs(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	cut := slices.ContainsFunc(outputs, func(o study.Output) bool { return o.Reason == "length" })
	if !cut {
		t.Skip("no answer was cut off")
	}
	a := w.annotator(path, "Ada")
	a.question()
	if !strings.Contains(a.seen.String(), "cut off here") {
		t.Error("nothing marks an answer that was cut off")
	}
}

// A link shows a sweep and its ticket to anybody as they were, without a prompt or a text, until it is revoked.
func TestSharedSweep(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	made := p.swept("sweep1", 6, 2, sweep.Done, nil)
	p.post("/sweeps/"+made.ID+"/share", 303, "title", "For the paper", "days", "7")
	m := regexp.MustCompile(`value="http://[^"]*(/w/[\w-]{22})"`).FindStringSubmatch(p.get("/sweeps/"+made.ID+"/ticket", http.StatusOK))
	if m == nil {
		t.Fatal("the link is not shown")
	}
	if strings.Contains(p.get("/sweeps/"+made.ID+"/ticket", http.StatusOK), m[1]) {
		t.Error("the link is shown twice")
	}
	if !strings.Contains(p.get("/shares", http.StatusOK), "Sweep: For the paper") {
		t.Error("it is not among the links")
	}
	jarless := &person{w: w, http: &http.Client{}}
	answer, body := jarless.do("GET", m[1], nil)
	if answer.StatusCode != http.StatusOK || len(answer.Cookies()) > 0 {
		t.Fatalf("%d, cookies %v", answer.StatusCode, answer.Cookies())
	}
	for _, want := range []string{"For the paper", "plot-line", "Numbers"} {
		if !strings.Contains(body, want) {
			t.Errorf("it lacks %s", want)
		}
	}
	for _, secret := range append([]string{made.ID, "/sweeps/" + made.ID}, made.Setup.Config.Prompts.Rows[0].Text) {
		if strings.Contains(body, secret) {
			t.Errorf("it shows %q", secret)
		}
	}
	p.post("/sweeps/"+made.ID+"/delete", 303)
	jarless.get(m[1], http.StatusOK)
	links, err := w.store.Links(t.Context(), p.owner())
	if err != nil || len(links) != 1 {
		t.Fatal(links, err)
	}
	p.post("/shares/"+links[0].ID+"/revoke", 303)
	jarless.get(m[1], http.StatusNotFound)
}
