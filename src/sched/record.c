/*
 * When rows are written, and what follows: a row is in the database before its model sees input;
 * closing it is never on the path of an answer. One group is under way at a time, so groups grow
 * while one is written.
 */
#define LOG_AREA "sched"
#include "record.h"

#include <mer/log.h>
#include <stdlib.h>

static void take_resolved(struct record_job *job)
{
	struct resolved *one;
	SLIST_FOREACH(one, &job->resolved, link)
	{
		if (one->fresh != NULL)
			pool_changed(one->route, one->fresh);
		one->fresh = NULL;
	}
}

static void free_resolved(struct record_job *job)
{
	struct resolved *one;
	while ((one = SLIST_FIRST(&job->resolved)) != NULL) {
		SLIST_REMOVE_HEAD(&job->resolved, link);
		free(one);
	}
}

/* Nobody waited for its row: it was cancelled, or has met another's haste and waits on. */
static void take_hasty(struct mer_run *run)
{
	struct mer_sched *sched = run->sched;
	if (run->ending != ENDING_NO || sched->on_closed != NULL) {
		run_cancelled(run);
		return;
	}
	run->unwritable = false;
	TAILQ_INSERT_TAIL(&sched->pending, run, link);
	sched->n_pending++;
}

/* The rows are there: the runs may be sent. */
static void take_inserted(struct record_job *job)
{
	struct mer_run *run;
	while ((run = TAILQ_FIRST(&job->inserts)) != NULL) {
		TAILQ_REMOVE(&job->inserts, run, link);
		if (run->unwritable && job->insert_error.status == MER_ECANCELED) {
			take_hasty(run);
			continue;
		}
		if (run->unwritable) {
			run_fail(run, job->insert_error.status, NULL, &job->insert_error);
			continue;
		}
		if (run->refused) {
			const struct resolved *one = group_resolved(job, run->route);
			run_fail(run, one->error.status, NULL, &one->error);
			continue;
		}
		if (run->rejected) {
			const struct resolved *one = group_resolved(job, run->route);
			bool stopped = one->error.status == MER_ECANCELED;
			run->recorded = !run->no_record;
			keep_begin(run, run->route->current);
			run_fail(run, one->error.status, stopped ? NULL : "rejected", &one->error);
			continue;
		}
		run->recorded = !run->no_record;
		keep_begin(run, run->route->current);
		if (job->sched->on_closed != NULL && run->ending == ENDING_NO)
			run->ending = ENDING_CANCEL;
		run_make_ready(run, false);
		if (run->timeout_ms == 0)
			run->timeout_ms = run->route->current->timeout_ms;
		if (!run->stream)
			sched_run_timed(run);
	}
}

static const struct mer_error row_is_gone = {
	.status = MER_EDATABASE,
	.message = "its row is no longer in the database",
};

/* The row stays open, for the next start to close as lost, or there is none. */
static void give_up(struct mer_sched *sched, struct mer_run *run, const struct mer_error *why)
{
	if (sched->record_error.status == MER_OK) {
		sched->record_error = *why;
		(void)mer_wrap(&sched->record_error, why->status, "run %s is not recorded", run->uid.text);
	}
	run_free(run);
}

/* What the database did not take for its own reasons is written again later, unless we leave. It is said
 * when it was in vain again, since who leaves meanwhile ends with an error that says it. */
static void take_closed(struct record_job *job)
{
	struct mer_sched *sched = job->sched;
	struct mer_run *run;
	while ((run = TAILQ_FIRST(&job->closed)) != NULL) {
		TAILQ_REMOVE(&job->closed, run, link);
		if (run->gone)
			give_up(sched, run, &row_is_gone);
		else
			run_free(run);
	}
	bool was_stuck = sched->stuck, gave_up = false;
	sched->stuck = false;
	while ((run = TAILQ_LAST(&job->unwritten, run_list)) != NULL) {
		TAILQ_REMOVE(&job->unwritten, run, link);
		if (run->unwritable || job->last || sched->leaving) {
			give_up(sched, run, &job->close_error);
			gave_up = true;
			continue;
		}
		const bool stuck = job->close_error.status != MER_ECANCELED;
		if (stuck && was_stuck && !sched->stuck_said) {
			MER_LOG(MER_LOG_WARN, "run %s is not recorded yet: %s", run->uid.text,
			        job->close_error.message);
			sched->stuck_said = true;
		}
		sched->stuck |= stuck;
		TAILQ_INSERT_HEAD(&sched->closing, run, link);
		sched->n_closing++;
	}
	if (sched->stuck_said && !sched->stuck && !gave_up)
		MER_LOG(MER_LOG_WARN, "what was not recorded is now");
	sched->stuck_said &= sched->stuck;
}

