-- +goose Up
-- The beginning of the snapshot's prompt: lists show it without reading snapshots. Text here cannot hold a
-- zero byte, so a snapshot with one stays without.
ALTER TABLE comparisons ADD COLUMN prompt TEXT NOT NULL DEFAULT '';
UPDATE comparisons SET prompt = COALESCE(left(snapshot::json ->> 'prompt', 200), '')
    WHERE position('\u0000' IN snapshot) = 0;

-- +goose Down
ALTER TABLE comparisons DROP COLUMN prompt;
