/* What commands share, and how one command is done. */
#include "session.h"

#include "background.h"
#include "help.h"
#include "log_lines.h"
#include "statusline.h"

#include <mer/clean.h>
#include <mer/file.h>
#include <mer/json.h>
#include <mer/ref.h>
#include <mer/remote.h>
#include <mer/text.h>
#include <mer/work.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

enum { AGAIN_MS = 1000, ENOUGH = 4 };

void session_init(struct session *s)
{
	*s = (struct session){ 0 };
	sink_init(&s->out.sink, STDOUT_FILENO);
	mer_buf_init(&s->out.raw, PTRDIFF_MAX);
	signals_open();
}

/* --- the loop and its signals ------------------------------------------------------------- */

/* The first asks the operation to end, a second within a second kills it. In batch it ends the
 * program too, and whoever insists gets that at once. */
static void on_signal(struct session *s, int signo)
{
	int64_t now = mer_clock_ms();
	s->interrupts =
		s->interrupts > 0 && now - s->interrupted_ms <= AGAIN_MS ? s->interrupts + 1 : 1;
	s->interrupted_ms = now;
	s->stopped = true;
	if (s->signal == 0 && (signo != SIGINT || !s->prompt || s->ending))
		s->signal = signo;
	if (s->interrupts >= ENOUGH && !s->prompt)
		_exit(EXIT_SIGNAL + signo);
	if (s->cancel != NULL)
		s->cancel(s->cancel_ctx, s->interrupts > 1);
}

void session_take_signals(struct session *s)
{
	for (int signo; (signo = signals_take()) != 0;)
		on_signal(s, signo);
}

static void on_signals(uv_async_t *handle)
{
	session_take_signals(handle->data);
}

static enum mer_status open_signals(struct session *s, struct mer_error *err)
{
	int failed = uv_async_init(&s->loop, &s->signals, on_signals);
	if (failed != 0)
		return mer_fail(err, MER_EIO, "cannot watch for signals: %s", uv_strerror(failed));
	s->has_signals = true;
	s->signals.data = s;
	uv_unref((uv_handle_t *)&s->signals);
	signals_wake(&s->signals);
	return MER_OK;
}

enum mer_status session_loop(struct session *s, uv_loop_t **out, struct mer_error *err)
{
	if (!s->has_loop) {
		int failed = uv_loop_init(&s->loop);
		if (failed != 0)
			return mer_fail(err, MER_EIO, "cannot open an event loop: %s", uv_strerror(failed));
		s->has_loop = true;
		enum mer_status st = open_signals(s, err);
		if (st == MER_OK)
			st = sink_attach(&s->out.sink, &s->loop, err);
		if (st != MER_OK)
			return st;
	}
	if (out != NULL)
		*out = &s->loop;
	return MER_OK;
}

void session_run(struct session *s, const bool *done)
{
	while (!*done) {
		int alive = uv_run(&s->loop, UV_RUN_ONCE);
		MER_ASSERT(alive != 0 || *done); /* nothing is left that could end the operation */
	}
}

void session_progress(struct session *s, const struct progress *progress)
{
	if (progress == NULL)
		progress_hide(&s->view);
	else if (statusline_may(s))
		progress_show(&s->view, &s->out.sink, progress);
	if (s->prompt) /* whoever typed has ended the line */
		s->view.mid_line = false;
}

void session_cancels(struct session *s, session_cancel_fn *cancel, void *ctx)
{
	s->cancel = cancel;
	s->cancel_ctx = ctx;
}

struct threaded {
	struct mer_job job; /* first: the thread gives it back */
	enum mer_status (*run)(void *ctx, struct mer_error *err);
	void *ctx;
	enum mer_status st;
	struct mer_error err;
	bool done, closed;
};

static void run_threaded(struct mer_job *job)
{
	struct threaded *threaded = (struct threaded *)job;
	threaded->st = threaded->run(threaded->ctx, &threaded->err);
}

