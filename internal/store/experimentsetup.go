package store

import (
	"context"
	"database/sql"

	"realign/internal/study"
	"realign/internal/sweep"
)

// setExperiments fills in the setups of experiments that were made of studies and sweeps, whose own setups say what was
// decoded. It is a step of the migrations.
func (s *Store) setExperiments(ctx context.Context, tx *sql.Tx) error {
	ids, err := texts(ctx, tx, "SELECT id FROM experiments WHERE setup = ''")
	if err != nil {
		return err
	}
	for _, id := range ids {
		setup, err := experimentSetup(ctx, tx, id)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE experiments SET setup = $1 WHERE id = $2", setup, id); err != nil {
			return err
		}
	}
	return nil
}

// experimentSetup is the setup of the experiment that a study or a sweep of the same id has decoded.
func experimentSetup(ctx context.Context, tx *sql.Tx, id string) (string, error) {
	sweeps, err := texts(ctx, tx, "SELECT setup FROM sweeps WHERE id = $1", id)
	if err != nil {
		return "", err
	}
	if len(sweeps) > 0 {
		var setup sweep.Setup
		if err := fromJSON(sweeps[0], &setup); err != nil {
			return "", err
		}
		return toJSON(setup.Experiment())
	}
	studies, err := texts(ctx, tx, "SELECT setup FROM studies WHERE id = $1", id)
	if err != nil {
		return "", err
	}
	secrets, err := texts(ctx, tx, "SELECT secret FROM studies WHERE id = $1", id)
	if err != nil {
		return "", err
	}
	bodies, err := texts(ctx, tx, "SELECT body FROM study_prompts WHERE study_id = $1 ORDER BY place", id)
	if err != nil {
		return "", err
	}
	var setup study.Setup
	if err := fromJSON(studies[0], &setup); err != nil {
		return "", err
	}
	setup.Secret = secrets[0]
	prompts := make([]study.Prompt, len(bodies))
	for i := range bodies {
		if err := fromJSON(bodies[i], &prompts[i]); err != nil {
			return "", err
		}
	}
	return toJSON(setup.Experiment(prompts))
}

// texts is the only column of what a query finds.
func texts(ctx context.Context, tx *sql.Tx, query string, args ...any) ([]string, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, rows.Err()
}
