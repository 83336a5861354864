/*
 * What only Postgres does (mer/dal.h): round trips, connections that are lost, locks of the server's,
 * scripts in one message, passwords. Against a real server, at a TCP port that asks for a password,
 * mostly through a proxy.
 */
#include "dal_fixture.h"

#include "internal.h"
#include "pg_proxy.h"

#include <fcntl.h>
#include <mer/text.h>
#include <pthread.h>

#define MODEL_UID "01980000-0000-7000-8000-0000000000e1"
#define OTHER_UID "01980000-0000-7000-8000-0000000000e2"

static char direct[512], url[512]; /* past the proxy, and through it */
static struct mer_dal *watcher;    /* a connection past the proxy */

static bool begin_bare(void)
{
	const char *why_not = why_not_postgres();
	if (why_not != NULL) {
		(void)fprintf(stderr, "postgres is not tested: %s\n", why_not);
		return false;
	}
	fresh_postgres(direct, sizeof direct);
	char *host = strstr(direct, "@127.0.0.1:");
	ck_assert_msg(host != NULL, "MER_TEST_POSTGRES must name a port");
	char *port = host + strlen("@127.0.0.1:"), *rest;
	int ours = proxy_start((int)strtol(port, &rest, 10));
	(void)snprintf(url, sizeof url, "%.*s%d%s&sslmode=disable&gssencmode=disable",
	               (int)(port - direct), direct, ours, rest);
	return true;
}

/* A migrated schema of its own. */
static bool begin_test(void)
{
	if (!begin_bare())
		return false;
	migrate(direct, 0);
	watcher = must_open(direct);
	return true;
}

static void end_test(struct mer_dal *dal)
{
	mer_dal_close(dal);
	mer_dal_close(watcher);
	proxy_stop();
}

static int64_t models(struct mer_dal *dal, const char *name)
{
	return count_rows(dal, MER_Q_MODEL_BY_NAME, MER_ARGS(mer_text(name)));
}

static int64_t ledger_rows(struct mer_dal *dal)
{
	return count_rows(dal, MER_Q_LEDGER, MER_ARGS(mer_i64(0), mer_i64(INT64_MAX)));
}

/* Whether a condition holds, past all that the layer offers: a script fails where it does not. */
static bool holds(struct mer_dal *dal, const char *condition)
{
	MER_AUTO(mer_text_done)
	char *sql = mer_text_new("DO $$BEGIN IF NOT (%s) THEN RAISE 'no'; END IF; END$$", condition);
	enum mer_status st = mer_dal_script(dal, sql, strlen(sql), NULL, &err);
	ck_assert_msg(st == MER_OK || strncmp(err.message, "no ", 3) == 0, "%s: %s", condition,
	              err.message);
	return st == MER_OK;
}

/* Runs a statement outside a transaction. */
static void do_text(struct mer_dal *dal, const char *sql)
{
	MUST(mer_dal_script(dal, sql, strlen(sql), NULL, &err));
}

/* Ends the server's process of the connection that holds an owner's lock, and waits until the lock
 * is gone. */
static void kill_holder(const char *owner)
{
	bool held = true;
	do_text(watcher, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
	                 "AND database = (SELECT oid FROM pg_database WHERE datname = "
	                 "current_database()) AND pid <> pg_backend_pid()");
	while (held)
		MUST(mer_dal_lock(watcher, mer_uid_key(owner), MER_LOCK_TEST, &held, &err));
}

static bool is_locked(const char *owner)
{
	bool held;
	MUST(mer_dal_lock(watcher, mer_uid_key(owner), MER_LOCK_TEST, &held, &err));
	return held;
}

/* Until the owner has noticed, which it cannot before the news has come. */
static void come_back(struct mer_dal *dal, const char *owner)
{
	do
		MUST(mer_dal_keep(dal, &err));
	while (!is_locked(owner));
}

static int64_t sweep(struct mer_dal *dal)
{
	int64_t lost = -1;
	MUST(mer_owners_sweep(dal, false, &lost, &err));
	return lost;
}

/* --- round trips -------------------------------------------------------------------------- */

static void record(struct mer_dal *dal, const char *owner, const char *run)
{
	MUST(mer_dal_begin(dal, &err));
	MUST(mer_owners_sweep(dal, true, NULL, &err));
	MUST(mer_owner_register(dal, owner, "here", 12, "check", &err));
	MUST(open_run(dal, run, owner, &err));
	MUST(mer_dal_end(dal, true, &err));
}

static void leave(struct mer_dal *dal, const char *owner, const char *run)
{
	MUST(mer_dal_begin(dal, &err));
	MUST(close_run(dal, run, &err));
	MUST(mer_dal_exec(dal, MER_Q_OWNER_DELETE, MER_ARGS(mer_text(owner)), NULL, &err));
	MUST(mer_dal_end(dal, true, &err));
}

