-- +goose Up
-- Texts of people and models are JSON, which escapes the zero byte that PostgreSQL's text cannot hold.
CREATE TABLE studies (
    id           TEXT PRIMARY KEY,
    owner        TEXT NOT NULL,
    instance     TEXT NOT NULL, -- the server that decodes it
    setup        TEXT NOT NULL, -- JSON
    status       TEXT NOT NULL,
    beta         REAL NOT NULL,
    files        TEXT NOT NULL, -- JSON
    build        TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    closed_at    INTEGER,
    invite_hash  TEXT UNIQUE    -- of the token that annotators join by
);
CREATE INDEX studies_by_owner ON studies (owner, created_at DESC, id DESC);
CREATE INDEX studies_decoding ON studies (instance) WHERE status = 'decoding';

CREATE TABLE study_prompts (
    study_id TEXT NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
    place    INTEGER NOT NULL, -- from 1
    body     TEXT NOT NULL,    -- JSON
    problem  TEXT NOT NULL,    -- why it is left out
    PRIMARY KEY (study_id, place)
);

CREATE TABLE study_outputs (
    id       TEXT PRIMARY KEY,
    study_id TEXT NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
    prompt   INTEGER NOT NULL,
    lambda   REAL NOT NULL,
    sample   INTEGER NOT NULL,
    seed     TEXT NOT NULL,    -- 64 bits, decimal
    broken   BOOLEAN NOT NULL,
    body     TEXT,             -- JSON; missing until it was decoded
    UNIQUE (study_id, prompt, lambda, sample, broken)
);

CREATE TABLE study_items (
    id       TEXT PRIMARY KEY,
    study_id TEXT NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
    kind     TEXT NOT NULL,
    prompt   INTEGER NOT NULL,
    outputs  TEXT NOT NULL,    -- JSON: ids
    low      REAL NOT NULL,
    high     REAL NOT NULL,
    catch    TEXT NOT NULL,
    answers  INTEGER NOT NULL  -- assignments that were answered
);
CREATE INDEX study_items_by_study ON study_items (study_id, id);

CREATE TABLE study_annotators (
    id          TEXT PRIMARY KEY,
    study_id    TEXT NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    name_fold   TEXT NOT NULL,
    secret_hash TEXT NOT NULL UNIQUE, -- of the cookie
    joined_at   INTEGER NOT NULL,
    UNIQUE (study_id, name_fold)
);

CREATE TABLE study_assignments (
    id           TEXT PRIMARY KEY,
    study_id     TEXT NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
    item_id      TEXT NOT NULL REFERENCES study_items (id) ON DELETE CASCADE,
    annotator_id TEXT NOT NULL REFERENCES study_annotators (id) ON DELETE CASCADE,
    place        INTEGER NOT NULL, -- among the annotator's, from 1
    shown        TEXT NOT NULL,    -- JSON: ids of outputs
    state        TEXT NOT NULL,
    asked_at     INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    at           INTEGER,
    answer       TEXT NOT NULL,    -- JSON
    UNIQUE (annotator_id, place)
);
CREATE INDEX study_assignments_by_study ON study_assignments (study_id);
CREATE INDEX study_assignments_of_item ON study_assignments (item_id) WHERE state = 'asked';
CREATE INDEX study_assignments_asked ON study_assignments (study_id) WHERE state = 'asked';
-- Nobody has two questions at a time, or one item twice.
CREATE UNIQUE INDEX study_assignments_one ON study_assignments (annotator_id) WHERE state = 'asked';
CREATE UNIQUE INDEX study_assignments_once ON study_assignments (annotator_id, item_id) WHERE state IN ('asked', 'answered', 'skipped');

-- +goose Down
DROP TABLE study_assignments;
DROP TABLE study_annotators;
DROP TABLE study_items;
DROP TABLE study_outputs;
DROP TABLE study_prompts;
DROP TABLE studies;
