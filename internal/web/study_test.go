package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/preference"
	"realign/internal/study"
)

// studyFields are what the form of a new study sends, for the table pair.
func studyFields(changes ...string) map[string]string {
	fields := map[string]string{
		"title": "Which is warmer?", "guidelines": "Be **fair**. <script>alert(1)</script> [x](javascript:alert(1))", "format": "lines", "prompts": "abc\nbca\ncab",
		"pair": "table/warm", "grid": "0, 0.5, 1.5", "samples": "1", "max_tokens": "12", "temperature": "1", "top_k": "0", "top_p": "1", "min_p": "0",
		"seed": "5", "mode": "chat", "system": "", "pairwise": "on", "points": "5", "criteria": "warm\ntrue", "ranked": "3", "comments": "on",
		"overlap": "2", "cap": "0", "same_every": "0", "broken_every": "0", "scheme": "balanced",
	}
	for i := 0; i+1 < len(changes); i += 2 {
		fields[changes[i]] = changes[i+1]
	}
	return fields
}

// createStudy sends the form, with a file if it has a name, and returns the answer and, for a study that was made, its id.
func (p *person) createStudy(fields map[string]string, file, content string) (*http.Response, string, string) {
	p.w.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	_ = form.WriteField(csrfField, p.csrf)
	for name, value := range fields {
		if value != "" {
			_ = form.WriteField(name, value)
		}
	}
	if file != "" {
		part, _ := form.CreateFormFile("file", file)
		_, _ = part.Write([]byte(content))
	}
	_ = form.Close()
	answer, page := p.do("POST", "/studies", &body, "Content-Type", form.FormDataContentType())
	return answer, page, strings.TrimPrefix(answer.Header.Get("Location"), "/studies/")
}

