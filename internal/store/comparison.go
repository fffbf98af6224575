package store

import (
	"context"

	"github.com/uptrace/bun"

	"realign/internal/session"
)

type comparisonRow struct {
	bun.BaseModel `bun:"table:comparisons,alias:c"`

	ID        string `bun:"id,pk"`
	Owner     string `bun:"owner"`
	RunID     string `bun:"run_id"`
	TokenHash string `bun:"token_hash"`
	Title     string `bun:"title"`
	Prompt    string `bun:"prompt"`
	Digest    string `bun:"digest"`
	Snapshot  string `bun:"snapshot"`
	CreatedAt int64  `bun:"created_at"`
	ExpiresAt *int64 `bun:"expires_at"`
	RevokedAt *int64 `bun:"revoked_at"`
	SessionID string `bun:"session_id,scanonly"`
}

func (r *comparisonRow) comparison() session.Comparison {
	return session.Comparison{
		ID: r.ID, Owner: r.Owner, Run: r.RunID, Title: r.Title, Prompt: r.Prompt, Digest: r.Digest,
		CreatedAt: fromMicros(&r.CreatedAt), ExpiresAt: fromMicros(r.ExpiresAt), RevokedAt: fromMicros(r.RevokedAt),
	}
}

// CreateComparison keeps a comparison under the hash of its token.
func (s *Store) CreateComparison(ctx context.Context, c session.Comparison, tokenHash string, snapshot []byte) error {
	_, err := s.write.NewInsert().Model(&comparisonRow{
		ID: c.ID, Owner: c.Owner, RunID: c.Run, TokenHash: tokenHash, Title: c.Title, Prompt: c.Prompt, Digest: c.Digest, Snapshot: string(snapshot),
		CreatedAt: c.CreatedAt.UnixMicro(), ExpiresAt: micros(c.ExpiresAt), RevokedAt: micros(c.RevokedAt),
	}).Exec(ctx)
	return wrap(err, "keep comparison %s", c.ID)
}

// ComparisonByToken finds a comparison, of any owner and in any state.
func (s *Store) ComparisonByToken(ctx context.Context, tokenHash string) (session.Comparison, []byte, error) {
	return s.comparison(ctx, s.read.NewSelect().Model((*comparisonRow)(nil)).Where("c.token_hash = ?", tokenHash))
}

// Comparison is one of an owner's comparisons, in any state.
func (s *Store) Comparison(ctx context.Context, owner, id string) (session.Comparison, []byte, error) {
	return s.comparison(ctx, s.read.NewSelect().Model((*comparisonRow)(nil)).Where("c.owner = ? AND c.id = ?", owner, id))
}

func (s *Store) comparison(ctx context.Context, q *bun.SelectQuery) (session.Comparison, []byte, error) {
	var row comparisonRow
	if err := q.Scan(ctx, &row); err != nil {
		return session.Comparison{}, nil, wrap(notFound(err, "comparison"), "read a comparison")
	}
	return row.comparison(), []byte(row.Snapshot), nil
}

// Comparisons lists an owner's, newest first.
func (s *Store) Comparisons(ctx context.Context, owner string) ([]session.Link, error) {
	var rows []comparisonRow
	err := s.read.NewSelect().Model(&rows).ExcludeColumn("snapshot").ColumnExpr("COALESCE(s.id, '') AS session_id").
		Join("LEFT JOIN runs AS r ON r.id = c.run_id AND r.owner = c.owner").
		Join("LEFT JOIN sessions AS s ON s.id = r.session_id AND s.deleted_at IS NULL").
		Where("c.owner = ?", owner).OrderExpr("c.created_at DESC, c.id DESC").Scan(ctx)
	if err != nil {
		return nil, wrap(err, "list comparisons")
	}
	list := make([]session.Link, len(rows))
	for i := range rows {
		list[i] = session.Link{Comparison: rows[i].comparison(), Session: rows[i].SessionID}
	}
	return list, nil
}

// UpdateComparison saves a comparison's title, expiry and revocation.
func (s *Store) UpdateComparison(ctx context.Context, c session.Comparison) error {
	result, err := s.write.NewUpdate().Model((*comparisonRow)(nil)).Set("title = ?", c.Title).
		Set("expires_at = ?", micros(c.ExpiresAt)).Set("revoked_at = ?", micros(c.RevokedAt)).
		Where("id = ? AND owner = ?", c.ID, c.Owner).Exec(ctx)
	return changed(result, err, "comparison")
}
