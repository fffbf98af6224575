package templates

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"
)

var update = flag.Bool("update", false, "write the golden pages anew")

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func render(t *testing.T, page templ.Component) string {
	t.Helper()
	var b bytes.Buffer
	if err := page.Render(WithWords(context.Background()), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func traced(id int32, text string, reference, aligned, kl float64, lambda ...float64) Token {
	return Token{
		ID: id, Text: text, Lambda: lambda, Traced: true,
		Reference: reference, Aligned: aligned, Mixture: (reference + aligned) / 2, KL: kl,
	}
}

func aRun() *Run {
	return &Run{
		ID: "run1", Status: "ended", Seq: 14, Pair: "demo", Mode: "chat", Seed: "7", Prompt: "Say <b>hello</b>.", At: noon,
		SpecJSON: `{"pair":"demo","aligned":["warm"],"prompt":"Say <b>hello</b>.","mode":"chat",` +
			`"lanes":[{"lane":0,"lambda":0,"sample":0},{"lane":1,"lambda":0.5,"sample":0}],` +
			`"sampling":{"max_tokens":32,"temperature":0.7,"top_k":0,"top_p":1,"min_p":0},"seed":"7","alternatives":5}`,
		Aligned:  []AlignedModel{{Name: "warm", Beta: 0.1}},
		Sampling: Sampling{MaxTokens: 32, Temperature: 0.7, TopP: 1},
		Files:    []File{{Role: "reference", Name: "reference.gguf", SHA256: strings.Repeat("ab", 32)}},
		Origin:   Origin{Kind: "here", Digest: "ab12", Key: "a2V5"}, PromptTokens: []int32{1, 2, 3},
		Lanes: []Lane{
			{Index: 0, Lambda: []float64{0}, Reason: "stop", Tokens: []Token{
				traced(10, "Hi", -1, -0.8, 0, 0), traced(11, " there", -2, -4, 0, 0),
			}},
			{Index: 1, Lambda: []float64{0.5}, Reason: "length", Tail: "!", Tokens: []Token{
				traced(10, "Hi", -1, -0.8, 0.1, 0.5),
				traced(12, "<script>alert(1)</script>", -3, -1, 0.2, 0.9),
			}},
		},
	}
}

func aPlayground() Playground {
	return Playground{
		Layout:  Layout{Title: "Hello", Nav: "playground", CSRF: "token", Build: "test"},
		Session: &SessionItem{ID: "session1", Title: "Hello", Runs: 1, Created: noon, Updated: noon},
		History: History{Runs: []RunItem{{ID: "run1", Number: 1, Pair: "demo", Prompt: "Say <b>hello</b>.", Lambdas: []string{"0", "0.5"}, Seed: "7", Status: "ended", At: noon}}, Sessions: []SessionItem{{ID: "session1", Title: "A <i>title</i>", Pinned: true, Pair: "demo", Lambdas: "0 · 0.5", Runs: 1, Updated: noon}}},
		Run:     aRun(),
		Draft: Draft{
			Pair: "demo", Aligned: []string{"warm"}, Prompt: "Say <b>hello</b>.", Mode: "chat", Seed: "7", Alternatives: 5,
			Lanes:    []DraftLane{{Lambda: []float64{0}}, {Lambda: []float64{0.5}}},
			Sampling: Sampling{MaxTokens: 32, Temperature: 0.7, TopP: 1},
		},
		Pairs: []PairOption{{Name: "demo", State: "ready", Aligned: []AlignedModel{
			{Name: "warm", Beta: 0.1, Default: true}, {Name: "short"},
		}}},
		Limits: Limits{Lanes: 64, PromptBytes: 1000, MaxTokens: 4096, LambdaMin: -5, LambdaMax: 20},
	}
}

func pages() map[string]templ.Component {
	draft := aPlayground()
	draft.Session, draft.Run, draft.History = nil, nil, History{}
	layout := Layout{CSRF: "token"}
	return map[string]templ.Component{
		"playground": draft.Page(),
		"session":    aPlayground().Page(),
		"comparison": Comparison{Layout: layout, Path: "/c/abc", Title: "Hello", Created: noon, Run: *aRun(), ShareID: "share1"}.Page(),
		"map":        aMapPage().Page(),
		"map-shared": Comparison{Layout: layout, Path: "/c/abc", Title: "Hello", Created: noon, Run: *aMapRun(), ShareID: "share1"}.Page(),
		"sessions":   SessionList{Layout: layout, Sessions: []SessionItem{{ID: "s", Title: "A <i>title</i>", Runs: 2, Updated: noon}}, Next: "x y"}.Page(),
		"shares": ShareList{Layout: layout, New: &Share{ID: "n", URL: "http://localhost/c/abc"}, Shares: []Share{
			{ID: "n", Title: "Hello", Created: noon}, {ID: "o", Title: "Gone", Created: noon, Revoked: noon},
		}}.Page(),
		"pairs":  PairList{Layout: layout, Pairs: []PairItem{{Name: "demo", State: "loading", Progress: 0.5, Default: true}}}.Page(),
		"pair":   PairPage{Layout: layout, Pair: PairItem{Name: "demo", State: "failed", Message: "no file"}, Card: "# Card"}.Page(),
		"sweeps": SweepList{Layout: layout, Sweeps: []SweepItem{aSweep(), {ID: "v", Title: "Other", State: "running"}}, Next: "x y"}.Page(),
		"sweep-new": SweepNew{
			Layout: layout, Pairs: aPlayground().Pairs, Errors: []FormError{{Field: "pair", Message: "is <b>hello</b>"}}, Config: "<script>alert(1)</script>",
			Rewards: []RewardOption{{Name: "length", Title: "Length", About: "In a band.", Direction: "higher", Parameters: []RewardParameter{{Name: "low", Default: "24"}}}},
		}.Page(),
		"sweep": SweepPage{Layout: layout, Live: aSweepLive()}.Page(),
		"keys": KeyList{Layout: layout, New: &NewKey{Name: "harness", Secret: "rk-secret", Base: "http://127.0.0.1:8080/v1"}, Keys: []Key{
			{ID: "k1", Name: "harness", State: "good", Created: noon, Expires: noon.AddDate(0, 0, 7), Used: noon, Requests: 60, Lanes: 8}, {ID: "k2", Name: "old", State: "revoked", Created: noon, Revoked: noon},
		}}.Page(),
		"sweep-table": SweepTable{Layout: layout, Sweep: aSweep(), Columns: []SweepColumn{{Name: "length", Title: "Length"}}, Lambdas: []float64{0, 1}, Total: 60, First: 1, Number: 1, Pages: 2, Rows: []SweepRow{{Text: "<b>hello</b>", Cells: []SweepMean{{Mean: 1, Count: 1, Cells: 2}, {Cells: 1}}}}}.Page(),
		"sweep-prompt": SweepPrompt{
			Layout: layout, Sweep: aSweep(), Of: 2, Prompt: "<b>hello</b>", Rewards: []SweepColumn{{Title: "Length"}},
			Cells: []SweepCell{{Text: "<script>alert(1)</script>", Values: []SweepValue{{Missing: "<i>title</i>"}}}, {Lambda: 1, Error: "too long", Values: []SweepValue{{}}}},
		}.Page(),
		"sweep-ticket":  SweepTicket{Layout: layout, Sweep: aSweep(), Answer: "Best λ", Sections: []TicketSection{{Title: "Assumed", Items: []string{"<b>hello</b>"}, Code: "a = 1"}}}.Page(),
		"sweep-compare": SweepCompare{Layout: layout, Sides: []SweepSide{{Sweep: aSweep()}, {Sweep: aSweep()}}, Plots: []Plot{aPlot()}, Tables: []CompareTable{{Name: "length", Rows: []CompareRow{{Lambda: 1, Clear: true}}}}}.Page(),
		"votes": StudyVotes{Layout: layout, Study: "s", Name: "Study", Lambdas: []float64{0, 1}, Total: 21, Number: 1, Pages: 2, Prompts: []VotedPrompt{
			{Place: 1, Text: "<b>hello</b>", Comments: []VotedComment{{By: "Ann", Text: "<script>alert(1)</script>"}}, Cells: [][]VotedText{{{Text: "<i>title</i>", Compared: 2, Preferred: 1}}, nil}},
		}}.Page(),
		"error":        Error{Layout: layout, Status: 404, Code: "not_found", Message: "There is no such page."}.Page(),
		"login":        Login{Layout: layout, Next: "/"}.Page(),
		"results-live": aStudyResult().Page(),
		"report":       StudyReport{StudyResults: aStudyResult()}.Page(),
	}
}

// A strict content policy blocks inline scripts, styles and handlers without a word: none may be there.
func TestNothingInline(t *testing.T) {
	inline := regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>[^<]|<style|\sstyle=|\son[a-z]+=|javascript:`)
	for name, page := range pages() {
		if found := inline.FindString(render(t, page)); found != "" {
			t.Errorf("%s holds %q", name, found)
		}
	}
}

// No study and no sweep is of a mixture of several aligned models: the page says so where they are offered.
func TestMixturesGoOnToNoStudy(t *testing.T) {
	v := aPlayground()
	offered := regexp.MustCompile(`data-carry-to="[^"]*">`)
	if n := len(offered.FindAllString(render(t, v.Page()), -1)); n != 2 {
		t.Errorf("a run with one aligned model goes on to %d pages, want 2", n)
	}
	v.Run.Aligned = append(v.Run.Aligned, AlignedModel{Name: "short"})
	page := render(t, v.Page())
	if offered.MatchString(page) || !strings.Contains(page, `data-carry-many>Studies and sweeps are of one aligned model`) {
		t.Error("a mixture goes on to a study, or it is not said why not")
	}
}

func TestTextIsNeverMarkup(t *testing.T) {
	for name, page := range pages() {
		html := render(t, page)
		for _, bad := range []string{"<script>alert", "<b>hello", "<i>title"} {
			if strings.Contains(html, bad) {
				t.Errorf("%s holds %q as markup", name, bad)
			}
		}
	}
}

func TestEveryFormHasItsToken(t *testing.T) {
	form := regexp.MustCompile(`(?s)<form[^>]*method="post".*?</form>`)
	for name, page := range pages() {
		for _, f := range form.FindAllString(render(t, page), -1) {
			if !strings.Contains(f, `name="_csrf" value="token"`) {
				t.Errorf("%s has a form without its token: %.80s", name, f)
			}
		}
	}
}

func TestLanesOfARun(t *testing.T) {
	html := render(t, aPlayground().Page())
	for _, want := range []string{
		`<span class="t" data-i="0" data-r="1">Hi</span><span class="t" data-i="1" data-r="-3" data-part="right"> there</span></div>`,
		`<span class="turn" data-hue="9">λ 0.9</span><span class="t" data-i="1" data-r="3" data-part="left">` +
			`&lt;script&gt;alert(1)&lt;/script&gt;</span>!</div>`,
		`Parts from λ <span data-parting-from>0</span> at token <span data-parting-at>2</span>`,
		`cut off: the context is full`,
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

// A shared run has its KL as a drawing without scripts, and names at the ends of many lines stay within it.
func TestKLWithoutScripts(t *testing.T) {
	page := render(t, Comparison{Path: "/c/x", Run: *aRun()}.Page())
	card := page[strings.Index(page, "data-chart-plot"):]
	card = card[:strings.Index(card, "</section>")]
	if strings.Count(card, "<polyline") != 2 || !strings.Contains(card, ">λ 0.9</text>") {
		t.Errorf("%.600s", card)
	}
	var cs []column
	for i := range 23 {
		l := Lane{Index: i, Lambda: []float64{float64(i) / 10}}
		for range 5 {
			l.Tokens = append(l.Tokens, Token{Traced: true, KL: 0.2 + float64(i)/1000})
		}
		cs = append(cs, column{Lane: l})
	}
	d := drawKL(cs)
	for i, l := range d.Lines {
		if l.NameY < klTop || l.NameY > d.Height {
			t.Errorf("the name of line %d is at %v of %v", i, l.NameY, d.Height)
		}
	}
}

// A λ that is dragged leaves one mark, where it came to rest.
func TestMovesOfLambda(t *testing.T) {
	l := Lane{Lambda: []float64{0.5}}
	for i := range 30 {
		x := 0.5
		if i >= 10 {
			x = min(1, 0.5+float64(i-9)/20)
		}
		l.Tokens = append(l.Tokens, Token{Lambda: []float64{x}})
	}
	if got := l.moves(); len(got) != 1 || got[0] != 19 {
		t.Errorf("%v", got)
	}
}

// The controllers are tested on these pages (web/static/lanes/lanes.test.ts), so that markup and script
// cannot drift apart.
func TestGoldenPages(t *testing.T) {
	version := regexp.MustCompile(`\?v=[\w-]+`)
	for _, name := range []string{"playground", "session", "comparison", "map", "results-live", "sweep"} {
		got := version.ReplaceAllString(render(t, pages()[name]), "")
		file := filepath.Join("testdata", name+".html")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs from %s: look, and run go test ./web/templates -update", name, file)
		}
	}
}
