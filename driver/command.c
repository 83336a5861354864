/* Running a program to its end; command.h. */
#include "command.h"

#include <mer/clean.h>
#include <mer/file.h>
#include <mer/meal.h>

#define PRINTED_MAX ((size_t)64 << 10)

struct running {
	struct command_result *result;
	struct mer_worker *worker;
	bool gone;
	struct mer_outcome outcome;
};

static void on_output(void *ctx, void *run, const char *bytes, size_t n)
{
	struct running *running = ctx;
	(void)run;
	mer_buf_add(&running->result->out, bytes, n);
}

static void on_log(void *ctx, void *run, const char *bytes, size_t n)
{
	struct running *running = ctx;
	(void)run;
	mer_buf_add(&running->result->log, bytes, n);
}

static void on_done(void *ctx, void *run, const struct mer_outcome *outcome)
{
	struct running *running = ctx;
	(void)run;
	running->outcome = *outcome;
}

static void on_gone(void *ctx, const struct mer_outcome *outcome)
{
	struct running *running = ctx;
	(void)outcome;
	running->gone = true;
}

static void cancel(void *ctx, bool kill)
{
	struct running *running = ctx;
	(void)kill;
	if (!running->gone)
		mer_worker_end(running->worker, MER_END_KILL, 0);
}

static enum mer_status wait_for(struct session *s, struct running *running, struct mer_error *err)
{
	static const struct mer_input nothing = { .bytes = "", .len = 0 };
	enum mer_status st = mer_worker_run(running->worker, &nothing, running, err);
	if (st == MER_OK)
		mer_worker_go(running->worker);
	else
		mer_worker_end(running->worker, MER_END_KILL, 0);
	session_cancels(s, cancel, running);
	session_run(s, &running->gone);
	session_cancels(s, NULL, NULL);
	const struct mer_outcome *outcome = &running->outcome;
	if (st == MER_OK && (outcome->status == MER_EUNREACHABLE || outcome->status == MER_ECANCELED))
		return mer_fail(err, outcome->status, "%s", outcome->message);
	running->result->exit_code = outcome->exit_code;
	return st;
}

enum mer_status command_run(struct session *s, const char *const argv[], const char *const env[],
                            struct command_result *out, struct mer_error *err)
{
	static const struct mer_worker_events events = {
		.on_output = on_output,
		.on_log = on_log,
		.on_done = on_done,
		.on_gone = on_gone,
	};
	MER_AUTO(mer_text_done) char *guard = NULL;
	struct running running = { .result = out };
	uv_loop_t *loop;
	*out = (struct command_result){ .exit_code = -1 };
	mer_buf_init(&out->out, PRINTED_MAX);
	mer_buf_init(&out->log, PRINTED_MAX);
	enum mer_status st = mer_place(MER_PLACE_GUARD, &guard, err);
	if (st == MER_OK)
		st = session_loop(s, &loop, err);
	if (st != MER_OK)
		return st;
	const struct mer_worker_spec spec = {
		.protocol = MER_PROTOCOL_ONCE, .guard = guard, .argv = argv, .env = env
	};
	st = mer_worker_start(loop, &spec, &events, &running, &running.worker, err);
	if (st == MER_OK)
		st = wait_for(s, &running, err);
	mer_buf_byte(&out->out, '\0');
	mer_buf_byte(&out->log, '\0');
	return st == MER_OK ? mer_buf_check(&out->out, err) : st;
}

void command_release(struct command_result *result)
{
	mer_buf_release(&result->out);
	mer_buf_release(&result->log);
}
