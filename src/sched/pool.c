/* The workers of a route: started on demand, kept warm, given as many runs as they take, told to leave
 * when they are idle for long or their deployment has changed. */
#define LOG_AREA "sched"
#include "internal.h"

#include <mer/log.h>
#include <stdlib.h>
#include <string.h>

#define CRASHES_FREE 3              /* so many in a row are not slowed down */
#define CRASH_FIRST_MS INT64_C(100) /* what the next start then waits; doubled each time */
#define CRASH_DOUBLINGS 6           /* at most */
#define CRASH_DOUBLINGS_READY \
	2 /* where it was ready: perhaps its inputs are to blame, and the next is fine */

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

/* A slot has a run, from take() to leave(). */
static void enter(struct slot *slot, struct mer_run *run)
{
	run->slot = slot;
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
	struct mer_input input = { run->input, run->input_len, run->input_meta, 0 };
	if (run->own_timeout)
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
	run_sent(run, now_ns);
}

static void rest(struct slot *slot)
{
	if (slot->state == SLOT_ENDING || slot->n_runs > 0)
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
	struct mer_run *run = TAILQ_FIRST(&slot->runs);
	if (run != NULL)
		send_run(slot, run, uv_hrtime());
	rest(slot);
	pool_dispatch(route);
}

static void on_meta(void *ctx, void *run, const char *meta)
{
	(void)ctx;
	run_meta(run, meta);
}

static void on_output(void *ctx, void *run, const char *bytes, size_t n)
{
	(void)ctx;
	run_output(run, bytes, n);
}

