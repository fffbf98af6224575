package store

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"
)

// metaRow is a value of the server's own.
type metaRow struct {
	bun.BaseModel `bun:"table:meta,alias:m"`

	Key   string `bun:"key,pk"`
	Value string `bun:"value"`
}

// Meta reads a value of the server's own, such as a key it made at its first start.
func (s *Store) Meta(ctx context.Context, key string) (string, error) {
	var row metaRow
	if err := s.read.NewSelect().Model(&row).Where("m.key = ?", key).Scan(ctx); err != nil {
		return "", wrap(notFound(err, "value"), "read %s", key)
	}
	return row.Value, nil
}

// SetMeta keeps a value.
func (s *Store) SetMeta(ctx context.Context, key, value string) error {
	_, err := s.write.NewInsert().Model(&metaRow{Key: key, Value: value}).
		On("CONFLICT (key) DO UPDATE").Set("value = EXCLUDED.value").Exec(ctx)
	return wrap(err, "keep %s", key)
}

// MetaOnce keeps a value unless there is one, and returns what is kept: servers that share the database and start at the
// same moment get the same.
func (s *Store) MetaOnce(ctx context.Context, key, value string) (string, error) {
	_, err := s.write.NewInsert().Model(&metaRow{Key: key, Value: value}).On("CONFLICT (key) DO NOTHING").Exec(ctx)
	if err != nil {
		return "", wrap(err, "keep %s", key)
	}
	return s.Meta(ctx, key)
}

// IntegrityCheck reads all of the database and lists what is wrong with it; nothing is wrong when the list is
// empty.
func (s *Store) IntegrityCheck(ctx context.Context) (problems []string, err error) {
	if s.sqlite {
		var lines []string
		if err := s.read.NewRaw("PRAGMA integrity_check").Scan(ctx, &lines); err != nil {
			return nil, wrap(err, "check the database")
		}
		if len(lines) != 1 || lines[0] != "ok" {
			problems = append(problems, lines...)
		}
		var tables []string
		if err := s.read.NewRaw(`SELECT DISTINCT "table" FROM pragma_foreign_key_check`).Scan(ctx, &tables); err != nil {
			return nil, wrap(err, "check references")
		}
		for _, table := range tables {
			problems = append(problems, fmt.Sprintf("table %s refers to rows that do not exist", table))
		}
	}
	var runs []string
	err = s.read.NewRaw(`SELECT r.id FROM runs AS r LEFT JOIN events AS e ON e.run_id = r.id GROUP BY r.id, r.seq
		HAVING COALESCE(MAX(e.last), 0) <> r.seq OR COALESCE(SUM(e.last - e.first + 1), 0) <> r.seq`).Scan(ctx, &runs)
	if err != nil {
		return nil, wrap(err, "check the logs")
	}
	for _, run := range runs {
		problems = append(problems, fmt.Sprintf("the log of run %s has a gap", run))
	}
	return problems, nil
}
