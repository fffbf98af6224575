package web

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"realign/internal/sweep"
)

// postMany sends a form some of whose fields come several times.
func (p *person) postMany(path string, status int, form url.Values) (location string) {
	p.w.t.Helper()
	form.Set(csrfField, p.csrf)
	answer, body := p.do("POST", path, strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	if answer.StatusCode != status {
		p.w.t.Fatalf("POST %s: %d, want %d\n%.400s", path, answer.StatusCode, status, body)
	}
	return answer.Header.Get("Location")
}

var undoForm = regexp.MustCompile(`action="(/history/restore\?[^"]*)"`)

// Runs are named, pinned, and deleted one by one or many, without a script, and come back; somebody else's are not there.
func TestHistory(t *testing.T) {
	w := newWorld(t, setup{})
	p, other := w.person(), w.person()
	first := p.ran(nil)
	k := p.dial()
	k.send(map[string]any{"type": "start", "ref": "s", "session": first.Session, "spec": spec(4, 0.5)})
	second := k.want("started")
	k.follow(newTrack(second.Run), 1)
	w.settled(p, second.Run)
	path := "/s/" + first.Session

	p.post("/runs/"+second.Run+"/rename", 303, "title", "<i>title</i>", "next", path)
	p.post("/runs/"+first.Run+"/pin", 303, "pinned", "1", "next", path)
	p.post("/sessions/"+first.Session+"/pin", 303, "pinned", "1", "next", path)
	p.post("/runs/"+first.Run+"/pin", 400, "pinned", "x")
	page := p.get(path, 200)
	one, two := strings.Index(page, `data-item="`+first.Run+`"`), strings.Index(page, `data-item="`+second.Run+`"`)
	if one < 0 || two < one {
		t.Errorf("the pinned run is at %d, the other at %d", one, two)
	}
	for _, want := range []string{"&lt;i&gt;title&lt;/i&gt;", "<span>1.</span>", "<span>table</span>", "λ 0.5", `aria-pressed="true"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the history lacks %s", want)
		}
	}
	if found := p.get("/history?session="+first.Session+"&q="+url.QueryEscape("<I>TITLE"), 200); !strings.Contains(found, second.Run) || strings.Contains(found, `data-item="`+first.Run) || strings.Contains(found, "<html") {
		t.Error("a search does not find the run by its title alone")
	}
	other.get("/history?session="+first.Session, 404)
	for _, path := range []string{"/runs/" + first.Run + "/rename", "/runs/" + first.Run + "/delete", "/sessions/" + first.Session + "/pin"} {
		other.post(path, 404, "title", "x", "pinned", "1")
	}

	// The run that is shown leads to the session, the session to an empty bench.
	if to := p.postMany("/runs/"+second.Run+"/delete", 303, url.Values{"next": {path + "?run=" + second.Run}, "shown": {second.Run}}); to != path {
		t.Errorf("deleting what is shown leads to %s", to)
	}
	undo := undoForm.FindStringSubmatch(p.get(path, 200))
	p.get(path+"?run="+second.Run, 404)
	if undo == nil {
		t.Fatal("no undo")
	}
	p.post(strings.ReplaceAll(undo[1], "&amp;", "&"), 303)
	p.get(path+"?run="+second.Run, 200)
	if to := p.postMany("/history/delete", 303, url.Values{"run": {first.Run, second.Run}, "session": {first.Session}, "where": {first.Session}, "next": {path}}); to != "/" {
		t.Errorf("deleting the session leads to %s", to)
	}
	undo = undoForm.FindStringSubmatch(p.get("/", 200))
	p.get(path, 404)
	if undo == nil {
		t.Fatal("no undo")
	}
	p.post(strings.ReplaceAll(undo[1], "&amp;", "&"), 303)
	p.get(path+"?run="+first.Run, 200)
	p.post("/history/restore?at=x", 400)
	p.post("/history/restore?at=5", 404)
	p.post("/history/delete", 400)
}

// An address with λ and no run is lanes at them, also of several models.
func TestLanesOfAnAddress(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	page := p.get("/?lanes=0,1,2", 200)
	if !strings.Contains(page, `data-shown-as="lanes"`) || strings.Count(page, `data-lane `) < 3 || !strings.Contains(page, `data-lambda="2"`) {
		t.Error("the page does not show lanes at 0, 1 and 2")
	}
	if page := p.get("/?lanes=0.5:0.25", 200); !strings.Contains(page, `data-lambda="0.5 0.25"`) {
		t.Error("no lane at (0.5, 0.25)")
	}
	for _, bad := range []string{"x", "0:x", "99", "0:0:0:0:0"} {
		p.get("/?lanes="+bad, 400)
	}
}

// The prompts of a session and the λ of a run go into the forms of studies and sweeps.
func TestCarryOver(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	made := p.ran(func(s map[string]any) {
		s["prompt"], s["lanes"] = "abc", []any{map[string]any{"lambda": 0.25}, map[string]any{"lambda": 1.75}, map[string]any{"lambda": 0.25, "sample": 1}}
		s["sampling"].(map[string]any)["max_tokens"] = 9
	})
	k := p.dial()
	for _, prompt := range []string{"abd", "abc", "two\nlines"} {
		s := spec(4, 1)
		s["prompt"] = prompt
		k.send(map[string]any{"type": "start", "ref": "s", "session": made.Session, "spec": s})
		k.follow(newTrack(k.want("started").Run), 1)
	}
	study := p.get("/studies/new?run="+made.Run, 200)
	for _, want := range []string{`name="grid" value="0.25, 1.75"`, `{&#34;prompt&#34;:&#34;abc&#34;}`, `two\nlines`, `name="max_tokens" max="4096" min="1" step="1" value="9"`} {
		if !strings.Contains(study, want) {
			t.Errorf("the form of a study lacks %s", want)
		}
	}
	if n := strings.Count(study, `&#34;abc&#34;`); n != 1 {
		t.Errorf("the same prompt is there %d times", n)
	}
	form := p.get("/sweeps/new?run="+made.Run, 200)
	for _, want := range []string{`name="from" value="0.25"`, `name="to" value="1.75"`, `name="points" value="2"`, `value="jsonl" selected`, `name="max_tokens" value="9"`, `name="seed" value="7"`} {
		if !strings.Contains(form, want) {
			t.Errorf("the form of a sweep lacks %s", want)
		}
	}
	w.person().get("/studies/new?run="+made.Run, 404)
	asked, err := formConfig(url.Values{
		"pair": {"table:warm"}, "from": {"0"}, "to": {"1"}, "reward": {"length"}, "prompts": {"{\"prompt\":\"two\\nlines\"}"}, "prompts_format": {"jsonl"},
	})
	if err != nil || len(asked.Prompts.Rows) != 1 || asked.Prompts.Rows[0].Text != "two\nlines" {
		t.Errorf("JSON lines are not read back: %+v, %v", asked, err)
	}
}

// Prompts × λ with the texts in the cells, and the least and greatest mean at the ends of the colours.
func TestMatrix(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	p.swept("w", 3, 2, sweep.Done, nil)
	table := p.get("/sweeps/w/table?texts=1", 200)
	for _, want := range []string{"sweep-matrix", `class="sweep-cell"`, `data-shade="0"`, `data-shade="8"`, "lowest", `name="texts" value="1" checked`} {
		if !strings.Contains(table, want) {
			t.Errorf("the matrix lacks %s", want)
		}
	}
	if n := strings.Count(table, `class="sweep-cell"`); n != 27 {
		t.Errorf("%d texts, want 3 prompts × 9 λ", n)
	}
	if strings.Contains(p.get("/sweeps/w/table", 200), "sweep-cell") {
		t.Error("texts that were not asked for")
	}
}

// The results of a study lead to the texts and what was said of each; nobody else sees them.
func TestVotes(t *testing.T) {
	w := newWorld(t, setup{})
	owner := w.person()
	id, higher, lower := w.ratedStudy(owner)
	if !strings.Contains(owner.get("/studies/"+id+"/results", 200), "/studies/"+id+"/votes") {
		t.Error("the results do not lead to the votes")
	}
	page := owner.get("/studies/"+id+"/votes", 200)
	preferred, compared := 0, 0
	for _, m := range regexp.MustCompile(`preferred (\d+) of (\d+)`).FindAllStringSubmatch(page, -1) {
		a, _ := strconv.Atoi(m[1])
		b, _ := strconv.Atoi(m[2])
		preferred, compared = preferred+a, compared+b
	}
	if preferred != higher+lower || compared != 2*(higher+lower) {
		t.Errorf("%d of %d votes, where %d were given", preferred, compared, higher+lower)
	}
	for _, want := range []string{"secret comment", "Secret Ada", `data-shade="`, "sweep-matrix"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	w.person().get("/studies/"+id+"/votes", 404)
	owner.get("/studies/"+id+"/votes?page=0", 400)
}
