-- +goose Up
CREATE TABLE comparisons (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    run_id     TEXT NOT NULL, -- may be gone
    token_hash TEXT NOT NULL UNIQUE,
    title      TEXT NOT NULL,
    digest     TEXT NOT NULL,
    snapshot   TEXT NOT NULL, -- canonical JSON
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
);
CREATE INDEX comparisons_by_owner ON comparisons (owner, created_at DESC, id DESC);

-- +goose StatementBegin
CREATE TRIGGER comparisons_are_immutable BEFORE UPDATE OF snapshot, digest, token_hash, owner ON comparisons
BEGIN
    SELECT RAISE(ABORT, 'comparisons are immutable');
END;
-- +goose StatementEnd

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- +goose Down
DROP TABLE meta;
DROP TABLE comparisons;