static void on_threaded_done(struct mer_job *job)
{
	((struct threaded *)job)->done = true;
}

static void on_thread_closed(void *ctx)
{
	((struct threaded *)ctx)->closed = true;
}

enum mer_status session_in_thread(struct session *s,
                                  enum mer_status (*run)(void *ctx, struct mer_error *err),
                                  session_cancel_fn *cancel, void *ctx, struct mer_error *err)
{
	struct threaded threaded = { .job = { .run = run_threaded, .done = on_threaded_done },
		                         .run = run,
		                         .ctx = ctx };
	uv_loop_t *loop;
	struct mer_work *work;
	enum mer_status st = session_loop(s, &loop, err);
	if (st == MER_OK)
		st = mer_work_open(loop, &work, err);
	if (st != MER_OK)
		return st;
	session_cancels(s, cancel, ctx);
	mer_work_push_last(work, &threaded.job);
	session_run(s, &threaded.done);
	session_cancels(s, NULL, NULL);
	mer_work_close(work, on_thread_closed, &threaded);
	session_run(s, &threaded.closed);
	if (threaded.st != MER_OK && err != NULL)
		*err = threaded.err;
	return threaded.st;
}

static enum mer_status fail_interrupted(struct mer_error *err)
{
	return mer_fail(err, MER_ECANCELED, "interrupted");
}

static void on_readable(void *ctx)
{
	bool *ready = ctx;
	*ready = true;
}

enum mer_status session_wait_readable(struct session *s, int fd, struct mer_error *err)
{
	if (!s->has_loop)
		return MER_OK; /* a signal ends the program at once */
	bool ready = false;
	struct watch watch;
	enum mer_status st = watch_open(&watch, &s->loop, fd, WATCH_READ, on_readable, &ready, err);
	if (st != MER_OK)
		return st;
	watch_start(&watch);
	while (!ready && !watch.always && !s->stopped)
		(void)uv_run(&s->loop, UV_RUN_ONCE);
	session_close_watch(s, &watch);
	return s->stopped ? fail_interrupted(err) : MER_OK;
}

void session_close_watch(struct session *s, struct watch *watch)
{
	watch_close(watch);
	while (!watch->closed)
		(void)uv_run(&s->loop, UV_RUN_ONCE);
}

enum mer_status session_flush(struct session *s, struct mer_error *err)
{
	struct sink *sink = &s->out.sink;
	sink_flush(sink);
	while (!sink_empty(sink) && !s->stopped)
		(void)uv_run(&s->loop, UV_RUN_ONCE);
	if (sink->gone)
		return mer_fail(err, MER_EIO, "the reader of stdout left");
	if (sink->error != 0)
		return mer_fail(err, MER_EIO, "cannot write stdout: %s", strerror(sink->error));
	if (sink_empty(sink))
		return MER_OK;
	sink_drop(sink);
	return fail_interrupted(err);
}

/* --- the database and the scheduler ------------------------------------------------------- */

enum mer_status session_open_dal(const char *url, unsigned flags, struct mer_dal **out,
                                 struct mer_error *err)
{
	return mer_dal_open_hasty(url, flags, signals_haste(), out, err);
}

enum mer_status session_dal(struct session *s, struct mer_dal **out, struct mer_error *err)
{
	if (s->dal == NULL) {
		const char *url = NULL;
		enum mer_status st = settings_database(&s->settings, &url, err);
		if (st == MER_OK)
			st = session_open_dal(url, 0, &s->dal, err);
		if (st != MER_OK)
			return st;
		/* Runs that a dead mer left open. Where it cannot be written there is nothing to mend. */
		if (mer_owners_sweep(s->dal, false, NULL, err) == MER_ECANCELED)
			return MER_ECANCELED;
	}
	*out = s->dal;
	return MER_OK;
}