START_TEST(waits_once_a_transaction)
{
	if (!begin_test())
		return;
	static struct mer_uid owner, run, many[1000];
	mer_uid_new(&owner);
	mer_uid_new(&run);
	struct mer_dal *dal = must_open(url);
	ck_assert_int_eq(proxy_waits(), 1); /* beyond the connection itself */

	record(dal, owner.text, run.text);
	ck_assert_int_eq(proxy_waits(), 1);
	MUST(mer_dal_keep(dal, &err));
	ck_assert_int_eq(proxy_waits(), 0);

	MUST(mer_dal_begin(dal, &err));
	for (int i = 0; i < 1000; i++) {
		mer_uid_new(&many[i]);
		MUST(open_run(dal, many[i].text, owner.text, &err));
	}
	MUST(mer_dal_end(dal, true, &err));
	ck_assert_int_eq(proxy_waits(), 1);
	ck_assert_int_eq(count_runs(dal, "queued"), 1001);
	ck_assert_int_eq(proxy_waits(), 1);

	MUST(mer_dal_begin(dal, &err));
	for (int i = 0; i < 1000; i++)
		MUST(close_run(dal, many[i].text, &err));
	ck_assert_int_eq(models(dal, "iris"), 1); /* takes along what waits */
	MUST(mer_dal_end(dal, true, &err));
	ck_assert_int_eq(proxy_waits(), 2);

	MUST(mer_dal_begin(dal, &err));
	MUST(mer_dal_end(dal, true, &err));
	MUST(mer_dal_begin(dal, &err));
	mer_dal_rollback(dal);
	ck_assert_int_eq(proxy_waits(), 0);

	leave(dal, owner.text, run.text);
	ck_assert_int_eq(proxy_waits(), 1);
	end_test(dal);
	ck_assert_int_eq(proxy_waits(), 0); /* a lock that nobody looks at is not given back */
}
END_TEST

/* --- errors of what waits ----------------------------------------------------------------- */

START_TEST(reports_a_queued_error_once)
{
	if (!begin_test())
		return;
	struct mer_dal *dal = must_open(url);
	/* At the end, */
	MUST(mer_dal_begin(dal, &err));
	MUST(add_model(dal, MODEL_UID, "a", &err));
	MUST(add_model(dal, OTHER_UID, "a", &err));
	MUST(add_model(dal, "bad", "b", &err));
	MUST_FAIL(MER_ECONFLICT, mer_dal_end(dal, true, &err));
	ck_assert_msg(strstr(err.message, "'models.name'") != NULL, "%s", err.message);
	ck_assert(!mer_dal_repeatable(dal));
	ck_assert_int_eq(models(dal, "a"), 0);

	/* or at the first question behind it, and then there is nothing left to commit. */
	int64_t n = 0;
	MUST(mer_dal_begin(dal, &err));
	MUST(add_model(dal, "bad", "a", &err));
	MUST_FAIL(MER_EINPUT, mer_dal_query(dal, MER_Q_MODELS, NULL, 0, count_row, &n, &err));
	ck_assert_msg(strstr(err.message, "models_uid") != NULL, "%s", err.message);
	ck_assert_int_eq(n, 0);
	MUST_FAIL(MER_EDATABASE, add_model(dal, MODEL_UID, "a", &err));
	MUST_FAIL(MER_EDATABASE, mer_dal_end(dal, true, &err));

	/* Rolled back, nobody asks what it was. */
	MUST(mer_dal_begin(dal, &err));
	MUST(add_model(dal, "bad", "a", &err));
	MUST(mer_dal_end(dal, false, &err));
	MUST(mer_dal_begin(dal, &err));
	MUST(add_model(dal, MODEL_UID, "a", &err));
	MUST(mer_dal_end(dal, true, &err));
	ck_assert_int_eq(models(watcher, "a"), 1);
	end_test(dal);
}
END_TEST

/* What is no UTF-8 is mended, since a model's last words may be anything; a NUL is refused. */
START_TEST(stores_text_as_utf8)
{
	if (!begin_test())
		return;
	struct mer_dal *dal = must_open(url);
	MUST(add_model(dal, MODEL_UID, "a", &err));
	const struct mer_value nul = { .type = MER_VALUE_TEXT, .text = { "x\0y", 3 } };
	const struct mer_value view = { .type = MER_VALUE_TEXT,
		                            .text = { "\xc3\xa9\xff\xf0\x9f\x99\x82\xc3|", 8 } };
	MUST_FAIL(MER_EINPUT, mer_dal_exec(dal, MER_Q_MODEL_UPDATE, MER_ARGS(mer_text(MODEL_UID), nul),
	                                   NULL, &err));
	MUST(mer_dal_exec(dal, MER_Q_MODEL_UPDATE, MER_ARGS(mer_text(MODEL_UID), view), NULL, &err));
	ck_assert(holds(dal, "(SELECT summary FROM models WHERE name = 'a') = "
	                     "U&'\\00e9\\fffd\\+01f642\\fffd'"));
	end_test(dal);
}
END_TEST

START_TEST(sends_what_is_large)
{
	if (!begin_test())
		return;
	enum { LEN = 20000000 };
	struct mer_dal *dal = must_open(url);
	static char text[LEN + 1];
	memset(text, 'x', LEN);
	MUST(mer_dal_begin(dal, &err));
	MUST(add_model(dal, MODEL_UID, "a", &err));
	MUST(mer_dal_exec(dal, MER_Q_MODEL_UPDATE, MER_ARGS(mer_text(MODEL_UID), mer_text(text)), NULL,
	                  &err));
	MUST(mer_dal_end(dal, true, &err));
	ck_assert(holds(dal, "(SELECT length(summary) FROM models WHERE name = 'a') = 20000000"));
	end_test(dal);
}
END_TEST

