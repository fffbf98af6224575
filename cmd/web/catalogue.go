package main

import (
	"context"
	"path/filepath"

	"realign/internal/fault"
	"realign/internal/pair"
	"realign/internal/session"
)

// catalogue tells sessions which models a pair has: a session.Pairs.
type catalogue struct {
	library *pair.Library
	sums    *pair.Sums
}

var _ session.Pairs = catalogue{}

// Models resolves aligned models' names and identifies the files by their sums, as they are on disk now.
func (c catalogue) Models(ctx context.Context, name string, aligned []string) ([]string, []session.File, error) {
	p, err := c.library.Find(name)
	if err != nil {
		return nil, nil, fault.Field("pair", "%v", err)
	}
	if err := p.Installed(); err != nil {
		return nil, nil, err
	}
	if len(aligned) == 0 {
		aligned = p.Names()[:1]
	}
	files := p.Files()
	wanted := files[:1:1]
	for _, name := range aligned {
		found := false
		for _, f := range files[1:] {
			if f.Role == name {
				wanted, found = append(wanted, f), true
			}
		}
		if !found {
			return nil, nil, fault.Field("aligned", "pair %s has no aligned model %.80q", p.Name, name)
		}
	}
	var out []session.File
	for _, f := range wanted {
		sum, err := c.sums.SHA256(ctx, f.Path)
		if err != nil {
			return nil, nil, fault.Wrap(err, fault.Unavailable, "the file of %s cannot be read", f.Role)
		}
		out = append(out, session.File{Role: f.Role, Name: filepath.Base(f.Path), SHA256: sum})
	}
	return aligned, out, nil
}
