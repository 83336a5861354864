/* The parser of commands' words, and of settings. */
#include "cmd.h"

#include "settings.h"

#include <mer/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHAT_SIZE = 128 };

const struct cmd_arg cmd_common[COMMON_COUNT] = {
	[COMMON_JSON] = CMD_FLAG("json", "print JSON"),
	[COMMON_JSONL] = CMD_FLAG("jsonl", "print JSON Lines, an object a line"),
	[COMMON_CSV] = CMD_FLAG("csv", "print CSV with a header (RFC 4180)"),
	[COMMON_PLAIN] = CMD_FLAG("plain", "print tab-separated values without a header"),
	[COMMON_VERTICAL] = CMD_FLAG("vertical", "print a field a line", .letter = 'x'),
	[COMMON_COLUMNS] = CMD_OPTION("columns", ARG_TEXT, "A,B", "print these columns, in this order"),
	[COMMON_SORT] =
		CMD_OPTION("sort", ARG_TEXT, "COLUMN[:desc]",
	               "sort by a column: numbers, times and sizes as such, what has none last"),
	[COMMON_HELP] = CMD_FLAG("help", "print what the command does and takes", .letter = 'h'),
};

bool cmd_takes(const struct cmd *cmd, size_t common)
{
	switch (common) {
	case COMMON_JSON:
	case COMMON_JSONL: return cmd->formats != CMD_FORMATS_NONE;
	case COMMON_CSV:
	case COMMON_PLAIN:
	case COMMON_VERTICAL: return cmd->formats == CMD_FORMATS_ALL;
	case COMMON_COLUMNS:
	case COMMON_SORT: return cmd->prints == CMD_PRINTS_ROWS && cmd->formats != CMD_FORMATS_JSON;
	default: return true;
	}
}

/* --- one value ---------------------------------------------------------------------------- */

static enum mer_status parse_bool(const char *text, int64_t *out, struct mer_error *err)
{
	static const char *const names[] = { "off", "on", "0", "1", "no", "yes", "false", "true" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(text, names[i]) == 0) {
			*out = i % 2;
			return MER_OK;
		}
	}
	return mer_fail(err, MER_EINPUT, "not on or off: '%s'", text);
}

static enum mer_status parse_choice(const char *const choices[], const char *text, int64_t *out,
                                    struct mer_error *err)
{
	char names[WHAT_SIZE] = "";
	struct mer_guess guess = { .typed = text };
	size_t at = 0;
	for (size_t i = 0; choices[i] != NULL; i++) {
		if (strcmp(text, choices[i]) == 0) {
			*out = (int64_t)i;
			return MER_OK;
		}
		mer_guess_offer(&guess, choices[i]);
		int n = snprintf(names + at, sizeof names - at, "%s%s", i == 0 ? "" : ", ", choices[i]);
		at += n > 0 && (size_t)n < sizeof names - at ? (size_t)n : 0;
	}
	(void)mer_fail(err, MER_EINPUT, "'%s' is none of %s", text, names);
	(void)mer_guess_hint(&guess, err);
	return MER_EINPUT;
}

static enum mer_status parse_pair(const char *text, struct mer_error *err)
{
	const char *equals = strchr(text, '=');
	if (equals == NULL || equals == text)
		return mer_fail(err, MER_EINPUT, "not NAME=VALUE: '%s'", text);
	return MER_OK;
}

static bool is_number(enum arg_type type)
{
	return type == ARG_MS || type == ARG_BYTES || type == ARG_I64;
}

static enum mer_status parse_typed(const struct cmd_arg *arg, const char *text, int64_t *number,
                                   struct mer_error *err)
{
	switch (arg->type) {
	case ARG_MS: return mer_parse_ms(text, number, err);
	case ARG_BYTES: return mer_parse_bytes(text, number, err);
	case ARG_I64: return mer_parse_i64(text, number, err);
	case ARG_TIME: return mer_parse_time(text, number, err);
	case ARG_BOOL: return parse_bool(text, number, err);
	case ARG_CHOICE: return parse_choice(arg->choices, text, number, err);
	case ARG_PAIR: return parse_pair(text, err);
	case ARG_NAME: return mer_check_name(arg->value, text, err);
	case ARG_TEXT:
	case ARG_ARGV: break;
	}
	return MER_OK;
}

