/* The prompt: reads lines by the prompt's module and does the commands in them. */
#include "repl.h"

#include "background.h"
#include "batch.h"
#include "complete.h"
#include "editor.h"
#include "feedback.h"
#include "history.h"
#include "prompt.h"
#include "secret.h"

#include <mer/clean.h>
#include <mer/file.h>
#include <mer/module.h>
#include <mer/text.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

enum { N_SIGNALS = 3 };

struct repl {
	struct session *s;
	const struct prompt_ops *ops;
	FILE *out;     /* where the prompt is drawn */
	char *history; /* path; NULL: none */
	struct watch input;
	uv_signal_t signals[N_SIGNALS]; /* SIGWINCH, SIGCONT, SIGTSTP */
	int open_signals;
	bool came, cleared;           /* a line, or the end of input; Ctrl-C */
	bool warned;                  /* of runs that leaving would cancel */
	bool edits;                   /* the line goes to the editor first */
	char *line;                   /* NULL: the end of input */
	const struct mer_buf *before; /* lines of the same command; NULL: it is no command */
	struct lookup *lookup;        /* for completion; NULL: out of memory */
};

/* --- what the terminal says --------------------------------------------------------------- */

static void on_line(void *ctx, char *line)
{
	struct repl *repl = ctx;
	repl->came = true;
	repl->line = line;
}

static void on_edit(void *ctx, char *line)
{
	struct repl *repl = ctx;
	repl->edits = line != NULL;
	on_line(ctx, line);
}

static void on_complete(void *ctx, const char *line, size_t at, struct prompt_words *out)
{
	const struct repl *repl = ctx;
	const struct completing with = { .lookup = repl->lookup,
		                             .changes = setting_on(&repl->s->settings, SET_CHANGES) };
	MER_AUTO(mer_buf_release) struct mer_buf text;
	*out = (struct prompt_words){ .n = 0 };
	mer_buf_init(&text, SIZE_MAX / 2);
	if (repl->before == NULL)
		return;
	if (repl->before->len > 0) {
		mer_buf_add(&text, repl->before->ptr, repl->before->len);
		mer_buf_byte(&text, '\n');
	}
	const size_t from = text.len;
	mer_buf_add(&text, line, at);
	mer_buf_text(&text, "");
	if (text.ptr != NULL && mer_buf_check(&text, NULL) == MER_OK)
		complete(&with, text.ptr, from, out);
}

static void on_readable(void *ctx)
{
	struct repl *repl = ctx;
	session_take_signals(repl->s); /* what is typed behind a Ctrl-C is not of the line it clears */
	repl->ops->read();
}

static void on_interrupt(void *ctx, bool kill)
{
	struct repl *repl = ctx;
	(void)kill;
	repl->cleared = true;
	repl->ops->clear();
}

static void on_terminal_signal(uv_signal_t *handle, int signo)
{
	const struct repl *repl = handle->data;
	if (signo == SIGWINCH)
		repl->ops->resize();
	else if (signo == SIGCONT)
		repl->ops->resume();
	else if (!signals_stop(handle, repl->ops->suspend))
		repl->ops->resume();
}

/* Reads a line while the loop does its work: workers that leave, signals that come. begun: what is in it
 * at first. Whether it was not interrupted. */
static bool read_one(struct repl *repl, const char *prompt, const char *begun)
{
	struct session *s = repl->s;
	repl->came = repl->cleared = repl->edits = false;
	repl->ops->start(prompt);
	if (begun[0] != '\0')
		repl->ops->put(begun);
	session_cancels(s, on_interrupt, repl);
	watch_start(&repl->input);
	while (!repl->came && !repl->cleared)
		(void)uv_run(&s->loop, UV_RUN_ONCE);
	watch_stop(&repl->input);
	session_cancels(s, NULL, NULL);
	return !repl->cleared;
}

