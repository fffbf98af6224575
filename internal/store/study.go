package store

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"realign/internal/fault"
	"realign/internal/study"
)

// studyRow is a study.Study. Setup, without the secret, and Files are JSON; of the invite link's token the hash is
// kept; times are microseconds since 1970.
type studyRow struct {
	bun.BaseModel `bun:"table:studies,alias:st"`

	ID         string  `bun:"id,pk"`
	Owner      string  `bun:"owner"`
	Instance   string  `bun:"instance"`
	Setup      string  `bun:"setup"`
	Status     string  `bun:"status"`
	Beta       float64 `bun:"beta"`
	Files      string  `bun:"files"`
	Build      string  `bun:"build"`
	CreatedAt  int64   `bun:"created_at"`
	UpdatedAt  int64   `bun:"updated_at"`
	ClosedAt   *int64  `bun:"closed_at"`
	InviteHash *string `bun:"invite_hash"`
	Secret     string  `bun:"secret"`
	Experiment *string `bun:"experiment_id"`
}

// newStudyRow is a study as it is stored, without an invite link.
func newStudyRow(s *study.Study) (*studyRow, error) {
	setup, err := toJSON(s.Setup)
	if err != nil {
		return nil, err
	}
	files, err := toJSON(s.Files)
	if err != nil {
		return nil, err
	}
	return &studyRow{
		ID: s.ID, Owner: s.Owner, Instance: s.Instance, Setup: setup, Status: string(s.Status), Beta: s.Beta,
		Files: files, Build: s.Build, Secret: s.Setup.Secret, CreatedAt: s.CreatedAt.UnixMicro(), UpdatedAt: s.UpdatedAt.UnixMicro(), ClosedAt: micros(s.ClosedAt),
		Experiment: optional(s.Experiment),
	}, nil
}

// optional is a text as a column has it that may be empty of one.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// study is the row as the domain has it.
func (r *studyRow) study() (study.Study, error) {
	s := study.Study{
		ID: r.ID, Owner: r.Owner, Instance: r.Instance, Status: study.Status(r.Status), Beta: r.Beta, Build: r.Build,
		CreatedAt: fromMicros(&r.CreatedAt), UpdatedAt: fromMicros(&r.UpdatedAt), ClosedAt: fromMicros(r.ClosedAt),
		Invited: r.InviteHash != nil,
	}
	if r.Experiment != nil {
		s.Experiment = *r.Experiment
	}
	if err := fromJSON(r.Setup, &s.Setup); err != nil {
		return s, err
	}
	s.Setup.Secret = r.Secret
	return s, fromJSON(r.Files, &s.Files)
}

// studyPromptRow is a study.Prompt. Body is JSON, but for the problem.
type studyPromptRow struct {
	bun.BaseModel `bun:"table:study_prompts,alias:sp"`

	StudyID string `bun:"study_id,pk"`
	Place   int    `bun:"place,pk"`
	Body    string `bun:"body"`
	Problem string `bun:"problem"`
}

// CreateStudy keeps a new study with its prompts, numbered by their place.
func (s *Store) CreateStudy(ctx context.Context, st study.Study, prompts []study.Prompt) error {
	row, err := newStudyRow(&st)
	if err != nil {
		return err
	}
	err = s.tx(ctx, func(tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return err
		}
		return insertPrompts(ctx, tx, st.ID, 0, prompts)
	})
	return wrap(err, "create study %s", st.ID)
}

// ReviseStudy saves the setup and prompts of a draft: Conflict when it is none any more.
func (s *Store) ReviseStudy(ctx context.Context, st study.Study, prompts []study.Prompt) error {
	row, err := newStudyRow(&st)
	if err != nil {
		return err
	}
	err = s.tx(ctx, func(tx bun.Tx) error {
		now, err := s.lockStudy(ctx, tx, st.Owner, st.ID)
		if err != nil {
			return err
		}
		if now.Status != string(study.Draft) {
			return fault.New(fault.Conflict, "the study is %s: its setup is fixed", now.Status)
		}
		_, err = tx.NewUpdate().Model(row).Column("setup", "beta", "updated_at").WherePK().Exec(ctx)
		if err != nil {
			return err
		}
		if _, err = tx.NewDelete().Model((*studyPromptRow)(nil)).Where("study_id = ?", st.ID).Exec(ctx); err != nil {
			return err
		}
		return insertPrompts(ctx, tx, st.ID, 0, prompts)
	})
	return wrap(err, "revise study %s", st.ID)
}

// insertPrompts adds prompts after so many others.
func insertPrompts(ctx context.Context, tx bun.Tx, id string, after int, prompts []study.Prompt) error {
	rows := make([]studyPromptRow, len(prompts))
	for i, p := range prompts {
		problem := p.Problem
		p.Place, p.Problem = after+i+1, ""
		body, err := toJSON(p)
		if err != nil {
			return err
		}
		rows[i] = studyPromptRow{StudyID: id, Place: p.Place, Body: body, Problem: problem}
	}
	return insertAll(ctx, tx, rows)
}

