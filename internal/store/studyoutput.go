package store

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/study"
)

// studyOutputRow is a study.Output. Seed is decimal: a column of integers holds 63 bits without a sign.
type studyOutputRow struct {
	bun.BaseModel `bun:"table:study_outputs,alias:so"`

	ID      string  `bun:"id,pk"`
	StudyID string  `bun:"study_id"`
	Prompt  int     `bun:"prompt"`
	Source  int     `bun:"source"`
	Lambda  float64 `bun:"lambda"`
	Sample  int     `bun:"sample"`
	Seed    string  `bun:"seed"`
	Broken  bool    `bun:"broken"`
	Body    *string `bun:"body"` // of a spoilt one

	// Of any other, what the experiment has at its cell.
	Text   *string `bun:"text,scanonly"`
	Tokens *int    `bun:"tokens,scanonly"`
	Finish *string `bun:"finish,scanonly"`
}

// outputBody is a spoilt output.
type outputBody struct {
	Text   string `json:"text"`
	Tokens int    `json:"tokens"`
	Reason string `json:"reason"` // why it ended
}

// newStudyOutputRow is an output as it is stored: a text is stored of a spoilt one only.
func newStudyOutputRow(id string, o *study.Output) (*studyOutputRow, error) {
	row := &studyOutputRow{
		ID: o.ID, StudyID: id, Prompt: o.Prompt, Source: o.Source, Lambda: o.Lambda, Sample: o.Sample,
		Seed: strconv.FormatUint(o.Seed, 10), Broken: o.Broken,
	}
	if o.Broken {
		body, err := toJSON(outputBody{o.Text, o.Tokens, o.Reason})
		if err != nil {
			return nil, err
		}
		row.Body = &body
	}
	return row, nil
}

// output is the row as the domain has it. It is Done where it is spoilt or the experiment has it.
func (r *studyOutputRow) output() (study.Output, error) {
	o := study.Output{ID: r.ID, Prompt: r.Prompt, Source: r.Source, Lambda: r.Lambda, Sample: r.Sample, Broken: r.Broken}
	var err error
	if o.Seed, err = strconv.ParseUint(r.Seed, 10, 64); err != nil {
		return o, fault.Wrap(err, fault.Internal, "output %s cannot be read", r.ID)
	}
	switch {
	case r.Body != nil:
		var body outputBody
		if err := fromJSON(*r.Body, &body); err != nil {
			return o, err
		}
		o.Done, o.Text, o.Tokens, o.Reason = true, body.Text, body.Tokens, body.Reason
	case r.Text != nil:
		o.Done, o.Tokens, o.Reason = true, *r.Tokens, *r.Finish
		return o, fromJSON(*r.Text, &o.Text)
	}
	return o, nil
}

// decodedFor joins the outputs of studies to what their experiments have at the same cells.
const decodedFor = "JOIN experiment_outputs AS eo ON eo.experiment_id = (SELECT st.experiment_id FROM studies AS st WHERE st.id = so.study_id)" +
	" AND eo.prompt = so.source AND eo.lambda = so.lambda AND eo.sample = so.sample AND eo.error = '' AND NOT so.broken"

// studyOutputs reads outputs of a study with their texts.
func (s *Store) studyOutputs(id string) *bun.SelectQuery {
	return s.read.NewSelect().Model((*studyOutputRow)(nil)).ColumnExpr("so.*, eo.text, eo.tokens, eo.finish").Join("LEFT "+decodedFor).Where("so.study_id = ?", id)
}

// BeginStudy fixes a draft's outputs and begins its decoding: instance, files, build, secret and experiment are those of st. The
// experiment is made unless own is nil.
func (s *Store) BeginStudy(ctx context.Context, st study.Study, own *experiment.Setup, outputs []study.Output) error {
	files, err := toJSON(st.Files)
	if err != nil {
		return err
	}
	rows, err := studyOutputRows(st.ID, outputs)
	if err != nil {
		return err
	}
	err = s.tx(ctx, func(tx bun.Tx) error {
		if err := s.setStatus(ctx, tx, st.Owner, st.ID, study.Decoding, st.UpdatedAt); err != nil {
			return err
		}
		if own != nil {
			err := createExperiment(ctx, tx, &experiment.Experiment{ID: st.Experiment, Owner: st.Owner, Setup: *own, Created: st.UpdatedAt})
			if err != nil {
				return err
			}
		}
		_, err := tx.NewUpdate().Model((*studyRow)(nil)).Set("instance = ?", st.Instance).Set("files = ?", files).
			Set("build = ?", st.Build).Set("secret = ?", st.Setup.Secret).Set("experiment_id = ?", st.Experiment).Where("id = ?", st.ID).Exec(ctx)
		if err != nil {
			return err
		}
		return insertAll(ctx, tx, rows)
	})
	return wrap(err, "begin study %s", st.ID)
}

// studyOutputRows are outputs of a study as they are stored.
func studyOutputRows(id string, outputs []study.Output) ([]studyOutputRow, error) {
	rows := make([]studyOutputRow, len(outputs))
	for i := range outputs {
		row, err := newStudyOutputRow(id, &outputs[i])
		if err != nil {
			return nil, err
		}
		rows[i] = *row
	}
	return rows, nil
}

// StudyOutputs are a study's outputs by prompt, sample and λ, spoilt ones last.
func (s *Store) StudyOutputs(ctx context.Context, id string) ([]study.Output, error) {
	var rows []studyOutputRow
	if err := s.studyOutputs(id).OrderExpr("so.broken, so.prompt, so.sample, so.lambda").Scan(ctx, &rows); err != nil {
		return nil, wrap(err, "read the outputs of study %s", id)
	}
	outputs := make([]study.Output, len(rows))
	for i := range rows {
		var err error
		if outputs[i], err = rows[i].output(); err != nil {
			return nil, err
		}
	}
	return outputs, nil
}

// FinishStudy ends the decoding: it adds spoilt outputs and the items, notes why prompts are left out, by their places,
// and the study is Ready.
func (s *Store) FinishStudy(ctx context.Context, owner, id string, problems map[int]string, broken []study.Output, items []study.Item, at time.Time) error {
	outputs, err := studyOutputRows(id, broken)
	if err != nil {
		return err
	}
	rows, err := itemRows(id, items)
	if err != nil {
		return err
	}
	err = s.tx(ctx, func(tx bun.Tx) error {
		if err := s.setStatus(ctx, tx, owner, id, study.Ready, at); err != nil {
			return err
		}
		for place, problem := range problems {
			_, err := tx.NewUpdate().Model((*studyPromptRow)(nil)).Set("problem = ?", noZeros(strings.ToValidUTF8(problem, "\uFFFD"))).
				Where("study_id = ? AND place = ?", id, place).Exec(ctx)
			if err != nil {
				return err
			}
		}
		if err := insertAll(ctx, tx, outputs); err != nil {
			return err
		}
		return insertAll(ctx, tx, rows)
	})
	return wrap(err, "finish study %s", id)
}
