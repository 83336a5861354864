/* A worker over bytes is a carrier and a protocol. It checks what callers may do, traces each call
 * once, holds runs to their limit, ends workers in three degrees and reports each end once. */
#define LOG_AREA "meal"
#include "internal.h"
#include "verdict.h"

#include <mer/log.h>
#include <mer/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define SYNC_MS 1 /* between two looks at whether a worker has read what it was sent */
#define KEPT_MAX ((size_t)4 << 20) /* a carrier that is paused has far less left to give */
#define CLOSED_GRACE_MS 1000       /* of each degree, for a worker that closed its stdout */

enum life { STARTING, READY, ENDED };
enum degree { STAYS, DRAINS, TERMINATED, KILLED };

/* Owns carrier and protocol. Freed when the carrier and its own handles are closed. */
struct worker {
	struct mer_worker base;
	struct meal_carrier *carrier;
	struct meal_protocol *protocol;
	const struct mer_worker_events *events; /* borrowed */
	void *ctx;
	uv_timer_t grace; /* until a harder end */
	uv_timer_t sync;  /* looks at what the worker has read */
	uv_idle_t resume; /* feeds what was kept while paused */
	int handles;      /* open ones of these three, and the carrier */

	enum life life;
	enum degree ending;
	bool asked;       /* mer_worker_end() came */
	bool let_go;      /* mer_worker_go() came */
	bool given;       /* mer_worker_run() came */
	bool paused;      /* by the caller */
	bool held;        /* what the carrier was told last */
	bool deaf;        /* what stdout says is dropped from now on */
	bool overdue;     /* it did not give up a run in time */
	bool drain_due;   /* the farewell is to follow the open run's input */
	int64_t grace_ms; /* of each degree */

	int64_t max_output;  /* bytes of a run */
	struct mer_buf kept; /* of stdout or the file, that came while paused */
	size_t kept_at;      /* bytes of it that were fed */
	enum meal_stream kept_from;
	struct last_line said;   /* on stderr */
	struct mer_outcome last; /* of the worker; not MER_OK before its end: why it was given up */
};

/* --- ends ------------------------------------------------------------------------------------ */

/* Whether the caller made it leave, or would not have that run, not waiting for answers. */
static bool is_canceled(const struct worker *w, const struct meal_call *call)
{
	return (w->asked || (call != NULL && call->cancelling)) && w->ending >= TERMINATED;
}

static void judge(const struct worker *w, const struct meal_call *call, const struct meal_exit *how,
                  struct mer_outcome *out)
{
	const struct verdict_case about = { .protocol = w->protocol,
		                                .call = call,
		                                .said = &w->said,
		                                .ready = w->life == READY,
		                                .asked = w->asked,
		                                .overdue = w->overdue,
		                                .canceled = is_canceled(w, call) };
	verdict_reach(&about, how, out);
}

/* --- leaving -------------------------------------------------------------------------------- */

/* Whether output is held back for the caller: of runs that are being given up it is dropped. */
static bool is_paused(const struct worker *w)
{
	const struct meal_call *call;
	if (!w->paused)
		return false;
	TAILQ_FOREACH(call, &w->protocol->calls, link)
	if (!call->cancelling)
		return true;
	return w->protocol->n_open == 0;
}

/* Tells the carrier whether to hold back stdout: for the caller, for what was kept, and of a process
 * that runs before its run was given. */
static void hold(struct worker *w)
{
	bool early = !w->protocol->stays && !w->given;
	bool want = w->ending < TERMINATED && !w->deaf && (is_paused(w) || w->kept.len > 0 || early);
	if (want == w->held || w->life == ENDED)
		return;
	w->held = want;
	w->carrier->ops->pause(w->carrier, want);
}

static void leave(struct worker *w, enum degree degree); /* calls itself by its timer */
static void on_grace(uv_timer_t *grace);

/* Waits for runs that are to be given up; ends the worker where one was not in time. */
static void await_cancelled(struct worker *w)
{
	const struct meal_call *call;
	int64_t now = (int64_t)uv_now(w->grace.loop), first = INT64_MAX;
	if (w->ending != STAYS)
		return;
	TAILQ_FOREACH(call, &w->protocol->calls, link)
	if (call->cancelling && call->cancel_by < first)
		first = call->cancel_by;
	w->overdue = first <= now;
	if (w->overdue)
		leave(w, TERMINATED);
	else if (first < INT64_MAX)
		(void)uv_timer_start(&w->grace, on_grace, (uint64_t)(first - now), 0);
	else
		(void)uv_timer_stop(&w->grace);
}