enum mer_status session_links(struct session *s, struct mer_links **out, struct mer_error *err)
{
	uv_loop_t *loop;
	enum mer_status st = session_loop(s, &loop, err);
	if (st == MER_OK && s->links == NULL)
		st = mer_links_new(loop, &s->links, err);
	if (st == MER_OK)
		*out = s->links;
	return st;
}

static enum mer_status open_sched(struct session *s, bool place, struct mer_error *err)
{
	MER_AUTO(mer_text_done) char *models = NULL;
	MER_AUTO(mer_text_done) char *guard = NULL;
	MER_AUTO(mer_text_done) char *python = NULL;
	const char *url = NULL;
	uv_loop_t *loop = NULL;
	struct mer_links *links = NULL;
	enum mer_status st = settings_database(&s->settings, &url, err);
	if (st == MER_OK)
		st = mer_place(MER_PLACE_MODELS, &models, err);
	if (st == MER_OK)
		st = mer_place(MER_PLACE_GUARD, &guard, err);
	if (st == MER_OK)
		st = mer_place(MER_PLACE_PYTHON, &python, err);
	if (st == MER_OK)
		st = session_loop(s, &loop, err);
	if (st == MER_OK)
		st = session_links(s, &links, err);
	if (st != MER_OK)
		return st;
	const char *password = setting(&s->settings, SET_PASSWORD)->text;
	const struct mer_sched_options options = {
		.database = url,
		.door = s->prompt ? "repl" : "batch",
		.models = models,
		.guard = guard,
		.python = python,
		.environment = s->environment,
		.hidden = password != NULL ? mer_ref_env_name(password) : NULL,
		.traceparent = getenv("TRACEPARENT"),
		.keep_io_max = setting(&s->settings, SET_KEEP_IO_MAX)->number,
		.links = links,
		.place = place,
	};
	return mer_sched_open(loop, &options, &s->sched, err);
}

enum mer_status session_sched(struct session *s, bool place, struct mer_sched **out,
                              struct mer_error *err)
{
	enum mer_status st = s->sched == NULL ? open_sched(s, place, err) : MER_OK;
	if (st == MER_OK)
		*out = s->sched;
	return st;
}

/* --- what went wrong ---------------------------------------------------------------------- */

void session_note(struct session *s, const char *fmt, ...)
{
	char text[512];
	if (!s->prompt || setting_on(&s->settings, SET_QUIET))
		return;
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	statusline_erase();
	(void)fprintf(stderr, "%s\n", text);
}

static void add_json_error(struct mer_buf *out, const struct mer_error *err, int code)
{
	mer_buf_text(out, "{\"error\":");
	mer_json_quote(out, err->message, strlen(err->message));
	mer_buf_printf(out, ",\"code\":%d,\"hint\":", code);
	if (err->hint[0] != '\0')
		mer_json_quote(out, err->hint, strlen(err->hint));
	else
		mer_buf_text(out, "null");
	mer_buf_text(out, "}\n");
}

static void say(const struct session *s, struct place at, const struct mer_error *err)
{
	char where[512] = "";
	if (at.file != NULL)
		(void)snprintf(where, sizeof where, "%s:%lld", at.file, (long long)at.line);
	bool hint = s->settings.call.values == NULL || !setting_on(&s->settings, SET_QUIET);
	log_lines_error(where, err->message, hint ? err->hint : "");
}

void session_failed_as(struct session *s, struct place at, int code, const struct mer_error *err)
{
	struct sink *sink = &s->out.sink;
	if (sink->gone) {
		code = EXIT_READER_LEFT;
		s->leave = true;
	} else {
		if (s->out.format == MER_FORMAT_JSON && !s->out.told && sink->error == 0) {
			add_json_error(&sink->buf, err, code);
			sink_added(sink);
		}
		(void)!session_flush(s, NULL);
		say(s, at, err);
	}
	if (s->code == 0 && !s->prompt)
		s->code = code;
}