/* What may be of any of several runs is kept with all of them, and told once. */
static void on_log(void *ctx, void *of, const char *bytes, size_t n)
{
	struct slot *slot = ctx;
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

static void on_done(void *ctx, void *of, const struct mer_outcome *outcome)
{
	struct slot *slot = ctx;
	struct route *route = slot->route;
	struct mer_run *run = of;
	MER_ASSERT(run->slot == slot && run->state == RUN_OPEN);
	leave(run);
	run->done_ns = uv_hrtime();
	if (outcome->status == MER_OK || outcome->status == MER_EINPUT)
		route->crashes = 0;
	place_done(slot, run, outcome->status);
	if (run->paused)
		pool_hold(slot);
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
	struct mer_run *run = TAILQ_FIRST(&slot->runs);
	if (run != NULL) {
		leave(run);
		run_end(run, outcome);
	}
	if (route->ping != NULL && slot->state != SLOT_ENDING) {
		struct mer_error err;
		mer_fail(&err, outcome->status == MER_OK ? MER_EUNREACHABLE : outcome->status,
		         "model '%s': %s", route->model, outcome->message);
		ping_end(route, &err);
	}
}

/* A worker left by itself. Where one after another does so and none answers, starts are slowed down. */
static void count_crash(struct route *route, bool was_ready)
{
	int beyond = ++route->crashes - CRASHES_FREE;
	int most = was_ready ? CRASH_DOUBLINGS_READY : CRASH_DOUBLINGS;
	if (beyond < 0)
		return;
	route->start_after =
		(int64_t)uv_now(route->sched->loop) + (CRASH_FIRST_MS << (beyond < most ? beyond : most));
	if (beyond == 0)
		MER_LOG(MER_LOG_WARN,
		        "model '%s': its worker died %d times without an answer; starts are slowed down",
		        route->model, route->crashes);
}

static void on_gone(void *ctx, const struct mer_outcome *outcome)
{
	struct slot *slot = ctx;
	struct route *route = slot->route;
	struct mer_sched *sched = route->sched;
	if (slot->state != SLOT_ENDING && stays(slot->deployment) && outcome->status != MER_ELIMIT)
		count_crash(route, slot->state != SLOT_STARTING);
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
	.on_meta = on_meta,
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
	TAILQ_INIT(&slot->runs);
	enum mer_status st = mer_worker_start(sched->loop, &route->current->spec, &worker_events, slot,
	                                      &slot->worker, err);
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
	route->begun = true;
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

/* Whether a run could be sent to it now; how many it has already decides between two. */
static bool has_room(const struct slot *slot)
{
	bool ready = slot->state == SLOT_IDLE || slot->state == SLOT_BUSY;
	return ready && slot->deployment == slot->route->current && mer_worker_room(slot->worker) > 0;
}

/* Or wait for it to be ready. */
static bool is_coming(const struct slot *slot)
{
	bool coming = slot->state == SLOT_PREPARED || slot->state == SLOT_STARTING;
	return coming && slot->deployment == slot->route->current && slot->n_runs == 0;
}

static struct slot *slot_with_room(const struct route *route)
{
	struct slot *slot, *found = NULL, *coming = NULL;
	TAILQ_FOREACH(slot, &route->slots, link)
	{
		if (has_room(slot) && (found == NULL || slot->n_runs < found->n_runs))
			found = slot;
		else if (is_coming(slot))
			coming = slot;
	}
	return found != NULL ? found : coming;
}

static size_t workers_of(const struct route *route)
{
	const struct slot *slot;
	size_t n = 0;
	TAILQ_FOREACH(slot, &route->slots, link)
	n += slot->state != SLOT_ENDING;
	return n;
}

/* Makes an idle worker of the same deployment leave that another way to the model has; one that holds
 * a session's state stays. */
static void make_room(const struct route *route)
{
	struct route *other;
	struct slot *slot;
	TAILQ_FOREACH(other, &route->sched->routes, link)
	{
		if (other == route || other->session[0] != '\0' || other->current == NULL ||
		    other->n_ready > 0 || strcmp(other->current->uid, route->current->uid) != 0)
			continue;
		TAILQ_FOREACH(slot, &other->slots, link)
		if (slot->state == SLOT_IDLE) {
			end_slot(slot, MER_END_DRAIN);
			return;
		}
	}
}

/* Whether one more worker may be started: the limit is the deployment's, whatever way led to it. */
static bool may_start(const struct route *route)
{
	const struct route *other;
	size_t n = 0, limit = worker_limit(route->current);
	if (route->session[0] != '\0' && workers_of(route) > 0)
		return false;
	if (route->start_after > (int64_t)uv_now(route->sched->loop)) {
		sched_due(route->sched, route->start_after);
		return false;
	}
	TAILQ_FOREACH(other, &route->sched->routes, link)
	if (other->current != NULL && strcmp(other->current->uid, route->current->uid) == 0)
		n += workers_of(other);
	if (n >= limit)
		make_room(route);
	return n < limit;
}

static void take(struct slot *slot, struct mer_run *run)
{
	run_leave_ready(run);
	run->state = RUN_TAKEN;
	run->taken_ns = uv_hrtime();
	enter(slot, run);
	if (run->stream)
		sched_run_timed(run);
	if (!stays(slot->deployment)) {
		send_run(slot, run, run->taken_ns);
		if (slot->n_runs > 0)
			mer_worker_go(slot->worker);
		else
			end_slot(slot, MER_END_KILL);
	} else if (slot->state == SLOT_IDLE || slot->state == SLOT_BUSY) {
		send_run(slot, run, run->taken_ns);
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

/* Whether one more run may be open: a stream says how many, a session has them in their order. */
static bool may_open(const struct route *route, const struct mer_run *run)
{
	if (route->session[0] != '\0')
		return route->n_open == 0;
	return !run->stream || route->n_open < run->jobs;
}

/* A slot for a run. MER_EBUSY: it has to wait. Nothing is started for an input that the protocol does
 * not carry. */
static enum mer_status slot_for(struct mer_run *run, struct slot **slot, const char **row_status,
                                struct mer_error *err)
{
	struct route *route = run->route;
	const struct mer_input input = { run->input, run->input_len, run->input_meta, 0 };
	if (route->session[0] != '\0' && !route->current->stateful) {
		*row_status = "rejected";
		(void)mer_fail(err, MER_EINPUT, "model '%s' has no sessions", route->model);
		mer_hint(err, "a model that is --stateful has");
		return MER_EINPUT;
	}
	*slot = slot_with_room(route);
	if (*slot != NULL && has_room(*slot))
		return MER_OK; /* mer_worker_run() says so itself */
	if (*slot == NULL && !may_start(route))
		return MER_EBUSY;
	enum mer_status st = mer_worker_check(&route->current->spec, &input, err);
	*row_status = st != MER_OK ? "rejected" : NULL;
	return st == MER_OK && *slot == NULL ? start(route, slot, err) : st;
}

/* A run that waits for its worker to be ready need not, where another one is. */
static void relieve(struct route *route)
{
	struct slot *slot, *free_slot = slot_with_room(route);
	if (free_slot == NULL || !has_room(free_slot))
		return;
	TAILQ_FOREACH(slot, &route->slots, link)
	{
		struct mer_run *run = TAILQ_FIRST(&slot->runs);
		if (run == NULL || run->state != RUN_TAKEN)
			continue;
		leave(run);
		enter(free_slot, run);
		send_run(free_slot, run, uv_hrtime());
		rest(free_slot);
		return;
	}
}

void pool_dispatch(struct route *route)
{
	struct mer_sched *sched = route->sched;
	struct mer_run *run;
	while ((run = TAILQ_FIRST(&route->ready)) != NULL) {
		struct mer_error err;
		const char *row_status = NULL;
		struct slot *slot = NULL;
		if (ended_early(run))
			continue;
		if (!may_open(route, run))
			return;
		enum mer_status st = slot_for(run, &slot, &row_status, &err);
		if (st == MER_EBUSY)
			return;
		if (st == MER_OK) {
			MER_ASSERT(slot != NULL);
			take(slot, run);
		} else {
			run_leave_ready(run);
			run_fail(run, st, row_status, &err);
		}
	}
	if (route->n_open > 1)
		relieve(route);
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

void pool_changed(struct route *route, struct deployment *fresh)
{
	struct slot *slot;
	deployment_unref(route->current);
	route->current = fresh;
	TAILQ_FOREACH(slot, &route->slots, link)
	{
		if (slot->n_runs == 0 && slot->state != SLOT_ENDING)
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
	int64_t due = TAILQ_EMPTY(&route->ready) ? 0 : route->start_after;
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
	struct mer_run *run = TAILQ_FIRST(&slot->runs);
	struct mer_error err;
	mer_fail(&err, MER_ETIMEOUT, "model '%s' was not ready within its start timeout", route->model);
	mer_hint(&err, "a deployment's start-timeout says how long a start may take");
	end_slot(slot, MER_END_TERM);
	if (run != NULL) {
		leave(run);
		run_fail(run, MER_ETIMEOUT, "timeout", &err);
	}
	if (route->ping != NULL)
		ping_end(route, &err);
}

void pool_tick(struct route *route, int64_t now)
{
	struct slot *slot;
	if (route->start_after <= now)
		route->start_after = 0;
	TAILQ_FOREACH(slot, &route->slots, link)
	{
		if (slot->ready_by != 0 && slot->ready_by <= now)
			not_ready_in_time(slot);
		else if (slot->idle_until != 0 && slot->idle_until <= now)
			end_slot(slot, MER_END_DRAIN);
	}
}
