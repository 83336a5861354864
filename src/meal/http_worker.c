/*
 * A worker whose runs are requests: an API, which knows what bytes mean, and an exchange of the module
 * `http`, which carries them. It answers one run at a time, so that a deployment's max-workers is how
 * many requests there may be, and a session has a worker of its own. Nothing but a connection, which is
 * shared, stays of it between runs.
 *
 * Whatever a caller asks for is done from the loop (on_kick), since a caller may be inside an event.
 */
#include "http_worker.h"

#include "http_status.h"
#include "http_transport.h"

#include <mer/http.h>
#include <mer/module.h>
#include <mer/text.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MODULE "http"
#define TEXT_MAX ((size_t)64 << 10) /* of a body that says why there is no answer */
#define HELLO_MAX ((size_t)4 << 20) /* of what a server says of a model */
#define LINGER_MS 50                /* for the end of a response whose answer is whole */

enum life { PREPARED, GREETING, READY, ENDED };
enum degree { STAYS, DRAINS, LEAVES };

/* Freed when its handles are closed, and the client where it was the last. */
struct http_worker {
	struct mer_worker base;
	const struct mer_worker_events *events; /* borrowed */
	void *ctx;
	const struct http_transport *transport;
	struct http_client *client;
	struct http_api *api;
	struct mer_http *http;
	enum mer_http_probe probe;
	uv_timer_t timer; /* of a drain, or until a response is to be at its end */
	uv_idle_t kick;
	int handles; /* open ones of these two, and the client where it is closing */
	int64_t max_output;

	enum life life;
	enum degree ending;
	bool let_go;
	struct mer_outcome last; /* of the worker */

	struct http_exchange *exchange; /* NULL: none is under way */
	struct http_request request;
	char *url;
	char *type, *accept; /* lines of it */
	const char *headers[HTTP_HEADERS_MAX + 3];
	struct http_head head;
	struct mer_error problem; /* why no more of it was wanted */
	struct mer_buf body;      /* of hello, or what says why there is no answer */

	void *run; /* NULL: none is open */
	int64_t output;
	bool cancelling, paused;
	bool held; /* data is to come later */
	bool over; /* result is how it ended */
	struct mer_outcome result;
	struct mer_buf kept; /* the rest of the piece of the body in which it was paused */
	size_t kept_at;
	bool ended;        /* the exchange is; */
	enum http_end end; /* so, and */
	char why[300];     /* for that reason */
};

static const struct meal_worker_ops worker_ops;

static struct http_worker *downcast(struct mer_worker *base)
{
	MER_ASSERT(base->ops == &worker_ops);
	return (struct http_worker *)base;
}

static void set_outcome(const struct http_worker *w, struct mer_outcome *outcome,
                        const struct mer_error *err)
{
	*outcome = (struct mer_outcome){ .status = err->status, .exit_code = -1 };
	if (err->status == MER_EBUSY)
		outcome->busy_ms = w->head.retry_after_ms;
	memcpy(outcome->message, err->message, sizeof outcome->message);
	http_hide(w->http, outcome->message, strlen(outcome->message));
}

/* --- an exchange ---------------------------------------------------------------------------- */

static bool on_header(void *ctx, const char *line, size_t n)
{
	struct http_worker *w = ctx;
	struct http_head *head = &w->head;
	bool had = head->whole;
	enum mer_status st = http_head_line(head, line, n, &w->problem);
	if (st == MER_OK && head->whole && !had && head->encoding[0] != '\0')
		st = mer_fail(&w->problem, MER_EMODEL, "its answer is in '%s', which was not asked for",
		              head->encoding);
	else if (st == MER_OK && head->whole && !had && w->run != NULL && http_head_is_good(head))
		st = w->api->ops->take(w->api, &head->response, &w->problem);
	w->problem.status = st;
	return st == MER_OK;
}

static void on_timer(uv_timer_t *timer);
static enum http_taken on_data(void *ctx, const char *bytes, size_t n);
static void on_exchanged(void *ctx, enum http_end end, const char *message);

static const struct http_events exchange_events = {
	.header = on_header,
	.data = on_data,
	.done = on_exchanged,
};

