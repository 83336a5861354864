-- Runs: one row from start to end for each execution of a model, failures too; what the model read
-- and wrote where it says so; what people thought of it; and the mer processes that own open runs.
-- A run outlives its model, deployment, server and weights, so it names them as they were then.

CREATE TABLE model_access (
	request_uid    TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- in the order of time
	model          TEXT COLLATE "C" NOT NULL,
	deployment_uid TEXT COLLATE "C" NOT NULL DEFAULT '',
	server         TEXT COLLATE "C" NOT NULL DEFAULT '',
	weights        TEXT COLLATE "C" NOT NULL DEFAULT '', -- version
	door           TEXT COLLATE "C" NOT NULL,            -- the way it was asked for
	who            TEXT NOT NULL,
	host           TEXT NOT NULL,
	pid            BIGINT NOT NULL,
	status         TEXT COLLATE "C" NOT NULL,
	queued_at      TEXT COLLATE "C" NOT NULL,
	started_at     TEXT COLLATE "C",
	stopped_at     TEXT COLLATE "C",         -- NULL while it is open
	exit_code      BIGINT,
	signal         TEXT NOT NULL DEFAULT '', -- its name
	error          TEXT NOT NULL DEFAULT '',
	stderr_tail    TEXT NOT NULL DEFAULT '',
	attempts       BIGINT NOT NULL DEFAULT 0,
	queue_ms       BIGINT,
	start_ms       BIGINT,
	infer_ms       BIGINT,
	bytes_in       BIGINT,
	bytes_out      BIGINT,
	sha256_in      TEXT COLLATE "C" NOT NULL DEFAULT '',
	sha256_out     TEXT COLLATE "C" NOT NULL DEFAULT '',
	owner          TEXT COLLATE "C" NOT NULL DEFAULT '', -- uid of the mer process; '': nobody's
	CONSTRAINT model_access_request_uid CHECK (length(request_uid) = 36),
	CONSTRAINT model_access_door CHECK (
		door = 'repl' OR door = 'batch' OR door = 'daemon' OR door = 'sql' OR door = 'http'
		OR door = 'job'),
	CONSTRAINT model_access_status CHECK (
		status = 'ok' OR status = 'queued' OR status = 'running' OR status = 'failed'
		OR status = 'timeout' OR status = 'cancelled' OR status = 'lost' OR status = 'rejected'),
	CONSTRAINT model_access_open CHECK (
		(stopped_at IS NULL) = (status = 'queued' OR status = 'running'))
);

CREATE INDEX model_access_by_model ON model_access (model, request_uid);

-- Apart from the runs, so that the log stays small; written once, when a run is closed.
CREATE TABLE model_access_io (
	request_uid TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	input       BYTEA,
	output      BYTEA,
	CONSTRAINT model_access_io_run
		FOREIGN KEY (request_uid) REFERENCES model_access (request_uid) ON DELETE CASCADE
);

CREATE TABLE feedback (
	uid         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	request_uid TEXT COLLATE "C" NOT NULL,
	rating      BIGINT NOT NULL,
	expected    BYTEA, -- the output that it should have been
	note        TEXT NOT NULL DEFAULT '',
	created_at  TEXT COLLATE "C" NOT NULL
		DEFAULT to_char(now() AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
	CONSTRAINT feedback_uid CHECK (length(uid) = 36),
	CONSTRAINT feedback_run
		FOREIGN KEY (request_uid) REFERENCES model_access (request_uid) ON DELETE CASCADE,
	CONSTRAINT feedback_rating CHECK (rating BETWEEN 1 AND 5)
);

CREATE INDEX feedback_by_run ON feedback (request_uid);

-- For people to read; whether an owner is alive, only its lock tells.
CREATE TABLE owners (
	uid        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	host       TEXT NOT NULL,
	pid        BIGINT NOT NULL,
	program    TEXT NOT NULL,
	started_at TEXT COLLATE "C" NOT NULL
		DEFAULT to_char(now() AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
	CONSTRAINT owners_uid CHECK (length(uid) = 36)
);
