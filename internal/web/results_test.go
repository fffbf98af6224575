package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"realign/internal/preference"
)

// clicks answers every question of an annotator: the pair's λ 1.5 is preferred, but once the other. It
// returns what was clicked: how often the higher and the lower λ were preferred.
func (a *annotator) clicks(id string) (higher, lower int) {
	a.w.t.Helper()
	outputs, err := a.w.store.StudyOutputs(a.w.t.Context(), id)
	if err != nil {
		a.w.t.Fatal(err)
	}
	lambda := map[string]float64{}
	for _, o := range outputs {
		lambda[o.Text] = o.Lambda
	}
	for n := 0; ; n++ {
		q := a.question()
		if q.kind == "" {
			return higher, lower
		}
		first := lambda[unescaped.Replace(q.texts[0])] > lambda[unescaped.Replace(q.texts[1])]
		if n == 3 { // wherever the two annotators' fall, the rest says surely that the higher is preferred
			first = !first
			lower++
		} else {
			higher++
		}
		choice := map[bool]string{true: "a", false: "b"}[first]
		a.send("/answer", 303, "question", q.id, "choice", choice, "comment", "secret comment")
	}
}

var unescaped = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&#34;", `"`, "&#39;", "'", "&amp;", "&")

// ratedStudy is a study of ten prompts and two λ that two annotators finished, and what they clicked.
func (w *world) ratedStudy(owner *person) (id string, higher, lower int) {
	w.t.Helper()
	var prompts []string
	for i := range 10 {
		prompts = append(prompts, strings.Repeat(string(rune('a'+i%3)), 1+i)+"secret")
	}
	id, invite := w.openStudy(owner, studyFields("grid", "0, 1.5", "prompts", strings.Join(prompts, "\n"), "max_tokens", "20"))
	for _, name := range []string{"Secret Ada", "Secret Bo"} {
		h, l := w.annotator(invite, name).clicks(id)
		higher, lower = higher+h, lower+l
	}
	if higher < 10 || lower < 2 {
		w.t.Fatalf("only %d and %d answers: not what this test is about", higher, lower)
	}
	return id, higher, lower
}