// insertAll inserts rows, so many at a time that no statement has too many values.
func insertAll[R any](ctx context.Context, tx bun.Tx, rows []R) error {
	for part := range slices.Chunk(rows, 500) {
		if _, err := tx.NewInsert().Model(&part).Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// lockStudy reads an owner's study ("" is anybody's) so that nobody else changes it before the transaction ends.
func (s *Store) lockStudy(ctx context.Context, tx bun.Tx, owner, id string) (*studyRow, error) {
	var row studyRow
	q := tx.NewSelect().Model(&row).Where("st.id = ?", id)
	if owner != "" {
		q.Where("st.owner = ?", owner)
	}
	if !s.sqlite { // SQLite's writing transactions wait for each other anyway
		q.For("UPDATE")
	}
	return &row, notFound(q.Scan(ctx), "study")
}

// Study is one of an owner's studies.
func (s *Store) Study(ctx context.Context, owner, id string) (study.Study, error) {
	return s.oneStudy(ctx, "st.id = ? AND st.owner = ?", id, owner)
}

// StudyByInvite is the study whose invite link has the token with this hash.
func (s *Store) StudyByInvite(ctx context.Context, hash string) (study.Study, error) {
	return s.oneStudy(ctx, "st.invite_hash = ?", hash)
}

// oneStudy is the study that a condition finds.
func (s *Store) oneStudy(ctx context.Context, where string, args ...any) (study.Study, error) {
	var row studyRow
	if err := s.read.NewSelect().Model(&row).Where(where, args...).Scan(ctx); err != nil {
		return study.Study{}, wrap(notFound(err, "study"), "read a study")
	}
	return row.study()
}

// Studies lists an owner's, the newest first.
func (s *Store) Studies(ctx context.Context, owner string) ([]study.Study, error) {
	var rows []studyRow
	err := s.read.NewSelect().Model(&rows).Where("st.owner = ?", owner).OrderExpr("st.created_at DESC, st.id DESC").Scan(ctx)
	if err != nil {
		return nil, wrap(err, "list studies")
	}
	return toStudies(rows)
}

// StudiesDecoding lists the studies, of any owner, that an instance of the server is decoding.
func (s *Store) StudiesDecoding(ctx context.Context, instance string) ([]study.Study, error) {
	var rows []studyRow
	err := s.read.NewSelect().Model(&rows).Where("st.instance = ? AND st.status = 'decoding'", instance).OrderExpr("st.updated_at, st.id").Scan(ctx)
	if err != nil {
		return nil, wrap(err, "list studies that are being decoded")
	}
	return toStudies(rows)
}

// toStudies are rows as the domain has them.
func toStudies(rows []studyRow) ([]study.Study, error) {
	list := make([]study.Study, len(rows))
	for i := range rows {
		var err error
		if list[i], err = rows[i].study(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// SetStudyStatus moves a study on, if Status.Become allows it.
func (s *Store) SetStudyStatus(ctx context.Context, owner, id string, status study.Status, at time.Time) error {
	err := s.tx(ctx, func(tx bun.Tx) error { return s.setStatus(ctx, tx, owner, id, status, at) })
	return wrap(err, "set the status of study %s", id)
}

// setStatus moves a study on within a transaction: Conflict where Status.Become does not allow it.
func (s *Store) setStatus(ctx context.Context, tx bun.Tx, owner, id string, status study.Status, at time.Time) error {
	row, err := s.lockStudy(ctx, tx, owner, id)
	if err != nil {
		return err
	}
	if err := study.Status(row.Status).Become(status); err != nil {
		return err
	}
	q := tx.NewUpdate().Model((*studyRow)(nil)).Set("status = ?", string(status)).Set("updated_at = ?", at.UnixMicro()).Where("id = ?", id)
	if status == study.Closed {
		q.Set("closed_at = ?", at.UnixMicro())
	}
	_, err = q.Exec(ctx)
	return err
}

// SetStudyInvite makes the token with this hash the study's invite link instead of any other; "" revokes it.
func (s *Store) SetStudyInvite(ctx context.Context, owner, id, hash string) error {
	var value *string
	if hash != "" {
		value = &hash
	}
	result, err := s.write.NewUpdate().Model((*studyRow)(nil)).Set("invite_hash = ?", value).
		Where("id = ? AND owner = ?", id, owner).Exec(ctx)
	return changed(result, err, "study")
}

// DeleteStudy removes a study with all that belongs to it; its experiment, too, unless something else is about it.
func (s *Store) DeleteStudy(ctx context.Context, owner, id string) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		row, err := s.lockStudy(ctx, tx, owner, id)
		if err != nil {
			return err
		}
		if _, err := tx.NewDelete().Model((*studyRow)(nil)).Where("id = ?", id).Exec(ctx); err != nil || row.Experiment == nil {
			return err
		}
		return dropUnused(ctx, tx, *row.Experiment)
	})
	return wrap(err, "delete study %s", id)
}

// StudyPrompts are a study's prompts in order.
func (s *Store) StudyPrompts(ctx context.Context, id string) ([]study.Prompt, error) {
	var rows []studyPromptRow
	if err := s.read.NewSelect().Model(&rows).Where("sp.study_id = ?", id).OrderExpr("sp.place").Scan(ctx); err != nil {
		return nil, wrap(err, "read the prompts of study %s", id)
	}
	prompts := make([]study.Prompt, len(rows))
	for i, row := range rows {
		if err := fromJSON(row.Body, &prompts[i]); err != nil {
			return nil, err
		}
		prompts[i].Problem = row.Problem
	}
	return prompts, nil
}

// toJSON is a value as it is kept in a column of text.
func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, "this cannot be written as JSON")
	}
	return string(b), nil
}

// fromJSON reads what toJSON wrote. The error is Internal.
func fromJSON(text string, v any) error {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fault.Wrap(err, fault.Internal, "what is stored cannot be read")
	}
	return nil
}
