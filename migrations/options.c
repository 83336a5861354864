/* Options may stand anywhere until "--", as --name value or --name=value. */
#include "options.h"

#include "exit.h"

#include <assert.h>
#include <mer/roff.h>
#include <mer/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IN(command) (1u << (command))
#define EVERYWHERE (~0u)

static const struct row {
	const char *name, *argument; /* argument: what to call it; NULL: takes none */
	const char *summary;
} commands[] = {
	[COMMAND_NONE] = { "", NULL, "" },
	[COMMAND_UP] = { "up", NULL, "apply what is pending, in order; nothing to do is success" },
	[COMMAND_STATUS] = { "status", NULL,
	                     "what each script is: applied, pending, edited, missing, late" },
	[COMMAND_PLAN] = { "plan", NULL, "what 'up' would do, and whether it can" },
	[COMMAND_VERIFY] = { "verify", NULL, "compare the history with the files; change nothing" },
	[COMMAND_BASELINE] = { "baseline", "N",
	                       "the database has it already: record scripts up to N as applied" },
	[COMMAND_REPAIR] = { "repair", NULL, "settle named disagreements, print what it changed" },
	[COMMAND_NEW] = { "new", "NAME", "write the next NN-NAME.sql in every dialect's folder" },
};
static_assert(sizeof commands / sizeof *commands == COMMAND_COUNT, "a row for each command");

enum type { FLAG, TEXT, TEXTS, DURATION, NUMBER, NUMBERS, PAGE };

#define FIELD(member) offsetof(struct options, member)

static const struct option {
	const char *name, *value; /* value: what to call it; NULL for flags */
	size_t field;
	enum type type;
	unsigned commands; /* that have it, a bit each */
	const char *summary;
} options[] = {
	{ "to", "N", FIELD(to), NUMBER, IN(COMMAND_UP), "the highest number to apply" },
	{ "dry-run", NULL, FIELD(dry_run), FLAG, IN(COMMAND_UP), "say what would be done, like plan" },
	{ "accept-edit", "N", FIELD(accepts), NUMBERS, IN(COMMAND_REPAIR),
	  "take script N for what ran, as its file is now; again for more" },
	{ "forget", "N", FIELD(forgets), NUMBERS, IN(COMMAND_REPAIR),
	  "take script N for one that never ran; again for more" },
	{ "check", NULL, FIELD(check), FLAG, IN(COMMAND_STATUS),
	  "exit 6 when any is pending, 3 when the history disagrees" },
	{ "database", "URL", FIELD(database), TEXT, EVERYWHERE,
	  "sqlite:PATH or postgres://HOST/NAME; default MER_DATABASE_URL,\n"
	  "                    then sqlite:$XDG_STATE_HOME/mer/mer.db" },
	{ "dir", "DIR", FIELD(dirs), TEXTS, EVERYWHERE,
	  "a folder of scripts, again for more; default: the installed ones" },
	{ "wait", "D", FIELD(wait_ms), DURATION, EVERYWHERE,
	  "how long to wait for another mer-migrate, or whoever has the file; default 30s" },
	{ "strict", NULL, FIELD(strict), FLAG, EVERYWHERE,
	  "refuse edits of comments and white space too" },
	{ "json", NULL, FIELD(json), FLAG, EVERYWHERE, "write one JSON document" },
	{ "quiet", NULL, FIELD(quiet), FLAG, EVERYWHERE, "say nothing unless something fails" },
	{ "env-file", "FILE", FIELD(env_file), TEXT, EVERYWHERE,
	  "read settings from FILE first; default MER_ENV_FILE" },
	{ "print", "man", FIELD(man), PAGE, EVERYWHERE, "print the manual page" },
	{ "version", NULL, FIELD(version), FLAG, EVERYWHERE, "print the version" },
	{ "help", NULL, FIELD(help), FLAG, EVERYWHERE, "print this, or the help of a command" },
};
enum { N_OPTIONS = sizeof options / sizeof *options };

/* --- names -------------------------------------------------------------------------------- */

static enum mer_status unknown_option(const char *name, struct mer_error *err)
{
	struct mer_guess guess = { .typed = name };
	for (size_t i = 0; i < N_OPTIONS; i++)
		mer_guess_offer(&guess, options[i].name);
	(void)mer_fail(err, MER_EINPUT, "unknown option '--%s'", name);
	if (guess.word[0] != '\0')
		mer_hint(err, "did you mean --%s?", guess.word);
	else
		mer_hint(err, "mer-migrate --help lists them");
	return MER_EINPUT;
}

