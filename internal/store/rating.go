package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"realign/internal/fault"
	"realign/internal/preference"
	"realign/internal/study"
)

type itemRow struct {
	bun.BaseModel `bun:"table:study_items,alias:si"`

	ID      string  `bun:"id,pk"`
	StudyID string  `bun:"study_id"`
	Kind    string  `bun:"kind"`
	Prompt  int     `bun:"prompt"`
	Outputs string  `bun:"outputs"`
	Low     float64 `bun:"low"`
	High    float64 `bun:"high"`
	Catch   string  `bun:"catch"`
	Answers int     `bun:"answers"`
	Taken   int     `bun:"taken,scanonly"` // by lockItem
}

func itemRows(id string, items []study.Item) ([]itemRow, error) {
	rows := make([]itemRow, len(items))
	for i, it := range items {
		outputs, err := toJSON(it.Outputs)
		if err != nil {
			return nil, err
		}
		rows[i] = itemRow{ID: it.ID, StudyID: id, Kind: string(it.Kind), Prompt: it.Prompt, Outputs: outputs, Low: it.Low, High: it.High, Catch: string(it.Catch)}
	}
	return rows, nil
}

func (r *itemRow) item() (study.Item, error) {
	it := study.Item{ID: r.ID, Kind: study.Kind(r.Kind), Prompt: r.Prompt, Low: r.Low, High: r.High, Catch: preference.Catch(r.Catch)}
	return it, fromJSON(r.Outputs, &it.Outputs)
}

type annotatorRow struct {
	bun.BaseModel `bun:"table:study_annotators,alias:sa"`

	ID         string `bun:"id,pk"`
	StudyID    string `bun:"study_id"`
	Name       string `bun:"name"`
	NameFold   string `bun:"name_fold"`
	SecretHash string `bun:"secret_hash"`
	JoinedAt   int64  `bun:"joined_at"`
}

func newAnnotatorRow(a study.Annotator, secretHash string) annotatorRow {
	return annotatorRow{ID: a.ID, StudyID: a.Study, Name: a.Name, NameFold: study.FoldName(a.Name), SecretHash: secretHash, JoinedAt: a.JoinedAt.UnixMicro()}
}

func (r *annotatorRow) annotator() study.Annotator {
	return study.Annotator{ID: r.ID, Study: r.StudyID, Name: r.Name, JoinedAt: fromMicros(&r.JoinedAt)}
}

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

// StudyItems are a study's items with how many answers each has.
func (s *Store) StudyItems(ctx context.Context, id string) ([]study.ItemProgress, error) {
	var rows []itemRow
	err := s.read.NewSelect().Model(&rows).Where("si.study_id = ?", id).OrderExpr("si.prompt, si.kind, si.low, si.high, si.id").Scan(ctx)
	if err != nil {
		return nil, wrap(err, "read the items of study %s", id)
	}
	list := make([]study.ItemProgress, len(rows))
	for i := range rows {
		it, err := rows[i].item()
		if err != nil {
			return nil, err
		}
		list[i] = study.ItemProgress{Item: it, Count: study.Count{Answers: rows[i].Answers}}
	}
	return list, nil
}

// StudyTexts are the prompt of an item and its outputs, in the order of ids.
func (s *Store) StudyTexts(ctx context.Context, id string, place int, ids []string) (study.Prompt, []study.Output, error) {
	var prompt study.Prompt
	var row studyPromptRow
	if err := s.read.NewSelect().Model(&row).Where("sp.study_id = ? AND sp.place = ?", id, place).Scan(ctx); err != nil {
		return prompt, nil, wrap(notFound(err, "prompt"), "read a prompt of study %s", id)
	}
	if err := fromJSON(row.Body, &prompt); err != nil {
		return prompt, nil, err
	}
	var rows []studyOutputRow
	if err := s.studyOutputs(id).Where("so.id IN (?)", bun.List(ids)).Scan(ctx, &rows); err != nil {
		return prompt, nil, wrap(err, "read outputs of study %s", id)
	}
	outputs := make([]study.Output, len(ids))
	for i := range rows {
		o, err := rows[i].output()
		if err != nil {
			return prompt, nil, err
		}
		for k, want := range ids {
			if want == o.ID {
				outputs[k] = o
			}
		}
	}
	if slices.ContainsFunc(outputs, func(o study.Output) bool { return o.ID == "" }) {
		return prompt, nil, fault.New(fault.Internal, "an item of study %s has an output that is not there", id)
	}
	return prompt, outputs, nil
}

