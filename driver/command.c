/* Running a program to its end; command.h. */
#include "command.h"

#include <mer/clean.h>
#include <mer/file.h>
#include <mer/meal.h>
#include <mer/remote.h>

#define PRINTED_MAX ((size_t)64 << 10)
#define LOOK_MS 200 /* at ssh, on its way */

struct running {
	struct command_result *result;
	struct mer_worker *worker;
	bool gone;
	struct mer_outcome outcome;
	const char *server; /* NULL: it is not ssh */
	struct mer_error circle;
	uv_loop_t *loop;
	uv_timer_t timer;
	bool closed; /* the timer is */
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

static void on_look(uv_timer_t *timer)
{
	struct running *running = timer->data;
	if (!running->gone && running->circle.status == MER_OK &&
	    mer_remote_circle(running->server, mer_worker_pid(running->worker), &running->circle) !=
	        MER_OK)
		mer_worker_end(running->worker, MER_END_KILL, 0);
}

static void on_timer_closed(uv_handle_t *timer)
{
	((struct running *)timer->data)->closed = true;
}

static void wait_until_gone(struct session *s, struct running *running)
{
	if (running->server == NULL) {
		session_run(s, &running->gone);
		return;
	}
	(void)uv_timer_init(running->loop, &running->timer);
	running->timer.data = running;
	(void)uv_timer_start(&running->timer, on_look, LOOK_MS, LOOK_MS);
	session_run(s, &running->gone);
	uv_close((uv_handle_t *)&running->timer, on_timer_closed);
	session_run(s, &running->closed);
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
	wait_until_gone(s, running);
	session_cancels(s, NULL, NULL);
	if (running->circle.status != MER_OK) {
		*err = running->circle;
		return err->status;
	}
	const struct mer_outcome *outcome = &running->outcome;
	if (st == MER_OK && (outcome->status == MER_EUNREACHABLE || outcome->status == MER_ECANCELED))
		return mer_fail(err, outcome->status, "%s", outcome->message);
	running->result->exit_code = outcome->exit_code;
	return st;
}

enum mer_status command_run_ssh(struct session *s, const char *server, const char *const argv[],
                                const char *const env[], struct command_result *out,
                                struct mer_error *err)
{
	static const struct mer_worker_events events = {
		.on_output = on_output,
		.on_log = on_log,
		.on_done = on_done,
		.on_gone = on_gone,
	};
	MER_AUTO(mer_text_done) char *guard = NULL;
	struct running running = { .result = out, .server = server };
	*out = (struct command_result){ .exit_code = -1 };
	mer_buf_init(&out->out, PRINTED_MAX);
	mer_buf_init(&out->log, PRINTED_MAX);
	enum mer_status st = mer_place(MER_PLACE_GUARD, &guard, err);
	if (st == MER_OK)
		st = session_loop(s, &running.loop, err);
	if (st != MER_OK)
		return st;
	const struct mer_worker_spec spec = {
		.protocol = MER_PROTOCOL_ONCE, .guard = guard, .argv = argv, .env = env
	};
	st = mer_worker_start(running.loop, &spec, &events, &running, &running.worker, err);
	if (st == MER_OK)
		st = wait_for(s, &running, err);
	mer_buf_byte(&out->out, '\0');
	mer_buf_byte(&out->log, '\0');
	return st == MER_OK ? mer_buf_check(&out->out, err) : st;
}

enum mer_status command_run(struct session *s, const char *const argv[], const char *const env[],
                            struct command_result *out, struct mer_error *err)
{
	return command_run_ssh(s, NULL, argv, env, out, err);
}

void command_release(struct command_result *result)
{
	mer_buf_release(&result->out);
	mer_buf_release(&result->log);
}
