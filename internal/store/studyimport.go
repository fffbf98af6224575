package store

import (
	"context"

	"github.com/uptrace/bun"

	"realign/internal/decode"
	"realign/internal/experiment"
	"realign/internal/study"
)

// ImportStudy keeps a whole study from elsewhere, ratings and all, as fill gives it, all or nothing. No annotator can come
// back to it, since no cookie opens it.
func (s *Store) ImportStudy(ctx context.Context, fill func(study.Importing) error) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		i := &studyImport{ctx: ctx, tx: tx, answers: map[string]int{}}
		if err := fill(i); err != nil {
			return err
		}
		if err := i.flush(); err != nil {
			return err
		}
		if err := i.fail(); err != nil {
			return err
		}
		for id, n := range i.answers {
			if _, err := tx.NewUpdate().Model((*itemRow)(nil)).Set("answers = ?", n).Where("id = ?", id).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	return wrap(err, "import a study")
}

// studyImport keeps rows until there are enough of them for a statement.
type studyImport struct {
	ctx context.Context // of the import
	tx  bun.Tx          // in which everything is written
	id  string          // of the study

	setup  study.Setup    // of the study
	failed []study.Prompt // those that were left out: place and problem alone

	before      int            // prompts that were written
	prompts     []study.Prompt // this and what follows: rows that wait to be written
	outputs     []study.Output
	items       []study.Item
	annotators  []annotatorRow
	assignments []assignmentRow
	kept, bytes int            // rows, and bytes of texts, that are not written yet
	answers     map[string]int // by item: answers, skips left out
}

// Rows, and bytes of texts, that are kept.
const (
	importRows  = 500
	importTexts = 4 << 20
)

// more counts a row with so many bytes of text, and writes what there is when it is enough.
func (i *studyImport) more(texts int) error {
	i.kept, i.bytes = i.kept+1, i.bytes+texts
	if i.kept < importRows && i.bytes < importTexts {
		return nil
	}
	return i.flush()
}

// Study implements study.Importing, as do the methods below.
func (i *studyImport) Study(s study.Study) error {
	i.id, i.setup, s.Experiment = s.ID, s.Setup, s.ID
	row, err := newStudyRow(&s)
	if err != nil {
		return err
	}
	own := experiment.Experiment{ID: s.ID, Owner: s.Owner, Setup: s.Setup.Experiment(nil), Created: s.CreatedAt}
	if err := createExperiment(i.ctx, i.tx, &own); err != nil {
		return err
	}
	_, err = i.tx.NewInsert().Model(row).Exec(i.ctx)
	return err
}

// Prompt keeps a prompt; where it was left out, fail adds outputs for it.
func (i *studyImport) Prompt(p study.Prompt) error {
	if p.Problem != "" {
		i.failed = append(i.failed, study.Prompt{Place: p.Place, Problem: p.Problem})
	}
	i.prompts = append(i.prompts, p)
	return i.more(len(p.Text) + len(p.System))
}

// Output keeps an output of the study and of its experiment.
func (i *studyImport) Output(o study.Output) error {
	o.Source = o.Prompt - 1 // the experiment is the study's own
	i.outputs = append(i.outputs, o)
	return i.more(len(o.Text))
}

// Item keeps an item.
func (i *studyImport) Item(it study.Item) error {
	i.items = append(i.items, it)
	return i.more(0)
}

// Annotator keeps an annotator. The hash of their secret is one that no secret has.
func (i *studyImport) Annotator(a study.Annotator) error {
	a.Study = i.id
	i.annotators = append(i.annotators, newAnnotatorRow(a, "imported "+a.ID))
	return i.more(0)
}

// Assignment keeps an assignment, and counts it if it was answered.
func (i *studyImport) Assignment(a study.Assignment) error {
	a.Study = i.id
	row, err := newAssignmentRow(&a)
	if err != nil {
		return err
	}
	if a.State == study.Answered {
		i.answers[a.Item]++
	}
	i.assignments = append(i.assignments, *row)
	return i.more(len(row.Answer))
}

// flush writes what is kept, in the order in which rows refer to each other.
func (i *studyImport) flush() error {
	if err := insertPrompts(i.ctx, i.tx, i.id, i.before, i.prompts); err != nil {
		return err
	}
	if err := insertExperimentPrompts(i.ctx, i.tx, i.id, i.before, i.setup.Experiment(i.prompts).Prompts); err != nil {
		return err
	}
	i.before += len(i.prompts)
	outputs, err := studyOutputRows(i.id, i.outputs)
	if err != nil {
		return err
	}
	made, err := i.made()
	if err != nil {
		return err
	}
	items, err := itemRows(i.id, i.items)
	if err != nil {
		return err
	}
	for _, part := range []func() error{
		func() error { return insertAll(i.ctx, i.tx, made) }, func() error { return insertAll(i.ctx, i.tx, outputs) }, func() error { return insertAll(i.ctx, i.tx, items) },
		func() error { return insertAll(i.ctx, i.tx, i.annotators) }, func() error { return insertAll(i.ctx, i.tx, i.assignments) },
	} {
		if err := part(); err != nil {
			return err
		}
	}
	i.prompts, i.outputs, i.items, i.annotators, i.assignments = nil, nil, nil, nil, nil
	i.kept, i.bytes = 0, 0
	return nil
}

// made are the outputs as the experiment has them.
func (i *studyImport) made() ([]outputRow, error) {
	var rows []outputRow
	for k := range i.outputs {
		o := &i.outputs[k]
		if o.Broken || !o.Done {
			continue
		}
		row, err := newOutputRow(i.id, &experiment.Output{Cell: o.Cell(), Text: o.Text, Tokens: o.Tokens, Finish: o.Reason, Untraced: true})
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// fail keeps outputs that failed of prompts that were left out, where there are no others, so that nothing decodes them anew.
func (i *studyImport) fail() error {
	for k := range i.failed {
		var rows []outputRow
		for _, o := range i.setup.Outputs(i.failed[k : k+1]) {
			row, err := newOutputRow(i.id, &experiment.Output{Cell: o.Cell(), Finish: decode.EndError, Error: i.failed[k].Problem, Untraced: true})
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		if _, err := insertNew(i.ctx, i.tx, rows); err != nil {
			return err
		}
	}
	return nil
}
