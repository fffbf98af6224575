package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// longest is how many stops each walk of docs/architecture.md may have. A walk that gets longer is a sign of layers that pass
// something on without doing anything.
var longest = map[string]int{
	"λ, from the slider to the kernel and back": 28,
	"A rating, from the click to u(λ)":          24,
	"A cell of an experiment":                   26,
}

var stop = regexp.MustCompile("^(\\d+)\\. `([^`]+)` `([^`]+)`: .")

// TestArchitectureWalks fails when a stop of a walk names a file or a function that does not exist, when stops are not numbered
// one after the other, and when a walk is longer than it may be.
func TestArchitectureWalks(t *testing.T) {
	text, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	stops := map[string]int{}
	walk := ""
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			walk = strings.TrimSpace(title)
			continue
		}
		if line == "" || line[0] < '0' || line[0] > '9' {
			continue
		}
		m := stop.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("%s: not a stop: %s", walk, line)
			continue
		}
		stops[walk]++
		if n := stops[walk]; m[1] != strconv.Itoa(n) {
			t.Errorf("%s: stop %s is number %d", walk, m[1], n)
		}
		if err := exists(filepath.Join("..", m[2]), m[3]); err != "" {
			t.Errorf("%s, stop %s: %s", walk, m[1], err)
		}
	}
	for walk, most := range longest {
		if n := stops[walk]; n == 0 || n > most {
			t.Errorf("%q has %d stops, between 1 and %d are allowed", walk, n, most)
		}
	}
}

// exists says what is wrong with a file, or with a function (Name or Type.Name) in it; "" if nothing.
func exists(file, name string) string {
	receiver, method, isMethod := strings.Cut(name, ".")
	if !isMethod {
		receiver, method = "", name
	}
	if strings.HasSuffix(file, ".ts") {
		text, err := os.ReadFile(file)
		if err != nil {
			return err.Error()
		}
		if isMethod && !regexp.MustCompile(`\bclass `+receiver+`\b`).Match(text) {
			return file + " has no class " + receiver
		}
		if !regexp.MustCompile(`(?m)^\s*(export |private |public |async |function )*` + method + `\(`).Match(text) {
			return file + " has no " + method
		}
		return ""
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		return err.Error()
	}
	for _, d := range parsed.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == method && receiverOf(f) == receiver {
			return ""
		}
	}
	return file + " has no func " + name
}

// receiverOf is the name of a method's type; "" for a function.
func receiverOf(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return ""
	}
	t := f.Recv.List[0].Type
	if p, ok := t.(*ast.StarExpr); ok {
		t = p.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name
	}
	return "?"
}
