package store

import (
	"context"
	"database/sql"
	"embed"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"realign/internal/fault"
)

// migrations are the steps in SQL, a folder for each database.
//
//go:embed migrations
var migrations embed.FS

// migrate brings the tables up to date, each step in a transaction of its own. On SQLite, which has no lock that
// outlives a transaction, another program may take a step between our look at the version and our taking it: then the
// step fails, and looking again finds it taken.
func (s *Store) migrate(ctx context.Context) error {
	steps, err := s.steps()
	if err != nil {
		return err
	}
	current, known, err := steps.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > known {
		return newer(current, known)
	}
	for range len(steps.ListSources()) + 1 {
		if _, err = steps.Up(ctx); err == nil || !s.sqlite || ctx.Err() != nil {
			break
		}
	}
	return err
}

// newer refuses a database that a later program has changed: what this one does not know of it would be lost or damaged.
func newer(current, known int64) error {
	return fault.New(fault.Conflict, "the database is of version %d and this program knows versions up to %d: run the newer realign that made it, or restore a backup from before", current, known)
}

// steps are all steps of the migrations, in the dialect of the database, embedded or in Go.
func (s *Store) steps() (*goose.Provider, error) {
	dialect, folder := goose.DialectPostgres, "migrations/postgres"
	options := []goose.ProviderOption{
		goose.WithDisableGlobalRegistry(true),
		goose.WithGoMigrations(
			goose.NewGoMigration(21, &goose.GoFunc{RunTx: s.setExperiments}, &goose.GoFunc{RunTx: nothing}),
			goose.NewGoMigration(25, &goose.GoFunc{RunTx: splitPrompts}, &goose.GoFunc{RunTx: joinPrompts}),
		),
	}
	if s.sqlite {
		dialect, folder = goose.DialectSQLite3, "migrations/sqlite"
	} else {
		// Servers that share a database may start at the same time.
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	files, err := fs.Sub(migrations, folder)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, s.write.DB, files, options...)
}

// nothing takes back a step that only filled in what the step before it removes.
func nothing(context.Context, *sql.Tx) error { return nil }
