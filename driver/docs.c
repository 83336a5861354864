/* The pages that are generated from the tables: docs/commands.md and .env.example. */
#include "help.h"
#include "session.h"

#include <ctype.h>
#include <string.h>

/* --- docs/commands.md --------------------------------------------------------------------- */

/* Text in a cell of a table, where a bar would end it. */
static void add_cell(struct mer_buf *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '|')
			mer_buf_byte(out, '\\');
		mer_buf_byte(out, *text);
	}
}

static void docs_settings(struct mer_buf *out)
{
	mer_buf_text(out, "| option | setting | meaning |\n|---|---|---|\n");
	for (size_t i = 0; i < SET_COUNT; i++) {
		const struct cmd_arg *arg = &setting_rows[i];
		if (arg->hidden)
			continue;
		mer_buf_text(out, "| ");
		if (arg->option) {
			mer_buf_byte(out, '`');
			help_arg(out, arg);
			mer_buf_byte(out, '`');
		}
		if (arg->option && arg->letter != 0 && arg->name != NULL)
			mer_buf_printf(out, " `-%c`", arg->letter);
		mer_buf_text(out, " | ");
		if (arg->env != NULL)
			mer_buf_printf(out, "`%s`", arg->env);
		mer_buf_text(out, " | ");
		add_cell(out, arg->help);
		if (arg->fallback != NULL)
			mer_buf_printf(out, " (default `%s`)", arg->fallback);
		mer_buf_text(out, " |\n");
	}
}

static void docs_arg(struct mer_buf *out, const struct cmd_arg *arg)
{
	struct mer_buf name;
	mer_buf_init(&name, 256);
	help_arg(&name, arg);
	mer_buf_text(out, "| `");
	add_cell(out, name.ptr);
	mer_buf_byte(out, '`');
	if (arg->option && arg->letter != 0 && arg->name != NULL)
		mer_buf_printf(out, " `-%c`", arg->letter);
	mer_buf_printf(out, "%s | ", arg->repeat || arg->type == ARG_ARGV ? " ..." : "");
	mer_buf_release(&name);
	add_cell(out, arg->help);
	mer_buf_text(out, " | ");
	if (arg->fallback != NULL)
		mer_buf_printf(out, "`%s`", arg->fallback);
	else
		mer_buf_text(out, arg->required ? "required" : "");
	mer_buf_text(out, " |\n");
}

static void docs_columns(struct mer_buf *out, const struct cmd *cmd)
{
	if (!cmd_takes(cmd, COMMON_COLUMNS))
		return;
	mer_buf_text(out, "\nColumns, for `--columns A,B` and `--sort COLUMN[:desc]`:");
	for (size_t i = 0; i < cmd->n_columns; i++)
		mer_buf_printf(out, " `%s`", cmd->columns[i].name);
	mer_buf_text(out, ".\n");
}

static void docs_command(struct mer_buf *out, const struct cmd *cmd)
{
	static const char *const formats[] = {
		[CMD_FORMATS_NONE] = NULL,
		[CMD_FORMATS_JSON] = "`--json` `--jsonl`",
		[CMD_FORMATS_ALL] = "`--json` `--jsonl` `--csv` `--plain` `--vertical`",
	};
	mer_buf_printf(out, "\n### %s\n\n", cmd->name);
	mer_buf_text(out, "```\n");
	help_usage(out, cmd, 100, 0);
	mer_buf_printf(out, "\n```\n\n%c%s.", toupper((unsigned char)cmd->summary[0]),
	               cmd->summary + 1);
	if ((cmd->needs & CMD_NEEDS_CHANGES) != 0)
		mer_buf_text(out, " Only with `--allow-changes`.");
	if ((cmd->needs & CMD_NEEDS_PROMPT) != 0)
		mer_buf_text(out, " Only at the prompt.");
	mer_buf_byte(out, '\n');
	if (cmd->notes != NULL)
		mer_buf_printf(out, "\n%s", cmd->notes);
	if (cmd->n_args > 0)
		mer_buf_text(out, "\n| argument | meaning | default |\n|---|---|---|\n");
	for (const struct cmd_arg *arg = help_next(cmd, NULL); arg != NULL; arg = help_next(cmd, arg))
		docs_arg(out, arg);
	if (cmd->examples != NULL) {
		mer_buf_text(out, "\n```sh\n");
		help_examples(out, cmd, false, "");
		mer_buf_text(out, "```\n");
	}
	if (formats[cmd->formats] != NULL)
		mer_buf_printf(out, "\nFormats: %s.\n", formats[cmd->formats]);
	docs_columns(out, cmd);
	if (cmd->older == NULL)
		return;
	mer_buf_text(out, "\nOther names:");
	for (const char *const *older = cmd->older; *older != NULL; older++)
		mer_buf_printf(out, " `%s`", *older);
	mer_buf_text(out, ".\n");
}

void docs_commands(struct mer_buf *out)
{
	mer_buf_text(
		out,
		"# The commands of mer\n\n"
		"Written by `mer --print docs` from the tables that the program itself reads; to change\n"
		"it, change them.\n\n"
		"`mer` on a terminal opens the prompt. `mer [OPTIONS] COMMAND ARGS...` does one command;\n"
		"`mer -c LINE`, `mer -f FILE` and a stdin that is no terminal hold commands as lines,\n"
		"split as a shell splits words. OPTIONS stand before the command, a command's own before\n"
		"or behind its arguments until `--`. The first command that fails ends it, unless\n"
		"`--keep-going`.\n\n"
		"## Options and settings\n\n"
		"The command line beats the environment, the environment the file of `--env-file`.\n\n");
	docs_settings(out);
	mer_buf_text(out, "\n## Commands\n");
	for (size_t i = 0; i < n_commands; i++)
		docs_command(out, commands[i]);
	mer_buf_text(out, "\n## Exit codes\n\n| code | means |\n|---|---|\n");
	for (size_t i = 0; i < n_exit_rows; i++)
		mer_buf_printf(out, "| %d | %s |\n", exit_rows[i].code, exit_rows[i].means);
}

/* --- .env.example ------------------------------------------------------------------------- */

void docs_env(struct mer_buf *out)
{
	mer_buf_text(out, "# Settings of mer, for the environment or for a file: mer --env-file FILE.\n"
	                  "# The command line beats the environment, the environment beats the file.\n"
	                  "# Written by: mer --print env\n");
	for (size_t i = 0; i < SET_COUNT; i++) {
		const struct cmd_arg *arg = &setting_rows[i];
		if (arg->env == NULL || i == SET_ENV_FILE)
			continue;
		mer_buf_printf(out, "\n# %s", arg->help);
		if (arg->option)
			mer_buf_printf(out, " (--%s)", arg->name);
		if (arg->fallback != NULL)
			mer_buf_printf(out, "; default %s", arg->fallback);
		mer_buf_printf(out, "\n#%s=%s\n", arg->env, arg->example != NULL ? arg->example : "");
	}
}
