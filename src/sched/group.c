/* Writes a group of rows in one transaction: what has ended is closed, what is new is begun. What one
 * row says must not cost the others, nor a server that restarts any. In the database thread. */
#include "record.h"

#include <stdlib.h>

struct resolved *group_resolved(struct record_job *job, const struct route *route)
{
	struct resolved *one;
	SLIST_FOREACH(one, &job->resolved, link)
	if (one->route == route)
		return one;
	return NULL;
}

/* MER_EBUSY, only inside a transaction: first the weights of job->unread are to be read. */
static enum mer_status look_at_weights(struct record_job *job, struct resolved *one, bool inside)
{
	bool unread = false;
	enum mer_status st = weights_look(one->route, &unread, &one->error);
	if (unread && inside) {
		job->unread = one;
		return MER_EBUSY;
	}
	if (unread)
		st = weights_read(one->route, &one->error);
	one->error.status = st;
	one->wrong = st != MER_OK;
	return MER_OK;
}

static void read_weights(struct record_job *job)
{
	struct resolved *one = job->unread;
	one->error.status = weights_read(one->route, &one->error);
	one->wrong = one->error.status != MER_OK;
	job->unread = NULL;
}

static enum mer_status resolve_group(struct record_job *job, struct run_list *inserts, bool inside,
                                     struct mer_error *err)
{
	struct mer_run *run;
	TAILQ_FOREACH(run, inserts, link)
	{
		struct resolved *one = group_resolved(job, run->route);
		if (one == NULL) {
			one = calloc(1, sizeof *one);
			if (one == NULL)
				return mer_fail(err, MER_ENOMEM, "out of memory");
			one->route = run->route;
			SLIST_INSERT_HEAD(&job->resolved, one, link);
			enum mer_status st = resolve_route(job->sched, one->route, &one->fresh, &one->error);
			if (st == MER_EDATABASE || st == MER_ECANCELED) { /* nothing is known of it */
				*err = one->error;
				SLIST_REMOVE_HEAD(&job->resolved, link);
				free(one);
				return st;
			}
			one->error.status = st;
			if (st == MER_OK && look_at_weights(job, one, inside) != MER_OK)
				return mer_fail(err, MER_EBUSY, "weights are not read yet");
		}
		run->rejected = one->wrong;
		run->refused = one->error.status != MER_OK && !one->wrong;
	}
	return MER_OK;
}

/* Behind the rows, since on Postgres those that follow one another go in one statement. */
static enum mer_status write_beside(struct record_job *job, struct run_list *closes,
                                    struct mer_error *err)
{
	struct mer_run *run;
	enum mer_status st = MER_OK;
	TAILQ_FOREACH(run, closes, link)
	{
		if (run->origin != NULL)
			st = origin_write(job->sched, run->origin, err);
		if (st == MER_OK && run->kept != NULL)
			st = keep_write(job->sched->dal, run, err);
		if (st != MER_OK)
			break;
	}
	return st;
}

static enum mer_status write_closes(struct record_job *job, struct run_list *closes,
                                    struct mer_error *err)
{
	struct mer_run *run;
	enum mer_status st = MER_OK;
	TAILQ_FOREACH(run, closes, link)
	{
		st = rows_close(job->sched, run, err);
		if (st != MER_OK)
			break;
	}
	return st == MER_OK ? write_beside(job, closes, err) : st;
}

/* What new rows refer to is there from now on, or is not. */
static void take_beside(struct run_list *closes, bool committed)
{
	struct mer_run *run;
	TAILQ_FOREACH(run, closes, link)
	if (run->origin != NULL)
		origin_written(run->origin, committed);
}

static enum mer_status write_inserts(struct record_job *job, struct run_list *inserts,
                                     struct mer_error *err)
{
	struct mer_run *run;
	enum mer_status st = resolve_group(job, inserts, true, err);
	if (st != MER_OK)
		return st;
	st = rows_own(job->sched, err);
	if (st != MER_OK)
		return st;
	TAILQ_FOREACH(run, inserts, link)
	{
		if (run->no_record || run->refused)
			continue;
		st = rows_insert(job->sched, run, err);
		if (st != MER_OK)
			return st;
	}
	return MER_OK;
}

static bool any_recorded(const struct run_list *inserts)
{
	const struct mer_run *run;
	TAILQ_FOREACH(run, inserts, link)
	if (!run->no_record)
		return true;
	return false;
}