static enum mer_status fail_too_small(const struct cmd_arg *arg, const char *what, const char *text,
                                      struct mer_error *err)
{
	(void)mer_fail(err, MER_EINPUT, "%s: '%s' is too small", what, text);
	mer_hint(err, "the least is %lld%s", (long long)arg->least, arg->type == ARG_MS ? "ms" : "");
	return MER_EINPUT;
}

/* Whether it names what is there, or is to be, of which nothing has the name "". */
static bool is_a_name(const struct cmd_arg *arg)
{
	switch (arg->is) {
	case VALUE_MODEL:
	case VALUE_SERVER:
	case VALUE_DEPLOYMENT:
	case VALUE_WEIGHTS:
	case VALUE_SESSION:
	case VALUE_RUN:
	case VALUE_RATED:
	case VALUE_FILE: return true;
	case VALUE_FREE:
	case VALUE_FOLDER: /* "" is where one is */
	case VALUE_AT_FILE:
	case VALUE_TENSOR:
	case VALUE_COMMAND:
	case VALUE_KEY:
	case VALUE_SETTING:
	case VALUE_SET: break;
	}
	return false;
}

enum mer_status cmd_value_parse(const struct cmd_arg *arg, const char *what, const char *text,
                                struct cmd_value *out, struct mer_error *err)
{
	int64_t number = out->number;
	if (parse_typed(arg, text, &number, err) != MER_OK)
		return mer_wrap(err, MER_EINPUT, "%s", what);
	if (is_number(arg->type) && number < arg->least)
		return fail_too_small(arg, what, text, err);
	if (is_number(arg->type) && arg->most > 0 && number > arg->most)
		return mer_fail(err, MER_EINPUT, "%s: '%s' is too large", what, text);
	if (text[0] == '\0' && is_a_name(arg))
		return mer_fail(err, MER_EINPUT, "%s: it is empty", what);
	out->number = number;
	out->text = text;
	return MER_OK;
}

const char *cmd_value_name(const struct cmd_arg *arg)
{
	static const char *const names[] = {
		[ARG_TEXT] = "TEXT", [ARG_NAME] = "NAME", [ARG_MS] = "D",        [ARG_BYTES] = "BYTES",
		[ARG_I64] = "N",     [ARG_TIME] = "T",    [ARG_CHOICE] = "WORD", [ARG_PAIR] = "K=V",
		[ARG_BOOL] = NULL,   [ARG_ARGV] = NULL,
	};
	return arg->value != NULL && arg->type != ARG_NAME ? arg->value : names[arg->type];
}

/* --- the words of a command --------------------------------------------------------------- */

struct scan {
	const struct cmd *cmd;
	bool first_only;
	const char *const *words;
	size_t n, at;
	size_t place; /* of the next positional row */
	bool behind;  /* a `--` has been read */
	struct cmd_call *out;
};

static const struct cmd_arg *row(const struct cmd *cmd, size_t i)
{
	if (i >= cmd->n_args)
		return &cmd_common[i - cmd->n_args];
	MER_ASSERT(cmd->args != NULL);
	return &cmd->args[i];
}

static size_t n_rows(const struct scan *scan)
{
	return scan->cmd->n_args + (scan->first_only ? 0 : COMMON_COUNT);
}

static bool takes(const struct cmd *cmd, size_t i)
{
	return i < cmd->n_args || cmd_takes(cmd, i - cmd->n_args);
}

static bool is_option(const char *word)
{
	return word[0] == '-' && word[1] != '\0' && word[1] != '.' &&
	       !(word[1] >= '0' && word[1] <= '9');
}

