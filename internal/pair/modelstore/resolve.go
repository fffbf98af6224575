package modelstore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"realign/internal/fault"
)

// Prefixes of names that are not paths.
const (
	ollamaPrefix      = "ollama:"
	huggingFacePrefix = "hf:"
)

// Repository is the form of ORG/NAME on the hub.
var Repository = regexp.MustCompile(`^[\w.-]+/[\w.-]+$`)

// IsName reports whether where names a model in a store, rather than a path.
func IsName(where string) bool {
	return strings.HasPrefix(where, ollamaPrefix) || strings.HasPrefix(where, huggingFacePrefix)
}

// Resolve finds a model by what people call it: a path, ollama:NAME[:TAG], or hf:ORG/REPO[:FILE or QUANT], QUANT being a
// word such as Q4_K_M. A path is not looked at. Errors name the field: Invalid where the name has no such form or fits
// several models, NotFound where no store has it.
func Resolve(ctx context.Context, field, where string, stores []Store, heads *Heads) (Model, error) {
	if !IsName(where) {
		path, err := filepath.Abs(where)
		if err != nil {
			return Model{}, fault.Field(field, "%.200q is no path: %v", where, err)
		}
		return Model{Name: path, Store: Folder, Format: formatOf(path), Path: path}, nil
	}
	var kinds []Store
	for _, s := range stores {
		if strings.HasPrefix(where, ollamaPrefix) == (s.Kind == Ollama) && (s.Kind == Ollama || s.Kind == HuggingFace || s.Kind == LlamaCPP) {
			kinds = append(kinds, s)
		}
	}
	wanted, err := parseName(field, where)
	if err != nil {
		return Model{}, err
	}
	l, err := Scan(ctx, kinds, heads)
	if err != nil {
		return Model{}, err
	}
	var found []Model
	for _, m := range l.Models {
		if wanted.is(m) {
			found = append(found, m)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		if i := slices.IndexFunc(found, func(m Model) bool { return strings.EqualFold(m.Name, where) }); i >= 0 {
			return found[i], nil // a folder of safetensors beside GGUF files
		}
		names := make([]string, len(found))
		for i, m := range found {
			names[i] = m.Name
		}
		return Model{}, fault.Field(field, "%.200q may be any of %s: name one", where, strings.Join(names, ", "))
	}
	for _, b := range l.Broken {
		if wanted.within(b.Path) {
			return Model{}, fault.Field(field, "%.200q cannot be used: %s: %s", where, b.Path, b.Reason)
		}
	}
	return Model{}, &fault.Error{Kind: fault.NotFound, Field: field, Message: fmt.Sprintf("%.200q is in no store of this machine", where)}
}

// formatOf tells a folder of safetensors, or of a PEFT adapter, from a file.
func formatOf(path string) Format {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return GGUF
	}
	if _, err := os.Stat(filepath.Join(path, "adapter_config.json")); err == nil {
		return PEFT
	}
	return Safetensors
}

// name is a parsed name of a model in a store.
type name struct {
	ollama     string // the whole name, with its tag
	repository string // hf: ORG/REPO
	rest       string // hf: a file or a quantisation, or "" for any
}

// parseName reads ollama: and hf: names. A name of Ollama's without a tag has the tag latest. The error is Invalid
// with the field.
func parseName(field, where string) (name, error) {
	if n, ok := strings.CutPrefix(where, ollamaPrefix); ok {
		if n == "" {
			return name{}, fault.Field(field, "%q names no model: write ollama:NAME or ollama:NAME:TAG", where)
		}
		base, adapter, _ := strings.Cut(n, "#")
		if i := strings.LastIndexByte(base, ':'); i < 0 || strings.Contains(base[i:], "/") {
			base += ":latest"
		}
		if adapter != "" {
			base += "#" + adapter
		}
		return name{ollama: ollamaPrefix + base}, nil
	}
	repo, rest, _ := strings.Cut(strings.TrimPrefix(where, huggingFacePrefix), ":")
	if !Repository.MatchString(repo) {
		return name{}, fault.Field(field, "%.200q names no repository: write hf:ORG/REPO, hf:ORG/REPO:FILE or hf:ORG/REPO:QUANT", where)
	}
	return name{repository: repo, rest: rest}, nil
}

// is reports whether a model is the one that is named.
func (n name) is(m Model) bool {
	if n.ollama != "" {
		return strings.EqualFold(m.Name, n.ollama)
	}
	var file string
	switch m.Store {
	case HuggingFace:
		var repo string
		if repo, file, _ = strings.Cut(strings.TrimPrefix(m.Name, huggingFacePrefix), ":"); !strings.EqualFold(repo, n.repository) {
			return false
		}
	case LlamaCPP: // ORG_REPO_FILE
		var ok bool
		if file, ok = strings.CutPrefix(filepath.Base(m.Path), strings.Replace(n.repository, "/", "_", 1)+"_"); !ok {
			return false
		}
	}
	return n.rest == "" || file == n.rest || strings.EqualFold(Quantisation(file), n.rest)
}

// within reports whether a path of a store belongs to what is named.
func (n name) within(path string) bool {
	path = filepath.ToSlash(path)
	if n.ollama != "" {
		parts := strings.FieldsFunc(strings.TrimPrefix(n.ollama, ollamaPrefix), func(r rune) bool { return r == ':' || r == '#' })
		return strings.HasSuffix(path, "/"+strings.Join(parts, "/"))
	}
	return strings.Contains(path, "models--"+strings.Replace(n.repository, "/", "--", 1)+"/")
}