/* What one transaction writes. */
struct rows {
	struct run_list *closes, *inserts;
	bool leaves; /* nothing of ours stays open behind it: the owner's row goes too */
};

static enum mer_status on_there(void *ctx, const void *row, struct mer_error *err)
{
	(void)row, (void)err;
	*(bool *)ctx = true;
	return MER_OK;
}

static enum mer_status look_for(struct mer_dal *dal, const struct mer_run *run, bool *there,
                                struct mer_error *err)
{
	return mer_dal_query(dal, MER_Q_RUN_BY_UID, MER_ARGS(mer_text(run->uid.text)), on_there, there,
	                     err);
}

/* Rows that somebody has taken away or restored an older state of cannot be closed. How many were
 * costs nothing to know; which, only where some were not. */
static void find_gone(struct mer_dal *dal, const struct run_list *closes)
{
	struct mer_run *run;
	int64_t missing = -mer_dal_tally(dal, MER_Q_RUN_CLOSE) - mer_dal_tally(dal, MER_Q_RUN_CLOSE_AT);
	TAILQ_FOREACH(run, closes, link)
	missing++;
	TAILQ_FOREACH(run, closes, link)
	{
		bool there = false;
		if (missing <= 0 || look_for(dal, run, &there, NULL) != MER_OK)
			return;
		run->gone = !there;
		missing -= run->gone;
	}
}

/* That a run is begun outlives us without a sync, and that it has ended waits for one a moment at most:
 * the last group, and one a second before it, brings all to the disk. */
static enum mer_status begin(struct record_job *job, const struct rows *rows, struct mer_error *err)
{
	struct mer_sched *sched = job->sched;
	const int64_t now = mer_clock_ms();
	if (sched->synced_ms == 0)
		sched->synced_ms = now;
	job->lazy = !rows->leaves && !job->last && now - sched->synced_ms < SYNC_MS;
	if (job->lazy)
		return mer_dal_begin_lazy(sched->dal, err);
	sched->synced_ms = now;
	return mer_dal_begin(sched->dal, err);
}

static enum mer_status transact(struct record_job *job, const struct rows *rows,
                                struct mer_error *err)
{
	struct mer_dal *dal = job->sched->dal;
	const bool opens = any_recorded(rows->inserts);
	enum mer_status st = begin(job, rows, err);
	if (st != MER_OK)
		return st;
	st = write_closes(job, rows->closes, err);
	if (st == MER_OK && opens)
		st = write_inserts(job, rows->inserts, err);
	if (st == MER_OK && rows->leaves)
		st = rows_disown(job->sched, err);
	if (st != MER_OK)
		mer_dal_rollback(dal);
	else
		st = mer_dal_end(dal, true, err);
	take_beside(rows->closes, st == MER_OK);
	if (st != MER_OK)
		return st;
	if (opens || rows->leaves)
		job->sched->registered = !rows->leaves;
	find_gone(dal, rows->closes);
	return MER_OK;
}

/* Weights are read between two tries, since others wait for a transaction. */
static enum mer_status transact_read(struct record_job *job, const struct rows *rows,
                                     struct mer_error *err)
{
	enum mer_status st = transact(job, rows, err);
	while (job->unread != NULL) {
		read_weights(job);
		st = transact(job, rows, err);
	}
	return st;
}

/* Whether a group whose end nobody has told is in the database: its first row is, or none. */
static enum mer_status look_for_group(struct record_job *job, const struct run_list *inserts,
                                      bool *there, struct mer_error *err)
{
	const struct mer_run *run;
	TAILQ_FOREACH(run, inserts, link)
	if (!run->no_record && !run->refused)
		return look_for(job->sched->dal, run, there, err);
	return MER_OK; /* what is closed twice is closed */
}

/* A server that restarts costs no row: the group is written again, unless it was the answer alone
 * that got lost. */
static enum mer_status transact_surely(struct record_job *job, const struct rows *rows,
                                       struct mer_error *err)
{
	enum mer_status st = transact_read(job, rows, err);
	for (int i = 0; i < AGAIN_MAX && st != MER_OK && mer_dal_repeatable(job->sched->dal); i++) {
		bool there = false;
		st = look_for_group(job, rows->inserts, &there, err);
		if (there)
			job->sched->registered = true;
		else if (st == MER_OK)
			st = transact_read(job, rows, err);
	}
	return st;
}

/* Whether the database takes no row at all now, as opposed to not this one; or nobody waits for it. */
static bool is_away(enum mer_status st)
{
	return st == MER_EDATABASE || st == MER_ENOMEM || st == MER_ECANCELED;
}

