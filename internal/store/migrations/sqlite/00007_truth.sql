-- +goose Up
-- What is known of a run that came in a file, as JSON; NULL for what was decoded here. Only imported runs have no instance.
ALTER TABLE runs ADD COLUMN imported TEXT;
UPDATE runs SET imported = '{"found":"unsigned"}' WHERE instance = '';

-- When the snapshot was last decoded again and came out as it is shown.
ALTER TABLE links ADD COLUMN verified_at INTEGER;

-- The secret that a study's outputs are decoded and its questions ordered with; '' for studies that began without one.
ALTER TABLE studies ADD COLUMN secret TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE studies DROP COLUMN secret;
ALTER TABLE links DROP COLUMN verified_at;
ALTER TABLE runs DROP COLUMN imported;