static void on_grace(uv_timer_t *grace)
{
	struct worker *w = grace->data;
	if (w->ending == STAYS)
		await_cancelled(w);
	else
		leave(w, w->ending + 1);
}

static void bid_farewell(struct worker *w)
{
	const struct meal_protocol *protocol = w->protocol;
	w->carrier->ops->write(w->carrier, &protocol->farewell, protocol->farewell.len > 0,
	                       !protocol->lingers, NULL);
}

static void leave(struct worker *w, enum degree degree)
{
	if (!w->let_go)
		degree = KILLED; /* nothing of it runs that could be asked */
	w->ending = degree;
	MER_DEBUG("end worker=%p pid=%lld degree=%d", (void *)w, (long long)w->carrier->pid,
	          (int)degree);
	if (degree == DRAINS && w->protocol->syncing)
		w->drain_due = true;
	else if (degree == DRAINS)
		bid_farewell(w);
	else
		w->carrier->ops->signal(w->carrier, degree == KILLED ? MEAL_KILL : MEAL_TERM);
	/* The run is canceled; its process is not to be held by a full pipe. */
	w->deaf |= degree >= TERMINATED && (w->paused || w->kept.len > 0);
	hold(w);
	if (degree == KILLED)
		(void)uv_timer_stop(&w->grace);
	else
		(void)uv_timer_start(&w->grace, on_grace, (uint64_t)w->grace_ms, 0);
}

/* Nothing that it says can be held or trusted any more. */
static void give_up(struct worker *w, const struct mer_error *why)
{
	if (w->last.status == MER_OK)
		verdict_set(&w->last, why);
	w->deaf = true;
	if (w->life != ENDED && w->ending < KILLED)
		leave(w, KILLED);
}

/* All open runs have failed, for a reason that is their worker's. */
static void fail_calls(struct worker *w, const struct mer_error *why)
{
	struct meal_call *call;
	TAILQ_FOREACH(call, &w->protocol->calls, link)
	{
		if (call->finished)
			continue;
		verdict_set(&call->result, why);
		call->finished = true;
	}
}

static void fail_worker(struct worker *w, const struct mer_error *why)
{
	fail_calls(w, why);
	give_up(w, why);
}

/* --- runs ----------------------------------------------------------------------------------- */

/* What is still to be sent of a run that has ended outlives it. */
static void settle(struct worker *w, const struct meal_call *call)
{
	bool hear = w->protocol->hears_stderr && w->last.status == MER_OK;
	struct mer_error err;
	enum mer_status st = w->carrier->ops->settle(w->carrier, call, hear);
	if (st == MER_OK)
		return;
	(void)mer_fail(&err, st == MER_EBUSY ? MER_EMODEL : st, "%s",
	               st == MER_EBUSY ? "the model answers without reading its input"
	                               : "out of memory for input that was not read yet");
	give_up(w, &err);
}

/* For the log: a run of a ping, or of a test, has none. */
static const char *uid_of(const struct mer_input *input)
{
	return input->uid != NULL ? input->uid : "-";
}

/* Ends an open run as its result says. */
static void finish(struct worker *w, struct meal_call *call)
{
	if (w->life != ENDED)
		settle(w, call);
	if (uv_is_active((uv_handle_t *)&w->sync))
		(void)uv_timer_stop(&w->sync);
	if (call->cancelling || (call->result.status == MER_OK && is_canceled(w, call))) {
		struct mer_error err;
		(void)mer_fail(&err, MER_ECANCELED, "canceled");
		verdict_set(&call->result, &err);
	}
	bool asked = call->cancelling;
	call->cancelling = false;
	if (asked)
		await_cancelled(w);
	MER_DEBUG("done worker=%p pid=%lld request_uid=%s status=%s output=%lld", (void *)w,
	          (long long)w->carrier->pid, uid_of(&call->input),
	          mer_status_name(call->result.status), (long long)call->output);
	struct mer_outcome result = call->result; /* the next run may be given from the callback */
	void *run = call->run;
	meal_end(w->protocol, call);
	if (w->events->on_done != NULL)
		w->events->on_done(w->ctx, run, &result);
}

