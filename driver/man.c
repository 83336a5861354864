/* The manual page mer(1), out of the tables of commands and settings. */
#include "help.h"
#include "session.h"

#include <ctype.h>
#include <mer/roff.h>
#include <string.h>

/* The text that help_arg() and its like write, as a string on the caller's stack. */
enum { TAG_SIZE = 256 };

static void tag_of(const struct cmd_arg *arg, char out[TAG_SIZE])
{
	struct mer_buf buf;
	mer_buf_init(&buf, TAG_SIZE - 32);
	help_arg(&buf, arg);
	int n = snprintf(out, TAG_SIZE, "%s", buf.ptr != NULL ? buf.ptr : "");
	if (arg->letter != 0 && arg->name != NULL && n >= 0)
		(void)snprintf(out + n, TAG_SIZE - (size_t)n, ", -%c", arg->letter);
	mer_buf_release(&buf);
}

static void options(struct mer_buf *out)
{
	mer_roff_section(out, "OPTIONS");
	mer_roff_paragraph(out, "They stand before the command.");
	for (size_t i = 0; i < SET_COUNT; i++) {
		char tag[TAG_SIZE];
		if (!setting_rows[i].option || setting_rows[i].hidden)
			continue;
		tag_of(&setting_rows[i], tag);
		mer_roff_tagged(out, tag, setting_rows[i].help, setting_rows[i].fallback);
	}
}

static void environment(struct mer_buf *out)
{
	mer_roff_section(out, "ENVIRONMENT");
	mer_roff_paragraph(out, "The command line beats the environment, the environment the file of "
	                        "--env-file. An empty variable is an unset one.");
	for (size_t i = 0; i < SET_COUNT; i++) {
		if (setting_rows[i].env != NULL)
			mer_roff_tagged(out, setting_rows[i].env, setting_rows[i].help,
			                setting_rows[i].fallback);
	}
	mer_roff_tagged(out, "NO_COLOR", "where it is not empty: no colour; TERM=dumb says the same",
	                NULL);
	mer_roff_tagged(out, "VISUAL, EDITOR", "what edits a line of the prompt", NULL);
}

static void usage(struct mer_buf *out, const struct cmd *cmd)
{
	struct mer_buf line;
	mer_buf_init(&line, 1 << 14);
	help_usage(&line, cmd, 76, 0);
	mer_buf_byte(&line, '\n');
	mer_roff_typed(out, line.ptr != NULL ? line.ptr : "");
	mer_buf_release(&line);
}

static void examples(struct mer_buf *out, const struct cmd *cmd)
{
	struct mer_buf lines;
	if (cmd->examples == NULL)
		return;
	mer_buf_init(&lines, 1 << 14);
	help_examples(&lines, cmd, false, "");
	mer_roff_paragraph(out, "For example:");
	mer_roff_typed(out, lines.ptr != NULL ? lines.ptr : "");
	mer_buf_release(&lines);
}

static void summary(struct mer_buf *out, const struct cmd *cmd)
{
	const char *only = (cmd->needs & CMD_NEEDS_CHANGES) != 0  ? "; only with --allow-changes"
	                   : (cmd->needs & CMD_NEEDS_PROMPT) != 0 ? "; only at the prompt"
	                                                          : "";
	char text[512];
	(void)snprintf(text, sizeof text, "%c%s%s.", toupper((unsigned char)cmd->summary[0]),
	               cmd->summary + 1, only);
	mer_roff_paragraph(out, text);
}

static void command(struct mer_buf *out, const struct cmd *cmd)
{
	mer_roff_subsection(out, cmd->name);
	usage(out, cmd);
	summary(out, cmd);
	if (cmd->notes != NULL)
		mer_roff_paragraph(out, cmd->notes);
	for (const struct cmd_arg *arg = help_next(cmd, NULL); arg != NULL; arg = help_next(cmd, arg)) {
		char tag[TAG_SIZE];
		tag_of(arg, tag);
		mer_roff_tagged(out, tag, arg->help, arg->fallback);
	}
	for (size_t i = 0; i < COMMON_HELP; i++) {
		char tag[TAG_SIZE];
		if (!cmd_takes(cmd, i))
			continue;
		tag_of(&cmd_common[i], tag);
		mer_roff_tagged(out, tag, cmd_common[i].help, NULL);
	}
	examples(out, cmd);
	if (cmd->older == NULL)
		return;
	mer_buf_text(out, ".PP\nOther names:");
	for (const char *const *older = cmd->older; *older != NULL; older++) {
		mer_buf_byte(out, ' ');
		mer_roff_text(out, *older);
	}
	mer_buf_text(out, ".\n");
}

static void files(struct mer_buf *out)
{
	mer_roff_section(out, "FILES");
	mer_roff_tagged(out, "$XDG_STATE_HOME/mer/mer.db", "the metadata, where nothing else is said",
	                NULL);
	mer_roff_tagged(out, "$XDG_STATE_HOME/mer/history", "the lines of the prompt", NULL);
	mer_roff_tagged(out, "$XDG_DATA_HOME/mer/weights", "what training makes", NULL);
}

static void exit_status(struct mer_buf *out)
{
	mer_roff_section(out, "EXIT STATUS");
	for (size_t i = 0; i < n_exit_rows; i++) {
		char code[16];
		(void)snprintf(code, sizeof code, "%d", exit_rows[i].code);
		mer_roff_tagged(out, code, exit_rows[i].means, NULL);
	}
}

void man_page(struct mer_buf *out)
{
	mer_roff_begin(out, "mer", "runs models wherever they live and remembers every run");
	mer_roff_section(out, "SYNOPSIS");
	mer_roff_typed(out, "mer [OPTIONS] [COMMAND ARGS...]\n"
	                    "mer [OPTIONS] [-c LINE]... [-f FILE]...\n");
	mer_roff_section(out, "DESCRIPTION");
	mer_roff_paragraph(
		out,
		"On a terminal mer opens the prompt. With a COMMAND it does that one; -c LINE, -f FILE and\n"
		"a stdin that is no terminal hold commands as lines, split as a shell splits words, and the\n"
		"first that fails ends it, unless --keep-going.\n"
		"\n"
		"Data goes to stdout, all else to stderr: an error is one line, and where there is something\n"
		"to do a line hint.");
	options(out);
	mer_roff_section(out, "COMMANDS");
	mer_roff_paragraph(out, "A command's options stand before or behind its arguments until --. A "
	                        "word that begins with - and a digit or a dot is no option.");
	for (size_t i = 0; i < n_commands; i++)
		command(out, commands[i]);
	environment(out);
	files(out);
	exit_status(out);
	mer_roff_section(out, "SEE ALSO");
	mer_buf_text(out, ".BR mer\\-migrate (1)\n");
}
