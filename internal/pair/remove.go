package pair

import (
	"os"
	"path/filepath"

	"realign/internal/fault"
)

// In reports whether a pair's manifest is in a folder of that name in the given folder, as Register puts it there.
func (p *Pair) In(folder string) bool {
	at, err := filepath.Abs(filepath.Join(folder, p.Name))
	if err != nil {
		return false
	}
	dir, err := filepath.Abs(p.Dir)
	return err == nil && dir == at
}

// Remove takes a pair out of a folder that it was registered in, with what was copied there. Files that the manifest only refers to
// stay where they are. A pair of another folder is a Conflict.
func (l *Library) Remove(folder, name string) error {
	p, err := l.Find(name)
	if err != nil {
		return err
	}
	if !p.In(folder) {
		return fault.New(fault.Conflict, "pair %s came with the program: it was not added here, and cannot be removed", p.Name)
	}
	return os.RemoveAll(p.Dir)
}

// SetSum states the SHA-256 of one of the pair's files, in hexadecimal.
// f is one of Files.
func (p *Pair) SetSum(f File, sum string) {
	switch a := p.Of(f); {
	case a == nil:
		p.Reference.SHA256 = sum
	case f.Untuned():
		a.UntunedSHA256 = sum
	default:
		a.SHA256 = sum
	}
}