static struct meal_call *finished_call(struct worker *w)
{
	struct meal_call *call;
	TAILQ_FOREACH(call, &w->protocol->calls, link)
	if (call->finished)
		return call;
	return NULL;
}

static void finish_all(struct worker *w)
{
	struct meal_call *call;
	while ((call = finished_call(w)) != NULL)
		finish(w, call);
}

static void set_done(struct meal_call *call, const struct meal_event *event)
{
	struct mer_error err;
	call->finished = true;
	if (event->status == MER_OK)
		return;
	if (event->bytes.len == 0)
		(void)mer_fail(&err, event->status, "the model said so by an empty line on stderr");
	else
		(void)mer_fail(&err, event->status, "%.*s", (int)event->bytes.len, event->bytes.ptr);
	verdict_set(&call->result, &err);
}

static void deliver(struct worker *w, struct meal_call *call, struct mer_str bytes)
{
	size_t n = call->cancelling ? 0 : bytes.len;
	bool over = w->max_output > 0 && n > (uint64_t)(w->max_output - call->output);
	if (over)
		n = (size_t)(w->max_output - call->output);
	call->output += (int64_t)n;
	if (n > 0 && w->events->on_output != NULL)
		w->events->on_output(w->ctx, call->run, bytes.ptr, n);
	if (!over)
		return;
	struct mer_error own, others;
	(void)mer_fail(&own, MER_ELIMIT, "the output is over %lld bytes", (long long)w->max_output);
	(void)mer_fail(&others, MER_EMODEL,
	               "the model was ended, since another run's output is over %lld bytes",
	               (long long)w->max_output);
	verdict_set(&call->result, &own);
	call->finished = true;
	fail_calls(w, &others);
	give_up(w, &own);
}

/* What no run asked for. A worker that does not read what it asks for cannot be kept. */
static void tell(struct worker *w, struct mer_str bytes)
{
	struct mer_error err;
	enum mer_status st = w->carrier->ops->tell(w->carrier, bytes);
	if (st == MER_OK)
		return;
	(void)mer_fail(&err, st == MER_EBUSY ? MER_EMODEL : st, "%s",
	               st == MER_EBUSY ? "the model does not read what it asks for" : "out of memory");
	fail_worker(w, &err);
}

/* The conversation is at its end: open runs have failed, and the worker is told why. */
static void break_off(struct worker *w, const struct meal_event *event)
{
	struct mer_error err;
	(void)mer_fail(&err, event->status, "%.*s", (int)event->bytes.len, event->bytes.ptr);
	fail_calls(w, &err);
	if (w->last.status == MER_OK)
		verdict_set(&w->last, &err);
	w->deaf = true;
	if (w->ending != STAYS)
		return;
	w->grace_ms = CLOSED_GRACE_MS;
	leave(w, DRAINS);
}

/* A worker's numbers and text are input: they are made to be what struct mer_progress promises. */
static void tell_progress(struct worker *w, const struct meal_event *event)
{
	if (w->events->on_progress == NULL || (event->call != NULL && event->call->cancelling))
		return;
	size_t len = event->bytes.len < MER_PROGRESS_TEXT ? event->bytes.len : MER_PROGRESS_TEXT;
	struct mer_progress progress = {
		.done = event->done > 0 ? event->done : 0,
		.total = event->total > 0 ? event->total : 0,
		.text = { event->bytes.ptr, len > 0 ? mer_utf8_span(event->bytes.ptr, len) : 0 },
	};
	if (progress.total > 0 && progress.done > progress.total)
		progress.done = progress.total;
	w->events->on_progress(w->ctx, event->call != NULL ? event->call->run : NULL, &progress);
}

