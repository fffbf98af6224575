package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"realign/internal/apikey"
	"realign/internal/fault"
)

// keyRow is an API key. Of its secret the hash is kept. Times are microseconds since 1970; nil is never. A limit of
// 0 is none.
type keyRow struct {
	bun.BaseModel `bun:"table:api_keys,alias:k"`

	ID        string `bun:"id,pk"`
	Hash      string `bun:"hash"`
	Name      string `bun:"name"`
	Owner     string `bun:"owner"`
	CreatedAt int64  `bun:"created_at"`
	ExpiresAt *int64 `bun:"expires_at"`
	RevokedAt *int64 `bun:"revoked_at"`
	UsedAt    *int64 `bun:"used_at"`
	Requests  int    `bun:"requests"` // a minute
	Tokens    int    `bun:"tokens"`   // a minute
	Lanes     int    `bun:"lanes"`    // at the same time
}

// key is the row as the domain has it.
func (r *keyRow) key() apikey.Key {
	return apikey.Key{
		ID: r.ID, Name: r.Name, Owner: r.Owner, CreatedAt: fromMicros(&r.CreatedAt), ExpiresAt: fromMicros(r.ExpiresAt),
		RevokedAt: fromMicros(r.RevokedAt), UsedAt: fromMicros(r.UsedAt),
		Limits: apikey.Limits{Requests: r.Requests, Tokens: r.Tokens, Lanes: r.Lanes},
	}
}

// CreateKey keeps a key under its secret's hash. A name that is in use is Conflict.
func (s *Store) CreateKey(ctx context.Context, k apikey.Key, hash string) error {
	_, err := s.write.NewInsert().Model(&keyRow{
		ID: k.ID, Hash: hash, Name: k.Name, Owner: k.Owner, CreatedAt: k.CreatedAt.UnixMicro(), ExpiresAt: micros(k.ExpiresAt),
		Requests: k.Requests, Tokens: k.Tokens, Lanes: k.Lanes,
	}).Exec(ctx)
	if err = wrap(err, "keep key %s", k.Name); fault.KindOf(err) == fault.Conflict {
		return fault.New(fault.Conflict, "there is a key called %s already: revoke it, or take another name", k.Name)
	}
	return err
}

// KeyByHash finds a key whatever its state; the caller asks Check.
func (s *Store) KeyByHash(ctx context.Context, hash string) (apikey.Key, error) {
	var row keyRow
	if err := s.read.NewSelect().Model(&row).Where("k.hash = ?", hash).Scan(ctx); err != nil {
		return apikey.Key{}, wrap(notFound(err, "key"), "read a key")
	}
	return row.key(), nil
}

// Keys lists all keys, newest first.
func (s *Store) Keys(ctx context.Context) ([]apikey.Key, error) {
	return s.keys(ctx, func(q *bun.SelectQuery) *bun.SelectQuery { return q })
}

// KeysOf lists one owner's keys, newest first.
func (s *Store) KeysOf(ctx context.Context, owner string) ([]apikey.Key, error) {
	return s.keys(ctx, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("k.owner = ?", owner) })
}

// keys are the keys that a condition leaves, newest first.
func (s *Store) keys(ctx context.Context, which func(*bun.SelectQuery) *bun.SelectQuery) ([]apikey.Key, error) {
	var rows []keyRow
	if err := s.read.NewSelect().Model(&rows).Apply(which).OrderExpr("k.created_at DESC, k.id").Scan(ctx); err != nil {
		return nil, wrap(err, "list the keys")
	}
	keys := make([]apikey.Key, len(rows))
	for i := range rows {
		keys[i] = rows[i].key()
	}
	return keys, nil
}

// RevokeKey ends a key, by its name.
func (s *Store) RevokeKey(ctx context.Context, name string, now time.Time) error {
	result, err := s.write.NewUpdate().Model((*keyRow)(nil)).Set("revoked_at = ?", now.UnixMicro()).Where("name = ? AND revoked_at IS NULL", name).Exec(ctx)
	if err != nil {
		return wrap(err, "revoke key %s", name)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return fault.New(fault.NotFound, "there is no key called %.80q that could be revoked", name)
	}
	return nil
}

// RevokeKeyOf ends a key of an owner's, by its id.
func (s *Store) RevokeKeyOf(ctx context.Context, owner, id string, now time.Time) error {
	result, err := s.write.NewUpdate().Model((*keyRow)(nil)).Set("revoked_at = ?", now.UnixMicro()).Where("id = ? AND owner = ? AND revoked_at IS NULL", id, owner).Exec(ctx)
	if err != nil {
		return wrap(err, "revoke key %s", id)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return fault.New(fault.NotFound, "you have no such key that could be revoked")
	}
	return nil
}

// UseKey notes that a key was used.
func (s *Store) UseKey(ctx context.Context, id string, now time.Time) error {
	_, err := s.write.NewUpdate().Model((*keyRow)(nil)).Set("used_at = ?", now.UnixMicro()).Where("id = ?", id).Exec(ctx)
	return wrap(err, "note that key %s was used", id)
}