/* The texts of what is in request: its URL, and headers that the server has not of its own. */
static bool make_texts(struct http_worker *w)
{
	const struct http_request *request = &w->request;
	const char *path = request->path.len > 0 ? request->path.ptr : "",
			   *type = request->content_type;
	size_t n = 0;
	free(w->url);
	free(w->accept);
	free(w->type);
	w->url = mer_text_new("%s%s", w->http->url, path);
	w->accept = mer_text_new("Accept: %s", request->accept != NULL ? request->accept : "*/*");
	w->type = type != NULL ? mer_text_new("Content-Type: %s", type) : NULL;
	if (w->url == NULL || w->accept == NULL || (type != NULL && w->type == NULL))
		return false;
	if (!http_has_header(w->http, w->accept))
		w->headers[n++] = w->accept;
	if (type != NULL)
		w->headers[n++] = w->type;
	for (size_t i = 0; i < request->n_headers; i++)
		if (!http_has_header(w->http, request->header[i]))
			w->headers[n++] = request->header[i];
	w->headers[n] = NULL;
	return true;
}

/* Sends what is in request. */
static enum mer_status send_request(struct http_worker *w, struct mer_error *err)
{
	const struct http_request *request = &w->request;
	enum mer_status st = mer_buf_check(&request->path, err);
	if (st == MER_OK && !make_texts(w))
		st = mer_fail(err, MER_ENOMEM, "out of memory");
	if (st != MER_OK)
		return st;
	const struct http_send send = {
		.method = request->method,
		.url = w->url,
		.headers = w->headers,
		.more = (const char *const *)w->http->headers,
		.pieces = request->piece,
		.n_pieces = request->n_pieces,
		.ca_file = w->http->ca_file,
	};
	http_head_init(&w->head);
	w->problem.status = MER_OK;
	mer_buf_clear(&w->body);
	return w->transport->start(w->client, &send, &exchange_events, w, &w->exchange, err);
}

static void clear_request(struct http_worker *w)
{
	struct mer_buf path = w->request.path;
	mer_buf_clear(&path);
	w->request = (struct http_request){ .method = "GET", .path = path };
}

/* Why an exchange gave no answer. Not for one that is whole, with a good status. */
static enum mer_status explain(struct http_worker *w, enum http_end end, const char *why,
                               struct mer_error *err)
{
	const char *server = w->http->server;
	if (w->problem.status != MER_OK) {
		*err = w->problem;
		return mer_wrap(err, w->problem.status, "server '%s'", server);
	}
	if (end == HTTP_UNSENT)
		return mer_fail(err, MER_EUNREACHABLE, "cannot reach server '%s': %s", server, why);
	/* Before it is cut: some of a key would be left. */
	if (w->body.len > 0)
		http_hide(w->http, w->body.ptr, w->body.len);
	if (w->head.whole && !http_head_is_good(&w->head))
		return http_judge(server, &w->head, (struct mer_str){ w->body.ptr, w->body.len }, err);
	return mer_fail(err, MER_EMODEL, "the connection to server '%s' was lost: %s", server,
	                why[0] != '\0' ? why : "it ended without an answer");
}

/* --- leaving -------------------------------------------------------------------------------- */

static void free_worker(struct http_worker *w)
{
	if (w->api != NULL && w->api->ops != NULL)
		w->api->ops->release(w->api);
	free(w->api);
	mer_buf_release(&w->request.path);
	mer_buf_release(&w->body);
	mer_buf_release(&w->kept);
	mer_http_unref(w->http);
	free(w->url);
	free(w->accept);
	free(w->type);
	free(w);
}

static void on_closed(void *ctx)
{
	struct http_worker *w = ctx;
	if (--w->handles > 0)
		return;
	w->events->on_gone(w->ctx, &w->last);
	free_worker(w);
}

static void on_handle_closed(uv_handle_t *handle)
{
	on_closed(handle->data);
}

static void leave(struct http_worker *w)
{
	w->life = ENDED;
	w->handles = 3;
	uv_close((uv_handle_t *)&w->timer, on_handle_closed);
	uv_close((uv_handle_t *)&w->kick, on_handle_closed);
	if (!w->transport->close(w->client, on_closed, w))
		w->handles--; /* others have it still */
}

static void on_kick(uv_idle_t *kick);

static void kick(struct http_worker *w)
{
	if (w->life != ENDED)
		(void)uv_idle_start(&w->kick, on_kick);
}

/* --- runs ----------------------------------------------------------------------------------- */

static void set_result(struct http_worker *w, const struct mer_error *err)
{
	if (w->over)
		return;
	w->over = true;
	set_outcome(w, &w->result, err);
}

