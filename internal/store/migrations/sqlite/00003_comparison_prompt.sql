-- +goose Up
-- The beginning of the snapshot's prompt: lists show it without reading snapshots.
ALTER TABLE comparisons ADD COLUMN prompt TEXT NOT NULL DEFAULT '';
UPDATE comparisons SET prompt = COALESCE(substr(json_extract(snapshot, '$.prompt'), 1, 200), '');

-- +goose Down
ALTER TABLE comparisons DROP COLUMN prompt;