func (w *world) awaitStudy(owner *person, id string, status study.Status) study.Study {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		st, err := w.store.Study(w.t.Context(), owner.ownerID(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		if st.Status == status {
			return st
		}
		if time.Now().After(deadline) {
			p, _ := w.studyService.Progress(id)
			w.t.Fatalf("the study is %s, not %s: %s", st.Status, status, p.Trouble)
		}
	}
}

func (p *person) ownerID() string {
	u, _ := url.Parse(p.w.http.URL)
	for _, k := range p.http.Jar.Cookies(u) {
		if k.Name == ownerCookie {
			return ownerID(k.Value)
		}
	}
	p.w.t.Fatal("no owner cookie")
	return ""
}

// openStudy makes a study that annotators can rate, and returns its id and the path of its invite.
func (w *world) openStudy(owner *person, fields map[string]string) (id, path string) {
	w.t.Helper()
	answer, page, id := owner.createStudy(fields, "", "")
	if answer.StatusCode != http.StatusSeeOther {
		w.t.Fatalf("%d\n%.2000s", answer.StatusCode, page)
	}
	owner.post("/studies/"+id+"/status", 303, "status", "decoding")
	w.awaitStudy(owner, id, study.Ready)
	owner.post("/studies/"+id+"/status", 303, "status", "open")
	return id, owner.invite(id)
}

var inviteURL = regexp.MustCompile(`value="http://[^"]*(/rate/[\w-]{22})"`)

func (p *person) invite(id string) string {
	p.w.t.Helper()
	p.post("/studies/"+id+"/invite", 303)
	m := inviteURL.FindStringSubmatch(p.get("/studies/"+id, 200))
	if m == nil {
		p.w.t.Fatal("no link is shown")
	}
	return m[1]
}

// annotator is somebody with the link and a browser without scripts.
type annotator struct {
	*person
	path string
	seen strings.Builder // all that the browser received
}

func (w *world) annotator(path, name string) *annotator {
	w.t.Helper()
	jar, _ := cookiejar.New(nil)
	a := &annotator{person: &person{w: w, http: &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, path: path}
	if name != "" {
		a.send("/join", 303, "name", name)
	}
	return a
}

// send sends a form and follows nowhere.
func (a *annotator) send(to string, status int, fields ...string) string {
	a.w.t.Helper()
	answer, body := a.post(a.path+to, status, fields...)
	for name, values := range answer.Header {
		fmt.Fprintln(&a.seen, name, values)
	}
	a.seen.WriteString(body)
	return body
}

// asked is a question as the page has it.
type asked struct {
	id, kind string
	texts    []string
	page     string
}

var (
	questionID   = regexp.MustCompile(`name="question" value="([^"]*)"`)
	questionKind = regexp.MustCompile(`data-rate-question="(\w+)"`)
	answerText   = regexp.MustCompile(`(?s)<article class="rate-answer".*?<div class="rate-text" dir="auto">(.*?)</div>`)
)

func (a *annotator) question() asked {
	a.w.t.Helper()
	answer, page := a.do("GET", a.path, nil)
	if answer.StatusCode != 200 {
		a.w.t.Fatalf("%d\n%.600s", answer.StatusCode, page)
	}
	for name, values := range answer.Header {
		fmt.Fprintln(&a.seen, name, values)
	}
	a.seen.WriteString(page)
	q := asked{page: page}
	if m := questionKind.FindStringSubmatch(page); m != nil {
		q.kind = m[1]
		q.id = questionID.FindStringSubmatch(page[strings.Index(page, "data-rate-answer"):])[1]
		for _, m := range answerText.FindAllStringSubmatch(page, -1) {
			q.texts = append(q.texts, m[1])
		}
	}
	return q
}

func TestStudyFromSetupToAnswers(t *testing.T) {
	w := newWorld(t, setup{})
	owner := w.person()
	if page := owner.get("/studies", 200); !strings.Contains(page, "No studies yet") {
		t.Error("the list is not empty")
	}
	owner.get("/studies/new", 200)
	csv := "prompt,category\nabc,first\nbca,\"second,\none\"\ncab,first\n"
	answer, page, id := owner.createStudy(studyFields("likert", "on", "ranking", "on", "same_every", "4", "broken_every", "6", "max_tokens", "24"), "prompts.csv", csv)
	if answer.StatusCode != 303 {
		t.Fatalf("%d\n%.3000s", answer.StatusCode, page)
	}
	if page = owner.get("/studies/"+id, 200); strings.Contains(page, "<script>alert") || strings.Contains(page, "javascript:") || !strings.Contains(page, "<strong>fair</strong>") {
		t.Error("the guidelines are not rendered as Markdown without HTML")
	}
	if page = owner.get("/studies/"+id+"/edit", 200); !strings.Contains(page, `second, one`) {
		t.Error("the prompts are not in the form")
	}
	owner.get("/studies/"+id+"/preview", 409)
	stranger := w.person()
	stranger.get("/studies/"+id, 404)
	stranger.post("/studies/"+id+"/status", 404, "status", "decoding")
	owner.post("/studies/"+id+"/status", 409, "status", "open")
	owner.post("/studies/"+id+"/status", 303, "status", "decoding")
	w.awaitStudy(owner, id, study.Ready)
	owner.post("/studies/"+id+"/edit", 409, fieldList(studyFields())...)

	if page = owner.get("/studies/"+id+"/preview?n=3", 200); !strings.Contains(page, "nothing is saved") || !strings.Contains(page, `name="n" value="4"`) {
		t.Error("no preview")
	}
	if page = owner.get("/studies/"+id+"/preview?n=9999", 200); !strings.Contains(page, "That was all") {
		t.Error("the preview does not end")
	}
	path := owner.invite(id)
	early := w.annotator(path, "Early bird")
	if q := early.question(); q.kind != "" || !strings.Contains(q.page, "has not begun") {
		t.Errorf("asked before the study was open: %+v", q)
	}
	owner.post("/studies/"+id+"/status", 303, "status", "open")

	said := map[string]string{} // by id
	names := []string{"Early bird", "Ann <b>", "José"}
	var all []*annotator
	kinds := map[string]int{}
	for i, name := range names {
		a := early
		if i > 0 {
			a = w.annotator(path, name)
		}
		all = append(all, a)
		for n := 0; ; n++ {
			q := a.question()
			if q.kind == "" {
				if !strings.Contains(q.page, "that was all") {
					t.Fatalf("no question and no end:\n%s", q.page)
				}
				break
			}
			if n > 200 {
				t.Fatal("it does not end")
			}
			kinds[q.kind]++
			if again := a.question(); again.id != q.id || !slices.Equal(again.texts, q.texts) {
				t.Fatalf("asked %v, and after a reload %v", q, again)
			}
			switch {
			case n == 1:
				a.send("/skip", 303, "question", q.id, "reason", "I cannot tell which is better")
				said[q.id] = "skip"
			case q.kind == "pairwise":
				choice := []string{"a", "b", "tie", "both_bad"}[n%4]
				a.send("/answer", 303, "question", q.id, "choice", choice, "comment", "because\r\n"+q.texts[0])
				said[q.id] = choice + q.texts[0] + q.texts[1]
			case q.kind == "likert":
				a.send("/answer", 303, "question", q.id, "score-0", "2", "score-1", "5")
				said[q.id] = "2 5" + q.texts[0]
			case q.kind == "ranking":
				a.send("/answer", 303, "question", q.id, "answers", fmt.Sprint(len(q.texts)), "best", "1", "worst", "0")
				said[q.id] = "1 0" + q.texts[0]
			}
		}
	}
	if kinds["pairwise"] == 0 || kinds["likert"] == 0 || kinds["ranking"] == 0 {
		t.Errorf("kinds %v", kinds)
	}
	ratings, err := w.store.Ratings(t.Context(), id)
	if err != nil || len(ratings) != len(said) {
		t.Fatalf("%d ratings of %d, %v", len(ratings), len(said), err)
	}
	perItem, scored, trials := map[string]int{}, map[string]bool{}, map[study.Kind]int{}
	for _, r := range ratings {
		texts := ""
		for _, o := range r.Outputs {
			texts += strings.TrimSpace(o.Text)
		}
		want := said[r.ID]
		switch {
		case r.State == study.Skipped:
			if want != "skip" {
				t.Errorf("skipped: %+v", r)
			}
			continue
		case r.Kind == study.AskPairwise:
			if want != string(r.Answer.Choice)+texts || r.Answer.Comment != "because\n"+strings.TrimSpace(r.Outputs[0].Text) {
				t.Errorf("%+v, want %q", r.Answer, want)
			}
		case r.Kind == study.AskLikert:
			if r.Answer.Scores["warm"] != 2 || r.Answer.Scores["true"] != 5 || want != "2 5"+texts {
				t.Errorf("%+v", r.Answer)
			}
		case r.Kind == study.AskRanking:
			if r.Answer.Rank[0] != len(r.Outputs) || r.Answer.Rank[1] != 1 {
				t.Errorf("%+v", r.Answer)
			}
		}
		if r.Catch == preference.NoCatch {
			perItem[r.Item]++
		}
		if r.Kind == study.AskLikert {
			about := fmt.Sprint(r.Name, r.Prompt.Place, r.Outputs[0].Lambda)
			if r.Catch == preference.SameLambda && !scored[about] {
				t.Errorf("%s scored another answer at λ %g before the first", r.Name, r.Outputs[0].Lambda)
			}
			scored[about] = true
		}
		if r.Catch != preference.NoCatch {
			trials[r.Kind]++
		}
	}
	if len(trials) != 3 {
		t.Errorf("catch trials %v", trials)
	}
	for item, n := range perItem {
		if n > 2 {
			t.Errorf("item %s has %d ratings", item, n)
		}
	}

	// Nothing that annotators' browsers received says where a text comes from.
	outputs, err := w.store.StudyOutputs(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{"λ", "warm.gguf", "table.gguf", id + "/", "1.5"}
	for _, o := range outputs {
		secrets = append(secrets, o.ID, fmt.Sprint(o.Seed))
	}
	words := regexp.MustCompile(`(?i)\b(lambdas?|seeds?|temperature)\b`) // whole ones: an id may hold the letters of one
	for _, a := range all {
		seen := strings.ReplaceAll(a.seen.String(), ">warm<", "") // a criterion of the owner's
		if word := words.FindString(seen); word != "" {
			t.Errorf("an annotator's browser received the word %q", word)
		}
		for _, secret := range secrets {
			if i := strings.Index(strings.ToLower(seen), strings.ToLower(secret)); i >= 0 {
				t.Errorf("an annotator's browser received %q: …%s…", secret, seen[max(0, i-80):min(len(seen), i+80)])
			}
		}
	}
	page = owner.get("/studies/"+id, 200)
	for _, want := range []string{"Early bird", "Ann &lt;b&gt;", "José", "catch trial: score of a broken answer"} {
		if !strings.Contains(page, want) {
			t.Errorf("the owner's page does not say %q", want)
		}
	}
	// With every kind of question, trials, comments and skips it goes through a file unchanged.
	owner.post("/studies/"+id+"/status", 303, "status", "closed")
	file := owner.get("/studies/"+id+"/export/ratings.jsonl", 200)
	next := owner.importStudy(file, http.StatusSeeOther)
	if got, want := owner.get(next+".json", 200), owner.get("/studies/"+id+"/results.json", 200); got != want {
		t.Errorf("imported, it has other results:\n%s\n%s", got, want)
	}
	for _, part := range []string{"/export/ratings.jsonl", "/export/ratings.csv", "/export/preferences.jsonl", "/export/labels.jsonl"} {
		if got, want := owner.get(strings.TrimSuffix(next, "/results")+part, 200), owner.get("/studies/"+id+part, 200); got != want {
			t.Errorf("imported, %s is another one:\n%s\n%s", part, got, want)
		}
	}
	if page = owner.get("/studies", 200); !strings.Contains(page, "3 annotators") {
		t.Error("the list does not say how many annotators there are")
	}
}

func fieldList(fields map[string]string) (list []string) {
	for name, value := range fields {
		list = append(list, name, value)
	}
	return list
}

func TestStudyFormsThatAreWrong(t *testing.T) {
	w := newWorld(t, setup{})
	owner := w.person()
	for name, test := range map[string]struct {
		fields        map[string]string
		file, content string
		want          string // field and the beginning of what is said
	}{
		"malformed CSV":    {studyFields(), "p.csv", "prompt,category\nabc,x\nbca\n", "prompts: line 3: has another number of columns"},
		"malformed JSONL":  {studyFields(), "p.jsonl", "{\"prompt\":\"abc\"}\n{\"prompt\":\n", "prompts: line 2, column 10: is not JSON"},
		"an empty prompt":  {studyFields(), "p.csv", "prompt,category\nabc,x\n ,y\n", "prompts: line 3: the prompt is empty"},
		"no prompts":       {studyFields("prompts", " \n"), "", "", "prompts: give at least one"},
		"an empty file":    {studyFields(), "p.csv", "", "file: “p.csv” is empty"},
		"another file":     {studyFields(), "p.xlsx", "x", "prompts: “p.xlsx” is not a text"},
		"no pair":          {studyFields("pair", "none/warm"), "", "", "pair: there is no “none”"},
		"no model":         {studyFields("pair", "table/cold"), "", "", "aligned: there is no “cold”"},
		"λ":                {studyFields("grid", "0, many"), "", "", "grid: “many” is not a number"},
		"λ out of range":   {studyFields("grid", "0, 21"), "", "", "grid: 21 is outside -5 to 20"},
		"one λ":            {studyFields("grid", "1"), "", "", "grid: 1 values of λ, where 2 to 21 are needed"},
		"a seed":           {studyFields("seed", "-1"), "", "", "seed: “-1” is not a whole number"},
		"a name":           {studyFields("title", " "), "", "", "title: is empty"},
		"no question":      {studyFields("pairwise", ""), "", "", "questions: choose at least one"},
		"overlap":          {studyFields("overlap", "51"), "", "", "overlap: 51 is outside 1 to 50"},
		"overlap in words": {studyFields("overlap", "two"), "", "", "overlap: “two” is not a whole number"},
		"temperature":      {studyFields("temperature", "hot"), "", "", "temperature: “hot” is not a number"},
		"tokens":           {studyFields("max_tokens", "0"), "", "", "max_tokens: "},
		"a mix":            {studyFields("mix", "both"), "", "", "mix: “both” is neither logits nor weights"},
		"no adapter":       {studyFields("mix", "weights"), "", "", "mix: weights needs a LoRA adapter, and warm is a model"},
		"criteria":         {studyFields("likert", "on", "criteria", " "), "", "", "criteria: 0 criteria, where 1 to 8 are needed"},
		"ranking":          {studyFields("ranking", "on", "ranked", "9"), "", "", "ranked: 9 is outside 3 to 5"},
	} {
		answer, page, _ := owner.createStudy(test.fields, test.file, test.content)
		field, words, _ := strings.Cut(test.want, ": ")
		words = strings.NewReplacer("“", "&#34;", "”", "&#34;").Replace(words)
		if answer.StatusCode != 400 || !strings.Contains(page, "<strong>"+field+"</strong>") || !strings.Contains(page, words) {
			i := strings.Index(page, "Nothing was saved")
			t.Errorf("%s: %d, %.300s; want %s", name, answer.StatusCode, page[max(0, i):], test.want)
		}
		if name == "λ" && !strings.Contains(page, "Which is warmer?") {
			t.Error("what was typed is gone")
		}
	}
	if list, err := w.store.Studies(t.Context(), owner.ownerID()); err != nil || len(list) != 0 {
		t.Errorf("%d studies were made, %v", len(list), err)
	}
	answer, body, _ := owner.createStudy(studyFields(), "p.csv", "prompt\n"+strings.Repeat("x", 18<<20))
	if answer.StatusCode != 413 {
		t.Errorf("too large: %d %.200s", answer.StatusCode, body)
	}
}

// A prompt that is longer than the context is left out, and the page names its line.
func TestStudyLeavesOutPromptsThatAreTooLong(t *testing.T) {
	w := newWorld(t, setup{})
	owner := w.person()
	_, _, id := owner.createStudy(studyFields(), "p.csv", "prompt\nabc\n"+strings.Repeat("abc", 1000)+"\ncab\n")
	owner.post("/studies/"+id+"/status", 303, "status", "decoding")
	w.awaitStudy(owner, id, study.Ready)
	page := owner.get("/studies/"+id, 200)
	if !strings.Contains(page, "line 3") || !strings.Contains(page, "fit the context of 2048") {
		t.Errorf("the page does not say which prompt is too long")
	}
	items, err := w.store.StudyItems(t.Context(), id)
	if err != nil || len(items) == 0 || slices.ContainsFunc(items, func(it study.ItemProgress) bool { return it.Prompt == 2 }) {
		t.Errorf("%d items, %v", len(items), err)
	}
}

// Decoding is paused and goes on, also in another process, and nothing is decoded twice.
func TestStudyDecodingGoesOn(t *testing.T) {
	w := newWorld(t, setup{})
	w.models.pace = make(chan struct{}, 20)
	decode := func(pieces int) {
		for range pieces {
			w.models.pace <- struct{}{}
		}
	}
	owner := w.person()
	prompts := strings.Repeat("abc\nbca\n", 10)
	_, _, id := owner.createStudy(studyFields("prompts", prompts, "max_tokens", "20", "samples", "2"), "", "")
	owner.post("/studies/"+id+"/status", 303, "status", "decoding")
	decoded := func() int {
		tallies, err := w.store.StudyTallies(t.Context(), []string{id})
		if err != nil {
			t.Fatal(err)
		}
		return tallies[id].Decoded
	}
	more := func(than int) {
		for deadline := time.Now().Add(20 * time.Second); decoded() <= than; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("no more than %d outputs are decoded", than)
			}
		}
	}
	decode(3)
	more(0)
	owner.post("/studies/"+id+"/status", 303, "status", "halted")
	halted := decoded()
	if halted == 0 || halted == 120 {
		t.Fatalf("%d of 120 were decoded before the pause", halted)
	}
	decode(1)
	w.queue.Rest() // what a worker has begun is decoded, and not taken before the study goes on
	if now := decoded(); now != halted || w.queue.Waiting() > 0 {
		t.Errorf("%d outputs at the pause and %d later, and %d pieces of work wait", halted, now, w.queue.Waiting())
	}
	before, err := w.store.StudyOutputs(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	// The process ends in the middle, and another takes over.
	owner.post("/studies/"+id+"/status", 303, "status", "decoding")
	decode(3)
	more(halted)
	if err := w.made.Close(); err != nil {
		t.Fatal(err)
	}
	w.awaitStudy(owner, id, study.Decoding)
	close(w.models.pace)
	next := experiment.NewGenerator(experiment.Config{Store: w.store, Queue: w.queue, Log: w.log})
	defer next.Close()
	w.studyService.Generator = next
	if err := w.studyService.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.awaitStudy(owner, id, study.Ready)
	after, err := w.store.StudyOutputs(t.Context(), id)
	if err != nil || len(after) != 120 {
		t.Fatalf("%d outputs, %v", len(after), err)
	}
	for i, o := range before {
		if o.Done && after[i] != o {
			t.Errorf("output %+v was decoded again: %+v", o, after[i])
		}
	}
	// Each is what one request without interruptions decodes.
	st, err := w.store.Study(t.Context(), owner.ownerID(), id)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := w.store.StudyPrompts(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range after {
		if text := w.decoded(&st.Setup, asked[o.Prompt-1].Text, o); text != o.Text {
			t.Fatalf("output %+v is %q without interruptions", o, text)
		}
	}
}

func TestInvitesAndAnswersThatCannotBe(t *testing.T) {
	w := newWorld(t, setup{})
	owner := w.person()
	id, path := w.openStudy(owner, studyFields())
	a := w.annotator(path, "Ann")

	// Names.
	other := w.annotator(path, "")
	if page := other.send("/join", 400, "name", " "); !strings.Contains(page, "has 0 characters") {
		t.Error("an empty name")
	}
	if page := other.send("/join", 409, "name", "ANN"); !strings.Contains(page, "has joined already") {
		t.Error("a name that is taken")
	}
	other.send("/answer", 403, "question", "x", "choice", "a")

	// One question, twice.
	q := a.question()
	as := func(to string, fields ...string) (int, fault.Error) {
		form := url.Values{}
		for i := 0; i+1 < len(fields); i += 2 {
			form.Set(fields[i], fields[i+1])
		}
		answer, body := a.do("POST", a.path+to, strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded", "X-Requested-With", "fetch")
		var f fault.Error
		_ = json.Unmarshal([]byte(body), &f)
		return answer.StatusCode, f
	}
	for _, wrong := range [][]string{{"choice", "c"}, {"choice", ""}, {"score-0", "1"}, {"best", "0", "worst", "0", "answers", "2"}} {
		if status, f := as("/answer", append(wrong, "question", q.id)...); status != 400 || f.Field == "" {
			t.Errorf("%v: %d %+v", wrong, status, f)
		}
	}
	if status, f := as("/skip", "question", q.id); status != 400 || f.Field != "reason" {
		t.Errorf("%d %+v", status, f)
	}
	if status, _ := as("/answer", "question", "nothing", "choice", "a"); status != 404 {
		t.Errorf("no such question: %d", status)
	}
	if status, _ := as("/undo", "question", q.id); status != 409 {
		t.Errorf("undo before the first answer: %d", status)
	}
	for range 3 {
		if status, f := as("/answer", "question", q.id, "choice", "a"); status != 200 {
			t.Fatalf("%d %+v", status, f)
		}
	}
	if status, f := as("/answer", "question", q.id, "choice", "b"); status != 409 || !strings.Contains(f.Message, "answered already") {
		t.Errorf("rated twice: %d %+v", status, f)
	}
	if ratings, err := w.store.Ratings(t.Context(), id); err != nil || len(ratings) != 1 || ratings[0].Answer.Choice != preference.PreferA {
		t.Errorf("%+v, %v", ratings, err)
	}
	// Taken back, the question is asked again under another id, and the old one is void.
	next := a.question()
	if status, _ := as("/undo", "question", next.id); status != 200 {
		t.Errorf("undo: %d", status)
	}
	again := a.question()
	if again.id == q.id || !slices.Equal(again.texts, q.texts) {
		t.Errorf("asked again: %v, was %v", again, q)
	}
	if status, _ := as("/answer", "question", q.id, "choice", "a"); status != 409 {
		t.Errorf("an answer that was taken back, sent again: %d", status)
	}
	// Without scripts the same is told beside the question that is there.
	a.send("/answer", 303, "question", q.id, "choice", "a")
	if page := a.get(a.path, 200); !strings.Contains(page, "taken back") {
		t.Error("the page does not say what happened")
	}

	// Paused, revoked, replaced, closed.
	owner.post("/studies/"+id+"/status", 303, "status", "paused")
	if status, f := as("/answer", "question", again.id, "choice", "a"); status != 409 || !strings.Contains(f.Message, "paused") {
		t.Errorf("paused: %d %+v", status, f)
	}
	owner.post("/studies/"+id+"/status", 303, "status", "open")
	owner.post("/studies/"+id+"/revoke", 303)
	a.get(path, 404)
	if status, f := as("/answer", "question", again.id, "choice", "a"); status != 404 || !strings.Contains(f.Message, "withdrawn") {
		t.Errorf("revoked: %d %+v", status, f)
	}
	other.send("/join", 404, "name", "Late")
	a.path = owner.invite(id)
	if now := a.question(); now.id != again.id {
		t.Errorf("a new link does not lead back to the question: %v", now)
	}
	owner.post("/studies/"+id+"/status", 303, "status", "closed")
	if status, f := as("/answer", "question", again.id, "choice", "a"); status != 409 || !strings.Contains(f.Message, "closed") {
		t.Errorf("closed: %d %+v", status, f)
	}
	if page := a.get(a.path, 200); !strings.Contains(page, "The study is closed") {
		t.Error("the page does not say that the study is closed")
	}
	if ratings, err := w.store.Ratings(t.Context(), id); err != nil || len(ratings) != 0 {
		t.Errorf("%d ratings, %v", len(ratings), err)
	}
	owner.post("/studies/"+id+"/status", 409, "status", "open")
	owner.post("/studies/"+id+"/status", 400, "status", "draft")
	owner.post("/studies/"+id+"/delete", 303)
	owner.get("/studies/"+id, 404)
	a.get(a.path, 404)
}

// Active choice plans from the answers there are, and annotators are asked what it wants.
func TestActiveChoiceAsksForWhatItWants(t *testing.T) {
	w := newWorld(t, setup{})
	owner := w.person()
	id, path := w.openStudy(owner, studyFields("scheme", "active", "grid", "0, 0.5, 1, 1.5, 2", "prompts", strings.Repeat("abc\nbca\n", 12), "overlap", "1"))
	a := w.annotator(path, "Ann")
	for n := range 60 {
		q := a.question()
		if q.kind == "" {
			t.Fatalf("no question after %d", n)
		}
		a.send("/answer", 303, "question", q.id, "choice", []string{"a", "b", "tie"}[n%3])
	}
	items, err := w.store.StudyItems(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[preference.Pair]int{}
	for _, it := range items {
		counts[preference.Pair{Low: it.Low, High: it.High}] += it.Answers
	}
	least, most := 60, 0
	for _, p := range preference.Pairs([]float64{0, 0.5, 1, 1.5, 2}) {
		least, most = min(least, counts[p]), max(most, counts[p])
	}
	if most-least <= 1 {
		t.Errorf("every pair was asked about equally often, as balanced choice does: %v", counts)
	}
	if strings.Contains(w.logs.String(), "active choice goes on") {
		t.Error(w.logs.String())
	}
}