static void tell_result(struct http_worker *w)
{
	struct mer_outcome result = w->result; /* the next run may be given from the event */
	void *run = w->run;
	(void)uv_timer_stop(&w->timer);
	w->api->ops->over(w->api);
	mer_buf_clear(&w->kept);
	w->kept_at = 0;
	w->run = NULL;
	w->cancelling = w->over = w->ended = w->held = false;
	if (w->ending != STAYS)
		kick(w);
	if (w->events->on_done != NULL)
		w->events->on_done(w->ctx, run, &result);
}

static void deliver(struct http_worker *w, struct mer_str bytes)
{
	size_t n = bytes.len;
	bool over = w->max_output > 0 && n > (uint64_t)(w->max_output - w->output);
	if (over)
		n = (size_t)(w->max_output - w->output);
	w->output += (int64_t)n;
	if (n > 0 && w->events->on_output != NULL)
		w->events->on_output(w->ctx, w->run, bytes.ptr, n);
	if (!over)
		return;
	struct mer_error err;
	(void)mer_fail(&err, MER_ELIMIT, "the output is over %lld bytes", (long long)w->max_output);
	set_result(w, &err);
}

static void set_done(struct http_worker *w, const struct meal_event *event)
{
	struct mer_error err = { .status = MER_OK };
	if (event->status != MER_OK)
		(void)mer_fail(&err, event->status, "server '%s': %.*s", w->http->server,
		               (int)event->bytes.len, event->bytes.ptr);
	set_result(w, &err);
}

static void dispatch(struct http_worker *w, const struct meal_event *event)
{
	switch (event->kind) {
	case MEAL_NOTHING: break;
	case MEAL_META:
		if (w->events->on_meta != NULL)
			w->events->on_meta(w->ctx, w->run, event->bytes.ptr);
		break;
	case MEAL_OUTPUT: deliver(w, event->bytes); break;
	case MEAL_LOG:
		if (w->events->on_log != NULL)
			w->events->on_log(w->ctx, w->run, event->bytes.ptr, event->bytes.len);
		break;
	case MEAL_DONE: set_done(w, event); break;
	case MEAL_READY:
	case MEAL_SEND:
	case MEAL_PROGRESS:
	case MEAL_BROKEN: mer_defect(__FILE__, __LINE__, "no API gives that event");
	}
}

/* Whether bytes go to the API now. */
static bool takes(const struct http_worker *w)
{
	return !w->paused && !w->over && !w->cancelling && w->ending != LEAVES;
}

/* Feeds until all is taken, or the caller pauses. Returns how much was taken. */
static size_t feed(struct http_worker *w, const char *bytes, size_t n)
{
	size_t at = 0;
	struct meal_event event = { .kind = MEAL_NOTHING };
	do {
		if (!takes(w))
			break;
		event = (struct meal_event){ .kind = MEAL_NOTHING };
		size_t taken = w->api->ops->feed(w->api, bytes + at, n - at, &event);
		MER_ASSERT(taken <= n - at && (taken > 0 || at == n || event.kind != MEAL_NOTHING));
		at += taken;
		dispatch(w, &event);
	} while (at < n || event.kind != MEAL_NOTHING);
	return at;
}

/* What comes is answer. */
static void hear(struct http_worker *w, const char *bytes, size_t n)
{
	size_t taken = feed(w, bytes, n);
	if (taken < n && !w->over)
		mer_buf_add(&w->kept, bytes + taken, n - taken);
	if (mer_buf_check(&w->kept, NULL) == MER_OK)
		return;
	struct mer_error err;
	(void)mer_fail(&err, MER_ENOMEM, "out of memory for output that nobody takes yet");
	set_result(w, &err);
}

/* What says why there is no answer, or what hello asked for. */
static enum http_taken keep(struct http_worker *w, const char *bytes, size_t n)
{
	size_t most = w->run != NULL ? TEXT_MAX : HELLO_MAX;
	size_t take = n < most - w->body.len ? n : most - w->body.len;
	mer_buf_add(&w->body, bytes, take);
	if (take == n)
		return HTTP_TAKEN;
	if (w->run == NULL)
		w->problem.status = mer_fail(&w->problem, MER_EUNREACHABLE, "its answer is too long");
	return HTTP_ENOUGH; /* what it has said will do */
}