/* --- connections that are lost ------------------------------------------------------------ */

START_TEST(comes_back_when_idle)
{
	if (!begin_test())
		return;
	struct mer_dal *dal = must_open(url);
	proxy_cut(true);
	ck_assert_int_eq(models(dal, "iris"), 1);
	proxy_cut(true);
	MUST(add_model(dal, MODEL_UID, "a", &err));
	proxy_cut(true);
	MUST(mer_dal_begin(dal, &err));
	MUST(add_model(dal, OTHER_UID, "b", &err));
	MUST(mer_dal_end(dal, true, &err));
	proxy_cut(true);
	proxy_refuse(5); /* it starts */
	ck_assert_int_eq(models(dal, "a") + models(dal, "b"), 2);
	/* A reader does not notice a loss in the middle either. */
	proxy_next(PROXY_CUT_BEFORE);
	ck_assert_int_eq(models(dal, "a"), 1);
	proxy_next(PROXY_CUT_AFTER);
	ck_assert_int_eq(models(dal, "a"), 1);
	end_test(dal);
}
END_TEST

START_TEST(fails_clearly_within_a_transaction)
{
	if (!begin_test())
		return;
	struct mer_dal *dal = must_open(url);
	MUST(mer_dal_begin(dal, &err));
	MUST(add_model(dal, MODEL_UID, "a", &err));
	ck_assert_int_eq(models(dal, "a"), 1);
	proxy_cut(true);
	int64_t n = 0;
	MUST_FAIL(MER_EDATABASE, mer_dal_query(dal, MER_Q_MODELS, NULL, 0, count_row, &n, &err));
	ck_assert_msg(strstr(err.message, "the connection to the database") != NULL &&
	                  strstr(err.message, "was lost") != NULL,
	              "%s", err.message);
	ck_assert(mer_dal_repeatable(dal));
	MUST_FAIL(MER_EDATABASE, mer_dal_end(dal, true, &err));
	ck_assert(mer_dal_repeatable(dal));
	MUST(mer_dal_begin(dal, &err));
	MUST(add_model(dal, MODEL_UID, "a", &err));
	MUST(mer_dal_end(dal, true, &err));
	ck_assert_int_eq(models(watcher, "a"), 1);
	end_test(dal);
}
END_TEST

/* After a lost commit it is in the database or is not; the caller is told that nobody knows. */
START_TEST(does_not_guess_about_a_commit)
{
	if (!begin_test())
		return;
	const bool done = _i == 1;
	struct mer_dal *dal = must_open(url);
	MUST(mer_dal_begin(dal, &err));
	MUST(add_model(dal, MODEL_UID, "a", &err));
	proxy_next(done ? PROXY_CUT_AFTER : PROXY_CUT_BEFORE);
	MUST_FAIL(MER_EDATABASE, mer_dal_end(dal, true, &err));
	ck_assert(mer_dal_repeatable(dal));
	ck_assert_int_eq(models(dal, "a"), done);
	/* A single statement that writes is not sent twice. */
	proxy_next(done ? PROXY_CUT_AFTER : PROXY_CUT_BEFORE);
	MUST_FAIL(MER_EDATABASE, add_model(dal, OTHER_UID, "b", &err));
	ck_assert(mer_dal_repeatable(dal));
	ck_assert_int_eq(models(dal, "b"), done);
	end_test(dal);
}
END_TEST

/* --- owners ------------------------------------------------------------------------------- */

START_TEST(takes_its_locks_again)
{
	if (!begin_test())
		return;
	struct mer_uid owner;
	mer_uid_new(&owner);
	struct mer_dal *dal = must_open(url);
	own_runs(dal, owner.text, 2);
	kill_holder(owner.text);
	come_back(dal, owner.text);
	ck_assert_int_eq(sweep(watcher), 0);

	/* The server does not notice that the other end is gone, and keeps the lock for nobody. */
	proxy_cut(false);
	MUST(mer_dal_keep(dal, &err));
	ck_assert_int_eq(sweep(watcher), 0);
	ck_assert(holds(watcher, "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND "
	                         "database = (SELECT oid FROM pg_database WHERE datname = "
	                         "current_database()) AND granted) = 1"));
	end_test(dal);
}
END_TEST

/* Who was swept while its connection was lost has the last word on its runs, and is found again. */
START_TEST(outlives_a_sweep)
{
	if (!begin_test())
		return;
	struct mer_uid owner, run;
	mer_uid_new(&owner);
	mer_uid_new(&run);
	struct mer_dal *dal = must_open(url);
	record(dal, owner.text, run.text);
	kill_holder(owner.text);
	ck_assert_int_eq(sweep(watcher), 1);
	ck_assert_int_eq(count_rows(watcher, MER_Q_OWNERS, NULL, 0), 0);

	come_back(dal, owner.text);
	MUST(mer_dal_begin(dal, &err));
	MUST(close_run(dal, run.text, &err));
	MUST(mer_dal_end(dal, true, &err));
	ck_assert_int_eq(count_runs(watcher, "ok"), 1);
	ck_assert_int_eq(count_rows(watcher, MER_Q_OWNERS, NULL, 0), 1);
	ck_assert(is_locked(owner.text));
	ck_assert_int_eq(sweep(watcher), 0);
	end_test(dal);
}
END_TEST

