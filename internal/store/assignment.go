package store

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"realign/internal/fault"
	"realign/internal/study"
)

// assignmentRow is a study.Assignment. Shown and Answer are JSON; times are microseconds since 1970.
type assignmentRow struct {
	bun.BaseModel `bun:"table:study_assignments,alias:a"`

	ID          string `bun:"id,pk"`
	StudyID     string `bun:"study_id"`
	ItemID      string `bun:"item_id"`
	AnnotatorID string `bun:"annotator_id"`
	Place       int    `bun:"place"`
	Shown       string `bun:"shown"`
	State       string `bun:"state"`
	AskedAt     int64  `bun:"asked_at"`
	ExpiresAt   int64  `bun:"expires_at"`
	At          *int64 `bun:"at"`
	Answer      string `bun:"answer"`
}

// newAssignmentRow is an assignment as it is stored.
func newAssignmentRow(a *study.Assignment) (*assignmentRow, error) {
	shown, err := toJSON(a.Shown)
	if err != nil {
		return nil, err
	}
	answer, err := toJSON(a.Answer)
	if err != nil {
		return nil, err
	}
	return &assignmentRow{
		ID: a.ID, StudyID: a.Study, ItemID: a.Item, AnnotatorID: a.Annotator, Place: a.Place, Shown: shown, State: string(a.State),
		AskedAt: a.AskedAt.UnixMicro(), ExpiresAt: a.Expires.UnixMicro(), At: micros(a.At), Answer: answer,
	}, nil
}

// assignment is the row as the domain has it. The error is Internal for JSON that cannot be read.
func (r *assignmentRow) assignment() (study.Assignment, error) {
	a := study.Assignment{
		ID: r.ID, Study: r.StudyID, Item: r.ItemID, Annotator: r.AnnotatorID, Place: r.Place, State: study.State(r.State),
		AskedAt: fromMicros(&r.AskedAt), Expires: fromMicros(&r.ExpiresAt), At: fromMicros(r.At),
	}
	if err := fromJSON(r.Shown, &a.Shown); err != nil {
		return a, err
	}
	return a, fromJSON(r.Answer, &a.Answer)
}

