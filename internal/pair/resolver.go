package pair

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"realign/internal/fault"
	"realign/internal/run"
)

// Resolver says which models a pair has, by name, file and β, to what decodes with it: runs, studies and sweeps.
// Errors about names are
// Invalid with the field; a pair whose reference is not installed is Unavailable.
type Resolver struct {
	Library *Library
	Sums    *Sums // of the files
}

// Models resolves aligned models' names, none being the pair's default, and identifies the files by their sums, as
// they are on disk now:
// the reference first, then files of aligned models, contrasts by what they say, and the chat template where the manifest has one.
func (r Resolver) Models(ctx context.Context, name string, aligned []string) ([]string, []run.File, error) {
	p, err := r.Library.Find(name)
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
	wanted, prompts := files[:1:1], []run.File(nil)
	for i, name := range aligned {
		if slices.Contains(aligned[:i], name) {
			return nil, nil, fault.Field("aligned", "%.80q is named twice", name)
		}
		a, err := p.Find(name)
		if err != nil || name == "" {
			return nil, nil, fault.Field("aligned", "pair %s has no aligned model %.80q", p.Name, name)
		}
		if a.Contrast != nil { // of the reference's file; what it says identifies it
			prompts = append(prompts, run.File{Role: a.Name, Name: a.Kind(), SHA256: a.Digest()})
		}
		for _, f := range files[1:] {
			if of := p.Of(f); of != nil && of.Name == name {
				wanted = append(wanted, f)
			}
		}
	}
	var out []run.File
	for _, f := range wanted {
		sum, err := r.Sums.Model(ctx, f.Path)
		if err != nil {
			return nil, nil, fault.Wrap(err, fault.Unavailable, "the file of %s cannot be read", f.Role)
		}
		out = append(out, run.File{Role: f.Role, Name: filepath.Base(f.Path), SHA256: sum})
	}
	name, sum, err := p.TemplateDigest()
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Unavailable, "the pair's chat template cannot be read")
	}
	if out = append(out, prompts...); sum != "" {
		out = append(out, run.File{Role: RoleTemplate, Name: filepath.Base(name), SHA256: sum})
	}
	return aligned, out, nil
}

// Trained finds an aligned model and the β it was trained with.
func (r Resolver) Trained(name, aligned string) (string, float64, error) {
	p, err := r.Library.Find(name)
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

// CheckMix returns an Invalid error unless λ can be mixed so in an aligned model of a pair.
func (r Resolver) CheckMix(name, aligned, mix string) error {
	p, err := r.Library.Find(name)
	if err != nil {
		return fault.Field("pair", "%v", err)
	}
	return p.CheckMix(aligned, mix)
}

// FileSums are the sums of what identifies a pair with all of its aligned models, in hexadecimal, by role.
func (r Resolver) FileSums(ctx context.Context, name string) (map[string]string, error) {
	p, err := r.Library.Find(name)
	if err != nil {
		return nil, err
	}
	_, files, err := r.Models(ctx, name, p.Names())
	sums := map[string]string{}
	for _, f := range files {
		sums[f.Role] = f.SHA256
	}
	return sums, err
}
