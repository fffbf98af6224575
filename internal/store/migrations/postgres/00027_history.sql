-- +goose Up
-- Sessions that their owner pinned; runs that were named, pinned or deleted. Times are microseconds since 1970.
ALTER TABLE sessions ADD COLUMN pinned_at BIGINT;
ALTER TABLE runs ADD COLUMN title TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN title_fold TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN pinned_at BIGINT;
ALTER TABLE runs ADD COLUMN deleted_at BIGINT;
CREATE INDEX runs_deleted ON runs (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX sessions_pinned ON sessions (owner, (pinned_at IS NULL), updated_at DESC, id DESC);

-- +goose Down
DROP INDEX sessions_pinned;
DROP INDEX runs_deleted;
ALTER TABLE runs DROP COLUMN deleted_at;
ALTER TABLE runs DROP COLUMN pinned_at;
ALTER TABLE runs DROP COLUMN title_fold;
ALTER TABLE runs DROP COLUMN title;
ALTER TABLE sessions DROP COLUMN pinned_at;