// Assignments are an annotator's, in order.
func (s *Store) Assignments(ctx context.Context, annotator string) ([]study.Assignment, error) {
	var rows []assignmentRow
	if err := s.read.NewSelect().Model(&rows).Where("a.annotator_id = ?", annotator).OrderExpr("a.place").Scan(ctx); err != nil {
		return nil, wrap(err, "read the assignments of an annotator")
	}
	list := make([]study.Assignment, len(rows))
	for i := range rows {
		var err error
		if list[i], err = rows[i].assignment(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Had are the items that an annotator has had, by id, with how far each is: Asked, Answered or Skipped; and the
// assignment they have before them, if there is one.
func (s *Store) Had(ctx context.Context, annotator string) (map[string]study.State, *study.Assignment, error) {
	var rows []assignmentRow
	err := s.read.NewSelect().Model(&rows).Column("id", "item_id", "state").Where("a.annotator_id = ?", annotator).
		Where("a.state IN ('asked', 'answered', 'skipped')").Scan(ctx)
	if err != nil {
		return nil, nil, wrap(err, "read what an annotator has had")
	}
	had := make(map[string]study.State, len(rows))
	id := ""
	for _, row := range rows {
		had[row.ItemID] = study.State(row.State)
		if row.State == string(study.Asked) {
			id = row.ID
		}
	}
	if id == "" {
		return had, nil, nil
	}
	var row assignmentRow
	if err := s.read.NewSelect().Model(&row).Where("a.id = ?", id).Scan(ctx); err != nil {
		return nil, nil, wrap(notFound(err, "question"), "read an annotator's question")
	}
	a, err := row.assignment()
	return had, &a, err
}

// AssignedItem is the item of an annotator's assignment.
func (s *Store) AssignedItem(ctx context.Context, annotator, assignment string) (study.Item, error) {
	var row itemRow
	err := s.read.NewSelect().Model(&row).Join("JOIN study_assignments AS a ON a.item_id = si.id").
		Where("a.annotator_id = ? AND a.id = ?", annotator, assignment).Scan(ctx)
	if err != nil {
		return study.Item{}, wrap(notFound(err, "question"), "read the item of an assignment")
	}
	return row.item()
}

// ItemCounts are, of the items of a study that have any, the answers and the places that are taken: answers, and
// reservations that have not run out.
func (s *Store) ItemCounts(ctx context.Context, id string, now time.Time) (map[string]study.Count, error) {
	counts := map[string]study.Count{}
	for _, part := range []struct {
		query string
		args  []any
		add   func(*study.Count, int)
	}{
		{"SELECT id, answers FROM study_items WHERE study_id = ? AND answers > 0", []any{id},
			func(c *study.Count, n int) { c.Answers += n; c.Taken += n }},
		{"SELECT item_id, COUNT(*) FROM study_assignments WHERE study_id = ? AND state = 'asked' AND expires_at > ? GROUP BY item_id", []any{id, now.UnixMicro()},
			func(c *study.Count, n int) { c.Taken += n }},
	} {
		rows, err := s.read.QueryContext(ctx, part.query, part.args...)
		if err != nil {
			return nil, wrap(err, "count the answers of study %s", id)
		}
		for rows.Next() {
			var item string
			var n int
			if err := rows.Scan(&item, &n); err != nil {
				_ = rows.Close()
				return nil, wrap(err, "count the answers of study %s", id)
			}
			c := counts[item]
			part.add(&c, n)
			counts[item] = c
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return nil, wrap(err, "count the answers of study %s", id)
		}
	}
	return counts, nil
}

// Reserve gives an item to an annotator; the assignment gets its place. Conflict when the study is not
// open, the item's places are taken, or the annotator has a question, or had this one.
func (s *Store) Reserve(ctx context.Context, a study.Assignment, overlap int) (study.Assignment, error) {
	err := s.tx(ctx, func(tx bun.Tx) error { return s.reserve(ctx, tx, &a, overlap) })
	return a, wrap(err, "reserve item %s", a.Item)
}

// reserve is Reserve within a transaction. It sets the assignment's place.
func (s *Store) reserve(ctx context.Context, tx bun.Tx, a *study.Assignment, overlap int) error {
	if err := s.mustBeOpen(ctx, tx, a.Study); err != nil {
		return err
	}
	item, err := s.lockItem(ctx, tx, a.Item, a.AskedAt, "")
	if err != nil {
		return err
	}
	if item.Catch == "" && item.Taken >= overlap {
		return fault.New(fault.Conflict, "others have taken this question")
	}
	err = tx.NewSelect().Model((*assignmentRow)(nil)).ColumnExpr("COALESCE(MAX(a.place), 0) + 1").
		Where("a.annotator_id = ?", a.Annotator).Scan(ctx, &a.Place)
	if err != nil {
		return err
	}
	row, err := newAssignmentRow(a)
	if err != nil {
		return err
	}
	_, err = tx.NewInsert().Model(row).Exec(ctx)
	return err
}

// mustBeOpen is Conflict unless a study can be rated, and keeps it so until the transaction ends.
func (s *Store) mustBeOpen(ctx context.Context, tx bun.Tx, id string) error {
	var status string
	q := tx.NewSelect().Model((*studyRow)(nil)).Column("status").Where("st.id = ?", id)
	if !s.sqlite {
		q.For("SHARE")
	}
	if err := q.Scan(ctx, &status); err != nil {
		return notFound(err, "study")
	}
	return study.Status(status).Rateable()
}

// lockItem reads an item and how many of its places are taken, but for one assignment, so that nobody else takes
// one before the transaction ends.
func (s *Store) lockItem(ctx context.Context, tx bun.Tx, id string, now time.Time, but string) (*itemRow, error) {
	if !s.sqlite {
		if _, err := tx.NewSelect().Model((*itemRow)(nil)).Column("id").Where("si.id = ?", id).For("UPDATE").Exec(ctx); err != nil {
			return nil, err
		}
	}
	var row itemRow
	err := tx.NewSelect().Model(&row).ColumnExpr("si.*").
		ColumnExpr("si.answers + (SELECT COUNT(*) FROM study_assignments AS a WHERE a.item_id = si.id AND a.state = 'asked' AND a.expires_at > ? AND a.id <> ?) AS taken", now.UnixMicro(), but).
		Where("si.id = ?", id).Scan(ctx)
	return &row, notFound(err, "item")
}

// Settle saves what an annotator said of an assignment: state is Answered or Skipped. Saying the same
// again changes nothing; something else is a Conflict, as is an assignment that was taken back, and one that
// ran out when others have taken its place (study.Slack).
func (s *Store) Settle(ctx context.Context, a study.Assignment, overlap int) error {
	row, err := newAssignmentRow(&a)
	if err != nil {
		return err
	}
	var refusal error // one that is saved
	err = s.tx(ctx, func(tx bun.Tx) error {
		now, err := s.lockAssignment(ctx, tx, a.Annotator, a.ID)
		if err != nil {
			return err
		}
		if done, err := settled(now, row); done || err != nil {
			return err
		}
		if err := s.mustBeOpen(ctx, tx, now.StudyID); err != nil {
			return err
		}
		item, err := s.lockItem(ctx, tx, now.ItemID, a.At, a.ID)
		if err != nil {
			return err
		}
		if late := now.ExpiresAt <= a.At.UnixMicro(); late && item.Catch == "" && a.State == study.Answered && item.Taken >= overlap+study.Slack {
			row.State, row.Answer = string(study.Released), now.Answer
			refusal = fault.New(fault.Conflict, "you were away so long that others have answered this question; here is the next one")
		}
		_, err = tx.NewUpdate().Model(row).Column("state", "at", "answer").Where("id = ? AND state = 'asked'", a.ID).Exec(ctx)
		if err != nil || row.State != string(study.Answered) {
			return err
		}
		_, err = tx.NewUpdate().Model((*itemRow)(nil)).Set("answers = answers + 1").Where("id = ?", now.ItemID).Exec(ctx)
		return err
	})
	if err == nil {
		err = refusal
	}
	return wrap(err, "save an answer")
}

// settled reports whether an assignment is as it is to be already; Conflict when it is something else.
func settled(now, next *assignmentRow) (bool, error) {
	switch study.State(now.State) {
	case study.Asked:
		return false, nil
	case study.Answered, study.Skipped:
		if now.State == next.State && now.Answer == next.Answer {
			return true, nil
		}
		return false, fault.New(fault.Conflict, "this question was answered already: take the answer back to change it")
	case study.Undone:
		return false, fault.New(fault.Conflict, "this answer was taken back; the question is asked again")
	}
	return false, fault.New(fault.Conflict, "this question was given back; here is another")
}

// lockAssignment reads an annotator's assignment so that nobody else changes it before the transaction ends.
func (s *Store) lockAssignment(ctx context.Context, tx bun.Tx, annotator, id string) (*assignmentRow, error) {
	var row assignmentRow
	q := tx.NewSelect().Model(&row).Where("a.id = ? AND a.annotator_id = ?", id, annotator)
	if !s.sqlite {
		q.For("UPDATE")
	}
	return &row, notFound(q.Scan(ctx), "question")
}

// Undo takes back an annotator's last answer, the assignment before asked, which is given back, and asks it again
// as again. An answer has its place already; a skipped question needs one, which there may be one more of than the
// overlap (study.Slack). Conflict when there is none, no answer, or it was taken back already.
func (s *Store) Undo(ctx context.Context, annotator, asked string, again study.Assignment, overlap int) (study.Assignment, error) {
	err := s.tx(ctx, func(tx bun.Tx) error {
		last, err := s.lastAnswer(ctx, tx, annotator, asked)
		if err != nil {
			return err
		}
		if err := s.mustBeOpen(ctx, tx, last.StudyID); err != nil {
			return err
		}
		item, err := s.lockItem(ctx, tx, last.ItemID, again.AskedAt, "")
		if err != nil {
			return err
		}
		// Others may have answered a skipped question as often as it needs: asking it again would be one answer too many.
		if last.State == string(study.Skipped) && item.Catch == "" && item.Taken >= overlap+study.Slack {
			return fault.New(fault.Conflict, "others have answered the question that you skipped: it cannot be asked again")
		}
		result, err := tx.NewUpdate().Model((*assignmentRow)(nil)).Set("state = 'undone'").Where("id = ? AND state = ?", last.ID, last.State).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 { // the same click, twice at once
			return cmp.Or(err, error(fault.New(fault.Conflict, "only the last answer can be taken back")))
		}
		// A skip was never counted among the answers.
		if last.State == string(study.Answered) {
			_, err := tx.NewUpdate().Model((*itemRow)(nil)).Set("answers = answers - 1").Where("id = ?", last.ItemID).Exec(ctx)
			if err != nil {
				return err
			}
		}
		again.Study, again.Item, again.Annotator, again.State = last.StudyID, last.ItemID, annotator, study.Asked
		if err := fromJSON(last.Shown, &again.Shown); err != nil {
			return err
		}
		err = tx.NewSelect().Model((*assignmentRow)(nil)).ColumnExpr("MAX(a.place) + 1").Where("a.annotator_id = ?", annotator).Scan(ctx, &again.Place)
		if err != nil {
			return err
		}
		row, err := newAssignmentRow(&again)
		if err != nil {
			return err
		}
		_, err = tx.NewInsert().Model(row).Exec(ctx)
		return err
	})
	return again, wrap(err, "take back an answer")
}

// lastAnswer is an annotator's last answer or skip that stands, before the question asked, which it gives back: what was taken
// back before is passed over, so that answers can be taken back one after another.
func (s *Store) lastAnswer(ctx context.Context, tx bun.Tx, annotator, asked string) (*assignmentRow, error) {
	var rows []assignmentRow
	stands := []string{string(study.Asked), string(study.Answered), string(study.Skipped)}
	err := tx.NewSelect().Model(&rows).Where("a.annotator_id = ? AND a.state IN (?)", annotator, bun.List(stands)).OrderExpr("a.place DESC").Limit(2).Scan(ctx)
	if err != nil {
		return nil, err
	}
	if len(rows) > 0 && rows[0].State == string(study.Asked) {
		if rows[0].ID != asked {
			return nil, fault.New(fault.Conflict, "only the last answer can be taken back")
		}
		_, err := tx.NewUpdate().Model((*assignmentRow)(nil)).Set("state = 'released'").Where("id = ? AND state = 'asked'", asked).Exec(ctx)
		if err != nil {
			return nil, err
		}
		rows = rows[1:]
	} else if asked != "" {
		return nil, fault.New(fault.Conflict, "only the last answer can be taken back")
	}
	if len(rows) == 0 || rows[0].State == string(study.Asked) {
		return nil, fault.New(fault.Conflict, "there is no answer to take back")
	}
	return &rows[0], nil
}
