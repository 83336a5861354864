/* The scheduler's front: it takes runs in, keeps their deadlines, and lets everything end well. */
#define LOG_AREA "sched"
#include "internal.h"

#include <mer/clean.h>
#include <stdlib.h>
#include <string.h>

/* --- time --------------------------------------------------------------------------------- */

static void expire(struct mer_run *run)
{
	sched_run_untimed(run);
	if (run->ending == ENDING_NO)
		run->ending = ENDING_TIMEOUT;
	if (run->state == RUN_READY) {
		run_leave_ready(run);
		run_cancelled(run);
	} else if (run->state == RUN_TAKEN || run->state == RUN_OPEN) {
		pool_end_run(run, false);
	}
}

static void arm(struct mer_sched *sched);

static void on_clock(uv_timer_t *timer)
{
	struct mer_sched *sched = timer->data;
	int64_t now = (int64_t)uv_now(sched->loop);
	struct mer_run *run, *next;
	struct route *route;
	sched->clock_at = 0;
	for (run = TAILQ_FIRST(&sched->all_timed); run != NULL; run = next) {
		next = TAILQ_NEXT(run, timed);
		if (run->deadline <= now)
			expire(run);
	}
	TAILQ_FOREACH(route, &sched->routes, link)
	{
		pool_tick(route, now);
		dispatch_route(route);
	}
	record_flush(sched, false);
	arm(sched);
}

static void arm(struct mer_sched *sched)
{
	const struct mer_run *run;
	const struct route *route;
	TAILQ_FOREACH(run, &sched->all_timed, timed)
	sched_due(sched, run->deadline);
	TAILQ_FOREACH(route, &sched->routes, link)
	if (pool_due(route) != 0)
		sched_due(sched, pool_due(route));
}

void sched_due(struct mer_sched *sched, int64_t at)
{
	if (sched->clock_at != 0 && sched->clock_at <= at)
		return;
	int64_t wait = at - (int64_t)uv_now(sched->loop);
	sched->clock_at = at;
	uv_timer_start(&sched->clock, on_clock, wait > 0 ? (uint64_t)wait : 0, 0);
}

void sched_run_timed(struct mer_run *run)
{
	int64_t now = (int64_t)uv_now(run->sched->loop);
	run->deadline = run->timeout_ms > INT64_MAX - now ? INT64_MAX : now + run->timeout_ms;
	TAILQ_INSERT_TAIL(&run->sched->all_timed, run, timed);
	sched_due(run->sched, run->deadline);
}

void sched_run_untimed(struct mer_run *run)
{
	if (run->deadline != 0)
		TAILQ_REMOVE(&run->sched->all_timed, run, timed);
	run->deadline = 0;
}

/* --- routes ------------------------------------------------------------------------------- */

static void route_free(struct route *route)
{
	for (size_t i = 0; i < route->n_places; i++)
		deployment_unref(route->places[i]);
	free(route->model);
	free(route->server);
	free(route->deployment);
	free(route->session);
	mer_words_done(&route->seen);
	free(route->seen_uid);
	free(route->seen_server);
	free(route->seen_weights);
	free(route->passed_over);
	free(route->seen_path);
	free(route->seen_sha256);
	free(route->weights);
	if (route->training != NULL) {
		free(route->training->dataset);
		free(route->training->new_weights);
		free(route->training->new_version);
	}
	free(route->training);
	free(route);
}

static char *copy(const char *text)
{
	return strdup(text != NULL ? text : "");
}

static bool is(const char *text, const char *asked)
{
	return strcmp(text, asked != NULL ? asked : "") == 0;
}

static bool is_way_of(const struct route *route, const struct mer_run_request *request)
{
	return route->training == NULL && request->training == NULL &&
	       is(route->model, request->model) && is(route->server, request->server) &&
	       is(route->deployment, request->deployment) && is(route->session, request->session) &&
	       is(route->weights, request->weights);
}

