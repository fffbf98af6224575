-- +goose Up
-- The servers that share the database: when each came, and when it last said that it is alive, in microseconds since 1970 by
-- the database's clock.
CREATE TABLE servers (
    name      TEXT PRIMARY KEY,
    joined_at BIGINT NOT NULL,
    seen_at   BIGINT NOT NULL
);

-- +goose Down
DROP TABLE servers;
