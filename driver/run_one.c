/* One run: its output goes to stdout as it comes, or is kept for an object. */
#include "flight.h"

enum { KEPT_IN_MEMORY = 1 << 20 };

struct one {
	struct session *s;
	const struct run_choice *choice;
	struct mer_run *run; /* NULL once it has ended */
	bool kept_output;    /* for an object */
	bool as_it_is;       /* tensors are bytes too */
	bool tidy;           /* for a terminal */
	bool dropped;        /* cancelled: what still comes is not printed */
	bool done;
	struct caret caret;
	struct answer answer;
	struct spool *output;
	struct run_log log;
	struct run_kept *result; /* NULL: no memory for it */
};

/* --- stdout ------------------------------------------------------------------------------- */

static void on_drain(void *ctx)
{
	struct one *one = ctx;
	if (one->run != NULL)
		mer_run_pause(one->run, false);
}

static void print(struct one *one, const char *bytes, size_t n)
{
	struct sink *sink = &one->s->out.sink;
	if (one->dropped || n == 0)
		return;
	if (one->kept_output) {
		spool_add(one->output, bytes, n);
		return;
	}
	if (one->tidy) {
		caret_add(&one->caret, bytes, n, &sink->buf);
		sink_added(sink);
	} else {
		sink_add(sink, bytes, n);
	}
	if (sink_full(sink))
		mer_run_pause(one->run, true);
}

static void print_tensors(struct one *one)
{
	print(one, one->answer.text.ptr, one->answer.text.len);
	mer_buf_clear(&one->answer.text);
}

static void on_meta(void *ctx, const char *meta)
{
	struct one *one = ctx;
	if (one->as_it_is) {
		if (one->choice->metas != NULL)
			mer_buf_printf(one->choice->metas, ",%s", meta);
		return;
	}
	answer_meta(&one->answer, meta);
	print_tensors(one);
}

static void on_output(void *ctx, const char *bytes, size_t n)
{
	struct one *one = ctx;
	if (!one->answer.described) {
		print(one, bytes, n);
		return;
	}
	answer_add(&one->answer, bytes, n);
	print_tensors(one);
}

/* --- the run ------------------------------------------------------------------------------ */

static void on_started(void *ctx, const struct mer_run *run)
{
	(void)ctx;
	(void)run;
}

static void on_log(void *ctx, const char *bytes, size_t n)
{
	struct one *one = ctx;
	run_log_add(&one->log, one->choice->model, bytes, n);
}

static void on_done(void *ctx, const struct mer_run_result *result)
{
	struct one *one = ctx;
	run_log_end(&one->log, one->choice->model);
	one->result = run_keep(result, one->choice->no_record);
	one->run = NULL;
	one->done = true;
}

static const struct mer_run_events events = {
	.on_started = on_started,
	.on_meta = on_meta,
	.on_output = on_output,
	.on_log = on_log,
	.on_done = on_done,
};

static void on_cancel(void *ctx, bool kill)
{
	struct one *one = ctx;
	if (one->run == NULL)
		return;
	one->dropped = true;
	mer_run_pause(one->run, false);
	mer_run_cancel(one->run, kill);
}

static enum mer_status submit(struct one *one, struct mer_str input, const char *meta,
                              struct mer_error *err)
{
	const struct run_choice *choice = one->choice;
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
		.timeout_ms = choice->timeout_ms,
		.no_record = choice->no_record,
	};
	struct mer_sched *sched;
	enum mer_status st = session_sched(one->s, false, &sched, err);
	return st == MER_OK ? mer_sched_submit(sched, &request, &events, one, &one->run, err) : st;
}

/* Waits until it has ended. */
static enum mer_status complete(struct one *one, struct mer_str input, const char *meta,
                                struct mer_error *err)
{
	struct session *s = one->s;
	enum mer_status st = submit(one, input, meta, err);
	if (st != MER_OK)
		return st;
	s->out.sink.on_drain = on_drain;
	s->out.sink.ctx = one;
	session_cancels(s, on_cancel, one);
	session_run(s, &one->done);
	session_cancels(s, NULL, NULL);
	s->out.sink.on_drain = NULL;
	return one->result != NULL ? MER_OK : mer_fail(err, MER_ENOMEM, "out of memory");
}

enum mer_status run_one_kept(struct session *s, const struct run_choice *choice,
                             struct mer_str input, const char *meta, struct spool *output,
                             struct run_kept **result, struct mer_error *err)
{
	struct flight flight = { .as_it_is = true };
	enum mer_status st = flight_begin(&flight, s, choice, input, meta, output->store, err);
	if (st == MER_OK)
		flight_watch(&flight);
	if (st == MER_OK && flight.result == NULL)
		st = mer_fail(err, MER_ENOMEM, "out of memory");
	*output = flight.output;
	*result = flight.result;
	spool_init(&flight.output, output->store);
	flight.result = NULL;
	flight_release(&flight);
	return st;
}

enum mer_status run_one(struct session *s, const struct run_choice *choice, struct mer_str input,
                        const char *meta, struct mer_error *err)
{
	struct store store;
	struct flight flight = { .as_it_is = false };
	store_init(&store, KEPT_IN_MEMORY);
	enum mer_status st = flight_begin(&flight, s, choice, input, meta, &store, err);
	if (st == MER_OK) {
		flight_watch(&flight);
		st = flight_tell(&flight, err);
	}
	flight_release(&flight);
	store_release(&store);
	return st;
}
