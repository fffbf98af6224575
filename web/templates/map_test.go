package templates

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// aMap is a map with four texts, one of them cut by the budget, and one unknown part.
func aMap() *Map {
	branch := func(from, to float64, reason string, pieces ...string) MapBranch {
		b := MapBranch{From: from, To: to, Reason: reason, Pieces: pieces}
		for _, p := range pieces {
			b.IDs = append(b.IDs, int32(len(p))*100+int32(p[len(p)-1]))
		}
		return b
	}
	fork := func(lambda float64, index int, below, above string) MapFork {
		return MapFork{Lambda: lambda, Index: index,
			Below: MapCandidate{below, -1, -2.5, 0.5}, Above: MapCandidate{above, -2, -1, 0.5 + (1-lambda-1.5*lambda)/0.7}}
	}
	return &Map{
		From: 0, To: 2, Reason: "stop", Covered: 0.9, Most: 3, Rows: 120, Seconds: 0.5, LanesURL: "/s/session1?run=run1&lanes=",
		Sampling: Sampling{MaxTokens: 32, Temperature: 0.7, TopP: 1}, Aligned: []AlignedModel{{Name: "warm", Beta: 0.1}},
		Branches: []MapBranch{
			branch(0, 0.5, "stop", "A", " <b>bad</b>", " film", "."),
			branch(0.5, 0.6, "budget", "A", " <b>bad</b>", " one"),
			branch(0.6, 0.8, "length", "A", " good", " film", ", too", " long"),
			branch(0.8, 2, "stop", "A", " good", " day", "!"),
		},
		Forks: []MapFork{fork(0.5, 2, " film", " one"), fork(0.6, 1, " <b>bad</b>", " good"), fork(0.8, 2, " film", " day")},
	}
}

func aMapRun() *Run {
	r := aRun()
	r.Lanes, r.Map = nil, aMap()
	r.SpecJSON = `{"pair":"demo","aligned":["warm"],"prompt":"Say <b>hello</b>.","mode":"chat","lanes":null,` +
		`"map":{"from":0,"to":2,"sample":0,"branches":3},` +
		`"sampling":{"max_tokens":32,"temperature":0.7,"top_k":0,"top_p":1,"min_p":0},"seed":"7","alternatives":5}`
	return r
}

func aMapPage() Playground {
	v := aPlayground()
	v.Run, v.Draft.Map = aMapRun(), &DraftMap{From: 0, To: 2, Branches: 3}
	v.History.Runs[0].Lambdas, v.History.Runs[0].Map = nil, "0 to 2"
	return v
}

// At every λ exactly one end of the river lies below every token row of a text: bands neither overlap nor leave gaps,
// and each is as wide as its part of λ.
func TestRiverIsATree(t *testing.T) {
	m := aMap()
	r := m.river()
	for i, b := range m.Branches {
		x := 100 * (b.From + b.To) / 2 / 2
		var above []band
		for _, band := range r.Bands {
			if band.X <= x && x < band.X+band.W {
				above = append(above, band)
			}
		}
		slices.SortFunc(above, func(a, b band) int { return int(a.Y - b.Y) })
		text, y := "", 0.0
		for _, band := range above {
			if math.Abs(band.Y-y) > 1e-9 {
				t.Errorf("text %d: a band begins at %v, the one above ends at %v", i, band.Y, y)
			}
			text, y = text+band.Text, band.Y+band.H
		}
		if text != strings.Join(b.Pieces, "") {
			t.Errorf("the bands at λ %v read %q, the text is %q", x/50, text, strings.Join(b.Pieces, ""))
		}
		if last := above[len(above)-1]; (last.Kind == "open") != (b.Reason == "budget") || math.Abs(last.W-50*(b.To-b.From)) > 1e-9 {
			t.Errorf("text %d ends in %+v", i, last)
		}
	}
	for _, k := range r.Marks {
		if !slices.ContainsFunc(r.Bands, func(b band) bool { return math.Abs(b.X-k.X) < 1e-9 && math.Abs(b.Y-k.Y) < 1e-9 }) {
			t.Errorf("no band begins at fork %+v", k)
		}
	}
}

