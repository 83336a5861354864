/* The workers of a route: started on demand, kept warm, given runs one after another, told to leave
 * when they are idle for long or their deployment has changed. */
#define LOG_AREA "sched"
#include "internal.h"

#include <mer/log.h>
#include <stdlib.h>
#include <string.h>

static bool stays(const struct deployment *deployment)
{
	return deployment->spec.protocol != MER_PROTOCOL_ONCE;
}

static size_t worker_limit(const struct deployment *deployment)
{
	if (deployment->max_workers > 0)
		return (size_t)deployment->max_workers;
	if (stays(deployment))
		return 1;
	cpu_set_t cpus;
	if (sched_getaffinity(0, sizeof cpus, &cpus) != 0)
		return 1;
	return (size_t)CPU_COUNT(&cpus);
}

static void end_slot(struct slot *slot, enum mer_end how)
{
	slot->state = SLOT_ENDING;
	slot->ready_by = slot->idle_until = 0;
	mer_worker_end(slot->worker, how, GRACE_MS);
}

/* --- what workers say --------------------------------------------------------------------- */

static void ping_end(struct route *route, const struct mer_error *err)
{
	struct ping *ping = route->ping;
	route->ping = NULL;
	int64_t ms = (int64_t)((uv_hrtime() - ping->begun_ns) / 1000000);
	ping->on_ready(ping->ctx, err, ms, route->current != NULL ? route->current->server : "");
	free(ping);
}

void pool_cancel_ping(struct route *route)
{
	struct mer_error err;
	if (route->ping == NULL)
		return;
	mer_fail(&err, MER_ECANCELED, "the ping of model '%s' was cancelled", route->model);
	ping_end(route, &err);
}

/* The worker takes no run any more: the run waits for another one, in its old place. */
static void put_back(struct slot *slot, struct mer_run *run)
{
	struct route *route = slot->route;
	slot->state = SLOT_ENDING;
	slot->ready_by = slot->idle_until = 0;
	if (run->stream)
		sched_run_untimed(run); /* its time begins when it is taken */
	run->state = RUN_READY;
	run->taken_ns = 0;
	TAILQ_INSERT_HEAD(&route->ready, run, link);
	route->n_ready++;
	route->sched->n_ready++;
}

static void send_run(struct slot *slot, struct mer_run *run, uint64_t now_ns)
{
	struct mer_error err;
	enum mer_status st = mer_worker_run(slot->worker, run->input, run->input_len, &err);
	if (st != MER_OK) {
		slot->run = NULL;
		run->slot = NULL;
		run->sched->n_open--;
		if (st == MER_EUNREACHABLE)
			put_back(slot, run);
		else
			run_fail(run, st, "rejected", &err);
		return;
	}
	slot->state = SLOT_BUSY;
	slot->idle_until = 0;
	mer_worker_pause(slot->worker, run->paused); /* the last one may have ended while it was */
	run_sent(run, now_ns);
}

static void rest(struct slot *slot)
{
	if (slot->state == SLOT_ENDING)
		return;
	if (slot->deployment != slot->route->current || slot->route->sched->on_closed != NULL) {
		end_slot(slot, MER_END_DRAIN);
		return;
	}
	MER_ASSERT(slot->deployment != NULL);
	slot->state = SLOT_IDLE;
	slot->idle_until = (int64_t)uv_now(slot->route->sched->loop) + slot->deployment->idle_ms;
	sched_due(slot->route->sched, slot->idle_until);
}

static void on_ready(void *ctx)
{
	struct slot *slot = ctx;
	struct route *route = slot->route;
	if (slot->state != SLOT_STARTING)
		return; /* a program a run is ready as soon as it is prepared */
	slot->ready_by = 0;
	slot->state = SLOT_IDLE;
	if (route->ping != NULL)
		ping_end(route, NULL);
	if (slot->run != NULL)
		send_run(slot, slot->run, uv_hrtime());
	if (slot->run == NULL)
		rest(slot);
	pool_dispatch(route);
}

static void on_output(void *ctx, const char *bytes, size_t n)
{
	struct slot *slot = ctx;
	if (slot->run != NULL)
		run_output(slot->run, bytes, n);
}

static void on_log(void *ctx, const char *bytes, size_t n)
{
	struct slot *slot = ctx;
	if (slot->run != NULL)
		run_log(slot->run, bytes, n);
	else
		MER_DEBUG("model '%s' says between runs: %.*s", slot->route->model,
		          (int)(n < 200 ? n : 200), bytes);
}

static void on_done(void *ctx, const struct mer_outcome *outcome)
{
	struct slot *slot = ctx;
	struct route *route = slot->route;
	struct mer_run *run = slot->run;
	MER_ASSERT(run != NULL && run->state == RUN_OPEN);
	slot->run = NULL;
	run->slot = NULL;
	run->done_ns = uv_hrtime();
	route->sched->n_open--;
	if (route->sched->place != NULL && run->stream && outcome->status == MER_OK &&
	    stays(slot->deployment))
		place_call(route->sched->place, mer_worker_pid(slot->worker), run->done_ns - run->sent_ns);
	if (stays(slot->deployment))
		rest(slot);
	else
		slot->state = SLOT_ENDING;
	run_end(run, outcome);
	pool_dispatch(route);
	record_flush(route->sched, false);
}

