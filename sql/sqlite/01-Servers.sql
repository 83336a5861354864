-- Servers: the places that run models. What varies from kind to kind is in params, an object;
-- secrets are never in it, only references to them (env:NAME, file:PATH, cmd:COMMAND). Every uid is
-- a UUIDv7, every time RFC 3339 in UTC with milliseconds.

CREATE TABLE servers (
	uid        TEXT NOT NULL PRIMARY KEY,
	name       TEXT NOT NULL,
	kind       TEXT NOT NULL,
	host       TEXT NOT NULL DEFAULT '',
	port       INTEGER NOT NULL DEFAULT 0, -- 0: the kind's own
	username   TEXT NOT NULL DEFAULT '',
	params     TEXT NOT NULL DEFAULT '{}',
	created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
	updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
	CONSTRAINT servers_uid CHECK (length(uid) = 36),
	CONSTRAINT servers_name_unique UNIQUE (name),
	CONSTRAINT servers_name CHECK (
		length(name) <= 128 AND name GLOB '[A-Za-z0-9]*' AND NOT name GLOB '*[^A-Za-z0-9._-]*'),
	CONSTRAINT servers_kind CHECK (
		kind = 'local' OR kind = 'ssh' OR kind = 'http' OR kind = 'slurm'),
	CONSTRAINT servers_port CHECK (port BETWEEN 0 AND 65535),
	CONSTRAINT servers_params CHECK (json_valid(params) AND json_type(params) = 'object')
) STRICT, WITHOUT ROWID;
