/* A run under way, in the foreground or in the background. */
#include "flight.h"

#include <mer/text.h>

/* --- its output --------------------------------------------------------------------------- */

static void on_drain(void *ctx)
{
	struct flight *flight = ctx;
	if (flight->run != NULL)
		mer_run_pause(flight->run, false);
}

static void print(struct flight *flight, const char *bytes, size_t n)
{
	struct sink *sink = &flight->s->out.sink;
	if (sink->terminal)
		progress_yield(&flight->s->view, bytes[n - 1] == '\n');
	if (flight->tidy) {
		caret_add(&flight->caret, bytes, n, &sink->buf);
		sink_added(sink);
	} else {
		sink_add(sink, bytes, n);
	}
}

/* Nobody takes it, and there is no end to it. */
static void check_kept(struct flight *flight)
{
	if (flight->watched || flight->keep_max == 0 ||
	    store_on_disk(flight->output.store) <= flight->keep_max)
		return;
	flight->too_much = true;
	flight_cancel(flight, false);
}

static void take(struct flight *flight, const char *bytes, size_t n)
{
	if (flight->dropped || n == 0)
		return;
	if (flight->print && flight->output.bytes == 0) {
		print(flight, bytes, n);
	} else {
		spool_add(&flight->output, bytes, n);
		check_kept(flight);
	}
	if (flight->print && flight->run != NULL && sink_full(&flight->s->out.sink))
		mer_run_pause(flight->run, true);
}

static void take_tensors(struct flight *flight)
{
	take(flight, flight->answer.text.ptr, flight->answer.text.len);
	mer_buf_clear(&flight->answer.text);
}

static void on_meta(void *ctx, const char *meta)
{
	struct flight *flight = ctx;
	if (flight->as_it_is) {
		if (flight->metas != NULL)
			mer_buf_printf(flight->metas, ",%s", meta);
		return;
	}
	answer_meta(&flight->answer, meta);
	take_tensors(flight);
}

static void on_output(void *ctx, const char *bytes, size_t n)
{
	struct flight *flight = ctx;
	if (!flight->answer.described) {
		take(flight, bytes, n);
		return;
	}
	answer_add(&flight->answer, bytes, n);
	take_tensors(flight);
}

/* --- the run ------------------------------------------------------------------------------ */

static void on_started(void *ctx, const struct mer_run *run)
{
	struct flight *flight = ctx;
	flight->started = true;
	run_log_begin(&flight->log, run);
}

static void on_log(void *ctx, const char *bytes, size_t n)
{
	struct flight *flight = ctx;
	run_log_add(&flight->log, flight->model, bytes, n);
}

static void on_progress(void *ctx, const struct mer_progress *progress)
{
	progress_told(&((struct flight *)ctx)->progress, progress);
}

static void on_done(void *ctx, const struct mer_run_result *result)
{
	struct flight *flight = ctx;
	run_log_end(&flight->log, flight->model);
	flight->result = run_keep(result, flight->no_record);
	if (flight->result != NULL && flight->too_much) {
		struct mer_error *err = &flight->result->result.error;
		(void)mer_fail(err, MER_EMODEL,
		               "the run of model '%s' was cancelled: too much output in the background",
		               flight->model);
		mer_hint(err, "run it in the foreground, or 'wait' for those that have ended");
	}
	if (flight->result != NULL && run_came_to_be(flight->result))
		summary_run(flight->s, result->error.status == MER_OK);
	flight->run = NULL;
	flight->ended_ms = mer_clock_ms();
	flight->done = true;
}

static const struct mer_run_events events = {
	.on_started = on_started,
	.on_meta = on_meta,
	.on_output = on_output,
	.on_log = on_log,
	.on_progress = on_progress,
	.on_done = on_done,
};

void flight_cancel(struct flight *flight, bool kill)
{
	if (flight->run == NULL)
		return;
	flight->dropped = true;
	mer_run_pause(flight->run, false);
	mer_run_cancel(flight->run, kill);
}

