/*
 * The front of the data access layer: picks the backend of a URL, checks the schema, and is what
 * each call goes through, so that asserts and traces stand here alone.
 */
#define LOG_AREA "dal"
#include "internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <mer/log.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- URLs --------------------------------------------------------------------------------- */

static const struct backend {
	const char *scheme;
	const char *dialect;
	const struct dal_ops *ops; /* NULL: what the module gives */
	const char *module;
} backends[] = {
	{ "sqlite", "sqlite", &dal_sqlite, NULL },
	{ "postgres", "postgres", NULL, DAL_MODULE_POSTGRES },
	{ "postgresql", "postgres", NULL, DAL_MODULE_POSTGRES },
};

/* The length of a URL's scheme; 0 where it has none and so is a path. One letter is none. Source:
 * RFC 3986, section 3.1. */
static size_t scheme_len(const char *url)
{
	if (!isalpha((unsigned char)url[0]))
		return 0;
	size_t n = 1;
	while (isalnum((unsigned char)url[n]) || (url[n] != '\0' && strchr("+-.", url[n]) != NULL))
		n++;
	return url[n] == ':' && n > 1 ? n : 0;
}

/* Gives the backend and what stands behind the scheme; NULL: of no kind that is known. */
static const struct backend *backend_of(const char *url, const char **rest)
{
	size_t n = scheme_len(url);
	if (n == 0) {
		*rest = url;
		return &backends[0];
	}
	for (size_t i = 0; i < DAL_COUNT(backends); i++) {
		if (strlen(backends[i].scheme) == n && strncmp(backends[i].scheme, url, n) == 0) {
			*rest = url + n + 1;
			return &backends[i];
		}
	}
	return NULL;
}

const char *mer_dal_dialect_of(const char *url)
{
	const char *rest;
	const struct backend *backend = backend_of(url, &rest);
	return backend == NULL ? NULL : backend->dialect;
}

/* --- opening ------------------------------------------------------------------------------ */

/* The URL as a word for a shell, for hints. */
static void quoted_url(struct mer_buf *buf, const char *url)
{
	size_t plain = strspn(url, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	                           "_-+.,:/@%");
	if (url[plain] == '\0') {
		mer_buf_text(buf, url);
		return;
	}
	mer_buf_byte(buf, '\'');
	for (; *url != '\0'; url++) {
		if (*url == '\'')
			mer_buf_text(buf, "'\\'");
		mer_buf_byte(buf, *url);
	}
	mer_buf_byte(buf, '\'');
}

void dal_hint_migrate(struct mer_error *err, const char *url)
{
	struct mer_buf word;
	mer_buf_init(&word, sizeof err->hint);
	quoted_url(&word, url);
	mer_hint(err, "mer-migrate up --database %s",
	         mer_buf_check(&word, NULL) == MER_OK ? word.ptr : "URL");
	mer_buf_release(&word);
}

enum mer_status mer_take_count(void *ctx, const void *row, struct mer_error *err)
{
	(void)err;
	*(int64_t *)ctx = ((const struct mer_count_row *)row)->count;
	return MER_OK;
}

/* The highest of MER's own scripts that has run; 0: none, or no ledger. */
static enum mer_status schema_num(struct mer_dal *dal, int64_t *num, struct mer_error *err)
{
	int64_t there = 0, max = 0;
	if (dal->knows_schema) {
		*num = dal->schema_num;
		return MER_OK;
	}
	enum mer_status st =
		mer_dal_query(dal, MER_Q_LEDGER_EXISTS, NULL, 0, mer_take_count, &there, err);
	if (st == MER_OK && there != 0)
		st = mer_dal_query(dal, MER_Q_LEDGER_MAX, NULL, 0, mer_take_count, &max, err);
	if (st == MER_OK)
		*num = max;
	return st;
}

static enum mer_status check_schema(struct mer_dal *dal, struct mer_error *err)
{
	int64_t num;
	enum mer_status st = schema_num(dal, &num, err);
	if (st != MER_OK || num == MER_SCHEMA_NUM)
		return st;
	if (num > MER_SCHEMA_NUM) {
		(void)mer_fail(err, MER_EDATABASE,
		               "the database '%s' is newer than this mer: it has script %" PRId64
		               ", this one knows up to %d",
		               dal->name, num, MER_SCHEMA_NUM);
		mer_hint(err, "use the mer that the database was migrated for, or a newer one");
		return MER_EDATABASE;
	}
	if (num == 0)
		(void)mer_fail(err, MER_EDATABASE, "the database '%s' is not migrated", dal->name);
	else
		(void)mer_fail(err, MER_EDATABASE,
		               "the database '%s' is not migrated: it has scripts up to %" PRId64
		               ", this mer needs %d",
		               dal->name, num, MER_SCHEMA_NUM);
	dal_hint_migrate(err, dal->url);
	return MER_EDATABASE;
}

