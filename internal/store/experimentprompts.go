package store

import (
	"context"
	"database/sql"

	"realign/internal/experiment"
)

// splitPrompts gives the prompts of experiments, which were in the setups, rows of their own. It is a step of the
// migrations, as is joinPrompts, the way back.
func splitPrompts(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `CREATE TABLE experiment_prompts (
    experiment_id TEXT NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    prompt        INTEGER NOT NULL, -- its index
    body          TEXT NOT NULL,    -- JSON
    PRIMARY KEY (experiment_id, prompt)
)`)
	if err != nil {
		return err
	}
	return eachExperiment(ctx, tx, func(id string, setup *experiment.Setup) error {
		for i := range setup.Prompts {
			body, err := toJSON(&setup.Prompts[i])
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO experiment_prompts VALUES ($1, $2, $3)", id, i, body); err != nil {
				return err
			}
		}
		setup.Prompts = nil
		return nil
	})
}

// joinPrompts puts the prompts back into the setups, and drops their table.
func joinPrompts(ctx context.Context, tx *sql.Tx) error {
	err := eachExperiment(ctx, tx, func(id string, setup *experiment.Setup) error {
		bodies, err := texts(ctx, tx, "SELECT body FROM experiment_prompts WHERE experiment_id = $1 ORDER BY prompt", id)
		if err != nil {
			return err
		}
		setup.Prompts = make([]experiment.Prompt, len(bodies))
		for i := range bodies {
			if err := fromJSON(bodies[i], &setup.Prompts[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "DROP TABLE experiment_prompts")
	return err
}

// eachExperiment changes the setups of all experiments, one by one.
func eachExperiment(ctx context.Context, tx *sql.Tx, change func(id string, setup *experiment.Setup) error) error {
	ids, err := texts(ctx, tx, "SELECT id FROM experiments")
	if err != nil {
		return err
	}
	for _, id := range ids {
		stored, err := texts(ctx, tx, "SELECT setup FROM experiments WHERE id = $1", id)
		if err != nil {
			return err
		}
		var setup experiment.Setup
		if err := fromJSON(stored[0], &setup); err != nil {
			return err
		}
		if err := change(id, &setup); err != nil {
			return err
		}
		text, err := toJSON(&setup)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE experiments SET setup = $1 WHERE id = $2", text, id); err != nil {
			return err
		}
	}
	return nil
}
