/*
 * What every backend of the data access layer promises (mer/dal.h). A further backend is one more
 * row in the table of backends.
 */
#include "dal_fixture.h"

#include "internal.h"

#include <limits.h>
#include <mer/hash.h>
#include <mer/text.h>
#include <sqlite3.h>

static const char *always(void)
{
	return NULL;
}

static void fresh_sqlite(char *url, size_t size)
{
	static int n;
	(void)snprintf(url, size, "sqlite:%s/%d.db", folder, ++n);
}

/* Asks the database, past the layer, whether it is whole. */
static void check_sqlite(const char *url)
{
	sqlite3 *db;
	sqlite3_stmt *stmt;
	ck_assert_int_eq(sqlite3_open(url + strlen("sqlite:"), &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	ck_assert_str_eq((const char *)sqlite3_column_text(stmt, 0), "ok");
	(void)sqlite3_finalize(stmt);
	ck_assert_int_eq(sqlite3_prepare_v2(db, "PRAGMA foreign_key_check", -1, &stmt, NULL),
	                 SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_DONE);
	(void)sqlite3_finalize(stmt);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

/* It looks after itself. */
static void check_postgres(const char *url)
{
	(void)url;
}

static const struct {
	const char *name;
	const char *(*why_not)(void);          /* NULL: it can be tested here */
	void (*fresh)(char *url, size_t size); /* the URL of a database that is not there yet */
	void (*check)(const char *url);
} backends[] = {
	{ "sqlite", always, fresh_sqlite, check_sqlite },
	{ "postgres", why_not_postgres, fresh_postgres, check_postgres },
};
#define N_BACKENDS N_ROWS(backends)

/* The backend of a loop test; the row of its table is _i / N_BACKENDS. */
static int at;
static char url[256];

static bool begin_test(int i)
{
	at = i % N_BACKENDS;
	const char *why_not = backends[at].why_not();
	if (why_not != NULL) {
		(void)fprintf(stderr, "%s is not tested: %s\n", backends[at].name, why_not);
		return false;
	}
	backends[at].fresh(url, sizeof url);
	return true;
}

static struct mer_dal *begin_migrated(int i)
{
	if (!begin_test(i))
		return NULL;
	migrate(url, 0);
	return must_open(url);
}

/* --- opening ------------------------------------------------------------------------------ */

static const struct {
	const char *url, *dialect;
} url_rows[] = {
	{ "sqlite:/a/b.db", "sqlite" },
	{ "sqlite:b.db", "sqlite" },
	{ "sqlite:", "sqlite" },
	{ "/a/b.db", "sqlite" },
	{ "b.db", "sqlite" },
	{ "./a:b.db", "sqlite" },
	{ "a/b:c", "sqlite" },
	{ "C:/b.db", "sqlite" },
	{ "", "sqlite" },
	{ "1x:y", "sqlite" },
	{ "postgres://u:secret@h/d", "postgres" },
	{ "postgresql://h/d", "postgres" },
	{ "postgres:", "postgres" },
	{ "mysql://u:secret@h/d", NULL },
	{ "SQLITE:x", NULL },
	{ "sqlite3:x", NULL },
	{ "a+b.c-d:secret", NULL },
};

START_TEST(knows_urls)
{
	const char *dialect = mer_dal_dialect_of(url_rows[_i].url);
	const char *want = url_rows[_i].dialect;
	ck_assert_msg(dialect == want ||
	                  (dialect != NULL && want != NULL && strcmp(dialect, want) == 0),
	              "row %d '%s': %s", _i, url_rows[_i].url, dialect);
	if (want != NULL)
		return;
	struct mer_dal *dal = NULL;
	MUST_FAIL(MER_EINPUT, mer_dal_open(url_rows[_i].url, 0, &dal, &err));
	ck_assert_ptr_null(dal);
	ck_assert_ptr_null(strstr(err.message, "secret"));
	ck_assert_ptr_null(strstr(err.hint, "secret"));
}
END_TEST

static const struct {
	int64_t nums[3]; /* in the ledger, ended by 0 */
	bool ok;
	const char *message, *hint; /* parts */
} schema_rows[] = {
	{ { 0 }, false, "is not migrated", "mer-migrate up --database " },
	{ { 1, 2 }, false, "it has scripts up to 2, this mer needs", "mer-migrate up --database " },
	{ { 1, 1000 }, false, "it has scripts up to 1, this mer needs", "mer-migrate up --database " },
	{ { 1, MER_SCHEMA_NUM }, true, NULL, NULL },
	{ { MER_SCHEMA_NUM, 1000 }, true, NULL, NULL },
	{ { MER_SCHEMA_NUM, 900 },
	  false,
	  "is newer than this mer: it has script 900, this one knows",
	  "" },
};

START_TEST(checks_schema)
{
	if (!begin_test(_i))
		return;
	const int row = _i / N_BACKENDS;
	struct mer_dal *dal;
	MUST(mer_dal_open(url, MER_DAL_CREATE | MER_DAL_ANY_SCHEMA, &dal, &err));
	MUST(mer_dal_exec(dal, MER_Q_LEDGER_CREATE, NULL, 0, NULL, &err));
	MUST(mer_dal_exec(dal, MER_Q_LEDGER_CREATE, NULL, 0, NULL, &err)); /* once is enough */
	for (const int64_t *num = schema_rows[row].nums; *num != 0 && num < schema_rows[row].nums + 3;
	     num++)
		note_script(dal, *num, "x");
	mer_dal_close(dal);
	if (schema_rows[row].ok) {
		mer_dal_close(must_open(url));
		return;
	}
	dal = NULL;
	MUST_FAIL(MER_EDATABASE, mer_dal_open(url, 0, &dal, &err));
	ck_assert_ptr_null(dal);
	ck_assert_msg(strstr(err.message, schema_rows[row].message) != NULL, "%s", err.message);
	ck_assert_msg(strstr(err.hint, schema_rows[row].hint) != NULL, "%s", err.hint);
}
END_TEST

START_TEST(refuses_without_ledger)
{
	if (!begin_test(_i))
		return;
	struct mer_dal *dal;
	MUST(mer_dal_open(url, MER_DAL_CREATE | MER_DAL_ANY_SCHEMA, &dal, &err));
	ck_assert_str_eq(mer_dal_dialect(dal), mer_dal_dialect_of(url));
	ck_assert_ptr_nonnull(strstr(url, mer_dal_name(dal)));
	mer_dal_close(dal);
	MUST_FAIL(MER_EDATABASE, mer_dal_open(url, 0, &dal, &err));
	ck_assert_msg(strstr(err.message, "is not migrated") != NULL, "%s", err.message);
	mer_dal_close(NULL);
}
END_TEST

/* The number that this program is built for is that of the last script. */
START_TEST(has_each_script)
{
	MER_AUTO(mer_text_done) char *dir = sql_folder(backends[_i].name);
	struct dirent **files;
	int n = scandir(dir, &files, is_script, by_num);
	ck_assert_int_eq(n, MER_SCHEMA_NUM);
	for (int i = 0; i < n; i++) {
		ck_assert_int_eq(script_num(files[i]->d_name), i + 1);
		free(files[i]);
	}
	free(files);
}
END_TEST

/* --- queries ------------------------------------------------------------------------------ */

/* Each query can be asked: its text fits its row in queries.c, which the backend asserts. */
START_TEST(asks_each_query)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	for (int query = 0; query < MER_Q_COUNT; query++) {
		const struct dal_query *shape = &dal_queries[query];
		if ((query == MER_Q_OWNERS_SWEEP || query == MER_Q_LOCK_TABLES) && !dal->remote)
			continue;
		struct mer_value args[DAL_ARGS_MAX];
		for (size_t i = 0; i < shape->n_args; i++)
			args[i] = mer_text("1");
		MUST(mer_dal_begin(dal, &err));
		int64_t n = 0;
		enum mer_status st = shape->row_size > 0 ? mer_dal_query(dal, (enum mer_query)query, args,
		                                                         shape->n_args, count_row, &n, &err)
		                                         : mer_dal_exec(dal, (enum mer_query)query, args,
		                                                        shape->n_args, &n, &err);
		ck_assert_msg(st == MER_OK || st == MER_EINPUT || st == MER_ECONFLICT, "%s: %s",
		              shape->name, err.message);
		MUST(mer_dal_end(dal, false, &err));
	}
	mer_dal_close(dal);
}
END_TEST

struct server {
	int64_t port, n;
	char text[400], created_at[32], updated_at[32];
};

static enum mer_status on_server(void *ctx, const void *data, struct mer_error *e)
{
	(void)e;
	const struct mer_server_row *row = data;
	struct server *server = ctx;
	server->n++;
	server->port = row->port;
	(void)snprintf(server->text, sizeof server->text, "%s|%s|%s|%s|%s|%s", row->uid, row->name,
	               row->kind, row->host, row->user, row->params);
	(void)snprintf(server->created_at, sizeof server->created_at, "%s", row->created_at);
	(void)snprintf(server->updated_at, sizeof server->updated_at, "%s", row->updated_at);
	return MER_OK;
}

#define SERVER_UID "01980000-0000-7000-8000-0000000000f1"
#define INSERT_SERVER(uid, name, kind, params) \
	mer_dal_exec(dal, MER_Q_SERVER_INSERT, \
	             MER_ARGS(mer_text(uid), mer_text(name), mer_text(kind), mer_text("gpu.example"), \
	                      mer_i64(2222), mer_text("ann"), mer_text(params)), \
	             &changed, &err)

/* Each argument comes to its column, in whatever order the text names them. */
START_TEST(binds_arguments_by_number)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	int64_t changed = -1;
	MUST(INSERT_SERVER(SERVER_UID, "gpu1", "ssh", "{\"a\":\"\xc3\xa9\"}"));
	ck_assert_int_eq(changed, 1);
	struct server server = { 0 };
	MUST(mer_dal_query(dal, MER_Q_SERVER_BY_NAME, MER_ARGS(mer_text("gpu1")), on_server, &server,
	                   &err));
	ck_assert_str_eq(server.text, SERVER_UID "|gpu1|ssh|gpu.example|ann|{\"a\":\"\xc3\xa9\"}");
	ck_assert_int_eq(server.port, 2222);
	ck_assert_int_eq(server.n, 1);
	ck_assert_uint_eq(strlen(server.created_at), strlen("2026-01-31T12:00:00.123Z"));
	ck_assert_str_eq(server.created_at, server.updated_at);

	MUST(mer_dal_exec(dal, MER_Q_SERVER_UPDATE,
	                  MER_ARGS(mer_text(SERVER_UID), mer_text("other"), mer_i64(0), mer_text("bob"),
	                           mer_text("{}")),
	                  &changed, &err));
	ck_assert_int_eq(changed, 1);
	MUST(mer_dal_query(dal, MER_Q_SERVER_BY_NAME, MER_ARGS(mer_text("gpu1")), on_server, &server,
	                   &err));
	ck_assert_str_eq(server.text, SERVER_UID "|gpu1|ssh|other|bob|{}");
	ck_assert_int_eq(server.port, 0);
	ck_assert_int_eq(count_rows(dal, MER_Q_SERVERS, NULL, 0), 2);

	MUST(mer_dal_exec(dal, MER_Q_SERVER_DELETE, MER_ARGS(mer_text(SERVER_UID)), &changed, &err));
	ck_assert_int_eq(changed, 1);
	MUST(mer_dal_exec(dal, MER_Q_SERVER_DELETE, MER_ARGS(mer_text(SERVER_UID)), &changed, &err));
	ck_assert_int_eq(changed, 0);
	ck_assert_int_eq(count_rows(dal, MER_Q_SERVER_BY_NAME, MER_ARGS(mer_text("gpu1"))), 0);
	mer_dal_close(dal);
}
END_TEST

static const struct {
	const char *uid, *name, *kind, *params;
	enum mer_status want;
} bad_server_rows[] = {
	{ SERVER_UID, "local", "ssh", "{}", MER_ECONFLICT },
	{ EXAMPLE_SERVER, "gpu1", "ssh", "{}", MER_ECONFLICT },
	{ SERVER_UID, "gpu1", "sh", "{}", MER_EINPUT },
	{ SERVER_UID, "gpu1", "ssh", "{", MER_EINPUT },
	{ SERVER_UID, "gpu1", "ssh", "[]", MER_EINPUT },
	{ SERVER_UID, "gpu1", "ssh", "", MER_EINPUT },
	{ SERVER_UID, "", "ssh", "{}", MER_EINPUT },
	{ SERVER_UID, NULL, "ssh", "{}", MER_EINPUT },
	{ SERVER_UID, "-x", "ssh", "{}", MER_EINPUT },
	{ SERVER_UID, "a b", "ssh", "{}", MER_EINPUT },
	{ SERVER_UID, "a/b", "ssh", "{}", MER_EINPUT },
	{ SERVER_UID, "\xc3\xa9", "ssh", "{}", MER_EINPUT },
	{ "1", "gpu1", "ssh", "{}", MER_EINPUT },
};

START_TEST(refuses_what_the_schema_forbids)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	const int row = _i / N_BACKENDS;
	int64_t changed = -1;
	MUST_FAIL(bad_server_rows[row].want,
	          INSERT_SERVER(bad_server_rows[row].uid, bad_server_rows[row].name,
	                        bad_server_rows[row].kind, bad_server_rows[row].params));
	ck_assert_int_eq(changed, -1);
	ck_assert_int_eq(count_rows(dal, MER_Q_SERVERS, NULL, 0), 1);
	mer_dal_close(dal);
}
END_TEST

