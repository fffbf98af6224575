package store

import (
	"context"
	"slices"

	"github.com/uptrace/bun"

	"realign/internal/experiment"
	"realign/internal/study"
	"realign/internal/sweep"
)

// experimentRow is an experiment without its prompts.
type experimentRow struct {
	bun.BaseModel `bun:"table:experiments,alias:e"`

	ID        string `bun:"id,pk"`
	Owner     string `bun:"owner"`
	Setup     string `bun:"setup"` // without prompts
	CreatedAt int64  `bun:"created_at"`
	Secret    bool   `bun:"secret,scanonly"` // see experiment.Experiment.Secret; read from the study
}

// experimentPromptRow is one prompt of an experiment. They have rows of their own so that many can come one by one.
type experimentPromptRow struct {
	bun.BaseModel `bun:"table:experiment_prompts,alias:ep"`

	ExperimentID string `bun:"experiment_id,pk"`
	Prompt       int    `bun:"prompt,pk"`
	Body         string `bun:"body"` // JSON
}

// createExperiment keeps a new experiment, of which nothing is decoded yet.
func createExperiment(ctx context.Context, tx bun.Tx, e *experiment.Experiment) error {
	bare := e.Setup
	bare.Prompts = nil
	setup, err := toJSON(bare)
	if err != nil {
		return err
	}
	_, err = tx.NewInsert().Model(&experimentRow{ID: e.ID, Owner: e.Owner, Setup: setup, CreatedAt: e.Created.UnixMicro()}).Exec(ctx)
	if err != nil {
		return err
	}
	return insertExperimentPrompts(ctx, tx, e.ID, 0, e.Setup.Prompts)
}

// insertExperimentPrompts adds prompts after so many others.
func insertExperimentPrompts(ctx context.Context, tx bun.Tx, id string, after int, prompts []experiment.Prompt) error {
	rows := make([]experimentPromptRow, 0, min(len(prompts), bulk))
	for part := range slices.Chunk(prompts, bulk) {
		rows = rows[:0]
		for i := range part {
			body, err := toJSON(&part[i])
			if err != nil {
				return err
			}
			rows = append(rows, experimentPromptRow{ExperimentID: id, Prompt: after + i, Body: body})
		}
		if err := insertAll(ctx, tx, rows); err != nil {
			return err
		}
		after += len(part)
	}
	return nil
}

// Experiment is one of an owner's experiments.
func (s *Store) Experiment(ctx context.Context, owner, id string) (experiment.Experiment, error) {
	e, err := s.ExperimentHead(ctx, owner, id)
	if err != nil {
		return e, err
	}
	e.Setup.Prompts, err = s.experimentPrompts(ctx, id)
	return e, err
}

// ExperimentHead is Experiment without the prompts, of which there may be many.
func (s *Store) ExperimentHead(ctx context.Context, owner, id string) (experiment.Experiment, error) {
	var row experimentRow
	err := s.read.NewSelect().Model(&row).ColumnExpr("e.*").
		ColumnExpr("EXISTS (SELECT 1 FROM studies AS st WHERE st.id = e.id AND st.secret <> '' AND st.status <> 'closed') AS secret").
		Where("e.id = ? AND e.owner = ?", id, owner).Scan(ctx)
	if err != nil {
		return experiment.Experiment{}, wrap(notFound(err, "experiment"), "read experiment %s", id)
	}
	e := experiment.Experiment{ID: row.ID, Owner: row.Owner, Created: fromMicros(&row.CreatedAt), Secret: row.Secret}
	return e, fromJSON(row.Setup, &e.Setup)
}

// experimentPrompts are an experiment's prompts in the order of their indexes.
func (s *Store) experimentPrompts(ctx context.Context, id string) ([]experiment.Prompt, error) {
	var rows []experimentPromptRow
	if err := s.read.NewSelect().Model(&rows).Column("body").Where("ep.experiment_id = ?", id).OrderExpr("ep.prompt").Scan(ctx); err != nil {
		return nil, wrap(err, "read the prompts of experiment %s", id)
	}
	prompts := make([]experiment.Prompt, len(rows))
	for i := range rows {
		if err := fromJSON(rows[i].Body, &prompts[i]); err != nil {
			return nil, err
		}
	}
	return prompts, nil
}

// dropUnused removes an experiment that no study and no sweep is about any more.
func dropUnused(ctx context.Context, tx bun.Tx, id string) error {
	_, err := tx.NewDelete().Model((*experimentRow)(nil)).Where("id = ?", id).
		Where("NOT EXISTS (SELECT 1 FROM studies WHERE experiment_id = ?)", id).
		Where("NOT EXISTS (SELECT 1 FROM sweeps WHERE experiment_id = ?)", id).Exec(ctx)
	return err
}

// outputRow is an output of an experiment: what was decoded of one cell. Its numbers are those of
// experiment.Output.
type outputRow struct {
	bun.BaseModel `bun:"table:experiment_outputs,alias:c"`

	ExperimentID  string  `bun:"experiment_id,pk"`
	Prompt        int     `bun:"prompt,pk"`
	Lambda        float64 `bun:"lambda,pk"`
	Sample        int     `bun:"sample,pk"`
	Text          string  `bun:"text"` // JSON; empty where it was not read
	Tokens        int     `bun:"tokens"`
	Finish        string  `bun:"finish"`
	Error         string  `bun:"error"`
	Untraced      bool    `bun:"untraced"`
	KL            float64 `bun:"kl"`
	LogZ          float64 `bun:"log_z"`
	LogpReference float64 `bun:"logp_reference"`
	LogpAligned   float64 `bun:"logp_aligned"`
	LogQ          string  `bun:"log_q"` // JSON
	Exact         string  `bun:"exact"` // JSON; empty where there were no particles
}

