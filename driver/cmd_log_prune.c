/* log prune: what is kept of runs, and for how long. */
#include "commands.h"
#include "find.h"
#include "session.h"
#include "totals.h"

#include <mer/clean.h>
#include <mer/json.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BEFORE };
static const struct cmd_arg prune_args[] = {
	[BEFORE] = CMD_OPTION("before", ARG_TIME, "T",
	                      "all that began before, rated or not: 2026-01-31T12:00:00Z"),
};

static enum mer_status check_stopped(struct session *s, struct mer_error *err)
{
	session_take_signals(s);
	return s->stopped ? mer_fail(err, MER_ECANCELED, "interrupted") : MER_OK;
}

typedef enum mer_status step_fn(struct session *s, enum mer_query query, const char *before,
                                int64_t most, int64_t *changed, struct mer_error *err);

static enum mer_status forget_io(struct session *s, enum mer_query query, const char *before,
                                 int64_t most, int64_t *changed, struct mer_error *err)
{
	return mer_dal_exec(s->dal, query, MER_ARGS(mer_text(before), mer_i64(most)), changed, err);
}

/* What they counted goes to the totals together with them. */
static enum mer_status forget_runs(struct session *s, enum mer_query query, const char *before,
                                   int64_t most, int64_t *changed, struct mer_error *err)
{
	MER_AUTO(totals_release) struct totals totals;
	totals_init(&totals);
	enum mer_status st = mer_dal_begin(s->dal, err);
	if (st != MER_OK)
		return st;
	st = mer_dal_query(s->dal, query, MER_ARGS(mer_text(before), mer_i64(most)), totals_count,
	                   &totals, err);
	if (st == MER_OK)
		st = totals_write(&totals, s->dal, err);
	st = find_end(s->dal, st, err);
	if (st == MER_OK)
		*changed = totals.rows;
	return st;
}

/* Others can record meanwhile: a step takes the database for a fraction of a second, however much its
 * runs have kept, and then leaves it for a moment. */
static enum mer_status forget(struct session *s, step_fn *forget_some, enum mer_query query,
                              const char *before, int64_t *forgotten, struct mer_error *err)
{
	enum { STEP = 500, STEP_LEAST = 20, STEP_MOST = 10000, SHORT_MS = 20, LONG_MS = 60 };
	const struct timespec pause = { .tv_nsec = 5000000 };
	int64_t changed = 1, step = STEP;
	enum mer_status st = MER_OK;
	while (st == MER_OK && changed > 0) {
		int64_t began_ms = mer_clock_ms();
		st = forget_some(s, query, before, step, &changed, err);
		*forgotten += st == MER_OK ? changed : 0;
		int64_t took_ms = mer_clock_ms() - began_ms;
		if (took_ms > LONG_MS && step > STEP_LEAST)
			step /= 2;
		else if (took_ms < SHORT_MS && step < STEP_MOST)
			step *= 2;
		if (st == MER_OK && changed > 0) {
			(void)nanosleep(&pause, NULL);
			st = check_stopped(s, err);
		}
	}
	return st;
}

/* --- provenance --------------------------------------------------------------------------- */

enum { DIGEST_SIZE = 33, PAGE = 10000, AT_ONCE = 500, GRACE_MS = 86400000 };

/* What answered once, by digest, and whether a run names it. */
struct origins {
	struct {
		char digest[DIGEST_SIZE];
		bool named;
	} * list;
	size_t n, room;
	char last[DIGEST_SIZE + 8]; /* the digest, or the request uid, that was read last */
	bool any;
};

