-- +goose Up
-- What the particles tell that an output was kept of.
ALTER TABLE experiment_outputs ADD COLUMN exact TEXT NOT NULL DEFAULT ''; -- JSON; empty where there were none

-- +goose Down
ALTER TABLE experiment_outputs DROP COLUMN exact;
