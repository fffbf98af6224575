package pair

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"realign/internal/fault"
	"realign/internal/gguf"
)

// CheckFile returns an Invalid error unless the file is a whole GGUF file that can be decoded together
// with the reference. With sums, its SHA-256 must be the one that the manifest states, if it states one.
func (p *Pair) CheckFile(ctx context.Context, f File, sums *Sums) error {
	head, err := gguf.Open(f.Path)
	if err != nil {
		return err
	}
	if f.Role == RoleReference {
		err = head.CheckModel()
	} else {
		err = p.fits(head, f.Adapter)
	}
	if err != nil || sums == nil || f.SHA256 == "" {
		return err
	}
	got, err := sums.Model(ctx, f.Path)
	if err != nil {
		return err
	}
	if !strings.EqualFold(got, f.SHA256) {
		return fault.Field("sha256", "%s has %s, and the manifest says %s", f.Path, got, f.SHA256)
	}
	return nil
}

// fits checks an aligned model against the reference.
func (p *Pair) fits(aligned *gguf.File, adapter bool) error {
	reference, err := gguf.Open(p.path(p.Reference.File))
	if err != nil {
		return err
	}
	if adapter {
		return gguf.CheckAdapter(reference, aligned)
	}
	if err := aligned.CheckModel(); err != nil {
		return err
	}
	return gguf.Compatible(reference, aligned)
}

// Findings lists in what a file differs from the reference, and what else people should know of it. It is empty for the
// reference. A file that cannot be read, or does not fit at all, is one finding, a fault.
func (p *Pair) Findings(f File) []gguf.Finding {
	// Whoever sees the page of a pair is not told where files are on the server.
	hide := strings.NewReplacer(f.Path, filepath.Base(f.Path), p.path(p.Reference.File), filepath.Base(p.Reference.File))
	fault := func(err error) []gguf.Finding {
		return []gguf.Finding{{Level: gguf.Fault, Text: hide.Replace(err.Error())}}
	}
	head, err := gguf.Open(f.Path)
	if err != nil {
		return fault(err)
	}
	if f.Role == RoleReference {
		if err := head.CheckModel(); err != nil {
			return fault(err)
		}
		return nil
	}
	reference, err := gguf.Open(p.path(p.Reference.File))
	if err != nil {
		return fault(err)
	}
	if f.Adapter {
		if err := gguf.CheckAdapter(reference, head); err != nil {
			return fault(err)
		}
		findings := gguf.CompareAdapter(reference, head)
		if f.Scale != 0 {
			findings = append(findings, gguf.Finding{Level: gguf.Note, Text: fmt.Sprintf("scale %g multiplies that strength", f.Scale)})
		}
		return findings
	}
	if err := head.CheckModel(); err != nil {
		return fault(err)
	}
	return gguf.Compare(reference, head)
}