#define DEPLOYMENT_UID "01980000-0000-7000-8000-0000000000d1"
#define MODEL_UID "01980000-0000-7000-8000-0000000000e1"

static enum mer_status add_deployment(struct mer_dal *dal, const char *uid, const char *name,
                                      const char *model, const char *server, struct mer_error *e)
{
	return mer_dal_exec(dal, MER_Q_DEPLOYMENT_INSERT,
	                    MER_ARGS(mer_text(uid), mer_text(name), mer_text(model), mer_text(server),
	                             mer_text("once"), mer_text("/w"), mer_text("[\"a\"]"),
	                             mer_text(""), mer_text("{\"E\":\"1\"}"), mer_text("{\"p\":1}"),
	                             mer_text("{\"l\":1}"), mer_i64(3), mer_i64(4), mer_i64(5),
	                             mer_i64(6), mer_i64(7)),
	                    NULL, e);
}

START_TEST(keeps_references_whole)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	int64_t changed = -1;
	MUST_FAIL(MER_ECONFLICT, mer_dal_exec(dal, MER_Q_SERVER_DELETE,
	                                      MER_ARGS(mer_text(EXAMPLE_SERVER)), &changed, &err));
	MUST_FAIL(MER_ECONFLICT,
	          add_deployment(dal, DEPLOYMENT_UID, "b", EXAMPLE_IRIS, SERVER_UID, &err));
	MUST_FAIL(MER_ECONFLICT,
	          add_deployment(dal, DEPLOYMENT_UID, "b", MODEL_UID, EXAMPLE_SERVER, &err));
	MUST_FAIL(MER_ECONFLICT,
	          add_deployment(dal, DEPLOYMENT_UID, "local", EXAMPLE_IRIS, EXAMPLE_SERVER, &err));
	MUST(add_deployment(dal, DEPLOYMENT_UID, "b", EXAMPLE_IRIS, EXAMPLE_SERVER, &err));

	struct mer_uid run;
	mer_uid_new(&run);
	MUST(open_run(dal, run.text, "", &err));
	MUST_FAIL(MER_ECONFLICT, open_run(dal, run.text, "", &err));
	ck_assert_int_eq(count_rows(dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text("iris"))), 2);
	ck_assert_int_eq(count_rows(dal, MER_Q_WEIGHTS, MER_ARGS(mer_text("iris"))), 1);
	MUST(mer_dal_exec(dal, MER_Q_MODEL_DELETE, MER_ARGS(mer_text(EXAMPLE_IRIS)), &changed, &err));
	ck_assert_int_eq(changed, 1);
	ck_assert_int_eq(count_rows(dal, MER_Q_MODEL_BY_NAME, MER_ARGS(mer_text("iris"))), 0);
	ck_assert_int_eq(count_rows(dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text("iris"))), 0);
	ck_assert_int_eq(count_rows(dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text(""))), EXAMPLES - 1);
	ck_assert_int_eq(count_rows(dal, MER_Q_RUN_BY_UID, MER_ARGS(mer_text(run.text))), 1);
	MUST(mer_dal_begin(dal, &err));
	static const char none[] =
		"INSERT INTO servers (uid, name, kind, params) SELECT uid, uid, 'ssh', "
		"'{}' FROM model_weights";
	run_text(dal, none);
	MUST(mer_dal_end(dal, true, &err));
	ck_assert_int_eq(count_rows(dal, MER_Q_SERVERS, NULL, 0), 1);
	mer_dal_close(dal);
}
END_TEST

/* --- the example models ------------------------------------------------------------------- */

static enum mer_status on_deployment(void *ctx, const void *data, struct mer_error *e)
{
	(void)e;
	const struct mer_deployment_row *row = data;
	struct mer_buf *buf = ctx;
	mer_buf_printf(buf, "%s %s %s %s %s %s", row->name, row->model, row->server, row->server_kind,
	               row->protocol, row->workdir);
	mer_buf_printf(buf, " argv=%s train=%s env=%s params=%s limits=%s", row->argv, row->train,
	               row->env, row->params, row->limits);
	mer_buf_printf(buf, " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64,
	               row->max_workers, row->idle_ms, row->timeout_ms, row->start_timeout_ms,
	               row->priority);
	mer_buf_printf(buf, " weights=%s,%s\n", row->weights_version, row->weights_path);
	return MER_OK;
}

#define LIMITS "limits={\"max_output\":268435456,\"max_queue\":64} "
static const struct {
	const char *model, *want;
} example_rows[] = {
	{ "iris",
	  "local iris local local token {models} "
	  "argv=[\"{models}/iris/iris.py\",\"serve\",\"--weights\",\"{weights}\"] "
	  "train=[\"{models}/iris/iris.py\",\"train\",\"--dataset\",\"{dataset}\",\"--weights\","
	  "\"{new_weights}\"] env={} params={\"error_lines\":[\"bad input: *\"]} " LIMITS
	  "1 300000 3600000 120000 0 weights=1,{models}/iris/weights/1.json\n" },
	{ "digest",
	  "local digest local local once {models} argv=[\"{models}/digest/digest.py\"] train= "
	  "env={} params={} " LIMITS "0 300000 3600000 120000 0 weights=,\n" },
	{ "moments", "local moments local local token {models} argv=[\"{models}/moments/moments\"] "
	             "train= env={} params={\"error_lines\":[\"bad input: *\"]} " LIMITS
	             "1 300000 3600000 120000 0 weights=,\n" },
	{ "nobody", "" },
	{ "", "" },
};

static enum mer_status on_begun(void *ctx, const void *row, struct mer_error *e)
{
	const struct mer_name_row *name = row;
	mer_buf_printf(ctx, "%s ", name->name);
	return mer_buf_check(ctx, e);
}

static void check_names(struct mer_dal *dal, enum mer_query query, const struct mer_value *args,
                        size_t n, const char *want)
{
	struct mer_buf names;
	mer_buf_init(&names, 1000);
	mer_buf_text(&names, "");
	MUST(mer_dal_query(dal, query, args, n, on_begun, &names, &err));
	ck_assert_str_eq(names.ptr != NULL ? names.ptr : "", want);
	mer_buf_release(&names);
}

START_TEST(names_what_begins_so)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	static const char *const more[] = { "m1", "m2", "m_", "M3", "mz", "m" };
	for (size_t i = 0; i < N_ROWS(more); i++) {
		struct mer_uid uid;
		mer_uid_new(&uid);
		MUST(mer_dal_exec(dal, MER_Q_MODEL_INSERT,
		                  MER_ARGS(mer_text(uid.text), mer_text(more[i]), mer_text("")), NULL,
		                  &err));
	}
	check_names(dal, MER_Q_MODEL_NAMES, MER_ARGS(mer_text("m"), mer_i64(9)),
	            "m m1 m2 m_ moments moments-frame mz ");
	check_names(dal, MER_Q_MODEL_NAMES, MER_ARGS(mer_text("m"), mer_i64(2)), "m m1 mz ");
	check_names(dal, MER_Q_MODEL_NAMES, MER_ARGS(mer_text("mz"), mer_i64(2)), "mz ");
	check_names(dal, MER_Q_MODEL_NAMES, MER_ARGS(mer_text("m%"), mer_i64(2)), "");
	check_names(dal, MER_Q_SERVER_NAMES, MER_ARGS(mer_text(""), mer_i64(2)), "local ");
	check_names(dal, MER_Q_DEPLOYMENT_NAMES, MER_ARGS(mer_text("l"), mer_i64(9), mer_text("iris")),
	            "local ");
	check_names(dal, MER_Q_DEPLOYMENT_NAMES, MER_ARGS(mer_text(""), mer_i64(9), mer_text("m1")),
	            "");
	check_names(dal, MER_Q_WEIGHTS_NAMES, MER_ARGS(mer_text(""), mer_i64(9), mer_text("iris")),
	            "1 ");
	check_names(dal, MER_Q_WEIGHTS_NAMES, MER_ARGS(mer_text("2"), mer_i64(9), mer_text("iris")),
	            "");
	struct mer_uid first, second;
	char want[3 * sizeof first];
	mer_uid_new(&first);
	mer_uid_new(&second);
	MUST(open_run(dal, first.text, "", &err));
	MUST(open_run(dal, second.text, "", &err));
	(void)snprintf(want, sizeof want, "%s %s ", second.text, first.text);
	check_names(dal, MER_Q_RUN_NAMES, MER_ARGS(mer_text(""), mer_i64(9), mer_text(""), mer_i64(0)),
	            want);
	(void)snprintf(want, sizeof want, "%s ", second.text);
	check_names(dal, MER_Q_RUN_NAMES,
	            MER_ARGS(mer_text(second.text), mer_i64(9), mer_text(""), mer_i64(0)), want);
	check_names(dal, MER_Q_RUN_NAMES,
	            MER_ARGS(mer_text(""), mer_i64(9), mer_text(second.text), mer_i64(0)), want);
	check_names(dal, MER_Q_RUN_NAMES, MER_ARGS(mer_text(""), mer_i64(9), mer_text(""), mer_i64(-1)),
	            "");
	mer_dal_close(dal);
}
END_TEST