void session_failed(struct session *s, struct place at, enum mer_status st,
                    const struct mer_error *err)
{
	int code = exit_code(st);
	if (st == MER_ECANCELED && s->signal != 0)
		code = EXIT_SIGNAL + s->signal;
	session_failed_as(s, at, code, err);
}

void session_interrupted(struct session *s)
{
	s->leave = true;
	if (s->code == 0)
		s->code = EXIT_SIGNAL + s->signal;
}

/* --- one command -------------------------------------------------------------------------- */

static enum mer_format choose_format(const struct session *s, const struct cmd_call *call)
{
	static const enum mer_format of_option[] = { [COMMON_JSON] = MER_FORMAT_JSON,
		                                         [COMMON_JSONL] = MER_FORMAT_JSONL,
		                                         [COMMON_CSV] = MER_FORMAT_CSV,
		                                         [COMMON_PLAIN] = MER_FORMAT_PLAIN,
		                                         [COMMON_VERTICAL] = MER_FORMAT_VERTICAL };
	for (size_t i = call->n_tokens; i-- > 0;) {
		for (size_t option = COMMON_JSON; option <= COMMON_VERTICAL; option++) {
			if (call->tokens[i].arg == &cmd_common[option])
				return of_option[option];
		}
	}
	if (s->settings.format != MER_FORMAT_UNSET)
		return s->settings.format;
	return out_is_terminal() ? MER_FORMAT_TABLE : MER_FORMAT_PLAIN;
}

/* Whether it was asked to say what it would do, which changes nothing. */
static bool only_reads(const struct cmd *cmd, const struct cmd_call *call)
{
	for (size_t i = 0; i < call->n_tokens && (cmd->needs & CMD_DRY_READS) != 0; i++) {
		if (strcmp(call->tokens[i].arg->name, "dry-run") == 0)
			return true;
	}
	return false;
}

static enum mer_status do_words(struct session *s, const char *const words[], size_t n,
                                struct cmd_call *call, struct mer_error *err)
{
	const struct cmd *cmd;
	size_t used;
	bool changes = setting_on(&s->settings, SET_CHANGES);
	if (n == 2 && strcmp(words[1], "--help") == 0 && help_noun(s, words[0], changes))
		return MER_OK;
	enum mer_status st = cmd_find(words, n, changes, &cmd, &used, err);
	if (st != MER_OK)
		return st;
	st = cmd_parse(cmd, false, words + used, n - used, call, err);
	if (st == MER_EINPUT && used < n)
		cmd_hint_longer(cmd, words[used], changes, err);
	if (st == MER_OK && call->values[cmd->n_args + COMMON_HELP].given)
		return help_command(s, cmd, err);
	if ((cmd->needs & CMD_NEEDS_CHANGES) != 0 && !changes && !only_reads(cmd, call))
		return mer_fail(err, MER_ECONFLICT, "not allowed; start with --allow-changes");
	if (st != MER_OK)
		return st;
	if ((cmd->needs & CMD_NEEDS_PROMPT) != 0 && !s->prompt) {
		(void)mer_fail(err, MER_EINPUT, "'%s' is for the prompt", cmd->name);
		mer_hint(err, "mer without a command opens it on a terminal");
		return MER_EINPUT;
	}
	if (s->detach && (cmd->needs & CMD_MAY_DETACH) == 0) {
		(void)mer_fail(err, MER_EINPUT, "'%s' cannot go to the background", cmd->name);
		mer_hint(err, "'run' can; quoted ('&') it is a word like another");
		return MER_EINPUT;
	}
	s->out.format = choose_format(s, call);
	st = pick_parse(&s->out.pick, cmd, call->values + cmd->n_args, err);
	struct mer_dal *dal;
	if (st == MER_OK && (cmd->needs & CMD_NEEDS_DATABASE) != 0)
		st = session_dal(s, &dal, err);
	return st == MER_OK ? cmd->run(s, call->values, err) : st;
}

