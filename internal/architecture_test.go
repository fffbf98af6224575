// Package internal_test holds the rules about which package may import which.
package internal_test

import (
	"os/exec"
	"strings"
	"testing"
)

// allowed is, for each package, what of this module and of others it may import beyond the standard
// library. "x/..." stands for everything below x. Imports point one way: from the program to the domain.
var allowed = map[string][]string{
	// The domain: no storage, no HTTP, no processes.
	"internal/fault":       {},
	"internal/retryafter":  {},                // how long servers want to be left alone
	"internal/lru":         {},                // what was used last
	"internal/gauge":       {"gonum.org/..."}, // how far token-wise decoding is off
	"internal/decode/cost": {},
	"internal/decode":      {"internal/fault", "internal/decode/cost"}, // what passes take
	"internal/gguf":        {"internal/fault"},                         // heads of model files
	"internal/id":          {},                                         // identifiers and secrets
	"internal/title":       {"internal/fault"},                         // titles of what people keep
	"internal/instance":    {},                                         // which of several servers this is
	"internal/stat":        {"gonum.org/..."},                          // intervals
	"internal/sandbox":     {"internal/fault"},                         // computations of others, in a process of their own
	"internal/decode/template": {
		"internal/fault", "internal/decode", "internal/sandbox",
		"github.com/nikolalohinski/gonja/...", // chat templates
	},
	"internal/intake":          {"internal/fault"},                                                                                                          // limits on what comes in
	"internal/gpu":             {"internal/fault", "internal/gguf"},                                                                                         // sizes of tensors
	"internal/filecache":       {},                                                                                                                          // what was computed from files, until they change
	"internal/pair":            {"internal/fault", "internal/decode", "internal/run", "internal/gguf", "internal/gpu", "internal/filecache"},                // files and whether they fit; what runs want to know of them
	"internal/pair/modelstore": {"internal/fault", "internal/gguf", "internal/filecache", "internal/pair/catalogue"},                                        // where models are on a machine
	"internal/pair/catalogue":  {"internal/fault", "internal/decode"},                                                                                       // public pairs by name
	"internal/pair/fetch":      {"internal/fault", "internal/retryafter", "internal/pair/modelstore", "golang.org/x/..."},                                   // downloads into the stores
	"internal/run":             {"internal/fault", "internal/decode", "internal/intake", "internal/id", "internal/instance", "internal/title"},              // requests and events of decoding
	"internal/share":           {"internal/fault", "internal/decode", "internal/run", "internal/id", "internal/title"},                                      // runs, frozen
	"internal/session":         {"internal/fault", "internal/decode", "internal/intake", "internal/run", "internal/share", "internal/id", "internal/title"}, // lists of runs; the seals of what is exported
	"internal/preference":      {"internal/fault", "internal/stat", "gonum.org/..."},                                                                        // ratings alone: not how they were asked for
	"internal/prompt":          {"internal/fault", "internal/decode", "internal/intake", "internal/spreadsheet"},                                            // files of prompts: what is decoded is a conversation
	"internal/experiment":      {"internal/fault", "internal/decode"},                                                                                       // what is decoded, and the way it is
	"internal/pair/manage": {
		"internal/fault", "internal/decode", "internal/gguf", "internal/pair", "internal/pair/fetch", "internal/pair/modelstore", // what a page does with pairs
	},
	"internal/pair/convert": { // GGUF of what other programs write
		"internal/fault", "internal/gguf", "github.com/ollama/ollama/convert/...", "github.com/ollama/ollama/fs/ggml",
		"github.com/x448/float16", "google.golang.org/protobuf/proto",
	},
	"internal/gguf/randomweights": {
		"internal/fault", "internal/gguf", "github.com/ollama/ollama/fs/ggml", "github.com/x448/float16", // model files for measurements
	},
	"internal/study": {
		"internal/fault", "internal/decode", "internal/intake", "internal/run", "internal/experiment", "internal/prompt", "internal/preference", "internal/stat", "internal/id", "internal/instance", "internal/title", "internal/lru", "internal/spreadsheet", // outputs are decoded as runs are
		"golang.org/x/text/...", // names of annotators that look alike
	},
	"internal/sweep":        {"internal/fault", "internal/decode", "internal/experiment", "internal/prompt", "internal/stat", "internal/gauge", "gonum.org/..."},
	"internal/agreement":    {"internal/preference", "internal/sweep", "internal/stat", "internal/spreadsheet", "gonum.org/..."}, // people against rewards
	"internal/sweep/config": {"internal/fault", "internal/sweep", "go.yaml.in/yaml/..."},                                         // the file of a sweep
	"internal/spreadsheet":  {},                                                                                                  // CSV that spreadsheets open
	"internal/sweep/reward": {
		"internal/fault", "internal/retryafter", "internal/decode", "internal/sweep", "internal/sandbox",
		"models/demo", // the classifiers that the demo pair was trained and checked by
		"github.com/santhosh-tekuri/jsonschema/...", // whether a text fits a schema
	},
	"internal/sweep/runner":      {"internal/fault", "internal/decode", "internal/lru", "internal/instance", "internal/experiment", "internal/sweep", "internal/sweep/reward"}, // what is to be done next
	"internal/sweep/export":      {"internal/fault", "internal/sweep", "github.com/parquet-go/...", "internal/decode", "internal/spreadsheet"},                                 // files for other programs
	"internal/bench":             {"internal/decode", "gonum.org/..."},                                                                                                         // measures the engine
	"internal/openai":            {"internal/fault", "internal/decode", "internal/pair"},                                                                                       // OpenAI's API to requests and back
	"internal/apikey":            {"internal/fault"},                                                                                                                           // keys of programs
	"internal/decode/speculate":  {"internal/decode", "internal/decode/cost"},                                                                                                  // whether drafts pay
	"internal/decode/decodetest": {"internal/decode", "internal/fault"},                                                                                                        // the model without files
	"internal/mtbench":           {"internal/fault", "internal/decode", "internal/sweep", "internal/sweep/reward"},                                                             // MT-Bench over λ

	// The only packages with cgo, and the only ones that know llama.cpp.
	"internal/decode/llamacpp": {
		"internal/fault", "internal/decode", "internal/decode/llamacpp/attention", "internal/decode/llamacpp/products", "internal/gguf", "internal/decode/template", "internal/gpu", "github.com/ollama/ollama/...",
	},
	"internal/decode/llamacpp/attention": {"github.com/ollama/ollama/..."}, // in the place of ggml's
	"internal/decode/llamacpp/products":  {"github.com/ollama/ollama/..."}, // likewise

	// What stands around the domain. None of these imports another of them.
	"internal/store": {
		"internal/fault", "internal/lru", "internal/decode", "internal/run", "internal/share", "internal/session", "internal/title", "internal/experiment", "internal/study", "internal/preference", "internal/sweep", "internal/apikey",
		"github.com/uptrace/bun/...", "github.com/pressly/goose/...", "github.com/jackc/...", "modernc.org/sqlite/...", // SQL
	},
	"internal/worker": {
		"internal/fault", "internal/decode", "internal/run", "internal/pair", "internal/gpu",
		"github.com/nats-io/...", // the way to the workers
	},
	"internal/cluster": {
		"internal/fault", "internal/run",
		"github.com/nats-io/...", // the way to the other servers
	},
	"internal/load": {
		"internal/fault",
		"github.com/gorilla/websocket", // it is a client
	},
	"internal/web": {
		"internal/fault", "internal/lru", "internal/gauge", "internal/decode", "internal/intake", "internal/run", "internal/share", "internal/session", "internal/id", "internal/title", "internal/experiment", "internal/study", "internal/preference", "internal/stat", "internal/sweep/...", "internal/agreement", "internal/pair/...", "internal/openai", "internal/apikey", "internal/prompt",
		"web/templates", "web/static", "docs", // pages
		"github.com/labstack/echo/...", "github.com/a-h/templ/...", "github.com/gorilla/websocket", // HTTP
		"github.com/prometheus/...", "golang.org/x/time/rate", // metrics, limits
		"github.com/klauspost/compress/...", // pages and scripts, compressed
		"golang.org/x/image/...",            // the picture of a comparison
		"golang.org/x/net/html",             // addresses in pages, for a server below a path
		"github.com/yuin/goldmark/...",      // guidelines of studies
	},
	"web/static":    {},
	"web/templates": {"web/static", "github.com/a-h/templ/..."}, // view models only: no domain

	"cmd/launch": {"github.com/klauspost/cpuid/..."}, // which of a release's programs the processor can run

	// The program may import everything.
	"cmd/web": {"internal/...", "github.com/...", "golang.org/..."},
}

// TestImports fails on an import that is not allowed above, and on a package that is missing there.
// Packages for tests only ("…test") may import what they test.
func TestImports(t *testing.T) {
	list := exec.Command("go", "list", "-e", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "realign/cmd/...", "realign/internal/...", "realign/web/...")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		path := strings.TrimPrefix(words[0], "realign/")
		rules, ok := allowed[path]
		if !ok {
			if strings.HasSuffix(path, "test") || path == "internal" {
				continue
			}
			t.Errorf("package %s has no line in this test: say what it may import, and why", path)
			continue
		}
		seen++
		for _, imported := range words[1:] {
			name := strings.TrimPrefix(imported, "realign/")
			standard := name == imported && !strings.Contains(strings.Split(imported, "/")[0], ".")
			if !standard && !matches(rules, name) {
				t.Errorf("%s imports %s, which is not among %v", path, name, rules)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d packages were looked at", seen)
	}
}

func matches(rules []string, name string) bool {
	for _, rule := range rules {
		root, below := strings.CutSuffix(rule, "/...")
		if name == root || below && strings.HasPrefix(name, root+"/") {
			return true
		}
	}
	return false
}
