/* The database thread's connection: opened when something is first asked of it, looked after while
 * runs are open, closed at the end. */
#define LOG_AREA "sched"
#include "record.h"

#include <mer/log.h>
#include <string.h>

enum mer_status connection_open(struct mer_sched *sched, struct mer_error *err)
{
	if (sched->dal != NULL)
		return MER_OK;
	return mer_dal_open_hasty(sched->database, 0, &sched->haste, &sched->dal, err);
}

/* An owner row that is left is taken away by the next start. */
void connection_close(struct mer_sched *sched)
{
	if (sched->registered && !sched->owes && mer_dal_begin(sched->dal, NULL) == MER_OK) {
		if (rows_disown(sched, NULL) != MER_OK || mer_dal_end(sched->dal, true, NULL) != MER_OK)
			MER_DEBUG("the owner row stays: the next start takes it away");
	}
	mer_dal_close(sched->dal);
	sched->dal = NULL;
}

static void keep_in_thread(struct mer_job *job)
{
	struct mer_sched *sched =
		(struct mer_sched *)((char *)job - offsetof(struct mer_sched, keep_job));
	if (sched->dal != NULL && mer_dal_keep(sched->dal, NULL) != MER_OK)
		MER_DEBUG("the database is away");
}

static void keep_done(struct mer_job *job)
{
	struct mer_sched *sched =
		(struct mer_sched *)((char *)job - offsetof(struct mer_sched, keep_job));
	sched->keeping = false;
	sched->jobs--;
	sched_maybe_closed(sched);
}

static void keep(struct mer_sched *sched)
{
	if (sched->recording || sched->keeping || sched->leaving)
		return;
	sched->keep_job = (struct mer_job){ .run = keep_in_thread, .done = keep_done };
	sched->keeping = true;
	sched->jobs++;
	mer_work_push(sched->work, &sched->keep_job);
}

/* While a model works nothing else would notice that the connection is lost, and with it the lock
 * that tells that we are alive. */
static void on_keep(uv_timer_t *timer)
{
	struct mer_sched *sched = timer->data;
	if (sched->n_open > 0)
		keep(sched);
}

static void on_sync(uv_timer_t *timer)
{
	keep(timer->data);
}

void connection_sync(struct mer_sched *sched)
{
	if (!uv_is_active((uv_handle_t *)&sched->keep))
		uv_timer_start(&sched->keep, on_sync, SYNC_MS, 0);
}

void connection_keep(struct mer_sched *sched)
{
	const char *dialect = mer_dal_dialect_of(sched->database);
	uv_unref((uv_handle_t *)&sched->keep);
	if (dialect != NULL && strcmp(dialect, "postgres") == 0)
		uv_timer_start(&sched->keep, on_keep, KEEP_MS, KEEP_MS);
}

static struct mer_sched *sched_of(struct mer_job *job)
{
	return (struct mer_sched *)((char *)job - offsetof(struct mer_sched, close_job));
}

static void close_in_thread(struct mer_job *job)
{
	connection_close(sched_of(job));
}

static void close_done(struct mer_job *job)
{
	struct mer_sched *sched = sched_of(job);
	sched->jobs--;
	sched->closed_dal = true;
	sched_maybe_closed(sched);
}

void connection_leave(struct mer_sched *sched)
{
	sched->close_job = (struct mer_job){ .run = close_in_thread, .done = close_done };
	sched->jobs++;
	mer_work_push_last(sched->work, &sched->close_job);
}
