/* What queries are in SQLite, beside those of text.h. */
#include "internal.h"
#include "text.h"

#include <assert.h>

#define NOW "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
#define LEDGER "migrations"

/* Runs of a status that is rare are found by the index that has no others. */
#define IS_RARE "$2 IN ('failed', 'timeout', 'cancelled', 'lost', 'rejected') "
#define MANY "NOT " IS_RARE "AND ($2 = '' OR status = $2) AND "
#define FEW \
	IS_RARE "AND status = $2 AND status <> 'ok' AND status <> 'queued' AND status <> 'running' " \
			"AND ($1 = '' OR model = $1) AND "

/* uids begin with the time in units of 65.536 s in 8 digits. A day's grace is for clocks that were
 * set; the exact time is compared besides. */
#define SINCE \
	"queued_at >= $3 AND " \
	"request_uid >= printf('%08x', max(0, strftime('%s', $3) - 86400) * 1000 >> 16) " \
	"AND request_uid < coalesce(nullif($5, ''), 'g') "

/* The other way round: runs from before it may have uids up to here. */
#define UNTIL "printf('%08x', (strftime('%s', $1) + 86400) * 1000 >> 16) || 'g'"

const char *const dal_sqlite_text[] = {
	[MER_Q_LEDGER_EXISTS] = "SELECT count(*) AS count FROM sqlite_schema "
							"WHERE type = 'table' AND name = '" LEDGER "'",
	[MER_Q_LEDGER_CREATE] =
		"CREATE TABLE IF NOT EXISTS " LEDGER " (\n"
		"	num              INTEGER NOT NULL PRIMARY KEY,\n"
		"	name             TEXT NOT NULL,\n"
		"	sha256           TEXT NOT NULL, -- of the script's bytes\n"
		"	canonical_sha256 TEXT NOT NULL, -- with comments and white space folded\n"
		"	applied_at       TEXT NOT NULL DEFAULT (" NOW "),\n"
		"	duration_ms      INTEGER NOT NULL,\n"
		"	applied_by       TEXT NOT NULL,\n"
		"	tool_version     TEXT NOT NULL,\n"
		"	state            TEXT NOT NULL DEFAULT 'applied',\n"
		"	CONSTRAINT migrations_num CHECK (num > 0),\n"
		"	CONSTRAINT migrations_state CHECK (state = 'applied' OR state = 'started')\n"
		") STRICT",
	[MER_Q_LEDGER_INSERT] = "INSERT INTO " LEDGER " (num, name, sha256, canonical_sha256, "
							"duration_ms, applied_by, tool_version) "
							"VALUES ($1, $2, $3, $4, $5, $6, $7)",
	[MER_Q_WEIGHTS_NAMES] = "SELECT w.version AS name FROM models AS m JOIN model_weights AS w "
							"ON w.model_uid = m.uid WHERE m.name = $3 AND "
							"substr(w.version, 1, length($1)) = $1 ORDER BY w.uid DESC LIMIT $2",
	[MER_Q_RUN_NAMES] = "SELECT request_uid AS name FROM model_access WHERE " BEGINS(
		"request_uid") "AND request_uid >= $3 AND ($4 = 0 OR pid = $4) "
					   "ORDER BY request_uid DESC LIMIT $2",
	[MER_Q_MODEL_CONTRACT_MAY] = "SELECT 1 AS count",
	[MER_Q_SECRET_NAMES] =
		"SELECT substr(v.value, 5) AS name FROM servers AS s, json_tree(s.params) AS v "
		"WHERE replace(s.params, '\"env:', '') <> s.params AND v.type = 'text' AND substr(v.value, 1, 4) = 'env:' "
		"UNION SELECT substr(v.value, 5) FROM deployments AS d, json_tree(d.env) AS v "
		"WHERE replace(d.env, '\"env:', '') <> d.env AND v.type = 'text' AND substr(v.value, 1, 4) = 'env:'",
	/* Three parts, of which all but one are empty at once, since an OR would not use the indexes. */
	[MER_Q_RUNS] = RUNS "WHERE $1 <> '' AND model = $1 AND " MANY SINCE "UNION ALL " RUNS
						"WHERE $1 = '' AND " MANY SINCE "UNION ALL " RUNS "WHERE " FEW SINCE
						"ORDER BY request_uid DESC LIMIT $4",
	[MER_Q_RUNS_AFTER] = RUNS
	"WHERE request_uid > max($4, printf('%08x', max(0, strftime('%s', $2) - 86400) * 1000 "
	">> 16)) AND request_uid < CASE $3 WHEN '' THEN 'g' ELSE printf('%08x', "
	"(strftime('%s', $3) + 86400) * 1000 >> 16) || 'g' END AND queued_at >= $2 AND "
	"($3 = '' OR queued_at < $3) AND ($1 = '' OR model = $1) ORDER BY request_uid LIMIT $5",
	[MER_Q_RUNS_OF] = RUNS "WHERE request_uid IN (SELECT value FROM json_each($1)) "
						   "ORDER BY request_uid",
	/* Rows are numbered as they come. */
	[MER_Q_WRITTEN] = "SELECT coalesce(max(rowid) + 1, 0) AS \"all\", "
					  "coalesce(max(rowid) + 1, 0) AS \"any\" FROM model_access",
	[MER_Q_RUNS_LATE] = RUNS "WHERE rowid >= $1 AND +request_uid > $2 AND +request_uid <= $3 "
							 "ORDER BY rowid",
	[MER_Q_RUN_CLOSE_AT] = CLOSE "WHERE rowid = $18 AND request_uid = $1",
	[MER_Q_RUNS_PRUNE] = "DELETE FROM model_access WHERE rowid IN (SELECT rowid FROM model_access "
						 "WHERE stopped_at IS NOT NULL AND queued_at < $1 AND request_uid < " UNTIL
						 " ORDER BY request_uid LIMIT $2)" GONE,
	[MER_Q_RUNS_EXPIRE] =
		"DELETE FROM model_access WHERE rowid IN (SELECT rowid FROM model_access AS a " ENDED
			NOT_RATED NOT_MADE "ORDER BY request_uid LIMIT $2)" GONE,
	[MER_Q_TOTALS_ADD] = "INSERT INTO run_totals (series, value) SELECT key, value "
						 "FROM json_each($1) WHERE true ON CONFLICT (series) DO UPDATE "
						 "SET value = run_totals.value + excluded.value",
	[MER_Q_IO_EXPIRE] =
		"DELETE FROM model_access_io WHERE request_uid IN (SELECT a.request_uid FROM "
		"model_access_io JOIN model_access AS a USING (request_uid) " ENDED NOT_RATED
		"ORDER BY a.request_uid LIMIT $2)",
	/* Two parts for the same reason as above. */
	[MER_Q_RUN_TIMES] =
		RUN_TIMES "WHERE $1 <> '' AND model = $1 AND request_uid > $3 AND kind = $2 AND "
				  "queued_at >= $4 UNION ALL " RUN_TIMES
				  "WHERE $1 = '' AND request_uid > $3 AND kind = $2 AND queued_at >= $4 "
				  "ORDER BY request_uid LIMIT $5",
	[MER_Q_IO_INSERT] =
		"INSERT INTO model_access_io (request_uid, input, output, input_meta, output_meta) "
		"SELECT $1, $2, $3, $4, $5 WHERE EXISTS (SELECT 1 FROM model_access WHERE request_uid = $1) ON CONFLICT DO NOTHING",
	[MER_Q_PROVENANCE_PRUNE] =
		"DELETE FROM provenance WHERE digest IN (SELECT value FROM json_each($1)) AND "
		"NOT EXISTS (SELECT 1 FROM owners) AND "
		"digest NOT IN (SELECT provenance FROM model_access WHERE request_uid >= $2)",
	[MER_Q_OWNER_INSERT] = "INSERT INTO owners (uid, host, pid, program) VALUES ($1, $2, $3, $4)",
	[MER_Q_OWNERS_SWEEP] = "", /* its locks are in a file */
	[MER_Q_NOW] = "SELECT " NOW " AS name",
	[MER_Q_QUICK_CHECK] =
		"SELECT quick_check AS name FROM pragma_quick_check(3) WHERE quick_check <> 'ok'",
	[MER_Q_CHECK] =
		"SELECT integrity_check AS name FROM pragma_integrity_check(100) "
		"WHERE integrity_check <> 'ok' UNION ALL SELECT * FROM (SELECT 'a row of ' || \"table\" || "
		"' refers to one of ' || parent || ' that is not there' || coalesce(' (rowid ' || rowid || "
		"')', '') FROM pragma_foreign_key_check LIMIT 100)",
	[MER_Q_KEYS_LATER] = "PRAGMA defer_foreign_keys = 1",
	[MER_Q_LOCK_TABLES] = "",                            /* there is one writer */
	[MER_Q_LOCK_MODELS] = "DELETE FROM servers WHERE 0", /* and it has begun already */
	[MER_Q_CHANGES] = "SELECT CAST(data_version AS TEXT) AS name FROM pragma_data_version",
	[MER_Q_IDENTITY] = "SELECT coalesce(file, '') AS name FROM pragma_database_list "
					   "WHERE name = 'main'",
	[MER_Q_OTHERS] =
		"WITH known(name, columns) AS (" DAL_KNOWN ") SELECT name AS name FROM sqlite_schema "
		"WHERE type = 'table' AND name NOT LIKE 'sqlite^_%' ESCAPE '^' "
		"AND name NOT IN (SELECT name FROM known) AND mer_has_rows(name) UNION ALL "
		"SELECT k.name || '.' || c.name FROM known AS k, pragma_table_info(k.name) AS c "
		"WHERE k.columns <> '' AND instr(k.columns, ' ' || c.name || ' ') = 0 ORDER BY 1",
	TEXTS_OF_BOTH
};
static_assert(DAL_COUNT(dal_sqlite_text) == MER_Q_COUNT, "a text for each query");
