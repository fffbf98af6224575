-- +goose Up
-- A link shares a snapshot of a run or of something else: its kind says what.
ALTER TABLE comparisons RENAME TO links;
ALTER TABLE links RENAME COLUMN run_id TO subject;
ALTER TABLE links ADD COLUMN kind TEXT NOT NULL DEFAULT 'comparison';

-- +goose Down
DELETE FROM links WHERE kind <> 'comparison';
ALTER TABLE links DROP COLUMN kind;
ALTER TABLE links RENAME COLUMN subject TO run_id;
ALTER TABLE links RENAME TO comparisons;
