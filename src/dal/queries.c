/*
 * The queries: how many arguments each takes and which columns it gives.
 *
 * To add one: a name in enum mer_query (mer/queries.h) with its arguments, its row struct there if
 * it is new, a row in the table below, and its text in sqlite_text.c and in each other backend. The
 * text names the columns as the members of the row struct are called, in their order, and gives no
 * NULL (coalesce). tests/test_dal.c then asks it once on every backend.
 */
#include "internal.h"
#include "tables.h"

#include <assert.h>
#include <string.h>

#define COUNT(member) DAL_FIELD(struct mer_count_row, member)
static const struct dal_field count_fields[] = { COUNT(count) };

#define NAME(member) DAL_FIELD(struct mer_name_row, member)
static const struct dal_field name_fields[] = { NAME(name) };

#define LEDGER(member) DAL_FIELD(struct mer_ledger_row, member)
static const struct dal_field ledger_fields[] = {
	LEDGER(num),        LEDGER(name),        LEDGER(sha256),     LEDGER(canonical_sha256),
	LEDGER(applied_at), LEDGER(duration_ms), LEDGER(applied_by), LEDGER(tool_version),
	LEDGER(state),
};

#define SERVER(member) DAL_FIELD(struct mer_server_row, member)
static const struct dal_field server_fields[] = {
	SERVER(uid),  SERVER(name),   SERVER(kind),       SERVER(host),       SERVER(port),
	SERVER(user), SERVER(params), SERVER(created_at), SERVER(updated_at),
};

#define MODEL(member) DAL_FIELD(struct mer_model_row, member)
static const struct dal_field model_fields[] = {
	MODEL(uid),
	MODEL(name),
	MODEL(summary),
	MODEL(feedback),
	MODEL(feedback_threshold),
	MODEL(train_after),
	MODEL(deployments),
	MODEL(inputs),
	MODEL(outputs),
	MODEL(created_at),
	MODEL(updated_at),
};

#define DEPLOYMENT(member) DAL_FIELD(struct mer_deployment_row, member)
static const struct dal_field deployment_fields[] = {
	DEPLOYMENT(uid),
	DEPLOYMENT(name),
	DEPLOYMENT(model_uid),
	DEPLOYMENT(model),
	DEPLOYMENT(server_uid),
	DEPLOYMENT(server),
	DEPLOYMENT(server_kind),
	DEPLOYMENT(server_host),
	DEPLOYMENT(server_port),
	DEPLOYMENT(server_user),
	DEPLOYMENT(server_params),
	DEPLOYMENT(server_at),
	DEPLOYMENT(protocol),
	DEPLOYMENT(workdir),
	DEPLOYMENT(argv),
	DEPLOYMENT(train),
	DEPLOYMENT(env),
	DEPLOYMENT(params),
	DEPLOYMENT(limits),
	DEPLOYMENT(max_workers),
	DEPLOYMENT(idle_ms),
	DEPLOYMENT(timeout_ms),
	DEPLOYMENT(start_timeout_ms),
	DEPLOYMENT(priority),
	DEPLOYMENT(enabled),
	DEPLOYMENT(weights_uid),
	DEPLOYMENT(weights_version),
	DEPLOYMENT(weights_path),
	DEPLOYMENT(weights_sha256),
	DEPLOYMENT(test_at),
	DEPLOYMENT(updated_at),
};

#define WEIGHTS(member) DAL_FIELD(struct mer_weights_row, member)
static const struct dal_field weights_fields[] = {
	WEIGHTS(uid),     WEIGHTS(model),   WEIGHTS(version),    WEIGHTS(state),
	WEIGHTS(path),    WEIGHTS(sha256),  WEIGHTS(bytes),      WEIGHTS(parent),
	WEIGHTS(metrics), WEIGHTS(made_by), WEIGHTS(created_at),
};

#define RUN(member) DAL_FIELD(struct mer_run_row, member)
static const struct dal_field run_fields[] = {
	RUN(request_uid), RUN(model),       RUN(deployment), RUN(server),     RUN(weights),
	RUN(door),        RUN(who),         RUN(host),       RUN(pid),        RUN(status),
	RUN(queued_at),   RUN(started_at),  RUN(stopped_at), RUN(exit_code),  RUN(signal),
	RUN(error),       RUN(stderr_tail), RUN(attempts),   RUN(queue_ms),   RUN(start_ms),
	RUN(infer_ms),    RUN(bytes_in),    RUN(bytes_out),  RUN(sha256_in),  RUN(sha256_out),
	RUN(owner),       RUN(kind),        RUN(replays),    RUN(provenance), RUN(cpu_us),
	RUN(max_rss_kib), RUN(traceparent),
};