static bool copy_training(struct route *route, const struct mer_training *from)
{
	struct training *training = calloc(1, sizeof *training);
	if (training == NULL)
		return false;
	route->training = training;
	training->on_gone = from->on_gone;
	training->ctx = from->ctx;
	training->dataset = strdup(from->dataset);
	training->new_weights = strdup(from->new_weights);
	training->new_version = strdup(from->new_version);
	return training->dataset != NULL && training->new_weights != NULL &&
	       training->new_version != NULL;
}

static struct route *route_find(struct mer_sched *sched, const struct mer_run_request *request)
{
	struct route *route;
	TAILQ_FOREACH(route, &sched->routes, link)
	if (is_way_of(route, request))
		return route;
	route = calloc(1, sizeof *route);
	if (route == NULL)
		return NULL;
	route->sched = sched;
	TAILQ_INIT(&route->ready);
	TAILQ_INIT(&route->slots);
	route->model = strdup(request->model);
	route->server = copy(request->server);
	route->deployment = copy(request->deployment);
	route->session = copy(request->session);
	route->weights = copy(request->weights);
	if (route->model == NULL || route->server == NULL || route->deployment == NULL ||
	    route->session == NULL || route->weights == NULL ||
	    (request->training != NULL && !copy_training(route, request->training))) {
		route_free(route);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&sched->routes, route, link);
	return route;
}

/* --- haste -------------------------------------------------------------------------------- */

void mer_sched_hurry(struct mer_sched *sched)
{
	sched->hurried = true;
	(void)mer_haste(&sched->haste);
}

static void take_time(struct mer_sched *sched)
{
	if (sched->hurried)
		mer_haste_over(&sched->haste);
	sched->hurried = false;
}

/* --- runs --------------------------------------------------------------------------------- */

