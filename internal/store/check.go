package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"

	"realign/internal/fault"
)

// quickTime is how long a start may look for damage. What a large database has behind that is found when it is read, or by
// Examine.
const quickTime = 5 * time.Second

// quickCheck looks whether a SQLite file is damaged, for quickTime at most. PostgreSQL looks after itself.
func (s *Store) quickCheck(ctx context.Context) error {
	if !s.sqlite {
		return nil
	}
	looking, cancel := context.WithTimeout(ctx, quickTime)
	defer cancel()
	problems, err := damage(looking, s.read)
	if err != nil && looking.Err() != nil {
		return ctx.Err() // nil: nothing was found in time
	}
	if err != nil {
		return wrap(err, "check the database")
	}
	return damaged(problems)
}

// damage lists what SQLite finds wrong with the structure of a file.
func damage(ctx context.Context, db *bun.DB) (problems []string, err error) {
	if err := db.NewRaw("PRAGMA quick_check(5)").Scan(ctx, &problems); err != nil {
		return nil, err
	}
	if len(problems) == 1 && problems[0] == "ok" {
		return nil, nil
	}
	return problems, nil
}

// damaged is the error of a database with problems; nil without any.
func damaged(problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	return fault.New(fault.Unavailable, "the database is damaged (%s): restore a backup, or recover what can be read into a new file with sqlite3's .recover", problems[0])
}

// Examination is what Examine found.
type Examination struct {
	Version, Known int64 // of the tables, and the latest that this program knows
	Served         bool  // a server has the database open
}

// Examine looks at a database without changing it, also while a server uses it. The error is NotFound when there is none, or
// says what is wrong with it.
func Examine(ctx context.Context, config Config) (Examination, error) {
	var x Examination
	s, err := examined(ctx, config, &x)
	if err != nil {
		return x, err
	}
	defer s.Close()
	steps, err := s.steps()
	if err != nil {
		return x, err
	}
	for _, source := range steps.ListSources() {
		x.Known = max(x.Known, source.Version)
	}
	if err := s.read.NewRaw("SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(ctx, &x.Version); err != nil {
		return x, wrap(err, "read the version")
	}
	if x.Version > x.Known {
		return x, newer(x.Version, x.Known)
	}
	if !s.sqlite {
		return x, s.Ping(ctx)
	}
	problems, err := damage(ctx, s.read)
	if err != nil {
		return x, wrap(err, "check the database")
	}
	return x, damaged(problems)
}

// examined opens a database to be looked at only.
func examined(ctx context.Context, config Config, x *Examination) (*Store, error) {
	if postgresDSN(config.DSN) {
		return openPostgres(config.DSN)
	}
	path, err := sqlitePath(config)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "there is no %s yet", filepath.Base(path))
	}
	held, err := lockFile(path + ".lock")
	switch {
	case fault.KindOf(err) == fault.Conflict:
		x.Served = true
	case err != nil:
		return nil, err
	case held != nil:
		defer held.Close()
	}
	db, err := openFile(path, "mode=ro", "_pragma=query_only(1)")
	if err != nil {
		return nil, err
	}
	b := bun.NewDB(db, sqlitedialect.New())
	if err := b.PingContext(ctx); err != nil {
		_ = b.Close()
		return nil, wrap(err, "open %s", path)
	}
	return &Store{sqlite: true, read: b, write: b}, nil
}

// Loose lists what Protect would change.
func Loose(dir string) ([]string, error) {
	var found []string
	if _, err := os.Stat(dir); err != nil {
		return nil, fault.New(fault.NotFound, "there is no folder %s yet", dir)
	}
	err := eachOpen(dir, func(path string, mode fs.FileMode) error {
		found = append(found, fmt.Sprintf("%s (%v)", path, mode))
		return nil
	})
	return found, err
}