/* Gives the line to the editor, and what comes of it as if it had been typed. */
static bool edit(struct repl *repl, const char *prompt)
{
	struct mer_error err;
	char *line;
	enum mer_status st = editor_run(repl->s, fileno(repl->out), repl->line, &line, &err);
	if (st != MER_OK) {
		session_failed(repl->s, (struct place){ 0 }, st, &err);
		return false;
	}
	free(repl->line);
	repl->line = line;
	if (line[0] != '\0')
		(void)fprintf(repl->out, "%s%s\n", prompt, line);
	(void)fflush(repl->out);
	return true;
}

static bool read_line(struct repl *repl, const char *prompt)
{
	MER_AUTO(mer_text_done) char *begun = NULL;
	while (read_one(repl, prompt, begun != NULL ? begun : "")) {
		if (!repl->edits || edit(repl, prompt))
			return true;
		free(begun);
		begun = repl->line;
		repl->line = NULL;
		if (repl->s->signal != 0)
			return false;
	}
	return false;
}

static enum mer_status fill(struct session *s, struct source *source, bool open,
                            struct mer_error *err)
{
	struct repl *repl = source->ctx;
	if (!open)
		background_tell(s);
	repl->before = &source->command;
	const bool read = read_line(repl, open ? "...> " : "mer> ");
	repl->before = NULL;
	if (!read)
		return mer_fail(err, MER_ECANCELED, "interrupted");
	if (repl->line == NULL) {
		source->eof = true;
		(void)fputs("\n", repl->out);
		(void)fflush(repl->out);
		return MER_OK;
	}
	mer_buf_text(&source->bytes, repl->line);
	mer_buf_byte(&source->bytes, '\n');
	free(repl->line);
	repl->line = NULL;
	return mer_buf_check(&source->bytes, err);
}

/* --- opening and closing ------------------------------------------------------------------ */

static enum mer_status load(struct repl *repl, struct mer_error *err)
{
	const void *table;
	enum mer_status st = mer_module_load(PROMPT_MODULE, &table, err);
	if (st == MER_OK) {
		repl->ops = table;
		return MER_OK;
	}
	if (st != MER_ENOMEM)
		st = mer_wrap(err, MER_EIO, "no prompt");
	mer_hint(err, "commands work without it: mer COMMAND, or mer -f FILE");
	return st;
}

static enum mer_status watch_terminal(struct repl *repl, struct mer_error *err)
{
	static const int numbers[N_SIGNALS] = { SIGWINCH, SIGCONT, SIGTSTP };
	uv_loop_t *loop;
	enum mer_status st = session_loop(repl->s, &loop, err);
	if (st == MER_OK)
		st = watch_open(&repl->input, loop, STDIN_FILENO, WATCH_READ, on_readable, repl, err);
	const int count = signals_ignored(SIGTSTP) ? N_SIGNALS - 1 : N_SIGNALS;
	for (int i = 0; i < count && st == MER_OK; i++) {
		(void)uv_signal_init(loop, &repl->signals[i]);
		repl->signals[i].data = repl;
		repl->open_signals++;
		uv_unref((uv_handle_t *)&repl->signals[i]);
		if (uv_signal_start(&repl->signals[i], on_terminal_signal, numbers[i]) != 0)
			st = mer_fail(err, MER_EIO, "cannot watch for signals");
	}
	return st;
}

static void on_signal_closed(uv_handle_t *handle)
{
	struct repl *repl = handle->data;
	repl->open_signals--;
}

static void close_repl(struct repl *repl)
{
	if (repl->ops != NULL)
		repl->ops->close();
	if (repl->input.open)
		session_close_watch(repl->s, &repl->input);
	for (int i = repl->open_signals; i-- > 0;)
		uv_close((uv_handle_t *)&repl->signals[i], on_signal_closed);
	while (repl->open_signals > 0)
		(void)uv_run(&repl->s->loop, UV_RUN_ONCE);
	lookup_free(repl->lookup);
	if (repl->history != NULL)
		history_trim(repl->history);
	free(repl->history);
}

