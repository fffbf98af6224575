package store

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/session"
)

// Events are kept as chunks: consecutive events of a run that were saved together, as one JSON array. A
// row for each event would cost ten times the statements.

// maxChunk bounds a chunk, and so what is read for nothing when a reader starts in its middle.
const maxChunk = 512

// prepare prepares what every commit of events runs.
func (s *Store) prepare(ctx context.Context) (err error) {
	for stmt, query := range map[**sql.Stmt]string{
		&s.append.advance: "UPDATE runs SET seq = ? WHERE id = ? AND seq = ?",
		&s.append.insert:  "INSERT INTO events (run_id, last, first, payload) VALUES (?, ?, ?, ?)",
		&s.append.change:  "UPDATE runs SET status = ?, lanes = ?, ended_at = ?, instance = COALESCE(NULLIF(?, ''), instance) WHERE id = ?",
	} {
		if *stmt, err = s.write.DB.PrepareContext(ctx, s.placeholders(query)); err != nil {
			return err
		}
	}
	return nil
}

// placeholders numbers the placeholders of a query for PostgreSQL.
func (s *Store) placeholders(query string) string {
	if s.sqlite {
		return query
	}
	for i := 1; strings.Contains(query, "?"); i++ {
		query = strings.Replace(query, "?", fmt.Sprintf("$%d", i), 1)
	}
	return query
}

// Append saves a batch in one transaction. It is a Conflict when the events of a run do not follow the
// last one saved, and NotFound when a run does not exist. The same batch may be appended again, by one who does not know
// whether it was saved: events that are there as they are to be are saved.
//
// A batch that changes the state of a run, as its end does, is on the disk when Append returns, with all that was saved before. One
// of events alone outlives the program, but a SQLite database may lose it with the machine: nobody waits for the disk between two
// tokens, and the run of which the last ones are lost is one that the machine interrupted.
func (s *Store) Append(ctx context.Context, batch run.Batch) error {
	tx, release, err := s.beginAppend(ctx, len(batch.Changes) > 0)
	if err != nil {
		return wrap(err, "begin to append events")
	}
	defer release()
	defer tx.Rollback() //nolint:errcheck // does nothing after a commit
	if err := s.appendEvents(ctx, tx, batch.Events); err != nil {
		return wrap(err, "append events")
	}
	change := tx.StmtContext(ctx, s.append.change)
	for _, c := range batch.Changes {
		result, err := change.ExecContext(ctx, string(c.Status), c.Lanes, micros(c.At), c.Instance, c.Run)
		if err := changed(result, err, "run"); err != nil {
			return err
		}
	}
	return wrap(tx.Commit(), "commit events")
}

// beginAppend begins a transaction on the connection that writes. Where its commit need not wait for the disk, release makes the
// next one wait again.
func (s *Store) beginAppend(ctx context.Context, onDisk bool) (tx *sql.Tx, release func(), err error) {
	if onDisk || !s.sqlite {
		tx, err = s.write.DB.BeginTx(ctx, nil)
		return tx, func() {}, err
	}
	conn, err := s.write.DB.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	release = func() {
		if _, err := conn.ExecContext(context.WithoutCancel(ctx), "PRAGMA synchronous = FULL"); err != nil {
			_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // a new one waits
		}
		_ = conn.Close()
	}
	if _, err = conn.ExecContext(ctx, "PRAGMA synchronous = NORMAL"); err == nil {
		tx, err = conn.BeginTx(ctx, nil)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return tx, release, nil
}

// chunk is consecutive events of one run.
type chunk struct {
	run         string       // id of the run
	first, last int          // numbers of the first and the last event
	payload     bytes.Buffer // JSON list of the events; its bracket is closed when it is written
}

// chunks groups events by run, keeping their order within each.
func chunks(events []run.Event) ([]*chunk, error) {
	var list []*chunk
	open := make(map[string]*chunk)
	for _, e := range events {
		c := open[e.Run]
		if c != nil && e.Seq != c.last+1 {
			return nil, fault.New(fault.Conflict, "event %d of run %s follows event %d", e.Seq, e.Run, c.last)
		}
		if c == nil || e.Seq-c.first >= maxChunk {
			c = &chunk{run: e.Run, first: e.Seq}
			list = append(list, c)
			open[e.Run] = c
			c.payload.WriteByte('[')
		} else {
			c.payload.WriteByte(',')
		}
		c.last = e.Seq
		c.payload.Write(e.Event)
	}
	return list, nil
}

// appendEvents saves events by chunk. A chunk that is in the log already, byte by byte, is passed over.
func (s *Store) appendEvents(ctx context.Context, tx *sql.Tx, events []run.Event) error {
	list, err := chunks(events)
	if err != nil {
		return err
	}
	advance, insert := tx.StmtContext(ctx, s.append.advance), tx.StmtContext(ctx, s.append.insert)
	for _, c := range list {
		c.payload.WriteByte(']')
		result, err := advance.ExecContext(ctx, c.last, c.run, c.first-1)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			if there, err := s.stored(ctx, tx, c); err != nil || there {
				if err != nil {
					return err
				}
				continue
			}
			return s.whyNot(ctx, tx, c)
		}
		if _, err := insert.ExecContext(ctx, c.run, c.last, c.first, c.payload.String()); err != nil {
			return err
		}
	}
	return nil
}