static enum http_taken on_data(void *ctx, const char *bytes, size_t n)
{
	struct http_worker *w = ctx;
	bool was_over = w->over; /* then the answer is whole, and its response nearly is */
	if (w->run == NULL || !http_head_is_good(&w->head))
		return keep(w, bytes, n);
	w->held = !w->over && (w->paused || w->kept.len > 0);
	if (w->held)
		return HTTP_LATER;
	if (!was_over)
		hear(w, bytes, n);
	if (!w->over)
		return HTTP_TAKEN;
	if (!was_over && w->result.status == MER_OK)
		(void)uv_timer_start(&w->timer, on_timer, LINGER_MS, 0);
	return w->result.status == MER_OK ? HTTP_TAKEN : HTTP_ENOUGH;
}

/* The exchange is over and all that came was fed: the API has the rest. */
static void conclude(struct http_worker *w)
{
	struct mer_error err = { .status = MER_OK };
	bool good = w->end == HTTP_WHOLE && w->head.whole && http_head_is_good(&w->head) &&
	            w->problem.status == MER_OK;
	while (good && takes(w)) {
		struct meal_event event = { .kind = MEAL_NOTHING };
		w->api->ops->end(w->api, &event);
		MER_ASSERT(event.kind != MEAL_NOTHING);
		dispatch(w, &event);
	}
	if (good && !w->over)
		return; /* paused: on_kick comes again */
	if (!w->over) {
		(void)explain(w, w->end, w->why, &err);
		bool lost = w->end == HTTP_LOST && (!w->head.whole || http_head_is_good(&w->head));
		set_result(w, &err);
		w->result.lost = lost;
	}
	tell_result(w);
}

static void give_up_run(struct http_worker *w)
{
	struct mer_error err;
	if (w->exchange != NULL)
		w->transport->stop(w->exchange);
	w->exchange = NULL;
	if (w->over && !w->cancelling && w->ending != LEAVES) {
		tell_result(w); /* only its response was not at its end */
		return;
	}
	w->over = false;
	(void)mer_fail(&err, MER_ECANCELED, "canceled");
	set_result(w, &err);
	tell_result(w);
}

/* An exchange that cannot go on. */
static void break_off(struct http_worker *w)
{
	struct mer_error err;
	w->transport->stop(w->exchange);
	w->exchange = NULL;
	(void)mer_fail(&err, MER_ENOMEM, "out of memory");
	set_result(w, &err); /* unless data had enough */
	tell_result(w);
}

/* --- the greeting --------------------------------------------------------------------------- */

static void fail_start(struct http_worker *w, const struct mer_error *err)
{
	if (w->last.status == MER_OK)
		set_outcome(w, &w->last, err);
	w->ending = LEAVES;
	kick(w);
}

static void become_ready(struct http_worker *w)
{
	w->life = READY;
	if (w->probe != MER_HTTP_RUNS)
		w->ending = LEAVES;
	if (w->ending != STAYS)
		kick(w);
	else if (w->events->on_ready != NULL)
		w->events->on_ready(w->ctx);
}

static void greet(struct http_worker *w)
{
	struct mer_error err;
	clear_request(w);
	w->api->any_status = false;
	enum mer_status st =
		w->api->ops->hello(w->api, w->probe != MER_HTTP_PROBES_SERVER, &w->request, &err);
	if (st == MER_OK)
		st = send_request(w, &err);
	if (st != MER_OK)
		fail_start(w, &err);
}

static void on_greeted(struct http_worker *w, enum http_end end, const char *message)
{
	struct mer_error err;
	bool whole = end == HTTP_WHOLE && w->head.whole && w->problem.status == MER_OK;
	bool busy = whole && http_head_is_busy(&w->head);
	enum mer_status st = MER_OK;
	if (whole && !busy && (w->api->any_status || http_head_is_good(&w->head))) {
		const struct mer_str body = { w->body.ptr, w->body.len };
		st = w->api->ops->heard(w->api, w->probe != MER_HTTP_PROBES_SERVER, &w->head.response, body,
		                        &err);
		if (st != MER_OK)
			(void)mer_wrap(&err, st, "server '%s'", w->http->server);
	} else {
		st = explain(w, end, message, &err);
	}
	if (st != MER_OK) {
		err.status = busy || st == MER_ETIMEOUT || st == MER_ENOMEM ? st : MER_EUNREACHABLE;
		fail_start(w, &err);
	} else if (!w->api->greeted) {
		greet(w);
	} else {
		become_ready(w);
	}
}

/* --- what comes from the loop --------------------------------------------------------------- */