/* It left before it took the run, or before it was ready. */
static void failed_to_start(struct slot *slot, const struct mer_outcome *outcome)
{
	struct route *route = slot->route;
	struct mer_run *run = slot->run;
	if (run != NULL) {
		slot->run = NULL;
		run->slot = NULL;
		route->sched->n_open--;
		run_end(run, outcome);
	}
	if (route->ping != NULL && slot->state != SLOT_ENDING) {
		struct mer_error err;
		mer_fail(&err, outcome->status == MER_OK ? MER_EUNREACHABLE : outcome->status,
		         "model '%s': %s", route->model, outcome->message);
		ping_end(route, &err);
	}
}

static void on_gone(void *ctx, const struct mer_outcome *outcome)
{
	struct slot *slot = ctx;
	struct route *route = slot->route;
	struct mer_sched *sched = route->sched;
	failed_to_start(slot, outcome);
	TAILQ_REMOVE(&route->slots, slot, link);
	deployment_unref(slot->deployment);
	free(slot);
	sched->slots--;
	pool_dispatch(route);
	record_flush(sched, false);
	sched_maybe_closed(sched);
}

static const struct mer_worker_events worker_events = {
	.on_ready = on_ready,
	.on_output = on_output,
	.on_log = on_log,
	.on_done = on_done,
	.on_gone = on_gone,
};

/* --- starting ----------------------------------------------------------------------------- */

