/* The workers of a route: started on demand, kept warm, given as many runs as they take, told to leave
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

/* A worker came to be idle or has left: what waits for that may be of another way to the model. */
static void dispatch_freed(struct route *route)
{
	struct route *other;
	struct mer_sched *sched = route->sched;
	bool crowded = sched->crowded;
	sched->crowded = false;
	pool_dispatch(route);
	TAILQ_FOREACH(other, &sched->routes, link)
	if (crowded && other != route)
		pool_dispatch(other);
}

/* A slot has a run, from take() to leave(). */
static void enter(struct slot *slot, struct mer_run *run)
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

static void leave(struct mer_run *run)
{
	struct slot *slot = run->slot;
	TAILQ_REMOVE(&slot->runs, run, link);
	slot->n_runs--;
	slot->route->n_open--;
	slot->route->sched->n_open--;
	run->slot = NULL;
}

void pool_hold(struct slot *slot)
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

static void send_run(struct slot *slot, struct mer_run *run, uint64_t now_ns)
{
	struct mer_error err;
	struct mer_input input = { run->input, run->input_len, run->input_meta, 0, run->tensors };
	if (slot->deployment->train_meta != NULL)
		input.meta = slot->deployment->train_meta;
	else if (run->own_timeout)
		input.deadline_ms = run->deadline - (int64_t)uv_now(run->sched->loop);
	enum mer_status st = mer_worker_run(slot->worker, &input, run, &err);
	if (st != MER_OK) {
		leave(run);
		if (st == MER_EUNREACHABLE)
			put_back(slot, run);
		else
			run_fail(run, st, st == MER_EINPUT ? "rejected" : NULL, &err);
		return;
	}
	slot->state = SLOT_BUSY;
	slot->idle_until = 0;
	pool_hold(slot);
	slot->route->begun = true;
	origin_take(slot, run);
	run_sent(run, now_ns);
}

/* Whether new runs may go there. */
static bool in_force(const struct slot *slot)
{
	const struct route *route = slot->route;
	for (size_t i = 0; i < route->n_places; i++) {
		if (route->places[i] == slot->deployment)
			return true;
	}
	return false;
}

static void rest(struct slot *slot)
{
	if (slot->state == SLOT_ENDING || slot->n_runs > 0)
		return;
	if (!in_force(slot) || slot->route->training != NULL || slot->route->sched->on_closed != NULL) {
		end_slot(slot, MER_END_DRAIN);
		return;
	}
	MER_ASSERT(slot->deployment != NULL);
	slot->state = SLOT_IDLE;
	slot->idle_until = (int64_t)uv_now(slot->route->sched->loop) + slot->deployment->idle_ms;
	sched_due(slot->route->sched, slot->idle_until);
}

/* How long a start has been under way; 0: none is. */
static int64_t start_took(const struct slot *slot)
{
	if (slot->ready_by == 0)
		return 0;
	int64_t left = slot->ready_by - (int64_t)uv_now(slot->route->sched->loop);
	int64_t took = slot->deployment->start_timeout_ms - left;
	return took > 0 ? took : 0;
}

/* It was started and will not be ready: its run goes elsewhere, or is told as whoever asks is. */
static void not_ready(struct slot *slot, const char *why, const struct mer_error *err)
{
	struct route *route = slot->route;
	struct mer_run *run = TAILQ_FIRST(&slot->runs);
	again_learn(route, slot->deployment, start_took(slot), CHOOSE_SLOW_MS, why);
	end_slot(slot, MER_END_TERM);
	if (run != NULL) {
		leave(run);
		if (!again_elsewhere(run, slot->deployment)) {
			origin_take(slot, run);
			run_fail(run, err->status, NULL, err);
		}
	}
	if (route->ping != NULL)
		ping_end(route, err);
}

static void on_ready(void *ctx)
{
	struct slot *slot = ctx;
	struct route *route = slot->route;
	if (slot->state != SLOT_STARTING)
		return; /* a program a run is ready as soon as it is prepared */
	struct mer_error err;
	if (test_begin(slot, &err))
		return; /* and comes here again when it has passed */
	if (err.status != MER_OK) {
		not_ready(slot, "it cannot be tested", &err);
		return;
	}
	slot->ready_by = 0;
	slot->state = SLOT_IDLE;
	if (route->ping != NULL)
		ping_end(route, NULL);
	struct mer_run *run = TAILQ_FIRST(&slot->runs);
	bool traceless = run != NULL && run->no_record;
	if (run != NULL)
		send_run(slot, run, uv_hrtime());
	if (!traceless && mer_worker_announced(slot->worker) != NULL)
		contract_keep(route->sched, route->model, mer_worker_announced(slot->worker));
	rest(slot);
	dispatch_freed(route);
}

