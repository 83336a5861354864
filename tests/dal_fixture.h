/* What the suites of the data access layer share: a temporary folder, and MER's scripts run into a
 * database. MER_SQL is the folder of scripts, a folder a dialect. */
#ifndef DAL_FIXTURE_H
#define DAL_FIXTURE_H

#include "check_main.h"

#include <dirent.h>
#include <ftw.h>
#include <inttypes.h>
#include <mer/clean.h>
#include <mer/dal.h>
#include <mer/file.h>
#include <mer/text.h>
#include <mer/uid.h>
#include <string.h>
#include <sys/stat.h>

#define EXAMPLES 5 /* models that the scripts make, with a deployment each */

static char folder[64];
static struct mer_error err; /* each test is a process of its own */

static inline void report(const char *file, int line, const char *call, enum mer_status st)
{
	if (st != MER_OK)
		ck_abort_msg("%s:%d: %s: %s: %s", file, line, call, mer_status_name(st), err.message);
}
#define MUST(call) report(__FILE__, __LINE__, #call, call)

/* A call fails with that status and says what is wrong. */
#define MUST_FAIL(want, call) \
	do { \
		err.message[0] = '\0'; \
		enum mer_status got_ = call; \
		ck_assert_msg(got_ == (want), "%s: %s: %s", #call, mer_status_name(got_), err.message); \
		ck_assert_msg(err.status == (want) && err.message[0] != '\0', "%s says nothing", #call); \
	} while (0)

static inline void setup_folder(void)
{
	(void)snprintf(folder, sizeof folder, "/tmp/mer-dal-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

static inline int remove_one(const char *path, const struct stat *info, int type, struct FTW *at)
{
	(void)info, (void)type, (void)at;
	return remove(path);
}

static inline int open_up(const char *path, const struct stat *info, int type, struct FTW *at)
{
	(void)info, (void)at;
	return type == FTW_D || type == FTW_DNR ? chmod(path, 0700) : 0;
}

static inline void teardown_folder(void)
{
	(void)nftw(folder, open_up, 16, FTW_PHYS);
	(void)nftw(folder, remove_one, 16, FTW_PHYS | FTW_DEPTH);
}

/* --- scripts ------------------------------------------------------------------------------ */

static inline char *sql_folder(const char *dialect)
{
	const char *sql = getenv("MER_SQL");
	ck_assert_msg(sql != NULL, "MER_SQL must name the folder of scripts");
	return mer_text_new("%s/%s", sql, dialect);
}

static inline int is_script(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');
	return dot != NULL && strcmp(dot, ".sql") == 0;
}

static inline int64_t script_num(const char *name)
{
	return strtoll(name, NULL, 10);
}

static inline int by_num(const struct dirent **a, const struct dirent **b)
{
	int64_t x = script_num((*a)->d_name), y = script_num((*b)->d_name);
	return (x > y) - (x < y);
}

static inline void run_script_file(struct mer_dal *dal, const char *path)
{
	MER_AUTO(mer_text_done) char *sql = NULL;
	size_t len;
	MUST(mer_read_file(path, 1 << 20, &sql, &len, &err));
	struct mer_script_place place = { 0 };
	enum mer_status st = mer_dal_script(dal, sql, len, &place, &err);
	ck_assert_msg(st == MER_OK, "%s:%" PRId64 ":%" PRId64 ": %s", path, place.line, place.column,
	              err.message);
}

/* Writes into the ledger that a script has run. */
static inline void note_script(struct mer_dal *dal, int64_t num, const char *name)
{
	MUST(mer_dal_exec(dal, MER_Q_LEDGER_INSERT,
	                  MER_ARGS(mer_i64(num), mer_text(name), mer_text("a"), mer_text("b"),
	                           mer_i64(3), mer_text("check"), mer_text("0.1.0")),
	                  NULL, &err));
}

/* Makes the database and runs the scripts up to a number, all with 0. */
static inline void migrate(const char *url, int64_t to)
{
	struct mer_dal *dal;
	MUST(mer_dal_open(url, MER_DAL_CREATE | MER_DAL_ANY_SCHEMA, &dal, &err));
	MER_AUTO(mer_text_done) char *dir = sql_folder(mer_dal_dialect(dal));
	struct dirent **files;
	int n = scandir(dir, &files, is_script, by_num);
	ck_assert_msg(n > 0, "no scripts in '%s'", dir);
	MUST(mer_dal_begin(dal, &err));
	MUST(mer_dal_exec(dal, MER_Q_LEDGER_CREATE, NULL, 0, NULL, &err));
	for (int i = 0; i < n; i++) {
		int64_t num = script_num(files[i]->d_name);
		if (to == 0 || num <= to) {
			MER_AUTO(mer_text_done) char *path = mer_text_new("%s/%s", dir, files[i]->d_name);
			run_script_file(dal, path);
			note_script(dal, num, files[i]->d_name);
		}
		free(files[i]);
	}
	free(files);
	MUST(mer_dal_end(dal, true, &err));
	mer_dal_close(dal);
}

/* The URL of a schema of its own in the database that MER_TEST_POSTGRES names: as good as a database,
 * and made in no time. */
static inline void fresh_postgres(char *url, size_t size)
{
	static int n;
	const char *base = getenv("MER_TEST_POSTGRES");
	MER_AUTO(mer_text_done) char *sql = mer_text_new("CREATE SCHEMA t%d_%d", (int)getpid(), ++n);
	struct mer_dal *dal;
	MUST(mer_dal_open(base, MER_DAL_ANY_SCHEMA, &dal, &err));
	MUST(mer_dal_script(dal, sql, strlen(sql), NULL, &err));
	mer_dal_close(dal);
	int len = snprintf(url, size, "%s%coptions=-csearch_path%%3Dt%d_%d", base,
	                   strchr(base, '?') != NULL ? '&' : '?', (int)getpid(), n);
	ck_assert_int_lt(len, (int)size);
}

/* Why Postgres cannot be tested here; NULL: it can. */
static inline const char *why_not_postgres(void)
{
	return getenv("MER_TEST_POSTGRES") != NULL ? NULL : "MER_TEST_POSTGRES names no database";
}

static inline struct mer_dal *must_open(const char *url)
{
	struct mer_dal *dal;
	MUST(mer_dal_open(url, 0, &dal, &err));
	return dal;
}

static inline void run_text(struct mer_dal *dal, const char *sql)
{
	MUST(mer_dal_script(dal, sql, strlen(sql), NULL, &err));
}

/* --- rows --------------------------------------------------------------------------------- */

static inline enum mer_status count_row(void *ctx, const void *row, struct mer_error *e)
{
	(void)row, (void)e;
	++*(int64_t *)ctx;
	return MER_OK;
}

/* How many rows a query gives. */
static inline int64_t count_rows(struct mer_dal *dal, enum mer_query query,
                                 const struct mer_value args[], size_t n_args)
{
	int64_t n = 0;
	MUST(mer_dal_query(dal, query, args, n_args, count_row, &n, &err));
	return n;
}

static inline int64_t count_runs(struct mer_dal *dal, const char *status)
{
	return count_rows(
		dal, MER_Q_RUNS,
		MER_ARGS(mer_text(""), mer_text(status), mer_text(""), mer_i64(1000000), mer_text("")));
}

#define EXAMPLE_SERVER "01980000-0000-7000-8000-000000000001"
#define EXAMPLE_IRIS "01980000-0000-7000-8000-000000000011"

static inline enum mer_status add_model(struct mer_dal *dal, const char *uid, const char *name,
                                        struct mer_error *e)
{
	return mer_dal_exec(dal, MER_Q_MODEL_INSERT,
	                    MER_ARGS(mer_text(uid), mer_text(name), mer_text("a test's")), NULL, e);
}

static inline enum mer_status open_run(struct mer_dal *dal, const char *uid, const char *owner,
                                       struct mer_error *e)
{
	const struct mer_run_open run = { .request_uid = uid,
		                              .model = "iris",
		                              .deployment = EXAMPLE_IRIS,
		                              .server = "local",
		                              .weights = "1",
		                              .door = "batch",
		                              .who = "ann",
		                              .host = "here",
		                              .pid = 12,
		                              .status = "queued",
		                              .queued_at = "2026-01-31T12:00:00.000Z",
		                              .bytes_in = 5,
		                              .sha256_in = "",
		                              .owner = owner };
	struct mer_value args[MER_RUN_OPEN_ARGS];
	mer_run_open_args(&run, args);
	return mer_dal_exec(dal, MER_Q_RUN_INSERT, args, MER_RUN_OPEN_ARGS, NULL, e);
}

static inline enum mer_status close_run(struct mer_dal *dal, const char *uid, struct mer_error *e)
{
	const struct mer_run_close run = { .request_uid = uid,
		                               .status = "ok",
		                               .started_at = "2026-01-31T12:00:00.100Z",
		                               .stopped_at = "2026-01-31T12:00:00.200Z",
		                               .exit_code = 0,
		                               .attempts = 1,
		                               .bytes_out = 7 };
	struct mer_value args[MER_RUN_CLOSE_AT_ARGS];
	mer_run_close_args(&run, args);
	return mer_dal_exec(dal, MER_Q_RUN_CLOSE, args, MER_RUN_CLOSE_ARGS, NULL, e);
}

/* An owner in a transaction of its own, with so many open runs. */
static inline void own_runs(struct mer_dal *dal, const char *owner, int n_runs)
{
	MUST(mer_dal_begin(dal, &err));
	MUST(mer_owner_register(dal, owner, "here", 12, "check", &err));
	for (int i = 0; i < n_runs; i++) {
		struct mer_uid run;
		mer_uid_new(&run);
		MUST(open_run(dal, run.text, owner, &err));
	}
	MUST(mer_dal_end(dal, true, &err));
}

#endif