START_TEST(knows_example_models)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	const int row = _i / N_BACKENDS;
	struct mer_buf buf;
	mer_buf_init(&buf, 100000);
	MUST(mer_dal_query(dal, MER_Q_RESOLVE,
	                   MER_ARGS(mer_text(example_rows[row].model), mer_text("")), on_deployment,
	                   &buf, &err));
	ck_assert_str_eq(buf.len > 0 ? buf.ptr : "", example_rows[row].want);
	mer_buf_release(&buf);
	mer_dal_close(dal);
}
END_TEST

struct weights {
	char sha256[MER_SHA256_SIZE], state[16];
	int64_t bytes;
};

static enum mer_status on_weights(void *ctx, const void *data, struct mer_error *e)
{
	(void)e;
	const struct mer_weights_row *row = data;
	struct weights *weights = ctx;
	(void)snprintf(weights->sha256, sizeof weights->sha256, "%s", row->sha256);
	(void)snprintf(weights->state, sizeof weights->state, "%s", row->state);
	weights->bytes = row->bytes;
	return MER_OK;
}

START_TEST(has_the_example_weights)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	struct weights weights = { 0 };
	MUST(mer_dal_query(dal, MER_Q_WEIGHTS, MER_ARGS(mer_text("iris")), on_weights, &weights, &err));
	mer_dal_close(dal);
	MER_AUTO(mer_text_done)
	char *path = mer_text_new("%s/../models/iris/weights/1.json", getenv("MER_SQL"));
	MER_AUTO(mer_text_done) char *bytes = NULL;
	size_t len;
	MUST(mer_read_file(path, 1 << 20, &bytes, &len, &err));
	char sha256[MER_SHA256_SIZE];
	mer_sha256(bytes, len, sha256);
	ck_assert_str_eq(weights.sha256, sha256);
	ck_assert_int_eq(weights.bytes, (int64_t)len);
	ck_assert_str_eq(weights.state, "active");
}
END_TEST

static enum mer_status on_contract(void *ctx, const void *row, struct mer_error *e)
{
	(void)e;
	const struct mer_model_row *model = row;
	mer_buf_printf(ctx, "%s %s %d", model->inputs, model->outputs,
	               strcmp(model->created_at, model->updated_at) == 0);
	return MER_OK;
}

static enum mer_status on_may(void *ctx, const void *row, struct mer_error *e)
{
	(void)e;
	mer_buf_printf(ctx, "%d ", (int)((const struct mer_count_row *)row)->count);
	return MER_OK;
}

START_TEST(keeps_a_contract)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	int64_t changed;
	struct mer_buf buf;
	mer_buf_init(&buf, 1000);
	MUST(add_model(dal, MODEL_UID, "m", &err));
	MUST(mer_dal_query(dal, MER_Q_MODEL_CONTRACT_MAY, NULL, 0, on_may, &buf, &err));
	MUST(mer_dal_query(dal, MER_Q_MODEL_BY_NAME, MER_ARGS(mer_text("m")), on_contract, &buf, &err));
	ck_assert_str_eq(buf.ptr, "1 {} {} 1");
	MUST(mer_dal_exec(
		dal, MER_Q_MODEL_CONTRACT,
		MER_ARGS(mer_text("m"), mer_text("{\"inputs\":[]}"), mer_text("{\"outputs\":[]}")),
		&changed, &err));
	ck_assert_int_eq(changed, 1);
	mer_buf_clear(&buf);
	MUST(mer_dal_query(dal, MER_Q_MODEL_BY_NAME, MER_ARGS(mer_text("m")), on_contract, &buf, &err));
	ck_assert_str_eq(buf.ptr, "{\"inputs\":[]} {\"outputs\":[]} 1");
	mer_buf_release(&buf);
	mer_dal_close(dal);
}
END_TEST

START_TEST(updates_a_deployment)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	int64_t changed;
	MUST(add_model(dal, MODEL_UID, "m", &err));
	MUST(add_deployment(dal, DEPLOYMENT_UID, "late", MODEL_UID, EXAMPLE_SERVER, &err));
	MUST(add_deployment(dal, "01980000-0000-7000-8000-0000000000d2", "soon", MODEL_UID,
	                    EXAMPLE_SERVER, &err));
	MUST(mer_dal_exec(
		dal, MER_Q_DEPLOYMENT_UPDATE,
		MER_ARGS(mer_text("01980000-0000-7000-8000-0000000000d2"), mer_text(EXAMPLE_SERVER),
	             mer_text("frame"), mer_text("/v"), mer_text("[\"b\"]"), mer_text("[\"t\"]"),
	             mer_text("{}"), mer_text("{}"), mer_text("{}"), mer_i64(13), mer_i64(14),
	             mer_i64(15), mer_i64(16), mer_i64(-1), mer_text("first"), mer_i64(1)),
		&changed, &err));
	ck_assert_int_eq(changed, 1);
	MUST(mer_dal_exec(dal, MER_Q_MODEL_UPDATE, MER_ARGS(mer_text(MODEL_UID), mer_text("new")),
	                  &changed, &err));
	ck_assert_int_eq(changed, 1);
	struct mer_buf buf;
	mer_buf_init(&buf, 100000);
	MUST(mer_dal_query(dal, MER_Q_RESOLVE, MER_ARGS(mer_text("m"), mer_text("")), on_deployment,
	                   &buf, &err));
	ck_assert_str_eq(buf.ptr,
	                 "first m local local frame /v argv=[\"b\"] train=[\"t\"] env={} params={} "
	                 "limits={} 13 14 15 16 -1 weights=,\n"
	                 "late m local local once /w argv=[\"a\"] train= env={\"E\":\"1\"} "
	                 "params={\"p\":1} limits={\"l\":1} 3 4 5 6 7 weights=,\n");
	mer_buf_release(&buf);
	/* One that is off stays, but no run gets it. */
	MUST(mer_dal_exec(dal, MER_Q_DEPLOYMENT_UPDATE,
	                  MER_ARGS(mer_text(DEPLOYMENT_UID), mer_text(EXAMPLE_SERVER), mer_text("once"),
	                           mer_text("/w"), mer_text("[]"), mer_text(""), mer_text("{}"),
	                           mer_text("{}"), mer_text("{}"), mer_i64(0), mer_i64(0), mer_i64(0),
	                           mer_i64(0), mer_i64(0), mer_text("late"), mer_i64(0)),
	                  &changed, &err));
	ck_assert_int_eq(count_rows(dal, MER_Q_RESOLVE, MER_ARGS(mer_text("m"), mer_text(""))), 1);
	ck_assert_int_eq(count_rows(dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text("m"))), 2);
	MUST(mer_dal_exec(dal, MER_Q_DEPLOYMENT_DELETE, MER_ARGS(mer_text(DEPLOYMENT_UID)), &changed,
	                  &err));
	ck_assert_int_eq(changed, 1);
	ck_assert_int_eq(count_rows(dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text("m"))), 1);
	mer_dal_close(dal);
}
END_TEST

/* --- runs --------------------------------------------------------------------------------- */

static enum mer_status on_run(void *ctx, const void *data, struct mer_error *e)
{
	(void)e;
	const struct mer_run_row *row = data;
	struct mer_buf *buf = ctx;
	mer_buf_printf(buf, "%s %s %s %s %s %s %s %s %" PRId64, row->request_uid, row->model,
	               row->deployment, row->server, row->weights, row->door, row->who, row->host,
	               row->pid);
	mer_buf_printf(buf, " %s [%s] [%s] [%s] exit=%" PRId64 " [%s] [%s] [%s]", row->status,
	               row->queued_at, row->started_at, row->stopped_at, row->exit_code, row->signal,
	               row->error, row->stderr_tail);
	mer_buf_printf(buf, " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64,
	               row->attempts, row->queue_ms, row->start_ms, row->infer_ms, row->bytes_in,
	               row->bytes_out);
	mer_buf_printf(buf, " [%s] [%s] %s", row->sha256_in, row->sha256_out, row->owner);
	mer_buf_printf(buf, " [%s] [%s] %" PRId64 " %" PRId64, row->replays, row->provenance,
	               row->cpu_us, row->max_rss_kib);
	mer_buf_printf(buf, "%s%s\n", row->traceparent[0] != '\0' ? " " : "", row->traceparent);
	return MER_OK;
}

#define RUN_UID "02980000-0000-7000-8000-0000000000a1" /* younger than any owner */

static void expect_run(struct mer_dal *dal, const char *want)
{
	struct mer_buf buf;
	mer_buf_init(&buf, 1 << 20);
	MUST(mer_dal_query(dal, MER_Q_RUN_BY_UID, MER_ARGS(mer_text(RUN_UID)), on_run, &buf, &err));
	ck_assert_str_eq(buf.ptr, want);
	mer_buf_release(&buf);
}

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define T0 "2026-01-31T12:00:00.000Z"
#define T1 "2026-01-31T12:00:00.100Z"
#define T2 "2026-01-31T12:00:00.200Z"