static void on_meta(void *ctx, void *run, const char *meta)
{
	const struct slot *slot = ctx;
	if (run != slot->testing)
		run_meta(run, meta);
}

static void on_output(void *ctx, void *run, const char *bytes, size_t n)
{
	struct slot *slot = ctx;
	if (run == slot->testing)
		test_output(slot, bytes, n);
	else
		run_output(run, bytes, n);
}

/* What may be of any of several runs is kept with all of them, and told once. */
static void on_log(void *ctx, void *of, const char *bytes, size_t n)
{
	struct slot *slot = ctx;
	if (of == slot->testing)
		of = NULL;
	struct mer_run *run = of != NULL ? of : TAILQ_FIRST(&slot->runs);
	if (run == NULL) {
		MER_DEBUG("model '%s' says between runs: %.*s", slot->route->model,
		          (int)(n < 200 ? n : 200), bytes);
		return;
	}
	run_log(run, bytes, n);
	while (of == NULL && (run = TAILQ_NEXT(run, link)) != NULL)
		run_keep_log(run, bytes, n);
}

/* Quick calls that follow one another are made where their worker is. */
static void place_done(const struct slot *slot, const struct mer_run *run, enum mer_status status)
{
	struct place *place = run->sched->place;
	if (place == NULL || !run->stream || status != MER_OK || !stays(slot->deployment))
		return;
	if (run->jobs == 1)
		place_call(place, mer_worker_pid(slot->worker), run->done_ns - run->sent_ns);
	else
		place_leave(place);
}

/* Takes note of what a run says of its deployment. Whether the run is given to a worker once more. */
static bool learn(struct slot *slot, struct mer_run *run, const struct mer_outcome *outcome)
{
	struct deployment *deployment = slot->deployment;
	bool died = outcome->exit_code >= 0 || outcome->signal != 0;
	if (outcome->status == MER_EUNREACHABLE && !stays(deployment)) {
		again_learn(slot->route, deployment, 0, 0, outcome->message);
		return again_elsewhere(run, deployment);
	}
	if (outcome->status == MER_EMODEL && died && again_anew(run, deployment))
		return true;
	bool answered = outcome->status == MER_OK || outcome->status == MER_EINPUT;
	if (answered || (outcome->status == MER_EMODEL && (!died || !stays(deployment)))) {
		choose_answered(&deployment->health);
		slot->answered = true;
	}
	return false;
}

static void on_tested(struct slot *slot, const struct mer_outcome *outcome)
{
	struct mer_error err;
	bool passed = test_passed(slot, outcome, &err);
	if (slot->state != SLOT_STARTING)
		return; /* it was told to leave meanwhile */
	if (passed)
		on_ready(slot);
	else
		not_ready(slot, "it did not pass its test", &err);
}

static void on_done(void *ctx, void *of, const struct mer_outcome *outcome)
{
	struct slot *slot = ctx;
	struct route *route = slot->route;
	struct mer_run *run = of;
	if (of == slot->testing) {
		on_tested(slot, outcome);
		dispatch_freed(route);
		record_flush(route->sched, false);
		return;
	}
	MER_ASSERT(run->slot == slot && run->state == RUN_OPEN);
	leave(run);
	run->done_ns = uv_hrtime();
	place_done(slot, run, outcome->status);
	if (run->paused)
		pool_hold(slot);
	if (stays(slot->deployment))
		rest(slot);
	else
		slot->state = SLOT_ENDING;
	if (!learn(slot, run, outcome))
		run_end(run, outcome);
	dispatch_freed(route);
	record_flush(route->sched, false);
}

