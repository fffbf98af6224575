package store

import (
	"context"

	"github.com/uptrace/bun"

	"realign/internal/share"
)

// linkRow is a share.Link with its snapshot. Of its token the hash is kept; times are microseconds since 1970.
type linkRow struct {
	bun.BaseModel `bun:"table:links,alias:l"`

	ID        string `bun:"id,pk"`
	Owner     string `bun:"owner"`
	Kind      string `bun:"kind"`
	Subject   string `bun:"subject"`
	TokenHash string `bun:"token_hash"`
	Title     string `bun:"title"`
	Prompt    string `bun:"prompt"`
	Digest    string `bun:"digest"`
	Snapshot  string `bun:"snapshot"` // as it is shown: bytes whose digest is Digest
	CreatedAt int64  `bun:"created_at"`
	ExpiresAt *int64 `bun:"expires_at"`
	RevokedAt *int64 `bun:"revoked_at"`
	Verified  *int64 `bun:"verified_at"`
	SessionID string `bun:"session_id,scanonly"` // of the run that is linked; read by Links only
}

// link is the row as the domain has it, without the snapshot.
func (r *linkRow) link() share.Link {
	return share.Link{
		ID: r.ID, Owner: r.Owner, Kind: share.LinkKind(r.Kind), Subject: r.Subject, Title: r.Title, Prompt: r.Prompt, Digest: r.Digest,
		CreatedAt: fromMicros(&r.CreatedAt), ExpiresAt: fromMicros(r.ExpiresAt), RevokedAt: fromMicros(r.RevokedAt),
		VerifiedAt: fromMicros(r.Verified),
	}
}

// CreateLink keeps a link under the hash of its token.
func (s *Store) CreateLink(ctx context.Context, l share.Link, tokenHash string, snapshot []byte) error {
	_, err := s.write.NewInsert().Model(&linkRow{
		ID: l.ID, Owner: l.Owner, Kind: string(l.Kind), Subject: l.Subject, TokenHash: tokenHash, Title: l.Title, Prompt: l.Prompt, Digest: l.Digest, Snapshot: string(snapshot),
		CreatedAt: l.CreatedAt.UnixMicro(), ExpiresAt: micros(l.ExpiresAt), RevokedAt: micros(l.RevokedAt),
	}).Exec(ctx)
	return wrap(err, "keep link %s", l.ID)
}

// LinkByToken finds a link, of any owner and in any state.
func (s *Store) LinkByToken(ctx context.Context, tokenHash string) (share.Link, []byte, error) {
	return s.link(ctx, s.read.NewSelect().Model((*linkRow)(nil)).Where("l.token_hash = ?", tokenHash))
}

// Link is one of an owner's links, in any state.
func (s *Store) Link(ctx context.Context, owner, id string) (share.Link, []byte, error) {
	return s.link(ctx, s.read.NewSelect().Model((*linkRow)(nil)).Where("l.owner = ? AND l.id = ?", owner, id))
}

// link is the link that a query finds, with its snapshot.
func (s *Store) link(ctx context.Context, q *bun.SelectQuery) (share.Link, []byte, error) {
	var row linkRow
	if err := q.Scan(ctx, &row); err != nil {
		return share.Link{}, nil, wrap(notFound(err, "link"), "read a link")
	}
	return row.link(), []byte(row.Snapshot), nil
}

// Links lists an owner's, newest first.
func (s *Store) Links(ctx context.Context, owner string) ([]share.Listed, error) {
	var rows []linkRow
	err := s.read.NewSelect().Model(&rows).ExcludeColumn("snapshot").ColumnExpr("COALESCE(s.id, '') AS session_id").
		Join("LEFT JOIN runs AS r ON r.id = l.subject AND r.owner = l.owner").
		Join("LEFT JOIN sessions AS s ON s.id = r.session_id AND s.deleted_at IS NULL").
		Where("l.owner = ?", owner).OrderExpr("l.created_at DESC, l.id DESC").Scan(ctx)
	if err != nil {
		return nil, wrap(err, "list links")
	}
	list := make([]share.Listed, len(rows))
	for i := range rows {
		list[i] = share.Listed{Link: rows[i].link(), Session: rows[i].SessionID}
	}
	return list, nil
}

// UpdateLink saves a link's title, expiry and revocation, and when it was verified.
func (s *Store) UpdateLink(ctx context.Context, l share.Link) error {
	result, err := s.write.NewUpdate().Model((*linkRow)(nil)).Set("title = ?", l.Title).
		Set("expires_at = ?", micros(l.ExpiresAt)).Set("revoked_at = ?", micros(l.RevokedAt)).
		Set("verified_at = ?", micros(l.VerifiedAt)).
		Where("id = ? AND owner = ?", l.ID, l.Owner).Exec(ctx)
	return changed(result, err, "link")
}
