package web

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Phrases that people did not understand have been replaced: none is left in what pages, commands and documents say.
func TestUnclearPhrasesAreGone(t *testing.T) {
	phrases := []string{
		"One prompt, many λ", "Extrapolates beyond training", "neighbours part here", "Texts, at most", "rows of both models",
		"need %d cache cells", "Start anew", "start anew", `Objective+" there"`, "to the reference there", "second less first", "1 is what β means",
		`Field("rewards", "there are none")`, `Field("prompts", "there are none")`, `Field("lanes", "there are none")`,
		"What is typed below is", "Spoilt answers seen through", `"Not here"`,
	}
	read := 0
	for _, root := range []string{"../../web", "../../internal", "../../cmd", "../../docs", "../../README.md"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			switch filepath.Ext(path) {
			case ".go", ".templ", ".ts", ".md", ".js", ".html":
			default:
				return nil
			}
			if strings.HasSuffix(path, "phrases_test.go") {
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			read++
			for _, phrase := range phrases {
				if strings.Contains(string(text), phrase) {
					t.Errorf("%s still says %q", path, phrase)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if read < 300 {
		t.Fatalf("only %d files were read", read)
	}
}
