package web

import (
	"bytes"
	"html"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/parser"

	"realign/docs"
	"realign/internal/fault"
	"realign/web/templates"
)

// documents are the project's own texts as pages, each rendered when it is asked for first.
type documents struct {
	render goldmark.Markdown

	mu    sync.Mutex                    // guards what follows
	pages map[string]templates.Document // by name: those that were asked for
}

// newDocuments is the texts, none of them rendered yet.
func newDocuments() *documents {
	return &documents{
		render: goldmark.New(goldmark.WithExtensions(alignedTables), goldmark.WithParserOptions(parser.WithAutoHeadingID())),
		pages:  map[string]templates.Document{},
	}
}

// helpPages are the documents that pages lead to, in the order of a list.
var helpPages = []struct{ name, title string }{
	{"guide", "Guide"}, {"words", "Words"}, {"sweeps", "Sweeps"}, {"studies", "How far intervals can be trusted"}, {"pairs", "Pairs"}, {"exact", "Whole replies"},
	{"api", "API"}, {"fidelity", "How well β/λ holds"}, {"paper", "The paper's experiments"}, {"operate", "Operating it"}, {"design", "Mathematics and reasons"},
}

// showHelp is GET /help/{name}: a document of the project. "/help" is the guide, and "/help/words" what the words mean.
func (s *Server) showHelp(c echo.Context) error {
	name := c.Param("name")
	if name == "" {
		name = "guide"
	}
	if path.Ext(name) == ".svg" {
		return helpDrawing(c, name)
	}
	page, err := s.documents.page(name)
	if err != nil {
		return err
	}
	page.Layout = s.layout(c, page.Heading, "help")
	for _, p := range helpPages {
		page.Others = append(page.Others, templates.DocumentLink{Name: p.name, Title: p.title})
	}
	return s.page(c, http.StatusOK, page)
}

// helpDrawing is GET /help/{name}.svg: a drawing in one of the documents.
func helpDrawing(c echo.Context, name string) error {
	data, err := fs.ReadFile(docs.Files, name)
	if err != nil {
		return fault.New(fault.NotFound, "there is no such drawing")
	}
	return c.Blob(http.StatusOK, "image/svg+xml", data)
}

// page is a document as a page, rendered once. What there is not is NotFound.
func (d *documents) page(name string) (templates.Document, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if page, ok := d.pages[name]; ok {
		return page, nil
	}
	page, err := d.read(name)
	if err == nil {
		d.pages[name] = page
	}
	return page, err
}

// read renders a document.
func (d *documents) read(name string) (page templates.Document, err error) {
	page.Name = name
	if name == "words" {
		text, err := fs.ReadFile(docs.Files, "glossary.md")
		if err != nil {
			return page, fault.Wrap(err, fault.Internal, "the words cannot be read")
		}
		page.Heading = "Words"
		page.Words, err = d.words(string(text))
		return page, err
	}
	text, err := fs.ReadFile(docs.Files, name+".md")
	if err != nil || !helpName.MatchString(name) {
		return page, fault.New(fault.NotFound, "there is no document %.40q: the list of help has all", name)
	}
	title, rest, _ := strings.Cut(string(text), "\n")
	page.Heading = heading(title)
	page.HTML, err = d.html(rest)
	return page, err
}

// heading is the text of a document's first line.
func heading(line string) string { return strings.ReplaceAll(strings.TrimPrefix(line, "# "), "`", "") }

// titleOf is what links call a document.
func titleOf(name string) string {
	if name == "glossary" {
		name = "words"
	}
	for _, p := range helpPages {
		if p.name == name {
			return p.title
		}
	}
	text, err := fs.ReadFile(docs.Files, name+".md")
	if err != nil {
		return name
	}
	title, _, _ := strings.Cut(string(text), "\n")
	return heading(title)
}

// What is rewritten in rendered documents, and the form of their names.
var (
	helpName     = regexp.MustCompile(`^[a-z0-9-]+$`)
	helpLink     = regexp.MustCompile(`(href|src)="([a-z0-9-]+)(\.md|\.svg)(#[^"]*)?"`)
	namesAsLink  = regexp.MustCompile(`>(?:docs/)?([a-z0-9-]+)\.md</a>`)
	elsewhere    = regexp.MustCompile(`<a href="(?:\.\./|[a-z0-9-]+\.(?:json|csv))[^"]*">(.*?)</a>`)
	scrollTables = strings.NewReplacer("<table>", `<div class="scroll" tabindex="0" role="group" aria-label="Table"><table class="table">`, "</table>", "</table></div>")
)

// html renders Markdown of the project. Links from document to document lead from page to page; those to files of the repository,
// which a server has not, become text. Where a link's text is the name of a file it becomes the title of the page.
func (d *documents) html(text string) (string, error) {
	var buf bytes.Buffer
	if err := d.render.Convert([]byte(text), &buf); err != nil {
		return "", fault.Wrap(err, fault.Internal, "the document cannot be rendered")
	}
	out := elsewhere.ReplaceAllString(buf.String(), "$1")
	out = helpLink.ReplaceAllStringFunc(out, func(link string) string {
		m := helpLink.FindStringSubmatch(link)
		switch {
		case m[3] == ".svg":
			return m[1] + `="/help/` + m[2] + `.svg"`
		case m[2] == "glossary":
			return m[1] + `="/help/words` + anchor(m[4]) + `"`
		default:
			return m[1] + `="/help/` + m[2] + anchor(m[4]) + `"`
		}
	})
	out = namesAsLink.ReplaceAllStringFunc(out, func(link string) string {
		return ">" + html.EscapeString(titleOf(namesAsLink.FindStringSubmatch(link)[1])) + "</a>"
	})
	return scrollTables.Replace(strings.ReplaceAll(out, "<pre>", `<pre tabindex="0">`)), nil
}

// anchor is the place of a heading as the renderer names it: letters that are not of ASCII, and dashes, are left out.
func anchor(escaped string) string {
	place, err := url.PathUnescape(escaped)
	if err != nil {
		return escaped
	}
	return strings.Map(func(r rune) rune {
		if r >= 0x80 {
			return -1
		}
		return r
	}, place)
}

// words are the glossary's tables, without the names in the code.
func (d *documents) words(text string) (groups []templates.WordGroup, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "## "); ok {
			groups = append(groups, templates.WordGroup{Title: title})
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), " | ")
		if !strings.HasPrefix(line, "|") || len(cells) < 2 || strings.HasPrefix(line, "|---") || strings.TrimSpace(cells[0]) == "word" || len(groups) == 0 {
			continue
		}
		word, meaning := strings.TrimSpace(cells[0]), strings.TrimSpace(cells[1])
		meaning, err := d.html(meaning)
		if err != nil {
			return nil, err
		}
		meaning = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(meaning), "<p>"), "</p>")
		last := &groups[len(groups)-1]
		last.Words = append(last.Words, templates.Word{ID: templates.WordID(word), Word: word, Meaning: meaning})
	}
	groups = slices.DeleteFunc(groups, func(g templates.WordGroup) bool { return len(g.Words) == 0 })
	return groups, nil
}
