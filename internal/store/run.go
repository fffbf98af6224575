package store

import (
	"context"
	"encoding/json"

	"github.com/uptrace/bun"

	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/session"
)

// runRow is a run.Run with its place in its session, from 1. Spec is JSON; PromptFold is searched; times are
// microseconds since 1970.
type runRow struct {
	bun.BaseModel `bun:"table:runs,alias:r"`

	ID         string `bun:"id,pk"`
	SessionID  string `bun:"session_id"`
	Place      int    `bun:"place"`
	Owner      string `bun:"owner"`
	Instance   string `bun:"instance"`
	Spec       string `bun:"spec"`
	PromptFold string `bun:"prompt_fold"`
	Status     string `bun:"status"`
	Lanes      int    `bun:"lanes"`
	Seq        int    `bun:"seq"`
	CreatedAt  int64  `bun:"created_at"`
	EndedAt    *int64 `bun:"ended_at"`

	Imported *string `bun:"imported"` // JSON; nil of what was decoded here
}

// newRunRow is a run as it is stored, at a place of its session.
func newRunRow(r run.Run, place int) (*runRow, error) {
	spec, err := json.Marshal(r.Spec)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the run's spec cannot be written as JSON")
	}
	row := &runRow{
		ID: r.ID, SessionID: r.Session, Place: place, Owner: r.Owner, Instance: r.Instance, Spec: string(spec),
		PromptFold: fold(r.Spec.Prompt), Status: string(r.Status), Lanes: r.Lanes, Seq: r.Seq,
		CreatedAt: r.CreatedAt.UnixMicro(), EndedAt: micros(r.EndedAt),
	}
	if r.Imported != nil {
		text, err := toJSON(r.Imported)
		if err != nil {
			return nil, err
		}
		row.Imported = &text
	}
	return row, nil
}

// run is the row as the domain has it.
func (r *runRow) run() (run.Run, error) {
	rn := run.Run{
		ID: r.ID, Session: r.SessionID, Owner: r.Owner, Instance: r.Instance, Status: run.Status(r.Status),
		Lanes: r.Lanes, Seq: r.Seq, CreatedAt: fromMicros(&r.CreatedAt), EndedAt: fromMicros(r.EndedAt),
	}
	if err := json.Unmarshal([]byte(r.Spec), &rn.Spec); err != nil {
		return rn, fault.Wrap(err, fault.Internal, "run %s cannot be read", r.ID)
	}
	if r.Imported != nil {
		rn.Imported = new(run.Imported)
		return rn, fromJSON(*r.Imported, rn.Imported)
	}
	return rn, nil
}

// toRuns are rows as the domain has them.
func toRuns(rows []runRow) ([]run.Run, error) {
	runs := make([]run.Run, len(rows))
	for i := range rows {
		var err error
		if runs[i], err = rows[i].run(); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

// CreateRun adds a run to its session, last. With a title, that session does not exist yet and is created, too.
func (s *Store) CreateRun(ctx context.Context, run run.Run, title string) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		if title != "" {
			created := session.Session{
				ID: run.Session, Owner: run.Owner, Title: title, CreatedAt: run.CreatedAt, UpdatedAt: run.CreatedAt,
			}
			if _, err := tx.NewInsert().Model(newSessionRow(created)).Exec(ctx); err != nil {
				return err
			}
		} else {
			// This also makes runs of one session wait for each other, so that places are unique.
			result, err := tx.NewUpdate().Model((*sessionRow)(nil)).Set("updated_at = ?", run.CreatedAt.UnixMicro()).
				Where("id = ? AND owner = ? AND deleted_at IS NULL", run.Session, run.Owner).Exec(ctx)
			if err := changed(result, err, "session"); err != nil {
				return err
			}
		}
		var place int
		err := tx.NewSelect().Model((*runRow)(nil)).ColumnExpr("COALESCE(MAX(r.place), 0) + 1").
			Where("r.session_id = ?", run.Session).Scan(ctx, &place)
		if err != nil {
			return err
		}
		row, err := newRunRow(run, place)
		if err != nil {
			return err
		}
		_, err = tx.NewInsert().Model(row).Exec(ctx)
		return err
	})
	return wrap(err, "create run %s", run.ID)
}

// visible is the owner's runs that are not deleted, in sessions that are not.
func (s *Store) visible(owner string) *bun.SelectQuery {
	return s.read.NewSelect().Model((*runRow)(nil)).Where("r.owner = ?", owner).
		Where("r.deleted_at IS NULL").Where("EXISTS (SELECT 1 FROM sessions AS s WHERE s.id = r.session_id AND s.deleted_at IS NULL)")
}

// Run is a run of a session that is not deleted.
func (s *Store) Run(ctx context.Context, owner, id string) (run.Run, error) {
	var row runRow
	if err := s.visible(owner).Where("r.id = ?", id).Scan(ctx, &row); err != nil {
		return run.Run{}, wrap(notFound(err, "run"), "read run %s", id)
	}
	return row.run()
}

// Runs lists the runs of a session in order. It is empty for a session that is not the owner's.
func (s *Store) Runs(ctx context.Context, owner, id string) ([]run.Run, error) {
	var rows []runRow
	if err := s.visible(owner).Where("r.session_id = ?", id).OrderExpr("r.place").Scan(ctx, &rows); err != nil {
		return nil, wrap(err, "list the runs of session %s", id)
	}
	return toRuns(rows)
}

// Running lists the runs, of any owner, that an instance of the server has not finished.
func (s *Store) Running(ctx context.Context, instance string) ([]run.Run, error) {
	var rows []runRow
	err := s.read.NewSelect().Model(&rows).Where("r.instance = ? AND r.status = 'running'", instance).
		OrderExpr("r.created_at, r.id").Scan(ctx)
	if err != nil {
		return nil, wrap(err, "list unfinished runs")
	}
	return toRuns(rows)
}

// Counts is how much an owner has, or everybody for "".
type Counts struct {
	Sessions, Runs, Links int // not deleted, as are the runs
}

// Counts counts sessions and runs that are not deleted, and links.
func (s *Store) Counts(ctx context.Context, owner string) (c Counts, err error) {
	for _, table := range []struct {
		count *int
		query *bun.SelectQuery
	}{
		{&c.Sessions, s.read.NewSelect().Model((*sessionRow)(nil)).Where("s.deleted_at IS NULL")},
		{&c.Runs, s.read.NewSelect().Model((*runRow)(nil)).Join("JOIN sessions AS s ON s.id = r.session_id AND s.deleted_at IS NULL").Where("r.deleted_at IS NULL")},
		{&c.Links, s.read.NewSelect().Model((*linkRow)(nil))},
	} {
		if owner != "" {
			table.query.Where("?TableAlias.owner = ?", owner)
		}
		n, err := table.query.Count(ctx)
		if err != nil {
			return c, wrap(err, "count what there is")
		}
		*table.count = int(n)
	}
	return c, nil
}