static enum mer_status unknown_command(const char *name, struct mer_error *err)
{
	struct mer_guess guess = { .typed = name };
	for (size_t i = 1; i < COMMAND_COUNT; i++)
		mer_guess_offer(&guess, commands[i].name);
	(void)mer_fail(err, MER_EINPUT, "unknown command '%s'", name);
	if (!mer_guess_hint(&guess, err))
		mer_hint(err, "mer-migrate --help lists them");
	return MER_EINPUT;
}

/* --- parsing ------------------------------------------------------------------------------ */

static enum mer_status set_number(const char *value, int64_t *to, struct mer_error *err)
{
	int64_t number;
	enum mer_status st = mer_parse_i64(value, &number, err);
	if (st != MER_OK)
		return st;
	if (number < 1)
		return mer_fail(err, MER_EINPUT, "scripts have numbers from 1");
	*to = number;
	return MER_OK;
}

static enum mer_status add_number(const char *value, struct options *out, int64_t numbers[],
                                  struct mer_error *err)
{
	size_t *n = numbers == out->accepts ? &out->n_accepts : &out->n_forgets;
	enum mer_status st = set_number(value, &numbers[*n], err);
	*n += st == MER_OK;
	return st;
}

static enum mer_status set_page(const char *value, bool *man, struct mer_error *err)
{
	if (strcmp(value, "man") != 0)
		return mer_fail(err, MER_EINPUT, "'%s' is not man", value);
	*man = true;
	return MER_OK;
}

static enum mer_status set_value(struct options *out, const struct option *option,
                                 const char *value, struct mer_error *err)
{
	char *field = (char *)out + option->field;
	enum mer_status st = MER_OK;
	switch (option->type) {
	case FLAG: *(bool *)(void *)field = true; break;
	case TEXT: *(const char **)(void *)field = value; break;
	case TEXTS: out->dirs[out->n_dirs++] = value; break;
	case DURATION: st = mer_parse_ms(value, (int64_t *)(void *)field, err); break;
	case NUMBER: st = set_number(value, (int64_t *)(void *)field, err); break;
	case PAGE: st = set_page(value, (bool *)(void *)field, err); break;
	case NUMBERS: st = add_number(value, out, *(int64_t **)(void *)field, err); break;
	}
	return st == MER_OK ? st : mer_wrap(err, MER_EINPUT, "option '--%s'", option->name);
}

/* The words as they are read. */
struct words {
	char *const *at;
	char *const *end;
	unsigned used; /* options that were given, a bit each */
};

static enum mer_status parse_option(struct words *words, struct options *out, struct mer_error *err)
{
	const char *name = *words->at + 2, *equals = strchr(name, '=');
	size_t len = equals != NULL ? (size_t)(equals - name) : strlen(name), i = 0;
	while (i < N_OPTIONS &&
	       (strlen(options[i].name) != len || strncmp(options[i].name, name, len) != 0))
		i++;
	if (i == N_OPTIONS) {
		char unknown[64];
		(void)snprintf(unknown, sizeof unknown, "%.*s", (int)(len < 63 ? len : 63), name);
		return unknown_option(unknown, err);
	}
	const struct option *option = &options[i];
	const char *value = equals != NULL ? equals + 1 : NULL;
	if (option->type == FLAG && value != NULL)
		return mer_fail(err, MER_EINPUT, "option '--%s' takes no value", option->name);
	if (option->type != FLAG && value == NULL) {
		/* Another option is hardly meant as a value; --name=--value is. */
		if (words->at + 1 == words->end || strncmp(words->at[1], "--", 2) == 0)
			return mer_fail(err, MER_EINPUT, "option '--%s' needs a value", option->name);
		value = *++words->at;
	}
	if (value != NULL && *value == '\0')
		return mer_fail(err, MER_EINPUT, "the value of option '--%s' is empty", option->name);
	words->used |= 1u << i;
	return set_value(out, option, value, err);
}

