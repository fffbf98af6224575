package pair

import (
	"context"
	"strings"

	"realign/internal/decode/gguf"
	"realign/internal/fault"
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
	got, err := sums.SHA256(ctx, f.Path)
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
