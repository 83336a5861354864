-- A training is a run of its own kind, and may be offered where answers were bad.

ALTER TABLE model_access ADD COLUMN kind TEXT COLLATE "C" NOT NULL DEFAULT 'run'
	CONSTRAINT model_access_kind CHECK (kind = 'run' OR kind = 'train');

-- So many ratings below feedback_threshold for the active weights; 0: never.
ALTER TABLE models ADD COLUMN train_after BIGINT NOT NULL DEFAULT 0
	CONSTRAINT models_train_after CHECK (train_after >= 0);