// While it grows, forks say how the river runs where no text is known yet.
func TestRiverGrows(t *testing.T) {
	m := aMap()
	m.Growing = true
	for i := range m.Branches {
		if i != 3 {
			m.Branches[i].Pieces, m.Branches[i].IDs, m.Branches[i].Reason = nil, nil, ""
		}
	}
	r := m.river()
	if r.Bands[0].Text != "A" || r.Bands[0].W != 100 || len(r.Marks) != 3 {
		t.Errorf("%+v", r)
	}
	if text := render(t, m.Section()); !strings.Contains(text, `data-map-state="growing"`) || !strings.Contains(text, "1 of at least 4 texts known") {
		t.Error("the page does not say that it grows")
	}
	m.Branches, m.Forks = []MapBranch{{From: 0, To: 2}}, nil
	render(t, m.Section())
	m.Branches[0] = MapBranch{From: 0, To: 2, Reason: "stop", Pieces: []string{""}, IDs: []int32{2}}
	m.Growing, m.Covered = false, 1
	if text := render(t, m.Section()); !strings.Contains(text, "it never forks") {
		t.Error("a map of one text does not say so")
	}
}

func TestMapSaysWhatIsMissing(t *testing.T) {
	m := aMap()
	for _, c := range []struct {
		reason, words string
		covered       float64
	}{
		{"stop", "10% of λ, hatched, is not known to its end: the settings let 3 texts be followed at most.", 0.9},
		{"cancelled", "40% of λ, hatched, is not known to its end: the map was stopped.", 0.6},
		{"error", "The worker died.", 0.6},
		{"stop", "", 1},
	} {
		m.Reason, m.Covered, m.Error = c.reason, c.covered, "the worker died"
		if got := m.missing(); !strings.Contains(got, c.words) || (c.words == "") != (got == "") {
			t.Errorf("%s: %q lacks %q", c.reason, got, c.words)
		}
	}
}

// The last fork of a text is the deeper of those beside it; all on the way to it are marked.
func TestTextsAreCutAtTheirForks(t *testing.T) {
	m := aMap()
	var v struct {
		Branches []struct {
			At   []int
			Part int
		}
	}
	if err := json.Unmarshal([]byte(m.data()), &v); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]int{{1, 2}, {1, 2}, {1, 2}, {1, 2}} {
		if !slices.Equal(v.Branches[i].At, want) {
			t.Errorf("text %d parts from others at %v, want %v", i, v.Branches[i].At, want)
		}
	}
	var b strings.Builder
	for _, p := range m.pieces(3) {
		b.WriteString(p.Kind + ":" + p.Text + "|")
	}
	if b.String() != ":A|fork: good|last: day|new:!|" {
		t.Error(b.String())
	}
}

