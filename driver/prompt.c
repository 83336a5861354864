/* The prompt's module: readline in callback mode. It catches no signals and leaves the environment
 * alone; who loaded it does the one, and models would inherit the other (LINES, COLUMNS). */
#include "prompt.h"

#include <locale.h>
#include <readline/history.h>
#include <readline/readline.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

enum { HISTORY_LINES = 1000 };

/* Readline's callback takes no context. */
static struct {
	prompt_line_fn *on_line;
	void *ctx;
	bool started;
} state;

static void stop(void)
{
	if (state.started)
		rl_callback_handler_remove();
	state.started = false;
}

static void on_line(char *line)
{
	rl_eof_found = 0; /* it would end the line here, and each that follows, a second time */
	stop();
	state.on_line(state.ctx, line);
}

static void prompt_open(FILE *out, prompt_line_fn *line_fn, void *ctx)
{
	(void)setlocale(LC_CTYPE, ""); /* so that the cursor moves by characters */
	state.on_line = line_fn;
	state.ctx = ctx;
	rl_readline_name = "mer";
	rl_outstream = out;
	rl_catch_signals = 0;
	rl_catch_sigwinch = 0;
	rl_change_environment = 0;
	using_history();
	stifle_history(HISTORY_LINES);
}

static void prompt_start(const char *text)
{
	rl_callback_handler_install(text, on_line);
	state.started = true;
}

static void prompt_read(void)
{
	if (state.started)
		rl_callback_read_char();
}

static void prompt_clear(void)
{
	if (!state.started)
		return;
	rl_free_line_state();
	rl_callback_sigcleanup();
	rl_replace_line("", 0);
	rl_echo_signal_char(SIGINT);
	(void)rl_crlf();
	stop();
}

static void prompt_resize(void)
{
	if (state.started)
		rl_resize_terminal();
}

static void prompt_resume(void)
{
	if (!state.started)
		return;
	(*rl_deprep_term_function)();
	(*rl_prep_term_function)(1);
	(void)rl_forced_update_display();
}

static void prompt_remember(const char *line)
{
	HIST_ENTRY *last = history_length > 0 ? history_get(history_base + history_length - 1) : NULL;
	if (last == NULL || strcmp(last->line, line) != 0)
		add_history(line);
}

static void prompt_close(void)
{
	stop();
	clear_history();
}

MER_API extern const struct prompt_ops mer_prompt;
const struct prompt_ops mer_prompt = {
	.version = MER_VERSION,
	.open = prompt_open,
	.start = prompt_start,
	.read = prompt_read,
	.clear = prompt_clear,
	.resize = prompt_resize,
	.resume = prompt_resume,
	.remember = prompt_remember,
	.close = prompt_close,
};