static void on_history(void *ctx, const char *line)
{
	const struct repl *repl = ctx;
	repl->ops->remember(line);
}

/* The history is a comfort, so without a place for it there is none. */
static void open_history(struct repl *repl)
{
	MER_AUTO(mer_text_done) char *state = NULL;
	if (mer_place(MER_PLACE_STATE, &state, NULL) != MER_OK ||
	    mer_make_folders(state, NULL) != MER_OK)
		return;
	repl->history = mer_text_new("%s/history", state);
	if (repl->history != NULL)
		history_load(repl->history, on_history, repl);
}

static enum mer_status say_hello(const struct repl *repl, struct mer_error *err)
{
	const char *url;
	enum mer_status st = settings_database(&repl->s->settings, &url, err);
	if (st != MER_OK || setting_on(&repl->s->settings, SET_QUIET))
		return st;
	MER_AUTO(mer_text_done) char *shown = settings_url_shown(url);
	(void)fprintf(repl->out, "mer %s, %s; 'help' lists the commands\n", MER_VERSION,
	              shown != NULL ? shown : "");
	(void)fflush(repl->out);
	return MER_OK;
}

static void open_lookup(struct repl *repl)
{
	const char *url;
	if (settings_database(&repl->s->settings, &url, NULL) != MER_OK)
		url = NULL;
	repl->lookup = lookup_new(url);
}

static enum mer_status open_repl(struct repl *repl, struct mer_error *err)
{
	static const struct prompt_calls calls = { .line = on_line,
		                                       .edit = on_edit,
		                                       .complete = on_complete };
	enum mer_status st = load(repl, err);
	if (st == MER_OK)
		st = watch_terminal(repl, err);
	if (st == MER_OK)
		st = say_hello(repl, err);
	if (st != MER_OK)
		return st;
	repl->ops->open(repl->out, &calls, repl);
	open_history(repl);
	open_lookup(repl);
	return MER_OK;
}

/* --- commands ----------------------------------------------------------------------------- */

/* What is no whole command is not remembered, since nobody knows what is in it. */
static void remember(const struct repl *repl, const char *command, char *const *words, size_t n)
{
	if (command[0] == ' ' || words == NULL)
		return;
	if (secret_within((const char *const *)words, n)) {
		session_note(repl->s, "not kept in the history, since it holds a secret");
		return;
	}
	repl->ops->remember(command);
	if (repl->history != NULL)
		history_append(repl->history, command);
}

/* --- feedback ----------------------------------------------------------------------------- */

static enum mer_status ask(void *ctx, const char *question, char **line, struct mer_error *err)
{
	struct repl *repl = ctx;
	if (!read_line(repl, question))
		return mer_fail(err, MER_ECANCELED, "interrupted");
	*line = repl->line;
	repl->line = NULL;
	if (*line == NULL) {
		(void)fputs("\n", repl->out);
		(void)fflush(repl->out);
	}
	return MER_OK;
}

static char *ask_or_skip(void *ctx, const char *question)
{
	char *line = NULL;
	return ask(ctx, question, &line, NULL) == MER_OK ? line : NULL;
}

static void ask_for_feedback(struct repl *repl)
{
	struct session *s = repl->s;
	struct mer_error err;
	MER_AUTO(mer_text_done) char *dataset = NULL;
	enum mer_status st = feedback_ask(s, ask_or_skip, repl, &dataset, &err);
	if (st != MER_OK)
		session_failed(s, (struct place){ 0 }, st, &err);
	const char *const train[] = { "train", s->answered.model, "--dataset", dataset };
	if (st == MER_OK && dataset != NULL)
		(void)session_do(s, train, sizeof train / sizeof *train, (struct place){ 0 });
}

/* What was typed while a run went on is the next command, not what somebody says to a question. */
static bool typed_ahead(void)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	return poll(&in, 1, 0) > 0;
}

