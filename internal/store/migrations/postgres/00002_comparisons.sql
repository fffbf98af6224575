-- +goose Up
CREATE TABLE comparisons (
    id         TEXT COLLATE "C" PRIMARY KEY,
    owner      TEXT NOT NULL,
    run_id     TEXT NOT NULL, -- may be gone
    token_hash TEXT NOT NULL UNIQUE,
    title      TEXT NOT NULL,
    digest     TEXT NOT NULL,
    snapshot   TEXT NOT NULL, -- canonical JSON
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX comparisons_by_owner ON comparisons (owner, created_at DESC, id DESC);

-- +goose StatementBegin
CREATE FUNCTION comparisons_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'comparisons are immutable' USING ERRCODE = '23514';
END $$;
-- +goose StatementEnd
CREATE TRIGGER comparisons_guard BEFORE UPDATE OF snapshot, digest, token_hash, owner ON comparisons
    FOR EACH ROW EXECUTE FUNCTION comparisons_guard();

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- +goose Down
DROP TABLE meta;
DROP TABLE comparisons;
DROP FUNCTION comparisons_guard;
