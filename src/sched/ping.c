/* Whether a model could answer now: a worker that is ready, or can be made ready. */
#include "pool.h"

#include <stdlib.h>

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

void ping_begin(struct route *route)
{
	struct mer_error err;
	struct slot *slot;
	TAILQ_FOREACH(slot, &route->slots, link)
	if (slot->deployment == route->current)
		break;
	if (!deployment_stays(route->current)) {
		enum mer_status st = mer_worker_probe(&route->current->spec, &err);
		ping_end(route, st != MER_OK ? &err : NULL);
		return;
	}
	if (slot != NULL && (slot->state == SLOT_IDLE || slot->state == SLOT_BUSY)) {
		ping_end(route, NULL);
		return;
	}
	if (slot == NULL || slot->state == SLOT_ENDING) {
		if (slot_start(route, route->current, &slot, &err) != MER_OK) {
			ping_end(route, &err);
			return;
		}
	}
	if (slot->state == SLOT_PREPARED)
		slot_let_go(slot);
	if (route->ping->timeout_ms > 0) {
		slot->ready_by = (int64_t)uv_now(route->sched->loop) + route->ping->timeout_ms;
		sched_due(route->sched, slot->ready_by);
	}
}
