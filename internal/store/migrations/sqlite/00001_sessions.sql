-- +goose Up
-- Times are microseconds since 1970, UTC. *_fold columns are lower-cased copies for searching.
CREATE TABLE sessions (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    title      TEXT NOT NULL,
    title_fold TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
);
CREATE INDEX sessions_by_owner ON sessions (owner, updated_at DESC, id DESC);
CREATE INDEX sessions_deleted ON sessions (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE runs (
    id          TEXT PRIMARY KEY,
    session_id  TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    place       INTEGER NOT NULL, -- in the session, from 1
    owner       TEXT NOT NULL,
    instance    TEXT NOT NULL,
    spec        TEXT NOT NULL,    -- JSON
    prompt_fold TEXT NOT NULL,
    status      TEXT NOT NULL,
    lanes       INTEGER NOT NULL,
    seq         INTEGER NOT NULL, -- number of the last event
    created_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    UNIQUE (session_id, place)
);
CREATE INDEX runs_running ON runs (instance) WHERE status = 'running';

-- One row per run and commit: consecutive events as a JSON array.
CREATE TABLE events (
    run_id  TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    last    INTEGER NOT NULL, -- number of the array's last event
    first   INTEGER NOT NULL,
    payload TEXT NOT NULL,
    PRIMARY KEY (run_id, last),
    CHECK (first >= 1 AND first <= last)
);

-- +goose StatementBegin
CREATE TRIGGER events_are_contiguous BEFORE INSERT ON events
WHEN NEW.first <> COALESCE((SELECT MAX(last) FROM events WHERE run_id = NEW.run_id), 0) + 1
BEGIN
    SELECT RAISE(ABORT, 'events of a run are numbered without gaps');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER events_are_append_only BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;
-- +goose StatementEnd

-- +goose Down
DROP TABLE events;
DROP TABLE runs;
DROP TABLE sessions;
