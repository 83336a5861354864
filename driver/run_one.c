/* One run: its output goes to stdout as it comes, or is kept for an object. */
#include "run.h"

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
	if (one->as_it_is)
		return;
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
	struct one one = {
		.s = s, .choice = choice, .kept_output = true, .as_it_is = true, .output = output
	};
	enum mer_status st = complete(&one, input, meta, err);
	*result = one.result;
	return st;
}

/* --- what is said of it ------------------------------------------------------------------- */

/* An answer on a terminal, of which there is a row, may be rated. */
static void answered(const struct one *one)
{
	struct session *s = one->s;
	const struct mer_run_result *result = &one->result->result;
	if (!s->prompt || one->kept_output || result->status == NULL)
		return;
	s->answered.uid = result->request_uid;
	(void)snprintf(s->answered.model, sizeof s->answered.model, "%s", result->model);
	(void)snprintf(s->answered.weights, sizeof s->answered.weights, "%s", result->weights);
}

static enum mer_status tell(struct one *one, struct mer_error *err)
{
	struct session *s = one->s;
	enum mer_status st = run_status(&one->result->result, err);
	if (st == MER_OK)
		st = answer_end(&one->answer, err);
	if (st == MER_OK)
		answered(one);
	if (one->kept_output && run_came_to_be(one->result)) {
		struct mer_error other;
		s->out.told = true;
		enum mer_status told = run_object(s, one->result, one->output, 0, &other);
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

enum mer_status run_one(struct session *s, const struct run_choice *choice, struct mer_str input,
                        const char *meta, struct mer_error *err)
{
	struct store store;
	struct spool output;
	struct one one = {
		.s = s,
		.choice = choice,
		.kept_output = run_as_json(s),
		.tidy = !run_as_json(s) && !choice->raw && out_is_terminal(),
		.output = &output,
	};
	store_init(&store, KEPT_IN_MEMORY);
	spool_init(&output, &store);
	answer_init(&one.answer, choice->model, choice->tensor_out,
	            meta == NULL ? input : (struct mer_str){ NULL, 0 });
	enum mer_status st = complete(&one, input, meta, err);
	if (st == MER_OK)
		st = tell(&one, err);
	answer_release(&one.answer);
	spool_clear(&output);
	store_release(&store);
	free(one.result);
	return st;
}
