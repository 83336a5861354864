/* A run from its first byte of output to what its row closes with. */
#define LOG_AREA "run"
#include "internal.h"

#include <mer/log.h>
#include <mer/text.h>
#include <stdlib.h>
#include <string.h>

void run_sent(struct mer_run *run, uint64_t now_ns)
{
	run->state = RUN_OPEN;
	run->sent_ns = now_ns;
	if (run->started_at == 0)
		run->started_at = mer_time_now_ms();
	mer_sha256_init(&run->hash);
	run->events->on_started(run->ctx, run);
}

void run_meta(struct mer_run *run, const char *meta)
{
	run->answered = true;
	if (run->kept != NULL)
		keep_meta(run, meta);
	if (run->events->on_meta != NULL)
		run->events->on_meta(run->ctx, meta);
}

void run_output(struct mer_run *run, const char *bytes, size_t n)
{
	run->answered |= n > 0;
	if (!run->no_record)
		mer_sha256_add(&run->hash, bytes, n);
	run->bytes_out += (int64_t)n;
	if (run->kept != NULL)
		keep_output(run, bytes, n);
	run->events->on_output(run->ctx, bytes, n);
}

void run_keep_log(struct mer_run *run, const char *bytes, size_t n)
{
	if (run->tail.limit == 0)
		mer_buf_init(&run->tail, 4 * STDERR_TAIL);
	size_t keep = n < STDERR_TAIL ? n : STDERR_TAIL;
	mer_buf_add(&run->tail, bytes + (n - keep), keep);
	if (run->tail.len > 2 * STDERR_TAIL)
		mer_buf_drop(&run->tail, run->tail.len - STDERR_TAIL);
}

void run_log(struct mer_run *run, const char *bytes, size_t n)
{
	run_keep_log(run, bytes, n);
	run->events->on_log(run->ctx, bytes, n);
}

/* The kept end of the log as text: no NUL, and no character that the cut has halved. */
static const char *tail_text(struct mer_run *run)
{
	struct mer_buf *tail = &run->tail;
	if (tail->len == 0 || tail->status != MER_OK)
		return "";
	if (tail->len > STDERR_TAIL)
		mer_buf_drop(tail, tail->len - STDERR_TAIL);
	for (size_t i = 0; i < tail->len; i++)
		if (tail->ptr[i] == '\0')
			tail->ptr[i] = '?';
	const char *text = tail->ptr;
	while (((unsigned char)*text & 0xc0) == 0x80)
		text++;
	return text;
}

static struct mer_str last_line(const char *text)
{
	size_t end = strlen(text);
	while (end > 0 && (text[end - 1] == '\n' || text[end - 1] == '\r'))
		end--;
	size_t begin = end;
	while (begin > 0 && text[begin - 1] != '\n')
		begin--;
	return (struct mer_str){ text + begin, end - begin };
}

static int64_t span_ms(uint64_t from, uint64_t to)
{
	return from == 0 || to < from ? -1 : (int64_t)((to - from) / 1000000);
}

/* A moment that did not come is 0; what did not begin lasts until the end of what came before. */
static void fill_times(const struct mer_run *run, int64_t *queue, int64_t *start, int64_t *infer)
{
	uint64_t taken = run->taken_ns, sent = run->sent_ns, done = run->done_ns;
	*queue = span_ms(run->queued_ns, taken != 0 ? taken : done);
	*start = taken == 0 ? -1 : span_ms(taken, sent != 0 ? sent : done);
	*infer = sent == 0 ? -1 : span_ms(sent, done);
}

/* For the row and the result, which borrow it. */
static const char *signal_text(int number)
{
	static __thread char text[MER_SIGNAL_SIZE];
	return number != 0 ? mer_signal_name(number, text) : "";
}

/* One line a run, for those who collect such lines. */
static void log_end(const struct mer_run *run, const struct mer_run_result *result)
{
	MER_LOG(MER_LOG_INFO,
	        "ended request_uid=%s model=%s server=%s status=%s queue_ms=%lld start_ms=%lld "
	        "infer_ms=%lld%s%s",
	        run->uid.text, result->model, result->server, run->status, (long long)result->queue_ms,
	        (long long)result->start_ms, (long long)result->infer_ms,
	        run->sched->traceparent[0] != '\0' ? " traceparent=" : "", run->sched->traceparent);
}

static void finish(struct mer_run *run, const char *row_status, const struct mer_error *error)
{
	if (run->done_ns == 0)
		run->done_ns = uv_hrtime();
	run->stopped_at = mer_time_now_ms();
	run->state = RUN_ENDED;
	run->ended = error->status;
	run->status = row_status;
	if (run->sent_ns != 0 && !run->no_record)
		mer_sha256_end(&run->hash, run->sha256_out);
	if (error->status != MER_OK)
		run->error = strdup(error->message);
	sched_run_untimed(run);
	struct mer_run_result result = {
		.status = run->recorded ? row_status : NULL,
		.model = run->route->model,
		.deployment = "",
		.server = "",
		.weights = "",
		.request_uid = run->uid,
		.exit_code = run->exit_code,
		.signal = signal_text(run->signal),
		.stderr_tail = tail_text(run),
		.attempts = run->attempts,
		.bytes_in = run->bytes_in,
		.bytes_out = run->bytes_out,
	};
	result.error.status = error->status;
	memcpy(result.error.message, error->message, strlen(error->message) + 1);
	memcpy(result.error.hint, error->hint, strlen(error->hint) + 1);
	fill_times(run, &result.queue_ms, &result.start_ms, &result.infer_ms);
	const struct deployment *deployment =
		run->deployment != NULL ? run->deployment : run->route->current;
	if (deployment != NULL) {
		result.deployment = deployment->uid;
		result.server = deployment->server;
		result.weights = deployment->weights;
	}
	if (run->kept != NULL)
		keep_end(run);
	run->input = run->input_meta = NULL;
	run->events->on_done(run->ctx, &result);
	if (run->recorded || run->sent_ns != 0) /* else nothing came to be */
		log_end(run, &result);
	struct mer_sched *sched = run->sched;
	if (!run->recorded) {
		run_free(run);
		return;
	}
	TAILQ_INSERT_TAIL(&sched->closing, run, link);
	sched->n_closing++;
}

