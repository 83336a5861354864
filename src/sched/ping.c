/* Whether a model could answer now: a worker that is ready, or can be made ready. */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

void ping_end(struct route *route, const struct mer_error *err)
{
	struct ping *ping = route->ping;
	route->ping = NULL;
	int64_t ms = (int64_t)((uv_hrtime() - ping->begun_ns) / 1000000);
	ping->on_ready(ping->ctx, err, ms, route->current != NULL ? route->current->server : "");
	free(ping);
}

void ping_cancel(struct route *route)
{
	struct mer_error err;
	if (route->ping == NULL)
		return;
	mer_fail(&err, MER_ECANCELED, "the ping of model '%s' was cancelled", route->model);
	ping_end(route, &err);
}

/* Whatever way led to it: a worker that is made of the same, in one of two states. */
static bool has_like(const struct route *route, enum slot_state one, enum slot_state other)
{
	const struct route *way;
	const struct slot *slot;
	TAILQ_FOREACH(way, &route->sched->routes, link)
	TAILQ_FOREACH(slot, &way->slots, link)
	if (way->training == NULL && (slot->state == one || slot->state == other) &&
	    strcmp(slot->deployment->key, route->current->key) == 0)
		return true;
	return false;
}

/* One of its own that is to be ready, or a new one. NULL: wait, or where err says so fail. */
static struct slot *find_slot(struct route *route, struct mer_error *err)
{
	struct slot *slot;
	err->status = MER_OK;
	TAILQ_FOREACH(slot, &route->slots, link)
	if (slot->deployment == route->current &&
	    (slot->state == SLOT_PREPARED || slot->state == SLOT_STARTING))
		return slot;
	if (!pool_is_full(route, route->current)) {
		err->status = slot_start(route, route->current, &slot, err);
		return err->status == MER_OK ? slot : NULL;
	}
	if (has_like(route, SLOT_STARTING, SLOT_STARTING))
		return NULL;
	(void)pool_make_room(route, route->current);
	if (!pool_is_full(route, route->current))
		return NULL; /* once it has left */
	mer_fail(err, MER_EBUSY, "model '%s' is busy: all of its workers are in use", route->model);
	mer_hint(err, "a deployment's max-workers says how many there may be");
	return NULL;
}

void ping_begin(struct route *route)
{
	struct mer_error err;
	if (!deployment_stays(route->current)) {
		enum mer_status st = mer_worker_probe(&route->current->spec, &err);
		ping_end(route, st != MER_OK ? &err : NULL);
		return;
	}
	if (has_like(route, SLOT_IDLE, SLOT_BUSY)) {
		ping_end(route, NULL);
		return;
	}
	struct slot *slot = find_slot(route, &err);
	route->ping->waits = slot == NULL && err.status == MER_OK;
	if (err.status != MER_OK)
		ping_end(route, &err);
	if (slot == NULL) {
		route->sched->crowded = true;
		return;
	}
	if (slot->state == SLOT_PREPARED)
		slot_let_go(slot);
	if (route->ping->timeout_ms > 0) {
		slot->ready_by = (int64_t)uv_now(route->sched->loop) + route->ping->timeout_ms;
		sched_due(route->sched, slot->ready_by);
	}
}