#define RUN_TIMES(member) DAL_FIELD(struct mer_run_times_row, member)
static const struct dal_field run_times_fields[] = {
	RUN_TIMES(request_uid), RUN_TIMES(model),    RUN_TIMES(status),   RUN_TIMES(queued_at),
	RUN_TIMES(stopped_at),  RUN_TIMES(queue_ms), RUN_TIMES(start_ms), RUN_TIMES(infer_ms),
};

#define WRITTEN(member) DAL_FIELD(struct mer_written_row, member)
static const struct dal_field written_fields[] = { WRITTEN(all), WRITTEN(any) };

#define RUN_GONE(member) DAL_FIELD(struct mer_run_gone_row, member)
static const struct dal_field run_gone_fields[] = {
	RUN_GONE(model),    RUN_GONE(status),   RUN_GONE(kind),
	RUN_GONE(queue_ms), RUN_GONE(start_ms), RUN_GONE(infer_ms),
};

#define TOTAL(member) DAL_FIELD(struct mer_total_row, member)
static const struct dal_field total_fields[] = { TOTAL(series), TOTAL(value) };

#define PROVENANCE(member) DAL_FIELD(struct mer_provenance_row, member)
static const struct dal_field provenance_fields[] = {
	PROVENANCE(digest),         PROVENANCE(host),  PROVENANCE(program),
	PROVENANCE(program_sha256), PROVENANCE(files), PROVENANCE(weights_sha256),
	PROVENANCE(runtime),        PROVENANCE(sdk),   PROVENANCE(created_at),
};

#define NAMED(member) DAL_FIELD(struct mer_named_row, member)
static const struct dal_field named_fields[] = { NAMED(digest), NAMED(last) };

#define OWNER(member) DAL_FIELD(struct mer_owner_row, member)
static const struct dal_field owner_fields[] = {
	OWNER(uid), OWNER(host), OWNER(pid), OWNER(program), OWNER(started_at),
};

static const struct dal_field feedback_fields[] = {
	[MER_FEEDBACK_UID] = { "uid", DAL_TEXT, 0 },
	[MER_FEEDBACK_REQUEST_UID] = { "request_uid", DAL_TEXT, 0 },
	[MER_FEEDBACK_WEIGHTS] = { "weights", DAL_TEXT, 0 },
	[MER_FEEDBACK_RATING] = { "rating", DAL_I64, 0 },
	[MER_FEEDBACK_NOTE] = { "note", DAL_TEXT, 0 },
	[MER_FEEDBACK_CREATED_AT] = { "created_at", DAL_TEXT, 0 },
	[MER_FEEDBACK_EXPECTED] = { "expected", DAL_BLOB, 0 },
	[MER_FEEDBACK_INPUT] = { "input", DAL_BLOB, 0 },
	[MER_FEEDBACK_OUTPUT] = { "output", DAL_BLOB, 0 },
};
static_assert(DAL_COUNT(feedback_fields) == MER_FEEDBACK_COLUMNS, "a field a column");

