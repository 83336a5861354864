-- Models, their deployments on servers and the versions of their weights. A model takes its
-- deployments and weights with it when it is removed; a server with deployments cannot be removed.

CREATE TABLE models (
	uid                TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	name               TEXT COLLATE "C" NOT NULL,
	summary            TEXT NOT NULL DEFAULT '',
	input_contract     TEXT NOT NULL DEFAULT '{}', -- {}: nothing is known of it
	output_contract    TEXT NOT NULL DEFAULT '{}',
	feedback           BIGINT NOT NULL DEFAULT 0, -- 1: the prompt asks after each run
	feedback_threshold BIGINT NOT NULL DEFAULT 0, -- ratings below it are bad ones; 0: none is
	created_at         TEXT COLLATE "C" NOT NULL
		DEFAULT to_char(now() AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
	updated_at         TEXT COLLATE "C" NOT NULL
		DEFAULT to_char(now() AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
	CONSTRAINT models_uid CHECK (length(uid) = 36),
	CONSTRAINT models_name_unique UNIQUE (name),
	CONSTRAINT models_name CHECK (
		length(name) <= 128 AND name ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'),
	CONSTRAINT models_input_contract CHECK (json_typeof(input_contract::json) = 'object'),
	CONSTRAINT models_output_contract CHECK (json_typeof(output_contract::json) = 'object'),
	CONSTRAINT models_feedback CHECK (feedback = 0 OR feedback = 1),
	CONSTRAINT models_feedback_threshold CHECK (feedback_threshold BETWEEN 0 AND 5)
);

CREATE TABLE deployments (
	uid              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	name             TEXT COLLATE "C" NOT NULL,
	model_uid        TEXT COLLATE "C" NOT NULL,
	server_uid       TEXT COLLATE "C" NOT NULL,
	protocol         TEXT COLLATE "C" NOT NULL,
	workdir          TEXT NOT NULL,
	argv             TEXT NOT NULL,              -- array of words with placeholders
	train_argv       TEXT,                       -- the same; NULL: it cannot be trained here
	env              TEXT NOT NULL DEFAULT '{}', -- name to value or reference
	params           TEXT NOT NULL DEFAULT '{}', -- of the protocol, and flags; what is not default
	limits           TEXT NOT NULL DEFAULT '{}', -- max_output in bytes, max_queue in runs
	max_workers      BIGINT NOT NULL,            -- 0: as many as there are processors
	idle_ms          BIGINT NOT NULL,
	timeout_ms       BIGINT NOT NULL,
	start_timeout_ms BIGINT NOT NULL,
	priority         BIGINT NOT NULL DEFAULT 0,  -- lower is tried first
	enabled          BIGINT NOT NULL DEFAULT 1,
	created_at       TEXT COLLATE "C" NOT NULL
		DEFAULT to_char(now() AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
	updated_at       TEXT COLLATE "C" NOT NULL
		DEFAULT to_char(now() AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
	CONSTRAINT deployments_uid CHECK (length(uid) = 36),
	CONSTRAINT deployments_name_unique UNIQUE (model_uid, name),
	CONSTRAINT deployments_name CHECK (
		length(name) <= 128 AND name ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'),
	CONSTRAINT deployments_model
		FOREIGN KEY (model_uid) REFERENCES models (uid) ON DELETE CASCADE,
	CONSTRAINT deployments_server
		FOREIGN KEY (server_uid) REFERENCES servers (uid) ON DELETE RESTRICT,
	CONSTRAINT deployments_protocol CHECK (
		protocol = 'once' OR protocol = 'token' OR protocol = 'frame'),
	CONSTRAINT deployments_argv CHECK (json_typeof(argv::json) = 'array'),
	CONSTRAINT deployments_train_argv CHECK (
		train_argv IS NULL OR json_typeof(train_argv::json) = 'array'),
	CONSTRAINT deployments_env CHECK (json_typeof(env::json) = 'object'),
	CONSTRAINT deployments_params CHECK (json_typeof(params::json) = 'object'),
	CONSTRAINT deployments_limits CHECK (json_typeof(limits::json) = 'object'),
	CONSTRAINT deployments_max_workers CHECK (max_workers >= 0),
	CONSTRAINT deployments_idle_ms CHECK (idle_ms >= 0),
	CONSTRAINT deployments_timeout_ms CHECK (timeout_ms >= 0),
	CONSTRAINT deployments_start_timeout_ms CHECK (start_timeout_ms >= 0),
	CONSTRAINT deployments_enabled CHECK (enabled = 0 OR enabled = 1)
);

CREATE INDEX deployments_by_server ON deployments (server_uid);

CREATE TABLE model_weights (
	uid        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	model_uid  TEXT COLLATE "C" NOT NULL,
	version    TEXT COLLATE "C" NOT NULL, -- a number, or what the operator calls it
	name       TEXT NOT NULL DEFAULT '',
	path       TEXT NOT NULL,
	sha256     TEXT COLLATE "C" NOT NULL, -- of a folder: over the sorted lines "sha256  relative/path"
	bytes      BIGINT NOT NULL,
	parent_uid TEXT COLLATE "C", -- the weights that training began with
	state      TEXT COLLATE "C" NOT NULL DEFAULT 'candidate',
	metrics    TEXT NOT NULL DEFAULT '{}',
	made_by    TEXT COLLATE "C" NOT NULL DEFAULT '', -- request uid of the training run
	created_at TEXT COLLATE "C" NOT NULL
		DEFAULT to_char(now() AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
	CONSTRAINT model_weights_uid CHECK (length(uid) = 36),
	CONSTRAINT model_weights_version_unique UNIQUE (model_uid, version),
	CONSTRAINT model_weights_model
		FOREIGN KEY (model_uid) REFERENCES models (uid) ON DELETE CASCADE,
	CONSTRAINT model_weights_parent
		FOREIGN KEY (parent_uid) REFERENCES model_weights (uid) ON DELETE SET NULL
		DEFERRABLE, -- when asked to: a copy inserts them in the order of their uids
	CONSTRAINT model_weights_version CHECK (
		length(version) BETWEEN 1 AND 128 AND strpos(version, '/') = 0),
	CONSTRAINT model_weights_path CHECK (path <> ''),
	CONSTRAINT model_weights_sha256 CHECK (sha256 ~ '^[0-9a-f]{64}$'),
	CONSTRAINT model_weights_bytes CHECK (bytes >= 0),
	CONSTRAINT model_weights_state CHECK (
		state = 'candidate' OR state = 'active' OR state = 'retired'),
	CONSTRAINT model_weights_metrics CHECK (json_typeof(metrics::json) = 'object')
);

CREATE UNIQUE INDEX model_weights_one_active ON model_weights (model_uid) WHERE state = 'active';
CREATE INDEX model_weights_by_parent ON model_weights (parent_uid) WHERE parent_uid IS NOT NULL;
