package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGlossary fails when docs/glossary.md names an identifier, as `package.Name`, that the package does not declare, and when it
// defines a word twice.
func TestGlossary(t *testing.T) {
	text, err := os.ReadFile("../docs/glossary.md")
	if err != nil {
		t.Fatal(err)
	}
	declared := packageNames(t)
	checked := 0
	for _, m := range regexp.MustCompile("`([a-z]+)\\.(\\w+)`").FindAllStringSubmatch(string(text), -1) {
		names, ok := declared[m[1]]
		if !ok {
			continue // a field of a type, or a file
		}
		if checked++; !names[m[2]] {
			t.Errorf("%s declares no %s", m[1], m[2])
		}
	}
	if checked < 50 {
		t.Errorf("only %d identifiers were looked at", checked)
	}
	words := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+) \|`).FindAllStringSubmatch(string(text), -1) {
		for word := range strings.SplitSeq(m[1], ", ") {
			if word != "word" && word != "u(λ)" && words[word] {
				t.Errorf("%q is defined twice", word)
			}
			words[word] = true
		}
	}
}

// packageNames is, by the name of each package below this folder, what its files declare.
func packageNames(t *testing.T) map[string]map[string]bool {
	t.Helper()
	all := map[string]map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		names := all[file.Name.Name]
		if names == nil {
			names = map[string]bool{}
			all[file.Name.Name] = names
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					names[d.Name.Name] = true
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						names[s.Name.Name] = true
					case *ast.ValueSpec:
						for _, n := range s.Names {
							names[n.Name] = true
						}
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
