-- Servers: the places that run models. What varies from kind to kind is in params, an object;
-- secrets are never in it, only references to them (env:NAME, file:PATH, cmd:COMMAND). Every uid is
-- a UUIDv7, every time RFC 3339 in UTC with milliseconds. Keys, names and times compare by their
-- bytes, whatever the database's own collation is.

CREATE TABLE servers (
	uid        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	name       TEXT COLLATE "C" NOT NULL,
	kind       TEXT COLLATE "C" NOT NULL,
	host       TEXT NOT NULL DEFAULT '',
	port       BIGINT NOT NULL DEFAULT 0, -- 0: the kind's own
	username   TEXT NOT NULL DEFAULT '',
	params     TEXT NOT NULL DEFAULT '{}',
	created_at TEXT COLLATE "C" NOT NULL
		DEFAULT to_char(now() AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
	updated_at TEXT COLLATE "C" NOT NULL
		DEFAULT to_char(now() AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
	CONSTRAINT servers_uid CHECK (length(uid) = 36),
	CONSTRAINT servers_name_unique UNIQUE (name),
	CONSTRAINT servers_name CHECK (
		length(name) <= 128 AND name ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'),
	CONSTRAINT servers_kind CHECK (
		kind = 'local' OR kind = 'ssh' OR kind = 'http' OR kind = 'slurm'),
	CONSTRAINT servers_port CHECK (port BETWEEN 0 AND 65535),
	CONSTRAINT servers_params CHECK (json_typeof(params::json) = 'object')
);
