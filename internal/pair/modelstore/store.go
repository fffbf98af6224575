// Package modelstore knows where the models on this machine are: in the stores of Ollama, Hugging Face, llama.cpp and
// LM Studio, and in plain folders. It lists them, groups them by tokenizer, proposes pairs, and finds the file behind a
// name such as ollama:llama3.2:1b. It reads the heads of files only, follows no link that leaves a store, changes
// nothing and downloads nothing.
package modelstore

import (
	"os"
	"path/filepath"
	"runtime"
)

// Kind is the tool that a store belongs to.
type Kind string

// The kinds of store.
const (
	Ollama      Kind = "ollama"
	HuggingFace Kind = "huggingface" // the hub's cache, which llama.cpp's -hf uses, too, since 2026
	LlamaCPP    Kind = "llama.cpp"   // its own cache, before that
	LMStudio    Kind = "lmstudio"
	Folder      Kind = "folder" // any folder that somebody names
)

// Store is a folder in which a tool keeps models.
type Store struct {
	Kind Kind   `json:"kind"`
	Root string `json:"root"` // absolute
}

// Stores lists the stores of this machine that exist, Ollama's first, then the folders that are named. getenv is
// os.Getenv and home the user's folder, but in tests.
func Stores(getenv func(string) string, home string, folders ...string) []Store {
	first := func(paths ...string) string {
		for _, p := range paths {
			if p != "" {
				return p
			}
		}
		return ""
	}
	under := func(base string, parts ...string) string {
		if base == "" {
			return ""
		}
		return filepath.Join(append([]string{base}, parts...)...)
	}
	caches := first(getenv("XDG_CACHE_HOME"), under(home, ".cache"))
	llama := under(caches, "llama.cpp")
	if runtime.GOOS == "darwin" {
		llama = under(home, "Library", "Caches", "llama.cpp")
	}
	all := []Store{
		{Ollama, first(getenv("OLLAMA_MODELS"), under(home, ".ollama", "models"))},
		{HuggingFace, first(getenv("HF_HUB_CACHE"), under(getenv("HF_HOME"), "hub"), under(caches, "huggingface", "hub"))},
		{LlamaCPP, first(getenv("LLAMA_CACHE"), llama)},
		{LMStudio, under(home, ".lmstudio", "models")},
		{LMStudio, under(home, ".cache", "lm-studio", "models")}, // before version 0.3
	}
	if getenv("OLLAMA_MODELS") == "" {
		all = append(all, Store{Ollama, "/usr/share/ollama/.ollama/models"}) // of the Linux service
	}
	for _, f := range folders {
		all = append(all, Store{Folder, f})
	}
	var there []Store
	seen := map[string]bool{}
	for _, s := range all {
		root, err := filepath.Abs(s.Root)
		if s.Root == "" || err != nil {
			continue
		}
		if real, err := filepath.EvalSymlinks(root); err == nil {
			root = real
		}
		if info, err := os.Stat(root); err == nil && info.IsDir() && !seen[root] {
			seen[root] = true
			there = append(there, Store{s.Kind, root})
		}
	}
	return there
}
