/* Gives a route's ready runs to workers: which one, whether another is started, what has to wait. */
#include "pool.h"

#include <string.h>

/* Or wait for it to be ready. */
static bool is_coming(const struct slot *slot)
{
	bool coming = slot->state == SLOT_PREPARED || slot->state == SLOT_STARTING;
	return coming && slot->n_runs == 0;
}

static struct slot *slot_with_room(const struct route *route, const struct deployment *deployment)
{
	struct slot *slot, *found = NULL, *coming = NULL;
	TAILQ_FOREACH(slot, &route->slots, link)
	{
		if (slot->deployment != deployment)
			continue;
		if (slot_has_room(slot) && (found == NULL || slot->n_runs < found->n_runs))
			found = slot;
		else if (is_coming(slot))
			coming = slot;
	}
	return found != NULL ? found : coming;
}

/* A deployment as a run sees it. */
static struct choose_place look(const struct mer_run *run, size_t i)
{
	const struct route *route = run->route;
	struct deployment *deployment = route->places[i];
	const struct slot *slot, *found = slot_with_room(route, deployment);
	struct choose_place place = {
		.health = deployment->health,
		.priority = deployment->priority,
		.tried = (run->tried >> i & 1) != 0,
		.ready = found != NULL && slot_has_room(found),
		.coming = found != NULL,
	};
	if (found == NULL && (route->session[0] == '\0' || !pool_has_worker(route)))
		place.coming = !pool_is_full(route, deployment);
	if (place.ready)
		place.load = found->n_runs;
	else
		TAILQ_FOREACH(slot, &route->slots, link)
	place.load += slot->deployment == deployment ? slot->n_runs : 0;
	return place;
}