bool session_begin(struct session *s)
{
	mer_haste_over(signals_haste());
	session_take_signals(s);
	s->stopped = false;
	return s->signal == 0;
}

bool session_do(struct session *s, const char *const words[], size_t n, struct place at)
{
	struct mer_error err = { .status = MER_OK };
	struct cmd_call call = { 0 };
	/* What to fail in, until the words are understood. */
	bool json = s->settings.format == MER_FORMAT_JSON || settings_guess_json(words, n);
	s->out.format = json ? MER_FORMAT_JSON : MER_FORMAT_PLAIN;
	s->out.told = s->reported = false;
	s->at = at;
	if (!session_begin(s)) {
		session_interrupted(s);
		return false;
	}
	enum mer_status st = do_words(s, words, n, &call, &err);
	session_take_signals(s);
	cmd_call_release(&call);
	out_drop(&s->out);
	struct mer_error write_err;
	enum mer_status written = session_flush(s, &write_err);
	if (st == MER_OK && written != MER_OK) {
		st = written;
		err = write_err;
	}
	if (st != MER_OK && !s->reported)
		session_failed(s, at, st, &err);
	if (s->signal != 0)
		session_interrupted(s);
	s->summary.commands++;
	s->summary.commands_failed += st != MER_OK;
	return st == MER_OK;
}

/* --- the end ------------------------------------------------------------------------------ */

struct closing {
	struct mer_sched *sched;
	bool done;
	struct mer_error err;
};

static void on_sched_closed(void *ctx, const struct mer_error *err)
{
	struct closing *closing = ctx;
	closing->done = true;
	if (err != NULL)
		closing->err = *err;
}

/* Only what is to be recorded can keep us, and nobody waits for that any more. */
static void on_hurry(void *ctx, bool kill)
{
	const struct closing *closing = ctx;
	(void)kill;
	if (!closing->done)
		mer_sched_hurry(closing->sched);
}

static void close_sched(struct session *s)
{
	struct closing closing = { .sched = s->sched };
	session_cancels(s, on_hurry, &closing);
	mer_sched_close(s->sched, on_sched_closed, &closing);
	session_run(s, &closing.done);
	session_cancels(s, NULL, NULL);
	s->sched = NULL;
	s->out.told = true;
	if (s->signal != 0 && s->code == 0)
		s->code = EXIT_SIGNAL + s->signal;
	if (closing.err.status != MER_OK)
		session_failed(s, (struct place){ 0 }, MER_EDATABASE, &closing.err);
}

static void on_links_closed(void *ctx)
{
	*(bool *)ctx = true;
}

static void close_links(struct session *s)
{
	bool done = false;
	mer_links_close(s->links, on_links_closed, &done);
	session_run(s, &done);
	s->links = NULL;
}

static void on_signals_closed(uv_handle_t *handle)
{
	struct session *s = handle->data;
	s->has_signals = false;
}

static void close_loop(struct session *s)
{
	if (!s->has_loop)
		return;
	sink_close(&s->out.sink);
	progress_close(&s->view);
	signals_wake(NULL);
	if (s->has_signals)
		uv_close((uv_handle_t *)&s->signals, on_signals_closed);
	while (s->has_signals || s->view.open || !sink_closed(&s->out.sink))
		(void)uv_run(&s->loop, UV_RUN_ONCE);
	int busy = uv_loop_close(&s->loop);
	MER_ASSERT(busy == 0);
	s->has_loop = false;
}

void session_close(struct session *s)
{
	s->ending = true;
	if (s->sched != NULL)
		close_sched(s);
	if (s->links != NULL)
		close_links(s);
	background_close(s);
	mer_dal_close(s->dal);
	s->dal = NULL;
	close_loop(s);
	summary_print(s);
	sink_release(&s->out.sink);
	settings_release(&s->settings);
}
