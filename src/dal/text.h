/*
 * Queries in SQL as far as SQLite and Postgres say them alike, for sqlite_text.c and postgres_text.c
 * alone, which hold the others and define what differs within: NOW, LEDGER and UNTIL. Columns are named
 * and ordered as the row struct of mer/queries.h; missing values become "" and -1 here.
 */
#ifndef DAL_TEXT_H
#define DAL_TEXT_H

#include "tables.h"

#define SERVERS \
	"SELECT uid, name, kind, host, port, username AS \"user\", params, created_at, updated_at " \
	"FROM servers "

#define MODELS \
	"SELECT uid, name, summary, feedback, feedback_threshold, train_after, " \
	"(SELECT count(*) FROM deployments AS d WHERE d.model_uid = m.uid) AS deployments, " \
	"input_contract AS inputs, output_contract AS outputs, created_at, updated_at FROM models AS m "

#define DEPLOYMENTS \
	"SELECT d.uid AS uid, d.name AS name, d.model_uid AS model_uid, m.name AS model, " \
	"d.server_uid AS server_uid, s.name AS server, s.kind AS server_kind, " \
	"s.host AS server_host, s.port AS server_port, s.username AS server_user, " \
	"s.params AS server_params, s.updated_at AS server_at, " \
	"d.protocol AS protocol, d.workdir AS workdir, d.argv AS argv, " \
	"coalesce(d.train_argv, '') AS train, d.env AS env, d.params AS params, d.limits AS limits, " \
	"d.max_workers AS max_workers, d.idle_ms AS idle_ms, d.timeout_ms AS timeout_ms, " \
	"d.start_timeout_ms AS start_timeout_ms, d.priority AS priority, d.enabled AS enabled, " \
	"coalesce(w.uid, '') AS weights_uid, coalesce(w.version, '') AS weights_version, " \
	"coalesce(w.path, '') AS weights_path, coalesce(w.sha256, '') AS weights_sha256, " \
	"CASE m.test_on_start WHEN 1 THEN m.updated_at ELSE '' END AS test_at, " \
	"d.updated_at AS updated_at " \
	"FROM deployments AS d JOIN models AS m ON m.uid = d.model_uid " \
	"JOIN servers AS s ON s.uid = d.server_uid " \
	"LEFT JOIN model_weights AS w ON w.model_uid = d.model_uid AND "

/* Ratings that count: of each run the last. */
#define FEEDBACK \
	"FROM feedback AS f JOIN model_access AS a ON a.request_uid = f.request_uid AND a.model = $1 " \
	"AND NOT EXISTS (SELECT 1 FROM feedback AS g WHERE g.request_uid = f.request_uid AND " \
	"g.uid > f.uid) "

#define RUNS \
	"SELECT request_uid, model, deployment_uid AS deployment, server, weights, door, who, host, " \
	"pid, status, queued_at, coalesce(started_at, '') AS started_at, " \
	"coalesce(stopped_at, '') AS stopped_at, coalesce(exit_code, -1) AS exit_code, signal, " \
	"error, stderr_tail, attempts, coalesce(queue_ms, -1) AS queue_ms, " \
	"coalesce(start_ms, -1) AS start_ms, coalesce(infer_ms, -1) AS infer_ms, " \
	"coalesce(bytes_in, -1) AS bytes_in, coalesce(bytes_out, -1) AS bytes_out, sha256_in, " \
	"sha256_out, owner, kind, replays, provenance, coalesce(cpu_us, -1) AS cpu_us, " \
	"coalesce(max_rss_kib, -1) AS max_rss_kib, traceparent FROM model_access "

#define RUN_TIMES \
	"SELECT request_uid, model, status, queued_at, coalesce(stopped_at, '') AS stopped_at, " \
	"coalesce(queue_ms, -1) AS queue_ms, coalesce(start_ms, -1) AS start_ms, " \
	"coalesce(infer_ms, -1) AS infer_ms FROM model_access "

#define CLOSE \
	"UPDATE model_access SET status = $2, started_at = $3, stopped_at = $4, exit_code = $5, " \
	"signal = $6, error = $7, stderr_tail = $8, attempts = $9, queue_ms = $10, start_ms = $11, " \
	"infer_ms = $12, bytes_out = $13, sha256_out = $14, provenance = $15, cpu_us = $16, " \
	"max_rss_kib = $17 "