START_TEST(keeps_a_run_from_start_to_end)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	struct mer_value args[MER_RUN_CLOSE_AT_ARGS];
	struct mer_run_open open = { RUN_UID,   "m", "d", "s", "w", "batch", "ann", "here", 12,
		                         "running", T0,  -1,  "i", "o", NULL,    "",    TRACE };
	mer_run_open_args(&open, args);
	MUST(mer_dal_exec(dal, MER_Q_RUN_INSERT, args, MER_RUN_OPEN_ARGS, NULL, &err));
	expect_run(dal,
	           RUN_UID " m d s w batch ann here 12 running [" T0 "] [" T0 "] [] exit=-1 [] [] [] "
	                   "0 -1 -1 -1 -1 -1 [i] [] o [] [] -1 -1 " TRACE "\n");

	/* It was not sent after all, and nothing more is known of it; then all is. */
	struct mer_run_close lost = { RUN_UID, "timeout", "", T2, -1, "", "", "", 0,
		                          -1,      -1,        -1, -1, "", 0,  "", -1, -1 };
	mer_run_close_args(&lost, args);
	MUST(mer_dal_exec(dal, MER_Q_RUN_CLOSE, args, MER_RUN_CLOSE_ARGS, NULL, &err));
	expect_run(dal, RUN_UID " m d s w batch ann here 12 timeout [" T0 "] [] [" T2 "] exit=-1 [] [] "
	                        "[] 0 -1 -1 -1 -1 -1 [i] [] o [] [] -1 -1 " TRACE "\n");

	int64_t changed;
	struct mer_run_close close = { RUN_UID,   "failed",
		                           T1,        T2,
		                           3,         "SIGSEGV",
		                           "it died", "line\xc3\xa9\n",
		                           2,         INT64_MAX - 1,
		                           0,         4,
		                           5,         "x",
		                           0,         "p",
		                           6,         7 };
	mer_run_close_args(&close, args);
	MUST(mer_dal_exec(dal, MER_Q_RUN_CLOSE, args, MER_RUN_CLOSE_ARGS, &changed, &err));
	ck_assert_int_eq(changed, 1);
	expect_run(dal,
	           RUN_UID " m d s w batch ann here 12 failed [" T0 "] [" T1 "] [" T2 "] exit=3 "
	                   "[SIGSEGV] [it died] [line\xc3\xa9\n] 2 9223372036854775806 0 4 -1 5 [i] "
	                   "[x] o [] [p] 6 7 " TRACE "\n");

	MUST(mer_dal_exec(dal, MER_Q_RUN_MOVE,
	                  MER_ARGS(mer_text(RUN_UID), mer_text("elsewhere"), mer_text("t")), &changed,
	                  &err));
	ck_assert_int_eq(changed, 1);
	expect_run(dal, RUN_UID
	           " m elsewhere t w batch ann here 12 failed [" T0 "] [" T1 "] [" T2
	           "] exit=3 [SIGSEGV] [it died] [line\xc3\xa9\n] 2 9223372036854775806 0 4 -1 5 "
	           "[i] [x] o [] [p] 6 7 " TRACE "\n");

	close.status = "running"; /* what has stopped does not run */
	mer_run_close_args(&close, args);
	MUST_FAIL(MER_EINPUT, mer_dal_exec(dal, MER_Q_RUN_CLOSE, args, MER_RUN_CLOSE_ARGS, NULL, &err));
	close.status = "ok";
	close.request_uid = MODEL_UID;
	mer_run_close_args(&close, args);
	MUST(mer_dal_exec(dal, MER_Q_RUN_CLOSE, args, MER_RUN_CLOSE_ARGS, &changed, &err));
	ck_assert_int_eq(changed, 0);
	mer_dal_close(dal);
}
END_TEST

/* A place is a hint: where the row is not, nothing is changed. */
START_TEST(closes_a_run_at_its_place)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	struct mer_value args[MER_RUN_CLOSE_AT_ARGS];
	MUST(open_run(dal, RUN_UID, "", &err));
	struct mer_run_close close = { .request_uid = RUN_UID, .status = "ok", .stopped_at = T2 };
	close.place = mer_dal_last_place(dal);
	int64_t changed = -1;
	if (close.place != 0) {
		close.place++;
		mer_run_close_args(&close, args);
		MUST(mer_dal_exec(dal, MER_Q_RUN_CLOSE_AT, args, MER_RUN_CLOSE_AT_ARGS, &changed, &err));
		ck_assert_int_eq(changed, 0);
		close.place--;
		mer_run_close_args(&close, args);
		MUST(mer_dal_exec(dal, MER_Q_RUN_CLOSE_AT, args, MER_RUN_CLOSE_AT_ARGS, &changed, &err));
		ck_assert_int_eq(changed, 1);
	}
	mer_dal_close(dal);
}
END_TEST

/* However they go to the database, and whatever is between. */
START_TEST(tallies_a_transaction)
{
	enum { N = 5 };
	struct mer_uid uids[N + 1];
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	mer_dal_close(dal);
	MUST(mer_dal_open_fault(url, 0, 0, NULL, &dal, &err));
	for (int i = 0; i <= N; i++)
		mer_uid_new(&uids[i]);
	MUST(mer_dal_begin(dal, &err));
	for (int i = 0; i < N; i++)
		MUST(open_run(dal, uids[i].text, "", &err));
	MUST(mer_dal_end(dal, true, &err));
	ck_assert_int_eq(mer_dal_tally(dal, MER_Q_RUN_INSERT), N);
	MUST(mer_dal_begin(dal, &err));
	for (int i = 0; i <= N; i++)
		MUST(close_run(dal, uids[i].text, &err));
	MUST(add_model(dal, MODEL_UID, "m", &err));
	MUST(mer_dal_end(dal, true, &err));
	ck_assert_int_eq(mer_dal_tally(dal, MER_Q_RUN_CLOSE), N);
	ck_assert_int_eq(mer_dal_tally(dal, MER_Q_RUN_INSERT), 0);
	mer_dal_close(dal);
}
END_TEST

static enum mer_status add_alone(struct mer_dal *dal, const char *uid)
{
	enum mer_status st = mer_dal_begin(dal, &err);
	if (st != MER_OK)
		return st;
	st = add_model(dal, uid, "wanted", &err);
	if (st == MER_OK)
		return mer_dal_end(dal, true, &err);
	mer_dal_rollback(dal);
	return st;
}

/* One writes a name and does not say whether it stays; another, who wants it too, has no time. */
START_TEST(ends_the_waits_of_the_hasty)
{
	struct mer_haste haste = { 0 };
	struct mer_dal *slow = begin_migrated(_i), *hasty;
	if (slow == NULL)
		return;
	MUST(mer_dal_open_hasty(url, 0, &haste, &hasty, &err));
	MUST(mer_dal_begin(slow, &err));
	MUST(add_model(slow, MODEL_UID, "wanted", &err));
	ck_assert_int_eq(count_rows(slow, MER_Q_MODEL_BY_NAME, MER_ARGS(mer_text("wanted"))), 1);
	ck_assert(!mer_haste(&haste)); /* nothing is under way */
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 2; i++)
			MUST_FAIL(MER_ECANCELED, add_alone(hasty, EXAMPLE_SERVER));
		ck_assert_msg(strstr(err.message, "interrupted") != NULL, "%s", err.message);
		mer_haste_over(&haste);
		/* Nor is what follows ended in the place of what was. */
		ck_assert_int_eq(count_rows(hasty, MER_Q_MODEL_BY_NAME, MER_ARGS(mer_text("none"))), 0);
		ck_assert(!mer_haste(&haste));
	}
	mer_haste_over(&haste);
	mer_dal_rollback(slow);
	MUST(add_alone(hasty, EXAMPLE_SERVER));
	mer_dal_close(hasty);
	mer_dal_close(slow);
}
END_TEST

/* What mer_run_close_args() says when a run's fields are left out is "", not NULL. */
START_TEST(keeps_long_text)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	enum { LEN = 200000 };
	MER_AUTO(mer_text_done) char *tail = malloc(LEN + 1);
	memset(tail, 'x', LEN);
	tail[LEN] = '\0';
	struct mer_value args[MER_RUN_CLOSE_AT_ARGS];
	MUST(open_run(dal, RUN_UID, "", &err));
	struct mer_run_close close = { RUN_UID, "failed", NULL, T2, -1,   NULL, NULL, tail, 0,
		                           -1,      -1,       -1,   -1, NULL, 0,    NULL, -1,   -1 };
	mer_run_close_args(&close, args);
	MUST(mer_dal_exec(dal, MER_Q_RUN_CLOSE, args, MER_RUN_CLOSE_ARGS, NULL, &err));
	struct mer_buf buf;
	mer_buf_init(&buf, 1 << 20);
	MUST(mer_dal_query(dal, MER_Q_RUN_BY_UID, MER_ARGS(mer_text(RUN_UID)), on_run, &buf, &err));
	ck_assert(strstr(buf.ptr, tail) != NULL);
	mer_buf_release(&buf);
	mer_dal_close(dal);
}
END_TEST

/* What many rows of one transaction say is what one alone says, whatever is in their texts. */
static const char *const odd_rows[] = {
	"",
	"NULL",
	"a,b",
	"{}",
	"{\"a\":[1]}",
	"\\",
	"\\\"",
	"it's \"quoted\"",
	"line\nline\r\n\ttab",
	" blank ",
	"$1 %s",
	"\xc3\xa9\xf0\x9f\x99\x82",
};

static struct mer_run_close odd_close(const char *uid, const char *text, int64_t number)
{
	return (struct mer_run_close){ .request_uid = uid,
		                           .status = "failed",
		                           .started_at = number % 2 == 0 ? "" : T1,
		                           .stopped_at = T2,
		                           .exit_code = number - 1,
		                           .signal = text,
		                           .error = text,
		                           .stderr_tail = text,
		                           .attempts = number,
		                           .queue_ms = -1,
		                           .start_ms = INT64_MAX - number,
		                           .infer_ms = number,
		                           .bytes_out = -1,
		                           .sha256_out = text,
		                           .provenance = text,
		                           .cpu_us = number,
		                           .max_rss_kib = -1 };
}

static void write_odd(struct mer_dal *dal, const struct mer_uid uids[], bool many)
{
	struct mer_value args[MER_RUN_CLOSE_AT_ARGS];
	if (many)
		MUST(mer_dal_begin(dal, &err));
	for (int i = 0; i < N_ROWS(odd_rows); i++) {
		const char *text = odd_rows[i];
		const struct mer_run_open open = { uids[i].text, text, text, text,      text, "batch",
			                               text,         text, i,    "running", T0,   i - 1,
			                               text,         text, NULL, text,      text };
		mer_run_open_args(&open, args);
		MUST(mer_dal_exec(dal, MER_Q_RUN_INSERT, args, MER_RUN_OPEN_ARGS, NULL, &err));
	}
	for (int i = 0; i < N_ROWS(odd_rows); i++) {
		const struct mer_run_close close = odd_close(uids[i].text, odd_rows[i], i);
		mer_run_close_args(&close, args);
		MUST(mer_dal_exec(dal, MER_Q_RUN_CLOSE, args, MER_RUN_CLOSE_ARGS, NULL, &err));
	}
	if (many)
		MUST(mer_dal_end(dal, true, &err));
}

