package store

import (
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"

	"realign/internal/fault"
)

// Backup copies a database into a folder that exists, as it is at one moment, while servers go on using it, and returns the
// name of the file: realign.db of SQLite, which a server may be started on, or realign.dump of PostgreSQL, which pg_restore reads.
func Backup(ctx context.Context, config Config, folder string) (string, error) {
	if postgresDSN(config.DSN) {
		return "realign.dump", dump(ctx, config.DSN, filepath.Join(folder, "realign.dump"))
	}
	path, err := sqlitePath(config)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fault.New(fault.NotFound, "there is no database at %s", path)
	}
	db, err := openFile(path)
	if err != nil {
		return "", err
	}
	defer db.Close()
	to := filepath.Join(folder, "realign.db")
	// Made first, so that nobody else can read it while it grows.
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return "", fault.Field("to", "%s", reason(err))
	}
	// One reading transaction, which writers do not wait for.
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return "", wrap(err, "copy the database")
	}
	return "realign.db", sound(ctx, to)
}

// sound looks at a copy for damage and brings it to the disk.
func sound(ctx context.Context, path string) error {
	db, err := openFile(path)
	if err != nil {
		return err
	}
	problems, err := damage(ctx, bun.NewDB(db, sqlitedialect.New()))
	if err = errors.Join(err, db.Close()); err != nil {
		return wrap(err, "check the copy")
	}
	if len(problems) > 0 {
		return damaged(problems)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return wrap(err, "open the copy")
	}
	return wrap(errors.Join(f.Sync(), f.Close()), "save the copy")
}

// dump has pg_dump copy a database: it knows all that there is in one.
func dump(ctx context.Context, dsn, to string) error {
	program, err := exec.LookPath("pg_dump")
	if err != nil {
		return fault.New(fault.Unavailable, "pg_dump is not installed, which copies PostgreSQL databases: install PostgreSQL's client programs (postgresql-client on Debian)")
	}
	where, err := url.Parse(dsn)
	if err != nil {
		return fault.Field("db", "is not an address")
	}
	cmd := exec.CommandContext(ctx, program, "--format=custom", "--no-owner", "--file="+to)
	cmd.Env = os.Environ()
	if password, ok := where.User.Password(); ok { // other users can read a command line
		cmd.Env = append(cmd.Env, "PGPASSWORD="+password)
		where.User = url.User(where.User.Username())
	}
	cmd.Args = append(cmd.Args, "--dbname="+where.String())
	if said, err := cmd.CombinedOutput(); err != nil {
		return fault.Wrap(err, fault.Unavailable, "pg_dump: %s", strings.Join(strings.Fields(string(said)), " "))
	}
	return os.Chmod(to, 0o600)
}
