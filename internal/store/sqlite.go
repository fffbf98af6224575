package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"modernc.org/sqlite" // and the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"realign/internal/fault"
)

// sqlitePath is the file of a SQLite database.
func sqlitePath(config Config) (string, error) {
	path := strings.TrimPrefix(config.DSN, "sqlite:")
	if path == "" {
		path = filepath.Join(config.Data, "realign.db")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fault.Field("db", "%s", err)
	}
	return path, nil
}

// openFile opens a SQLite file, with more pragmas than every connection has. Nothing is read or written yet.
func openFile(path string, more ...string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn(path, more...))
	if err != nil {
		return nil, fault.Field("db", "%s", err)
	}
	return db, nil
}

// openSQLite opens the database with one connection that writes and several that only read. The errors are Invalid
// for a folder or file that cannot be used, and Conflict where another server has it.
func openSQLite(ctx context.Context, config Config) (*Store, error) {
	path, err := sqlitePath(config)
	if err != nil {
		return nil, err
	}
	if err := checkFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	s := &Store{sqlite: true}
	if config.Exclusive {
		if s.lock, err = lockFile(path + ".lock"); err != nil {
			return nil, err
		}
	}
	if err := closeFile(path); err != nil {
		if s.lock != nil {
			_ = s.lock.Close()
		}
		return nil, fault.Field("db", "cannot open %s: %s", path, reason(err))
	}
	write, err := openFile(path, "_txlock=immediate")
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	read, err := openFile(path, "_pragma=query_only(1)")
	if err != nil {
		return nil, err
	}
	read.SetMaxOpenConns(max(4, runtime.NumCPU()))
	read.SetMaxIdleConns(max(4, runtime.NumCPU()))
	s.write = bun.NewDB(write, sqlitedialect.New())
	s.read = bun.NewDB(read, sqlitedialect.New())
	if err := firstAnswer(ctx, write); err != nil {
		_ = s.Close()
		return nil, wrap(err, "open %s", path)
	}
	return s, nil
}

// firstAnswer connects for the first time. Where several programs make a new file a database with a WAL at once, SQLite refuses
// all but one whatever the busy timeout is, since they might wait for each other: they try again.
func firstAnswer(ctx context.Context, db *sql.DB) error {
	ctx, cancel := context.WithTimeout(ctx, busyTimeout)
	defer cancel()
	for {
		err := db.PingContext(ctx)
		var lite *sqlite.Error
		if !errors.As(err, &lite) || lite.Code()&0xff != sqlite3.SQLITE_BUSY {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// busyTimeout is how long a connection waits for other programs.
const busyTimeout = 5 * time.Second

// dsn names the file and how every connection to it behaves. Waiting for locks comes first, since setting
// the others may need one. With synchronous=FULL a commit is on the disk when it returns; for events of runs
// see Append.
func dsn(path string, more ...string) string {
	pragmas := append([]string{
		fmt.Sprintf("_pragma=busy_timeout(%d)", busyTimeout.Milliseconds()),
		"_pragma=journal_mode(WAL)",
		"_pragma=synchronous(FULL)",
		"_pragma=foreign_keys(1)",
		"_pragma=temp_store(MEMORY)",
		"_pragma=cache_size(-16000)", // KiB
		"_pragma=journal_size_limit(67108864)",
	}, more...)
	return (&url.URL{Scheme: "file", Path: path, RawQuery: strings.Join(pragmas, "&")}).String()
}

// checkFolder makes a folder and tries to write in it.
func checkFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fault.Field("data", "cannot make the folder %s: %s", dir, reason(err))
	}
	f, err := os.CreateTemp(dir, ".write-*")
	if err != nil {
		return fault.Field("data", "cannot write in the folder %s: %s", dir, reason(err))
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
	return nil
}

// reason is a file error without its path.
func reason(err error) error {
	if e, ok := err.(*os.PathError); ok {
		return e.Err
	}
	return err
}