START_TEST(writes_many_rows_as_one)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	struct mer_uid alone[N_ROWS(odd_rows)], together[N_ROWS(odd_rows)];
	for (int i = 0; i < N_ROWS(odd_rows); i++) {
		mer_uid_new(&alone[i]);
		mer_uid_new(&together[i]);
	}
	write_odd(dal, alone, false);
	write_odd(dal, together, true);
	struct mer_buf one, other;
	mer_buf_init(&one, 100000);
	mer_buf_init(&other, 100000);
	for (int i = 0; i < N_ROWS(odd_rows); i++) {
		mer_buf_clear(&one);
		mer_buf_clear(&other);
		MUST(mer_dal_query(dal, MER_Q_RUN_BY_UID, MER_ARGS(mer_text(alone[i].text)), on_run, &one,
		                   &err));
		MUST(mer_dal_query(dal, MER_Q_RUN_BY_UID, MER_ARGS(mer_text(together[i].text)), on_run,
		                   &other, &err));
		ck_assert_str_eq(one.ptr + 36, other.ptr + 36); /* but for their uids */
		ck_assert_msg(strstr(other.ptr, odd_rows[i]) != NULL, "%s", other.ptr);
	}
	mer_buf_release(&one);
	mer_buf_release(&other);

	/* One that is refused takes all of them along. */
	struct mer_value args[MER_RUN_OPEN_ARGS];
	enum mer_status st = MER_OK;
	MUST(mer_dal_begin(dal, &err));
	for (int i = 0; st == MER_OK && i < 5; i++) {
		struct mer_uid uid;
		mer_uid_new(&uid);
		const struct mer_run_open open = { i == 3 ? alone[0].text : uid.text,
			                               "x",
			                               "",
			                               "",
			                               "",
			                               "batch",
			                               "",
			                               "",
			                               1,
			                               "queued",
			                               T0,
			                               -1,
			                               "",
			                               "",
			                               NULL,
			                               "",
			                               "" };
		mer_run_open_args(&open, args);
		st = mer_dal_exec(dal, MER_Q_RUN_INSERT, args, MER_RUN_OPEN_ARGS, NULL, &err);
	}
	if (st == MER_OK)
		st = mer_dal_end(dal, true, &err);
	else
		mer_dal_rollback(dal);
	ck_assert_msg(st == MER_ECONFLICT && err.status == st, "%s", err.message);
	ck_assert_int_eq(count_runs(dal, "queued"), 0);
	mer_dal_close(dal);
}
END_TEST

/* The uid of the nth of ten runs, or "" for -1. */
static void nth_uid(int n, char out[37])
{
	/* They begin with the same time, in milliseconds since 1970. */
	const int64_t ms = INT64_C(0x019c140a4e00) + INT64_C(60000) * n;
	out[0] = '\0';
	if (n >= 0)
		(void)snprintf(out, 37, "%08x-%04x-7000-8000-00000000000%c", (unsigned)(ms >> 16),
		               (unsigned)(ms & 0xffff), '0' + n);
}

/* Ten runs: minute n of an hour, model a or b by turns, each third one closed as ok. */
static void add_log(struct mer_dal *dal)
{
	MUST(mer_dal_begin(dal, &err));
	for (int i = 0; i < 10; i++) {
		char uid[37], time[25];
		nth_uid(i, uid);
		(void)snprintf(time, sizeof time, "2026-01-31T12:%02d:00.000Z", i);
		struct mer_run_open open = { uid,
			                         i % 2 == 0 ? "a" : "b",
			                         "d",
			                         "s",
			                         "w",
			                         "batch",
			                         "ann",
			                         "h",
			                         1,
			                         "queued",
			                         time,
			                         0,
			                         "",
			                         "o",
			                         NULL,
			                         "",
			                         i == 3 ? TRACE : "" };
		struct mer_value args[MER_RUN_OPEN_ARGS];
		mer_run_open_args(&open, args);
		MUST(mer_dal_exec(dal, MER_Q_RUN_INSERT, args, MER_RUN_OPEN_ARGS, NULL, &err));
		if (i % 3 == 0)
			MUST(close_run(dal, uid, &err));
	}
	MUST(mer_dal_end(dal, true, &err));
}

static const struct {
	const char *model, *status, *since;
	int64_t limit;
	const char *want; /* last digits of the uids */
} log_rows[] = {
	{ "", "", "", 100, "9876543210" },
	{ "", "", "", 3, "987" },
	{ "", "", "", 0, "" },
	{ "a", "", "", 100, "86420" },
	{ "b", "", "", 2, "97" },
	{ "c", "", "", 100, "" },
	{ "", "ok", "", 100, "9630" },
	{ "", "queued", "", 100, "875421" },
	{ "", "lost", "", 100, "" },
	{ "a", "ok", "", 100, "60" },
	{ "", "", "2026-01-31T12:05:00.000Z", 100, "98765" },
	{ "", "", "2026-01-31T12:05:00.001Z", 100, "9876" },
	{ "b", "ok", "2026-01-31T12:04:00.000Z", 100, "9" },
	{ "a", "", "2026-01-31T12:04:00.000Z", 2, "86" },
	{ "", "", "2026-02-28T00:00:00.000Z", 100, "" },
	{ "", "", "2020-01-01T00:00:00.000Z", 100, "9876543210" },
	{ "", "", "1970-01-01T00:00:00.000Z", 100, "9876543210" },
	{ "", "", "0001-01-01T00:00:00.000Z", 100, "9876543210" },
	{ "", "", "9999-12-31T23:59:59.999Z", 100, "" },
};

static enum mer_status on_digit(void *ctx, const void *data, struct mer_error *e)
{
	(void)e;
	mer_buf_byte(ctx, ((const struct mer_run_row *)data)->request_uid[35]);
	return MER_OK;
}

START_TEST(lists_runs)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	add_log(dal);
	const int row = _i / N_BACKENDS;
	struct mer_buf buf;
	mer_buf_init(&buf, 1000);
	MUST(mer_dal_query(dal, MER_Q_RUNS,
	                   MER_ARGS(mer_text(log_rows[row].model), mer_text(log_rows[row].status),
	                            mer_text(log_rows[row].since), mer_i64(log_rows[row].limit),
	                            mer_text("")),
	                   on_digit, &buf, &err));
	ck_assert_msg(strcmp(buf.len > 0 ? buf.ptr : "", log_rows[row].want) == 0, "row %d: %s, not %s",
	              row, buf.len > 0 ? buf.ptr : "", log_rows[row].want);
	mer_buf_release(&buf);
	mer_dal_close(dal);
}
END_TEST

static const struct {
	const char *model, *since, *until;
	int after, before; /* -1: from the first, to the last */
	int64_t limit;
	const char *want;
} page_rows[] = {
	{ "", "", "", -1, -1, 100, "0123456789" },
	{ "", "", "", -1, -1, 3, "012" },
	{ "", "", "", 2, -1, 3, "345" },
	{ "", "", "", 9, -1, 3, "" },
	{ "a", "", "", 3, -1, 100, "468" },
	{ "", "2026-01-31T12:05:00.000Z", "", -1, -1, 100, "56789" },
	{ "", "2026-01-31T12:05:00.000Z", "", 6, -1, 100, "789" },
	{ "", "", "2026-01-31T12:05:00.000Z", -1, -1, 100, "01234" },
	{ "", "", "2026-01-31T12:05:00.001Z", -1, -1, 100, "012345" },
	{ "b", "2026-01-31T12:02:00.000Z", "2026-01-31T12:08:00.000Z", -1, -1, 100, "357" },
	{ "", "2026-02-28T00:00:00.000Z", "", -1, -1, 100, "" },
	{ "", "", "2026-01-01T00:00:00.000Z", -1, -1, 100, "" },
	{ "", "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z", -1, -1, 100, "0123456789" },
	{ "", "", "", -1, 5, 100, "43210" },
	{ "a", "", "", -1, 5, 2, "42" },
	{ "", "2026-01-31T12:02:00.000Z", "", -1, 4, 100, "32" },
	{ "", "", "", -1, 0, 100, "" },
};

START_TEST(lists_pages_of_runs)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	add_log(dal);
	const int row = _i / N_BACKENDS;
	char after[37], before[37];
	struct mer_buf buf;
	mer_buf_init(&buf, 1000);
	nth_uid(page_rows[row].after, after);
	nth_uid(page_rows[row].before, before);
	const struct mer_value model = mer_text(page_rows[row].model);
	const struct mer_value since = mer_text(page_rows[row].since);
	const struct mer_value limit = mer_i64(page_rows[row].limit);
	if (before[0] != '\0')
		MUST(mer_dal_query(dal, MER_Q_RUNS,
		                   MER_ARGS(model, mer_text(""), since, limit, mer_text(before)), on_digit,
		                   &buf, &err));
	else
		MUST(mer_dal_query(
			dal, MER_Q_RUNS_AFTER,
			MER_ARGS(model, since, mer_text(page_rows[row].until), mer_text(after), limit),
			on_digit, &buf, &err));
	ck_assert_msg(strcmp(buf.len > 0 ? buf.ptr : "", page_rows[row].want) == 0,
	              "row %d: %s, not %s", row, buf.len > 0 ? buf.ptr : "", page_rows[row].want);
	mer_buf_release(&buf);
	mer_dal_close(dal);
}
END_TEST

static enum mer_status on_name(void *ctx, const void *data, struct mer_error *e)
{
	(void)e;
	mer_buf_text(ctx, ((const struct mer_name_row *)data)->name);
	mer_buf_byte(ctx, ' ');
	return MER_OK;
}

/* What following the log asks. */
START_TEST(tells_what_changes)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	struct mer_dal *other = must_open(url);
	struct mer_buf was, is;
	char first[37], third[37], uids[128];
	mer_buf_init(&was, 1000);
	mer_buf_init(&is, 1000);
	MUST(mer_dal_query(dal, MER_Q_CHANGES, NULL, 0, on_name, &was, &err));
	add_log(other);
	MUST(mer_dal_query(dal, MER_Q_CHANGES, NULL, 0, on_name, &is, &err));
	ck_assert_str_ne(was.ptr, is.ptr);
	mer_buf_clear(&is);
	nth_uid(1, first);
	nth_uid(3, third);
	(void)snprintf(uids, sizeof uids, "[\"%s\",\"nosuch\",\"%s\"]", third, first);
	MUST(mer_dal_query(dal, MER_Q_RUNS_OF, MER_ARGS(mer_text(uids)), on_digit, &is, &err));
	ck_assert_str_eq(is.ptr, "13");
	/* They are of an owner that is not there. */
	mer_buf_clear(&is);
	MUST(mer_dal_query(dal, MER_Q_RUNS_OPEN, NULL, 0, on_name, &is, &err));
	ck_assert_uint_eq(is.len, 0);
	MUST(mer_dal_exec(dal, MER_Q_OWNER_INSERT,
	                  MER_ARGS(mer_text(first), mer_text("h"), mer_i64(1), mer_text("mer")), NULL,
	                  &err));
	MUST(mer_dal_query(dal, MER_Q_RUNS_OPEN, NULL, 0, on_name, &is, &err));
	ck_assert_uint_eq(is.len, 37 * strlen("124578"));
	mer_buf_release(&was);
	mer_buf_release(&is);
	mer_dal_close(other);
	mer_dal_close(dal);
}
END_TEST