// AddAnnotator keeps an annotator under the hash of their cookie: Conflict when the name is taken, or when
// there are most already.
func (s *Store) AddAnnotator(ctx context.Context, a study.Annotator, secretHash string, most int) error {
	row := newAnnotatorRow(a, secretHash)
	err := s.tx(ctx, func(tx bun.Tx) error {
		if _, err := s.lockStudy(ctx, tx, "", a.Study); err != nil {
			return err
		}
		there := func() *bun.SelectQuery {
			return tx.NewSelect().Model((*annotatorRow)(nil)).Where("sa.study_id = ?", a.Study)
		}
		if taken, err := there().Where("sa.name_fold = ?", row.NameFold).Exists(ctx); err != nil || taken {
			if err == nil {
				err = fault.New(fault.Conflict, "somebody called %q has joined already: choose another name", a.Name)
			}
			return err
		}
		if n, err := there().Count(ctx); err != nil || int(n) >= most {
			if err == nil {
				err = fault.New(fault.Conflict, "%d annotators have joined, the most a study may have", n)
			}
			return err
		}
		_, err := tx.NewInsert().Model(&row).Exec(ctx)
		return err
	})
	return wrap(err, "add an annotator to study %s", a.Study)
}

// AnnotatorBySecret finds an annotator of a study by the hash of their cookie.
func (s *Store) AnnotatorBySecret(ctx context.Context, id, secretHash string) (study.Annotator, error) {
	var row annotatorRow
	err := s.read.NewSelect().Model(&row).Where("sa.study_id = ? AND sa.secret_hash = ?", id, secretHash).Scan(ctx)
	if err != nil {
		return study.Annotator{}, wrap(notFound(err, "annotator"), "read an annotator")
	}
	return row.annotator(), nil
}

