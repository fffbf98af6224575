-- +goose Up
-- What was decoded, once: studies and sweeps are about it. The setups of experiments that were there before are made of
-- those of their studies and sweeps, by the next step.
CREATE TABLE experiments (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    setup      TEXT NOT NULL, -- JSON
    created_at INTEGER NOT NULL
);

-- A cell is decoded once: the first output that comes stays.
CREATE TABLE experiment_outputs (
    experiment_id  TEXT NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    prompt         INTEGER NOT NULL,
    lambda         REAL NOT NULL,
    sample         INTEGER NOT NULL,
    text           TEXT NOT NULL,    -- JSON, which escapes the zero byte that PostgreSQL's text cannot hold
    tokens         INTEGER NOT NULL,
    finish         TEXT NOT NULL,
    error          TEXT NOT NULL,
    untraced       BOOLEAN NOT NULL, -- what follows was not kept
    kl             REAL NOT NULL,
    log_z          REAL NOT NULL,
    logp_reference REAL NOT NULL,
    logp_aligned   REAL NOT NULL,
    log_q          TEXT NOT NULL,    -- JSON
    PRIMARY KEY (experiment_id, prompt, lambda, sample)
);
CREATE INDEX experiment_outputs_failed ON experiment_outputs (experiment_id, prompt) WHERE error <> '';
CREATE INDEX experiment_outputs_by_lambda ON experiment_outputs (experiment_id, lambda, prompt, kl);

INSERT INTO experiments SELECT id, owner, '', created_at FROM sweeps;
INSERT INTO experiment_outputs
    SELECT sweep_id, prompt, lambda, sample, json_quote(text), tokens, finish, error, FALSE, kl, log_z, logp_reference, logp_aligned, log_q FROM sweep_cells;
DROP TABLE sweep_cells;

INSERT INTO experiments SELECT id, owner, '', created_at FROM studies WHERE status <> 'draft';
INSERT INTO experiment_outputs
    SELECT study_id, prompt - 1, lambda, sample, body -> '$.text', body ->> '$.tokens', body ->> '$.reason', '', TRUE, 0, 0, 0, 0, 'null'
    FROM study_outputs WHERE NOT broken AND body IS NOT NULL;
INSERT INTO experiment_outputs
    SELECT o.study_id, o.prompt - 1, o.lambda, o.sample, '""', 0, 'error', p.problem, TRUE, 0, 0, 0, 0, 'null'
    FROM study_outputs AS o JOIN study_prompts AS p ON p.study_id = o.study_id AND p.place = o.prompt
    WHERE NOT o.broken AND o.body IS NULL AND p.problem <> '';
ALTER TABLE study_outputs ADD COLUMN source INTEGER NOT NULL DEFAULT 0; -- index of the prompt in the experiment
UPDATE study_outputs SET source = prompt - 1;
UPDATE study_outputs SET body = NULL WHERE NOT broken;                  -- spoilt ones are the study's own

ALTER TABLE studies ADD COLUMN experiment_id TEXT REFERENCES experiments (id); -- none while it is a draft
UPDATE studies SET experiment_id = id WHERE status <> 'draft';
CREATE INDEX studies_by_experiment ON studies (experiment_id);
ALTER TABLE sweeps ADD COLUMN experiment_id TEXT REFERENCES experiments (id);
UPDATE sweeps SET experiment_id = id;
CREATE INDEX sweeps_by_experiment ON sweeps (experiment_id);
ALTER TABLE sweeps ADD COLUMN ended_as TEXT NOT NULL DEFAULT '';  -- the state that judging again goes back to
ALTER TABLE sweeps ADD COLUMN added TEXT NOT NULL DEFAULT '[]';   -- JSON: rewards that were added after the start

-- +goose Down
CREATE TABLE sweep_cells (
    sweep_id       TEXT NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
    prompt         INTEGER NOT NULL,
    lambda         REAL NOT NULL,
    sample         INTEGER NOT NULL,
    text           TEXT NOT NULL,
    tokens         INTEGER NOT NULL,
    finish         TEXT NOT NULL,
    error          TEXT NOT NULL,
    kl             REAL NOT NULL,
    log_z          REAL NOT NULL,
    logp_reference REAL NOT NULL,
    logp_aligned   REAL NOT NULL,
    log_q          TEXT NOT NULL, -- JSON
    PRIMARY KEY (sweep_id, prompt, lambda, sample)
);
CREATE INDEX sweep_cells_failed ON sweep_cells (sweep_id, prompt) WHERE error <> '';
CREATE INDEX sweep_cells_by_lambda ON sweep_cells (sweep_id, lambda, prompt, kl);
INSERT INTO sweep_cells
    SELECT w.id, o.prompt, o.lambda, o.sample, COALESCE(o.text ->> '$', ''), o.tokens, o.finish, o.error, o.kl, o.log_z, o.logp_reference, o.logp_aligned, o.log_q
    FROM sweeps AS w JOIN experiment_outputs AS o ON o.experiment_id = w.experiment_id;
UPDATE study_outputs SET body = (
    SELECT '{"text":' || e.text || ',"tokens":' || e.tokens || ',"reason":"' || e.finish || '"}'
    FROM experiment_outputs AS e JOIN studies AS st ON st.experiment_id = e.experiment_id
    WHERE st.id = study_outputs.study_id AND e.prompt = study_outputs.source AND e.lambda = study_outputs.lambda
        AND e.sample = study_outputs.sample AND e.error = ''
) WHERE NOT broken;
ALTER TABLE study_outputs DROP COLUMN source;
DROP INDEX studies_by_experiment;
ALTER TABLE studies DROP COLUMN experiment_id;
DROP INDEX sweeps_by_experiment;
ALTER TABLE sweeps DROP COLUMN experiment_id;
ALTER TABLE sweeps DROP COLUMN ended_as;
ALTER TABLE sweeps DROP COLUMN added;
DROP TABLE experiment_outputs;
DROP TABLE experiments;