/* '{' follows all that a name or a uid may hold. */
#define BEGINS(column) column " >= $1 AND " column " < $1 || '{' "

#define NAMES(table) \
	"SELECT name FROM (SELECT name FROM " table " WHERE " BEGINS( \
		"name") "ORDER BY name LIMIT $2) AS a UNION SELECT name FROM (SELECT name FROM " table \
				" WHERE " BEGINS("name") "ORDER BY name DESC LIMIT 1) AS b ORDER BY name"

/* Ended runs from before a time, the oldest first; and which of them stay for what depends on them. */
#define ENDED "WHERE stopped_at IS NOT NULL AND queued_at < $1 AND request_uid < " UNTIL " "

#define NOT_RATED \
	"AND NOT EXISTS (SELECT 1 FROM feedback AS f WHERE f.request_uid = a.request_uid) "

#define NOT_MADE \
	"AND (kind = 'run' OR NOT EXISTS (SELECT 1 FROM model_weights WHERE made_by = a.request_uid)) "

#define GONE \
	" RETURNING model, status, kind, coalesce(queue_ms, -1) AS queue_ms, " \
	"coalesce(start_ms, -1) AS start_ms, coalesce(infer_ms, -1) AS infer_ms"

/* clang-format off */

/* Rows of the table of texts, those of tables.h among them. */
#define TEXTS_OF_BOTH \
	[MER_Q_LEDGER] = "SELECT num, name, sha256, canonical_sha256, applied_at, duration_ms, " \
					 "applied_by, tool_version, state FROM " LEDGER " WHERE num > $1 " \
					 "ORDER BY num LIMIT $2", \
	[MER_Q_LEDGER_START] = "INSERT INTO " LEDGER " (num, name, sha256, canonical_sha256, " \
						   "duration_ms, applied_by, tool_version, state) " \
						   "VALUES ($1, $2, $3, $4, 0, $5, $6, 'started')", \
	[MER_Q_LEDGER_FINISH] = \
		"UPDATE " LEDGER " SET state = 'applied', duration_ms = $2 WHERE num = $1", \
	[MER_Q_LEDGER_ACCEPT] = "UPDATE " LEDGER " SET state = 'applied', name = $2, sha256 = $3, " \
							"canonical_sha256 = $4 WHERE num = $1", \
	[MER_Q_LEDGER_FORGET] = "DELETE FROM " LEDGER " WHERE num = $1", \
	[MER_Q_LEDGER_MAX] = "SELECT coalesce(max(num), 0) AS count FROM " LEDGER " " \
						 "WHERE num < 1000 AND state = 'applied'", \
	\
	[MER_Q_SERVERS] = SERVERS "ORDER BY name", \
	[MER_Q_SERVER_BY_NAME] = SERVERS "WHERE name = $1", \
	[MER_Q_SERVER_INSERT] = "INSERT INTO servers (uid, name, kind, host, port, username, params) " \
							"VALUES ($1, $2, $3, $4, $5, $6, $7)", \
	[MER_Q_SERVER_UPDATE] = "UPDATE servers SET host = $2, port = $3, username = $4, params = $5, " \
							"updated_at = " NOW " WHERE uid = $1", \
	[MER_Q_SERVER_DELETE] = "DELETE FROM servers WHERE uid = $1", \
	\
	[MER_Q_MODEL_NAMES] = NAMES("models"), \
	[MER_Q_SERVER_NAMES] = NAMES("servers"), \
	[MER_Q_DEPLOYMENT_NAMES] = \
		"SELECT d.name AS name FROM models AS m JOIN deployments AS d " \
		"ON d.model_uid = m.uid WHERE m.name = $3 AND " BEGINS("d.name") "ORDER BY d.name LIMIT $2", \
	\
	[MER_Q_MODELS] = MODELS "ORDER BY name", \
	[MER_Q_MODEL_BY_NAME] = MODELS "WHERE name = $1", \
	[MER_Q_MODEL_INSERT] = "INSERT INTO models (uid, name, summary) VALUES ($1, $2, $3)", \
	[MER_Q_MODEL_UPDATE] = "UPDATE models SET summary = $2, updated_at = " NOW " WHERE uid = $1", \
	[MER_Q_MODEL_CONTRACT] = "UPDATE models SET input_contract = $2, output_contract = $3 " \
							 "WHERE name = $1", \
	[MER_Q_MODEL_TOUCH] = "UPDATE models SET updated_at = " NOW " WHERE uid = $1", \
	[MER_Q_MODEL_FEEDBACK] = "UPDATE models SET feedback = $2, feedback_threshold = $3, " \
							 "train_after = $4, updated_at = " NOW " WHERE uid = $1", \
	[MER_Q_MODEL_DELETE] = "DELETE FROM models WHERE uid = $1", \
	[MER_Q_MODEL_TEST] = "SELECT test_input, test_output, test_tolerance, test_on_start " \
						 "FROM models WHERE name = $1", \
	[MER_Q_MODEL_TEST_SET] = \
		"UPDATE models SET test_input = $2, test_output = $3, " \
		"test_tolerance = $4, test_on_start = $5, updated_at = " NOW " WHERE uid = $1", \
	\
	/* A range, for which there is an index; no name begins with or behind a '~'. */ \
	[MER_Q_DEPLOYMENTS] = DEPLOYMENTS "w.state = 'active' " \
									  "WHERE m.name BETWEEN $1 AND coalesce(nullif($1, ''), '~') " \
									  "ORDER BY m.name, d.priority, d.name", \
	[MER_Q_RESOLVE] = DEPLOYMENTS "(w.version = $2 OR $2 = '' AND w.state = 'active') " \
								  "WHERE m.name = $1 AND d.enabled = 1 ORDER BY d.priority, d.name", \
	[MER_Q_DEPLOYMENT_INSERT] = \
		"INSERT INTO deployments (uid, name, model_uid, server_uid, protocol, workdir, argv, " \
		"train_argv, env, params, limits, max_workers, idle_ms, timeout_ms, start_timeout_ms, " \
		"priority) VALUES ($1, $2, $3, $4, $5, $6, $7, nullif($8, ''), $9, $10, $11, $12, $13, " \
		"$14, $15, $16)", \
	[MER_Q_DEPLOYMENT_UPDATE] = \
		"UPDATE deployments SET server_uid = $2, protocol = $3, workdir = $4, argv = $5, " \
		"train_argv = nullif($6, ''), env = $7, params = $8, limits = $9, max_workers = $10, " \
		"idle_ms = $11, timeout_ms = $12, start_timeout_ms = $13, priority = $14, name = $15, " \
		"enabled = $16, updated_at = " NOW " WHERE uid = $1", \
	[MER_Q_DEPLOYMENT_DELETE] = "DELETE FROM deployments WHERE uid = $1", \
	\
	[MER_Q_WEIGHTS] = "SELECT w.uid AS uid, m.name AS model, w.version AS version, " \
					  "w.state AS state, w.path AS path, w.sha256 AS sha256, w.bytes AS bytes, " \
					  "coalesce(p.version, '') AS parent, w.metrics AS metrics, " \
					  "w.made_by AS made_by, w.created_at AS created_at " \
					  "FROM models AS m JOIN model_weights AS w ON w.model_uid = m.uid " \
					  "LEFT JOIN model_weights AS p ON p.uid = w.parent_uid " \
					  "WHERE m.name = $1 ORDER BY w.uid DESC", \
	[MER_Q_WEIGHTS_INSERT] = \
		"INSERT INTO model_weights (uid, model_uid, version, path, sha256, bytes, parent_uid, " \
		"metrics, made_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)", \
	[MER_Q_WEIGHTS_RETIRE] = \
		"UPDATE model_weights SET state = 'retired' WHERE model_uid = $1 AND state = 'active'", \
	[MER_Q_WEIGHTS_ACTIVATE] = "UPDATE model_weights SET state = 'active' WHERE uid = $1", \
	[MER_Q_WEIGHTS_STATE] = "UPDATE model_weights SET state = $2 WHERE uid = $1", \
	[MER_Q_WEIGHTS_DELETE] = "DELETE FROM model_weights WHERE uid = $1", \
	\
	[MER_Q_FEEDBACK_INSERT] = "INSERT INTO feedback (uid, request_uid, rating, expected, note) " \
							  "VALUES ($1, $2, $3, $4, $5)", \
	[MER_Q_FEEDBACK_EXPORT] = \
		"SELECT f.uid AS uid, f.request_uid AS request_uid, a.weights AS weights, " \
		"f.rating AS rating, f.note AS note, f.created_at AS created_at, f.expected AS expected, " \
		"io.input AS input, io.output AS output " FEEDBACK \
		"LEFT JOIN model_access_io AS io ON io.request_uid = f.request_uid ORDER BY f.uid", \
	[MER_Q_FEEDBACK_BAD] = \
		"SELECT count(*) AS count " FEEDBACK "WHERE a.weights = $2 AND f.rating < $3", \
	\
	[MER_Q_RUNS_TRACE] = RUNS \
	"WHERE traceparent <> '' AND traceparent >= $1 AND traceparent < $2 AND ($3 = '' OR model = $3) " \
	"AND ($4 = '' OR status = $4) AND queued_at >= $5 AND " \
	"request_uid < coalesce(nullif($7, ''), 'g') ORDER BY request_uid DESC LIMIT $6", \
	/* None is older than its owner (mer_uid_next). */ \
	[MER_Q_RUNS_OPEN] = \
		"SELECT request_uid AS name FROM model_access WHERE stopped_at IS NULL AND " \
		"request_uid >= (SELECT coalesce(min(substr(uid, 1, 18)), 'g') FROM owners)", \
	[MER_Q_RUN_BY_UID] = RUNS "WHERE request_uid = $1", \
	[MER_Q_RUN_INSERT] = \
		"INSERT INTO model_access (request_uid, model, deployment_uid, server, weights, door, who, " \
		"host, pid, status, queued_at, started_at, bytes_in, sha256_in, owner, kind, replays, traceparent) " \
		"VALUES ($1, $2, $3, " \
		"$4, $5, $6, $7, $8, $9, $10, $11, CASE $10 WHEN 'running' THEN $11 END, $12, " \
		"$13, $14, $15, $16, $17)", \
	[MER_Q_RUN_MOVE] = "UPDATE model_access SET deployment_uid = $2, server = $3 " \
					   "WHERE request_uid = $1", \
	[MER_Q_RUN_CLOSE] = CLOSE "WHERE request_uid = $1", \
	/* Without an index by owner, which each run would pay for. */ \
	[MER_Q_RUNS_LOST] = "UPDATE model_access SET status = 'lost', stopped_at = " NOW ", " \
						"error = 'the mer that ran it died' " \
						"WHERE owner = $1 AND stopped_at IS NULL AND " \
						"request_uid >= substr($1, 1, 18)", \
	/* '0' follows the slash. */ \
	[MER_Q_TOTALS] = "SELECT series, value FROM run_totals WHERE $1 = '' OR " \
					 "(series >= $1 || '/' AND series < $1 || '0') ORDER BY series", \
	\
	[MER_Q_IO] = "SELECT input, output, input_meta, output_meta FROM model_access_io " \
				 "WHERE request_uid = $1", \
	\
	[MER_Q_PROVENANCE] = "SELECT digest, host, program, program_sha256, files, weights_sha256, " \
						 "runtime, sdk, created_at FROM provenance WHERE digest = $1", \
	[MER_Q_PROVENANCE_INSERT] = \
		"INSERT INTO provenance (digest, host, program, program_sha256, files, weights_sha256, " \
		"runtime, sdk) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING", \
	[MER_Q_PROVENANCE_NAMED] = \
		"SELECT provenance AS digest, max(request_uid) AS last FROM (SELECT provenance, request_uid " \
		"FROM model_access WHERE request_uid > $1 ORDER BY request_uid LIMIT $2) AS page " \
		"GROUP BY provenance", \
	\
	[MER_Q_OWNERS] = "SELECT uid, host, pid, program, started_at FROM owners ORDER BY uid", \
	[MER_Q_OWNERS_COUNT] = "SELECT count(*) AS count FROM owners", \
	[MER_Q_OWNER_DELETE] = "DELETE FROM owners WHERE uid = $1", \
	\
	[MER_Q_CHECK_STRAY] = \
		"SELECT request_uid AS name FROM model_access WHERE stopped_at IS NULL AND owner <> '' " \
		"AND owner NOT IN (SELECT uid FROM owners) ORDER BY request_uid LIMIT 100", \
	\
	[MER_Q_OWNER_OPEN_RUNS] = "SELECT count(*) AS count FROM model_access WHERE owner = $1 AND " \
							  "stopped_at IS NULL AND request_uid >= substr($1, 1, 18)", \
	\
	DAL_TABLES(DAL_TABLE_TEXTS)

/* clang-format on */

#endif