// StudyAnnotators are those who joined, by when they did, with what each has done.
func (s *Store) StudyAnnotators(ctx context.Context, id string) ([]study.AnnotatorProgress, error) {
	var rows []struct {
		annotatorRow
		Answered int    `bun:"answered"`
		Skipped  int    `bun:"skipped"`
		LastAt   *int64 `bun:"last_at"`
	}
	err := s.read.NewSelect().TableExpr("study_annotators AS sa").ColumnExpr("sa.*").
		ColumnExpr("COALESCE(SUM(CASE WHEN a.state = 'answered' THEN 1 ELSE 0 END), 0) AS answered").
		ColumnExpr("COALESCE(SUM(CASE WHEN a.state = 'skipped' THEN 1 ELSE 0 END), 0) AS skipped").
		ColumnExpr("MAX(a.at) AS last_at").
		Join("LEFT JOIN study_assignments AS a ON a.annotator_id = sa.id").
		Where("sa.study_id = ?", id).GroupExpr("sa.id").OrderExpr("sa.joined_at, sa.id").Scan(ctx, &rows)
	if err != nil {
		return nil, wrap(err, "list the annotators of study %s", id)
	}
	list := make([]study.AnnotatorProgress, len(rows))
	for i := range rows {
		list[i] = study.AnnotatorProgress{Annotator: rows[i].annotator(), Answered: rows[i].Answered, Skipped: rows[i].Skipped, LastAt: fromMicros(rows[i].LastAt)}
	}
	return list, nil
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

// lastAnswer is an annotator's last answer or skip, before the question asked, which it gives back.
func (s *Store) lastAnswer(ctx context.Context, tx bun.Tx, annotator, asked string) (*assignmentRow, error) {
	var rows []assignmentRow
	err := tx.NewSelect().Model(&rows).Where("a.annotator_id = ?", annotator).OrderExpr("a.place DESC").Limit(2).Scan(ctx)
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
	if len(rows) == 0 || rows[0].State != string(study.Answered) && rows[0].State != string(study.Skipped) {
		return nil, fault.New(fault.Conflict, "there is no answer to take back")
	}
	return &rows[0], nil
}

// Ratings are all answers and skips of a study in the order they were given, with all that they are about.
func (s *Store) Ratings(ctx context.Context, id string) ([]study.Rating, error) {
	st, err := s.oneStudy(ctx, "st.id = ?", id)
	if err != nil {
		return nil, err
	}
	prompts, err := s.StudyPrompts(ctx, id)
	if err != nil {
		return nil, err
	}
	list, err := s.StudyOutputs(ctx, id)
	if err != nil {
		return nil, err
	}
	outputs := make(map[string]study.Output, len(list))
	for _, o := range list {
		outputs[o.ID] = o
	}
	var rows []struct {
		assignmentRow
		Name   string `bun:"name"`
		Kind   string `bun:"kind"`
		Prompt int    `bun:"prompt"`
		Catch  string `bun:"catch"`
	}
	err = s.read.NewSelect().TableExpr("study_assignments AS a").ColumnExpr("a.*, sa.name, si.kind, si.prompt, si.catch").
		Join("JOIN study_items AS si ON si.id = a.item_id").Join("JOIN study_annotators AS sa ON sa.id = a.annotator_id").
		Where("a.study_id = ? AND a.state IN ('answered', 'skipped')", id).OrderExpr("a.at, a.id").Scan(ctx, &rows)
	if err != nil {
		return nil, wrap(err, "read the ratings of study %s", id)
	}
	points := 0
	if st.Setup.Likert != nil {
		points = st.Setup.Likert.Points
	}
	ratings := make([]study.Rating, len(rows))
	for i := range rows {
		row, r := &rows[i], &ratings[i]
		if r.Assignment, err = row.assignment(); err != nil {
			return nil, err
		}
		if row.Prompt < 1 || row.Prompt > len(prompts) {
			return nil, fault.New(fault.Internal, "rating %s is about a prompt that is not there", row.ID)
		}
		r.Name, r.Kind, r.Prompt, r.Points = row.Name, study.Kind(row.Kind), prompts[row.Prompt-1], points
		for _, output := range r.Shown {
			o, ok := outputs[output]
			if !ok {
				return nil, fault.New(fault.Internal, "rating %s is about an output that is not there", row.ID)
			}
			r.Outputs = append(r.Outputs, o)
		}
		r.Catch = study.ShownCatch(preference.Catch(row.Catch), r.Outputs[0])
	}
	return ratings, nil
}

// StudyTallies count what there is of each of some studies.
func (s *Store) StudyTallies(ctx context.Context, ids []string) (map[string]study.Summary, error) {
	tallies := make(map[string]study.Summary, len(ids))
	if len(ids) == 0 {
		return tallies, nil
	}
	count := func(table, condition string, add func(*study.Summary, int)) error {
		var rows []struct {
			StudyID string `bun:"study_id"`
			N       int    `bun:"n"`
		}
		q := s.read.NewSelect().TableExpr(table).ColumnExpr("study_id, COUNT(*) AS n").Where("study_id IN (?)", bun.List(ids)).GroupExpr("study_id")
		if condition != "" {
			q.Where(condition)
		}
		if err := q.Scan(ctx, &rows); err != nil {
			return wrap(err, "count what studies have")
		}
		for _, row := range rows {
			t := tallies[row.StudyID]
			add(&t, row.N)
			tallies[row.StudyID] = t
		}
		return nil
	}
	for _, one := range []struct {
		table, condition string
		add              func(*study.Summary, int)
	}{
		{"study_prompts", "", func(t *study.Summary, n int) { t.Prompts = n }},
		{"study_prompts", "problem <> ''", func(t *study.Summary, n int) { t.Problems = n }},
		{"study_outputs", "NOT broken", func(t *study.Summary, n int) { t.Outputs = n }},
		{"study_outputs AS so " + decodedFor, "", func(t *study.Summary, n int) { t.Decoded = n }},
		{"study_items", "catch = ''", func(t *study.Summary, n int) { t.Items = n }},
		{"study_items", "catch <> ''", func(t *study.Summary, n int) { t.Catches = n }},
		{"study_annotators", "", func(t *study.Summary, n int) { t.Annotators = n }},
		{"study_assignments", "state = 'answered'", func(t *study.Summary, n int) { t.Answers = n }},
		{"study_assignments", "state = 'skipped'", func(t *study.Summary, n int) { t.Skips = n }},
	} {
		if err := count(one.table, one.condition, one.add); err != nil {
			return nil, err
		}
	}
	return tallies, nil
}