static const char *row_status_of(enum mer_status status)
{
	if (status == MER_OK)
		return "ok";
	if (status == MER_ETIMEOUT)
		return "timeout";
	if (status == MER_ECANCELED)
		return "cancelled";
	return "failed";
}

void run_fail(struct mer_run *run, enum mer_status status, const char *row_status,
              const struct mer_error *error)
{
	struct mer_error copy = *error;
	copy.status = status;
	finish(run, row_status != NULL ? row_status : row_status_of(status), &copy);
}

/* The model's own last words say more than its exit status; but where it lives on, it has said why. */
static void explain(struct mer_run *run, const struct mer_outcome *outcome, struct mer_error *error)
{
	struct mer_str said = last_line(tail_text(run));
	bool lives = outcome->exit_code < 0 && outcome->signal == 0;
	bool told = lives || said.len == 0 || outcome->quotes ||
	            (said.len < sizeof outcome->message &&
	             memmem(outcome->message, strlen(outcome->message), said.ptr, said.len) != NULL);
	if (told)
		mer_fail(error, outcome->status, "model '%s' failed: %s", run->route->model,
		         outcome->message);
	else
		mer_fail(error, outcome->status, "model '%s' failed: %s: %.*s", run->route->model,
		         outcome->message, (int)(said.len < 300 ? said.len : 300), said.ptr);
}

void run_end(struct mer_run *run, const struct mer_outcome *outcome)
{
	struct mer_error error = { .status = MER_OK };
	run->exit_code = outcome->exit_code;
	run->signal = outcome->signal;
	/* What a worker that stays has used in its life is not one run's (use.c). */
	const struct deployment *deployment = run->deployment;
	if (outcome->max_rss_kib > 0 && deployment != NULL &&
	    deployment->spec.protocol == MER_PROTOCOL_ONCE) {
		run->cpu_us = outcome->cpu_us;
		run->max_rss_kib = outcome->max_rss_kib;
	}
	if (outcome->status == MER_OK) {
		run->exit_code = run->exit_code < 0 ? -1 : run->exit_code;
	} else if (run->ending == ENDING_TIMEOUT) {
		char limit[24];
		mer_ms_text(run->timeout_ms, limit);
		mer_fail(&error, MER_ETIMEOUT, "model '%s' gave no answer within %s", run->route->model,
		         limit);
	} else if (run->ending == ENDING_NO && outcome->status == MER_ECANCELED && run->sent_ns != 0) {
		mer_fail(&error, MER_EMODEL, "model '%s' was ended because of another run",
		         run->route->model);
	} else if (run->ending != ENDING_NO || outcome->status == MER_ECANCELED) {
		mer_fail(&error, MER_ECANCELED, "the run of model '%s' was cancelled", run->route->model);
	} else if (outcome->status == MER_EUNREACHABLE) {
		mer_fail(&error, outcome->status, "model '%s': %s", run->route->model, outcome->message);
	} else {
		explain(run, outcome, &error);
	}
	finish(run, row_status_of(error.status), &error);
}

void run_cancelled(struct mer_run *run)
{
	static const struct mer_outcome cancelled = { .status = MER_ECANCELED, .exit_code = -1 };
	run_end(run, &cancelled);
}

void run_make_ready(struct mer_run *run, bool again)
{
	struct route *route = run->route;
	struct mer_run *behind = again ? TAILQ_FIRST(&route->ready) : NULL;
	while (behind != NULL && behind->number < run->number)
		behind = TAILQ_NEXT(behind, link);
	run->state = RUN_READY;
	if (behind != NULL)
		TAILQ_INSERT_BEFORE(behind, run, link);
	else
		TAILQ_INSERT_TAIL(&route->ready, run, link);
	route->n_ready++;
	route->n_calls += !run->stream;
	run->sched->n_ready++;
}

void run_leave_ready(struct mer_run *run)
{
	TAILQ_REMOVE(&run->route->ready, run, link);
	run->route->n_ready--;
	run->route->n_calls -= !run->stream;
	run->sched->n_ready--;
	loan_unwanted(run->route);
}

void run_close_row(struct mer_run *run, struct mer_run_close *row)
{
	*row = (struct mer_run_close){
		.request_uid = run->uid.text,
		.status = run->status,
		.exit_code = run->exit_code,
		.signal = signal_text(run->signal),
		.error = run->error != NULL ? run->error : "",
		.stderr_tail = tail_text(run),
		.attempts = run->attempts,
		.bytes_out = run->bytes_out,
		.sha256_out = run->sha256_out,
		.provenance = origin_digest(run->origin),
		.cpu_us = run->cpu_us,
		.max_rss_kib = run->max_rss_kib,
	};
	fill_times(run, &row->queue_ms, &row->start_ms, &row->infer_ms);
}

void run_free(struct mer_run *run)
{
	deployment_unref(run->deployment);
	mer_buf_release(&run->tail);
	keep_release(run);
	origin_unref(run->origin);
	free(run->error);
	free(run);
}
