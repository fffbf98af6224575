package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/study"
	"realign/internal/sweep"
)

// A server that shares the database has a row that says so, and says again every few seconds that it is alive. Times are the
// database's, so that the clocks of the servers do not matter.

// now is the time of the database in microseconds.
func (s *Store) now() bun.Safe {
	if s.sqlite {
		return "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
	}
	return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
}

// Alone reports whether no other server can have the database open: a SQLite database that was opened as Exclusive.
func (s *Store) Alone() bool { return s.lock != nil }

// JoinServers adds a server. One that is alone removes those that were here before it.
func (s *Store) JoinServers(ctx context.Context, name string) error {
	if s.Alone() {
		if _, err := s.write.NewRaw("DELETE FROM servers").Exec(ctx); err != nil {
			return wrap(err, "join the servers")
		}
	}
	_, err := s.write.NewRaw("INSERT INTO servers (name, joined_at, seen_at) VALUES (?, ?, ?)", name, s.now(), s.now()).Exec(ctx)
	return wrap(err, "join the servers")
}

// RenewServer notes that a server is alive. It is false for one that is not among them any more, since others took it for dead.
func (s *Store) RenewServer(ctx context.Context, name string) (bool, error) {
	result, err := s.write.NewRaw("UPDATE servers SET seen_at = ? WHERE name = ?", s.now(), name).Exec(ctx)
	if err != nil {
		return false, wrap(err, "renew a server")
	}
	n, err := result.RowsAffected()
	return n > 0, wrap(err, "renew a server")
}

// LeaveServers removes a server, and with it whatever keeps its work from the others.
func (s *Store) LeaveServers(ctx context.Context, name string) error {
	_, err := s.write.NewRaw("DELETE FROM servers WHERE name = ?", name).Exec(ctx)
	return wrap(err, "leave the servers")
}

// RemoveDead removes the servers that were not heard of for a time, and returns how many.
func (s *Store) RemoveDead(ctx context.Context, silent time.Duration) (int, error) {
	result, err := s.write.NewRaw("DELETE FROM servers WHERE seen_at < ? - ?", s.now(), silent.Microseconds()).Exec(ctx)
	if err != nil {
		return 0, wrap(err, "remove dead servers")
	}
	n, err := result.RowsAffected()
	return int(n), wrap(err, "remove dead servers")
}

// Orphans are the names of servers that are not there any more and have runs, sweeps or studies under way.
func (s *Store) Orphans(ctx context.Context) (names []string, err error) {
	err = s.write.NewRaw(`SELECT o.instance FROM (
		SELECT instance FROM runs WHERE status = 'running'
		UNION SELECT instance FROM sweeps WHERE ended_at IS NULL AND state IN ('running', 'judging')
		UNION SELECT instance FROM studies WHERE status = 'decoding') AS o
		WHERE NOT EXISTS (SELECT 1 FROM servers AS s WHERE s.name = o.instance)`).Scan(ctx, &names)
	return names, wrap(err, "list what dead servers left")
}

// RunStates are how far runs of any owner are, by their ids.
func (s *Store) RunStates(ctx context.Context, ids []string) (map[string]run.RunState, error) {
	states := make(map[string]run.RunState, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), 1000)
		var rows []runRow
		err := s.read.NewSelect().Model(&rows).Column("id", "seq", "status").Where("r.id IN (?)", bun.List(ids[:n])).Scan(ctx)
		if err != nil {
			return nil, wrap(err, "look how far runs are")
		}
		for i := range rows {
			states[rows[i].ID] = run.RunState{Seq: rows[i].Seq, Status: run.Status(rows[i].Status)}
		}
		ids = ids[n:]
	}
	return states, nil
}

// ClaimSweep makes a sweep, in a state, another server's. It is a Conflict when it is not in that state, or not from's.
func (s *Store) ClaimSweep(ctx context.Context, id string, state sweep.State, from, to string) error {
	result, err := s.write.NewUpdate().Model((*sweepRow)(nil)).Set("instance = ?", to).
		Where("id = ? AND state = ? AND instance = ?", id, string(state), from).Exec(ctx)
	return claimed(result, err, "sweep")
}

// SweepsUnderWay are the sweeps of an instance that are decoded or judged, the oldest first.
func (s *Store) SweepsUnderWay(ctx context.Context, instance string) ([]sweep.Key, error) {
	var rows []sweepRow
	err := s.read.NewSelect().Model(&rows).Column("id", "owner").
		Where("w.instance = ? AND w.ended_at IS NULL AND w.state IN ('running', 'judging')", instance).OrderExpr("w.created_at, w.id").Scan(ctx)
	keys := make([]sweep.Key, len(rows))
	for i := range rows {
		keys[i] = sweep.Key{ID: rows[i].ID, Owner: rows[i].Owner}
	}
	return keys, wrap(err, "list sweeps that are under way")
}

// ClaimStudy is ClaimSweep for a study.
func (s *Store) ClaimStudy(ctx context.Context, id string, status study.Status, from, to string) error {
	result, err := s.write.NewUpdate().Model((*studyRow)(nil)).Set("instance = ?", to).
		Where("id = ? AND status = ? AND instance = ?", id, string(status), from).Exec(ctx)
	return claimed(result, err, "study")
}

// claimed is Conflict unless a statement changed a row.
func claimed(result interface{ RowsAffected() (int64, error) }, err error, what string) error {
	if err != nil {
		return wrap(err, "claim a %s", what)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return fault.New(fault.Conflict, "the %s is another server's by now", what)
	}
	return nil
}
