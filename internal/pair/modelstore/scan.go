package modelstore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"realign/internal/filecache"
)

// Remembered is what a cache of heads keeps of one file: its head, or why it has none.
type Remembered struct {
	Head
	Fault string `json:"fault,omitempty"` // "" where the head could be read
}

// Heads remembers heads, so that a scan opens only files that are new or changed.
type Heads = filecache.Cache[Remembered]

// Listing is what a scan found.
type Listing struct {
	Stores []Store  `json:"stores"` // those that were looked into
	Models []Model  `json:"models"` // by name
	Broken []Broken `json:"broken"` // by path
}

// Broken is a file or manifest that looks like a model and cannot be used.
type Broken struct {
	Path   string `json:"path"` // absolute
	Reason string `json:"reason"`
}

const (
	maxDepth    = 8       // folders below a store's root that are looked into
	maxManifest = 1 << 20 // bytes of a manifest or a configuration in JSON
)

// Scan lists the models of some stores. What is broken is listed, too, and is no error: the error is the context's. What
// could not be read this time because ctx ended is missing from the list.
func Scan(ctx context.Context, stores []Store, heads *Heads) (Listing, error) {
	l := Listing{Stores: stores, Models: []Model{}, Broken: []Broken{}}
	for _, store := range stores {
		root, err := os.OpenRoot(store.Root)
		if err != nil {
			l.Broken = append(l.Broken, Broken{store.Root, err.Error()})
			continue
		}
		s := &scan{ctx: ctx, store: store, root: root, heads: heads, listing: &l}
		switch store.Kind {
		case Ollama:
			s.ollama()
		case HuggingFace:
			s.huggingFace()
		case LMStudio:
			s.walk(".", s.pathName, func(p string) bool { return strings.Count(p, "/") == 2 })
		default:
			s.walk(".", s.pathName, nil)
		}
		root.Close()
		if err := ctx.Err(); err != nil {
			return l, err
		}
	}
	slices.SortFunc(l.Models, func(a, b Model) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Path, b.Path)) })
	slices.SortFunc(l.Broken, func(a, b Broken) int { return cmp.Compare(a.Path, b.Path) })
	_ = heads.Save() // heads that are not remembered are read again
	return l, nil
}

// scan is the scan of one store. All paths are relative to its root, with slashes.
type scan struct {
	ctx     context.Context
	store   Store
	root    *os.Root // refuses links that leave the store
	heads   *Heads
	listing *Listing // what is found is added to it
}

// abs is a path of the store as an absolute one of this machine.
func (s *scan) abs(p string) string { return filepath.Join(s.store.Root, filepath.FromSlash(p)) }

// pathName names a model by where it is.
func (s *scan) pathName(p string) string { return s.abs(p) }

// broken lists a path that cannot be used, with the reason.
func (s *scan) broken(p string, reason string, args ...any) {
	s.listing.Broken = append(s.listing.Broken, Broken{s.abs(p), fmt.Sprintf(reason, args...)})
}

