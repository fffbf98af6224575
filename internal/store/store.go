// Package store keeps sessions, runs, their logs of events and comparisons in SQLite or PostgreSQL. It
// decides nothing about them: the rules are in the domain packages, whose interfaces it implements.
package store

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/uptrace/bun"

	"realign/internal/fault"
	"realign/internal/lru"
	"realign/internal/sweep"
)

// Config says where the data is.
type Config struct {
	// Data is the folder of the SQLite database; it is made when missing.
	Data string

	// DSN is postgres://… for PostgreSQL, sqlite:PATH for a file elsewhere, or empty for Data/realign.db.
	DSN string

	// Exclusive refuses to open a SQLite database that another program has opened so. A server must: it
	// ends runs that it believes were cut off.
	Exclusive bool
}

// Store is an open database. Its methods may be called by any goroutine. Their errors are of the kinds of
// package fault: NotFound for what does not exist or belongs to somebody else, Conflict, and Unavailable when
// the database cannot be reached or written.
type Store struct {
	write  *bun.DB    // one connection for SQLite
	read   *bun.DB    // many; the same as write for PostgreSQL
	lock   io.Closer  // held while the database is open; nil unless it is Exclusive and SQLite
	append statements // of events: see Append
	sqlite bool       // rather than PostgreSQL

	// setups of sweeps that were read lately: they never change, and one with thousands of prompts takes longer to parse than
	// the page that shows some of it takes to make. Who gets one must not change it.
	setups lru.Cache[sweep.Setup]
}

// mostSetups is how many setups of sweeps are kept in memory.
const mostSetups = 8

// statements are prepared on the writing connection.
type statements struct {
	advance, insert, change *sql.Stmt // of the last event's number, of a chunk, and of a run's status
}

// Open opens the database and brings its tables up to date. It is Invalid when the folder cannot be
// written or the DSN makes no sense, and Unavailable when the database does not answer.
func Open(ctx context.Context, config Config) (*Store, error) {
	var s *Store
	var err error
	switch {
	case postgresDSN(config.DSN):
		s, err = openPostgres(config.DSN)
	case config.DSN == "", strings.HasPrefix(config.DSN, "sqlite:"):
		s, err = openSQLite(ctx, config)
	default:
		err = fault.Field("db", "is neither postgres://… nor sqlite:PATH")
	}
	if err != nil {
		return nil, err
	}
	if config.Exclusive {
		if err := s.quickCheck(ctx); err != nil {
			_ = s.Close()
			return nil, err
		}
	}
	s.setups.Most = mostSetups
	if err := s.migrate(ctx); err != nil {
		_ = s.Close()
		return nil, wrap(err, "update the tables")
	}
	if err := s.prepare(ctx); err != nil {
		_ = s.Close()
		return nil, wrap(err, "prepare")
	}
	return s, nil
}

// postgresDSN reports whether a DSN is PostgreSQL's.
func postgresDSN(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// Close closes the database. It is safe to call twice.
func (s *Store) Close() error {
	err := s.write.Close()
	if s.read != s.write {
		err = errors.Join(s.read.Close(), err)
	}
	if s.lock != nil {
		if e := s.lock.Close(); !errors.Is(e, os.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// Ping reports whether the database answers and can be read.
func (s *Store) Ping(ctx context.Context) error {
	var n int
	return wrap(s.read.NewRaw("SELECT COUNT(*) FROM (SELECT 1 FROM meta LIMIT 1) AS probe").Scan(ctx, &n), "ping")
}

// tx runs f in one writing transaction.
func (s *Store) tx(ctx context.Context, f func(tx bun.Tx) error) error {
	return s.write.RunInTx(ctx, nil, func(_ context.Context, tx bun.Tx) error { return f(tx) })
}