/* It left before it took the run, or before it was ready. */
static void failed_to_start(struct slot *slot, const struct mer_outcome *outcome)
{
	struct route *route = slot->route;
	struct mer_run *run = TAILQ_FIRST(&slot->runs);
	if (run != NULL) {
		leave(run);
		if (outcome->status != MER_EUNREACHABLE || !again_elsewhere(run, slot->deployment)) {
			origin_take(slot, run);
			run_end(run, outcome);
		}
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
	bool by_itself = slot->state != SLOT_ENDING && stays(slot->deployment) &&
	                 outcome->status != MER_ELIMIT && outcome->status != MER_ECANCELED;
	int64_t slowest = slot->state == SLOT_STARTING ? CHOOSE_SLOW_MS : CHOOSE_SLOW_READY_MS;
	if (by_itself && !slot->answered)
		again_learn(route, slot->deployment, start_took(slot), slowest, outcome->message);
	failed_to_start(slot, outcome);
	TAILQ_REMOVE(&route->slots, slot, link);
	origin_end(slot);
	test_end(slot);
	deployment_unref(slot->deployment);
	free(slot);
	sched->slots--;
	if (route->training != NULL && route->training->on_gone != NULL)
		route->training->on_gone(route->training->ctx);
	dispatch_freed(route);
	record_flush(sched, false);
	sched_maybe_closed(sched);
}

static const struct mer_worker_events worker_events = {
	.on_ready = on_ready,
	.on_meta = on_meta,
	.on_output = on_output,
	.on_log = on_log,
	.on_done = on_done,
	.on_gone = on_gone,
};

/* --- starting ----------------------------------------------------------------------------- */

static enum mer_status start(struct route *route, struct deployment *deployment, struct slot **out,
                             struct mer_error *err)
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
	enum mer_status st =
		mer_worker_start(sched->loop, &deployment->spec, &worker_events, slot, &slot->worker, err);
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

static void let_go(struct slot *slot)
{
	struct mer_sched *sched = slot->route->sched;
	slot->state = SLOT_STARTING;
	slot->ready_by = (int64_t)uv_now(sched->loop) + slot->deployment->start_timeout_ms;
	sched_due(sched, slot->ready_by);
	origin_begin(slot);
	mer_worker_go(slot->worker);
}

static bool is_of(const struct slot *slot, const struct deployment *deployment)
{
	return slot->state != SLOT_ENDING &&
	       (slot->deployment == deployment || strcmp(slot->deployment->uid, deployment->uid) == 0);
}

/* Whether there are as many workers as there may be: the limit is the deployment's, whatever way led
 * to it. */
static bool is_full(const struct route *route, const struct deployment *deployment)
{
	const struct route *other;
	const struct slot *slot;
	size_t n = 0;
	TAILQ_FOREACH(other, &route->sched->routes, link)
	TAILQ_FOREACH(slot, &other->slots, link)
	n += is_of(slot, deployment);
	return n >= worker_limit(deployment);
}

void pool_prepare(struct route *route)
{
	struct slot *slot;
	if (route->current == NULL || !TAILQ_EMPTY(&route->slots) || route->sched->on_closed != NULL ||
	    is_full(route, route->current))
		return;
	struct mer_error err;
	if (start(route, route->current, &slot, &err) != MER_OK)
		MER_DEBUG("cannot prepare a worker: %s", err.message); /* the run's own start tells */
}

void pool_ping(struct route *route)
{
	struct mer_error err;
	struct slot *slot;
	TAILQ_FOREACH(slot, &route->slots, link)
	if (slot->deployment == route->current)
		break;
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
		if (start(route, route->current, &slot, &err) != MER_OK) {
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

/* Whether a run could be sent to it now; how many it has already decides between two. */
static bool has_room(const struct slot *slot)
{
	bool ready = slot->state == SLOT_IDLE || slot->state == SLOT_BUSY;
	return ready && mer_worker_room(slot->worker) > 0;
}

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
		if (has_room(slot) && (found == NULL || slot->n_runs < found->n_runs))
			found = slot;
		else if (is_coming(slot))
			coming = slot;
	}
	return found != NULL ? found : coming;
}

/* Makes a worker of the same deployment leave that another way to the model has and does not use; one
 * that holds a session's state stays. False: sessions hold all of them, so that none will leave soon. */
static bool make_room(const struct route *route, const struct deployment *deployment)
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
			end_slot(slot, MER_END_KILL);
		else if (slot->state == SLOT_IDLE)
			end_slot(slot, MER_END_DRAIN);
		else
			continue;
		return true;
	}
	return may_leave;
}

static bool has_worker(const struct route *route)
{
	const struct slot *slot;
	TAILQ_FOREACH(slot, &route->slots, link)
	if (slot->state != SLOT_ENDING)
		return true;
	return false;
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
		.ready = found != NULL && has_room(found),
		.coming = found != NULL,
	};
	if (found == NULL && (route->session[0] == '\0' || !has_worker(route)))
		place.coming = !is_full(route, deployment);
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
	if (deployment->health.start_after > now)
		sched_due(run->sched, deployment->health.start_after);
	else if (is_full(route, deployment)) {
		run->sched->crowded = true;
		*held = !make_room(route, deployment);
	}
	return NULL;
}

