package pair

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"realign/internal/fault"
	"realign/internal/gguf"
)

// Library finds pairs in a list of folders. Each folder holds one folder per pair, with its manifest.
// Where two have the same name, the earlier folder's wins. It reads the disk every time, so a pair
// added while a server runs is seen. It has no other state: several goroutines may use it at once.
type Library struct {
	folders []string // the first wins; any may be missing
}

// NewLibrary searches the folders in order; one that does not exist is empty.
func NewLibrary(folders ...string) *Library {
	return &Library{folders: folders}
}

// List is every pair, by name. The error tells of manifests that could not be read; the pairs
// returned with it are good.
func (l *Library) List() ([]*Pair, error) {
	var (
		pairs  []*Pair
		faults []error
		seen   = map[string]bool{}
	)
	for _, folder := range l.folders {
		entries, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			faults = append(faults, err)
		}
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), ".") {
				continue
			}
			dir := filepath.Join(folder, entry.Name())
			p, err := Load(dir)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotDir) {
				continue
			}
			if err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", filepath.Join(dir, ManifestName), err))
				continue
			}
			if !seen[p.Name] {
				seen[p.Name] = true
				pairs = append(pairs, p)
			}
		}
	}
	sort.Slice(pairs, func(i, j int) bool { return pairs[i].Name < pairs[j].Name })
	return pairs, errors.Join(faults...)
}

// Find is the pair of that name, or a NotFound error that lists those there are.
func (l *Library) Find(name string) (*Pair, error) {
	pairs, broken := l.List()
	names := make([]string, len(pairs))
	for i, p := range pairs {
		if p.Name == name {
			return p, nil
		}
		names[i] = p.Name
	}
	there := strings.Join(names, ", ")
	if there == "" {
		there = "none"
	}
	if broken != nil {
		return nil, fault.Wrap(broken, fault.NotFound, "no pair is called %.80q (there are: %s), and a manifest is broken", name, there)
	}
	return nil, fault.New(fault.NotFound, "no pair is called %.80q (there are: %s)", name, there)
}

// Register writes the manifest of a new pair into a folder of the library: all of it or nothing. With
// copyFiles, the model files are copied beside it. The error is Conflict when the library has a pair
// of that name.
func (l *Library) Register(folder string, p *Pair, copyFiles bool) error {
	if err := p.check(); err != nil {
		return err
	}
	for _, f := range p.Files() {
		if info, err := os.Stat(f.Path); err != nil {
			return fault.Wrap(err, fault.Invalid, "the file of %s cannot be read", f.Role)
		} else if !info.Mode().IsRegular() {
			return fault.Field(f.Role, "%s is not a file", f.Path)
		}
	}
	pairs, _ := l.List() // a broken manifest is reported by List's other callers
	for _, there := range pairs {
		if there.Name == p.Name {
			return fault.New(fault.Conflict, "there is a pair called %s already", p.Name)
		}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	// The folder is filled under another name: a pair that can be found is whole.
	temp, err := os.MkdirTemp(folder, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	made := *p
	made.Aligned = append([]Aligned(nil), p.Aligned...)
	if copyFiles {
		if err := made.copyInto(temp); err != nil {
			return err
		}
	}
	data, err := made.Manifest()
	if err != nil {
		return err
	}
	if err := write(filepath.Join(temp, ManifestName), strings.NewReader(string(data))); err != nil {
		return err
	}
	err = os.Rename(temp, filepath.Join(folder, p.Name))
	if errors.Is(err, fs.ErrExist) || errors.Is(err, errNotEmpty) {
		return fault.New(fault.Conflict, "there is a folder %s already", filepath.Join(folder, p.Name))
	}
	return err
}

// copyInto copies the pair's files into dir, named after their roles, and makes the pair refer to the copies.
func (p *Pair) copyInto(dir string) error {
	for i, f := range p.Files() {
		parts := gguf.Parts(f.Path)
		role := strings.ReplaceAll(f.Role, "/", "-")
		names := []string{role + filepath.Ext(f.Path)}
		if len(parts) > 1 {
			names = gguf.PartNames(role, len(parts))
		}
		for j, part := range parts {
			if err := copyFile(part, filepath.Join(dir, names[j])); err != nil {
				return fmt.Errorf("copy %s: %w", part, err)
			}
		}
		base := names[0]
		switch {
		case i == 0:
			p.Reference.File = base
		case f.Adapter:
			p.Of(f).Adapter = base
		case f.Untuned():
			p.Of(f).Untuned = base
		default:
			p.Of(f).File = base
		}
	}
	return nil
}

// copyFile copies a file to a place where there is none.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return write(to, in)
}

// write makes a new file and waits until it is on disk. A file that is there is an error.
func write(path string, from io.Reader) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, from)
	return errors.Join(err, out.Sync(), out.Close())
}
