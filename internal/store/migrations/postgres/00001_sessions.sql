-- +goose Up
-- Times are microseconds since 1970, UTC. *_fold columns are lower-cased copies for searching.
CREATE TABLE sessions (
    id         TEXT COLLATE "C" PRIMARY KEY,
    owner      TEXT NOT NULL,
    title      TEXT NOT NULL,
    title_fold TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
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
    created_at  BIGINT NOT NULL,
    ended_at    BIGINT,
    UNIQUE (session_id, place)
);
CREATE INDEX runs_running ON runs (instance) WHERE status = 'running';

-- One row per run and commit: consecutive events as a JSON array. Text, because jsonb would rewrite it.
CREATE TABLE events (
    run_id  TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    last    INTEGER NOT NULL, -- number of the array's last event
    first   INTEGER NOT NULL,
    payload TEXT NOT NULL,
    PRIMARY KEY (run_id, last),
    CHECK (first >= 1 AND first <= last)
);

-- +goose StatementBegin
CREATE FUNCTION events_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        RAISE EXCEPTION 'events are append-only' USING ERRCODE = '23514';
    END IF;
    IF NEW.first <> COALESCE((SELECT MAX(last) FROM events WHERE run_id = NEW.run_id), 0) + 1 THEN
        RAISE EXCEPTION 'events of a run are numbered without gaps' USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER events_guard BEFORE INSERT OR UPDATE ON events FOR EACH ROW EXECUTE FUNCTION events_guard();

-- +goose Down
DROP TABLE events;
DROP FUNCTION events_guard;
DROP TABLE runs;
DROP TABLE sessions;
