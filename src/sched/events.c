/* What workers say, and that they have left. */
#define LOG_AREA "sched"
#include "pool.h"

#include <mer/log.h>
#include <stdlib.h>

/* A worker came to be idle or has left: what waits for that may be of another way to the model. */
static void dispatch_freed(struct route *route)
{
	struct route *other;
	struct mer_sched *sched = route->sched;
	bool crowded = sched->crowded;
	sched->crowded = false;
	dispatch_route(route);
	TAILQ_FOREACH(other, &sched->routes, link)
	if (crowded && other != route)
		dispatch_route(other);
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
		slot_not_ready(slot, "it cannot be tested", &err);
		return;
	}
	slot->ready_by = 0;
	slot->state = SLOT_IDLE;
	if (route->ping != NULL)
		ping_end(route, NULL);
	struct mer_run *run = TAILQ_FIRST(&slot->runs);
	bool traceless = run != NULL && run->no_record;
	if (run != NULL)
		slot_send(slot, run, uv_hrtime());
	if (!traceless && mer_worker_announced(slot->worker) != NULL)
		contract_keep(route->sched, route->model, mer_worker_announced(slot->worker));
	slot_rest(slot);
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

/* A run that waits for its worker hears how far that one is. */
static void on_progress(void *ctx, void *of, const struct mer_progress *progress)
{
	const struct slot *slot = ctx;
	const struct mer_run *run = of != NULL && of != slot->testing ? of : TAILQ_FIRST(&slot->runs);
	if (run != NULL && run->events->on_progress != NULL)
		run->events->on_progress(run->ctx, progress);
}

/* Quick calls that follow one another are made where their worker is. */
static void place_done(const struct slot *slot, const struct mer_run *run, enum mer_status status)
{
	struct place *place = run->sched->place;
	if (place == NULL || !run->stream || status != MER_OK || !deployment_stays(slot->deployment))
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
	bool died = outcome->exit_code >= 0 || outcome->signal != 0 || outcome->lost;
	bool starts = !deployment_stays(deployment) || deployment->http != NULL; /* anew for each run */
	if (again_lent(run, deployment, outcome->lacks))
		return true;
	if (outcome->status == MER_EUNREACHABLE && starts) {
		again_learn(slot->route, deployment, 0, 0, outcome->message);
		return again_elsewhere(run, deployment);
	}
	if (outcome->status == MER_EBUSY)
		return again_later(run, deployment, outcome->busy_ms);
	if (outcome->status == MER_EMODEL && died && again_anew(run, deployment))
		return true;
	bool answered = outcome->status == MER_OK || outcome->status == MER_EINPUT;
	if (answered || (outcome->status == MER_EMODEL && (!died || !deployment_stays(deployment)))) {
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
		slot_not_ready(slot, "it did not pass its test", &err);
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
	use_end(slot, run, outcome);
	if (made_begin(slot, outcome))
		return;
	slot_leave(run);
	run->done_ns = uv_hrtime();
	place_done(slot, run, outcome->status);
	if (run->paused)
		slot_hold(slot);
	if (deployment_stays(slot->deployment))
		slot_rest(slot);
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
		slot_leave(run);
		bool again =
			again_lent(run, slot->deployment, outcome->lacks) ||
			(outcome->status == MER_EBUSY &&
		     again_later(run, slot->deployment, outcome->busy_ms)) ||
			(outcome->status == MER_EUNREACHABLE && again_elsewhere(run, slot->deployment));
		if (!again) {
			origin_take(slot, run);
			run_end(run, outcome);
		}
	}
	if (route->ping != NULL && slot->state != SLOT_ENDING &&
	    !ping_lent(route, slot->deployment, outcome->lacks)) {
		struct mer_error err;
		mer_fail(&err, outcome->status == MER_OK ? MER_EUNREACHABLE : outcome->status,
		         "model '%s': %s", route->model, outcome->message);
		ping_end(route, &err);
	}
}

void slot_gone(struct slot *slot)
{
	struct route *route = slot->route;
	struct mer_sched *sched = route->sched;
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

static void on_gone(void *ctx, const struct mer_outcome *outcome)
{
	struct slot *slot = ctx;
	struct route *route = slot->route;
	if (slot->making != NULL) {
		made_fetch(slot);
		return;
	}
	bool by_itself = slot->state != SLOT_ENDING && deployment_stays(slot->deployment) &&
	                 outcome->lacks[0] == '\0' && outcome->status != MER_ELIMIT &&
	                 outcome->status != MER_EBUSY && outcome->status != MER_ECANCELED;
	int64_t slowest = slot->state == SLOT_STARTING ? CHOOSE_SLOW_MS : CHOOSE_SLOW_READY_MS;
	if (by_itself && !slot->answered)
		again_learn(route, slot->deployment, slot_start_took(slot), slowest, outcome->message);
	failed_to_start(slot, outcome);
	slot_gone(slot);
}

const struct mer_worker_events slot_events = {
	.on_ready = on_ready,
	.on_meta = on_meta,
	.on_output = on_output,
	.on_log = on_log,
	.on_progress = on_progress,
	.on_done = on_done,
	.on_gone = on_gone,
};