enum mer_status flight_begin(struct flight *out, struct session *s, const struct run_choice *choice,
                             struct mer_str input, const char *meta, struct store *store,
                             struct mer_error *err)
{
	out->s = s;
	out->model = choice->model;
	out->format = s->out.format;
	out->whole = out->as_it_is || run_as_json(s);
	out->raw = choice->raw;
	out->no_record = choice->no_record;
	out->metas = choice->metas;
	spool_init(&out->output, store);
	answer_init(&out->answer, choice->model, choice->tensor_out,
	            meta == NULL ? input : (struct mer_str){ NULL, 0 });
	progress_begin(&out->progress, choice->model);
	const struct mer_run_request request = {
		.model = choice->model,
		.deployment = choice->deployment,
		.server = choice->server,
		.session = choice->session,
		.weights = choice->weights,
		.replays = choice->replays,
		.input = input.ptr,
		.input_len = input.len,
		.input_meta = meta,
		.tensors = choice->tensor_out != NULL,
		.timeout_ms = run_timeout_ms(s, choice->timeout_ms),
		.no_record = choice->no_record,
	};
	struct mer_sched *sched;
	enum mer_status st = session_sched(s, false, &sched, err);
	return st == MER_OK ? mer_sched_submit(sched, &request, &events, out, &out->run, err) : st;
}

void flight_release(struct flight *flight)
{
	answer_release(&flight->answer);
	spool_clear(&flight->output);
	free(flight->result);
	flight->result = NULL;
}

/* --- looking on --------------------------------------------------------------------------- */

static void on_cancel(void *ctx, bool kill)
{
	flight_cancel(ctx, kill);
}

/* What was kept before somebody looked on. */
static enum mer_status print_kept(struct flight *flight, struct mer_error *err)
{
	struct session *s = flight->s;
	enum mer_status st = spool_check(&flight->output, err);
	if (st != MER_OK || flight->output.bytes == 0)
		return st;
	if (s->out.sink.terminal)
		progress_yield(&s->view, false);
	st = run_copy(s, &flight->output, flight->tidy ? &flight->caret : NULL, err);
	char last = '\n';
	size_t got;
	if (st == MER_OK)
		st = spool_read(&flight->output, flight->output.bytes - 1, &last, 1, &got, err);
	spool_clear(&flight->output);
	if (s->out.sink.terminal)
		progress_yield(&s->view, last == '\n');
	return st;
}

/* What cannot be printed is not tried again; flight_tell() says why. */
static void catch_up(struct flight *flight)
{
	if (flight->print && flight->unprinted.status == MER_OK) {
		enum mer_status st = print_kept(flight, &flight->unprinted);
		flight->unprinted.status = st;
		flight->dropped |= st != MER_OK;
	}
}

void flight_watch(struct flight *flight)
{
	struct session *s = flight->s;
	s->out.format = flight->format;
	flight->watched = true;
	flight->print = !flight->whole;
	flight->tidy = flight->print && !flight->raw && out_is_terminal();
	s->out.sink.on_drain = on_drain;
	s->out.sink.ctx = flight;
	session_cancels(s, on_cancel, flight);
	session_progress(s, &flight->progress);
	while (!flight->done) {
		catch_up(flight);
		if (!flight->done)
			(void)uv_run(&s->loop, UV_RUN_ONCE);
	}
	catch_up(flight);
	session_progress(s, NULL);
	session_cancels(s, NULL, NULL);
	s->out.sink.on_drain = NULL;
}

/* --- what is said of it ------------------------------------------------------------------- */

/* An answer on a terminal, of which there is a row, may be rated. */
static void answered(const struct flight *flight)
{
	struct session *s = flight->s;
	const struct mer_run_result *result = &flight->result->result;
	if (!s->prompt || flight->whole || result->status == NULL)
		return;
	s->answered.uid = result->request_uid;
	(void)snprintf(s->answered.model, sizeof s->answered.model, "%s", result->model);
	(void)snprintf(s->answered.weights, sizeof s->answered.weights, "%s", result->weights);
}

static enum mer_status tell_object(struct flight *flight, enum mer_status st, struct mer_error *err)
{
	struct session *s = flight->s;
	struct mer_error other;
	s->out.told = true;
	enum mer_status told = run_object(s, flight->result, &flight->output, 0, &other);
	if (st == MER_OK && told != MER_OK) {
		st = told;
		*err = other;
	}
	return st;
}

enum mer_status flight_tell(struct flight *flight, struct mer_error *err)
{
	struct session *s = flight->s;
	if (flight->result == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = run_status(&flight->result->result, err);
	if (st == MER_OK)
		st = answer_end(&flight->answer, err);
	if (st == MER_OK && flight->unprinted.status != MER_OK) {
		st = flight->unprinted.status;
		*err = flight->unprinted;
	}
	if (st == MER_OK)
		answered(flight);
	if (flight->whole && run_came_to_be(flight->result))
		st = tell_object(flight, st, err);
	if (flight->tidy) {
		caret_end(&flight->caret, &s->out.sink.buf);
		sink_added(&s->out.sink);
	}
	return st;
}