static void do_words(struct repl *repl, const char *const words[], size_t n)
{
	struct session *s = repl->s;
	s->answered.model[0] = '\0';
	bool done = session_do(s, words, n, (struct place){ 0 });
	s->detach = false;
	repl->warned &= s->leave;
	if (done && s->answered.model[0] != '\0' && !s->leave && isatty(STDIN_FILENO) &&
	    isatty(STDOUT_FILENO) && !typed_ahead())
		ask_for_feedback(repl);
}

static void do_command(struct repl *repl, const char *command, const char *const words[], size_t n)
{
	struct session *s = repl->s;
	const int64_t begun_us = mer_clock_us();
	s->detach = background_asked(command, words, n);
	do_words(repl, words, n - (s->detach ? 1 : 0));
	const int64_t took_us = mer_clock_us() - begun_us;
	char took[24];
	mer_ms_text(took_us / 1000, took);
	if (!setting_on(&s->settings, SET_TIMING))
		return;
	if (took_us < 10000)
		(void)snprintf(took, sizeof took, "%.1fms", (double)took_us / 1000);
	(void)fprintf(stderr, "time: %s\n", took);
}

/* Somebody leaves. As with the jobs of a shell: whether not yet, since runs would be cancelled of which
 * nobody has been told. */
static bool stays(struct repl *repl, struct source *source)
{
	struct session *s = repl->s;
	struct mer_error err;
	size_t open = background_open(s);
	if (open == 0 || s->signal != 0)
		return false;
	if (repl->warned) {
		session_note(s, "%zu run%s in the background %s cancelled", open, open == 1 ? "" : "s",
		             open == 1 ? "is" : "are");
		return false;
	}
	(void)mer_fail(&err, MER_EBUSY, "%zu run%s in the background", open,
	               open == 1 ? " is" : "s are");
	mer_hint(&err, "'runs' lists what is there; leave once more to cancel it");
	session_failed(s, (struct place){ 0 }, MER_EBUSY, &err);
	repl->warned = true;
	s->leave = source->eof = false;
	return true;
}

/* Does the next command; whether to go on. */
static bool do_next(struct repl *repl, struct source *source)
{
	struct session *s = repl->s;
	struct mer_error err;
	struct place at;
	MER_AUTO(mer_words_done) char **words = NULL;
	size_t n;
	enum mer_status st = source_next(s, source, &words, &n, &at, &err);
	if (st == MER_ECANCELED) { /* pasted lines behind it go too */
		mer_buf_clear(&source->bytes);
		source->at = 0;
		return s->signal == 0;
	}
	if (st == MER_OK && words == NULL)
		return false;
	if (source->command.len > 0)
		remember(repl, source->command.ptr, words, n);
	s->out.format = s->settings.format;
	if (st != MER_OK)
		session_failed(s, (struct place){ 0 }, st, &err);
	else
		do_command(repl, source->command.ptr, (const char *const *)words, n);
	return !s->leave && (st == MER_OK || st == MER_EINPUT);
}

enum mer_status repl_run(struct session *s, struct mer_error *err)
{
	struct repl repl = {
		.s = s,
		.out = isatty(STDOUT_FILENO) ? stdout : stderr,
		.input = { .closed = true },
	};
	s->prompt = true;
	enum mer_status st = open_repl(&repl, err);
	struct source source;
	source_init(&source, NULL, fill);
	source.ctx = &repl;
	s->ask = ask;
	s->ask_ctx = &repl;
	while (st == MER_OK && (do_next(&repl, &source) || stays(&repl, &source)))
		;
	s->ask = NULL;
	source_release(&source);
	close_repl(&repl);
	if (st != MER_OK)
		s->prompt = false; /* nobody could type */
	if (s->signal != 0)
		s->code = EXIT_SIGNAL + s->signal;
	return st;
}