// newOutputRow is an output as it is stored, of the experiment of an id.
func newOutputRow(id string, o *experiment.Output) (outputRow, error) {
	text, err := toJSON(o.Text)
	if err != nil {
		return outputRow{}, err
	}
	q, err := toJSON(o.LogQ)
	exact := ""
	if err == nil && o.Exact != nil {
		exact, err = toJSON(o.Exact)
	}
	return outputRow{
		ExperimentID: id, Prompt: o.Prompt, Lambda: o.Lambda, Sample: o.Sample, Text: text, Tokens: o.Tokens,
		Finish: o.Finish, Error: noZeros(o.Error), Untraced: o.Untraced, KL: o.KL, LogZ: o.LogZ,
		LogpReference: o.LogpReference, LogpAligned: o.LogpAligned, LogQ: q, Exact: exact,
	}, err
}

// output is the row as the domain has it; without a text where none was read.
func (r *outputRow) output() (experiment.Output, error) {
	o := experiment.Output{
		Cell:   experiment.Cell{Prompt: r.Prompt, Lambda: r.Lambda, Sample: r.Sample},
		Tokens: r.Tokens, Finish: r.Finish, Error: r.Error, Untraced: r.Untraced,
		KL: r.KL, LogZ: r.LogZ, LogpReference: r.LogpReference, LogpAligned: r.LogpAligned,
	}
	if r.Text != "" {
		if err := fromJSON(r.Text, &o.Text); err != nil {
			return o, err
		}
	}
	if r.Exact != "" {
		if err := fromJSON(r.Exact, &o.Exact); err != nil {
			return o, err
		}
	}
	return o, fromJSON(r.LogQ, &o.LogQ)
}

// AddOutputs keeps outputs of an experiment, all of them or nothing, but for those whose cell has one already. It returns
// how many were new.
func (s *Store) AddOutputs(ctx context.Context, id string, outputs []experiment.Output) (added int, err error) {
	rows := make([]outputRow, len(outputs))
	for i := range outputs {
		if rows[i], err = newOutputRow(id, &outputs[i]); err != nil {
			return 0, err
		}
	}
	err = s.tx(ctx, func(tx bun.Tx) error {
		added, err = insertNew(ctx, tx, rows)
		return err
	})
	return added, wrap(err, "keep outputs of experiment %s", id)
}

// outputRows reads rows of an experiment in the order of their cells: of all prompts, or of one.
func (s *Store) outputRows(id string, prompt *int, texts bool) *bun.SelectQuery {
	q := s.read.NewSelect().Model((*outputRow)(nil)).Where("c.experiment_id = ?", id).OrderExpr("c.prompt, c.lambda, c.sample")
	if !texts {
		q.ExcludeColumn("text")
	}
	if prompt != nil {
		q.Where("c.prompt = ?", *prompt)
	}
	return q
}

// ExperimentOutputs are the outputs of an experiment in the order of their cells: of all prompts, or of one. Without texts
// they take much less room.
func (s *Store) ExperimentOutputs(ctx context.Context, id string, prompt *int, texts bool) ([]experiment.Output, error) {
	var rows []outputRow
	if err := s.outputRows(id, prompt, texts).Scan(ctx, &rows); err != nil {
		return nil, wrap(err, "read outputs of experiment %s", id)
	}
	outputs := make([]experiment.Output, len(rows))
	for i := range rows {
		var err error
		if outputs[i], err = rows[i].output(); err != nil {
			return nil, err
		}
	}
	return outputs, nil
}

// StudiesOver are an owner's studies of the outputs of an experiment, the newest first.
func (s *Store) StudiesOver(ctx context.Context, owner, id string) ([]study.Study, error) {
	var rows []studyRow
	err := s.read.NewSelect().Model(&rows).Where("st.owner = ? AND st.experiment_id = ?", owner, id).OrderExpr("st.created_at DESC, st.id DESC").Scan(ctx)
	if err != nil {
		return nil, wrap(err, "list the studies of experiment %s", id)
	}
	return toStudies(rows)
}

// SweepsOver are an owner's sweeps about the outputs of an experiment, the oldest first. Their configurations have no prompts.
func (s *Store) SweepsOver(ctx context.Context, owner, id string) ([]sweep.Sweep, error) {
	var rows []sweepRow
	err := s.read.NewSelect().Model(&rows).Where("w.owner = ? AND w.experiment_id = ?", owner, id).OrderExpr("w.created_at, w.id").Scan(ctx)
	if err != nil {
		return nil, wrap(err, "list the sweeps of experiment %s", id)
	}
	sweeps := make([]sweep.Sweep, len(rows))
	for i := range rows {
		if sweeps[i], err = rows[i].sweep(sweep.Setup{}); err != nil {
			return nil, err
		}
	}
	return sweeps, nil
}