static void dispatch(struct worker *w, const struct meal_event *event)
{
	struct meal_call *call = event->call != NULL ? event->call : meal_only_call(w->protocol);
	switch (event->kind) {
	case MEAL_NOTHING: break;
	case MEAL_READY:
		w->life = READY;
		MER_DEBUG("ready worker=%p pid=%lld says=%s", (void *)w, (long long)w->carrier->pid,
		          w->protocol->announced != NULL ? w->protocol->announced : "nothing");
		if (w->ending == STAYS && w->events->on_ready != NULL)
			w->events->on_ready(w->ctx);
		break;
	case MEAL_META:
		if (!call->cancelling && w->events->on_meta != NULL)
			w->events->on_meta(w->ctx, call->run, event->bytes.ptr);
		break;
	case MEAL_OUTPUT: deliver(w, call, event->bytes); break;
	case MEAL_LOG:
		if (w->events->on_log != NULL)
			w->events->on_log(w->ctx, call != NULL ? call->run : NULL, event->bytes.ptr,
			                  event->bytes.len);
		break;
	case MEAL_DONE: set_done(call, event); break;
	case MEAL_SEND: tell(w, event->bytes); break;
	case MEAL_PROGRESS: tell_progress(w, event); break;
	case MEAL_BROKEN: break_off(w, event); break;
	}
}

/* Feeds until all is taken, or the caller pauses. Returns how much was taken. A run that is answered
 * is reported behind the last byte: what came along with its answer is not of the next one. */
static size_t feed(struct worker *w, enum meal_stream stream, const char *bytes, size_t n)
{
	size_t at = 0;
	struct meal_event event = { .kind = MEAL_NOTHING };
	do {
		bool is_output = stream != MEAL_STDERR && at < n;
		if (w->deaf && stream != MEAL_STDERR)
			return n;
		if (is_output && is_paused(w))
			break;
		size_t taken = w->protocol->ops->feed(w->protocol, stream, bytes + at, n - at, &event);
		MER_ASSERT(taken <= n - at && (taken > 0 || at == n || event.kind != MEAL_NOTHING));
		at += taken;
		dispatch(w, &event);
	} while (at < n || event.kind != MEAL_NOTHING);
	return at;
}

static void on_prepared(void *ctx)
{
	struct worker *w = ctx;
	if (!w->protocol->stays)
		dispatch(w, &(struct meal_event){ .kind = MEAL_READY });
}

static void on_data(void *ctx, enum meal_stream stream, const char *bytes, size_t n)
{
	struct worker *w = ctx;
	if (stream == MEAL_STDERR)
		last_line_add(&w->said, bytes, n);
	bool settling = finished_call(w) != NULL;
	size_t taken = feed(w, stream, bytes, n);
	if (taken < n) {
		w->kept_from = stream;
		mer_buf_add(&w->kept, bytes + taken, n - taken);
		hold(w);
	}
	if (mer_buf_check(&w->kept, NULL) != MER_OK) {
		struct mer_error err;
		(void)mer_fail(&err, MER_ENOMEM, "out of memory for output that nobody takes yet");
		give_up(w, &err);
	}
	if (!settling) /* else it is finish() that called for it */
		finish_all(w);
}

static void on_eof(void *ctx, enum meal_stream stream)
{
	struct worker *w = ctx;
	struct meal_event event = { .kind = MEAL_NOTHING };
	if (stream == MEAL_STDERR || !w->deaf)
		w->protocol->ops->eof(w->protocol, stream, &event);
	dispatch(w, &event);
	finish_all(w);
	if (w->protocol->stays && stream == MEAL_STDOUT && w->ending == STAYS) {
		w->grace_ms = CLOSED_GRACE_MS; /* usually it is about to end; it cannot answer any more */
		leave(w, DRAINS);
	}
}

static void set_exit(struct mer_outcome *outcome, const struct meal_exit *how)
{
	outcome->exit_code = how->exit_code;
	outcome->signal = how->signal;
	outcome->cpu_us = how->cpu_us;
	outcome->max_rss_kib = how->max_rss_kib;
	memcpy(outcome->lacks, how->lacks, sizeof outcome->lacks);
}

static void on_ended(void *ctx, const struct meal_exit *how)
{
	struct worker *w = ctx;
	struct mer_outcome *last = &w->last;
	(void)uv_timer_stop(&w->grace);
	(void)uv_timer_stop(&w->sync);
	(void)uv_idle_stop(&w->resume);
	bool judged = last->status != MER_OK;
	struct meal_call *call;
	if (!judged)
		judge(w, w->overdue ? NULL : TAILQ_FIRST(&w->protocol->calls), how, last);
	TAILQ_FOREACH(call, &w->protocol->calls, link)
	{
		if (call->finished)
			continue;
		if (judged)
			call->result = *last;
		else
			judge(w, call, how, &call->result);
		call->finished = true;
		set_exit(&call->result, how);
	}
	w->life = ENDED;
	set_exit(last, how);
	MER_DEBUG("ended worker=%p pid=%lld exit=%d signal=%d", (void *)w, (long long)w->carrier->pid,
	          how->exit_code, how->signal);
	finish_all(w);
	w->carrier->ops->close(w->carrier);
}