static void what_is(const struct cmd_arg *arg, char out[WHAT_SIZE])
{
	if (arg->option && arg->name != NULL)
		(void)snprintf(out, WHAT_SIZE, "--%s", arg->name);
	else if (arg->option)
		(void)snprintf(out, WHAT_SIZE, "-%c", arg->letter);
	else
		(void)snprintf(out, WHAT_SIZE, "%s", arg->name != NULL ? arg->name : arg->env);
}

static void add_token(struct scan *scan, const struct cmd_arg *arg, const char *text)
{
	scan->out->tokens[scan->out->n_tokens++] = (struct cmd_token){ arg, text };
}

static bool has_option(const struct cmd_arg *args, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (args[i].option && args[i].name != NULL && strcmp(args[i].name, name) == 0)
			return true;
	}
	return false;
}

/* Whether it is an option of commands, of any of them: it stands behind its name. */
static bool is_of_commands(const char *name)
{
	if (has_option(cmd_common, COMMON_COUNT, name))
		return true;
	for (size_t i = 0; i < n_commands; i++) {
		if (has_option(commands[i]->args, commands[i]->n_args, name))
			return true;
	}
	return false;
}

static enum mer_status fail_unknown(const struct scan *scan, const char *word,
                                    struct mer_error *err)
{
	const char *name = scan->cmd->name;
	size_t len = strcspn(word, "=");
	char typed[WHAT_SIZE];
	(void)snprintf(typed, sizeof typed, "%.*s", (int)(len < WHAT_SIZE ? len : WHAT_SIZE - 1), word);
	struct mer_guess guess = { .typed = typed + 2 };
	for (size_t i = 0; i < n_rows(scan) && word[1] == '-'; i++) {
		const struct cmd_arg *arg = row(scan->cmd, i);
		if (arg->option && arg->name != NULL && takes(scan->cmd, i) && !arg->hidden)
			mer_guess_offer(&guess, arg->name);
	}
	(void)mer_fail(err, MER_EINPUT, "no such option%s%s%s: '%s'", name[0] != '\0' ? " of '" : "",
	               name, name[0] != '\0' ? "'" : "", typed);
	if (name[0] != '\0' && word[1] == '-' && has_option(setting_rows, SET_COUNT, typed + 2))
		mer_hint(err, "%s stands before the command", typed);
	else if (name[0] == '\0' && word[1] == '-' && is_of_commands(typed + 2))
		mer_hint(err, "%s stands behind the command", typed);
	else if (guess.word[0] != '\0')
		mer_hint(err, "did you mean '--%s'?", guess.word);
	else if (name[0] == '\0')
		mer_hint(err, "'mer --help' lists the options");
	else
		mer_hint(err, "'help %s' lists its options", name);
	return MER_EINPUT;
}

/* The row of an option's word and where its value begins in it, NULL without one. */
static const struct cmd_arg *find_option(const struct scan *scan, const char *word,
                                         const char **value)
{
	bool is_long = word[1] == '-';
	const char *name = word + (is_long ? 2 : 1);
	size_t len = is_long ? strcspn(name, "=") : 1;
	*value = name[len] == '\0' ? NULL : name + len + (is_long ? 1 : 0);
	for (size_t i = 0; i < n_rows(scan); i++) {
		const struct cmd_arg *arg = row(scan->cmd, i);
		if (!arg->option || !takes(scan->cmd, i))
			continue;
		if (!is_long && arg->letter == name[0])
			return arg;
		if (is_long && arg->name != NULL && strlen(arg->name) == len &&
		    memcmp(arg->name, name, len) == 0)
			return arg;
	}
	return NULL;
}