static enum mer_status on_io(void *ctx, const void *data, struct mer_error *e)
{
	const struct mer_value *values = data;
	struct mer_buf *buf = ctx;
	(void)e;
	for (int i = 0; i < 4; i++) {
		if (values[i].type == MER_VALUE_NULL)
			mer_buf_text(buf, "none");
		else
			mer_buf_add(buf, values[i].text.ptr, values[i].text.len);
		mer_buf_byte(buf, '|');
	}
	return MER_OK;
}

static const struct {
	const char *input, *output; /* NULL: none */
	size_t input_len, output_len;
	const char *meta, *output_meta, *want;
	size_t want_len;
} io_rows[] = {
	{ "in", "out", 2, 3, "{}", "[{}]", "in|out|{}|[{}]|", 15 },
	{ "", "", 0, 0, NULL, NULL, "||none|none|", 12 },
	{ NULL, NULL, 0, 0, NULL, NULL, "none|none|none|none|", 20 },
	{ "a\0b", NULL, 3, 0, "m", NULL, "a\0b|none|m|none|", 16 },
	{ NULL, "\xff\\'", 0, 3, NULL, "[]", "none|\xff\\'|none|[]|", 17 },
};

/* Bytes, once: what is there stays, and without a run there is nothing. */
START_TEST(keeps_what_a_run_keeps)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	const int row = _i / N_BACKENDS;
	const struct mer_value none = { .type = MER_VALUE_NULL };
	const struct mer_value input =
		io_rows[row].input != NULL ? mer_blob(io_rows[row].input, io_rows[row].input_len) : none;
	const struct mer_value output =
		io_rows[row].output != NULL ? mer_blob(io_rows[row].output, io_rows[row].output_len) : none;
	int64_t changed = -1;
	MUST(
		mer_dal_exec(dal, MER_Q_IO_INSERT,
	                 MER_ARGS(mer_text(RUN_UID), input, output, mer_text_or_null(io_rows[row].meta),
	                          mer_text_or_null(io_rows[row].output_meta)),
	                 &changed, &err));
	ck_assert_int_eq(changed, 0);
	MUST(open_run(dal, RUN_UID, "", &err));
	MUST(mer_dal_begin(dal, &err)); /* in a group, where nobody waits for it */
	MUST(
		mer_dal_exec(dal, MER_Q_IO_INSERT,
	                 MER_ARGS(mer_text(RUN_UID), input, output, mer_text_or_null(io_rows[row].meta),
	                          mer_text_or_null(io_rows[row].output_meta)),
	                 NULL, &err));
	MUST(mer_dal_end(dal, true, &err));
	MUST(mer_dal_exec(dal, MER_Q_IO_INSERT,
	                  MER_ARGS(mer_text(RUN_UID), mer_blob("x", 1), none, none, none), &changed,
	                  &err));
	ck_assert_int_eq(changed, 0);
	struct mer_buf buf;
	mer_buf_init(&buf, 1000);
	MUST(mer_dal_query(dal, MER_Q_IO, MER_ARGS(mer_text(RUN_UID)), on_io, &buf, &err));
	ck_assert_uint_eq(buf.len, io_rows[row].want_len);
	ck_assert_mem_eq(buf.ptr, io_rows[row].want, buf.len);
	mer_buf_release(&buf);
	mer_dal_close(dal);
}
END_TEST

static enum mer_status add_provenance(struct mer_dal *dal, const char *digest, int64_t *changed)
{
	return mer_dal_exec(dal, MER_Q_PROVENANCE_INSERT,
	                    MER_ARGS(mer_text(digest), mer_text("h"), mer_text("/p"), mer_text("s"),
	                             mer_text("[]"), mer_text("w"), mer_text("r"), mer_text("k")),
	                    changed, &err);
}

#define DIGEST_1 "00000000000000000000000000000001"
#define DIGEST_2 "00000000000000000000000000000002"

static int64_t prune_provenance(struct mer_dal *dal)
{
	int64_t changed = -1;
	MUST(mer_dal_exec(dal, MER_Q_PROVENANCE_PRUNE,
	                  MER_ARGS(mer_text("[\"" DIGEST_1 "\",\"" DIGEST_2 "\"]"), mer_text("")),
	                  &changed, &err));
	return changed;
}

struct gone {
	int64_t n, as_said;
};

static enum mer_status on_gone(void *ctx, const void *row, struct mer_error *e)
{
	struct gone *gone = ctx;
	const struct mer_run_gone_row *run = row;
	(void)e;
	gone->n++;
	gone->as_said += (strcmp(run->model, "a") == 0 || strcmp(run->model, "b") == 0) &&
	                 strcmp(run->status, "ok") == 0 && strcmp(run->kind, "run") == 0 &&
	                 run->queue_ms == 0 && run->start_ms == 0 && run->infer_ms == 0;
	return MER_OK;
}

static enum mer_status on_total(void *ctx, const void *row, struct mer_error *e)
{
	const struct mer_total_row *total = row;
	(void)e;
	mer_buf_printf(ctx, "%s=%" PRId64 " ", total->series, total->value);
	return MER_OK;
}

/* Series by series, what is there already and what is not; of one model, or of all. */
START_TEST(adds_to_totals)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	struct mer_buf buf;
	mer_buf_init(&buf, 1000);
	MUST(mer_dal_exec(dal, MER_Q_TOTALS_ADD,
	                  MER_ARGS(mer_text("{\"m/ok\":1,\"m-1/ok\":2,\"m/failed\":9007199254740993}")),
	                  NULL, &err));
	MUST(mer_dal_exec(dal, MER_Q_TOTALS_ADD, MER_ARGS(mer_text("{\"n\\\"/ok\":3,\"m/ok\":4}")),
	                  NULL, &err));
	MUST(mer_dal_query(dal, MER_Q_TOTALS, MER_ARGS(mer_text("")), on_total, &buf, &err));
	mer_buf_text(&buf, "| ");
	MUST(mer_dal_query(dal, MER_Q_TOTALS, MER_ARGS(mer_text("m")), on_total, &buf, &err));
	ck_assert_str_eq(buf.ptr, "m-1/ok=2 m/failed=9007199254740993 m/ok=5 n\"/ok=3 | "
	                          "m/failed=9007199254740993 m/ok=5 ");
	MUST_FAIL(MER_EINPUT,
	          mer_dal_exec(dal, MER_Q_TOTALS_ADD, MER_ARGS(mer_text("{\"m/ok\":-6}")), NULL, &err));
	mer_buf_release(&buf);
	mer_dal_close(dal);
}
END_TEST

/* The oldest first, and no open one; then what no run names, unless one may do so yet. */
START_TEST(forgets_what_has_ended)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	const struct mer_value before = mer_text("2026-01-31T12:07:00.000Z");
	int64_t changed = -1;
	add_log(dal);
	for (int64_t want = 2; want > 0; want--) {
		struct gone gone = { .n = 0 };
		MUST(mer_dal_query(dal, MER_Q_RUNS_PRUNE, MER_ARGS(before, mer_i64(2)), on_gone, &gone,
		                   &err));
		ck_assert_int_eq(gone.n, want);
		ck_assert_int_eq(gone.as_said, want);
	}
	ck_assert_int_eq(count_runs(dal, "ok"), 1);
	ck_assert_int_eq(count_runs(dal, "queued"), 6);

	MUST(add_provenance(dal, DIGEST_1, &changed));
	ck_assert_int_eq(changed, 1);
	MUST(add_provenance(dal, DIGEST_1, &changed));
	ck_assert_int_eq(changed, 0);
	MUST(add_provenance(dal, DIGEST_2, NULL));
	MUST(open_run(dal, RUN_UID, "", &err));
	struct mer_value args[MER_RUN_CLOSE_AT_ARGS];
	const struct mer_run_close close = {
		.request_uid = RUN_UID, .status = "ok", .stopped_at = T2, .provenance = DIGEST_2
	};
	mer_run_close_args(&close, args);
	MUST(mer_dal_exec(dal, MER_Q_RUN_CLOSE, args, MER_RUN_CLOSE_ARGS, NULL, &err));
	MUST(mer_dal_exec(dal, MER_Q_OWNER_INSERT,
	                  MER_ARGS(mer_text(MODEL_UID), mer_text("h"), mer_i64(1), mer_text("p")), NULL,
	                  &err));
	ck_assert_int_eq(prune_provenance(dal), 0);
	MUST(mer_dal_exec(dal, MER_Q_OWNER_DELETE, MER_ARGS(mer_text(MODEL_UID)), NULL, &err));
	ck_assert_int_eq(prune_provenance(dal), 1);
	ck_assert_int_eq(count_rows(dal, MER_Q_PROVENANCE, MER_ARGS(mer_text(DIGEST_1))), 0);
	ck_assert_int_eq(count_rows(dal, MER_Q_PROVENANCE, MER_ARGS(mer_text(DIGEST_2))), 1);
	mer_dal_close(dal);
}
END_TEST

static enum mer_status stop_at_two(void *ctx, const void *row, struct mer_error *e)
{
	(void)row;
	if (++*(int64_t *)ctx == 2)
		return mer_fail(e, MER_ECANCELED, "enough");
	return MER_OK;
}

START_TEST(stops_when_told)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	int64_t n = 0;
	MUST_FAIL(MER_ECANCELED, mer_dal_query(dal, MER_Q_MODELS, NULL, 0, stop_at_two, &n, &err));
	ck_assert_int_eq(n, 2);
	ck_assert_str_eq(err.message, "enough");
	ck_assert_int_eq(count_rows(dal, MER_Q_MODELS, NULL, 0), EXAMPLES);
	mer_dal_close(dal);
}
END_TEST

/* --- transactions ------------------------------------------------------------------------- */