static enum mer_status unknown_url(const char *url, struct mer_error *err)
{
	/* No more of it than the scheme: the rest may hold a password. */
	size_t n = scheme_len(url);
	(void)mer_fail(err, MER_EINPUT, "no such kind of database: '%.*s'", (int)(n < 64 ? n : 64),
	               url);
	mer_hint(err, "sqlite:PATH or postgres://HOST/NAME; ./%.*s:... for a file of that name",
	         (int)(n < 64 ? n : 64), url);
	return MER_EINPUT;
}

/* Whoever is asked for haste ends by it while called is set, and by itself otherwise. */
static void set_called(struct mer_haste *haste, bool called)
{
	if (haste != NULL)
		atomic_store_explicit(&haste->called, called, memory_order_relaxed);
}

bool mer_haste(struct mer_haste *haste)
{
	int64_t none = 0;
	(void)atomic_compare_exchange_strong(&haste->since_ms, &none, mer_clock_ms());
	return atomic_load(&haste->called);
}

void mer_haste_over(struct mer_haste *haste)
{
	atomic_store(&haste->since_ms, 0);
}

enum mer_status mer_dal_open(const char *url, unsigned flags, struct mer_dal **out,
                             struct mer_error *err)
{
	return mer_dal_open_hasty(url, flags, NULL, out, err);
}

enum mer_status mer_dal_open_hasty(const char *url, unsigned flags, struct mer_haste *haste,
                                   struct mer_dal **out, struct mer_error *err)
{
	const char *rest;
	const struct backend *backend = backend_of(url, &rest);
	if (backend == NULL)
		return unknown_url(url, err);
	const struct dal_ops *ops = backend->ops;
	enum mer_status st = MER_OK;
	if (ops == NULL)
		st = dal_module_ops(backend->module, &ops, err);
	if (st != MER_OK)
		return st;
	struct mer_dal *dal;
	set_called(haste, true);
	st = ops->open(rest, flags, haste, &dal, err);
	set_called(haste, false);
	MER_DEBUG("open dialect=%s status=%s", backend->dialect, mer_status_name(st));
	if (st != MER_OK)
		return st;
	dal->dialect = backend->dialect;
	dal->pid = getpid();
	if ((flags & MER_DAL_ANY_SCHEMA) == 0) {
		st = check_schema(dal, err);
		if (st != MER_OK) {
			mer_dal_close(dal);
			return st;
		}
	}
	*out = dal;
	return MER_OK;
}

enum mer_status mer_dal_open_fault(const char *url, unsigned flags, int64_t fail_at, int64_t *calls,
                                   struct mer_dal **out, struct mer_error *err)
{
	struct mer_dal *inner;
	enum mer_status st = mer_dal_open(url, flags, &inner, err);
	if (st != MER_OK)
		return st;
	struct mer_dal *dal = dal_fault_wrap(inner, fail_at, calls);
	if (dal == NULL) {
		mer_dal_close(inner);
		return mer_fail(err, MER_ENOMEM, "out of memory for a connection");
	}
	*out = dal;
	return MER_OK;
}

void mer_dal_close(struct mer_dal *dal)
{
	if (dal == NULL)
		return;
	MER_ASSERT(!dal->in_call);
	MER_DEBUG("close");
	free(dal->owner_row.host);
	free(dal->owner_row.program);
	dal->ops->close(dal, dal->pid != getpid());
}

/* --- calls -------------------------------------------------------------------------------- */

/* A call as it begins. A callback must not use the connection, and a fork must not either. */
static int64_t enter(struct mer_dal *dal)
{
	MER_ASSERT(!dal->in_call);
	MER_ASSERT(dal->in_transaction || dal->pid == getpid()); /* a system call a row is too dear */
	dal->in_call = true;
	set_called(dal->haste, true);
	return mer_log_on(MER_LOG_DEBUG, LOG_AREA) ? mer_clock_us() : 0;
}

/* And as it ends: its one trace. */
static void leave(struct mer_dal *dal, int64_t began_us, const char *call, const char *what,
                  int64_t number, enum mer_status st)
{
	dal->in_call = false;
	set_called(dal->haste, false);
	if (!mer_log_on(MER_LOG_DEBUG, LOG_AREA))
		return;
	mer_log_write(MER_LOG_DEBUG, LOG_AREA, "%s %s=%" PRId64 " us=%" PRId64 " status=%s", call, what,
	              number, mer_clock_us() - began_us, mer_status_name(st));
}

