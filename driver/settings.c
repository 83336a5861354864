/* The rows of the settings, and where their values come from. */
#include "settings.h"

#include <mer/clean.h>
#include <mer/env.h>
#include <mer/file.h>
#include <mer/log.h>
#include <mer/ref.h>
#include <mer/text.h>
#include <string.h>

static const char *const format_names[] = { "table", "json",     "jsonl", "csv",
	                                        "plain", "vertical", NULL };
static const char *const log_formats[] = { "text", "json", "journal", NULL }; /* enum log_format */
static const char *const print_names[] = { [PRINT_DOCS] = "docs",
	                                       [PRINT_MAN] = "man",
	                                       [PRINT_BASH] = "completion-bash",
	                                       [PRINT_ZSH] = "completion-zsh",
	                                       [PRINT_FISH] = "completion-fish",
	                                       [PRINT_ENV] = "env",
	                                       [PRINT_CONTRACT] = "contract",
	                                       [PRINT_SCHEMA] = "schema",
	                                       [PRINT_COUNT] = NULL };

/* clang-format off */
const struct cmd_arg setting_rows[SET_COUNT] = {
	[SET_DATABASE] = CMD_OPTION("database", ARG_TEXT, "URL",
		"where the metadata is; default sqlite:$XDG_STATE_HOME/mer/mer.db",
		.secret = SECRET_URL,
		.env = "MER_DATABASE_URL", .example = "sqlite:/var/lib/mer/mer.db"),
	[SET_CHANGES] = CMD_FLAG("allow-changes", "commands may change the metadata",
		.env = "MER_ALLOW_CHANGES", .example = "1"),
	[SET_JSON] = CMD_FLAG("json", "print JSON"),
	[SET_JSONL] = CMD_FLAG("jsonl", "print JSON Lines, an object a line"),
	[SET_CSV] = CMD_FLAG("csv", "print CSV with a header (RFC 4180)"),
	[SET_PLAIN] = CMD_FLAG("plain", "print tab-separated values without a header"),
	[SET_VERTICAL] = CMD_FLAG("vertical", "print a field a line", .letter = 'x'),
	[SET_FORMAT] = CMD_WORD(NULL, ARG_CHOICE,
		"table, json, jsonl, csv, plain or vertical; default: table on a terminal, else plain",
		.env = "MER_FORMAT", .example = "json", .set = "format", .choices = format_names),
	[SET_PASSWORD] = CMD_WORD(NULL, ARG_TEXT,
		"the password for a URL without one: env:NAME, file:PATH or cmd:COMMAND",
		.env = "MER_DATABASE_PASSWORD", .example = "file:/run/secrets/db"),
	[SET_KEEP_IO_MAX] = CMD_WORD(NULL, ARG_BYTES,
		"of models with keep-io: how much is kept of a run's input and of its output, at most 256MiB",
		.env = "MER_KEEP_IO_MAX", .example = "1MiB", .fallback = "1MiB", .most = 256 << 20),
	[SET_KEEP_IO] = CMD_WORD(NULL, ARG_MS,
		"of those models: 'log prune' forgets what runs have kept after that time; default: never",
		.env = "MER_KEEP_IO_FOR", .example = "720h", .least = 1),
	[SET_KEEP_RUNS] = CMD_WORD(NULL, ARG_MS,
		"'log prune' forgets runs after that time; default: never",
		.env = "MER_KEEP_RUNS_FOR", .example = "8760h", .least = 1),
	[SET_KEEP_GOING] = CMD_FLAG("keep-going", "go on after a command that failed",
		.set = "keep-going"),
	[SET_QUIET] = CMD_FLAG("quiet", "only failures on stderr: no banner, notes, hints or progress", .set = "quiet"),
	[SET_TIMEOUT] = CMD_OPTION("timeout", ARG_MS, "D",
		"how long a run may take without a --timeout of its own; default: the deployment's",
		.env = "MER_TIMEOUT", .example = "5m", .set = "timeout", .least = 1),
	[SET_TIMING] = CMD_WORD(NULL, ARG_BOOL, "on: the prompt says how long each command took",
		.env = "MER_TIMING", .example = "on", .set = "timing"),
	[SET_NO_COLOR] = CMD_FLAG("no-color", "no colour; NO_COLOR and TERM=dumb say the same",
		.set = "no-color"),
	[SET_SUMMARY] = CMD_FLAG("summary",
		"at the end say on stderr what was done: commands, runs, seconds; with --json as an object"),
	[SET_ONCE_KEY] = CMD_OPTION("once-key", ARG_TEXT, "K",
		"only one mer of a user at a time: a second with the same K leaves at once, exit 75"),
	[SET_ENV_FILE] = CMD_OPTION("env-file", ARG_TEXT, "FILE", "read settings from FILE first",
		.is = VALUE_FILE,
		.env = "MER_ENV_FILE"),
	[SET_LOG] = CMD_OPTION("log", ARG_TEXT, "SPEC",
		"what to tell on stderr: warn, info, debug, or by area warn,meal=debug",
		.env = "MER_LOG", .example = "warn,meal=debug", .set = "log", .fallback = "warn"),
	[SET_LOG_FORMAT] = CMD_WORD(NULL, ARG_CHOICE,
		"how that looks: text, json (an object a line), or journal (text with systemd's priorities)",
		.env = "MER_LOG_FORMAT", .example = "journal", .fallback = "text", .choices = log_formats),
	[SET_COMMAND] = CMD_OPTION(NULL, ARG_TEXT, "LINE", "do what LINE says; repeatable",
		.letter = 'c', .repeat = true),
	[SET_FILE] = CMD_OPTION(NULL, ARG_TEXT, "FILE",
		"do what the lines of FILE say, - is stdin; repeatable, in order with -c",
		.is = VALUE_FILE,
		.letter = 'f', .repeat = true),
	[SET_PRINT] = CMD_OPTION("print", ARG_CHOICE, "WHAT", "a page that is made of the tables",
		.choices = print_names, .hidden = true),
	[SET_COMPLETE] = CMD_OPTION("complete", ARG_TEXT, "LINE",
		"for shells: what the last word of LINE may become", .hidden = true),
	[SET_VERSION] = CMD_FLAG("version", "print the version", .letter = 'V'),
	[SET_HELP] = CMD_FLAG("help", "print this", .letter = 'h'),
};
/* clang-format on */

