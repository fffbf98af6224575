package web

import (
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"realign/docs"
)

// The words and the guide are pages; every link of theirs leads to a page, and every term that a page leads to is there.
func TestHelp(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	words := p.get("/help/words", http.StatusOK)
	for _, id := range []string{"lambda", "effective-beta", "kl", "log-ratio", "seed", "lambda-map", "fork", "recommendation", "catch-trial", "study", "sweep", "reward", "beta"} {
		if !strings.Contains(words, `id="`+id+`"`) {
			t.Errorf("the words lack %s", id)
		}
	}
	if strings.Contains(words, "decode.Vector") {
		t.Error("the words tell names in the code")
	}
	if !strings.Contains(p.get("/help", http.StatusOK), "The slider and the lanes") {
		t.Error("/help is not the guide")
	}
	ids := regexp.MustCompile(` id="([^"]+)"`)
	known := map[string]map[string]bool{}
	pageIDs := func(path string) map[string]bool {
		if known[path] == nil {
			known[path] = map[string]bool{}
			for _, m := range ids.FindAllStringSubmatch(p.get(path, http.StatusOK), -1) {
				known[path][m[1]] = true
			}
		}
		return known[path]
	}
	links := regexp.MustCompile(`(?:href|src)="(/help/[a-z0-9.-]+)(?:#([^"]+))?"`)
	checked := 0
	pages := []string{"/", "/sweeps", "/studies", "/studies/new"}
	documents, err := fs.Glob(docs.Files, "*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range documents {
		pages = append(pages, "/help/"+strings.TrimSuffix(name, ".md"))
	}
	for _, path := range pages {
		html := p.get(path, http.StatusOK)
		if m := regexp.MustCompile(`href="[^"]*\.md[^"]*"`).FindString(html); m != "" {
			t.Errorf("%s leads to %s", path, m)
		}
		if m := regexp.MustCompile(`<a href="/help/[^>]*>[^<]*\.md</a>`).FindString(html); m != "" {
			t.Errorf("%s calls a page by the name of a file: %s", path, m)
		}
		for _, m := range links.FindAllStringSubmatch(html, -1) {
			checked++
			if found := pageIDs(m[1]); m[2] != "" && !found[m[2]] {
				t.Errorf("%s leads to %s#%s, which is not there", path, m[1], m[2])
			}
		}
	}
	if checked < 80 {
		t.Errorf("only %d links were looked at", checked)
	}
	p.get("/help/nothing", http.StatusNotFound)
	p.get("/help/..%2fgo.mod", http.StatusNotFound)
}

// The pages' policy allows no inline style, which tables of documents and of guidelines would have for their columns.
func TestDocumentsHaveNoInlineStyle(t *testing.T) {
	var out strings.Builder
	if err := markdown.Convert([]byte("| a | b |\n|--:|:-:|\n| 1 | 2 |\n"), &out); err != nil || strings.Contains(out.String(), "style=") || !strings.Contains(out.String(), `align="right"`) {
		t.Errorf("%s, %v", out.String(), err)
	}
	w := newWorld(t, setup{})
	p := w.person()
	for _, name := range []string{"guide", "api", "sweeps"} {
		if page := p.get("/help/"+name, 200); strings.Contains(page, "style=") {
			t.Errorf("/help/%s has inline styles", name)
		}
	}
}