START_TEST(commits_all_or_nothing)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	struct mer_dal *other = must_open(url);
	MUST(mer_dal_begin(dal, &err));
	MUST(add_model(dal, MODEL_UID, "m", &err));
	ck_assert_int_eq(count_rows(dal, MER_Q_MODELS, NULL, 0), EXAMPLES + 1);
	ck_assert_int_eq(count_rows(other, MER_Q_MODELS, NULL, 0), EXAMPLES); /* and does not wait */
	MUST(mer_dal_end(dal, false, &err));
	ck_assert_int_eq(count_rows(dal, MER_Q_MODELS, NULL, 0), EXAMPLES);

	MUST(mer_dal_begin(dal, &err));
	MUST(add_model(dal, MODEL_UID, "m", &err));
	MUST(mer_dal_end(dal, true, &err));
	ck_assert_int_eq(count_rows(other, MER_Q_MODELS, NULL, 0), EXAMPLES + 1);

	/* What failed may be known only at the end, and leaves nothing. */
	MUST(mer_dal_begin(dal, &err));
	MUST(add_model(dal, SERVER_UID, "n", &err));
	enum mer_status st = add_model(dal, MODEL_UID, "o", &err);
	if (st == MER_OK)
		st = mer_dal_end(dal, true, &err);
	else
		mer_dal_rollback(dal);
	ck_assert_int_eq(st, MER_ECONFLICT);
	ck_assert_int_eq(err.status, MER_ECONFLICT);
	ck_assert_int_eq(count_rows(other, MER_Q_MODELS, NULL, 0), EXAMPLES + 1);

	/* A connection that is closed has not committed. */
	MUST(mer_dal_begin(dal, &err));
	MUST(add_model(dal, DEPLOYMENT_UID, "o", &err));
	mer_dal_close(dal);
	MUST(mer_dal_begin(other, &err));
	ck_assert_int_eq(count_rows(other, MER_Q_MODELS, NULL, 0), EXAMPLES + 1);
	mer_dal_rollback(other);
	mer_dal_close(other);
}
END_TEST

/* What Postgres does otherwise: it tells no place of what fails while it runs, lets a script begin
 * what has begun, and notices only afterwards that one has ended its transaction. */
enum postgres_does { AS_ALL, NO_PLACE, RUNS };

static const struct {
	const char *sql;
	int64_t line, column; /* column 0: any; both 0: found only after the last */
	const char *message;  /* a part; NULL: it runs */
	enum postgres_does postgres;
} script_rows[] = {
	{ "", 0, 0, NULL, AS_ALL },
	{ "-- nothing\n", 0, 0, NULL, AS_ALL },
	{ "/* nothing */;;\n", 0, 0, NULL, AS_ALL },
	{ "CREATE TABLE t (a INTEGER); INSERT INTO t (a) VALUES (1); DROP TABLE t", 0, 0, NULL,
	  AS_ALL },
	{ "CREATE TABLE t (a TEXT);\r\nINSERT INTO t (a) VALUES ('-- ; /* \xc3\xa9');\r\n", 0, 0, NULL,
	  AS_ALL },
	{ "SELECT count(*) FROM models; SELECT 1;", 0, 0, NULL, AS_ALL },
	{ "\nCREATE TABLE t (a INTEGER);\n-- x\n  CREATE TABLEX u (a INTEGER);\n", 4, 10, "TABLEX",
	  AS_ALL },
	{ "CREATE TABLE t (a INTEGER);\r\nINSERT INTO nowhere (a) VALUES (1);\r\n", 2, 0, "nowhere",
	  AS_ALL },
	{ "/* a\nb */ INSERT INTO models (uid, name)\n\tVALUES ('1', 'iris');", 2, 6, "", NO_PLACE },
	{ "CREATE TABLE t (a INTEGER);\nCREATE TABLE t (a INTEGER);", 2, 0, "already exists",
	  NO_PLACE },
	{ "CREATE TABLE t (a INTEGER);\nCOMMIT;\nCREATE TABLE u (a INTEGER);", 2, 1, "transaction",
	  NO_PLACE },
	{ "BEGIN;", 1, 1, "transaction", RUNS },
	{ "/* x */ rollback;", 1, 9, "transaction", NO_PLACE },
	{ "SAVEPOINT a;", 1, 1, "transaction", RUNS },
	{ "INSERT INTO deployments (uid, name, model_uid, server_uid, protocol, workdir, argv, "
	  "max_workers, idle_ms, timeout_ms, start_timeout_ms) VALUES ('" DEPLOYMENT_UID
	  "', 'x', '" MODEL_UID "', '" EXAMPLE_SERVER "', 'once', '', '[]', 1, 1, 1, 1);",
	  0, 0, "models", AS_ALL },
	{ "DELETE FROM servers;", 0, 0, "deployments", AS_ALL },
	{ "CREATE TABLE t (a INTEGER", 1, 0, "", AS_ALL },
	{ "INSERT INTO models (uid, name) VALUES ('" MODEL_UID "', 'a''b", 1, 0, "", AS_ALL },
};

START_TEST(runs_scripts)
{
	if (!begin_test(_i))
		return;
	migrate(url, 0);
	const int row = _i / N_BACKENDS;
	const char *sql = script_rows[row].sql;
	struct mer_dal *dal;
	MUST(mer_dal_open(url, MER_DAL_ANY_SCHEMA, &dal, &err));
	MUST(mer_dal_begin(dal, &err));
	struct mer_script_place place = { .line = -1, .column = -1 };
	enum mer_status st = mer_dal_script(dal, sql, strlen(sql), &place, &err);
	const enum postgres_does does = dal->remote ? script_rows[row].postgres : AS_ALL;
	const int64_t line = does == NO_PLACE ? 0 : script_rows[row].line;
	const int64_t column = does == NO_PLACE ? 0 : script_rows[row].column;
	if (script_rows[row].message == NULL || does == RUNS) {
		ck_assert_msg(st == MER_OK, "row %d [%s]: %s", row, sql, err.message);
		ck_assert_int_eq(place.line, -1);
		MUST(mer_dal_end(dal, true, &err));
	} else {
		ck_assert_msg(st == MER_EINPUT, "row %d [%s]: %s", row, sql, mer_status_name(st));
		ck_assert_msg(place.line == line && (column == 0 || place.column == column),
		              "row %d [%s]: %" PRId64 ":%" PRId64 ": %s", row, sql, place.line,
		              place.column, err.message);
		ck_assert_msg(err.message[0] != '\0' &&
		                  strstr(err.message, script_rows[row].message) != NULL,
		              "row %d [%s]: %s", row, sql, err.message);
		MUST(mer_dal_end(dal, false, &err));
	}
	/* Whatever it was, the connection goes on, and a script that failed has left nothing. */
	ck_assert_int_eq(count_rows(dal, MER_Q_MODELS, NULL, 0), EXAMPLES);
	ck_assert_int_eq(count_rows(dal, MER_Q_SERVERS, NULL, 0), 1);
	MUST(mer_dal_begin(dal, &err));
	run_text(dal, "CREATE TABLE u (a INTEGER)");
	MUST(mer_dal_end(dal, true, &err));
	mer_dal_close(dal);
	backends[at].check(url);
}
END_TEST

START_TEST(refuses_a_nul_in_a_script)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	static const char sql[] = "SELECT 1;\n  \0SELECT 2;";
	struct mer_script_place place = { 0 };
	MUST(mer_dal_begin(dal, &err));
	MUST_FAIL(MER_EINPUT, mer_dal_script(dal, sql, sizeof sql - 1, &place, &err));
	ck_assert_int_eq(place.line, 2);
	ck_assert_int_eq(place.column, 3);
	mer_dal_rollback(dal);
	mer_dal_close(dal);
}
END_TEST

/* A table can be built anew without the rows that refer to it going with the old one. */
START_TEST(rebuilds_a_table_in_a_script)
{
	if (!begin_test(_i))
		return;
	migrate(url, 0);
	struct mer_dal *dal;
	MUST(mer_dal_open(url, MER_DAL_ANY_SCHEMA, &dal, &err));
	MUST(mer_dal_begin(dal, &err));
	run_text(dal, "CREATE TABLE copy AS SELECT * FROM feedback; DROP TABLE feedback; "
	              "CREATE TABLE feedback (uid TEXT PRIMARY KEY, rating INTEGER NOT NULL)");
	MUST(mer_dal_end(dal, true, &err));
	mer_dal_close(dal);
	dal = must_open(url);
	ck_assert_int_eq(count_rows(dal, MER_Q_DEPLOYMENTS, MER_ARGS(mer_text(""))), EXAMPLES);
	mer_dal_close(dal);
}
END_TEST

/* --- locks and owners --------------------------------------------------------------------- */

static bool locked(struct mer_dal *dal, int64_t key, enum mer_lock_op op)
{
	bool yes = false;
	MUST(mer_dal_lock(dal, key, op, &yes, &err));
	return yes;
}

static const int64_t lock_rows[] = { MER_LOCK_MIGRATE, 1, 2, INT64_C(1) << 40,
	                                 (INT64_C(1) << 62) - 1 };

START_TEST(locks_die_with_their_holder)
{
	struct mer_dal *a = begin_migrated(_i);
	if (a == NULL)
		return;
	const int64_t key = lock_rows[_i / N_BACKENDS];
	struct mer_dal *b = must_open(url);
	ck_assert(!locked(b, key, MER_LOCK_TEST));
	ck_assert(locked(a, key, MER_LOCK_TAKE));
	ck_assert(locked(a, key, MER_LOCK_TAKE));  /* it is ours already */
	ck_assert(!locked(a, key, MER_LOCK_TEST)); /* and no other's */
	ck_assert(locked(b, key, MER_LOCK_TEST));
	ck_assert(!locked(b, key, MER_LOCK_TAKE));
	ck_assert(!locked(b, key + 1, MER_LOCK_TEST));
	MUST(mer_dal_lock(b, key, MER_LOCK_DROP, NULL, &err)); /* not ours to drop */
	ck_assert(locked(b, key, MER_LOCK_TEST));
	MUST(mer_dal_lock(a, key, MER_LOCK_DROP, NULL, &err));
	MUST(mer_dal_lock(a, key, MER_LOCK_DROP, NULL, &err));
	ck_assert(locked(b, key, MER_LOCK_TAKE));
	ck_assert(locked(a, key, MER_LOCK_TEST));
	mer_dal_close(b);
	ck_assert(!locked(a, key, MER_LOCK_TEST));
	mer_dal_close(a);
}
END_TEST

static int64_t sweep(struct mer_dal *dal)
{
	int64_t lost = -1;
	MUST(mer_owners_sweep(dal, false, &lost, &err));
	return lost;
}

/* A transaction with nothing but an owner. */
static enum mer_status register_and_end(struct mer_dal *dal, const char *owner)
{
	enum mer_status st = mer_owner_register(dal, owner, "here", 1, "check", &err);
	if (st == MER_OK)
		return mer_dal_end(dal, true, &err);
	mer_dal_rollback(dal);
	return st;
}

