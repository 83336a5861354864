/* What queries are in Postgres, beside those of text.h. */
#include "postgres.h"
#include "text.h"

#include <assert.h>

#define UTC(time) "to_char(" time " AT TIME ZONE 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
#define NOW UTC("now()")

/* The ledger with its schema is put there, since a script may have changed the search path, or made a
 * temporary table of that name. */
#define LEDGER "{ledger}"

/* uids begin with the time in units of 65.536 s in 8 digits. A day's grace is for clocks that were
 * set; the exact time is compared besides. */
#define SINCE \
	"($3 = '' OR (queued_at >= $3 AND request_uid >= lpad(to_hex(greatest(0, " \
	"extract(epoch FROM nullif($3, '')::timestamptz)::bigint - 86400) * 1000 >> 16), 8, '0'))) "

/* The other way round: runs from before it may have uids up to here. */
#define UNTIL \
	"lpad(to_hex((extract(epoch FROM $1::timestamptz)::bigint + 86400) * 1000 >> 16), 8, '0') || 'g'"

/* The key of an owner's lock (mer_uid_key) as pg_locks would show it. MER_LOCK_POSTGRES, which is
 * 5567946869359731563. */
#define OWNER_KEY \
	"greatest(1, ('x' || substr(o.uid, 20, 4) || substr(o.uid, 25))::bit(64)::bigint & " \
	"4611686018427387903) # 5567946869359731563"
static_assert(MER_LOCK_POSTGRES == INT64_C(5567946869359731563), "as written above");

/* Keys of the locks that are held in this database. */
#define HELD_KEYS \
	"SELECT classid::bigint << 32 | objid::bigint FROM pg_catalog.pg_locks " \
	"WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND database = " \
	"(SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"

/* For how long after its start a server takes nobody of before for dead. Who lives and calls
 * mer_dal_keep() has its lock again long before. */
#define GRACE "interval '60 s'"

/* Locks are looked at after the owners: who is seen had its lock by then. Of a uid that is none nobody
 * can hold the lock: no mer wrote that row. */
#define IS_DEAD \
	"CASE WHEN o.uid ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN " OWNER_KEY \
	" NOT IN (" HELD_KEYS ") END AND " \
	"(o.started_at COLLATE \"C\" >= " UTC( \
		"pg_postmaster_start_time()") " OR now() - pg_postmaster_start_time() > " GRACE ")"

/* It has checksums of its own; what is left half done is an index. */
#define INVALID_INDEXES \
	"SELECT 'index ' || c.relname || ' is not valid' AS name FROM pg_catalog.pg_index AS i " \
	"JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid " \
	"WHERE NOT i.indisvalid AND c.relnamespace = current_schema()::regnamespace "

/* Where triggers were off, rows may refer to none. */
#define ORPHANS(table, column, parent, key) \
	"UNION ALL SELECT 'a row of " table " refers to one of " parent \
	" that is not there: ' || t." column " FROM " table " AS t WHERE t." column \
	" IS NOT NULL AND NOT EXISTS (SELECT FROM " parent " AS p WHERE p." key " = t." column ") "