// stored reports whether a chunk is in the log as it is.
func (s *Store) stored(ctx context.Context, tx *sql.Tx, c *chunk) (bool, error) {
	var first int
	var payload string
	err := tx.QueryRowContext(ctx, s.placeholders("SELECT first, payload FROM events WHERE run_id = ? AND last = ?"), c.run, c.last).Scan(&first, &payload)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil && first == c.first && payload == c.payload.String(), err
}

// whyNot says why a chunk could not follow.
func (s *Store) whyNot(ctx context.Context, tx *sql.Tx, c *chunk) error {
	var seq int
	err := tx.QueryRowContext(ctx, s.placeholders("SELECT seq FROM runs WHERE id = ?"), c.run).Scan(&seq)
	if err != nil {
		return notFound(err, "run")
	}
	return fault.New(fault.Conflict, "event %d of run %s follows event %d", c.first, c.run, seq)
}

// eventRow is a chunk. Payload is a JSON list of the events with the numbers First to Last.
type eventRow struct {
	bun.BaseModel `bun:"table:events,alias:e"`

	RunID   string `bun:"run_id,pk"`
	Last    int    `bun:"last,pk"`
	First   int    `bun:"first"`
	Payload []byte `bun:"payload"`
}

// Events reads up to limit events of an owner's run with numbers above after, in order.
func (s *Store) Events(ctx context.Context, owner, runID string, after, limit int) ([]run.Event, error) {
	rows, err := s.read.NewSelect().Model((*eventRow)(nil)).Column("last", "first", "payload").
		Where("e.run_id = ? AND e.last > ?", runID, after).
		Where("EXISTS (SELECT 1 FROM runs AS r WHERE r.id = e.run_id AND r.owner = ?)", owner).
		OrderExpr("e.last").Limit(int64(limit)).Rows(ctx)
	if err != nil {
		return nil, wrap(err, "read the events of run %s", runID)
	}
	defer rows.Close()
	var events []run.Event
	for len(events) < limit && rows.Next() {
		var last, first int
		var payload []byte
		if err := rows.Scan(&last, &first, &payload); err != nil {
			return nil, wrap(err, "read the events of run %s", runID)
		}
		list := objects(payload)
		if len(list) != last-first+1 {
			return nil, fault.New(fault.Internal, "events %d to %d of run %s cannot be read", first, last, runID)
		}
		for i, raw := range list {
			if seq := first + i; seq > after && len(events) < limit {
				events = append(events, run.Event{Run: runID, Seq: seq, Event: raw})
			}
		}
	}
	return events, wrap(rows.Err(), "read the events of run %s", runID)
}

// Import adds a session with the runs and events that fill puts into it, all or nothing.
func (s *Store) Import(ctx context.Context, in session.Session, fill func(session.Importing) error) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(newSessionRow(in)).Exec(ctx); err != nil {
			return err
		}
		to := &importing{ctx: ctx, tx: tx, insert: tx.Tx.StmtContext(ctx, s.append.insert)}
		if err := fill(to); err != nil {
			return err
		}
		return to.flush()
	})
	return wrap(err, "import a session")
}

// importing takes what is imported in a transaction. Events are kept until they make a chunk.
type importing struct {
	ctx    context.Context // of the import
	tx     bun.Tx          // in which everything is written
	insert *sql.Stmt       // of a chunk
	runs   int             // so far: the place of the last one
	events []run.Event     // not written yet, of one run
	bytes  int             // of those events
}

// importBytes is how many bytes of events are kept, unless one alone has more.
const importBytes = 1 << 20

// Run implements session.Importing.
func (i *importing) Run(run run.Run) error {
	if err := i.flush(); err != nil {
		return err
	}
	i.runs++
	row, err := newRunRow(run, i.runs)
	if err != nil {
		return err
	}
	_, err = i.tx.NewInsert().Model(row).Exec(i.ctx)
	return err
}

// Event implements session.Importing.
func (i *importing) Event(e run.Event) error {
	i.events = append(i.events, e)
	if i.bytes += len(e.Event); len(i.events) >= maxChunk || i.bytes >= importBytes {
		return i.flush()
	}
	return nil
}

// flush writes the events that are kept.
func (i *importing) flush() error {
	list, err := chunks(i.events)
	if err != nil {
		return err
	}
	for _, c := range list {
		c.payload.WriteByte(']')
		if _, err := i.insert.ExecContext(i.ctx, c.run, c.last, c.first, c.payload.String()); err != nil {
			return err
		}
	}
	clear(i.events)
	i.events, i.bytes = i.events[:0], 0
	return nil
}
