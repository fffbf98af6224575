-- +goose Up
-- Who has logged in: the keyed hash of a login's cookie, and when it ends, in microseconds since 1970.
CREATE TABLE logins (
	id TEXT PRIMARY KEY,
	expires_at BIGINT NOT NULL
);
CREATE INDEX logins_expires ON logins (expires_at);

-- +goose Down
DROP TABLE logins;