/* Counts the rows that pass by. */
struct counted {
	mer_row_fn *on_row;
	void *ctx;
	struct mer_haste *haste;
	int64_t rows;
};

static enum mer_status on_counted_row(void *ctx, const void *row, struct mer_error *err)
{
	struct counted *counted = ctx;
	counted->rows++;
	set_called(counted->haste, false);
	enum mer_status st = counted->on_row(counted->ctx, row, err);
	set_called(counted->haste, true);
	return st;
}

enum mer_status mer_dal_query(struct mer_dal *dal, enum mer_query query,
                              const struct mer_value args[], size_t n_args, mer_row_fn *on_row,
                              void *ctx, struct mer_error *err)
{
	const struct dal_query *shape = &dal_queries[query];
	MER_ASSERT(n_args == shape->n_args);
	MER_ASSERT(shape->row_size > 0 && on_row != NULL);
	struct counted counted = { .on_row = on_row, .ctx = ctx, .haste = dal->haste };
	struct dal_call call = {
		.query = query, .shape = shape, .args = args, .on_row = on_counted_row, .ctx = &counted
	};
	int64_t began = enter(dal);
	enum mer_status st = dal->ops->run(dal, &call, err);
	leave(dal, began, shape->name, "rows", counted.rows, st);
	return st;
}

enum mer_status mer_dal_exec(struct mer_dal *dal, enum mer_query query,
                             const struct mer_value args[], size_t n_args, int64_t *changed,
                             struct mer_error *err)
{
	const struct dal_query *shape = &dal_queries[query];
	MER_ASSERT(n_args == shape->n_args);
	MER_ASSERT(shape->row_size == 0);
	struct dal_call call = {
		.query = query, .shape = shape, .args = args, .counts = changed != NULL
	};
	int64_t began = enter(dal);
	enum mer_status st = dal->ops->run(dal, &call, err);
	leave(dal, began, shape->name, "changed", call.changed, st);
	if (st == MER_OK && changed != NULL)
		*changed = call.changed;
	if (query == MER_Q_OWNER_DELETE && st == MER_OK)
		dal->owner_leaves = strcmp(args[0].text.ptr, dal->owner.text) == 0;
	dal->last_place = call.place;
	return st;
}

int64_t mer_dal_last_place(const struct mer_dal *dal)
{
	return dal->last_place;
}

static enum mer_status begin(struct mer_dal *dal, bool lazy, struct mer_error *err)
{
	MER_ASSERT(!dal->in_transaction);
	dal->lazy = lazy;
	int64_t began = enter(dal);
	memset(dal->tally, 0, sizeof dal->tally);
	enum mer_status st = dal->ops->begin(dal, err);
	leave(dal, began, "begin", "open", st == MER_OK, st);
	dal->in_transaction = st == MER_OK;
	if (st == MER_OK)
		st = dal_owner_renew(dal, err);
	if (st != MER_OK && dal->in_transaction)
		mer_dal_rollback(dal);
	return st;
}

enum mer_status mer_dal_begin(struct mer_dal *dal, struct mer_error *err)
{
	return begin(dal, false, err);
}

enum mer_status mer_dal_begin_lazy(struct mer_dal *dal, struct mer_error *err)
{
	return begin(dal, true, err);
}

enum mer_status mer_dal_end(struct mer_dal *dal, bool commit, struct mer_error *err)
{
	MER_ASSERT(dal->in_transaction);
	int64_t began = enter(dal);
	enum mer_status st = dal->ops->end(dal, commit, err);
	leave(dal, began, "end", "commit", commit, st);
	dal->in_transaction = false;
	if (st == MER_OK && commit && dal->owner_leaves)
		dal->owner_left = true;
	if (st == MER_OK && commit && dal->owner_written)
		dal->owner_row.session = dal->session;
	dal->owner_leaves = dal->owner_written = false;
	return st;
}

int64_t mer_dal_tally(const struct mer_dal *dal, enum mer_query query)
{
	return dal->tally[query];
}

void mer_dal_rollback(struct mer_dal *dal)
{
	enum mer_status st = mer_dal_end(dal, false, NULL);
	(void)st; /* in the trace; the transaction is over whatever it says */
}

bool mer_dal_repeatable(const struct mer_dal *dal)
{
	return dal->repeatable;
}

static enum mer_status bring_to_disk(struct mer_dal *dal, struct mer_error *err)
{
	if (dal->ops->sync == NULL)
		return MER_OK;
	int64_t began = enter(dal);
	enum mer_status st = dal->ops->sync(dal, err);
	leave(dal, began, "sync", "done", st == MER_OK, st);
	return st;
}