static void on_exchanged(void *ctx, enum http_end end, const char *message)
{
	struct http_worker *w = ctx;
	w->exchange = NULL;
	w->held = false;
	if (w->ending == LEAVES || w->cancelling) {
		kick(w);
		return;
	}
	if (w->run == NULL) {
		on_greeted(w, end, message);
		return;
	}
	w->ended = true;
	w->end = end;
	(void)snprintf(w->why, sizeof w->why, "%s", message);
	if (w->kept.len == 0 || w->over)
		conclude(w);
}

/* What was kept while paused goes first, then what the exchange holds, then its end. */
static void resume(struct http_worker *w)
{
	if (!w->paused && w->kept.len > 0 && !w->over) {
		w->kept_at += feed(w, w->kept.ptr + w->kept_at, w->kept.len - w->kept_at);
		if (w->kept_at < w->kept.len && !w->over)
			return;
		mer_buf_clear(&w->kept);
		w->kept_at = 0;
	}
	if (w->paused && !w->over)
		return;
	if (w->over && w->exchange != NULL)
		(void)uv_timer_start(&w->timer, on_timer, LINGER_MS, 0);
	bool held = w->held;
	w->held = false;
	if (held && w->exchange != NULL && !w->transport->resume(w->exchange)) {
		break_off(w);
		return;
	}
	if (w->ended)
		conclude(w);
}

static void on_kick(uv_idle_t *idle)
{
	struct http_worker *w = idle->data;
	(void)uv_idle_stop(idle);
	if (w->run != NULL && (w->ending == LEAVES || w->cancelling))
		give_up_run(w);
	else if (w->run != NULL)
		resume(w);
	if (w->life == ENDED || w->run != NULL)
		return;
	if (w->ending == LEAVES && w->exchange != NULL) {
		w->transport->stop(w->exchange);
		w->exchange = NULL;
	}
	if (w->ending != STAYS && w->exchange == NULL)
		leave(w);
	else if (w->life == PREPARED && w->let_go && w->probe == MER_HTTP_RUNS &&
	         !w->api->ops->asks_first)
		become_ready(w);
	else if (w->life == PREPARED && w->let_go) {
		w->life = GREETING;
		greet(w);
	}
}

/* --- what callers may do -------------------------------------------------------------------- */

static void go(struct mer_worker *base)
{
	struct http_worker *w = downcast(base);
	w->let_go = true;
	if (w->life == PREPARED)
		kick(w);
}

static size_t room(const struct mer_worker *base)
{
	MER_ASSERT(base->ops == &worker_ops);
	const struct http_worker *w = (const struct http_worker *)base;
	return w->life == READY && w->ending == STAYS && w->run == NULL;
}

static enum mer_status run(struct mer_worker *base, const struct mer_input *input, void *of,
                           struct mer_error *err)
{
	struct http_worker *w = downcast(base);
	if (w->life == ENDED || w->ending != STAYS)
		return mer_fail(err, MER_EUNREACHABLE, "the worker had left before this run");
	MER_ASSERT(room(base) > 0);
	clear_request(w);
	enum mer_status st = w->api->ops->build(w->api, input, &w->request, err);
	if (st != MER_OK)
		return st;
	if (input->traceparent != NULL && input->traceparent[0] != '\0')
		(void)snprintf(w->request.header[w->request.n_headers++], sizeof w->request.header[0],
		               "traceparent: %s", input->traceparent);
	w->output = 0;
	w->paused = false;
	w->run = of;
	st = send_request(w, err);
	if (st == MER_OK)
		return st;
	w->api->ops->over(w->api);
	w->run = NULL;
	return st;
}

static bool cancel(struct mer_worker *base, const void *of, int64_t grace_ms)
{
	struct http_worker *w = downcast(base);
	(void)grace_ms; /* the connection is closed at once */
	if (w->run == NULL || w->run != of)
		return false;
	w->cancelling = true;
	kick(w);
	return true;
}

static void pause_output(struct mer_worker *base, bool pause)
{
	struct http_worker *w = downcast(base);
	if (w->paused == pause)
		return;
	w->paused = pause;
	if (w->run != NULL)
		kick(w);
}

static void on_timer(uv_timer_t *timer)
{
	struct http_worker *w = timer->data;
	if (w->over)
		give_up_run(w);
	else if (w->ending == DRAINS)
		w->ending = LEAVES;
	kick(w);
}

