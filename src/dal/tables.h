/*
 * The tables as wholes, for moving them from database to database: their columns, and the queries
 * that are made of them, whose texts are the same in every dialect.
 */
#ifndef DAL_TABLES_H
#define DAL_TABLES_H

#include <mer/queries.h>

/* clang-format off */

/* X(id, table, key, how many columns, rows to ask for at once): the order is that of enum mer_table.
 * As many rows as are no burden, where each may hold what mer keeps of a run. */
#define DAL_TABLES(X) \
	X(MER_TABLE_SERVERS, servers, uid, 9, 256) \
	X(MER_TABLE_MODELS, models, uid, 14, 64) \
	X(MER_TABLE_DEPLOYMENTS, deployments, uid, 19, 256) \
	X(MER_TABLE_WEIGHTS, model_weights, uid, 12, 256) \
	X(MER_TABLE_PROVENANCE, provenance, digest, 9, 256) \
	X(MER_TABLE_RUNS, model_access, request_uid, 32, 256) \
	X(MER_TABLE_IO, model_access_io, request_uid, 5, 8) \
	X(MER_TABLE_FEEDBACK, feedback, uid, 6, 8) \
	X(MER_TABLE_TOTALS, run_totals, series, 2, 256) \
	X(MER_TABLE_OWNERS, owners, uid, 5, 256)

/* The columns behind the key, in the order of sql/. T, N and B are given the name of one that holds
 * text, a number, bytes. */
#define DAL_COLUMNS_servers(T, N, B) \
	T(name) T(kind) T(host) N(port) T(username) T(params) T(created_at) T(updated_at)
#define DAL_COLUMNS_models(T, N, B) \
	T(name) T(summary) T(input_contract) T(output_contract) N(feedback) N(feedback_threshold) \
	T(created_at) T(updated_at) N(train_after) B(test_input) B(test_output) T(test_tolerance) \
	N(test_on_start)
#define DAL_COLUMNS_deployments(T, N, B) \
	T(name) T(model_uid) T(server_uid) T(protocol) T(workdir) T(argv) T(train_argv) T(env) \
	T(params) T(limits) N(max_workers) N(idle_ms) N(timeout_ms) N(start_timeout_ms) N(priority) \
	N(enabled) T(created_at) T(updated_at)
#define DAL_COLUMNS_model_weights(T, N, B) \
	T(model_uid) T(version) T(name) T(path) T(sha256) N(bytes) T(parent_uid) T(state) T(metrics) \
	T(made_by) T(created_at)
#define DAL_COLUMNS_provenance(T, N, B) \
	T(host) T(program) T(program_sha256) T(files) T(weights_sha256) T(runtime) T(sdk) T(created_at)
#define DAL_COLUMNS_model_access(T, N, B) \
	T(model) T(deployment_uid) T(server) T(weights) T(door) T(who) T(host) N(pid) T(status) \
	T(queued_at) T(started_at) T(stopped_at) N(exit_code) T(signal) T(error) T(stderr_tail) \
	N(attempts) N(queue_ms) N(start_ms) N(infer_ms) N(bytes_in) N(bytes_out) T(sha256_in) \
	T(sha256_out) T(owner) T(kind) T(replays) T(provenance) N(cpu_us) N(max_rss_kib) T(traceparent)
#define DAL_COLUMNS_model_access_io(T, N, B) B(input) B(output) T(input_meta) T(output_meta)
#define DAL_COLUMNS_feedback(T, N, B) T(request_uid) N(rating) B(expected) T(note) T(created_at)
#define DAL_COLUMNS_run_totals(T, N, B) N(value)
#define DAL_COLUMNS_owners(T, N, B) T(host) N(pid) T(program) T(started_at)

#define DAL_PLACES_2 "$1, $2"
#define DAL_PLACES_3 DAL_PLACES_2 ", $3"
#define DAL_PLACES_4 DAL_PLACES_3 ", $4"
#define DAL_PLACES_5 DAL_PLACES_4 ", $5"
#define DAL_PLACES_6 DAL_PLACES_5 ", $6"
#define DAL_PLACES_9 DAL_PLACES_6 ", $7, $8, $9"
#define DAL_PLACES_12 DAL_PLACES_9 ", $10, $11, $12"
#define DAL_PLACES_14 DAL_PLACES_12 ", $13, $14"
#define DAL_PLACES_19 DAL_PLACES_14 ", $15, $16, $17, $18, $19"
#define DAL_PLACES_32 DAL_PLACES_19 ", $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32"

#define DAL_COMMA_(column) ", " #column
#define DAL_NAMES_(table, key) #key DAL_COLUMNS_##table(DAL_COMMA_, DAL_COMMA_, DAL_COMMA_)

/* The tables and their columns as rows of VALUES, a space before and behind each column. */
#define DAL_SPACED_(column) #column " "
#define DAL_KNOWN_(id, table, key, n, at_once) \
	", ('" #table "', ' " #key " " DAL_COLUMNS_##table(DAL_SPACED_, DAL_SPACED_, DAL_SPACED_) "')"
#define DAL_KNOWN "VALUES ('migrations', '')" DAL_TABLES(DAL_KNOWN_)

/* Their rows in the table of texts of a backend that speaks SQL: DAL_TABLES(DAL_TABLE_TEXTS). The
 * brackets are apart, since clang-format would take a sum in them for Objective-C. */
#define DAL_AT_(query) [query]
#define DAL_TABLE_TEXTS(id, table, key, n, at_once) \
	DAL_AT_(MER_Q_TABLE_ROWS + id) = "SELECT " DAL_NAMES_(table, key) " FROM " #table \
		" WHERE " #key " > $1 ORDER BY " #key " LIMIT $2", \
	DAL_AT_(MER_Q_TABLE_HAS + id) = \
		"SELECT count(*) AS count FROM " #table " WHERE " #key " = $1", \
	DAL_AT_(MER_Q_TABLE_INSERT + id) = "INSERT INTO " #table " (" DAL_NAMES_(table, key) \
		") VALUES (" DAL_PLACES_##n ")", \
	DAL_AT_(MER_Q_TABLE_CLEAR + id) = "DELETE FROM " #table,

/* clang-format on */

#endif