/* A server that has just started has nobody of before taken for dead, unless it is up so long that
 * the living have come back. */
START_TEST(gives_the_living_time)
{
	if (!begin_test())
		return;
	struct mer_uid old, young;
	mer_uid_new(&old);
	mer_uid_new(&young);
	struct mer_dal *dal = must_open(url);
	own_runs(dal, old.text, 1);
	do_text(watcher, "UPDATE owners SET started_at = '2020-01-01T00:00:00.000Z'");
	mer_dal_close(dal);
	dal = must_open(url);
	own_runs(dal, young.text, 2);
	mer_dal_close(dal);
	bool early = holds(watcher, "now() - pg_postmaster_start_time() < interval '55 s'");
	int64_t lost = sweep(watcher);
	if (early)
		ck_assert_int_eq(lost, 2);
	else
		ck_assert_int_ge(lost, 2);
	end_test(NULL);
}
END_TEST

START_TEST(keeps_to_its_own_locks)
{
	if (!begin_test())
		return;
	struct mer_dal *dal = must_open(url);
	bool yes;
	/* Locks as other programs number theirs. */
	do_text(watcher, "SELECT pg_advisory_lock(0), pg_advisory_lock(1), pg_advisory_lock(0, 0), "
	                 "pg_advisory_lock(1298485805, 1819239275)");
	MUST(mer_dal_lock(dal, MER_LOCK_MIGRATE, MER_LOCK_TEST, &yes, &err));
	ck_assert(!yes);
	MUST(mer_dal_lock(dal, MER_LOCK_MIGRATE, MER_LOCK_TAKE, &yes, &err));
	ck_assert(yes);
	MUST(mer_dal_lock(dal, 1, MER_LOCK_TAKE, &yes, &err));
	ck_assert(yes);
	end_test(dal);
}
END_TEST

/* The one that migrates does not go on as if nothing had happened. */
START_TEST(stays_lost_with_the_lock_of_migrations)
{
	if (!begin_test())
		return;
	struct mer_dal *dal;
	bool yes;
	MUST(mer_dal_open(url, MER_DAL_ANY_SCHEMA, &dal, &err));
	MUST(mer_dal_lock(dal, MER_LOCK_MIGRATE, MER_LOCK_TAKE, &yes, &err));
	ck_assert(yes);
	proxy_cut(true);
	for (int i = 0; i < 2; i++) {
		MUST_FAIL(MER_EDATABASE, mer_dal_begin(dal, &err));
		ck_assert_msg(strstr(err.message, "lock") != NULL, "%s", err.message);
	}
	end_test(dal);
}
END_TEST

START_TEST(notices_a_pooler)
{
	if (!begin_test())
		return;
	proxy_pool();
	struct mer_dal *dal;
	bool yes;
	MUST(mer_dal_open(url, MER_DAL_ANY_SCHEMA, &dal, &err));
	MUST_FAIL(MER_EDATABASE, mer_dal_lock(dal, MER_LOCK_MIGRATE, MER_LOCK_TAKE, &yes, &err));
	ck_assert_msg(strstr(err.message, "pooler") != NULL, "%s", err.message);
	end_test(dal);
}
END_TEST

/* --- scripts ------------------------------------------------------------------------------ */

static struct mer_dal *begin_scripts(void)
{
	struct mer_dal *dal;
	MUST(mer_dal_open(url, MER_DAL_ANY_SCHEMA, &dal, &err));
	(void)proxy_waits();
	return dal;
}

static struct mer_script_result result;

static enum mer_status apply(struct mer_dal *dal, int64_t num, const char *sql)
{
	const struct mer_script script = { .sql = sql,
		                               .len = strlen(sql),
		                               .num = num,
		                               .name = "it's $mer0$ \"one\"",
		                               .sha256 = "0a",
		                               .canonical_sha256 = "0b",
		                               .applied_by = "ann@here",
		                               .tool_version = "0.1.0",
		                               .make_ledger = true };
	err = (struct mer_error){ 0 };
	return mer_dal_apply(dal, &script, &result, &err);
}

START_TEST(applies_a_script_in_one_message)
{
	if (!begin_bare())
		return;
	struct mer_dal *dal = begin_scripts();
	MUST(apply(dal, 1000, "CREATE TABLE t (a int); SELECT pg_sleep(0.02); SELECT 1, 2, 3"));
	ck_assert_int_eq(proxy_waits(), 1);
	ck_assert_int_ge(result.duration_ms, 20);
	ck_assert_int_eq(result.place.line, 0);
	ck_assert(holds(dal, "(SELECT duration_ms >= 20 AND name = 'it''s $mer0$ \"one\"' AND "
	                     "state = 'applied' AND applied_by = 'ann@here' FROM migrations)"));
	MUST_FAIL(MER_ECONFLICT, apply(dal, 1000, "CREATE TABLE u (a int)"));
	ck_assert(holds(dal, "to_regclass('u') IS NULL"));
	ck_assert_int_eq(ledger_rows(dal), 1);
	end_test(dal);
}
END_TEST