/* The N of baseline, the NAME of new. */
static enum mer_status set_argument(const char *word, struct options *out, struct mer_error *err)
{
	const struct row *row = &commands[out->command];
	bool given = out->name != NULL || (out->command == COMMAND_BASELINE && out->to != 0);
	if (row->argument == NULL || given)
		return mer_fail(err, MER_EINPUT, "'%s' takes no argument '%s'", row->name, word);
	if (*word == '\0')
		return mer_fail(err, MER_EINPUT, "the %s of '%s' is empty", row->argument, row->name);
	if (out->command == COMMAND_NEW) {
		out->name = word;
		return MER_OK;
	}
	enum mer_status st = set_number(word, &out->to, err);
	return st == MER_OK ? st : mer_wrap(err, st, "'%s %s'", row->name, row->argument);
}

static enum mer_status parse_word(const char *word, struct options *out, struct mer_error *err)
{
	if (out->command != COMMAND_NONE)
		return set_argument(word, out, err);
	for (size_t i = 1; i < COMMAND_COUNT; i++) {
		if (strcmp(word, commands[i].name) == 0) {
			out->command = (enum command)i;
			return MER_OK;
		}
	}
	return unknown_command(word, err);
}

static enum mer_status check_argument(const struct options *out, struct mer_error *err)
{
	const struct row *row = &commands[out->command];
	if (row->argument == NULL || out->name != NULL || out->to != 0)
		return MER_OK;
	(void)mer_fail(err, MER_EINPUT, "'%s' needs a %s", row->name, row->argument);
	mer_hint(err, "mer-migrate %s %s", row->name, row->argument);
	return MER_EINPUT;
}

/* Each option must be one that the command has. */
static enum mer_status check_used(const struct options *out, unsigned used, struct mer_error *err)
{
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if ((used & 1u << i) != 0 && (options[i].commands & IN(out->command)) == 0)
			return mer_fail(err, MER_EINPUT, "'%s' has no option '--%s'",
			                commands[out->command].name, options[i].name);
	}
	return MER_OK;
}

static enum mer_status parse_words(struct words *words, struct options *out, struct mer_error *err)
{
	bool literal = false;
	for (; words->at < words->end; words->at++) {
		const char *word = *words->at;
		enum mer_status st;
		if (literal || word[0] != '-' || word[1] == '\0') {
			st = parse_word(word, out, err);
		} else if (word[1] != '-') {
			(void)mer_fail(err, MER_EINPUT, "unknown option '%s'", word);
			mer_hint(err, "mer-migrate --help lists them");
			st = MER_EINPUT;
		} else if (word[2] == '\0') {
			literal = true;
			continue;
		} else {
			st = parse_option(words, out, err);
		}
		if (st != MER_OK)
			return st;
	}
	return MER_OK;
}

enum mer_status options_parse(int argc, char *const argv[], struct options *out,
                              struct mer_error *err)
{
	*out = (struct options){ .wait_ms = 30000 };
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		out->json = out->json || strcmp(argv[i], "--json") == 0;
	out->dirs = calloc((size_t)argc + 1, sizeof *out->dirs);
	out->accepts = calloc((size_t)argc + 1, sizeof *out->accepts);
	out->forgets = calloc((size_t)argc + 1, sizeof *out->forgets);
	if (out->dirs == NULL || out->accepts == NULL || out->forgets == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	struct words words = { .at = argv + (argc > 0), .end = argv + argc };
	enum mer_status st = parse_words(&words, out, err);
	if (st != MER_OK || out->help || out->version || out->man)
		return st;
	if (out->command == COMMAND_NONE) {
		(void)mer_fail(err, MER_EINPUT, "no command");
		mer_hint(err, "mer-migrate up, or see mer-migrate --help");
		return MER_EINPUT;
	}
	st = check_used(out, words.used, err);
	return st == MER_OK ? check_argument(out, err) : st;
}

void options_release(struct options *options_)
{
	if (options_ == NULL)
		return;
	free(options_->dirs);
	free(options_->accepts);
	free(options_->forgets);
	*options_ = (struct options){ 0 };
}

/* --- help --------------------------------------------------------------------------------- */

/* "--name VALUE"; returns its length. */
static int option_text(const struct option *option, char *out, size_t size)
{
	return snprintf(out, size, "--%s%s%s", option->name, option->value != NULL ? " " : "",
	                option->value != NULL ? option->value : "");
}

/* A command with the options that only some have: "up [--to N] [--dry-run]". */
static void command_text(enum command command, struct mer_buf *out)
{
	char text[64];
	mer_buf_text(out, commands[command].name);
	if (commands[command].argument != NULL)
		mer_buf_printf(out, " %s", commands[command].argument);
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (options[i].commands == EVERYWHERE || (options[i].commands & IN(command)) == 0)
			continue;
		(void)option_text(&options[i], text, sizeof text);
		mer_buf_printf(out, " [%s]", text);
	}
}