static const struct cmd program = { .name = "", CMD_ARGS(setting_rows) };

static enum mer_status on_file_setting(void *ctx, const char *name, const char *value,
                                       struct mer_error *err)
{
	struct settings *settings = ctx;
	for (size_t i = 0; i < SET_COUNT; i++) {
		if (setting_rows[i].env == NULL || strcmp(setting_rows[i].env, name) != 0)
			continue;
		free(settings->from_file[i]);
		settings->from_file[i] = strdup(value);
		if (settings->from_file[i] == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	return MER_OK; /* what it does not know may be somebody else's */
}

/* An empty variable is an unset one, as with Compose's ${NAME:-}. */
static const char *not_empty(const char *text)
{
	return text != NULL && text[0] != '\0' ? text : NULL;
}

static enum mer_status take_environment(struct settings *settings, enum setting which,
                                        struct mer_error *err)
{
	const struct cmd_arg *arg = &setting_rows[which];
	struct cmd_value *value = &settings->call.values[which];
	settings->from[which] = value->given ? FROM_COMMAND_LINE : FROM_DEFAULT;
	if (value->given || arg->env == NULL)
		return MER_OK;
	const char *text = not_empty(getenv(arg->env));
	enum setting_from from = text != NULL ? FROM_ENVIRONMENT : FROM_FILE;
	if (text == NULL)
		text = not_empty(settings->from_file[which]);
	if (text == NULL)
		return MER_OK;
	settings->from[which] = from;
	return cmd_value_parse(arg, arg->env, text, value, err);
}

static enum mer_status read_env_file(struct settings *settings, struct mer_error *err)
{
	enum mer_status st = take_environment(settings, SET_ENV_FILE, err);
	const char *path = setting(settings, SET_ENV_FILE)->text;
	if (st != MER_OK || path == NULL)
		return st;
	st = mer_env_read(path, on_file_setting, settings, err);
	if (st == MER_EIO || st == MER_ELIMIT)
		return mer_wrap(err, MER_EINPUT, "environment file");
	return st;
}

static enum mer_format choose_format(struct settings *settings)
{
	static const enum mer_format of_option[] = {
		[SET_JSON] = MER_FORMAT_JSON,         [SET_JSONL] = MER_FORMAT_JSONL,
		[SET_CSV] = MER_FORMAT_CSV,           [SET_PLAIN] = MER_FORMAT_PLAIN,
		[SET_VERTICAL] = MER_FORMAT_VERTICAL,
	};
	for (size_t i = settings->call.n_tokens; i-- > 0;) {
		size_t which = (size_t)(settings->call.tokens[i].arg - setting_rows);
		if (which >= SET_JSON && which <= SET_VERTICAL) {
			settings->from[SET_FORMAT] = FROM_COMMAND_LINE;
			return of_option[which];
		}
	}
	const char *name = setting(settings, SET_FORMAT)->text;
	return name == NULL ? MER_FORMAT_UNSET : mer_format_by_name(name);
}

enum mer_status settings_load(struct settings *out, const char *const words[], size_t n,
                              struct mer_error *err)
{
	*out = (struct settings){ 0 };
	enum mer_status st = cmd_parse(&program, true, words, n, &out->call, err);
	if (st != MER_OK)
		return st;
	if (setting_on(out, SET_HELP) || setting_on(out, SET_VERSION)) {
		/* Help lists what is allowed; what else may be wrong with the settings is not its business. */
		st = take_environment(out, SET_CHANGES, err);
		return st == MER_EINPUT ? MER_OK : st;
	}
	st = read_env_file(out, err);
	for (size_t i = 0; i < SET_COUNT && st == MER_OK; i++)
		st = take_environment(out, (enum setting)i, err);
	if (st != MER_OK)
		return st;
	const char *password = setting(out, SET_PASSWORD)->text;
	st = mer_ref_check("MER_DATABASE_PASSWORD", password, err);
	if (st != MER_OK)
		return st;
	/* The database finds it there (mer/dal.h), wherever it was said. */
	if (password != NULL && setenv("MER_DATABASE_PASSWORD", password, 1) != 0)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	out->format = choose_format(out);
	return MER_OK;
}

void settings_release(struct settings *settings)
{
	cmd_call_release(&settings->call);
	for (size_t i = 0; i < SET_COUNT; i++) {
		free(settings->from_file[i]);
		free(settings->from_set[i]);
	}
	free(settings->default_database);
}

enum mer_status settings_database(struct settings *settings, const char **url,
                                  struct mer_error *err)
{
	*url = setting(settings, SET_DATABASE)->text;
	if (*url != NULL)
		return MER_OK;
	if (settings->default_database == NULL) {
		MER_AUTO(mer_text_done) char *state = NULL;
		enum mer_status st = mer_place(MER_PLACE_STATE, &state, err);
		if (st != MER_OK)
			return st;
		settings->default_database = mer_text_new("sqlite:%s/mer.db", state);
	}
	if (settings->default_database == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	*url = settings->default_database;
	return MER_OK;
}

char *settings_url_shown(const char *url)
{
	char *shown = strdup(url);
	char *host = shown == NULL ? NULL : strstr(shown, "://");
	char *at = host == NULL ? NULL : strrchr(host, '@');
	char *colon = at == NULL ? NULL : memchr(host + 3, ':', (size_t)(at - host - 3));
	if (colon != NULL)
		memmove(colon, at, strlen(at) + 1);
	char *query = shown == NULL ? NULL : strchr(shown, '?');
	if (query != NULL && strstr(query, "password=") != NULL)
		*query = '\0';
	return shown;
}

/* --- what the prompt changes -------------------------------------------------------------- */

enum mer_status settings_find(const char *name, enum setting *out, struct mer_error *err)
{
	struct mer_guess guess = { .typed = name };
	for (size_t i = 0; i < SET_COUNT; i++) {
		if (setting_rows[i].set == NULL)
			continue;
		if (strcmp(setting_rows[i].set, name) == 0) {
			*out = (enum setting)i;
			return MER_OK;
		}
		mer_guess_offer(&guess, setting_rows[i].set);
	}
	(void)mer_fail(err, MER_EINPUT, "no such setting: '%.100s'", name);
	if (!mer_guess_hint(&guess, err))
		mer_hint(err, "'set' lists them; others are for the start of mer");
	return MER_EINPUT;
}

enum mer_status settings_change(struct settings *settings, enum setting which, const char *text,
                                struct mer_error *err)
{
	struct cmd_value value = *setting(settings, which);
	char *copy = strdup(text);
	if (copy == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st =
		cmd_value_parse(&setting_rows[which], setting_rows[which].set, copy, &value, err);
	if (st == MER_OK && which == SET_LOG)
		st = mer_log_change(copy, err);
	if (st != MER_OK) {
		free(copy);
		return st;
	}
	free(settings->from_set[which]);
	settings->from_set[which] = copy;
	settings->call.values[which] = value;
	settings->from[which] = FROM_SET;
	if (which == SET_FORMAT)
		settings->format = mer_format_by_name(copy);
	return MER_OK;
}

const char *settings_text(const struct settings *settings, enum setting which, bool terminal)
{
	const enum mer_format format = settings->format;
	if (which != SET_FORMAT && setting_rows[which].type == ARG_BOOL)
		return setting_on(settings, which) ? "on" : "off";
	if (which != SET_FORMAT)
		return setting(settings, which)->text;
	for (size_t i = 0; format_names[i] != NULL; i++) {
		if (format != MER_FORMAT_UNSET && mer_format_by_name(format_names[i]) == format)
			return format_names[i];
	}
	return terminal ? "table" : "plain";
}

const char *settings_from(const struct settings *settings, enum setting which)
{
	static const char *const names[] = { [FROM_DEFAULT] = "default",
		                                 [FROM_COMMAND_LINE] = "command line",
		                                 [FROM_ENVIRONMENT] = "environment",
		                                 [FROM_FILE] = "file",
		                                 [FROM_SET] = "set" };
	return names[settings->from[which]];
}

bool settings_guess_json(const char *const words[], size_t n)
{
	const char *format = getenv("MER_FORMAT");
	bool json = format != NULL && strcmp(format, "json") == 0;
	for (size_t i = 0; i < n && strcmp(words[i], "--") != 0; i++) {
		if (strcmp(words[i], "--json") == 0)
			json = true;
		else if (strcmp(words[i], "--jsonl") == 0 || strcmp(words[i], "--csv") == 0 ||
		         strcmp(words[i], "--plain") == 0 || strcmp(words[i], "--vertical") == 0 ||
		         strcmp(words[i], "-x") == 0)
			json = false;
	}
	return json;
}