// part recognises the files of a split model: NAME-00001-of-00003.gguf.
var part = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.gguf$`)

// FirstPart is the name of a GGUF file, or of the first part where it is one of several; false for other files.
func FirstPart(file string) (string, bool) {
	if m := part.FindStringSubmatch(file); m != nil {
		return m[1] + "-00001-of-" + m[3] + ".gguf", true
	}
	return file, strings.HasSuffix(file, ".gguf")
}

// walk adds the models below a folder: GGUF files, and folders of safetensors. name says what the model at a path is
// called; wanted may leave files out, nil none.
func (s *scan) walk(from string, name func(p string) string, wanted func(p string) bool) {
	walked := fs.WalkDir(s.root.FS(), from, func(p string, d fs.DirEntry, err error) error {
		if s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		switch {
		case err != nil:
			s.broken(p, "cannot be read: %v", errors.Unwrap(err))
			return nil
		case d.IsDir():
			if strings.Count(p, "/") >= maxDepth || p != "." && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		switch lower := strings.ToLower(d.Name()); {
		case strings.HasSuffix(lower, ".gguf"):
			if wanted == nil || wanted(p) {
				s.file(p, name(p))
			}
		case lower == "config.json" || lower == "adapter_config.json":
			s.folder(path.Dir(p), d.Name(), name(path.Dir(p)))
		}
		return nil
	})
	if walked != nil && s.ctx.Err() == nil {
		s.broken(from, "%v", walked)
	}
}

// file adds a GGUF file. Of a split model the first part is added, with the size of all.
func (s *scan) file(p, name string) {
	parts, size := 0, int64(0)
	if m := part.FindStringSubmatch(path.Base(p)); m != nil {
		if m[2] != "00001" {
			return
		}
		parts, _ = strconv.Atoi(m[3])
		if parts > 1000 {
			s.broken(p, "claims to be one of %d parts", parts)
			return
		}
		for i := 2; i <= parts; i++ {
			other := path.Join(path.Dir(p), fmt.Sprintf("%s-%05d-of-%05d.gguf", m[1], i, parts))
			info, err := s.root.Stat(other)
			if err != nil {
				s.broken(p, "part %d of %d is missing", i, parts)
				return
			}
			size += info.Size()
		}
	}
	head, info, err := s.head(p)
	switch {
	case err != nil:
		s.broken(p, "%v", err)
	case head.Architecture == "clip": // a vision projector, which belongs to a model
	default:
		s.listing.Models = append(s.listing.Models, Model{
			Name: name, Store: s.store.Kind, Format: GGUF, Path: s.abs(p), Parts: parts, Size: info.Size() + size, Head: head,
		})
	}
}

// folder adds a folder of safetensors that has the given configuration: of a model, or of a PEFT adapter.
func (s *scan) folder(dir, config, name string) {
	entries, err := fs.ReadDir(s.root.FS(), dir)
	if err != nil {
		s.broken(dir, "cannot be read: %v", err)
		return
	}
	size, weights := int64(0), false
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".safetensors") || strings.HasPrefix(e.Name(), "adapter_") != (config == "adapter_config.json") {
			continue
		}
		if info, err := s.root.Stat(path.Join(dir, e.Name())); err == nil {
			weights, size = true, size+info.Size()
		}
	}
	if !weights {
		return // somebody's configuration of something else
	}
	var c struct {
		Architectures []string `json:"architectures"`
		Context       int64    `json:"max_position_embeddings"`
		BaseModel     string   `json:"base_model_name_or_path"`
	}
	if err := s.json(path.Join(dir, config), &c); err != nil {
		s.broken(path.Join(dir, config), "%v", err)
		return
	}
	m := Model{Name: name, Store: s.store.Kind, Format: Safetensors, Path: s.abs(dir), Size: size}
	m.Context, m.BaseModel = c.Context, c.BaseModel
	if len(c.Architectures) > 0 {
		m.Architecture = c.Architectures[0]
	}
	if config == "adapter_config.json" {
		m.Format, m.Adapter = PEFT, true
	} else {
		m.Tokenizer = s.folderTokenizer(dir)
	}
	s.listing.Models = append(s.listing.Models, m)
}

// open opens a file of the store. What is no file is not opened: a pipe would keep whoever opens it waiting.
func (s *scan) open(p string) (*os.File, fs.FileInfo, error) {
	info, err := s.root.Stat(p)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errors.New("not a regular file")
	}
	f, err := s.root.Open(p)
	return f, info, err
}

// json reads a small JSON file of the store.
func (s *scan) json(p string, v any) error {
	f, _, err := s.open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return err
	}
	if len(data) > maxManifest {
		return fmt.Errorf("is larger than %d bytes", maxManifest)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("is not the JSON that it should be: %v", err)
	}
	return nil
}