const char *const pg_text[] = {
	[MER_Q_LEDGER_EXISTS] = "SELECT count(*) AS count FROM pg_catalog.pg_class "
							"WHERE oid = to_regclass($mer$" LEDGER "$mer$)",
	[MER_Q_LEDGER_CREATE] =
		"CREATE TABLE IF NOT EXISTS " LEDGER " (\n"
		"	num              BIGINT NOT NULL PRIMARY KEY,\n"
		"	name             TEXT NOT NULL,\n"
		"	sha256           TEXT NOT NULL, -- of the script's bytes\n"
		"	canonical_sha256 TEXT NOT NULL, -- with comments and white space folded\n"
		"	applied_at       TEXT NOT NULL DEFAULT " NOW ",\n"
		"	duration_ms      BIGINT NOT NULL,\n"
		"	applied_by       TEXT NOT NULL,\n"
		"	tool_version     TEXT NOT NULL,\n"
		"	state            TEXT NOT NULL DEFAULT 'applied',\n"
		"	CONSTRAINT migrations_num CHECK (num > 0),\n"
		"	CONSTRAINT migrations_state CHECK (state = 'applied' OR state = 'started')\n"
		")",
	/* In one message with the script nobody but the server can tell how long that took. There must be
	 * no quote in it: one that the script leaves open must stay so. EXTRACT would be of decimal
	 * digits, which cost more. */
	[MER_Q_LEDGER_INSERT] =
		"INSERT INTO " LEDGER " (num, name, sha256, canonical_sha256, duration_ms, applied_by, "
		"tool_version) VALUES ($1, $2, $3, $4, greatest($5, "
		"(date_part($mer$epoch$mer$, clock_timestamp() - statement_timestamp()) * 1000)::bigint), "
		"$6, $7)",
	[MER_Q_WEIGHTS_NAMES] = "SELECT w.version AS name FROM models AS m JOIN model_weights AS w "
							"ON w.model_uid = m.uid WHERE m.name = $3 AND "
							"left(w.version, length($1::text)) = $1 ORDER BY w.uid DESC LIMIT $2",
	[MER_Q_RUN_NAMES] = "SELECT request_uid AS name FROM model_access WHERE " BEGINS(
		"request_uid") "AND request_uid >= $3 AND ($4::bigint = 0 OR pid = $4) "
					   "ORDER BY request_uid DESC LIMIT $2",
	[MER_Q_MODEL_CONTRACT_MAY] =
		"SELECT CASE WHEN has_column_privilege('models', 'input_contract', 'UPDATE') THEN 1 ELSE 0 END::bigint AS count",
	[MER_Q_SECRET_NAMES] =
		"SELECT substr(v.value, 5) AS name FROM servers AS s, json_each_text(s.params::json) AS v "
		"WHERE replace(s.params, '\"env:', '') <> s.params AND left(v.value, 4) = 'env:' "
		"UNION SELECT substr(v.value, 5) FROM deployments AS d, json_each_text(d.env::json) AS v "
		"WHERE replace(d.env, '\"env:', '') <> d.env AND left(v.value, 4) = 'env:'",
	/* Planned each time, so that a condition that says nothing is none. */
	[MER_Q_RUNS] =
		RUNS "WHERE ($1 = '' OR model = $1) AND ($2 = '' OR status = $2) AND " SINCE
			 "AND request_uid < coalesce(nullif($5, ''), 'g') ORDER BY request_uid DESC LIMIT $4",
	[MER_Q_RUNS_AFTER] = RUNS
	"WHERE ($1 = '' OR model = $1) AND request_uid > $4 AND ($2 = '' OR (queued_at >= $2 AND "
	"request_uid >= lpad(to_hex(greatest(0, extract(epoch FROM nullif($2, '')::timestamptz)"
	"::bigint - 86400) * 1000 >> 16), 8, '0'))) AND ($3 = '' OR (queued_at < $3 AND "
	"request_uid < lpad(to_hex((extract(epoch FROM nullif($3, '')::timestamptz)::bigint + "
	"86400) * 1000 >> 16), 8, '0') || 'g')) ORDER BY request_uid LIMIT $5",
	[MER_Q_RUNS_OF] = RUNS "WHERE request_uid IN (SELECT json_array_elements_text($1::json)) "
						   "ORDER BY request_uid",
	/* A row has the transaction of its last change, by the last 32 bits of its number. */
	[MER_Q_WRITTEN] = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS \"all\", "
					  "pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS \"any\"",
	[MER_Q_RUNS_LATE] = RUNS
	"WHERE (xmin::text::bigint - $1::bigint) & 4294967295 < 2147483648 AND request_uid > $2 AND "
	"request_uid <= $3 ORDER BY request_uid",
	/* A row that is updated moves, so places are not told. */
	[MER_Q_RUN_CLOSE_AT] = CLOSE "WHERE request_uid = $1 AND $18::bigint <> 0",
	[MER_Q_RUNS_PRUNE] =
		"DELETE FROM model_access WHERE ctid = ANY (ARRAY(SELECT ctid FROM model_access "
		"WHERE stopped_at IS NOT NULL AND queued_at < $1 AND request_uid < " UNTIL
		" ORDER BY request_uid LIMIT $2))" GONE,
	[MER_Q_RUNS_EXPIRE] =
		"DELETE FROM model_access WHERE ctid = ANY (ARRAY(SELECT ctid FROM model_access AS a " ENDED
			NOT_RATED NOT_MADE "ORDER BY request_uid LIMIT $2))" GONE,
	/* In their order, so that two that add do not wait for each other. */
	[MER_Q_TOTALS_ADD] =
		"INSERT INTO run_totals (series, value) SELECT key, value::bigint "
		"FROM json_each_text($1::json) ORDER BY key COLLATE \"C\" ON CONFLICT (series) DO UPDATE "
		"SET value = run_totals.value + excluded.value",
	[MER_Q_IO_EXPIRE] =
		"DELETE FROM model_access_io WHERE request_uid = ANY (ARRAY(SELECT a.request_uid FROM "
		"model_access_io JOIN model_access AS a USING (request_uid) " ENDED NOT_RATED
		"ORDER BY a.request_uid LIMIT $2))",
	[MER_Q_RUN_TIMES] = RUN_TIMES
	"WHERE ($1 = '' OR model = $1) AND kind = $2 AND request_uid > $3 AND queued_at >= $4 "
	"ORDER BY request_uid LIMIT $5",
	[MER_Q_IO_INSERT] =
		"INSERT INTO model_access_io (request_uid, input, output, input_meta, output_meta) "
		"SELECT $1::text, $2::bytea, $3::bytea, $4::text, $5::text WHERE EXISTS (SELECT FROM model_access WHERE request_uid = $1::text) "
		"ON CONFLICT DO NOTHING",
	[MER_Q_PROVENANCE_PRUNE] =
		"DELETE FROM provenance WHERE digest IN (SELECT json_array_elements_text($1::json)) AND "
		"NOT EXISTS (SELECT 1 FROM owners) AND "
		"digest NOT IN (SELECT provenance FROM model_access WHERE request_uid >= $2)",
	/* It may be there from before the connection was lost. */
	[MER_Q_OWNER_INSERT] = "INSERT INTO owners (uid, host, pid, program) VALUES ($1, $2, $3, $4) "
						   "ON CONFLICT (uid) DO NOTHING",
	/* Of two that sweep, one gets an owner. OFFSET 0 has the runs looked for owner by owner; the upper
	 * bound, which every uid is below, lets the planner expect few, so that it does not read all. */
	[MER_Q_OWNERS_SWEEP] =
		"WITH dead AS (DELETE FROM owners AS o WHERE " IS_DEAD " RETURNING o.uid) "
		"UPDATE model_access AS r SET status = 'lost', stopped_at = " NOW ", "
		"error = 'the mer that ran it died' WHERE r.stopped_at IS NULL AND r.request_uid = ANY ("
		"ARRAY(SELECT open.request_uid FROM dead, LATERAL (SELECT m.request_uid "
		"FROM model_access AS m WHERE m.request_uid >= substr(dead.uid, 1, 18) AND "
		"m.request_uid < 'g' AND m.owner = dead.uid AND m.stopped_at IS NULL OFFSET 0) AS open))",
	[MER_Q_NOW] = "SELECT " UTC("clock_timestamp()") " AS name",
	[MER_Q_QUICK_CHECK] = INVALID_INDEXES "LIMIT 3",
	[MER_Q_CHECK] = INVALID_INDEXES
	"UNION ALL SELECT 'constraint ' || n.conname || ' is not valid' FROM pg_catalog.pg_constraint AS n "
	"WHERE NOT n.convalidated AND n.connamespace = current_schema()::regnamespace " ORPHANS(
		"deployments", "model_uid", "models", "uid")
		ORPHANS("deployments", "server_uid", "servers", "uid") ORPHANS("model_weights", "model_uid",
	                                                                   "models", "uid")
			ORPHANS("model_weights", "parent_uid", "model_weights", "uid")
				ORPHANS("model_access_io", "request_uid", "model_access", "request_uid")
					ORPHANS("feedback", "request_uid", "model_access", "request_uid") "LIMIT 100",
	[MER_Q_KEYS_LATER] = "SET CONSTRAINTS ALL DEFERRED",
	[MER_Q_LOCK_TABLES] = "LOCK TABLE servers, models, deployments, model_weights, provenance, "
						  "model_access, model_access_io, feedback, run_totals, owners "
						  "IN EXCLUSIVE MODE",
	/* Who writes to one of them later waits, or has us wait: always in this order. */
	[MER_Q_LOCK_MODELS] = "LOCK TABLE servers, models, deployments, model_weights "
						  "IN SHARE ROW EXCLUSIVE MODE",
	[MER_Q_CHANGES] = "SELECT pg_current_snapshot()::text AS name",
	[MER_Q_IDENTITY] =
		"SELECT system_identifier || '/' || (SELECT oid FROM pg_catalog.pg_database "
		"WHERE datname = current_database()) || '/' || coalesce(current_schema(), '') AS name "
		"FROM pg_catalog.pg_control_system()",
	[MER_Q_OTHERS] =
		"WITH known(name, columns) AS (" DAL_KNOWN "), found AS (SELECT c.oid, "
		"n.nspname <> current_schema() AS away, n.nspname::text AS schema, c.relname::text AS name "
		"FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
		"WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema') "
		"SELECT (CASE WHEN away THEN schema || '.' ELSE '' END || name) COLLATE \"C\" AS name "
		"FROM found WHERE pg_relation_size(oid) > 0 AND (away OR name COLLATE \"C\" NOT IN "
		"(SELECT known.name FROM known)) UNION ALL "
		"SELECT (f.name || '.' || a.attname) COLLATE \"C\" FROM known AS k "
		"JOIN found AS f ON f.name COLLATE \"C\" = k.name AND NOT f.away "
		"JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.oid AND a.attnum > 0 "
		"AND NOT a.attisdropped WHERE k.columns <> '' "
		"AND strpos(k.columns COLLATE \"C\", ' ' || a.attname || ' ') = 0 ORDER BY 1",
	TEXTS_OF_BOTH
};
static_assert(DAL_COUNT(pg_text) == MER_Q_COUNT, "a text for each query");

