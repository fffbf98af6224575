package store

import (
	"context"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/session"
	"realign/internal/title"
)

// markRow is what a run's owner has said of it.
type markRow struct {
	bun.BaseModel `bun:"table:runs,alias:r"`

	ID       string `bun:"id,pk"`
	Place    int    `bun:"place"`
	Title    string `bun:"title"`
	PinnedAt *int64 `bun:"pinned_at"`
}

// Marks is what the owner has said of each run of a session, by the run's id.
func (s *Store) Marks(ctx context.Context, owner, id string) (map[string]session.Mark, error) {
	var rows []markRow
	err := s.read.NewSelect().Model(&rows).Where("r.owner = ? AND r.session_id = ? AND r.deleted_at IS NULL", owner, id).Scan(ctx)
	if err != nil {
		return nil, wrap(err, "list the runs of session %s", id)
	}
	marks := make(map[string]session.Mark, len(rows))
	for i := range rows {
		marks[rows[i].ID] = session.Mark{Place: rows[i].Place, Title: rows[i].Title, Pinned: rows[i].PinnedAt != nil}
	}
	return marks, nil
}

// LatestRuns is the newest run of each of some sessions, by the session's id.
func (s *Store) LatestRuns(ctx context.Context, owner string, sessions []string) (map[string]run.Run, error) {
	latest := make(map[string]run.Run, len(sessions))
	if len(sessions) == 0 {
		return latest, nil
	}
	var rows []runRow
	err := s.visible(owner).Where("r.session_id IN (?)", bun.List(sessions)).
		Where("r.place = (SELECT MAX(x.place) FROM runs AS x WHERE x.session_id = r.session_id AND x.deleted_at IS NULL)").Scan(ctx, &rows)
	if err != nil {
		return nil, wrap(err, "list the newest runs")
	}
	runs, err := toRuns(rows)
	for i := range runs {
		latest[runs[i].Session] = runs[i]
	}
	return latest, err
}

// NameRun gives a run a title, as title.Clean leaves it; "" takes it away.
func (s *Store) NameRun(ctx context.Context, owner, id, name string) error {
	if name = strings.TrimSpace(name); name != "" {
		var err error
		if name, err = title.Clean(name); err != nil {
			return err
		}
	}
	return s.mark(ctx, owner, id, "title = ?, title_fold = ?", name, fold(name))
}

// PinRun keeps a run at the top of its session's list from a time on; the zero time lets it go.
func (s *Store) PinRun(ctx context.Context, owner, id string, at time.Time) error {
	return s.mark(ctx, owner, id, "pinned_at = ?", micros(at))
}

// mark changes columns of an owner's run; NotFound where there is none.
func (s *Store) mark(ctx context.Context, owner, id, set string, values ...any) error {
	result, err := s.write.NewUpdate().Model((*markRow)(nil)).Set(set, values...).
		Where("id = ? AND owner = ? AND deleted_at IS NULL", id, owner).Exec(ctx)
	return changed(result, err, "run")
}

// PinSession keeps a session at the top of the list from a time on; the zero time lets it go.
func (s *Store) PinSession(ctx context.Context, owner, id string, at time.Time) error {
	result, err := s.write.NewUpdate().Model((*sessionRow)(nil)).Set("pinned_at = ?", micros(at)).
		Where("id = ? AND owner = ? AND deleted_at IS NULL", id, owner).Exec(ctx)
	return changed(result, err, "session")
}

// DeleteChosen hides sessions and runs until RestoreChosen or Purge. It is NotFound if none of them is there.
func (s *Store) DeleteChosen(ctx context.Context, owner string, chosen session.Choice, at time.Time) error {
	if n := len(chosen.Sessions) + len(chosen.Runs); n == 0 || n > session.MaxChoice {
		return fault.Field("run", "%d chosen, from 1 to %d at once", n, session.MaxChoice)
	}
	n := 0
	err := s.tx(ctx, func(tx bun.Tx) error {
		for _, list := range []struct {
			ids   []string
			query *bun.UpdateQuery
		}{
			{chosen.Sessions, tx.NewUpdate().Model((*sessionRow)(nil))},
			{chosen.Runs, tx.NewUpdate().Model((*markRow)(nil))},
		} {
			if len(list.ids) == 0 {
				continue
			}
			gone, err := removed(list.query.Set("deleted_at = ?", at.UnixMicro()).
				Where("id IN (?) AND owner = ? AND deleted_at IS NULL", bun.List(list.ids), owner).Exec(ctx))
			if err != nil {
				return err
			}
			n += gone
		}
		return nil
	})
	if err == nil && n == 0 {
		return fault.New(fault.NotFound, "there is no such session or run")
	}
	return wrap(err, "delete sessions and runs")
}

// RestoreChosen undoes the DeleteChosen of a time. It is NotFound if nothing was deleted then, or it is gone for good.
func (s *Store) RestoreChosen(ctx context.Context, owner string, at time.Time) error {
	n := 0
	err := s.tx(ctx, func(tx bun.Tx) error {
		for _, query := range []*bun.UpdateQuery{tx.NewUpdate().Model((*sessionRow)(nil)), tx.NewUpdate().Model((*markRow)(nil))} {
			back, err := removed(query.Set("deleted_at = NULL").Where("owner = ? AND deleted_at = ?", owner, at.UnixMicro()).Exec(ctx))
			if err != nil {
				return err
			}
			n += back
		}
		return nil
	})
	if err == nil && n == 0 {
		return fault.New(fault.NotFound, "nothing was deleted then that can be brought back")
	}
	return wrap(err, "restore sessions and runs")
}
