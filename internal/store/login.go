package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// loginRow is a login of the pages. The id is a keyed hash: whoever reads the table cannot log in with it.
type loginRow struct {
	bun.BaseModel `bun:"table:logins,alias:g"`

	ID        string `bun:"id,pk"`
	ExpiresAt int64  `bun:"expires_at"` // microseconds since 1970
}

// AddLogin keeps a login until a moment, and forgets those whose moment is before now.
func (s *Store) AddLogin(ctx context.Context, id string, now, expires time.Time) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		if _, err := tx.NewDelete().Model((*loginRow)(nil)).Where("expires_at <= ?", now.UnixMicro()).Exec(ctx); err != nil {
			return err
		}
		_, err := tx.NewInsert().Model(&loginRow{ID: id, ExpiresAt: expires.UnixMicro()}).Exec(ctx)
		return err
	})
	return wrap(err, "keep a login")
}

// HasLogin reports whether a login is kept whose moment is after now.
func (s *Store) HasLogin(ctx context.Context, id string, now time.Time) (bool, error) {
	has, err := s.read.NewSelect().Model((*loginRow)(nil)).Where("g.id = ? AND g.expires_at > ?", id, now.UnixMicro()).Exists(ctx)
	return has, wrap(err, "look for a login")
}

// RemoveLogin forgets a login; one that is not kept is no error.
func (s *Store) RemoveLogin(ctx context.Context, id string) error {
	_, err := s.write.NewDelete().Model((*loginRow)(nil)).Where("id = ?", id).Exec(ctx)
	return wrap(err, "remove a login")
}
