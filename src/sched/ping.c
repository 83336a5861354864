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
	loan_unwanted(route);
}

void ping_cancel(struct route *route)
{
	struct mer_error err;
	if (route->ping == NULL)
		return;
	if (route->ping->looks != NULL)
		mer_worker_end(route->ping->looks, MER_END_KILL, 0);
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
		err->status = slot_start(route, route->current, NULL, &slot, err);
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

/* A worker on another host that only looks for its program, or asks a server for its model. */
struct looking {
	struct route *route;
	struct mer_worker *worker;
	struct deployment *deployment;
};

static void on_looked(void *ctx, const struct mer_outcome *outcome)
{
	struct looking *looking = ctx;
	struct route *route = looking->route;
	struct mer_sched *sched = route->sched;
	struct mer_error err;
	if (outcome->status != MER_OK)
		(void)mer_fail(&err, outcome->status, "%s", outcome->message);
	bool waits = ping_lent(route, looking->deployment, outcome->lacks);
	deployment_unref(looking->deployment);
	free(looking);
	sched->slots--;
	if (route->ping != NULL && !waits)
		ping_end(route, outcome->status != MER_OK ? &err : NULL);
	sched_maybe_closed(sched);
}

static void ping_there(struct route *route)
{
	static const struct mer_worker_events events = { .on_gone = on_looked };
	struct mer_error err;
	struct looking *looking = calloc(1, sizeof *looking);
	if (looking == NULL) {
		(void)mer_fail(&err, MER_ENOMEM, "out of memory");
		ping_end(route, &err);
		return;
	}
	struct mer_remote remote;
	struct mer_worker_spec spec = route->current->spec;
	if (spec.remote != NULL) {
		remote = *spec.remote;
		remote.probe = true;
		spec.remote = &remote;
	}
	spec.http_probe = MER_HTTP_PROBES_MODEL;
	enum mer_status st =
		mer_worker_start(route->sched->loop, &spec, &events, looking, &looking->worker, &err);
	if (st != MER_OK) {
		free(looking);
		ping_end(route, &err);
		return;
	}
	route->ping->looks = looking->worker;
	looking->route = route;
	looking->deployment = deployment_ref(route->current);
	route->sched->slots++;
	mer_worker_go(looking->worker);
}

bool ping_lent(struct route *route, struct deployment *deployment, const char *lacks)
{
	struct ping *ping = route->ping;
	if (ping == NULL || ping->lent || !loan_begin(route, deployment, lacks))
		return false;
	ping->lent = ping->waits = true;
	return true;
}

void ping_begin(struct route *route)
{
	struct mer_error err;
	if (route->current->loan != NULL) {
		route->ping->waits = true;
		return;
	}
	route->ping->waits = false;
	bool is_ssh = route->current->remote != NULL;
	if ((!deployment_stays(route->current) && is_ssh) || route->current->http != NULL) {
		ping_there(route);
		return;
	}
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