/* Closes each row in a transaction of its own: what one of them says must not cost the others. */
static void close_alone(struct record_job *job)
{
	struct run_list one = TAILQ_HEAD_INITIALIZER(one), none = TAILQ_HEAD_INITIALIZER(none);
	struct mer_run *run;
	bool away = false;
	while ((run = TAILQ_FIRST(&job->closes)) != NULL) {
		struct mer_error err;
		TAILQ_REMOVE(&job->closes, run, link);
		TAILQ_INIT(&one);
		TAILQ_INSERT_TAIL(&one, run, link);
		const struct rows rows = { .closes = &one, .inserts = &none };
		enum mer_status st = away ? MER_EDATABASE : transact_surely(job, &rows, &err);
		TAILQ_REMOVE(&one, run, link);
		if (st == MER_OK) {
			TAILQ_INSERT_TAIL(&job->closed, run, link);
			continue;
		}
		run->unwritable = !is_away(st);
		if (!away && job->close_error.status == MER_OK) {
			job->close_error = err;
			job->close_error.status = st;
		}
		away = is_away(st);
		TAILQ_INSERT_TAIL(&job->unwritten, run, link);
	}
}

/* New runs get the error of their own row. */
static void insert_alone(struct record_job *job)
{
	struct run_list none = TAILQ_HEAD_INITIALIZER(none), todo = TAILQ_HEAD_INITIALIZER(todo);
	struct mer_run *run;
	TAILQ_CONCAT(&todo, &job->inserts, link);
	while ((run = TAILQ_FIRST(&todo)) != NULL) {
		struct run_list one = TAILQ_HEAD_INITIALIZER(one);
		struct mer_error err;
		TAILQ_REMOVE(&todo, run, link);
		TAILQ_INSERT_TAIL(&one, run, link);
		const struct rows rows = { .closes = &none, .inserts = &one };
		enum mer_status st = run->no_record ? resolve_group(job, &one, false, &err)
		                                    : transact_surely(job, &rows, &err);
		TAILQ_REMOVE(&one, run, link);
		TAILQ_INSERT_TAIL(&job->inserts, run, link);
		if (st == MER_OK)
			continue;
		run->unwritable = true;
		job->insert_error = err;
		job->insert_error.status = st;
		if (is_away(st))
			break;
	}
	while ((run = TAILQ_FIRST(&todo)) != NULL) {
		TAILQ_REMOVE(&todo, run, link);
		run->unwritable = true;
		TAILQ_INSERT_TAIL(&job->inserts, run, link);
	}
}

static void inserts_failed(struct record_job *job, enum mer_status st, const struct mer_error *err)
{
	struct mer_run *run;
	TAILQ_FOREACH(run, &job->inserts, link)
	run->unwritable = true;
	job->insert_error = *err;
	job->insert_error.status = st;
}

static void write_group(struct record_job *job)
{
	struct mer_error err = { .status = MER_OK };
	bool inserts = any_recorded(&job->inserts), closes = !TAILQ_EMPTY(&job->closes);
	enum mer_status st = connection_open(job->sched, &err);
	bool open = st == MER_OK;
	const struct rows all = { &job->closes, &job->inserts, job->last && !job->sched->owes };
	if (open && (inserts || closes))
		st = transact_surely(job, &all, &err);
	if (st == MER_OK && !inserts)
		st = resolve_group(job, &job->inserts, false, &err);
	if (st == MER_OK) {
		TAILQ_CONCAT(&job->closed, &job->closes, link);
		return;
	}
	/* What could not be begun does not keep what has ended from being written, nor the reverse. */
	bool lost =
		open && (st == MER_ECANCELED || (is_away(st) && mer_dal_repeatable(job->sched->dal)));
	if (open && closes && !lost && (inserts || !is_away(st))) {
		close_alone(job);
	} else {
		TAILQ_CONCAT(&job->unwritten, &job->closes, link);
		job->close_error = err;
		job->close_error.status = st;
	}
	if (open && inserts && !is_away(st))
		insert_alone(job);
	else
		inserts_failed(job, st, &err);
}

void group_write(struct mer_job *base)
{
	struct record_job *job = (struct record_job *)base;
	const struct mer_run *run;
	write_group(job);
	TAILQ_FOREACH(run, &job->unwritten, link)
	job->sched->owes |= run->unwritable || job->last;
	if (job->last)
		connection_close(job->sched);
}
