-- Models, their deployments on servers and the versions of their weights. A model takes its
-- deployments and weights with it when it is removed; a server with deployments cannot be removed.

CREATE TABLE models (
	uid                TEXT NOT NULL PRIMARY KEY,
	name               TEXT NOT NULL,
	summary            TEXT NOT NULL DEFAULT '',
	input_contract     TEXT NOT NULL DEFAULT '{}', -- {}: nothing is known of it
	output_contract    TEXT NOT NULL DEFAULT '{}',
	feedback           INTEGER NOT NULL DEFAULT 0, -- 1: the prompt asks after each run
	feedback_threshold INTEGER NOT NULL DEFAULT 0, -- ratings below it are bad ones; 0: none is
	created_at         TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
	updated_at         TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
	CONSTRAINT models_uid CHECK (length(uid) = 36),
	CONSTRAINT models_name_unique UNIQUE (name),
	CONSTRAINT models_name CHECK (
		length(name) <= 128 AND name GLOB '[A-Za-z0-9]*' AND NOT name GLOB '*[^A-Za-z0-9._-]*'),
	CONSTRAINT models_input_contract CHECK (
		json_valid(input_contract) AND json_type(input_contract) = 'object'),
	CONSTRAINT models_output_contract CHECK (
		json_valid(output_contract) AND json_type(output_contract) = 'object'),
	CONSTRAINT models_feedback CHECK (feedback = 0 OR feedback = 1),
	CONSTRAINT models_feedback_threshold CHECK (feedback_threshold BETWEEN 0 AND 5)
) STRICT, WITHOUT ROWID;

CREATE TABLE deployments (
	uid              TEXT NOT NULL PRIMARY KEY,
	name             TEXT NOT NULL,
	model_uid        TEXT NOT NULL,
	server_uid       TEXT NOT NULL,
	protocol         TEXT NOT NULL,
	workdir          TEXT NOT NULL,
	argv             TEXT NOT NULL,              -- array of words with placeholders
	train_argv       TEXT,                       -- the same; NULL: it cannot be trained here
	env              TEXT NOT NULL DEFAULT '{}', -- name to value or reference
	params           TEXT NOT NULL DEFAULT '{}', -- of the protocol, and flags; what is not default
	limits           TEXT NOT NULL DEFAULT '{}', -- max_output in bytes, max_queue in runs
	max_workers      INTEGER NOT NULL,           -- 0: as many as there are processors
	idle_ms          INTEGER NOT NULL,
	timeout_ms       INTEGER NOT NULL,
	start_timeout_ms INTEGER NOT NULL,
	priority         INTEGER NOT NULL DEFAULT 0, -- lower is tried first
	enabled          INTEGER NOT NULL DEFAULT 1,
	created_at       TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
	updated_at       TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
	CONSTRAINT deployments_uid CHECK (length(uid) = 36),
	CONSTRAINT deployments_name_unique UNIQUE (model_uid, name),
	CONSTRAINT deployments_name CHECK (
		length(name) <= 128 AND name GLOB '[A-Za-z0-9]*' AND NOT name GLOB '*[^A-Za-z0-9._-]*'),
	CONSTRAINT deployments_model
		FOREIGN KEY (model_uid) REFERENCES models (uid) ON DELETE CASCADE,
	CONSTRAINT deployments_server
		FOREIGN KEY (server_uid) REFERENCES servers (uid) ON DELETE RESTRICT,
	CONSTRAINT deployments_protocol CHECK (
		protocol = 'once' OR protocol = 'token' OR protocol = 'frame'),
	CONSTRAINT deployments_argv CHECK (json_valid(argv) AND json_type(argv) = 'array'),
	CONSTRAINT deployments_train_argv CHECK (
		train_argv IS NULL OR (json_valid(train_argv) AND json_type(train_argv) = 'array')),
	CONSTRAINT deployments_env CHECK (json_valid(env) AND json_type(env) = 'object'),
	CONSTRAINT deployments_params CHECK (json_valid(params) AND json_type(params) = 'object'),
	CONSTRAINT deployments_limits CHECK (json_valid(limits) AND json_type(limits) = 'object'),
	CONSTRAINT deployments_max_workers CHECK (max_workers >= 0),
	CONSTRAINT deployments_idle_ms CHECK (idle_ms >= 0),
	CONSTRAINT deployments_timeout_ms CHECK (timeout_ms >= 0),
	CONSTRAINT deployments_start_timeout_ms CHECK (start_timeout_ms >= 0),
	CONSTRAINT deployments_enabled CHECK (enabled = 0 OR enabled = 1)
) STRICT, WITHOUT ROWID;

CREATE INDEX deployments_by_server ON deployments (server_uid);

CREATE TABLE model_weights (
	uid        TEXT NOT NULL PRIMARY KEY,
	model_uid  TEXT NOT NULL,
	version    TEXT NOT NULL, -- a number, or what the operator calls it
	name       TEXT NOT NULL DEFAULT '',
	path       TEXT NOT NULL,
	sha256     TEXT NOT NULL, -- of a folder: over the sorted lines "sha256  relative/path"
	bytes      INTEGER NOT NULL,
	parent_uid TEXT, -- the weights that training began with
	state      TEXT NOT NULL DEFAULT 'candidate',
	metrics    TEXT NOT NULL DEFAULT '{}',
	made_by    TEXT NOT NULL DEFAULT '', -- request uid of the training run
	created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
	CONSTRAINT model_weights_uid CHECK (length(uid) = 36),
	CONSTRAINT model_weights_version_unique UNIQUE (model_uid, version),
	CONSTRAINT model_weights_model
		FOREIGN KEY (model_uid) REFERENCES models (uid) ON DELETE CASCADE,
	CONSTRAINT model_weights_parent
		FOREIGN KEY (parent_uid) REFERENCES model_weights (uid) ON DELETE SET NULL,
	CONSTRAINT model_weights_version CHECK (
		length(version) BETWEEN 1 AND 128 AND instr(version, '/') = 0),
	CONSTRAINT model_weights_path CHECK (path <> ''),
	CONSTRAINT model_weights_sha256 CHECK (
		length(sha256) = 64 AND NOT sha256 GLOB '*[^0-9a-f]*'),
	CONSTRAINT model_weights_bytes CHECK (bytes >= 0),
	CONSTRAINT model_weights_state CHECK (
		state = 'candidate' OR state = 'active' OR state = 'retired'),
	CONSTRAINT model_weights_metrics CHECK (json_valid(metrics) AND json_type(metrics) = 'object')
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX model_weights_one_active ON model_weights (model_uid) WHERE state = 'active';
CREATE INDEX model_weights_by_parent ON model_weights (parent_uid) WHERE parent_uid IS NOT NULL;