// What is said of a fork follows from its numbers.
func TestWhyAForkIsThere(t *testing.T) {
	text := func(f MapFork, s Sampling) string {
		m := Map{Sampling: s}
		html := render(t, f.sentence(m.why(f), s.Temperature > 0))
		return strings.NewReplacer("<q>", "“", "</q>", "”", `<span class="num">`, "", "</span>", "").Replace(html)
	}
	greedy := MapFork{Lambda: 0.25, Below: MapCandidate{" a", -1, -2, 0}, Above: MapCandidate{" b", -2, 1, 0}}
	if got := text(greedy, Sampling{}); got != "At λ = 0.25 “ b” overtakes “ a”: the aligned model prefers it by 3 nats (20 times as likely), the reference prefers “ a” by 1 nat (2.7 times as likely). "+
		"At this λ the sides balance: at a smaller one “ a” is written, at a greater one “ b”." {
		t.Error(got)
	}
	both := MapFork{Lambda: 0.5, Below: MapCandidate{"x", -3, -3, 4}, Above: MapCandidate{"<y>", -2, -1, 1}}
	if got := text(both, Sampling{Temperature: 0.5}); got != "At λ = 0.5 “&lt;y&gt;” overtakes “x”: both prefer it, the aligned model by 2 nats (7.4 times as likely), the reference by only 1 nat (2.7 times as likely); "+
		"the noise, the luck of this seed, favours “x” by 1.5 nats (4.5 times as likely). At this λ the sides balance: at a smaller one “x” is written, at a greater one “&lt;y&gt;”." {
		t.Error(got)
	}
	against := MapFork{Lambda: 0.5, Below: MapCandidate{"x", -1, -1, 0}, Above: MapCandidate{"y", -3, -2, 1}}
	if got := text(against, Sampling{Temperature: 1.5}); got != "At λ = 0.5 “y” overtakes “x”: both prefer “x”, but the reference by 2 nats (7.4 times as likely), the aligned model by only 1 nat (2.7 times as likely); "+
		"the noise, the luck of this seed, favours “y” by 1.5 nats (4.5 times as likely). At this λ the sides balance: at a smaller one “x” is written, at a greater one “y”." {
		t.Error(got)
	}
	against.Above.Noise = 7
	if got := text(against, Sampling{Temperature: 1.5, PresencePenalty: 1}); !strings.Contains(got, "penalties on tokens already used make up the rest. At a smaller one “x” is written") {
		t.Error(got)
	}
	if got := text(against, Sampling{Temperature: 1.5, MinP: 0.1}); !strings.Contains(got, "min-p decides here") {
		t.Error(got)
	}
}

// A number of nats is said in plain words, whatever its size.
func TestNatsInPlainWords(t *testing.T) {
	for x, want := range map[float64]string{
		0: "about as likely", 0.04: "about as likely", 0.69: "2 times as likely", -1.2: "3.3 times as likely", 4: "55 times as likely", 9: "8100 times as likely", 30: "over a million times as likely",
	} {
		if got := likelier(x); got != want {
			t.Errorf("%v nats: %q, want %q", x, got, want)
		}
	}
}

func TestLambdaWithinABranchIsShort(t *testing.T) {
	for _, c := range []struct{ from, to, want float64 }{{0, 2, 1}, {0.7275, 1.6596, 1}, {0.4, 0.5, 0.45}, {0.04021, 0.04971, 0.045}, {1, 1.0000001, 1.00000005}} {
		if got := (MapBranch{From: c.from, To: c.to}).between(); got != c.want {
			t.Errorf("between %v and %v: %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

func TestMapPageHoldsEverythingWithoutScripts(t *testing.T) {
	html := render(t, aMapPage().Page())
	for _, want := range []string{
		`<section class="stage" aria-labelledby="lanes-title" data-stage hidden>`, "3 whole texts for λ from 0 to 2, and 1 part left open",
		`href="#fork-2"`, `id="fork-2"`, "slider, λ 0 to 2", `<mark class="map-last"> day</mark><span data-kind="new">!</span>`,
		`href="/s/session1?run=run1&amp;lanes=0.2"`, "the settings let 3 texts be followed at most", `value="3" data-map-branches`,
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	for i := range 3 {
		if strings.Count(html, `id="fork-`+strconv.Itoa(i+1)+`"`) != 1 {
			t.Errorf("fork %d is not there once", i+1)
		}
	}
	shared := render(t, Comparison{Layout: Layout{CSRF: "token"}, Path: "/c/abc", Title: "Hello", Created: noon, Run: *aMapRun(),
		Verification: &Verification{What: "lambda", Lane: 2, Index: -1, Branches: 3, Stored: "0.8", Decoded: "0.81"}}.Page())
	for _, want := range []string{"in λ in text 3: stored <q>0.8</q>, decoded now <q>0.81</q>", "λ 0.6 to 0.8, 5 tokens", "Texts in the order of λ"} {
		if !strings.Contains(shared, want) {
			t.Errorf("the shared page lacks %s", want)
		}
	}
	if strings.Contains(shared, "data-lanes") {
		t.Error("the shared page of a map has lanes")
	}
}