START_TEST(closes_the_runs_of_the_dead)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	ck_assert_int_eq(sweep(dal), 0);
	struct mer_uid live, dead, idle;
	mer_uid_new(&live);
	mer_uid_new(&dead);
	mer_uid_new(&idle);
	struct mer_dal *of_live = must_open(url), *of_dead = must_open(url), *of_idle = must_open(url);
	own_runs(of_live, live.text, 3);
	own_runs(of_dead, dead.text, 5);
	own_runs(of_idle, idle.text, 0);
	MUST(open_run(dal, MODEL_UID, "", &err)); /* nobody's: left alone */
	MUST(close_run(of_dead, RUN_UID, &err));
	ck_assert_int_eq(sweep(dal), 0);

	mer_dal_close(of_idle);
	ck_assert_int_eq(sweep(dal), 0); /* nothing to close, but it is forgotten */
	ck_assert_int_eq(count_rows(dal, MER_Q_OWNERS, NULL, 0), 2);
	mer_dal_close(of_dead);
	ck_assert_int_eq(sweep(dal), 5);
	ck_assert_int_eq(sweep(dal), 0);
	ck_assert_int_eq(count_runs(dal, "lost"), 5);
	ck_assert_int_eq(count_runs(dal, "queued"), 4);
	ck_assert_int_eq(count_rows(dal, MER_Q_OWNERS, NULL, 0), 1);

	/* Within a transaction too. */
	mer_dal_close(of_live);
	struct mer_dal *next = must_open(url);
	MUST(mer_dal_begin(next, &err));
	MUST(mer_owner_register(next, idle.text, "here", 1, "check", &err));
	int64_t lost = -1;
	MUST(mer_owners_sweep(next, true, &lost, &err));
	ck_assert_int_eq(lost, 3);
	MUST(mer_dal_end(next, true, &err));
	ck_assert_int_eq(count_rows(dal, MER_Q_OWNERS, NULL, 0), 1);
	ck_assert_int_eq(count_runs(dal, "queued"), 1);

	/* The same uid again is another's. */
	MUST(mer_dal_begin(dal, &err));
	MUST_FAIL(MER_ECONFLICT, register_and_end(dal, idle.text));
	mer_dal_close(next);
	mer_dal_close(dal);
	backends[at].check(url);
}
END_TEST

static enum mer_status on_lost(void *ctx, const void *data, struct mer_error *e)
{
	(void)ctx, (void)e;
	const struct mer_run_row *row = data;
	ck_assert_str_ne(row->error, "");
	ck_assert_uint_eq(strlen(row->stopped_at), strlen(T0));
	ck_assert_int_eq(row->exit_code, -1);
	return MER_OK;
}

START_TEST(says_why_a_run_is_lost)
{
	struct mer_dal *dal = begin_migrated(_i);
	if (dal == NULL)
		return;
	struct mer_uid owner;
	mer_uid_new(&owner);
	own_runs(dal, owner.text, 1);
	mer_dal_close(dal);
	dal = must_open(url);
	ck_assert_int_eq(sweep(dal), 1);
	MUST(mer_dal_query(
		dal, MER_Q_RUNS,
		MER_ARGS(mer_text(""), mer_text("lost"), mer_text(""), mer_i64(9), mer_text("")), on_lost,
		NULL, &err));
	mer_dal_close(dal);
}
END_TEST

/* --- every call failed in turn ------------------------------------------------------------ */

static enum mer_status write_all(struct mer_dal *dal, const char *owner, struct mer_error *e)
{
	enum mer_status st = mer_owner_register(dal, owner, "here", 12, "check", e);
	if (st == MER_OK)
		st = add_model(dal, MODEL_UID, "m", e);
	if (st == MER_OK)
		st = add_deployment(dal, DEPLOYMENT_UID, "d", MODEL_UID, EXAMPLE_SERVER, e);
	if (st == MER_OK)
		st = open_run(dal, RUN_UID, owner, e);
	return st;
}

/* As a caller does it: what failed is rolled back, and its error is the one that counts. */
static enum mer_status scenario(struct mer_dal *dal, const char *owner, struct mer_error *e)
{
	enum mer_status st = mer_dal_begin(dal, e);
	if (st != MER_OK)
		return st;
	st = write_all(dal, owner, e);
	if (st != MER_OK) {
		mer_dal_rollback(dal);
		return st;
	}
	st = mer_dal_end(dal, true, e);
	if (st == MER_OK)
		st = close_run(dal, RUN_UID, e);
	if (st == MER_OK)
		st = mer_dal_exec(dal, MER_Q_IO_INSERT,
		                  MER_ARGS(mer_text(RUN_UID), mer_blob("x", 1), mer_blob("", 0),
		                           mer_text("m"), mer_text("[]")),
		                  NULL, e);
	int64_t n = 0;
	if (st == MER_OK)
		st = mer_dal_query(dal, MER_Q_RESOLVE, MER_ARGS(mer_text("m"), mer_text("")), count_row, &n,
		                   e);
	if (st == MER_OK)
		st = mer_owners_sweep(dal, false, NULL, e);
	return st;
}

static void check_after_fault(int64_t fail_at, bool failed)
{
	backends[at].check(url);
	struct mer_dal *dal = must_open(url);
	int64_t models = count_rows(dal, MER_Q_MODEL_BY_NAME, MER_ARGS(mer_text("m")));
	int64_t runs = count_rows(dal, MER_Q_RUN_BY_UID, MER_ARGS(mer_text(RUN_UID)));
	ck_assert_msg(models == count_rows(dal, MER_Q_RESOLVE, MER_ARGS(mer_text("m"), mer_text(""))) &&
	                  models == runs,
	              "call %" PRId64 ": half a transaction", fail_at);
	ck_assert(failed || models == 1);
	(void)sweep(dal);
	ck_assert_int_eq(count_runs(dal, "queued"), 0);
	ck_assert_int_ge(count_runs(dal, "lost"), 2); /* of the one that was dead before */
	mer_dal_close(dal);
}

START_TEST(survives_the_failure_of_each_call)
{
	bool failed = true;
	int64_t calls = 0;
	for (int64_t fail_at = 1; failed; fail_at++) {
		if (!begin_test(_i))
			return;
		migrate(url, 0);
		struct mer_uid dead, owner;
		mer_uid_new(&dead);
		mer_uid_new(&owner);
		struct mer_dal *dal = must_open(url);
		own_runs(dal, dead.text, 2);
		mer_dal_close(dal);

		MUST(mer_dal_open_fault(url, 0, fail_at, &calls, &dal, &err));
		ck_assert_str_eq(mer_dal_dialect(dal), backends[at].name);
		err = (struct mer_error){ 0 };
		enum mer_status st = scenario(dal, owner.text, &err);
		failed = calls >= fail_at;
		ck_assert_msg(failed == (st != MER_OK), "call %" PRId64 " of %" PRId64 ": %s", fail_at,
		              calls, mer_status_name(st));
		ck_assert_msg(!failed || (err.status == st && err.message[0] != '\0'),
		              "call %" PRId64 ": no message", fail_at);
		mer_dal_close(dal);
		check_after_fault(fail_at, failed);
	}
	ck_assert_int_gt(calls, 8);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("dal");
	TCase *tc = tcase_create("contract");
	tcase_add_checked_fixture(tc, setup_folder, teardown_folder);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, knows_urls, 0, N_ROWS(url_rows));
	tcase_add_loop_test(tc, checks_schema, 0, N_BACKENDS * N_ROWS(schema_rows));
	tcase_add_loop_test(tc, refuses_without_ledger, 0, N_BACKENDS);
	tcase_add_loop_test(tc, has_each_script, 0, N_BACKENDS);
	tcase_add_loop_test(tc, asks_each_query, 0, N_BACKENDS);
	tcase_add_loop_test(tc, binds_arguments_by_number, 0, N_BACKENDS);
	tcase_add_loop_test(tc, refuses_what_the_schema_forbids, 0,
	                    N_BACKENDS * N_ROWS(bad_server_rows));
	tcase_add_loop_test(tc, keeps_references_whole, 0, N_BACKENDS);
	tcase_add_loop_test(tc, names_what_begins_so, 0, N_BACKENDS);
	tcase_add_loop_test(tc, knows_example_models, 0, N_BACKENDS * N_ROWS(example_rows));
	tcase_add_loop_test(tc, has_the_example_weights, 0, N_BACKENDS);
	tcase_add_loop_test(tc, keeps_a_contract, 0, N_BACKENDS);
	tcase_add_loop_test(tc, updates_a_deployment, 0, N_BACKENDS);
	tcase_add_loop_test(tc, keeps_a_run_from_start_to_end, 0, N_BACKENDS);
	tcase_add_loop_test(tc, closes_a_run_at_its_place, 0, N_BACKENDS);
	tcase_add_loop_test(tc, tallies_a_transaction, 0, N_BACKENDS);
	tcase_add_loop_test(tc, ends_the_waits_of_the_hasty, 0, N_BACKENDS);
	tcase_add_loop_test(tc, keeps_long_text, 0, N_BACKENDS);
	tcase_add_loop_test(tc, writes_many_rows_as_one, 0, N_BACKENDS);
	tcase_add_loop_test(tc, lists_runs, 0, N_BACKENDS * N_ROWS(log_rows));
	tcase_add_loop_test(tc, lists_pages_of_runs, 0, N_BACKENDS * N_ROWS(page_rows));
	tcase_add_loop_test(tc, tells_what_changes, 0, N_BACKENDS);
	tcase_add_loop_test(tc, keeps_what_a_run_keeps, 0, N_BACKENDS * N_ROWS(io_rows));
	tcase_add_loop_test(tc, adds_to_totals, 0, N_BACKENDS);
	tcase_add_loop_test(tc, forgets_what_has_ended, 0, N_BACKENDS);
	tcase_add_loop_test(tc, stops_when_told, 0, N_BACKENDS);
	tcase_add_loop_test(tc, commits_all_or_nothing, 0, N_BACKENDS);
	tcase_add_loop_test(tc, runs_scripts, 0, N_BACKENDS * N_ROWS(script_rows));
	tcase_add_loop_test(tc, refuses_a_nul_in_a_script, 0, N_BACKENDS);
	tcase_add_loop_test(tc, rebuilds_a_table_in_a_script, 0, N_BACKENDS);
	tcase_add_loop_test(tc, locks_die_with_their_holder, 0, N_BACKENDS * N_ROWS(lock_rows));
	tcase_add_loop_test(tc, closes_the_runs_of_the_dead, 0, N_BACKENDS);
	tcase_add_loop_test(tc, says_why_a_run_is_lost, 0, N_BACKENDS);
	tcase_add_loop_test(tc, survives_the_failure_of_each_call, 0, N_BACKENDS);
	suite_add_tcase(s, tc);
	return s;
}
