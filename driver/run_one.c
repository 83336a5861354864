/* One run: its output goes to stdout as it comes, or is kept for an object. */
#include "run.h"

enum { KEPT_IN_MEMORY = 1 << 20 };

struct one {
	struct session *s;
	const struct run_choice *choice;
	struct mer_run *run; /* NULL once it has ended */
	bool kept_output;    /* for an object */
	bool tidy;           /* for a terminal */
	bool dropped;        /* cancelled: what still comes is not printed */
	bool done;
	struct caret caret;
	struct spool output;
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

static void on_output(void *ctx, const char *bytes, size_t n)
{
	struct one *one = ctx;
	struct sink *sink = &one->s->out.sink;
	if (one->dropped)
		return;
	if (one->kept_output) {
		spool_add(&one->output, bytes, n);
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

static enum mer_status submit(struct one *one, const char *input, size_t len, struct mer_error *err)
{
	const struct run_choice *choice = one->choice;
	const struct mer_run_request request = {
		.model = choice->model,
		.deployment = choice->deployment,
		.server = choice->server,
		.session = choice->session,
		.input = input,
		.input_len = len,
		.timeout_ms = choice->timeout_ms,
		.no_record = choice->no_record,
	};
	struct mer_sched *sched;
	enum mer_status st = session_sched(one->s, false, &sched, err);
	return st == MER_OK ? mer_sched_submit(sched, &request, &events, one, &one->run, err) : st;
}

/* --- what is said of it ------------------------------------------------------------------- */

static enum mer_status tell(struct one *one, struct mer_error *err)
{
	struct session *s = one->s;
	if (one->result == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = run_status(&one->result->result, err);
	if (one->kept_output && run_came_to_be(one->result)) {
		struct mer_error other;
		s->out.told = true;
		enum mer_status told = run_object(s, one->result, &one->output, 0, &other);
		if (st == MER_OK && told != MER_OK) {
			st = told;
			*err = other;
		}
	}
	if (one->tidy) {
		caret_end(&one->caret, &s->out.sink.buf);
		sink_added(&s->out.sink);
	}
	return st;
}

enum mer_status run_one(struct session *s, const struct run_choice *choice, const char *input,
                        size_t len, struct mer_error *err)
{
	struct one one = {
		.s = s,
		.choice = choice,
		.kept_output = run_as_json(s),
		.tidy = !run_as_json(s) && !choice->raw && out_is_terminal(),
	};
	struct sink *sink = &s->out.sink;
	spool_init(&one.output, KEPT_IN_MEMORY);
	enum mer_status st = submit(&one, input, len, err);
	if (st == MER_OK) {
		sink->on_drain = on_drain;
		sink->ctx = &one;
		session_cancels(s, on_cancel, &one);
		session_run(s, &one.done);
		session_cancels(s, NULL, NULL);
		sink->on_drain = NULL;
		st = tell(&one, err);
	}
	spool_release(&one.output);
	free(one.result);
	return st;
}