static enum mer_status start(struct route *route, struct slot **out, struct mer_error *err)
{
	struct mer_sched *sched = route->sched;
	struct slot *slot = calloc(1, sizeof *slot);
	if (slot == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	if (sched->place != NULL)
		place_leave(sched->place); /* a child would inherit our processor */
	slot->route = route;
	slot->deployment = deployment_ref(route->current);
	slot->state = SLOT_PREPARED;
	enum mer_status st = mer_worker_start(sched->loop, &route->current->spec, &worker_events, slot,
	                                      &slot->worker, err);
	if (st != MER_OK) {
		deployment_unref(slot->deployment);
		free(slot);
		return st;
	}
	TAILQ_INSERT_TAIL(&route->slots, slot, link);
	sched->slots++;
	*out = slot;
	return MER_OK;
}

static void let_go(struct slot *slot)
{
	struct mer_sched *sched = slot->route->sched;
	slot->state = SLOT_STARTING;
	slot->ready_by = (int64_t)uv_now(sched->loop) + slot->deployment->start_timeout_ms;
	sched_due(sched, slot->ready_by);
	mer_worker_go(slot->worker);
}

void pool_prepare(struct route *route)
{
	struct slot *slot;
	if (route->current == NULL || !TAILQ_EMPTY(&route->slots) || route->sched->on_closed != NULL)
		return;
	struct mer_error err;
	if (start(route, &slot, &err) != MER_OK)
		MER_DEBUG("cannot prepare a worker: %s", err.message); /* the run's own start tells */
}

void pool_ping(struct route *route)
{
	struct mer_error err;
	struct slot *slot = TAILQ_FIRST(&route->slots);
	if (!stays(route->current)) {
		enum mer_status st = mer_worker_probe(&route->current->spec, &err);
		ping_end(route, st != MER_OK ? &err : NULL);
		return;
	}
	if (slot != NULL && (slot->state == SLOT_IDLE || slot->state == SLOT_BUSY)) {
		ping_end(route, NULL);
		return;
	}
	if (slot == NULL || slot->state == SLOT_ENDING) {
		if (start(route, &slot, &err) != MER_OK) {
			ping_end(route, &err);
			return;
		}
	}
	if (slot->state == SLOT_PREPARED)
		let_go(slot);
	if (route->ping->timeout_ms > 0) {
		slot->ready_by = (int64_t)uv_now(route->sched->loop) + route->ping->timeout_ms;
		sched_due(route->sched, slot->ready_by);
	}
}

/* --- giving out runs ---------------------------------------------------------------------- */

static struct slot *free_slot(struct route *route, size_t *busy, size_t *alive)
{
	struct slot *slot, *found = NULL;
	*busy = *alive = 0;
	TAILQ_FOREACH(slot, &route->slots, link)
	{
		if (slot->state != SLOT_ENDING)
			++*alive;
		if (slot->run != NULL)
			++*busy;
		else if ((slot->state == SLOT_IDLE || slot->state == SLOT_PREPARED ||
		          slot->state == SLOT_STARTING) &&
		         slot->deployment == route->current && (found == NULL || slot->state == SLOT_IDLE))
			found = slot;
	}
	return found;
}

static void take(struct slot *slot, struct mer_run *run)
{
	run_leave_ready(run);
	run->sched->n_open++;
	run->state = RUN_TAKEN;
	run->taken_ns = uv_hrtime();
	run->slot = slot;
	slot->run = run;
	if (run->stream)
		sched_run_timed(run);
	if (!stays(slot->deployment)) {
		send_run(slot, run, run->taken_ns);
		if (slot->run != NULL)
			mer_worker_go(slot->worker);
		else
			end_slot(slot, MER_END_KILL);
	} else if (slot->state == SLOT_IDLE) {
		send_run(slot, run, run->taken_ns);
		if (slot->run == NULL)
			rest(slot);
	} else if (slot->state == SLOT_PREPARED) {
		let_go(slot);
	}
}

/* A run that was cancelled before it was sent. */
static bool ended_early(struct mer_run *run)
{
	if (run->ending == ENDING_NO)
		return false;
	run_leave_ready(run);
	run_cancelled(run);
	return true;
}

/* Nothing is started for an input that the protocol does not carry. */
static enum mer_status slot_for(struct mer_run *run, struct slot **slot, const char **row_status,
                                struct mer_error *err)
{
	struct route *route = run->route;
	if (*slot != NULL && (*slot)->state == SLOT_IDLE)
		return MER_OK; /* mer_worker_run() says so itself */
	enum mer_status st = mer_worker_check(&route->current->spec, run->input, run->input_len, err);
	*row_status = st != MER_OK ? "rejected" : NULL;
	if (st == MER_OK && *slot == NULL)
		st = start(route, slot, err);
	return st;
}

void pool_dispatch(struct route *route)
{
	struct mer_sched *sched = route->sched;
	struct mer_run *run;
	while ((run = TAILQ_FIRST(&route->ready)) != NULL) {
		struct mer_error err;
		const char *row_status = NULL;
		size_t busy, alive;
		if (ended_early(run))
			continue;
		struct slot *slot = free_slot(route, &busy, &alive);
		size_t limit = run->stream ? 1 : worker_limit(route->current);
		if (busy >= limit || (slot == NULL && alive >= limit))
			return;
		enum mer_status st = slot_for(run, &slot, &row_status, &err);
		if (st == MER_OK) {
			MER_ASSERT(slot != NULL);
			take(slot, run);
		} else {
			run_leave_ready(run);
			run_fail(run, st, row_status, &err);
		}
	}
	if (sched->place != NULL && sched->n_open == 0 && sched->n_ready == 0)
		place_leave(sched->place);
}

void pool_end_run(struct mer_run *run, bool kill)
{
	struct slot *slot = run->slot;
	if (run->state == RUN_TAKEN) { /* the worker has not seen it and may go on starting */
		slot->run = NULL;
		run->slot = NULL;
		run->sched->n_open--;
		run_cancelled(run);
		return;
	}
	bool asked = !kill && mer_worker_cancel(slot->worker, GRACE_MS);
	mer_worker_pause(slot->worker, false);
	if (!asked) /* else it stays if it gives up the run in time */
		end_slot(slot, kill ? MER_END_KILL : MER_END_TERM);
}

/* --- changes and time --------------------------------------------------------------------- */

void pool_changed(struct route *route, struct deployment *fresh)
{
	struct slot *slot;
	deployment_unref(route->current);
	route->current = fresh;
	TAILQ_FOREACH(slot, &route->slots, link)
	{
		if (slot->run == NULL && slot->state != SLOT_ENDING)
			end_slot(slot, slot->state == SLOT_IDLE ? MER_END_DRAIN : MER_END_KILL);
	}
}

void pool_drain(struct route *route)
{
	struct slot *slot;
	TAILQ_FOREACH(slot, &route->slots, link)
	{
		if (slot->state == SLOT_IDLE)
			end_slot(slot, MER_END_DRAIN);
		else if (slot->state == SLOT_PREPARED && slot->run == NULL)
			end_slot(slot, MER_END_KILL);
		else if (slot->state == SLOT_STARTING && slot->run == NULL)
			end_slot(slot, MER_END_TERM);
	}
}

int64_t pool_due(const struct route *route)
{
	const struct slot *slot;
	int64_t due = 0;
	TAILQ_FOREACH(slot, &route->slots, link)
	{
		int64_t at = slot->ready_by != 0 ? slot->ready_by : slot->idle_until;
		if (at != 0 && (due == 0 || at < due))
			due = at;
	}
	return due;
}

static void not_ready_in_time(struct slot *slot)
{
	struct route *route = slot->route;
	struct mer_run *run = slot->run;
	struct mer_error err;
	mer_fail(&err, MER_ETIMEOUT, "model '%s' was not ready within its start timeout", route->model);
	mer_hint(&err, "a deployment's start-timeout says how long a start may take");
	slot->run = NULL;
	end_slot(slot, MER_END_TERM);
	if (run != NULL) {
		run->slot = NULL;
		route->sched->n_open--;
		run_fail(run, MER_ETIMEOUT, "timeout", &err);
	}
	if (route->ping != NULL)
		ping_end(route, &err);
}

void pool_tick(struct route *route, int64_t now)
{
	struct slot *slot;
	TAILQ_FOREACH(slot, &route->slots, link)
	{
		if (slot->ready_by != 0 && slot->ready_by <= now)
			not_ready_in_time(slot);
		else if (slot->idle_until != 0 && slot->idle_until <= now)
			end_slot(slot, MER_END_DRAIN);
	}
}