static void take(struct slot *slot, struct mer_run *run)
{
	run_leave_ready(run);
	run->state = RUN_TAKEN;
	uint64_t now_ns = uv_hrtime();
	if (run->taken_ns == 0)
		run->taken_ns = now_ns;
	run->attempts++;
	enter(slot, run);
	if (run->stream && run->deadline == 0)
		sched_run_timed(run);
	if (!stays(slot->deployment)) {
		send_run(slot, run, now_ns);
		if (slot->n_runs > 0)
			mer_worker_go(slot->worker);
		else
			end_slot(slot, MER_END_KILL);
	} else if (slot->state == SLOT_IDLE || slot->state == SLOT_BUSY) {
		send_run(slot, run, now_ns);
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
	const struct mer_input input = { run->input, run->input_len, run->input_meta, 0, run->tensors };
	if (route->session[0] != '\0' && !deployment->stateful) {
		*row_status = "rejected";
		(void)mer_fail(err, MER_EINPUT, "model '%s' has no sessions", route->model);
		mer_hint(err, "a model that is --stateful has");
		return MER_EINPUT;
	}
	*slot = slot_with_room(route, deployment);
	if (*slot != NULL && has_room(*slot))
		return MER_OK; /* mer_worker_run() says so itself */
	enum mer_status st = mer_worker_check(&deployment->spec, &input, err);
	*row_status = st != MER_OK ? "rejected" : NULL;
	return st == MER_OK && *slot == NULL ? start(route, deployment, slot, err) : st;
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
		if (free_slot == NULL || !has_room(free_slot) || !in_force(free_slot))
			continue;
		leave(run);
		enter(free_slot, run);
		send_run(free_slot, run, uv_hrtime());
		rest(free_slot);
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
	if (deployment == NULL)
		return false;
	enum mer_status st = slot_for(run, deployment, &slot, &row_status, &err);
	if (st == MER_OK) {
		MER_ASSERT(slot != NULL);
		take(slot, run);
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

void pool_dispatch(struct route *route)
{
	struct mer_sched *sched = route->sched;
	struct mer_run *run;
	if (route->n_open > 0)
		relieve(route); /* they have come before those that are ready */
	while ((run = TAILQ_FIRST(&route->ready)) != NULL) {
		if (dispatch(route, run))
			continue;
		refuse_excess(route);
		return;
	}
	if (sched->place != NULL && sched->n_open == 0 && sched->n_ready == 0)
		place_leave(sched->place);
}

void pool_end_run(struct mer_run *run, bool kill)
{
	struct slot *slot = run->slot;
	if (run->state == RUN_TAKEN) { /* the worker has not seen it and may go on starting */
		leave(run);
		run_cancelled(run);
		return;
	}
	bool asked = !kill && mer_worker_cancel(slot->worker, run, GRACE_MS);
	pool_hold(slot);
	if (!asked) /* else it stays if it gives up the run in time */
		end_slot(slot, kill ? MER_END_KILL : MER_END_TERM);
}

/* --- changes and time --------------------------------------------------------------------- */

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
		if (slot->n_runs == 0 && slot->state != SLOT_ENDING && !in_force(slot))
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
		else if (slot->state == SLOT_PREPARED && slot->n_runs == 0)
			end_slot(slot, MER_END_KILL);
		else if (slot->state == SLOT_STARTING && slot->n_runs == 0)
			end_slot(slot, MER_END_TERM);
	}
}

int64_t pool_due(const struct route *route)
{
	const struct slot *slot;
	int64_t due = 0;
	for (size_t i = 0; i < route->n_places && !TAILQ_EMPTY(&route->ready); i++) {
		int64_t at = route->places[i]->health.start_after;
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
	not_ready(slot, "it was not ready within its start timeout", &err);
}

void pool_tick(struct route *route, int64_t now)
{
	struct slot *slot;
	for (size_t i = 0; i < route->n_places; i++) {
		if (route->places[i]->health.start_after <= now)
			route->places[i]->health.start_after = 0;
	}
	TAILQ_FOREACH(slot, &route->slots, link)
	{
		if (slot->ready_by != 0 && slot->ready_by <= now)
			not_ready_in_time(slot);
		else if (slot->idle_until != 0 && slot->idle_until <= now)
			end_slot(slot, MER_END_DRAIN);
	}
}