static const struct {
	const char *sql;
	int64_t line, column;
	const char *message; /* a part; it ends the message where it begins with '.' */
} bad_script_rows[] = {
	{ "CREATE TABLE t (a int);\n  CREATE TABLEX u ();", 2, 10, "\"TABLEX\"" },
	{ "CREATE TABLE t (a int);\r\n\tSELECT '\xc3\xa9\xe2\x82\xac', nope;", 2, 18, "\"nope\"" },
	{ "SELECT 1;\nSELECT 'open", 2, 8, ".at or near \"'open\" (SQLSTATE 42601)" },
	{ "SELECT 1;\nSELECT \"open", 2, 8, ".at or near \"\"open\" (SQLSTATE 42601)" },
	{ "SELECT 1;\nSELECT $a$ open $$ ", 2, 8, "unterminated dollar-quoted string" },
	{ "SELECT 1;\n/* /* */ open", 2, 1, "unterminated /* comment" },
	{ "SELECT (1", 1, 10, "syntax error" },
	{ "SELECT 1 -- (", 0, 0, NULL },
	{ "CREATE TABLE t (a int); COMMIT; CREATE TABLE u (a int)", 0, 0, "ended its transaction" },
	{ "CREATE TABLE t (a int); ROLLBACK", 0, 0, "ended its transaction" },
	{ "COMMIT AND CHAIN", 0, 0, "ended its transaction" },
	{ "COMMIT; BEGIN", 0, 0, "ended its transaction" },
	{ "END", 0, 0, "ended its transaction" },
	{ "/**/aBort", 0, 0, "ended its transaction" },
	{ "rollback;RESET ALL;BEGIN", 0, 0, "ended its transaction" },
	{ "PREPARE TRANSACTION 'a'", 0, 0, "prepared transactions are disabled" },
	{ "SELECT 1;\nSELECT 'left open by COMMIT", 2, 8,
	  ".at or near \"'left open by COMMIT\" (SQLSTATE 42601)" },
	{ "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$BEGIN EXECUTE 'com' || 'mit'; END$$; CALL p()", 0,
	  0, "EXECUTE of transaction commands is not implemented" },
	{ "CREATE TABLE t (a int); COPY t FROM STDIN;", 0, 0, "COPY" },
	{ "COPY (SELECT 1) TO STDOUT;", 0, 0, NULL },
	{ "CREATE TABLE migrations (num int)", 0, 0, "already exists" },
	{ "CREATE TABLE t (a int UNIQUE); INSERT INTO t VALUES (1), (1)", 0, 0,
	  "Key (a)=(1) already exists" },
	{ "DO $$BEGIN RAISE EXCEPTION 'too bad' USING HINT = 'a hint'; END$$", 0, 0, "too bad" },
	{ "SELECT 1/0", 0, 0, "division by zero (SQLSTATE 22012)" },
	{ "SET statement_timeout = 20; SELECT pg_sleep(60)", 0, 0, "statement timeout" },
};

START_TEST(says_where_a_script_fails)
{
	if (!begin_bare())
		return;
	struct mer_dal *dal = begin_scripts();
	const char *sql = bad_script_rows[_i].sql, *part = bad_script_rows[_i].message;
	MUST(apply(dal, 1, "SELECT 1"));
	enum mer_status st = apply(dal, 1000, sql);
	if (part == NULL) {
		ck_assert_msg(st == MER_OK, "[%s]: %s", sql, err.message);
	} else {
		const char *want = *part == '.' ? part + 1 : part;
		const char *at = strstr(err.message, want);
		ck_assert_msg(st == MER_EINPUT && err.status == st, "[%s]: %s", sql, mer_status_name(st));
		ck_assert_msg(at != NULL && (*part != '.' || at[strlen(want)] == '\0'), "[%s]: %s", sql,
		              err.message);
		ck_assert_msg(result.place.line == bad_script_rows[_i].line &&
		                  result.place.column == bad_script_rows[_i].column,
		              "[%s]: %" PRId64 ":%" PRId64 ": %s", sql, result.place.line,
		              result.place.column, err.message);
	}
	/* The row is there with the script or not at all, and the connection goes on. */
	ck_assert_int_eq(ledger_rows(dal), part == NULL ? 2 : 1);
	MUST(apply(dal, 1001, "CREATE TABLE v (a int)"));
	end_test(dal);
}
END_TEST

/* What makes a transaction end is found by its words: a procedure has them elsewhere. */
START_TEST(no_procedure_ends_the_transaction)
{
	if (!begin_bare())
		return;
	struct mer_dal *dal = begin_scripts();
	MUST(apply(dal, 1, "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$BEGIN COMMIT; END$$"));
	MUST_FAIL(MER_EINPUT, apply(dal, 2, "CREATE TABLE t (a int); CALL p()"));
	ck_assert_msg(strstr(err.message, "invalid transaction termination") != NULL, "%s",
	              err.message);
	ck_assert(holds(dal, "to_regclass('t') IS NULL"));
	ck_assert_int_eq(ledger_rows(dal), 1);
	end_test(dal);
}
END_TEST