static void free_worker(struct worker *w)
{
	meal_protocol_free(w->protocol);
	mer_buf_release(&w->kept);
	free(w);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct worker *w = handle->data;
	if (--w->handles > 0)
		return;
	MER_DEBUG("gone worker=%p status=%s", (void *)w, mer_status_name(w->last.status));
	w->events->on_gone(w->ctx, &w->last);
	free_worker(w);
}

static void on_closed(void *ctx)
{
	struct worker *w = ctx;
	MER_ASSERT(w->protocol->n_open == 0);
	w->handles--;
	uv_close((uv_handle_t *)&w->grace, on_handle_closed);
	uv_close((uv_handle_t *)&w->sync, on_handle_closed);
	uv_close((uv_handle_t *)&w->resume, on_handle_closed);
}

static const struct meal_carrier_events carrier_events = {
	.prepared = on_prepared,
	.data = on_data,
	.eof = on_eof,
	.ended = on_ended,
	.closed = on_closed,
};

/* Sends the rest of a run once the worker has read the beginning. */
static void on_sync(uv_timer_t *sync)
{
	struct worker *w = sync->data;
	int left = w->carrier->ops->in_flight(w->carrier);
	if (left > 0 || w->kept.len > 0)
		return;
	(void)uv_timer_stop(sync);
	w->protocol->ops->synced(w->protocol, left == 0);
	const struct meal_call *call = meal_only_call(w->protocol);
	w->carrier->ops->write(w->carrier, call->pieces.piece + 1, call->pieces.count - 1,
	                       call->pieces.last, call);
	if (w->drain_due)
		bid_farewell(w);
}

static void on_resume(uv_idle_t *resume)
{
	struct worker *w = resume->data;
	(void)uv_idle_stop(resume);
	if (is_paused(w) || w->deaf)
		return;
	w->kept_at += feed(w, w->kept_from, w->kept.ptr + w->kept_at, w->kept.len - w->kept_at);
	if (w->kept_at >= w->kept.len) {
		mer_buf_clear(&w->kept);
		w->kept_at = 0;
	}
	hold(w);
	finish_all(w);
}

/* --- what callers may do -------------------------------------------------------------------- */

static const struct meal_worker_ops worker_ops;

static struct worker *downcast(struct mer_worker *base)
{
	MER_ASSERT(base->ops == &worker_ops);
	return (struct worker *)base;
}