static enum mer_status read_option(struct scan *scan, struct mer_error *err)
{
	const char *word = scan->words[scan->at++], *value;
	const struct cmd_arg *arg = find_option(scan, word, &value);
	if (arg == NULL)
		return fail_unknown(scan, word, err);
	char what[WHAT_SIZE];
	what_is(arg, what);
	if (arg->type == ARG_BOOL) {
		if (value != NULL)
			return mer_fail(err, MER_EINPUT, "%s takes no value", what);
		add_token(scan, arg, "1");
		return MER_OK;
	}
	if (value == NULL && scan->at == scan->n) {
		(void)mer_fail(err, MER_EINPUT, "%s needs a value", what);
		mer_hint(err, "%s %s", what, cmd_value_name(arg));
		return MER_EINPUT;
	}
	add_token(scan, arg, value != NULL ? value : scan->words[scan->at++]);
	return MER_OK;
}

static const struct cmd_arg *find_argv(const struct cmd *cmd)
{
	for (size_t i = 0; i < cmd->n_args; i++) {
		if (cmd->args[i].type == ARG_ARGV)
			return &cmd->args[i];
	}
	return NULL;
}

/* The row that the next positional word is of; NULL: none is left. */
static const struct cmd_arg *next_positional(struct scan *scan)
{
	const struct cmd *cmd = scan->cmd;
	while (scan->place < cmd->n_args &&
	       (cmd->args[scan->place].option || cmd->args[scan->place].type == ARG_ARGV))
		scan->place++;
	return scan->place < cmd->n_args ? &cmd->args[scan->place] : NULL;
}

static enum mer_status read_positional(struct scan *scan, struct mer_error *err)
{
	const struct cmd *cmd = scan->cmd;
	const struct cmd_arg *argv = find_argv(cmd);
	const char *word = scan->words[scan->at++];
	if (scan->behind && argv != NULL) {
		add_token(scan, argv, word);
		return MER_OK;
	}
	const struct cmd_arg *arg = next_positional(scan);
	if (arg != NULL) {
		scan->place += arg->repeat ? 0 : 1;
		add_token(scan, arg, word);
		return MER_OK;
	}
	(void)mer_fail(err, MER_EINPUT, "one argument too many for '%s': '%s'", cmd->name, word);
	if (argv != NULL)
		mer_hint(err, "%s stands behind a --", argv->name);
	else
		mer_hint(err, "'help %s' tells what it takes", cmd->name);
	return MER_EINPUT;
}

static enum mer_status read_words(struct scan *scan, struct mer_error *err)
{
	while (scan->at < scan->n) {
		const char *word = scan->words[scan->at];
		enum mer_status st = MER_OK;
		if (!scan->behind && strcmp(word, "--") == 0) {
			scan->at++;
			scan->behind = true;
			if (scan->first_only)
				return MER_OK;
		} else if (!scan->behind && is_option(word)) {
			st = read_option(scan, err);
		} else if (scan->first_only) {
			return MER_OK;
		} else {
			st = read_positional(scan, err);
		}
		if (st != MER_OK)
			return st;
	}
	return MER_OK;
}

static bool is_given(const struct cmd_call *call, const struct cmd_arg *arg)
{
	for (size_t i = 0; i < call->n_tokens; i++)
		if (call->tokens[i].arg == arg)
			return true;
	return false;
}

/* Gives a row its value out of the tokens, or its fallback. Its words take room off the pool. */
static enum mer_status fill_value(const struct scan *scan, const struct cmd_arg *arg,
                                  struct cmd_value *value, const char ***pool,
                                  struct mer_error *err)
{
	const struct cmd_call *call = scan->out;
	char what[WHAT_SIZE];
	what_is(arg, what);
	value->words = *pool;
	for (size_t i = 0; i < call->n_tokens; i++) {
		if (call->tokens[i].arg != arg)
			continue;
		enum mer_status st = cmd_value_parse(arg, what, call->tokens[i].text, value, err);
		if (st != MER_OK)
			return st;
		value->given = true;
		*(*pool)++ = call->tokens[i].text;
		value->count++;
	}
	*(*pool)++ = NULL;
	if (value->given)
		return MER_OK;
	if (arg->fallback != NULL)
		return cmd_value_parse(arg, what, arg->fallback, value, err);
	if (!arg->required || (arg->unless != NULL && is_given(call, arg->unless)))
		return MER_OK;
	(void)mer_fail(err, MER_EINPUT, "'%s' needs %s", scan->cmd->name, what);
	mer_hint(err, "'help %s' tells what it takes", scan->cmd->name);
	return MER_EINPUT;
}