static void help_options(unsigned commands_, bool everywhere, struct mer_buf *out)
{
	char text[64];
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if ((options[i].commands & commands_) == 0 ||
		    (options[i].commands == EVERYWHERE) != everywhere)
			continue;
		(void)option_text(&options[i], text, sizeof text);
		mer_buf_printf(out, "  %-18s%s\n", text, options[i].summary);
	}
}

static void help_commands(struct mer_buf *out)
{
	for (size_t i = 1; i < COMMAND_COUNT; i++) {
		struct mer_buf text;
		mer_buf_init(&text, 256);
		command_text((enum command)i, &text);
		const char *words = text.ptr != NULL ? text.ptr : "";
		if (strlen(words) < 26)
			mer_buf_printf(out, "  %-26s%s\n", words, commands[i].summary);
		else
			mer_buf_printf(out, "  %s\n%28s%s\n", words, "", commands[i].summary);
		mer_buf_release(&text);
	}
}

void options_help(enum command command, struct mer_buf *out)
{
	mer_buf_text(out, "usage: mer-migrate [OPTIONS] ");
	if (command == COMMAND_NONE) {
		mer_buf_text(out,
		             "COMMAND\n\nBrings mer's database up to date with numbered SQL scripts.\n\n"
		             "Commands:\n");
		help_commands(out);
	} else {
		command_text(command, out);
		mer_buf_printf(out, "\n\n%s.\n\nOptions of %s:\n", commands[command].summary,
		               commands[command].name);
		size_t before = out->len;
		help_options(IN(command), false, out);
		if (out->len == before)
			mer_buf_text(out, "  none\n");
	}
	mer_buf_text(out, "\nOptions:\n");
	help_options(EVERYWHERE, true, out);
}

/* --- manual page -------------------------------------------------------------------------- */

/* One line of what help breaks in two. */
static void man_option(const struct option *option, struct mer_buf *out)
{
	char tag[64], text[256];
	size_t n = 0;
	(void)option_text(option, tag, sizeof tag);
	for (const char *at = option->summary; *at != '\0' && n < sizeof text - 1; at++) {
		text[n++] = *at == '\n' ? ' ' : *at;
		if (*at == '\n')
			at += strspn(at + 1, " ");
	}
	text[n] = '\0';
	mer_roff_tagged(out, tag, text, NULL);
}

static void man_command(enum command command, struct mer_buf *out)
{
	struct mer_buf words;
	mer_buf_init(&words, 256);
	command_text(command, &words);
	mer_roff_subsection(out, words.ptr != NULL ? words.ptr : "");
	mer_buf_release(&words);
	mer_roff_paragraph(out, commands[command].summary);
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (options[i].commands != EVERYWHERE && (options[i].commands & IN(command)) != 0)
			man_option(&options[i], out);
	}
}

void options_man(struct mer_buf *out)
{
	mer_roff_begin(out, "mer-migrate", "brings mer's database up to date");
	mer_roff_section(out, "SYNOPSIS");
	mer_roff_typed(out, "mer-migrate [OPTIONS] COMMAND\n");
	mer_roff_section(out, "DESCRIPTION");
	mer_roff_paragraph(
		out,
		"Applies numbered SQL scripts, NN-Name.sql, in their order, and says what is and what would\n"
		"be. Each runs in one transaction with its row in the ledger, the table migrations. mer's\n"
		"own are 1 to 999, those of an operator 1000 and up, in folders that --dir names.");
	mer_roff_section(out, "COMMANDS");
	for (size_t i = 1; i < COMMAND_COUNT; i++)
		man_command((enum command)i, out);
	mer_roff_section(out, "OPTIONS");
	mer_roff_paragraph(out, "They may stand before or behind the command.");
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (options[i].commands == EVERYWHERE)
			man_option(&options[i], out);
	}
	mer_roff_section(out, "EXIT STATUS");
	for (size_t i = 0; i < n_exit_rows; i++) {
		char code[16];
		(void)snprintf(code, sizeof code, "%d", exit_rows[i].code);
		mer_roff_tagged(out, code, exit_rows[i].means, NULL);
	}
	mer_roff_section(out, "SEE ALSO");
	mer_buf_text(out, ".BR mer (1)\n");
}