/* clang-format off */
#define TEXT_OF(column) { #column, DAL_TEXT, 0 },
#define NUMBER_OF(column) { #column, DAL_I64, 0 },
#define BLOB_OF(column) { #column, DAL_BLOB, 0 },
#define TABLE_FIELDS(id, table, key, n, at_once) \
	static const struct dal_field all_of_##table[] = { \
		TEXT_OF(key) DAL_COLUMNS_##table(TEXT_OF, NUMBER_OF, BLOB_OF) \
	}; \
	static_assert(DAL_COUNT(all_of_##table) == (n) && (n) <= DAL_ARGS_MAX && (n) <= DAL_FIELDS_MAX, \
	              "columns of " #table);
DAL_TABLES(TABLE_FIELDS)
/* clang-format on */

/* clang-format off */
static const struct dal_field io_fields[] = { BLOB_OF(input) BLOB_OF(output) TEXT_OF(input_meta)
	                                              TEXT_OF(output_meta) };
static const struct dal_field test_fields[] = {
	BLOB_OF(test_input) BLOB_OF(test_output) TEXT_OF(test_tolerance) NUMBER_OF(test_on_start)
};
/* clang-format on */

/* No member of a row is forgotten: each has the size of a union dal_row. */
#define WHOLE(type) \
	static_assert(sizeof type##_fields / sizeof *type##_fields * sizeof(union dal_row) == \
	                      sizeof(struct mer_##type##_row) && \
	                  sizeof(struct mer_##type##_row) <= DAL_FIELDS_MAX * sizeof(union dal_row), \
	              "fields of " #type)
WHOLE(count);
WHOLE(name);
WHOLE(ledger);
WHOLE(server);
WHOLE(model);
WHOLE(deployment);
WHOLE(weights);
WHOLE(run);
WHOLE(run_times);
WHOLE(written);
WHOLE(run_gone);
WHOLE(total);
WHOLE(provenance);
WHOLE(named);
WHOLE(owner);

#define ROWS(type) \
	.row_size = sizeof(struct mer_##type##_row), .fields = type##_fields, \
	.n_fields = DAL_COUNT(type##_fields)

#define NO_ROWS .row_size = 0

#define VALUES(type) \
	.row_size = DAL_COUNT(type##_fields) * sizeof(struct mer_value), .fields = type##_fields, \
	.n_fields = DAL_COUNT(type##_fields), .values = true

/* clang-format off */
#define TABLE_QUERIES(id, table, key, n, at_once) \
	[MER_Q_TABLE_ROWS + id] = { #table "-rows", 2, (n) * sizeof(struct mer_value), \
		all_of_##table, (n), .values = true }, \
	[MER_Q_TABLE_HAS + id] = { #table "-has", 1, ROWS(count) }, \
	[MER_Q_TABLE_INSERT + id] = { #table "-insert", (n), NO_ROWS }, \
	[MER_Q_TABLE_CLEAR + id] = { #table "-clear", 0, NO_ROWS },
/* clang-format on */

const struct dal_query dal_queries[] = {
	[MER_Q_LEDGER_EXISTS] = { "ledger-exists", 0, ROWS(count) },
	[MER_Q_LEDGER_CREATE] = { "ledger-create", 0, NO_ROWS },
	[MER_Q_LEDGER] = { "ledger", 2, ROWS(ledger) },
	[MER_Q_LEDGER_INSERT] = { "ledger-insert", 7, NO_ROWS },
	[MER_Q_LEDGER_START] = { "ledger-start", 6, NO_ROWS },
	[MER_Q_LEDGER_FINISH] = { "ledger-finish", 2, NO_ROWS },
	[MER_Q_LEDGER_ACCEPT] = { "ledger-accept", 4, NO_ROWS },
	[MER_Q_LEDGER_FORGET] = { "ledger-forget", 1, NO_ROWS },
	[MER_Q_LEDGER_MAX] = { "ledger-max", 0, ROWS(count) },

	[MER_Q_SERVERS] = { "servers", 0, ROWS(server) },
	[MER_Q_SERVER_BY_NAME] = { "server-by-name", 1, ROWS(server) },
	[MER_Q_SERVER_INSERT] = { "server-insert", 7, NO_ROWS },
	[MER_Q_SERVER_UPDATE] = { "server-update", 5, NO_ROWS },
	[MER_Q_SERVER_DELETE] = { "server-delete", 1, NO_ROWS },

	[MER_Q_MODEL_NAMES] = { "model-names", 2, ROWS(name) },
	[MER_Q_SERVER_NAMES] = { "server-names", 2, ROWS(name) },
	[MER_Q_DEPLOYMENT_NAMES] = { "deployment-names", 3, ROWS(name) },
	[MER_Q_WEIGHTS_NAMES] = { "weights-names", 3, ROWS(name) },
	[MER_Q_RUN_NAMES] = { "run-names", 4, ROWS(name) },

	[MER_Q_MODELS] = { "models", 0, ROWS(model) },
	[MER_Q_MODEL_BY_NAME] = { "model-by-name", 1, ROWS(model) },
	[MER_Q_MODEL_INSERT] = { "model-insert", 3, NO_ROWS },
	[MER_Q_MODEL_UPDATE] = { "model-update", 2, NO_ROWS },
	[MER_Q_MODEL_CONTRACT_MAY] = { "model-contract-may", 0, ROWS(count) },
	[MER_Q_MODEL_CONTRACT] = { "model-contract", 3, NO_ROWS },
	[MER_Q_MODEL_TOUCH] = { "model-touch", 1, NO_ROWS },
	[MER_Q_MODEL_FEEDBACK] = { "model-feedback", 4, NO_ROWS },
	[MER_Q_MODEL_DELETE] = { "model-delete", 1, NO_ROWS },
	[MER_Q_MODEL_TEST] = { "model-test", 1, VALUES(test) },
	[MER_Q_MODEL_TEST_SET] = { "model-test-set", 5, NO_ROWS },

	[MER_Q_DEPLOYMENTS] = { "deployments", 1, ROWS(deployment) },
	[MER_Q_RESOLVE] = { "resolve", 2, ROWS(deployment) },
	[MER_Q_DEPLOYMENT_INSERT] = { "deployment-insert", 16, NO_ROWS },
	[MER_Q_DEPLOYMENT_UPDATE] = { "deployment-update", 16, NO_ROWS },
	[MER_Q_DEPLOYMENT_DELETE] = { "deployment-delete", 1, NO_ROWS },
	[MER_Q_SECRET_NAMES] = { "secret-names", 0, ROWS(name) },

	[MER_Q_WEIGHTS] = { "weights", 1, ROWS(weights) },
	[MER_Q_WEIGHTS_INSERT] = { "weights-insert", 9, NO_ROWS },
	[MER_Q_WEIGHTS_RETIRE] = { "weights-retire", 1, NO_ROWS },
	[MER_Q_WEIGHTS_ACTIVATE] = { "weights-activate", 1, NO_ROWS },
	[MER_Q_WEIGHTS_STATE] = { "weights-state", 2, NO_ROWS },
	[MER_Q_WEIGHTS_DELETE] = { "weights-delete", 1, NO_ROWS },

	[MER_Q_FEEDBACK_INSERT] = { "feedback-add", 5, NO_ROWS },
	[MER_Q_FEEDBACK_EXPORT] = { "feedback-export", 1,
	                            MER_FEEDBACK_COLUMNS * sizeof(struct mer_value), feedback_fields,
	                            MER_FEEDBACK_COLUMNS, .values = true },
	[MER_Q_FEEDBACK_BAD] = { "feedback-bad", 3, ROWS(count) },

	[MER_Q_RUNS] = { "runs", 5, ROWS(run) },
	[MER_Q_RUNS_AFTER] = { "runs-after", 5, ROWS(run) },
	[MER_Q_RUNS_TRACE] = { "runs-trace", 7, ROWS(run) },
	[MER_Q_RUNS_OF] = { "runs-of", 1, ROWS(run) },
	[MER_Q_WRITTEN] = { "written", 0, ROWS(written) },
	[MER_Q_RUNS_LATE] = { "runs-late", 3, ROWS(run) },
	[MER_Q_RUNS_OPEN] = { "runs-open", 0, ROWS(name) },
	[MER_Q_RUN_BY_UID] = { "run-by-uid", 1, ROWS(run) },
	[MER_Q_RUN_INSERT] = { "run-insert", MER_RUN_OPEN_ARGS, NO_ROWS },
	[MER_Q_RUN_CLOSE] = { "run-close", MER_RUN_CLOSE_ARGS, NO_ROWS },
	[MER_Q_RUN_CLOSE_AT] = { "run-close-at", MER_RUN_CLOSE_AT_ARGS, NO_ROWS },
	[MER_Q_RUN_MOVE] = { "run-move", 3, NO_ROWS },
	[MER_Q_RUNS_LOST] = { "runs-lost", 1, NO_ROWS },
	[MER_Q_RUNS_PRUNE] = { "runs-prune", 2, ROWS(run_gone) },
	[MER_Q_RUNS_EXPIRE] = { "runs-expire", 2, ROWS(run_gone) },
	[MER_Q_TOTALS_ADD] = { "totals-add", 1, NO_ROWS },
	[MER_Q_TOTALS] = { "totals", 1, ROWS(total) },
	[MER_Q_IO_EXPIRE] = { "io-expire", 2, NO_ROWS },
	[MER_Q_RUN_TIMES] = { "run-times", 5, ROWS(run_times) },

	[MER_Q_IO] = { "io", 1, VALUES(io) },
	[MER_Q_IO_INSERT] = { "io-insert", 5, NO_ROWS },

	[MER_Q_PROVENANCE] = { "provenance", 1, ROWS(provenance) },
	[MER_Q_PROVENANCE_INSERT] = { "provenance-add", 8, NO_ROWS },
	[MER_Q_PROVENANCE_NAMED] = { "provenance-named", 2, ROWS(named) },
	[MER_Q_PROVENANCE_PRUNE] = { "provenance-prune", 2, NO_ROWS },

	[MER_Q_OWNERS] = { "owners", 0, ROWS(owner) },
	[MER_Q_OWNERS_COUNT] = { "owners-count", 0, ROWS(count) },
	[MER_Q_OWNER_INSERT] = { "owner-insert", 4, NO_ROWS },
	[MER_Q_OWNER_DELETE] = { "owner-delete", 1, NO_ROWS },
	[MER_Q_OWNERS_SWEEP] = { "owners-sweep", 0, NO_ROWS },

	[MER_Q_NOW] = { "now", 0, ROWS(name) },
	[MER_Q_QUICK_CHECK] = { "quick-check", 0, ROWS(name) },

	[MER_Q_CHECK] = { "check", 0, ROWS(name) },
	[MER_Q_CHECK_STRAY] = { "check-stray", 0, ROWS(name) },

	[MER_Q_OWNER_OPEN_RUNS] = { "owner-open-runs", 1, ROWS(count) },
	[MER_Q_KEYS_LATER] = { "keys-later", 0, NO_ROWS },
	[MER_Q_LOCK_TABLES] = { "lock-tables", 0, NO_ROWS },
	[MER_Q_LOCK_MODELS] = { "lock-models", 0, NO_ROWS },
	[MER_Q_CHANGES] = { "changes", 0, ROWS(name) },
	[MER_Q_IDENTITY] = { "identity", 0, ROWS(name) },
	[MER_Q_OTHERS] = { "others", 0, ROWS(name) },
	DAL_TABLES(TABLE_QUERIES)
};
static_assert(DAL_COUNT(dal_queries) == MER_Q_COUNT, "a row for each query");

struct mer_value mer_text(const char *text)
{
	if (text == NULL)
		text = "";
	return (struct mer_value){ .type = MER_VALUE_TEXT, .text = { text, strlen(text) } };
}

struct mer_value mer_text_or_null(const char *text)
{
	if (text == NULL || *text == '\0')
		return (struct mer_value){ .type = MER_VALUE_NULL };
	return mer_text(text);
}

struct mer_value mer_blob(const void *bytes, size_t n)
{
	return (struct mer_value){ .type = MER_VALUE_BLOB, .text = { bytes, n } };
}

static struct mer_value i64_or_null(int64_t number)
{
	return number == -1 ? (struct mer_value){ .type = MER_VALUE_NULL } : mer_i64(number);
}

void mer_run_open_args(const struct mer_run_open *run, struct mer_value *out)
{
	const struct mer_value args[] = {
		mer_text(run->request_uid),
		mer_text(run->model),
		mer_text(run->deployment),
		mer_text(run->server),
		mer_text(run->weights),
		mer_text(run->door),
		mer_text(run->who),
		mer_text(run->host),
		mer_i64(run->pid),
		mer_text(run->status),
		mer_text(run->queued_at),
		i64_or_null(run->bytes_in),
		mer_text(run->sha256_in),
		mer_text(run->owner),
		mer_text(run->kind != NULL ? run->kind : "run"),
		mer_text(run->replays),
		mer_text(run->traceparent),
	};
	static_assert(DAL_COUNT(args) == MER_RUN_OPEN_ARGS, "an argument for each column");
	memcpy(out, args, sizeof args);
}

void mer_run_close_args(const struct mer_run_close *run, struct mer_value *out)
{
	const struct mer_value args[] = {
		mer_text(run->request_uid),
		mer_text(run->status),
		mer_text_or_null(run->started_at),
		mer_text(run->stopped_at),
		i64_or_null(run->exit_code),
		mer_text(run->signal),
		mer_text(run->error),
		mer_text(run->stderr_tail),
		mer_i64(run->attempts),
		i64_or_null(run->queue_ms),
		i64_or_null(run->start_ms),
		i64_or_null(run->infer_ms),
		i64_or_null(run->bytes_out),
		mer_text(run->sha256_out),
		mer_text(run->provenance),
		i64_or_null(run->cpu_us),
		i64_or_null(run->max_rss_kib),
		mer_i64(run->place),
	};
	static_assert(DAL_COUNT(args) == MER_RUN_CLOSE_AT_ARGS, "an argument for each column");
	memcpy(out, args, sizeof args);
}
