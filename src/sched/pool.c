/* The workers of a route as a whole: kept warm up to a limit, told to leave when they are idle for
 * long or their deployment has changed. */
#define LOG_AREA "sched"
#include "pool.h"

#include <mer/log.h>
#include <stdlib.h>
#include <string.h>

static size_t worker_limit(const struct deployment *deployment)
{
	if (deployment->max_workers > 0)
		return (size_t)deployment->max_workers;
	if (deployment->spec.protocol != MER_PROTOCOL_ONCE)
		return 1;
	cpu_set_t cpus;
	if (sched_getaffinity(0, sizeof cpus, &cpus) != 0)
		return 1;
	return (size_t)CPU_COUNT(&cpus);
}

static bool is_of(const struct slot *slot, const struct deployment *deployment)
{
	return slot->state != SLOT_ENDING &&
	       (slot->deployment == deployment || strcmp(slot->deployment->uid, deployment->uid) == 0);
}

bool pool_is_full(const struct route *route, const struct deployment *deployment)
{
	const struct route *other;
	const struct slot *slot;
	size_t n = 0;
	TAILQ_FOREACH(other, &route->sched->routes, link)
	TAILQ_FOREACH(slot, &other->slots, link)
	n += is_of(slot, deployment);
	return n >= worker_limit(deployment);
}

bool pool_make_room(const struct route *route, const struct deployment *deployment)
{
	struct route *other;
	struct slot *slot;
	bool may_leave = false;
	TAILQ_FOREACH(other, &route->sched->routes, link)
	TAILQ_FOREACH(slot, &other->slots, link)
	{
		bool kept = other->session[0] != '\0' && slot->state != SLOT_PREPARED;
		if (strcmp(slot->deployment->uid, deployment->uid) != 0)
			continue;
		may_leave |= !kept || other == route || slot->state == SLOT_ENDING;
		if (kept || other == route || other->n_ready > 0 || slot->n_runs > 0)
			continue;
		if (slot->state == SLOT_PREPARED) /* its run was refused or cancelled */
			slot_end(slot, MER_END_KILL);
		else if (slot->state == SLOT_IDLE)
			slot_end(slot, MER_END_DRAIN);
		else
			continue;
		return true;
	}
	return may_leave;
}

bool pool_has_worker(const struct route *route)
{
	const struct slot *slot;
	TAILQ_FOREACH(slot, &route->slots, link)
	if (slot->state != SLOT_ENDING)
		return true;
	return false;
}

void pool_prepare(struct route *route)
{
	struct slot *slot;
	if (route->current == NULL || pool_has_worker(route) || route->sched->on_closed != NULL ||
	    pool_is_full(route, route->current))
		return;
	if (trace_is_of_start(route->sched, route->current)) /* it waits for its run */
		return;
	struct mer_error err;
	if (slot_start(route, route->current, NULL, &slot, &err) != MER_OK)
		MER_DEBUG("cannot prepare a worker: %s", err.message); /* the run's own start tells */
}

void pool_foresee(struct route *route)
{
	const struct deployment *first = route->current;
	if (first == NULL || first->spec.remote == NULL || deployment_stays(first) ||
	    route->training != NULL)
		return;
	int64_t now = (int64_t)uv_now(route->sched->loop);
	bool well = first->health.failures == 0 && first->health.busy_until <= now;
	if (well && first->loan == NULL)
		pool_prepare(route);
}

void pool_end_run(struct mer_run *run, bool kill)
{
	struct slot *slot = run->slot;
	if (made_cancel(slot))
		return;
	if (run->state == RUN_TAKEN) { /* the worker has not seen it and may go on starting */
		slot_leave(run);
		run_cancelled(run);
		return;
	}
	bool asked = !kill && mer_worker_cancel(slot->worker, run, GRACE_MS);
	slot_hold(slot);
	if (!asked) /* else it stays if it gives up the run in time */
		slot_end(slot, kill ? MER_END_KILL : MER_END_TERM);
}

/* The deployment that a route has under a key. */
static struct deployment *known(const struct route *route, const char *key)
{
	for (size_t i = 0; i < route->n_places; i++) {
		if (strcmp(route->places[i]->key, key) == 0)
			return route->places[i];
	}
	return NULL;
}

/* The places are numbered anew. */
static void forget_tried(struct run_list *runs)
{
	struct mer_run *run;
	TAILQ_FOREACH(run, runs, link)
	run->tried = 0;
}

void pool_changed(struct route *route, struct places *fresh)
{
	struct deployment *now[PLACES_MAX];
	struct slot *slot;
	for (size_t i = 0; i < fresh->n; i++) {
		now[i] = fresh->of[i].made;
		if (now[i] == NULL)
			now[i] = deployment_ref(known(route, fresh->of[i].key));
		free(fresh->of[i].key);
	}
	for (size_t i = 0; i < route->n_places; i++)
		deployment_unref(route->places[i]);
	route->n_places = fresh->n;
	memcpy(route->places, now, fresh->n * sizeof *now);
	route->current = route->places[0];
	free(fresh);
	forget_tried(&route->ready);
	TAILQ_FOREACH(slot, &route->slots, link)
	{
		forget_tried(&slot->runs);
		if (slot->n_runs == 0 && slot->state != SLOT_ENDING && !slot_in_force(slot))
			slot_end(slot, slot->state == SLOT_IDLE ? MER_END_DRAIN : MER_END_KILL);
	}
}

void pool_drain(struct route *route)
{
	struct slot *slot;
	TAILQ_FOREACH(slot, &route->slots, link)
	{
		if (slot->state == SLOT_IDLE)
			slot_end(slot, MER_END_DRAIN);
		else if (slot->state == SLOT_PREPARED && slot->n_runs == 0)
			slot_end(slot, MER_END_KILL);
		else if (slot->state == SLOT_STARTING && slot->n_runs == 0)
			slot_end(slot, MER_END_TERM);
	}
}

int64_t pool_due(const struct route *route)
{
	const struct slot *slot;
	int64_t due = 0;
	for (size_t i = 0; i < route->n_places && !TAILQ_EMPTY(&route->ready); i++) {
		const struct choose_health *health = &route->places[i]->health;
		int64_t at = health->busy_until != 0 ? health->busy_until : health->start_after;
		if (at != 0 && (due == 0 || at < due))
			due = at;
	}
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
	struct mer_error err;
	mer_fail(&err, MER_ETIMEOUT, "model '%s' was not ready within its start timeout",
	         slot->route->model);
	mer_hint(&err, "a deployment's start-timeout says how long a start may take");
	slot_not_ready(slot, "it was not ready within its start timeout", &err);
}

void pool_tick(struct route *route, int64_t now)
{
	struct slot *slot;
	for (size_t i = 0; i < route->n_places; i++) {
		struct choose_health *health = &route->places[i]->health;
		if (health->start_after <= now)
			health->start_after = 0;
		if (health->busy_until <= now)
			health->busy_until = 0;
	}
	TAILQ_FOREACH(slot, &route->slots, link)
	{
		if (slot->ready_by != 0 && slot->ready_by <= now)
			not_ready_in_time(slot);
		else if (slot->idle_until != 0 && slot->idle_until <= now)
			slot_end(slot, MER_END_DRAIN);
	}
}
