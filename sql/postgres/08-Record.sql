-- What a run's row tells later: which run it was a replay of, what it cost, and the bytes that answered
-- it. Those are the same for many runs, so a run names a row of provenance, which names them. And the
-- example by which a model is tested.

CREATE TABLE provenance (
	digest         TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- of host, files by their status, weights and runtime
	host           TEXT NOT NULL,
	program        TEXT NOT NULL,             -- its path as it was found
	program_sha256 TEXT NOT NULL DEFAULT '',  -- '': it could not be read, or is very large
	files          TEXT NOT NULL DEFAULT '[]', -- words that are files: array of path, bytes, sha256
	weights_sha256 TEXT NOT NULL DEFAULT '',  -- as the version says
	runtime        TEXT NOT NULL DEFAULT '',  -- interpreter and its version, where the worker says so
	sdk            TEXT NOT NULL DEFAULT '',
	created_at     TEXT COLLATE "C" NOT NULL
		DEFAULT to_char(now() AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
	CONSTRAINT provenance_digest CHECK (length(digest) = 32),
	CONSTRAINT provenance_files CHECK (json_typeof(files::json) = 'array')
);

-- Without foreign keys: a run outlives what it names, and each would pay for looking it up.
ALTER TABLE model_access ADD COLUMN replays TEXT COLLATE "C" NOT NULL DEFAULT ''; -- request uid
ALTER TABLE model_access ADD COLUMN provenance TEXT COLLATE "C" NOT NULL DEFAULT ''; -- digest
ALTER TABLE model_access ADD COLUMN cpu_us BIGINT; -- of a process that ended with its run
ALTER TABLE model_access ADD COLUMN max_rss_kib BIGINT;

ALTER TABLE model_access_io ADD COLUMN input_meta TEXT; -- what the bytes are; NULL: just bytes

ALTER TABLE models ADD COLUMN test_input BYTEA; -- NULL: it has no example
ALTER TABLE models ADD COLUMN test_output BYTEA;
ALTER TABLE models ADD COLUMN test_tolerance TEXT NOT NULL DEFAULT ''; -- for numbers; '': each byte
ALTER TABLE models ADD COLUMN test_on_start BIGINT NOT NULL DEFAULT 0
	CONSTRAINT models_test_on_start CHECK (test_on_start = 0 OR test_on_start = 1);