/* What each script begins with, whatever a session does and a script before has set. */
START_TEST(reads_what_is_committed)
{
	static const char asks[] =
		"SELECT 1 / (current_setting('transaction_isolation') = 'read committed')::int";
	if (!begin_bare())
		return;
	for (int i = 0; i < 2; i++) {
		struct mer_dal *dal = begin_scripts();
		MUST(apply(dal, 10 * i + 1, asks));
		MUST(apply(dal, 10 * i + 2,
		           "SELECT set_config('default_transaction_isolation', 'serializable', false)"));
		MUST(apply(dal, 10 * i + 3, asks));
		mer_dal_close(dal);
		strcat(url, "&options=-c%20default_transaction_isolation%3Dserializable");
	}
	end_test(NULL);
}
END_TEST

/* What a script does to its session ends with it. */
static const char *const session_rows[] = {
	"SELECT pg_catalog.set_config('search_path', '', false)",
	"SET search_path = pg_catalog; SET statement_timeout = 1; SET lock_timeout = 1",
	"CREATE TEMPORARY TABLE migrations (num int)",
	"SET default_transaction_read_only = on",
	"SET standard_conforming_strings = off; SET DateStyle = 'German'; SET client_encoding = LATIN1",
	"SET ROLE pg_monitor",
	"DEALLOCATE ALL",
	"DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES",
	"SET LOCAL search_path = ''; SET CONSTRAINTS ALL DEFERRED; LISTEN x; RESET ALL",
	"SELECT set_config('role', 'none', false), set_config('search_path', 'nowhere', true)",
	"SAVEPOINT a; CREATE TABLE no (a int); ROLLBACK TO a",
};

START_TEST(starts_each_script_anew)
{
	if (!begin_bare())
		return;
	struct mer_dal *dal = begin_scripts();
	const char *sql = session_rows[_i];
	MUST(apply(dal, 1, "CREATE TABLE first (a int)"));
	MUST(mer_dal_begin(dal, &err));
	note_script(dal, 2, "x"); /* by a statement that is prepared */
	MUST(mer_dal_end(dal, true, &err));
	enum mer_status st = apply(dal, 3, sql);
	if (st != MER_OK && strstr(err.message, "permission denied to set role") != NULL)
		MUST(apply(dal, 3, "SELECT 1"));
	else
		ck_assert_msg(st == MER_OK, "[%s]: %s", sql, err.message);
	MUST(apply(dal, 4, "CREATE TABLE second AS SELECT * FROM first"));
	MUST(mer_dal_begin(dal, &err));
	run_text(dal, sql[4] == 'R' ? "SELECT 1" : sql);
	note_script(dal, 5, "x");
	MUST(mer_dal_end(dal, true, &err));
	ck_assert_int_eq(ledger_rows(dal), 5);
	ck_assert(holds(dal, "to_regclass('second') IS NOT NULL AND current_user = session_user AND "
	                     "current_setting('statement_timeout') = '0'"));
	end_test(dal);
}
END_TEST

START_TEST(runs_what_must_be_outside)
{
	if (!begin_bare())
		return;
	struct mer_dal *dal = begin_scripts();
	MUST(apply(dal, 1, "CREATE TABLE t (a int)"));
	do_text(dal, "CREATE INDEX CONCURRENTLY t_a ON t (a)");
	do_text(dal, "VACUUM t");
	do_text(dal, "SET search_path = ''");
	ck_assert(
		holds(dal, "(SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('t_a'))"));
	MUST(mer_dal_begin(dal, &err));
	MUST_FAIL(MER_EINPUT, mer_dal_script(dal, "VACUUM t", 8, NULL, &err));
	mer_dal_rollback(dal);
	end_test(dal);
}
END_TEST

/* --- being stopped ------------------------------------------------------------------------ */

static void *cancel_when_busy(void *dal)
{
	while (!holds(watcher, "EXISTS (SELECT FROM pg_stat_activity WHERE state = 'active' AND "
	                       "query LIKE '%pg_sleep(61)%' AND pid <> pg_backend_pid())"))
		;
	mer_dal_cancel(dal);
	return NULL;
}

START_TEST(cancels_a_script)
{
	if (!begin_test())
		return;
	struct mer_dal *dal = begin_scripts();
	const int64_t scripts = ledger_rows(dal);
	pthread_t thread;
	ck_assert_int_eq(pthread_create(&thread, NULL, cancel_when_busy, dal), 0);
	struct mer_error own;
	const struct mer_script script = { .sql = "SELECT pg_sleep(61)",
		                               .len = 19,
		                               .num = 1000,
		                               .name = "x",
		                               .sha256 = "0a",
		                               .canonical_sha256 = "0b",
		                               .applied_by = "c",
		                               .tool_version = "d" };
	enum mer_status st = mer_dal_apply(dal, &script, &result, &own);
	(void)pthread_join(thread, NULL);
	ck_assert_msg(st == MER_ECANCELED, "%s", own.message);
	ck_assert_int_eq(ledger_rows(dal), scripts);
	MUST(apply(dal, 1000, "SELECT 1"));
	end_test(dal);
}
END_TEST

