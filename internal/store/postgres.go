package store

import (
	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"realign/internal/fault"
)

// openPostgres makes a pool of connections; none is made before the first query.
func openPostgres(dsn string) (*Store, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "db: the address of the PostgreSQL database cannot be read")
	}
	db := sql.OpenDB(stdlib.GetConnector(*config))
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	b := bun.NewDB(db, pgdialect.New())
	return &Store{write: b, read: b}, nil
}
