package store

import (
	"context"
	"errors"

	"realign/internal/share"
)

// Before takes the tables back to how a step of the migrations left them and keeps a comparison there, of which
// only what the tables had from the beginning is kept.
func (s *Store) Before(ctx context.Context, version int64, c share.Link, tokenHash, snapshot string) error {
	steps, err := s.steps()
	if err != nil {
		return err
	}
	if _, err := steps.DownTo(ctx, version); err != nil {
		return err
	}
	_, err = s.write.NewRaw("INSERT INTO comparisons (id, owner, run_id, token_hash, title, digest, snapshot, created_at)"+
		" VALUES (?, ?, ?, ?, ?, ?, ?, ?)", c.ID, c.Owner, c.Subject, tokenHash, c.Title, c.Digest, snapshot, c.CreatedAt.UnixMicro()).Exec(ctx)
	return err
}

// LimitPages makes the SQLite file as good as full: it may have n pages more than it has; negative is no
// limit.
func (s *Store) LimitPages(ctx context.Context, n int) error {
	limit := 1 << 30
	if n >= 0 {
		var pages int
		if err := s.write.DB.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages); err != nil {
			return err
		}
		limit = pages + n
	}
	var set int
	return s.write.NewRaw("PRAGMA max_page_count = ?", limit).Scan(ctx, &set)
}

// LimitConnections lets the store have one connection for each of writing and reading: one for both on PostgreSQL. What holds one
// while it waits for another never ends then.
func (s *Store) LimitConnections() {
	s.write.SetMaxOpenConns(1)
	s.read.SetMaxOpenConns(1)
}

// Become makes the tables' version another.
func (s *Store) Become(ctx context.Context, version int64) error {
	_, err := s.write.NewRaw("INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, ?)", version, true).Exec(ctx)
	return err
}

// OpenAt opens a new database with its tables as a step of the migrations leaves them, and runs statements in it.
func OpenAt(ctx context.Context, config Config, version int64, statements ...string) error {
	open := func() (*Store, error) { return openPostgres(config.DSN) }
	if config.DSN == "" {
		open = func() (*Store, error) { return openSQLite(ctx, config) }
	}
	s, err := open()
	if err != nil {
		return err
	}
	defer s.Close()
	steps, err := s.steps()
	if err != nil {
		return err
	}
	if _, err := steps.UpTo(ctx, version); err != nil {
		return err
	}
	for _, statement := range statements {
		if _, err := s.write.DB.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// DownTo takes the tables back to how a step of the migrations left them.
func (s *Store) DownTo(ctx context.Context, version int64) error {
	steps, err := s.steps()
	if err != nil {
		return err
	}
	_, err = steps.DownTo(ctx, version)
	return err
}

// Synchronous is SQLite's level (1 NORMAL, 2 FULL) in a transaction that appends events, and after it.
func (s *Store) Synchronous(ctx context.Context, onDisk bool) (inside, after int, err error) {
	tx, release, err := s.beginAppend(ctx, onDisk)
	if err != nil {
		return 0, 0, err
	}
	err = tx.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&inside)
	if err := errors.Join(err, tx.Commit()); err != nil {
		return 0, 0, err
	}
	release()
	return inside, after, s.write.DB.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&after)
}
