package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"realign/internal/fault"
	"realign/internal/run"
)

// wrap names the operation that failed and gives the error its kind. It is nil for nil; errors that have a
// kind keep it.
func wrap(err error, format string, args ...any) error {
	var known *fault.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	err = fmt.Errorf("store: "+format+": %w", append(args, err)...)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return wrapSQLite(err, lite.Code()&0xff)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return wrapPostgres(err, pg.Code)
	}
	if lost(err) {
		return unreachable(err)
	}
	return err
}

// lost reports whether an error is of a connection that could not be made, or broke: what was asked for may have been done or
// not.
func lost(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) {
		return true
	}
	for _, known := range []error{
		sql.ErrConnDone, driver.ErrBadConn, net.ErrClosed, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNREFUSED,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// unreachable is an error that run.ErrUnreachable knows: what was asked for may be tried again.
func unreachable(err error) error {
	return fault.Wrap(fmt.Errorf("%w: %w", run.ErrUnreachable, err), fault.Unavailable, "the database does not answer")
}

// wrapSQLite gives an error its kind by SQLite's primary result code.
func wrapSQLite(err error, code int) error {
	switch code {
	case sqlite3.SQLITE_FULL:
		return fault.Wrap(err, fault.Unavailable, "the disk is full")
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return fault.Wrap(err, fault.Unavailable, "the database is read-only")
	case sqlite3.SQLITE_IOERR:
		return fault.Wrap(err, fault.Unavailable, "the disk cannot be read or written")
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fault.Wrap(err, fault.Unavailable, "the database is locked by another program")
	case sqlite3.SQLITE_CANTOPEN:
		return fault.Wrap(err, fault.Unavailable, "the database cannot be opened")
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fault.Wrap(err, fault.Unavailable, "the database is damaged")
	case sqlite3.SQLITE_CONSTRAINT:
		return fault.Wrap(err, fault.Conflict, "the database refuses this")
	}
	return err
}

// wrapPostgres sorts by SQLSTATE: https://www.postgresql.org/docs/15/errcodes-appendix.html.
func wrapPostgres(err error, state string) error {
	switch {
	case state == "53100":
		return fault.Wrap(err, fault.Unavailable, "the disk is full")
	case state == "22021", state == "22P05":
		return fault.Wrap(err, fault.Invalid, "a text has characters that the database cannot keep")
	case state == "25006":
		return fault.Wrap(err, fault.Unavailable, "the database is read-only")
	case strings.HasPrefix(state, "23"):
		return fault.Wrap(err, fault.Conflict, "the database refuses this")
	case strings.HasPrefix(state, "08"), strings.HasPrefix(state, "53"), strings.HasPrefix(state, "57"), strings.HasPrefix(state, "58"):
		return unreachable(err)
	case state == "40001", state == "40P01":
		return unreachable(err) // the transaction was undone to let another go on
	}
	return err
}

// notFound is the answer to a row that does not exist, or is somebody else's.
func notFound(err error, what string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fault.New(fault.NotFound, "there is no such %s", what)
	}
	return err
}

// changed is notFound unless a statement changed a row.
func changed(result sql.Result, err error, what string) error {
	if err != nil {
		return wrap(err, "change a %s", what)
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return fault.New(fault.NotFound, "there is no such %s", what)
	}
	return wrap(err, "change a %s", what)
}

// micros is a time as it is stored; nil for the zero time.
func micros(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.UnixMicro()
	return &n
}

// fromMicros is a stored time; the zero time for nil.
func fromMicros(n *int64) time.Time {
	if n == nil {
		return time.Time{}
	}
	return time.UnixMicro(*n).UTC()
}