static const struct {
	const char *options, *meanwhile;
	enum mer_status want;
	const char *message;
} limit_rows[] = {
	{ "-clock_timeout%3D20", "LOCK TABLE models", MER_EDATABASE, "in use by another program" },
	{ "-cstatement_timeout%3D20", "LOCK TABLE models", MER_EDATABASE, "took too long" },
	{ "-cdefault_transaction_read_only%3Don", "SELECT 1", MER_EDATABASE, "is read-only" },
};

START_TEST(does_not_wait_for_ever)
{
	if (!begin_test())
		return;
	char limited[700];
	char *options = strstr(url, "options=") + strlen("options=");
	(void)snprintf(limited, sizeof limited, "%.*s%s%%20%s", (int)(options - url), url,
	               limit_rows[_i].options, options);
	struct mer_dal *dal = must_open(limited);
	MUST(mer_dal_begin(watcher, &err));
	run_text(watcher, limit_rows[_i].meanwhile);
	MUST_FAIL(limit_rows[_i].want, add_model(dal, MODEL_UID, "a", &err));
	ck_assert_msg(strstr(err.message, limit_rows[_i].message) != NULL, "%s", err.message);
	ck_assert_str_ne(err.hint, "");
	mer_dal_rollback(watcher);
	int64_t lost = -1;
	MUST(mer_owners_sweep(dal, false, &lost, &err)); /* reads only, or has nothing to do */
	ck_assert_int_eq(lost, 0);
	end_test(dal);
}
END_TEST

START_TEST(says_which_right_is_missing)
{
	if (!begin_test())
		return;
	do_text(watcher, "REVOKE INSERT ON models FROM CURRENT_USER");
	struct mer_dal *dal = must_open(url);
	MUST_FAIL(MER_EDATABASE, add_model(dal, MODEL_UID, "a", &err));
	ck_assert_msg(strstr(err.message, "role 'mer'") != NULL &&
	                  strstr(err.message, "models") != NULL,
	              "%s", err.message);
	ck_assert_msg(strstr(err.hint, "GRANT") != NULL, "%s", err.hint);
	end_test(dal);
}
END_TEST

/* --- URLs and passwords ------------------------------------------------------------------- */

#define SECRET "s3cret"
static const struct {
	const char *url;
	enum mer_status want;
	const char *message; /* a part */
} url_rows[] = {
	{ "postgres://mer:" SECRET "@127.0.0.1:1/d", MER_EDATABASE, "postgres://mer@127.0.0.1:1/d'" },
	{ "postgresql://mer:" SECRET "@127.0.0.1:1/d", MER_EDATABASE, "Connection refused" },
	{ "postgres://mer@127.0.0.1:1/d?password=" SECRET "&connect_timeout=3", MER_EDATABASE,
	  "postgres://mer@127.0.0.1:1/d'" },
	{ "postgres://mer@127.0.0.1:1/d?connect_timeout=3&p%61ssword=" SECRET, MER_EDATABASE,
	  "refused" },
	{ "postgres://mer@127.0.0.1:1/d?sslpassword=" SECRET "&sslmode=disable", MER_EDATABASE,
	  "refused" },
	{ "postgres://mer:" SECRET "/x@127.0.0.1:1/d", MER_EINPUT, "port is no number" },
	{ "postgres://mer:12/" SECRET "@127.0.0.1:1/d", MER_EINPUT, "'@'" },
	{ "postgres://mer:" SECRET "%zz@127.0.0.1:1/d", MER_EINPUT, "percent-encoded" },
	{ "postgres://mer:" SECRET "@@127.0.0.1:1/d", MER_EINPUT, "" },
	{ "postgres://mer:" SECRET "@[127.0.0.1:1/d", MER_EINPUT, "" },
	{ "postgres://mer:" SECRET "?b@127.0.0.1:1/d", MER_EDATABASE, "postgres://mer@127.0.0.1:1/d'" },
	{ "postgres://mer:a#" SECRET "@127.0.0.1:1/d", MER_EDATABASE, "" },
	{ "postgres:mer:" SECRET "@127.0.0.1:1/d", MER_EINPUT, "'//'" },
	{ "postgres://127.0.0.1:1/d?nonsense=" SECRET, MER_EINPUT, "invalid URI query parameter" },
	{ "postgres://127.0.0.1:1/d?sslmode=nonsense", MER_EDATABASE, "sslmode" },
};

START_TEST(never_shows_a_password)
{
	struct mer_dal *dal = NULL;
	MUST_FAIL(url_rows[_i].want, mer_dal_open(url_rows[_i].url, 0, &dal, &err));
	ck_assert_ptr_null(dal);
	ck_assert_msg(strstr(err.message, SECRET) == NULL && strstr(err.hint, SECRET) == NULL,
	              "row %d: %s %s", _i, err.message, err.hint);
	ck_assert_msg(strstr(err.message, url_rows[_i].message) != NULL, "row %d: %s", _i, err.message);
	ck_assert_str_ne(err.hint, "");
}
END_TEST