enum mer_status mer_sched_submit(struct mer_sched *sched, const struct mer_run_request *request,
                                 const struct mer_run_events *events, void *ctx,
                                 struct mer_run **out, struct mer_error *err)
{
	MER_ASSERT(sched->on_closed == NULL);
	take_time(sched);
	struct mer_run *run = calloc(1, sizeof *run);
	if (run == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	struct route *route = route_find(sched, request);
	if (route == NULL) {
		free(run);
		return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	run->sched = sched;
	run->route = route;
	run->events = events;
	run->ctx = ctx;
	run->input = request->input;
	run->input_len = request->input_len;
	run->input_meta = request->input_meta;
	run->tensors = request->tensors;
	run->bytes_in = (int64_t)request->input_len;
	if (request->input_meta != NULL)
		run->bytes_in += (int64_t)strlen(request->input_meta);
	run->jobs = request->jobs > 0 ? request->jobs : 1;
	run->timeout_ms = request->timeout_ms;
	run->own_timeout = request->timeout_ms > 0;
	run->no_record = request->no_record;
	run->stream = request->stream;
	run->exit_code = -1;
	run->cpu_us = run->max_rss_kib = run->used_us = -1;
	if (request->replays != NULL)
		(void)memccpy(run->replays, request->replays, '\0', sizeof run->replays - 1);
	run->queued_ns = uv_hrtime();
	mer_uid_next(&sched->uids, &run->uid);
	run->number = sched->submitted++;
	sched->stop_reading = false;
	if (route->current == NULL && !sched->recording)
		resolve_ahead(route);
	TAILQ_INSERT_TAIL(&sched->pending, run, link);
	sched->n_pending++;
	record_flush(sched, false);
	pool_foresee(route);
	if (out != NULL)
		*out = run;
	return MER_OK;
}

/* Runs that were cancelled from outside a callback end here. */
static void on_kick(uv_idle_t *kick)
{
	struct mer_sched *sched = kick->data;
	struct mer_run *run, *next;
	struct route *route;
	uv_idle_stop(kick);
	for (run = TAILQ_FIRST(&sched->pending); run != NULL; run = next) {
		next = TAILQ_NEXT(run, link);
		if (run->ending == ENDING_NO)
			continue;
		TAILQ_REMOVE(&sched->pending, run, link);
		sched->n_pending--;
		run_cancelled(run);
	}
	TAILQ_FOREACH(route, &sched->routes, link)
	{
		struct slot *slot;
		TAILQ_FOREACH(slot, &route->slots, link)
		for (run = TAILQ_FIRST(&slot->runs); run != NULL; run = next) {
			next = TAILQ_NEXT(run, link);
			if (run->ending > ENDING_TIMEOUT)
				pool_end_run(run, run->ending == ENDING_KILL);
		}
		for (run = TAILQ_FIRST(&route->ready); run != NULL; run = next) {
			next = TAILQ_NEXT(run, link);
			if (run->ending == ENDING_NO)
				continue;
			run_leave_ready(run);
			run_cancelled(run);
		}
		if (sched->on_closed != NULL) {
			ping_cancel(route);
			pool_drain(route); /* workers that were starting for what ends here */
		}
		dispatch_route(route);
	}
	record_flush(sched, true);
	sched_maybe_closed(sched);
}

void sched_kick(struct mer_sched *sched)
{
	uv_idle_start(&sched->kick, on_kick);
}

void mer_sched_ask_again(struct mer_sched *sched)
{
	sched_kick(sched);
}

void mer_run_cancel(struct mer_run *run, bool kill)
{
	if (run->ending != ENDING_TIMEOUT || kill)
		run->ending = kill ? ENDING_KILL : ENDING_CANCEL;
	if (kill)
		mer_sched_hurry(run->sched);
	else if (run->state == RUN_NEW && run->sched->recording)
		(void)mer_haste(&run->sched->haste); /* over with the record job */
	if (run->state == RUN_NEW)
		run->sched->stop_reading = true;
	sched_kick(run->sched);
}

void mer_sched_end_session(struct mer_sched *sched, const char *model, const char *session)
{
	struct route *route;
	TAILQ_FOREACH(route, &sched->routes, link)
	if (strcmp(route->session, session) == 0 && strcmp(route->model, model) == 0)
		pool_drain(route);
}

void mer_run_pause(struct mer_run *run, bool pause)
{
	run->paused = pause;
	if (run->state == RUN_OPEN && run->slot != NULL)
		slot_hold(run->slot);
}

const char *mer_run_uid(const struct mer_run *run)
{
	return run->uid.text;
}

enum mer_status mer_sched_ping(struct mer_sched *sched, const char *model, int64_t timeout_ms,
                               mer_ping_fn *on_ready, void *ctx, struct mer_error *err)
{
	struct ping *ping = calloc(1, sizeof *ping);
	if (ping == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	struct route *route = route_find(sched, &(struct mer_run_request){ .model = model });
	if (route == NULL) {
		free(ping);
		return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	if (route->ping != NULL) {
		free(ping);
		return mer_fail(err, MER_EBUSY, "model '%s' is being pinged already", model);
	}
	take_time(sched);
	*ping = (struct ping){ on_ready, ctx, uv_hrtime(), timeout_ms, false, false, NULL };
	route->ping = ping;
	resolve_ahead(route);
	return MER_OK;
}

/* --- life --------------------------------------------------------------------------------- */

static void sched_free(struct mer_sched *sched)
{
	struct route *route;
	while ((route = TAILQ_FIRST(&sched->routes)) != NULL) {
		TAILQ_REMOVE(&sched->routes, route, link);
		route_free(route);
	}
	free(sched->database);
	mer_words_done(&sched->secrets);
	free(sched->models);
	free(sched->python);
	free(sched->guard);
	free(sched);
}

static void last_closed(struct mer_sched *sched)
{
	if (--sched->open_handles > 0)
		return;
	sched->on_closed(sched->closed_ctx,
	                 sched->record_error.status != MER_OK ? &sched->record_error : NULL);
	sched_free(sched);
}

static void on_handle_closed(uv_handle_t *handle)
{
	last_closed(handle->data);
}

static void on_work_closed(void *ctx)
{
	last_closed(ctx);
}

void sched_maybe_closed(struct mer_sched *sched)
{
	if (sched->on_closed == NULL || sched->jobs > 0 || sched->slots > 0 || sched->n_open > 0 ||
	    sched->n_ready > 0 || sched->open_handles > 0)
		return;
	if (sched->n_pending > 0 || sched->n_closing > 0) {
		record_flush(sched, true);
		return;
	}
	if (!sched->leaving) {
		sched->leaving = true;
		connection_leave(sched);
		return;
	}
	if (!sched->closed_dal)
		return;
	place_free(sched->place);
	sched->place = NULL;
	sched->open_handles = 5;
	mer_work_close(sched->work, on_work_closed, sched);
	uv_close((uv_handle_t *)&sched->clock, on_handle_closed);
	uv_close((uv_handle_t *)&sched->close_delay, on_handle_closed);
	uv_close((uv_handle_t *)&sched->keep, on_handle_closed);
	uv_close((uv_handle_t *)&sched->kick, on_handle_closed);
}

static void cancel_all(struct run_list *runs)
{
	struct mer_run *run;
	TAILQ_FOREACH(run, runs, link)
	if (run->ending == ENDING_NO)
		run->ending = ENDING_CANCEL;
}

void mer_sched_close(struct mer_sched *sched, mer_sched_closed_fn *on_closed, void *ctx)
{
	struct route *route;
	sched->on_closed = on_closed;
	sched->closed_ctx = ctx;
	sched->stop_reading = true;
	cancel_all(&sched->pending);
	TAILQ_FOREACH(route, &sched->routes, link)
	{
		struct slot *slot;
		cancel_all(&route->ready);
		TAILQ_FOREACH(slot, &route->slots, link)
		cancel_all(&slot->runs);
		pool_drain(route);
	}
	sched_kick(sched);
}

enum mer_status mer_sched_open(struct uv_loop_s *loop, const struct mer_sched_options *options,
                               struct mer_sched **out, struct mer_error *err)
{
	struct mer_sched *sched = calloc(1, sizeof *sched);
	if (sched == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	sched->loop = loop;
	sched->door = options->door;
	sched->environment = options->environment;
	sched->hidden = options->hidden;
	(void)mer_traceparent_read(options->traceparent, sched->traceparent);
	sched->links = options->links;
	sched->keep_io_max = options->keep_io_max;
	sched->database = strdup(options->database);
	sched->models = strdup(options->models);
	sched->guard = strdup(options->guard);
	sched->python = strdup(options->python);
	mer_uid_next(&sched->uids, &sched->owner);
	TAILQ_INIT(&sched->routes);
	TAILQ_INIT(&sched->pending);
	TAILQ_INIT(&sched->closing);
	TAILQ_INIT(&sched->all_timed);
	enum mer_status st = MER_OK;
	if (sched->database == NULL || sched->models == NULL || sched->guard == NULL ||
	    sched->python == NULL)
		st = mer_fail(err, MER_ENOMEM, "out of memory");
	if (st == MER_OK)
		st = mer_work_open(loop, &sched->work, err);
	if (st != MER_OK) {
		sched_free(sched);
		return st;
	}
	(void)uv_timer_init(loop, &sched->clock);
	(void)uv_timer_init(loop, &sched->close_delay);
	(void)uv_timer_init(loop, &sched->keep);
	(void)uv_idle_init(loop, &sched->kick);
	sched->clock.data = sched->close_delay.data = sched->keep.data = sched->kick.data = sched;
	connection_keep(sched);
	if (options->place)
		sched->place = place_new(sched->work);
	*out = sched;
	return MER_OK;
}