/* The same for many rows at once: each argument is an array. A statement of one row costs the server
 * some 50 us, of which most is the reading of the table's constraints. */
#define OPEN_ARRAYS \
	"unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], " \
	"$8::text[], $9::bigint[], $10::text[], $11::text[], $12::bigint[], $13::text[], $14::text[], " \
	"$15::text[], $16::text[], $17::text[]) AS v (a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, " \
	"a13, a14, a15, a16, a17)"
#define CLOSE_ARRAYS \
	"unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], " \
	"$8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], " \
	"$14::text[], $15::text[], $16::bigint[], $17::bigint[]) AS v (a1, a2, a3, a4, a5, a6, a7, a8, " \
	"a9, a10, a11, a12, a13, a14, a15, a16, a17)"

const char *const pg_batch_text[MER_Q_COUNT] = {
	[MER_Q_RUN_INSERT] =
		"INSERT INTO model_access (request_uid, model, deployment_uid, server, weights, door, who, "
		"host, pid, status, queued_at, started_at, bytes_in, sha256_in, owner, kind, replays, traceparent) "
		"SELECT a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, "
		"CASE a10 WHEN 'running' THEN a11 END, a12, a13, a14, a15, a16, a17 "
		"FROM " OPEN_ARRAYS,
	[MER_Q_RUN_CLOSE] =
		"UPDATE model_access SET status = a2, started_at = a3, stopped_at = a4, exit_code = a5, "
		"signal = a6, error = a7, stderr_tail = a8, attempts = a9, queue_ms = a10, start_ms = a11, "
		"infer_ms = a12, bytes_out = a13, sha256_out = a14, provenance = a15, cpu_us = a16, "
		"max_rss_kib = a17 FROM " CLOSE_ARRAYS " WHERE request_uid = a1",
};