static enum mer_status fill_values(const struct scan *scan, struct mer_error *err)
{
	const char **pool = scan->out->pool; /* room for all words, and a NULL a row */
	enum mer_status st = MER_OK;
	for (size_t i = 0; i < n_rows(scan) && st == MER_OK; i++)
		st = fill_value(scan, row(scan->cmd, i), &scan->out->values[i], &pool, err);
	return st;
}

static bool asks_help(const char *const words[], size_t n)
{
	for (size_t i = 0; i < n && strcmp(words[i], "--") != 0; i++) {
		if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0)
			return true;
	}
	return false;
}

enum mer_status cmd_parse(const struct cmd *cmd, bool first_only, const char *const words[],
                          size_t n, struct cmd_call *out, struct mer_error *err)
{
	size_t rows = cmd->n_args + COMMON_COUNT;
	*out = (struct cmd_call){ 0 };
	out->values = calloc(rows, sizeof *out->values);
	out->tokens = calloc(n + 1, sizeof *out->tokens);
	out->pool = calloc(n + rows + 1, sizeof *out->pool);
	if (out->values == NULL || out->tokens == NULL || out->pool == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	if (!first_only && asks_help(words, n)) {
		out->values[cmd->n_args + COMMON_HELP].given = true;
		return MER_OK;
	}
	struct scan scan = { .cmd = cmd, .first_only = first_only, .words = words, .n = n, .out = out };
	enum mer_status st = read_words(&scan, err);
	out->used = scan.at;
	return st == MER_OK ? fill_values(&scan, err) : st;
}

/* --- what may follow ---------------------------------------------------------------------- */

static void expect_option(struct scan *scan, struct cmd_next *out)
{
	const char *word = scan->words[scan->at++], *value;
	const struct cmd_arg *arg = find_option(scan, word, &value);
	if (arg == NULL)
		return;
	if (arg->type == ARG_BOOL)
		add_token(scan, arg, "1");
	else if (value != NULL)
		add_token(scan, arg, value);
	else if (scan->at == scan->n)
		out->value = arg;
	else
		add_token(scan, arg, scan->words[scan->at++]);
}

enum mer_status cmd_expect(const struct cmd *cmd, const char *const words[], size_t n,
                           struct cmd_next *out, struct mer_error *err)
{
	*out = (struct cmd_next){ .value = NULL };
	struct scan scan = { .cmd = cmd, .words = words, .n = n, .out = &out->call };
	out->call.tokens = calloc(n + 1, sizeof *out->call.tokens);
	if (out->call.tokens == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	while (scan.at < n) {
		const char *word = words[scan.at];
		if (scan.behind || !is_option(word)) {
			(void)!read_positional(&scan, NULL);
		} else if (strcmp(word, "--") == 0) {
			scan.at++;
			scan.behind = true;
		} else {
			expect_option(&scan, out);
		}
	}
	const struct cmd_arg *argv = find_argv(cmd);
	out->behind = scan.behind;
	out->positional = scan.behind && argv != NULL ? argv : next_positional(&scan);
	return MER_OK;
}

const struct cmd_arg *cmd_option_next(const struct cmd *cmd, const struct cmd_arg *last)
{
	bool reached = last == NULL;
	for (size_t i = 0; i < cmd->n_args + COMMON_COUNT; i++) {
		const struct cmd_arg *arg = row(cmd, i);
		if (reached && arg->option && arg->name != NULL && !arg->hidden && takes(cmd, i))
			return arg;
		reached |= arg == last;
	}
	return NULL;
}

void cmd_call_release(struct cmd_call *call)
{
	free(call->values);
	free(call->tokens);
	free(call->pool);
	*call = (struct cmd_call){ 0 };
}
