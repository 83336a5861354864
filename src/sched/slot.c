/* A worker of a route: started, given runs, at rest, told to leave. */
#define LOG_AREA "sched"
#include "pool.h"

#include <mer/log.h>
#include <stdlib.h>

void slot_end(struct slot *slot, enum mer_end how)
{
	slot->state = SLOT_ENDING;
	slot->ready_by = slot->idle_until = 0;
	mer_worker_end(slot->worker, how, GRACE_MS);
}

void slot_enter(struct slot *slot, struct mer_run *run)
{
	run->slot = slot;
	deployment_unref(run->deployment);
	run->deployment = deployment_ref(slot->deployment);
	keep_begin(run, run->deployment);
	TAILQ_INSERT_TAIL(&slot->runs, run, link);
	slot->n_runs++;
	slot->route->n_open++;
	slot->route->sched->n_open++;
}

void slot_leave(struct mer_run *run)
{
	struct slot *slot = run->slot;
	TAILQ_REMOVE(&slot->runs, run, link);
	slot->n_runs--;
	slot->route->n_open--;
	slot->route->sched->n_open--;
	run->slot = NULL;
}

void slot_hold(struct slot *slot)
{
	const struct mer_run *run;
	bool pause = false;
	TAILQ_FOREACH(run, &slot->runs, link)
	pause |= run->paused && run->ending == ENDING_NO;
	mer_worker_pause(slot->worker, pause);
}

/* The worker takes no run any more: the run waits for another one, in its old place. */
static void put_back(struct slot *slot, struct mer_run *run)
{
	slot->state = SLOT_ENDING;
	slot->ready_by = slot->idle_until = 0;
	if (run->stream)
		sched_run_untimed(run); /* its time begins when it is taken */
	run->taken_ns = 0;
	run->attempts--;
	run_make_ready(run, true);
}

void slot_send(struct slot *slot, struct mer_run *run, uint64_t now_ns)
{
	struct mer_error err;
	char traceparent[MER_TRACEPARENT_SIZE];
	struct mer_input input = { .bytes = run->input,
		                       .len = run->input_len,
		                       .meta = run->input_meta,
		                       .tensors = run->tensors,
		                       .uid = run->uid.text,
		                       .traceparent = traceparent };
	mer_traceparent_pass(run->sched->traceparent, &run->uid, traceparent);
	use_begin(slot, run);
	if (slot->deployment->train_meta != NULL)
		input.meta = slot->deployment->train_meta;
	else if (run->own_timeout)
		input.deadline_ms = run->deadline - (int64_t)uv_now(run->sched->loop);
	enum mer_status st = mer_worker_run(slot->worker, &input, run, &err);
	if (st != MER_OK) {
		slot_leave(run);
		if (st == MER_EUNREACHABLE)
			put_back(slot, run);
		else
			run_fail(run, st, st == MER_EINPUT ? "rejected" : NULL, &err);
		return;
	}
	slot->state = SLOT_BUSY;
	slot->idle_until = 0;
	slot_hold(slot);
	slot->route->begun = true;
	origin_take(slot, run);
	run_sent(run, now_ns);
}

bool slot_has_room(const struct slot *slot)
{
	bool ready = slot->state == SLOT_IDLE || slot->state == SLOT_BUSY;
	return ready && mer_worker_room(slot->worker) > 0;
}

bool slot_in_force(const struct slot *slot)
{
	const struct route *route = slot->route;
	for (size_t i = 0; i < route->n_places; i++) {
		if (route->places[i] == slot->deployment)
			return true;
	}
	return false;
}

void slot_rest(struct slot *slot)
{
	if (slot->state == SLOT_ENDING || slot->n_runs > 0)
		return;
	if (!slot_in_force(slot) || slot->route->training != NULL ||
	    slot->route->sched->on_closed != NULL) {
		slot_end(slot, MER_END_DRAIN);
		return;
	}
	MER_ASSERT(slot->deployment != NULL);
	slot->state = SLOT_IDLE;
	slot->idle_until = (int64_t)uv_now(slot->route->sched->loop) + slot->deployment->idle_ms;
	sched_due(slot->route->sched, slot->idle_until);
}

int64_t slot_start_took(const struct slot *slot)
{
	if (slot->ready_by == 0)
		return 0;
	int64_t left = slot->ready_by - (int64_t)uv_now(slot->route->sched->loop);
	int64_t took = slot->deployment->start_timeout_ms - left;
	return took > 0 ? took : 0;
}

void slot_not_ready(struct slot *slot, const char *why, const struct mer_error *err)
{
	struct route *route = slot->route;
	struct mer_run *run = TAILQ_FIRST(&slot->runs);
	again_learn(route, slot->deployment, slot_start_took(slot), CHOOSE_SLOW_MS, why);
	slot_end(slot, MER_END_TERM);
	if (run != NULL) {
		slot_leave(run);
		if (!again_elsewhere(run, slot->deployment)) {
			origin_take(slot, run);
			run_fail(run, err->status, NULL, err);
		}
	}
	if (route->ping != NULL)
		ping_end(route, err);
}

enum mer_status slot_start(struct route *route, struct deployment *deployment,
                           const struct mer_run *run, struct slot **out, struct mer_error *err)
{
	struct mer_sched *sched = route->sched;
	struct slot *slot = calloc(1, sizeof *slot);
	if (slot == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	if (sched->place != NULL)
		place_leave(sched->place); /* a child would inherit our processor */
	slot->route = route;
	slot->deployment = deployment_ref(deployment);
	slot->state = SLOT_PREPARED;
	TAILQ_INIT(&slot->runs);
	enum mer_status st = trace_start_worker(sched, deployment, run, slot, err);
	if (st != MER_OK) {
		deployment_unref(slot->deployment);
		free(slot);
		return st;
	}
	TAILQ_INSERT_TAIL(&route->slots, slot, link);
	sched->slots++;
	if (route->session[0] != '\0' && route->begun)
		MER_LOG(MER_LOG_WARN, "session '%s' of model '%s' begins anew: its worker has left",
		        route->session, route->model);
	route->begun = false;
	*out = slot;
	return MER_OK;
}

void slot_let_go(struct slot *slot)
{
	struct mer_sched *sched = slot->route->sched;
	slot->state = SLOT_STARTING;
	slot->ready_by = (int64_t)uv_now(sched->loop) + slot->deployment->start_timeout_ms;
	sched_due(sched, slot->ready_by);
	origin_begin(slot);
	mer_worker_go(slot->worker);
}

void slot_take(struct slot *slot, struct mer_run *run)
{
	run_leave_ready(run);
	run->state = RUN_TAKEN;
	uint64_t now_ns = uv_hrtime();
	if (run->taken_ns == 0)
		run->taken_ns = now_ns;
	run->attempts++;
	slot_enter(slot, run);
	if (run->stream && run->deadline == 0)
		sched_run_timed(run);
	if (!deployment_stays(slot->deployment)) {
		slot_send(slot, run, now_ns);
		if (slot->n_runs > 0)
			mer_worker_go(slot->worker);
		else
			slot_end(slot, MER_END_KILL);
	} else if (slot->state == SLOT_IDLE || slot->state == SLOT_BUSY) {
		slot_send(slot, run, now_ns);
		slot_rest(slot);
	} else if (slot->state == SLOT_PREPARED) {
		slot_let_go(slot);
	}
}