enum mer_status meal_worker_start(struct uv_loop_s *loop, struct meal_carrier *carrier,
                                  const struct mer_worker_spec *spec,
                                  const struct mer_worker_events *events, void *ctx,
                                  struct mer_worker **out, struct mer_error *err)
{
	struct worker *w = calloc(1, sizeof *w);
	if (w == NULL) {
		carrier->ops->close(carrier);
		return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	*w = (struct worker){
		.base = { &worker_ops },
		.carrier = carrier,
		.events = events,
		.ctx = ctx,
		.handles = 4,
		.max_output = spec->max_output,
		.last = { .exit_code = -1 },
	};
	mer_buf_init(&w->kept, KEPT_MAX);
	carrier->events = &carrier_events;
	carrier->ctx = w;
	enum mer_status st = meal_protocol_of(spec, &w->protocol, err);
	if (st == MER_OK)
		st = carrier->ops->start(carrier, loop, spec, err);
	else
		carrier->ops->close(carrier);
	if (st != MER_OK) {
		free_worker(w);
		return st;
	}
	MER_DEBUG("start worker=%p program=%s protocol=%s", (void *)w, spec->argv[0],
	          w->protocol->ops->name);
	(void)uv_timer_init(loop, &w->grace);
	(void)uv_timer_init(loop, &w->sync);
	(void)uv_idle_init(loop, &w->resume);
	w->grace.data = w->sync.data = w->resume.data = w;
	hold(w);
	*out = &w->base;
	return MER_OK;
}

static void go(struct mer_worker *base)
{
	struct worker *w = downcast(base);
	if (w->let_go || w->ending != STAYS)
		return;
	w->let_go = true;
	w->carrier->ops->go(w->carrier);
	if (w->protocol->greeting.len > 0)
		w->carrier->ops->write(w->carrier, &w->protocol->greeting, 1, false, NULL);
}

static size_t room_of(const struct worker *w)
{
	const struct meal_protocol *protocol = w->protocol;
	bool takes = protocol->stays ? w->life == READY : !w->given;
	if (!takes || w->life == ENDED || w->ending != STAYS || w->deaf)
		return 0;
	return protocol->capacity - protocol->n_open;
}

static size_t room(const struct mer_worker *base)
{
	MER_ASSERT(base->ops == &worker_ops);
	return room_of((const struct worker *)base);
}

static enum mer_status run(struct mer_worker *base, const struct mer_input *input, void *of,
                           struct mer_error *err)
{
	struct worker *w = downcast(base);
	struct meal_protocol *protocol = w->protocol;
	if (w->life == ENDED || w->ending != STAYS)
		return mer_fail(err, MER_EUNREACHABLE, "the model had ended before this run%s%s",
		                w->last.message[0] != '\0' ? ": " : "", w->last.message);
	MER_ASSERT(room_of(w) > 0);
	struct meal_call *call;
	enum mer_status st = meal_begin(protocol, input, &call, err);
	if (st != MER_OK)
		return st;
	call->run = of;
	w->given = true;
	bool whole = !protocol->syncing;
	w->carrier->ops->write(w->carrier, call->pieces.piece, whole ? call->pieces.count : 1,
	                       whole && call->pieces.last, call);
	if (!whole)
		(void)uv_timer_start(&w->sync, on_sync, SYNC_MS, SYNC_MS);
	hold(w);
	return MER_OK;
}

static bool cancel(struct mer_worker *base, const void *of, int64_t grace_ms)
{
	struct worker *w = downcast(base);
	struct meal_call *call;
	if (w->life == ENDED || w->ending != STAYS || w->protocol->ops->cancel == NULL)
		return false;
	TAILQ_FOREACH(call, &w->protocol->calls, link)
	if (call->run == of)
		break;
	if (call == NULL || call->cancelling)
		return call != NULL;
	MER_DEBUG("cancel worker=%p pid=%lld request_uid=%s", (void *)w, (long long)w->carrier->pid,
	          uid_of(&call->input));
	int64_t now = (int64_t)uv_now(w->grace.loop);
	w->grace_ms = grace_ms; /* of each degree, where it has to be ended for it */
	call->cancelling = true;
	call->cancel_by = grace_ms > INT64_MAX - now ? INT64_MAX - 1 : now + grace_ms;
	const struct mer_str word = w->protocol->ops->cancel(w->protocol, call);
	w->carrier->ops->write(w->carrier, &word, 1, false, call);
	if (w->kept.len > 0)
		(void)uv_idle_start(&w->resume, on_resume);
	hold(w);
	await_cancelled(w);
	return true;
}

static void pause_output(struct mer_worker *base, bool pause)
{
	struct worker *w = downcast(base);
	if (pause == w->paused)
		return;
	w->paused = pause;
	w->deaf |= pause && w->ending >= TERMINATED;
	if (!pause && w->kept.len > 0)
		(void)uv_idle_start(&w->resume, on_resume);
	else
		hold(w);
}

static void end(struct mer_worker *base, enum mer_end how, int64_t grace_ms)
{
	struct worker *w = downcast(base);
	static const enum degree degrees[] = {
		[MER_END_DRAIN] = DRAINS,
		[MER_END_TERM] = TERMINATED,
		[MER_END_KILL] = KILLED,
	};
	MER_ASSERT((size_t)how < sizeof degrees / sizeof *degrees);
	if (w->life == ENDED)
		return;
	w->asked = true;
	if (degrees[how] <= w->ending)
		return;
	w->grace_ms = grace_ms;
	leave(w, degrees[how]);
}

static const char *announced(const struct mer_worker *base)
{
	MER_ASSERT(base->ops == &worker_ops);
	return ((const struct worker *)base)->protocol->announced;
}

static int64_t pid(const struct mer_worker *base)
{
	MER_ASSERT(base->ops == &worker_ops);
	return ((const struct worker *)base)->carrier->pid;
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