/* The right password comes from where it is said to be; the URL's own wins. */
START_TEST(finds_its_password)
{
	if (!begin_test())
		return;
	struct mer_dal *dal;
	char *user = strstr(direct, "//mer:"), *at = strchr(direct, '@');
	char secret[] = "mer's secret", without[512], wrong[512];
	(void)snprintf(without, sizeof without, "%.*s%s", (int)(user + 5 - direct), direct, at);
	(void)snprintf(wrong, sizeof wrong, "%.*s:" SECRET "%s", (int)(user + 5 - direct), direct, at);
	ck_assert_int_eq(unsetenv("PGPASSWORD"), 0);
	ck_assert_int_eq(setenv("PGPASSFILE", "/nowhere", 1), 0);
	MUST_FAIL(MER_EDATABASE, mer_dal_open(without, 0, &dal, &err));
	ck_assert_msg(strstr(err.hint, "MER_DATABASE_PASSWORD") != NULL, "%s", err.hint);
	MUST_FAIL(MER_EDATABASE, mer_dal_open(wrong, 0, &dal, &err));
	ck_assert_msg(strstr(err.message, "password authentication failed") != NULL &&
	                  strstr(err.message, SECRET) == NULL,
	              "%s", err.message);

	ck_assert_int_eq(setenv("PGPASSWORD", secret, 1), 0);
	mer_dal_close(must_open(without));
	ck_assert_int_eq(setenv("PGPASSWORD", SECRET, 1), 0);
	ck_assert_int_eq(setenv("MER_DATABASE_PASSWORD", "env:CHECK_PASSWORD", 1), 0);
	ck_assert_int_eq(setenv("CHECK_PASSWORD", secret, 1), 0);
	mer_dal_close(must_open(without));
	ck_assert_int_eq(setenv("CHECK_PASSWORD", SECRET, 1), 0);
	mer_dal_close(must_open(direct));
	MUST_FAIL(MER_EDATABASE, mer_dal_open(without, 0, &dal, &err));
	ck_assert_ptr_null(strstr(err.message, SECRET));

	ck_assert_int_eq(setenv("MER_DATABASE_PASSWORD", SECRET, 1), 0);
	MUST_FAIL(MER_EINPUT, mer_dal_open(without, 0, &dal, &err));
	ck_assert_ptr_null(strstr(err.message, SECRET));
	ck_assert_int_eq(setenv("MER_DATABASE_PASSWORD", "file:/nowhere", 1), 0);
	MUST_FAIL(MER_EINPUT, mer_dal_open(without, 0, &dal, &err));
	ck_assert_msg(strstr(err.message, "/nowhere") != NULL, "%s", err.message);
	end_test(NULL);
}
END_TEST

START_TEST(tells_the_server_its_name)
{
	if (!begin_test())
		return;
	struct mer_dal *dal = must_open(url), *migrates;
	MUST(mer_dal_open(url, MER_DAL_ANY_SCHEMA, &migrates, &err));
	ck_assert(holds(watcher, "(SELECT array_agg(DISTINCT application_name ORDER BY "
	                         "application_name) FROM pg_stat_activity WHERE datname = "
	                         "current_database()) = ARRAY['mer', 'mer-migrate']"));
	mer_dal_close(migrates);
	end_test(dal);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("dal-postgres");
	TCase *tc = tcase_create("postgres");
	tcase_add_checked_fixture(tc, setup_folder, teardown_folder);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, waits_once_a_transaction);
	tcase_add_test(tc, reports_a_queued_error_once);
	tcase_add_test(tc, stores_text_as_utf8);
	tcase_add_test(tc, sends_what_is_large);
	tcase_add_test(tc, comes_back_when_idle);
	tcase_add_test(tc, fails_clearly_within_a_transaction);
	tcase_add_loop_test(tc, does_not_guess_about_a_commit, 0, 2);
	tcase_add_test(tc, takes_its_locks_again);
	tcase_add_test(tc, outlives_a_sweep);
	tcase_add_test(tc, gives_the_living_time);
	tcase_add_test(tc, keeps_to_its_own_locks);
	tcase_add_test(tc, stays_lost_with_the_lock_of_migrations);
	tcase_add_test(tc, notices_a_pooler);
	tcase_add_test(tc, applies_a_script_in_one_message);
	tcase_add_loop_test(tc, says_where_a_script_fails, 0, N_ROWS(bad_script_rows));
	tcase_add_test(tc, no_procedure_ends_the_transaction);
	tcase_add_test(tc, reads_what_is_committed);
	tcase_add_loop_test(tc, starts_each_script_anew, 0, N_ROWS(session_rows));
	tcase_add_test(tc, runs_what_must_be_outside);
	tcase_add_test(tc, cancels_a_script);
	tcase_add_loop_test(tc, does_not_wait_for_ever, 0, N_ROWS(limit_rows));
	tcase_add_test(tc, says_which_right_is_missing);
	tcase_add_loop_test(tc, never_shows_a_password, 0, N_ROWS(url_rows));
	tcase_add_test(tc, finds_its_password);
	tcase_add_test(tc, tells_the_server_its_name);
	suite_add_tcase(s, tc);
	return s;
}
