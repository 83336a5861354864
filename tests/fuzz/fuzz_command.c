/* A line as the prompt and batch read it, against mer's own table of commands: what is read agrees
 * with the rows, a refusal says why on one line, and what was read, written out again, is read the
 * same. */
#include "../../driver/cmd.h"
#include "fuzz.h"

#include <mer/clean.h>
#include <mer/text.h>
#include <string.h>

static void call_done(struct cmd_call *call)
{
	cmd_call_release(call);
}

static void check_error(enum mer_status st, const struct mer_error *err)
{
	MER_ASSERT(st == MER_EINPUT);
	MER_ASSERT(err->message[0] != '\0' && strchr(err->message, '\n') == NULL);
	MER_ASSERT(strchr(err->hint, '\n') == NULL);
}

/* --- what was read ------------------------------------------------------------------------ */

static void check_number(const struct cmd_arg *arg, const struct cmd_value *value)
{
	switch (arg->type) {
	case ARG_MS:
	case ARG_BYTES:
	case ARG_I64:
		MER_ASSERT(value->number >= arg->least);
		MER_ASSERT(arg->most == 0 || value->number <= arg->most);
		break;
	case ARG_CHOICE:
		MER_ASSERT(value->number >= 0);
		for (int64_t i = 0; i <= value->number; i++)
			MER_ASSERT(arg->choices[i] != NULL);
		MER_ASSERT(strcmp(arg->choices[value->number], value->text) == 0);
		break;
	case ARG_BOOL: MER_ASSERT(value->number == 0 || value->number == 1); break;
	case ARG_PAIR: MER_ASSERT(strchr(value->text, '=') > value->text); break;
	case ARG_TEXT:
	case ARG_NAME:
	case ARG_TIME:
	case ARG_ARGV: break;
	}
}

static void check_value(const struct cmd_arg *arg, const struct cmd_value *value)
{
	MER_ASSERT(value->words != NULL && value->words[value->count] == NULL);
	MER_ASSERT(value->given == (value->count > 0));
	MER_ASSERT(value->given || !arg->required);
	if (value->given)
		MER_ASSERT(value->text == value->words[value->count - 1]);
	else
		MER_ASSERT((value->text != NULL) == (arg->fallback != NULL));
	if (cmd_has(value))
		check_number(arg, value);
}

/* --- written out and read again ----------------------------------------------------------- */

struct line {
	const char **words;
	size_t n;
	char **kept; /* of words that had to be made; ended by NULL */
	size_t n_kept;
};

static void line_done(struct line *line)
{
	for (size_t i = 0; i < line->n_kept; i++)
		free(line->kept[i]);
	free(line->kept);
	free(line->words);
}

static void add_made(struct line *line, char *word)
{
	MER_ASSERT(word != NULL);
	line->kept[line->n_kept++] = word;
	line->words[line->n++] = word;
}

static void add_option(struct line *line, const struct cmd_token *token)
{
	const struct cmd_arg *arg = token->arg;
	if (arg->type == ARG_BOOL)
		add_made(line, mer_text_new("--%s", arg->name));
	else if (arg->letter != 0) /* the other way to write it */
		add_made(line, mer_text_new("-%c%s", arg->letter, token->text));
	else
		add_made(line, mer_text_new("--%s=%s", arg->name, token->text));
}

/* Options, then what is positional; behind a `--` where that is what ARGV begins with, or where it
 * keeps words from being options. */
static void write_again(const struct cmd *cmd, const struct cmd_call *call, struct line *line)
{
	bool has_argv = false;
	for (size_t i = 0; i < cmd->n_args; i++)
		has_argv = has_argv || cmd->args[i].type == ARG_ARGV;
	for (size_t i = 0; i < call->n_tokens; i++) {
		if (call->tokens[i].arg->option)
			add_option(line, &call->tokens[i]);
	}
	if (!has_argv)
		line->words[line->n++] = "--";
	for (size_t i = 0; i < call->n_tokens; i++) {
		const struct cmd_arg *arg = call->tokens[i].arg;
		if (!arg->option && arg->type != ARG_ARGV)
			line->words[line->n++] = call->tokens[i].text;
	}
	if (has_argv)
		line->words[line->n++] = "--";
	for (size_t i = 0; i < call->n_tokens; i++) {
		if (call->tokens[i].arg->type == ARG_ARGV)
			line->words[line->n++] = call->tokens[i].text;
	}
}

static void check_same(const struct cmd_value *a, const struct cmd_value *b)
{
	MER_ASSERT(a->given == b->given && a->number == b->number && a->count == b->count);
	for (size_t i = 0; i < a->count; i++)
		MER_ASSERT(strcmp(a->words[i], b->words[i]) == 0);
}

static void check_again(const struct cmd *cmd, const struct cmd_call *call)
{
	MER_AUTO(call_done) struct cmd_call again = { 0 };
	MER_AUTO(line_done) struct line line = { 0 };
	struct mer_error err;
	line.words = calloc(call->n_tokens + 1, sizeof *line.words);
	line.kept = calloc(call->n_tokens + 1, sizeof *line.kept);
	MER_ASSERT(line.words != NULL && line.kept != NULL);
	write_again(cmd, call, &line);
	enum mer_status st = cmd_parse(cmd, false, line.words, line.n, &again, &err);
	MER_ASSERT(st == MER_OK && again.used == line.n);
	for (size_t i = 0; i < cmd->n_args + COMMON_COUNT; i++)
		check_same(&call->values[i], &again.values[i]);
}

/* --- the target --------------------------------------------------------------------------- */

static void check_command(const struct cmd *cmd, const char *const words[], size_t n)
{
	MER_AUTO(call_done) struct cmd_call call = { 0 };
	struct mer_error err;
	enum mer_status st = cmd_parse(cmd, false, words, n, &call, &err);
	if (st != MER_OK) {
		check_error(st, &err);
		return;
	}
	if (call.values[cmd->n_args + COMMON_HELP].given)
		return; /* nothing else was read */
	MER_ASSERT(call.used == n && call.n_tokens <= n);
	for (size_t i = 0; i < cmd->n_args; i++)
		check_value(&cmd->args[i], &call.values[i]);
	for (size_t i = 0; i < COMMON_COUNT; i++)
		check_value(&cmd_common[i], &call.values[cmd->n_args + i]);
	check_again(cmd, &call);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	MER_AUTO(mer_text_done) char *text = NULL;
	MER_AUTO(mer_words_done) char **words = NULL;
	const struct cmd *cmd;
	struct mer_error err;
	size_t n = 0, used = 0;
	if (len == 0)
		return 0;
	bool changes = (bytes[0] & 1) != 0;
	text = strndup((const char *)bytes + 1, len - 1);
	MER_ASSERT(text != NULL);
	if (mer_split_words(text, &words, &n, NULL, &err) != MER_OK || n == 0)
		return 0;
	const char *const *all = (const char *const *)words;
	enum mer_status st = cmd_find(all, n, changes, &cmd, &used, &err);
	if (st != MER_OK) {
		check_error(st, &err);
		return 0;
	}
	MER_ASSERT(used > 0 && used <= n);
	check_command(cmd, all + used, n - used);
	return 0;
}