func TestResultsAreWhatWasClicked(t *testing.T) {
	w := newWorld(t, setup{})
	owner := w.person()
	id, higher, lower := w.ratedStudy(owner)
	at := "/studies/" + id

	var results preference.Results
	if err := json.Unmarshal([]byte(owner.get(at+"/results.json", 200)), &results); err != nil {
		t.Fatal(err)
	}
	wins := results.Overall.Wins
	if len(wins) != 1 || wins[0].HighWins != float64(higher) || wins[0].LowWins != float64(lower) || results.Counts.Annotators != 2 {
		t.Fatalf("%+v, where %d preferred the higher λ and %d the lower", wins, higher, lower)
	}
	page := owner.get(at+"/results", 200)
	for _, want := range []string{
		fmt.Sprintf("<td>%d</td><td>0</td><td>%d</td>", lower, higher), "data-curve", "Secret Ada", `data-results="/studies/` + id + `/results"`, "effective β", "Krippendorff",
	} {
		if !strings.Contains(strings.ToLower(strings.ReplaceAll(page, "\n", "")), strings.ToLower(want)) {
			t.Errorf("the page lacks %s", want)
		}
	}
	report := owner.get(at+"/results/report", 200)
	if !strings.Contains(report, `<body class="report">`) {
		t.Error("there is no report")
	}
	// Two annotators speak for themselves only, and page, report and JSON say so; and what stood first.
	if c := results.Overall.Curve; c.Scope != (preference.Scope{Annotators: 2, Prompts: 10, AnyPrompts: true}) || c.For != "these 2 annotators, prompts like these 10" {
		t.Errorf("%+v: %s", c.Scope, c.For)
	}
	if s := results.Sides; s.Decisive != higher+lower || s.Compared != higher+lower {
		t.Errorf("%+v, where %d answers prefer a side", s, higher+lower)
	}
	for name, text := range map[string]string{"page": page, "report": report} {
		for _, want := range []string{"these 2 annotators, prompts like these 10", "says nothing about people in general: that takes 6 annotators", "data-sides", "What stood first was preferred in"} {
			if !strings.Contains(text, want) {
				t.Errorf("the %s lacks %q", name, want)
			}
		}
	}
	answer, body := owner.do("GET", at+"/results/report?download=1", nil)
	if !strings.HasPrefix(answer.Header.Get("Content-Disposition"), `attachment; filename="realign-Which-is-warmer-report.html"`) || !strings.Contains(body, "<style>") {
		t.Errorf("%v", answer.Header)
	}

	// Live: the same version has nothing new.
	answer, _ = owner.do("GET", at+"/results/live", nil)
	tag := answer.Header.Get("ETag")
	if again, body := owner.do("GET", at+"/results/live", nil, "If-None-Match", tag); tag == "" || again.StatusCode != http.StatusNotModified || body != "" {
		t.Errorf("%q: %d %.100s", tag, again.StatusCode, body)
	}

	// Every export says the same.
	rows := strings.Split(strings.TrimSpace(owner.get(at+"/export/preferences.jsonl", 200)), "\n")
	upward := 0
	for _, line := range rows {
		var row struct {
			Prompt, Chosen, Rejected []map[string]string
			ChosenLambda             float64 `json:"chosen_lambda"`
			RejectedLambda           float64 `json:"rejected_lambda"`
			Rater                    string
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		if row.ChosenLambda > row.RejectedLambda {
			upward++
		}
		if row.Prompt[0]["role"] != "user" || row.Chosen[0]["role"] != "assistant" || !strings.HasPrefix(row.Rater, "Secret") {
			t.Errorf("%+v", row)
		}
	}
	if len(rows) != higher+lower || upward != higher {
		t.Errorf("%d rows, %d of them upward", len(rows), upward)
	}
	if labels := strings.Count(owner.get(at+"/export/labels.jsonl", 200), "\n"); labels != 2*(higher+lower) {
		t.Errorf("%d labels", labels)
	}
	if lines := strings.Count(owner.get(at+"/export/ratings.csv", 200), "secret comment"); lines != 2*(higher+lower) {
		t.Errorf("%d lines of CSV", lines)
	}
	owner.get(at+"/export/everything.zip", 404)

	// What is exported comes back as another study with the same results; they are frozen, since it is closed.
	file := owner.get(at+"/export/ratings.jsonl", 200)
	next := owner.importStudy(file, http.StatusSeeOther)
	if got, want := owner.get(next+".json", 200), owner.get(at+"/results.json", 200); got != want {
		t.Errorf("imported, it has other results:\n%s\n%s", got, want)
	}
	if strings.Contains(owner.get(next, 200), "data-version") {
		t.Error("a closed study looks for answers")
	}
	if again := owner.get(strings.TrimSuffix(next, "/results")+"/export/ratings.jsonl", 200); again != file {
		t.Error("imported, it exports to other bytes")
	}
	if body := owner.importStudy(strings.Replace(file, `"type":"output"`, `"type":"opus"`, 1), http.StatusBadRequest); !strings.Contains(body, "line 12: type:") {
		t.Errorf("%.2000s", body)
	}

	// Others see none of it.
	stranger := w.person()
	for _, path := range []string{"/results", "/results.json", "/results/live", "/results/report", "/export/ratings.jsonl", "/export/preferences.jsonl"} {
		stranger.get(at+path, 404)
	}
	stranger.post(at+"/results/share", 404)
}

// importStudy sends the form of an import and returns where it leads, or the page where it fails.
func (p *person) importStudy(file string, status int) string {
	p.w.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	_ = form.WriteField(csrfField, p.csrf)
	part, _ := form.CreateFormFile("file", "ratings.jsonl")
	_, _ = part.Write([]byte(file))
	_ = form.Close()
	answer, page := p.do("POST", "/studies/import", &body, "Content-Type", form.FormDataContentType())
	if answer.StatusCode != status {
		p.w.t.Fatalf("%d\n%.2000s", answer.StatusCode, page)
	}
	if status == http.StatusSeeOther {
		return answer.Header.Get("Location")
	}
	return page
}

var resultsURL = regexp.MustCompile(`value="http://[^"]*(/r/[\w-]{22})"`)

// TestPublishedResults: the link shows what the results were, nothing else, to anybody, until it is revoked.
func TestPublishedResults(t *testing.T) {
	w := newWorld(t, setup{})
	owner := w.person()
	id, higher, lower := w.ratedStudy(owner)
	owner.post("/studies/"+id+"/results/share", 400, "days", "-1")
	owner.post("/studies/"+id+"/results/share", 303, "title", "For the paper", "days", "7")
	m := resultsURL.FindStringSubmatch(owner.get("/studies/"+id+"/results", 200))
	if m == nil {
		t.Fatal("the link is not shown")
	}
	if resultsURL.MatchString(owner.get("/studies/"+id+"/results", 200)) {
		t.Error("the link is shown twice")
	}
	if !strings.Contains(owner.get("/shares", 200), "Results: For the paper") {
		t.Error("it is not among the links")
	}

	jarless := &person{w: w, http: &http.Client{}}
	for _, path := range []string{m[1], m[1] + ".json", m[1] + "/report"} {
		answer, body := jarless.do("GET", path, nil)
		if answer.StatusCode != 200 || len(answer.Cookies()) > 0 || answer.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Fatalf("%s: %d, cookies %v, %v", path, answer.StatusCode, answer.Cookies(), answer.Header)
		}
		for _, secret := range []string{"secret", "Secret", id, "Export", "/studies/" + id} {
			if strings.Contains(body, secret) {
				t.Errorf("%s shows %q", path, secret)
			}
		}
		if !strings.Contains(path, "json") && !strings.Contains(strings.ReplaceAll(body, "\n", ""), fmt.Sprintf("<td>%d</td><td>0</td><td>%d</td>", lower, higher)) {
			t.Errorf("%s lacks what was clicked", path)
		}
	}
	token := strings.TrimPrefix(m[1], "/r/")
	jarless.get("/c/"+token, 404)
	jarless.get("/c/"+token+"/picture.png", 404)

	// It is frozen: the study goes, what was published stays.
	before := jarless.get(m[1]+".json", 200)
	owner.post("/studies/"+id+"/delete", 303)
	if jarless.get(m[1]+".json", 200) != before {
		t.Error("the link's results changed with the study")
	}
	links, err := w.store.Links(t.Context(), owner.ownerID())
	if err != nil || len(links) != 1 {
		t.Fatal(links, err)
	}
	owner.post("/shares/"+links[0].ID+"/revoke", 303)
	for _, path := range []string{m[1], m[1] + ".json", m[1] + "/report"} {
		jarless.get(path, 404)
	}
	if a, b := jarless.get(m[1], 404), jarless.get("/r/AAAAAAAAAAAAAAAAAAAAAA", 404); stripped(a) != stripped(b) {
		t.Error("a revoked link and a wrong one differ")
	}
}

var requestLine = regexp.MustCompile(`Request <code>[^<]*</code>|csrf[^>]*>`)

func stripped(page string) string { return requestLine.ReplaceAllString(page, "") }

// TestResultsOfNothing: a draft and a study without answers have results that say so.
func TestResultsOfNothing(t *testing.T) {
	w := newWorld(t, setup{})
	owner := w.person()
	_, _, id := owner.createStudy(studyFields(), "", "")
	if page := owner.get("/studies/"+id+"/results", 200); !strings.Contains(page, "No answers yet") || strings.Contains(page, "NaN") {
		t.Errorf("%.1000s", page)
	}
	owner.get("/studies/"+id+"/results/report", 200)
	owner.post("/studies/"+id+"/results/share", 303)
	for _, file := range []string{"ratings.jsonl", "ratings.csv", "preferences.jsonl", "labels.jsonl"} {
		owner.get("/studies/"+id+"/export/"+file, 200)
	}
}