static void end(struct mer_worker *base, enum mer_end how, int64_t grace_ms)
{
	struct http_worker *w = downcast(base);
	struct mer_error err;
	enum degree degree = how == MER_END_DRAIN && w->run != NULL ? DRAINS : LEAVES;
	if (w->life == ENDED || degree <= w->ending)
		return;
	w->ending = degree;
	(void)mer_fail(&err, MER_ECANCELED, "canceled before the model was ready");
	if (w->life != READY && w->last.status == MER_OK)
		set_outcome(w, &w->last, &err);
	if (degree == DRAINS)
		(void)uv_timer_start(&w->timer, on_timer, (uint64_t)grace_ms, 0);
	kick(w);
}

static const char *announced(const struct mer_worker *base)
{
	MER_ASSERT(base->ops == &worker_ops);
	return ((const struct http_worker *)base)->api->announced;
}

static int64_t pid(const struct mer_worker *base)
{
	(void)base;
	return 0;
}

static const struct meal_worker_ops worker_ops = {
	.go = go,
	.room = room,
	.run = run,
	.cancel = cancel,
	.pause = pause_output,
	.end = end,
	.announced = announced,
	.pid = pid,
};

/* --- start ---------------------------------------------------------------------------------- */

static const struct http_api_ops *const apis[] = { &http_oip, &http_openai, &http_plain, NULL };

static const struct http_api_ops *find_api(const char *name)
{
	const struct http_api_ops *const *api = apis;
	while (*api != NULL && strcmp((*api)->name, name) != 0)
		api++;
	return *api;
}

enum mer_status http_worker_check(const struct mer_worker_spec *spec, const struct mer_input *input,
                                  struct mer_error *err)
{
	/* What of tensors a model takes only its server says. */
	if (strcmp(spec->http->api, http_oip.name) == 0)
		return MER_OK;
	return meal_check_plain(input, err);
}

static enum mer_status load(const struct http_transport **out, struct mer_error *err)
{
	const void *table;
	enum mer_status st = mer_module_load(MODULE, &table, err);
	if (st == MER_OK)
		*out = table;
	else if (st == MER_ENOTFOUND) {
		st = mer_fail(err, MER_EUNREACHABLE, "this mer has no HTTP module");
		mer_hint(err, "install it (package mer-http, or meson setup -Dhttp=enabled)");
	} else if (st != MER_ENOMEM)
		st = mer_wrap(err, MER_EUNREACHABLE, "no HTTP module");
	return st;
}

static enum mer_status make_api(struct http_worker *w, const struct mer_http *http, bool session,
                                struct mer_error *err)
{
	const struct http_api_ops *ops = find_api(http->api);
	if (ops == NULL)
		return mer_fail(err, MER_EUNREACHABLE, "this mer does not speak the API '%s'", http->api);
	w->api = calloc(1, ops->size);
	if (w->api == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	w->api->ops = ops;
	w->api->http = http;
	w->api->probe = w->probe;
	w->api->max_output = w->max_output;
	w->api->session = session;
	return ops->init(w->api, err);
}

/* A connection that its server has closed must not end the program. */
static void block_sigpipe(void)
{
	struct sigaction now;
	sigset_t pipe_only;
	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
		(void)pthread_sigmask(SIG_BLOCK, &pipe_only, NULL);
}

enum mer_status http_worker_start(struct uv_loop_s *loop, const struct mer_worker_spec *spec,
                                  const struct mer_worker_events *events, void *ctx,
                                  struct mer_worker **out, struct mer_error *err)
{
	struct http_worker *w = calloc(1, sizeof *w);
	if (w == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	w->base.ops = &worker_ops;
	w->events = events;
	w->ctx = ctx;
	w->probe = spec->http_probe;
	w->max_output = spec->max_output;
	w->last.exit_code = -1;
	w->http = mer_http_ref(spec->http);
	mer_buf_init(&w->request.path, 1 << 16);
	mer_buf_init(&w->body, HELLO_MAX);
	mer_buf_init(&w->kept, SIZE_MAX);
	enum mer_status st = make_api(w, spec->http, spec->http_session, err);
	if (st == MER_OK)
		st = load(&w->transport, err);
	if (st == MER_OK)
		st = w->transport->open(loop, &w->client, err);
	if (st != MER_OK) {
		free_worker(w);
		return st;
	}
	block_sigpipe();
	(void)uv_timer_init(loop, &w->timer);
	(void)uv_idle_init(loop, &w->kick);
	w->timer.data = w->kick.data = w;
	*out = &w->base;
	return MER_OK;
}
