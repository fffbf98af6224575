-- +goose Up
CREATE TABLE sweeps (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    instance   TEXT NOT NULL,
    name       TEXT NOT NULL,
    pair       TEXT NOT NULL,
    aligned    TEXT NOT NULL,
    prompts    INTEGER NOT NULL,
    setup      TEXT NOT NULL, -- JSON
    state      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    report     TEXT,          -- JSON
    created_at INTEGER NOT NULL,
    ended_at   INTEGER
);
CREATE INDEX sweeps_by_owner ON sweeps (owner, created_at DESC, id DESC);
CREATE INDEX sweeps_open ON sweeps (instance) WHERE ended_at IS NULL;

-- What a table shows and searches of the prompts, which are in the setup.
CREATE TABLE sweep_prompts (
    sweep_id  TEXT NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
    prompt    INTEGER NOT NULL,
    beginning TEXT NOT NULL,
    fold      TEXT NOT NULL,
    category  TEXT NOT NULL,
    PRIMARY KEY (sweep_id, prompt)
);

-- A cell is decoded once: the first output that comes stays.
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

-- One value, or why it is missing, for each cell and reward.
CREATE TABLE sweep_values (
    sweep_id TEXT NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
    reward   TEXT NOT NULL,
    prompt   INTEGER NOT NULL,
    lambda   REAL NOT NULL,
    sample   INTEGER NOT NULL,
    value    REAL,
    missing  TEXT NOT NULL,
    cost     REAL NOT NULL,
    PRIMARY KEY (sweep_id, reward, prompt, lambda, sample)
);
CREATE INDEX sweep_values_by_lambda ON sweep_values (sweep_id, reward, lambda, prompt, value);
CREATE INDEX sweep_values_missing ON sweep_values (sweep_id, reward, prompt) WHERE value IS NULL;
CREATE INDEX sweep_cells_failed ON sweep_cells (sweep_id, prompt) WHERE error <> '';
CREATE INDEX sweep_cells_by_lambda ON sweep_cells (sweep_id, lambda, prompt, kl);

-- Answers of endpoints that cost, by what was asked.
CREATE TABLE sweep_answers (
    key    TEXT PRIMARY KEY,
    answer BLOB NOT NULL
);

-- +goose Down
DROP TABLE sweep_answers;
DROP TABLE sweep_values;
DROP TABLE sweep_cells;
DROP TABLE sweep_prompts;
DROP TABLE sweeps;