/* The deployment for a run. NULL: it has to wait, and where *held it would for long. */
static struct deployment *place_for(struct mer_run *run, bool *held)
{
	const struct route *route = run->route;
	int64_t now = (int64_t)uv_now(run->sched->loop);
	struct choose_place places[PLACES_MAX];
	size_t which = 0;
	for (size_t i = 0; i < route->n_places; i++)
		places[i] = look(run, i);
	enum choice choice = choose(places, route->n_places, now, &which);
	MER_ASSERT(choice != CHOICE_NONE);
	struct deployment *deployment = route->places[which];
	if (choice == CHOICE_PLACE)
		return deployment;
	const struct choose_health *health = &deployment->health;
	if (health->busy_until > now)
		sched_due(run->sched, health->busy_until);
	else if (health->start_after > now)
		sched_due(run->sched, health->start_after);
	else if (pool_is_full(route, deployment)) {
		run->sched->crowded = true;
		*held = !pool_make_room(route, deployment);
	}
	return NULL;
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

/* Whether one more run may be open: a stream says how many, a session has them in their order, and
 * whoever submitted it has the last word. */
static bool may_open(const struct route *route, const struct mer_run *run)
{
	if (route->session[0] != '\0' && route->n_open > 0)
		return false;
	if (run->stream && route->n_open >= run->jobs)
		return false;
	return run->events->may_start == NULL || run->events->may_start(run->ctx);
}

/* A slot for a run. Nothing is started for an input that the protocol does not carry. */
static enum mer_status slot_for(struct mer_run *run, struct deployment *deployment,
                                struct slot **slot, const char **row_status, struct mer_error *err)
{
	struct route *route = run->route;
	const struct mer_input input = {
		.bytes = run->input, .len = run->input_len, .meta = run->input_meta, .tensors = run->tensors
	};
	if (route->session[0] != '\0' && !deployment->stateful) {
		*row_status = "rejected";
		(void)mer_fail(err, MER_EINPUT, "model '%s' has no sessions", route->model);
		mer_hint(err, "a model that is --stateful has");
		return MER_EINPUT;
	}
	*slot = slot_with_room(route, deployment);
	if (*slot != NULL && slot_has_room(*slot))
		return MER_OK; /* mer_worker_run() says so itself */
	enum mer_status st = mer_worker_check(&deployment->spec, &input, err);
	*row_status = st != MER_OK ? "rejected" : NULL;
	return st == MER_OK && *slot == NULL ? slot_start(route, deployment, run, slot, err) : st;
}

/* Runs that wait for their worker to be ready need not, where another one is. */
static void relieve(struct route *route)
{
	struct slot *slot;
	TAILQ_FOREACH(slot, &route->slots, link)
	{
		struct mer_run *run = TAILQ_FIRST(&slot->runs);
		if (run == NULL || run->state != RUN_TAKEN)
			continue;
		struct slot *free_slot = slot_with_room(route, slot->deployment);
		if (free_slot == NULL || !slot_has_room(free_slot) || !slot_in_force(free_slot))
			continue;
		slot_leave(run);
		slot_enter(free_slot, run);
		slot_send(free_slot, run, uv_hrtime());
		slot_rest(free_slot);
	}
}

/* A session may keep its worker for as long as it is idle, and nobody is to wait for that unawares. */
static void fail_held(struct mer_run *run)
{
	struct mer_error err;
	mer_fail(&err, MER_EBUSY, "model '%s' is busy: sessions hold all of its workers",
	         run->route->model);
	mer_hint(&err, "a deployment's max-workers says how many there may be");
	run_leave_ready(run);
	run_fail(run, MER_EBUSY, "rejected", &err);
}

/* Of the places that are left to a run the one that takes somebody first, where each has asked that
 * nobody comes for a while. NULL: one of them has not. */
static const struct deployment *first_back(const struct mer_run *run, int64_t now)
{
	const struct route *route = run->route;
	const struct deployment *first = NULL;
	for (size_t i = 0; i < route->n_places; i++) {
		const struct deployment *place = route->places[i];
		if ((run->tried >> i & 1) != 0)
			continue;
		if (place->health.busy_until <= now)
			return NULL;
		if (first == NULL || place->health.busy_until < first->health.busy_until)
			first = place;
	}
	return first;
}

static void fail_too_late(struct mer_run *run, const struct deployment *place, int64_t now)
{
	struct mer_error err;
	char wait[24];
	mer_ms_text(place->health.busy_until - now, wait);
	mer_fail(&err, MER_EBUSY, "model '%s' is busy: server '%s' has asked that nobody comes for %s",
	         run->route->model, place->server, wait);
	mer_hint(&err, "a run whose --timeout is longer waits for it");
	run_leave_ready(run);
	run_fail(run, MER_EBUSY, run->attempts == 0 ? "rejected" : NULL, &err);
}

/* Runs whose time is over before a server takes one again need not wait for that. */
static void refuse_late(struct route *route)
{
	int64_t now = (int64_t)uv_now(route->sched->loop);
	bool any = false;
	for (size_t i = 0; i < route->n_places; i++)
		any |= route->places[i]->health.busy_until > now;
	struct mer_run *run = any ? TAILQ_FIRST(&route->ready) : NULL, *next;
	for (; run != NULL; run = next) {
		const struct deployment *place = first_back(run, now);
		next = TAILQ_NEXT(run, link);
		bool late = run->ending == ENDING_NO && run->deadline != 0 && place != NULL;
		if (late && place->health.busy_until >= run->deadline)
			fail_too_late(run, place, now);
	}
}

/* Gives a run to a worker, or ends it. Not so: it has to wait. */
static bool dispatch(struct route *route, struct mer_run *run)
{
	struct mer_error err;
	const char *row_status = NULL;
	struct slot *slot = NULL;
	if (ended_early(run))
		return true;
	bool held = false;
	bool may = may_open(route, run) && route->sched->kept_bytes <= KEPT_MAX;
	struct deployment *deployment = may ? place_for(run, &held) : NULL;
	if (held) {
		fail_held(run);
		return true;
	}
	if (deployment == NULL || deployment->loan != NULL)
		return false;
	enum mer_status st = slot_for(run, deployment, &slot, &row_status, &err);
	if (st == MER_OK) {
		MER_ASSERT(slot != NULL);
		slot_take(slot, run);
		return true;
	}
	run_leave_ready(run);
	if (st == MER_EUNREACHABLE) {
		again_learn(route, deployment, 0, 0, err.message);
		if (again_elsewhere(run, deployment))
			return true;
	}
	run_fail(run, st, row_status, &err);
	return true;
}

/* The queue is full: what came last is refused, but for streams, which wait to be read. */
static void refuse_excess(struct route *route)
{
	size_t most = (size_t)route->current->max_queue;
	struct mer_run *run = TAILQ_LAST(&route->ready, run_list), *before;
	for (; run != NULL && !run->accepted; run = before) {
		before = TAILQ_PREV(run, run_list, link);
		if (run->stream || run->ending != ENDING_NO || route->n_calls <= most) {
			run->accepted = true;
			continue;
		}
		struct mer_error err;
		mer_fail(&err, MER_EBUSY, "model '%s' is busy: %zu runs wait already", route->model, most);
		mer_hint(&err, "a deployment's max-queue says how many may");
		run_leave_ready(run);
		run_fail(run, MER_EBUSY, "rejected", &err);
	}
}

void dispatch_route(struct route *route)
{
	struct mer_sched *sched = route->sched;
	struct mer_run *run;
	if (route->ping != NULL && route->ping->waits)
		ping_begin(route);
	if (route->n_open > 0)
		relieve(route); /* they have come before those that are ready */
	refuse_late(route);
	while ((run = TAILQ_FIRST(&route->ready)) != NULL) {
		if (dispatch(route, run))
			continue;
		refuse_excess(route);
		return;
	}
	if (sched->place != NULL && sched->n_open == 0 && sched->n_ready == 0)
		place_leave(sched->place);
}
