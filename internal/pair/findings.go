package pair

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"realign/internal/fault"
	"realign/internal/filecache"
	"realign/internal/gguf"
)

// Found is a finding about one model of a pair, or, with RoleTemplate, about its chat template.
type Found struct {
	Role string `json:"role"` // as in File, or RoleTemplate
	gguf.Finding
}

// Faulty reports whether the models cannot be mixed because of it.
func (f Found) Faulty() bool { return f.Level == gguf.Fault }

// Finder finds what people should know of pairs: what the heads of their files say, and what comes of the texts that their
// vocabularies, which it has loaded for that, are probed with. nil reads heads only.
type Finder struct {
	// CheckVocabularies loads the vocabularies of a pair, without weights, and tells what it found by role: the name of an
	// aligned model, or RoleTemplate.
	CheckVocabularies func(ctx context.Context, p *Pair) (map[string][]gguf.Finding, error)

	// Known are the findings of vocabularies that were checked before, by manifest.
	Known *filecache.Cache[VocabularyFindings]
}

// VocabularyFindings are what the vocabularies told of files as they were then, by role.
type VocabularyFindings struct {
	Files map[string]stamp          `json:"files"` // by path: the models' files, and the chat template's if it is one
	Found map[string][]gguf.Finding `json:"found"` // by role
}

// stamp tells a file from what it was before. The zero stamp is of a file that is not there.
type stamp struct {
	Size int64     `json:"size"` // bytes
	Time time.Time `json:"time"` // of the last change
}

// Find lists the findings about a pair, in the order of its files. Vocabularies that cannot be loaded are a fault. The error is that of
// ctx, Busy or Unavailable; what the heads say comes with it.
func (f *Finder) Find(ctx context.Context, p *Pair) ([]Found, error) {
	var all []Found
	faulty := false
	byRole := map[string][]gguf.Finding{}
	for _, file := range p.Files() {
		byRole[file.Role] = p.Findings(file)
		for _, found := range byRole[file.Role] {
			faulty = faulty || found.Level == gguf.Fault
		}
	}
	var err error
	if f != nil && !faulty { // what does not fit is not loaded
		var told map[string][]gguf.Finding
		if told, err = f.vocabularies(ctx, p); fault.KindOf(err) == fault.Invalid {
			told, err = map[string][]gguf.Finding{RoleReference: {{Level: gguf.Fault, Text: "the vocabularies cannot be loaded: " + fault.WithoutPaths(err.Error())}}}, nil
		}
		for role, found := range told {
			byRole[role] = append(byRole[role], found...)
		}
	}
	for _, role := range append(roles(p), RoleTemplate) {
		for _, found := range byRole[role] {
			all = append(all, Found{role, found})
		}
	}
	return all, err
}

// roles are those of a pair's files, in their order.
func roles(p *Pair) (list []string) {
	for _, file := range p.Files() {
		list = append(list, file.Role)
	}
	return list
}

// vocabularies is what the vocabularies tell, made now unless it is known.
func (f *Finder) vocabularies(ctx context.Context, p *Pair) (map[string][]gguf.Finding, error) {
	if f.CheckVocabularies == nil {
		return nil, nil
	}
	files := map[string]stamp{}
	for _, file := range p.Files() {
		files[file.Path] = stampOf(file.Path)
	}
	if p.Template != "" && !templateName.MatchString(p.Template) {
		files[p.path(p.Template)] = stampOf(p.path(p.Template))
	}
	manifest, err := filepath.Abs(filepath.Join(p.Dir, ManifestName))
	info, missing := os.Stat(manifest)
	kept := err == nil && missing == nil && p.Dir != "" && f.Known != nil
	if kept {
		if known, ok := f.Known.Get(manifest, info); ok && same(known.Files, files) {
			return known.Found, nil
		}
	}
	found, err := f.CheckVocabularies(ctx, p)
	if err != nil {
		return nil, err
	}
	if kept {
		f.Known.Put(manifest, info, VocabularyFindings{files, found})
		_ = f.Known.Save() // what is not kept is found again
	}
	return found, nil
}

// stampOf is the stamp of a file as it is now; of one that cannot be read it is the zero stamp.
func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime()}
}

// same reports whether the same files have the same stamps.
func same(a, b map[string]stamp) bool {
	if len(a) != len(b) {
		return false
	}
	for path, s := range a {
		if t, ok := b[path]; !ok || s.Size != t.Size || !s.Time.Equal(t.Time) {
			return false
		}
	}
	return true
}
