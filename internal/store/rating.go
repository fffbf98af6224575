package store

import (
	"context"
	"slices"

	"github.com/uptrace/bun"

	"realign/internal/fault"
	"realign/internal/preference"
	"realign/internal/study"
)

// itemRow is a study.Item with how many answers it has. Outputs is a JSON list of their ids.
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

// itemRows are items of a study as they are stored, without answers.
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

// item is the row as the domain has it.
func (r *itemRow) item() (study.Item, error) {
	it := study.Item{ID: r.ID, Kind: study.Kind(r.Kind), Prompt: r.Prompt, Low: r.Low, High: r.High, Catch: preference.Catch(r.Catch)}
	return it, fromJSON(r.Outputs, &it.Outputs)
}

// annotatorRow is a study.Annotator. NameFold is unique in a study; of the secret the hash is kept.
type annotatorRow struct {
	bun.BaseModel `bun:"table:study_annotators,alias:sa"`

	ID         string `bun:"id,pk"`
	StudyID    string `bun:"study_id"`
	Name       string `bun:"name"`
	NameFold   string `bun:"name_fold"`
	SecretHash string `bun:"secret_hash"`
	JoinedAt   int64  `bun:"joined_at"`
}

// newAnnotatorRow is an annotator as they are stored.
func newAnnotatorRow(a study.Annotator, secretHash string) annotatorRow {
	return annotatorRow{ID: a.ID, StudyID: a.Study, Name: a.Name, NameFold: study.FoldName(a.Name), SecretHash: secretHash, JoinedAt: a.JoinedAt.UnixMicro()}
}

// annotator is the row as the domain has it.
func (r *annotatorRow) annotator() study.Annotator {
	return study.Annotator{ID: r.ID, Study: r.StudyID, Name: r.Name, JoinedAt: fromMicros(&r.JoinedAt)}
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

// StudyTallies count what there is of each of some studies, by id. A study of which there is nothing is left out.
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
