package study

import (
	"context"
	"slices"

	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/instance"
)

// Several servers may share the store: a study is decoded by the one that it names, and another one takes it over when that one
// has died, or goes on with it after a halt.

// claim makes a study this server's, in the status that it has.
func (d *Service) claim(ctx context.Context, s *Study) error {
	return instance.Claim(d.Server, &s.Instance, func(from, to string) error {
		return d.Store.ClaimStudy(ctx, s.ID, s.Status, from, to)
	})
}

// decodes reports whether a client of the generator is a study.
func decodes(c experiment.Client) bool { _, ok := c.(*experimentClient); return ok }

// Inherit goes on with the studies that a dead server was decoding.
func (d *Service) Inherit(ctx context.Context, dead string) error {
	studies, err := d.Store.StudiesDecoding(ctx, dead)
	if err != nil {
		return err
	}
	for i := range studies {
		s := &studies[i]
		if err := d.claim(ctx, s); fault.KindOf(err) == fault.Conflict {
			continue // another server was faster
		} else if err != nil {
			return err
		}
		d.goOn(ctx, s)
	}
	return nil
}

// Tidy stops the decoding of studies that is not this server's any more, and goes on with those of its own that rest.
func (d *Service) Tidy(ctx context.Context) error {
	active := d.Generator.Active(decodes)
	mine, err := d.Store.StudiesDecoding(ctx, d.Server.Name())
	if err != nil {
		return err
	}
	for _, id := range active {
		if !slices.ContainsFunc(mine, func(s Study) bool { return s.ID == id }) {
			d.Generator.Stop(id)
		}
	}
	for i := range mine {
		if !slices.Contains(active, mine[i].ID) {
			d.goOn(ctx, &mine[i])
		}
	}
	return nil
}

// goOn decodes what a study lacks.
func (d *Service) goOn(ctx context.Context, s *Study) {
	if err := d.generate(ctx, s); err != nil {
		d.Logger.Error("the outputs of a study cannot be decoded", "study", s.ID, "error", err)
	}
}

// Lost stops all decoding here: another server goes on with it.
func (d *Service) Lost() {
	d.Generator.StopAll(decodes)
}
