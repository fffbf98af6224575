package templates

import (
	"context"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/a-h/templ"
	"golang.org/x/net/html"
)

// namesOf are the headings, labels and helps of a page that the project wrote: what others wrote has a dir. The sheet of keys
// has words of its own, and what is in a link or a summary leads elsewhere already.
func namesOf(t *testing.T, page string) (names []string, leadsTo map[string]bool) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	leadsTo = map[string]bool{}
	attribute := func(n *html.Node, key string) (string, bool) {
		for _, a := range n.Attr {
			if a.Key == key {
				return a.Val, true
			}
		}
		return "", false
	}
	var text func(n *html.Node) string
	text = func(n *html.Node) string {
		if n.Type == html.TextNode {
			return n.Data
		}
		if _, others := attribute(n, "dir"); others || n.Data == "select" || n.Data == "textarea" || n.Data == "code" {
			return ""
		}
		if class, _ := attribute(n, "class"); n.Data == "a" && class != "term" {
			return ""
		}
		var b strings.Builder
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			b.WriteString(text(c))
		}
		return b.String()
	}
	var walk func(n *html.Node)
	walk = func(n *html.Node) {
		class, _ := attribute(n, "class")
		if n.Type == html.ElementNode {
			switch n.Data {
			case "dialog":
				return
			case "a":
				if href, _ := attribute(n, "href"); strings.HasPrefix(href, "/help/words#") {
					leadsTo[strings.TrimPrefix(href, "/help/words#")] = true
				}
			case "h1", "h2", "h3", "legend", "th", "dt":
				names = append(names, strings.Join(strings.Fields(text(n)), " "))
			default:
				if class == "field-name" || class == "field-help" || class == "label" {
					names = append(names, strings.Join(strings.Fields(text(n)), " "))
				}
			}
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(doc)
	return names, leadsTo
}

// On every page each word that is explained, and that stands in a heading, a label or a help, leads to its meaning once. Pages
// of annotators are blind, and explain nothing; a page that is printed leads nowhere.
func TestWordsAreExplainedWhereTheyStand(t *testing.T) {
	all := pages()
	delete(all, "report")
	live := aSweepLive()
	for name, page := range map[string]templ.Component{
		"studies": StudyList{}.Page(), "study-new": StudyForm{Values: url.Values{}}.Page(), "study-over": StudyForm{Experiment: "e", About: "A sweep", Values: url.Values{}}.Page(),
		"study": StudyPage{
			Status: "open", Beta: 0.1, Grid: []float64{0, 1}, Items: 1, Invited: true, Judgeable: true, ProblemList: []PromptProblem{{Line: 1}},
			Annotators: []AnnotatorRow{{Name: "Ann"}}, Rows: []ItemRow{{Prompt: "a"}},
		}.Page(),
		"agreement":    StudyAgreement{Answer: "They agree", Facts: []Fact{{Name: "KL", Value: "1"}}, Rewards: []RewardAgreement{{Title: "Length"}}, Categories: []string{"a"}, Plots: []Plot{aPlot()}}.Page(),
		"sweep-shared": SharedSweep{Sweep: aSweep(), Answer: "Best λ", Facts: []Fact{{Name: "KL", Value: "1"}}, Charts: live.SweepCharts}.Page(),
		"results":      StudyResults{Result: aResult(), Study: "s"}.Page(), "pair-new": PairForm{}.Page(), "sessions-none": SessionList{}.Page(),
	} {
		all[name] = page
	}
	for name, page := range all {
		names, leadsTo := namesOf(t, render(t, page))
		for _, heading := range names {
			for _, run := range wordRuns(heading) {
				if run.word != "" && !leadsTo[WordID(run.word)] {
					t.Errorf("%s: %q has %q, which leads nowhere", name, heading, run.text)
				}
			}
		}
	}
}

// What pages lead to is on the page of words.
func TestWordFormsAreWords(t *testing.T) {
	text, err := os.ReadFile("../../docs/glossary.md")
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+) \|`).FindAllStringSubmatch(string(text), -1) {
		words[WordID(m[1])] = true
	}
	check := func(word string) {
		if !words[WordID(word)] {
			t.Errorf("%q is not explained", word)
		}
	}
	for _, f := range wordForms {
		check(f.word)
	}
	for _, word := range wordsAlone {
		check(word)
	}
}

func TestWordRuns(t *testing.T) {
	for text, want := range map[string]string{
		"λ grid": "[λ:λ] grid", "Samples per prompt and λ": "[Samples:sample] per prompt and [λ:λ]", "Effective β": "[Effective β:effective β]",
		"Exact": "[Exact:exact]", "no exact map": "no exact map", "a slander": "a slander", "Settie": "Settie", "": "",
		"β/λ holds": "[β:β]/[λ:λ] holds", "λ-map of lanes": "[λ-map:λ-map] of [lanes:lane]",
	} {
		var b strings.Builder
		for _, run := range wordRuns(text) {
			if run.word == "" {
				b.WriteString(run.text)
			} else {
				b.WriteString("[" + run.text + ":" + run.word + "]")
			}
		}
		if b.String() != want {
			t.Errorf("%q: %s", text, b.String())
		}
	}
}

// A word leads to its meaning where it stands first.
func TestFirstWordLeads(t *testing.T) {
	ctx := WithWords(context.Background())
	var b strings.Builder
	for _, text := range []string{"λ grid", "the same λ"} {
		if err := explained(text).Render(ctx, &b); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(b.String(), "<a "); n != 1 || !strings.Contains(b.String(), `<a class="term" href="/help/words#lambda" target="words" tabindex="-1">λ</a>`) {
		t.Errorf("%d links in %s", n, b.String())
	}
}
