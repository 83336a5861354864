/* mer: reads its settings, then does one command, those of a file or of stdin, or what is typed. */
#include "batch.h"
#include "document.h"
#include "help.h"
#include "log_lines.h"
#include "once.h"
#include "repl.h"
#include "session.h"
#include "shells.h"

#include <mer/log.h>
#include <mer/program.h>
#include <mer/url.h>
#include <string.h>
#include <unistd.h>

static void print_page(struct session *s)
{
	struct mer_buf *out = &s->out.sink.buf;
	static void (*const pages[PRINT_COUNT])(struct mer_buf * out) = {
		[PRINT_DOCS] = docs_commands,      [PRINT_MAN] = man_page,
		[PRINT_BASH] = shells_bash,        [PRINT_ZSH] = shells_zsh,
		[PRINT_FISH] = shells_fish,        [PRINT_ENV] = docs_env,
		[PRINT_CONTRACT] = contract_print, [PRINT_SCHEMA] = document_schema,
	};
	pages[setting(&s->settings, SET_PRINT)->number](out);
	sink_added(&s->out.sink);
}

/* What is done without any command. Whether it was. */
static bool did_without(struct session *s)
{
	if (setting_on(&s->settings, SET_HELP))
		help_all(s);
	else if (setting_on(&s->settings, SET_VERSION))
		out_text(s, "mer " MER_VERSION "\n");
	else if (setting(&s->settings, SET_PRINT)->given)
		print_page(s);
	else if (setting(&s->settings, SET_COMPLETE)->given)
		shells_complete(s, setting(&s->settings, SET_COMPLETE)->text);
	else
		return false;
	struct mer_error err;
	enum mer_status st = session_flush(s, &err);
	if (st != MER_OK)
		session_failed(s, (struct place){ 0 }, st, &err);
	return true;
}

static enum mer_status do_all(struct session *s, const char *const words[], size_t n,
                              struct mer_error *err)
{
	bool options =
		setting(&s->settings, SET_COMMAND)->given || setting(&s->settings, SET_FILE)->given;
	if (options && n > 0) {
		(void)mer_fail(err, MER_EINPUT, "a command beside -c or -f: '%s'", words[0]);
		mer_hint(err, "give one or the other");
		return MER_EINPUT;
	}
	if (options)
		batch_options(s);
	else if (n > 0)
		(void)session_do(s, words, n, (struct place){ 0 });
	else if (isatty(STDIN_FILENO) && (isatty(STDOUT_FILENO) || isatty(STDERR_FILENO)))
		return repl_run(s, err);
	else
		batch_stdin(s);
	return MER_OK;
}

/* Another mer that is at it already is no fault of this one: it has a code of its own. */
static enum mer_status begin_once(struct session *s, struct mer_error *err)
{
	const char *key = setting(&s->settings, SET_ONCE_KEY)->text;
	enum mer_status st = key != NULL ? once_take(key, err) : MER_OK;
	if (st != MER_EBUSY)
		return st;
	if (!setting_on(&s->settings, SET_QUIET))
		session_failed_as(s, (struct place){ 0 }, EXIT_HELD, err);
	s->code = EXIT_HELD;
	s->leave = true;
	return MER_OK;
}

int main(int argc, char *argv[])
{
	static struct session s;
	session_init(&s);
	const char *const *words = (const char *const *)argv + (argc > 0);
	size_t n = argc > 0 ? (size_t)argc - 1 : 0;
	struct mer_error err;
	enum mer_status st = mer_program_begin(&err);
	if (st == MER_OK)
		st = mer_url_blot_args(argc, argv, &err);
	if (st == MER_OK)
		st = settings_load(&s.settings, words, n, &err);
	s.environment = (const char *const *)environ; /* a setting may have gone there, and moved it */
	if (st == MER_OK && !did_without(&s)) {
		log_lines_format((enum log_format)setting(&s.settings, SET_LOG_FORMAT)->number);
		st = mer_log_open(setting(&s.settings, SET_LOG)->text, log_lines_write, &err);
		s.out.format = s.settings.format;
		if (setting_on(&s.settings, SET_SUMMARY))
			summary_begin(&s);
		if (st == MER_OK)
			st = begin_once(&s, &err);
		if (st == MER_OK && !s.leave)
			st = do_all(&s, words + s.settings.call.used, n - s.settings.call.used, &err);
	} else if (st != MER_OK) {
		s.out.format = settings_guess_json(words, n) ? MER_FORMAT_JSON : MER_FORMAT_PLAIN;
	}
	if (st != MER_OK)
		session_failed(&s, (struct place){ 0 }, st, &err);
	session_close(&s);
	return s.code;
}
