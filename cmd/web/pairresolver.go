package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"realign/internal/fault"
	"realign/internal/pair"
	"realign/internal/run"
	"realign/internal/sweep/runner"
)

// pairResolver tells sessions and sweeps which models a pair has: a run.Pairs and a runner.Pairs.
type pairResolver struct {
	library *pair.Library
	sums    *pair.Sums
}

var (
	_ run.Pairs    = pairResolver{}
	_ runner.Pairs = pairResolver{}
)

// Models resolves aligned models' names and identifies the files by their sums, as they are on disk now.
func (c pairResolver) Models(ctx context.Context, name string, aligned []string) ([]string, []run.File, error) {
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
	for i, name := range aligned {
		if slices.Contains(aligned[:i], name) {
			return nil, nil, fault.Field("aligned", "%.80q is named twice", name)
		}
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
	var out []run.File
	for _, f := range wanted {
		sum, err := c.sums.SHA256(ctx, f.Path)
		if err != nil {
			return nil, nil, fault.Wrap(err, fault.Unavailable, "the file of %s cannot be read", f.Role)
		}
		out = append(out, run.File{Role: f.Role, Name: filepath.Base(f.Path), SHA256: sum})
	}
	return aligned, out, nil
}

// Trained finds an aligned model and the β it was trained with.
func (c pairResolver) Trained(name, aligned string) (string, float64, error) {
	p, err := c.library.Find(name)
	if err != nil {
		return "", 0, fault.Field("pair", "%v", err)
	}
	if err := p.Installed(); err != nil {
		return "", 0, err
	}
	a, err := p.Find(aligned)
	if err != nil {
		return "", 0, fault.Field("aligned", "%v (there are: %s)", err, strings.Join(p.Names(), ", "))
	}
	return a.Name, a.Beta, nil
}