static enum mer_status on_origin(void *ctx, const void *data, struct mer_error *err)
{
	struct origins *origins = ctx;
	const struct mer_value *row = data;
	if (origins->n == origins->room) {
		size_t room = origins->room > 0 ? 2 * origins->room : 64;
		void *list = reallocarray(origins->list, room, sizeof *origins->list);
		if (list == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
		origins->list = list;
		origins->room = room;
	}
	(void)snprintf(origins->last, sizeof origins->last, "%.*s", (int)row[0].text.len,
	               row[0].text.ptr);
	origins->any = true;
	if (row[0].text.len != DIGEST_SIZE - 1)
		return MER_OK; /* no mer wrote that */
	memcpy(origins->list[origins->n].digest, origins->last, DIGEST_SIZE);
	origins->list[origins->n++].named = false;
	return MER_OK;
}

static int by_digest(const void *key, const void *at)
{
	return strcmp(key, at); /* where each begins with its digest */
}

static enum mer_status on_named(void *ctx, const void *data, struct mer_error *err)
{
	struct origins *origins = ctx;
	const struct mer_named_row *row = data;
	(void)err;
	origins->any = true;
	if (strcmp(row->last, origins->last) > 0)
		(void)snprintf(origins->last, sizeof origins->last, "%s", row->last);
	if (origins->n == 0)
		return MER_OK;
	char *found = bsearch(row->digest, origins->list, origins->n, sizeof *origins->list, by_digest);
	if (found != NULL)
		origins->list[(size_t)(found - origins->list[0].digest) / sizeof *origins->list].named =
			true;
	return MER_OK;
}

/* Page by page, each a query of its own, so that nobody waits for it. */
static enum mer_status read_pages(struct session *s, enum mer_query query, int64_t at_once,
                                  mer_row_fn *on_row, struct origins *origins,
                                  struct mer_error *err)
{
	enum mer_status st = MER_OK;
	origins->last[0] = '\0';
	do {
		char from[sizeof origins->last];
		memcpy(from, origins->last, sizeof from);
		origins->any = false;
		st = mer_dal_query(s->dal, query, MER_ARGS(mer_text(from), mer_i64(at_once)), on_row,
		                   origins, err);
		if (st == MER_OK)
			st = check_stopped(s, err);
	} while (st == MER_OK && origins->any);
	return st;
}

/* Takes some away, unless a mer is there by now that may have a run name them, or a run has since that
 * was not looked at. */
static enum mer_status drop_some(struct session *s, const struct mer_buf *digests,
                                 const char *since, struct mer_error *err)
{
	enum mer_status st = mer_buf_check(digests, err);
	if (st == MER_OK)
		st = mer_dal_begin(s->dal, err);
	if (st != MER_OK)
		return st;
	if (strcmp(mer_dal_dialect(s->dal), "postgres") == 0)
		st = mer_dal_exec(s->dal, MER_Q_LOCK_TABLES, NULL, 0, NULL, err);
	if (st == MER_OK)
		st = mer_dal_exec(s->dal, MER_Q_PROVENANCE_PRUNE,
		                  MER_ARGS(mer_text(digests->ptr), mer_text(since)), NULL, err);
	return find_end(s->dal, st, err);
}

static enum mer_status drop_unnamed(struct session *s, const struct origins *origins,
                                    const char *since, struct mer_error *err)
{
	struct mer_buf digests;
	enum mer_status st = MER_OK;
	size_t n = 0;
	mer_buf_init(&digests, SIZE_MAX);
	for (size_t i = 0; i <= origins->n && st == MER_OK; i++) {
		const bool end = i == origins->n;
		if (!end && !origins->list[i].named) {
			mer_buf_byte(&digests, n++ == 0 ? '[' : ',');
			mer_json_quote(&digests, origins->list[i].digest, DIGEST_SIZE - 1);
		}
		if (n == AT_ONCE || (end && n > 0)) {
			mer_buf_byte(&digests, ']');
			st = drop_some(s, &digests, since, err);
			mer_buf_clear(&digests);
			n = 0;
		}
	}
	mer_buf_release(&digests);
	return st;
}

/* What no run names any more. While a mer is at work it would be left alone anyway: so where none is, all
 * that a run can come to name from here on it names in a row that is younger than this. */
static enum mer_status forget_provenance(struct session *s, struct mer_error *err)
{
	struct origins origins = { .n = 0 };
	char since[24];
	int64_t owners = 0, now = mer_time_now_ms();
	(void)snprintf(since, sizeof since, "%08llx",
	               (unsigned long long)(now > GRACE_MS ? now - GRACE_MS : 0) >> 16);
	enum mer_status st =
		mer_dal_query(s->dal, MER_Q_OWNERS_COUNT, NULL, 0, mer_take_count, &owners, err);
	if (st != MER_OK || owners > 0)
		return st;
	st = read_pages(s, MER_Q_TABLE_ROWS + MER_TABLE_PROVENANCE, AT_ONCE, on_origin, &origins, err);
	if (st == MER_OK)
		st = read_pages(s, MER_Q_PROVENANCE_NAMED, PAGE, on_named, &origins, err);
	if (st == MER_OK)
		st = drop_unnamed(s, &origins, since, err);
	free(origins.list);
	return st;
}

/* --- log prune ---------------------------------------------------------------------------- */

/* By a setting that says for how long. */
static enum mer_status forget_by_age(struct session *s, enum setting which, step_fn *forget_some,
                                     enum mer_query query, int64_t *forgotten,
                                     struct mer_error *err)
{
	char before[MER_TIME_SIZE];
	const struct cmd_value *age = setting(&s->settings, which);
	if (!cmd_has(age))
		return MER_OK;
	mer_time_text(mer_time_now_ms() - age->number, before);
	return forget(s, forget_some, query, before, forgotten, err);
}

static enum mer_status prune(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	char before[MER_TIME_SIZE];
	int64_t runs = 0, kept = 0;
	enum mer_status st = MER_OK;
	if (!argv[BEFORE].given && !cmd_has(setting(&s->settings, SET_KEEP_RUNS)) &&
	    !cmd_has(setting(&s->settings, SET_KEEP_IO))) {
		(void)mer_fail(err, MER_EINPUT, "'log prune' needs --before");
		mer_hint(err, "or for how long: MER_KEEP_RUNS_FOR, MER_KEEP_IO_FOR");
		return MER_EINPUT;
	}
	if (argv[BEFORE].given) {
		mer_time_text(argv[BEFORE].number, before);
		st = forget(s, forget_runs, MER_Q_RUNS_PRUNE, before, &runs, err);
	} else {
		st = forget_by_age(s, SET_KEEP_RUNS, forget_runs, MER_Q_RUNS_EXPIRE, &runs, err);
		if (st == MER_OK)
			st = forget_by_age(s, SET_KEEP_IO, forget_io, MER_Q_IO_EXPIRE, &kept, err);
	}
	if (st == MER_OK && runs > 0)
		st = forget_provenance(s, err);
	if (st == MER_OK)
		session_note(s, "%lld runs are forgotten, and what %lld others had kept", (long long)runs,
		             (long long)kept);
	return st;
}

const struct cmd cmd_log_prune = {
	.name = "log prune",
	.summary = "forget runs that have ended, with their feedback and what they kept",
	.notes =
		"Without --before as MER_KEEP_RUNS_FOR and MER_KEEP_IO_FOR say: runs that are older go, or the\n"
		"inputs and outputs that they have kept. Those stay then that somebody has rated, since that is\n"
		"what a model is trained with, and trainings whose weights are there. Runs that are open stay in\n"
		"any case. It goes by small steps, between which others record theirs.\n",
	CMD_EXAMPLES("log prune --before 2026-01-31T12:00:00Z"),
	CMD_ARGS(prune_args),
	.needs = CMD_NEEDS_DATABASE | CMD_NEEDS_CHANGES,
	.run = prune,
};