static void record_done(struct mer_job *base)
{
	struct record_job *job = (struct record_job *)base;
	struct mer_sched *sched = job->sched;
	struct route *route;
	sched->recording = false;
	sched->jobs--;
	if (!sched->hurried)
		mer_haste_over(&sched->haste);
	if (job->lazy)
		connection_sync(sched);
	if (job->last)
		sched->leaving = sched->closed_dal = true;
	take_resolved(job);
	take_inserted(job);
	take_closed(job);
	free_resolved(job);
	free(job);
	TAILQ_FOREACH(route, &sched->routes, link)
	dispatch_route(route);
	record_flush(sched, false);
	sched_maybe_closed(sched);
}

static bool due(const struct mer_sched *sched)
{
	if (sched->stuck && sched->n_pending == 0)
		return false;
	if (sched->n_pending >= GROUP_ROWS || sched->n_closing >= GROUP_ROWS ||
	    sched->kept_bytes >= KEPT_FLUSH)
		return true;
	return sched->n_pending > 0 && sched->n_ready < READY_LOW;
}

static bool at_rest(const struct mer_sched *sched)
{
	return sched->n_open == 0 && sched->n_ready == 0 && sched->n_pending == 0;
}

static void on_close_delay(uv_timer_t *timer)
{
	record_flush(timer->data, true);
}

void record_flush(struct mer_sched *sched, bool now)
{
	if (sched->recording || (sched->n_pending == 0 && sched->n_closing == 0))
		return;
	if (!now && !due(sched)) {
		if (sched->stuck && sched->on_closed == NULL)
			uv_timer_start(&sched->close_delay, on_close_delay, STUCK_MS, 0);
		else if (at_rest(sched))
			sched_kick(sched); /* the caller may be about to close: then this goes along */
		else if (!uv_is_active((uv_handle_t *)&sched->close_delay))
			uv_timer_start(&sched->close_delay, on_close_delay, CLOSE_DELAY_MS, 0);
		return;
	}
	struct record_job *job = calloc(1, sizeof *job);
	if (job == NULL) {
		/* Nothing is lost: the next end or submission tries again. */
		uv_timer_start(&sched->close_delay, on_close_delay, CLOSE_DELAY_MS, 0);
		return;
	}
	uv_timer_stop(&sched->close_delay);
	job->job = (struct mer_job){ .run = group_write, .done = record_done };
	job->sched = sched;
	TAILQ_INIT(&job->inserts);
	TAILQ_INIT(&job->closes);
	TAILQ_INIT(&job->closed);
	TAILQ_INIT(&job->unwritten);
	SLIST_INIT(&job->resolved);
	TAILQ_CONCAT(&job->closes, &sched->closing, link);
	sched->n_closing = 0;
	for (int n = 0; n < GROUP_MAX && sched->n_pending > 0; n++) {
		struct mer_run *run = TAILQ_FIRST(&sched->pending);
		TAILQ_REMOVE(&sched->pending, run, link);
		TAILQ_INSERT_TAIL(&job->inserts, run, link);
		sched->n_pending--;
	}
	job->last = sched->on_closed != NULL && sched->jobs == 0 && at_rest(sched) &&
	            TAILQ_EMPTY(&job->inserts);
	sched->recording = true;
	sched->jobs++;
	if (job->last)
		mer_work_push_last(sched->work, &job->job);
	else
		mer_work_push(sched->work, &job->job);
}