enum mer_status mer_dal_keep(struct mer_dal *dal, struct mer_error *err)
{
	if (!dal->remote)
		return bring_to_disk(dal, err);
	dal->impatient = true;
	enum mer_status st = mer_dal_begin(dal, err);
	dal->impatient = false;
	return st == MER_OK ? mer_dal_end(dal, true, err) : st;
}

void mer_dal_cancel(struct mer_dal *dal)
{
	dal->ops->cancel(dal);
}

enum mer_status mer_dal_script(struct mer_dal *dal, const char *sql, size_t len,
                               struct mer_script_place *place, struct mer_error *err)
{
	MER_ASSERT(sql[len] == '\0');
	struct mer_script_place at = { 0 };
	int64_t began = enter(dal);
	enum mer_status st = dal->ops->script(dal, sql, len, &at, err);
	leave(dal, began, "script", "line", at.line, st);
	if (st != MER_OK && place != NULL)
		*place = at;
	return st;
}

/* Why the row of a script that has run could not be written: the script's fault, if it has taken the
 * ledger away. The server of another machine has said so itself, and takes no question any more. */
static enum mer_status blame_script(struct mer_dal *dal, enum mer_status st, struct mer_error *err)
{
	int64_t there = 1;
	if (st != MER_EDATABASE || dal->remote ||
	    mer_dal_query(dal, MER_Q_LEDGER_EXISTS, NULL, 0, mer_take_count, &there, NULL) != MER_OK ||
	    there != 0)
		return st;
	return mer_fail(err, MER_EINPUT, "after it there is no table 'migrations' any more");
}

/* The transaction of mer_dal_apply(). The failure of a script may show itself only at the end. */
static enum mer_status apply(struct mer_dal *dal, const struct mer_script *script,
                             struct mer_script_result *result, struct mer_error *err)
{
	enum mer_status st = mer_dal_begin(dal, err);
	if (st != MER_OK)
		return st;
	int64_t began_ms = mer_clock_ms();
	if (script->make_ledger)
		st = mer_dal_exec(dal, MER_Q_LEDGER_CREATE, NULL, 0, NULL, err);
	if (st == MER_OK)
		st = mer_dal_script(dal, script->sql, script->len, &dal->place, err);
	result->duration_ms = mer_clock_ms() - began_ms;
	if (st == MER_OK) {
		st = mer_dal_exec(dal, MER_Q_LEDGER_INSERT,
		                  MER_ARGS(mer_i64(script->num), mer_text(script->name),
		                           mer_text(script->sha256), mer_text(script->canonical_sha256),
		                           mer_i64(result->duration_ms), mer_text(script->applied_by),
		                           mer_text(script->tool_version)),
		                  NULL, err);
		st = blame_script(dal, st, err);
	}
	if (st == MER_OK)
		return mer_dal_end(dal, true, err);
	mer_dal_rollback(dal);
	return st;
}

enum mer_status mer_dal_apply(struct mer_dal *dal, const struct mer_script *script,
                              struct mer_script_result *result, struct mer_error *err)
{
	*result = (struct mer_script_result){ 0 };
	dal->place = (struct mer_script_place){ 0 };
	dal->script_ms = -1;
	dal->together = true;
	enum mer_status st = apply(dal, script, result, err);
	dal->together = false;
	result->place = dal->place;
	if (dal->script_ms >= 0)
		result->duration_ms = dal->script_ms;
	return st;
}

enum mer_status mer_dal_lock(struct mer_dal *dal, int64_t key, enum mer_lock_op op, bool *yes,
                             struct mer_error *err)
{
	static const char *const names[] = {
		[MER_LOCK_TAKE] = "lock-take",
		[MER_LOCK_TEST] = "lock-test",
		[MER_LOCK_DROP] = "lock-drop",
	};
	MER_ASSERT(key >= 0);
	MER_ASSERT(yes != NULL || op == MER_LOCK_DROP || (op == MER_LOCK_TAKE && dal->in_transaction));
	const bool must = yes == NULL && op == MER_LOCK_TAKE;
	bool answer = must;
	int64_t began = enter(dal);
	enum mer_status st = dal->ops->lock(dal, key, op, must && dal->remote ? NULL : &answer, err);
	leave(dal, began, names[op], "yes", answer, st);
	if (st == MER_OK && must && !answer)
		return mer_fail(err, MER_ECONFLICT, "another process holds the lock");
	if (st == MER_OK && yes != NULL)
		*yes = answer;
	return st;
}

const char *mer_dal_dialect(const struct mer_dal *dal)
{
	return dal->dialect;
}

const char *mer_dal_name(const struct mer_dal *dal)
{
	return dal->name;
}

const char *mer_dal_notice(const struct mer_dal *dal)
{
	return dal->notice;
}
