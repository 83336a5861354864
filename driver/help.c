/* Help, out of the tables of commands and settings. */
#include "help.h"

#include "session.h"

#include <mer/text.h>
#include <string.h>

enum { WIDTH = 80, GAP = 26 };

void help_arg(struct mer_buf *out, const struct cmd_arg *arg)
{
	if (!arg->option) {
		mer_buf_text(out, arg->name);
		return;
	}
	if (arg->name != NULL)
		mer_buf_printf(out, "--%s", arg->name);
	else
		mer_buf_printf(out, "-%c", arg->letter);
	const char *value = cmd_value_name(arg);
	if (arg->type == ARG_CHOICE && arg->value == NULL) {
		for (size_t i = 0; arg->choices[i] != NULL; i++)
			mer_buf_printf(out, "%s%s", i == 0 ? " " : "|", arg->choices[i]);
	} else if (value != NULL) {
		mer_buf_printf(out, " %s", value);
	}
}

/* An argument in a usage line: what may be left out in brackets, what may be repeated with dots. */
static void usage_arg(struct mer_buf *out, const struct cmd_arg *arg)
{
	if (arg->type == ARG_ARGV) {
		mer_buf_printf(out, "-- %s...", arg->name);
		return;
	}
	bool may_lack = !arg->required;
	if (may_lack)
		mer_buf_byte(out, '[');
	help_arg(out, arg);
	if (arg->repeat && !arg->option)
		mer_buf_text(out, "...");
	if (may_lack)
		mer_buf_byte(out, ']');
	if (arg->repeat && arg->option)
		mer_buf_text(out, "...");
}

/* Positional arguments, options, and what stands behind `--`. */
static int part_of(const struct cmd_arg *arg)
{
	return arg->type == ARG_ARGV ? 2 : arg->option ? 1 : 0;
}

const struct cmd_arg *help_next(const struct cmd *cmd, const struct cmd_arg *last)
{
	int part = last != NULL ? part_of(last) : 0;
	size_t i = last != NULL ? (size_t)(last - cmd->args) + 1 : 0;
	for (; part < 3; part++, i = 0) {
		for (; i < cmd->n_args; i++) {
			if (part_of(&cmd->args[i]) == part && !cmd->args[i].hidden)
				return &cmd->args[i];
		}
	}
	return NULL;
}

void help_usage(struct mer_buf *out, const struct cmd *cmd, size_t width, size_t indent)
{
	size_t line = indent + strlen(cmd->name);
	mer_buf_text(out, cmd->name);
	for (const struct cmd_arg *arg = help_next(cmd, NULL); arg != NULL; arg = help_next(cmd, arg)) {
		char text[256];
		struct mer_buf one;
		mer_buf_init(&one, sizeof text - 1);
		usage_arg(&one, arg);
		size_t len = one.len;
		(void)snprintf(text, sizeof text, "%s", one.ptr != NULL ? one.ptr : "");
		mer_buf_release(&one);
		if (width > 0 && line + 1 + len > width) {
			mer_buf_printf(out, "\n%*s", (int)indent + 4, "");
			line = indent + 4 + len;
		} else {
			mer_buf_byte(out, ' ');
			line += 1 + len;
		}
		mer_buf_text(out, text);
	}
}

/* A row of two columns; the second begins on a line of its own where the first is long. */
static void two_columns(struct mer_buf *out, const char *left, const char *right)
{
	mer_buf_printf(out, "  %s", left);
	size_t width = strlen(left);
	if (width > GAP)
		mer_buf_printf(out, "\n%*s%s\n", GAP + 4, "", right);
	else
		mer_buf_printf(out, "%*s%s\n", (int)(GAP + 2 - width), "", right);
}

static void list_arg(struct mer_buf *out, const struct cmd_arg *arg)
{
	char left[128], right[512];
	struct mer_buf name;
	mer_buf_init(&name, sizeof left - 1);
	if (arg->name == NULL && !arg->option)
		mer_buf_text(&name, arg->env);
	else
		help_arg(&name, arg);
	if (arg->letter != 0 && arg->name != NULL)
		mer_buf_printf(&name, ", -%c", arg->letter);
	(void)snprintf(left, sizeof left, "%s", name.ptr != NULL ? name.ptr : "");
	mer_buf_release(&name);
	bool env = arg->env != NULL && (arg->option || arg->name != NULL);
	(void)snprintf(right, sizeof right, "%s%s%s%s%s%s%s", arg->help,
	               arg->fallback ? " (default " : "", arg->fallback ? arg->fallback : "",
	               arg->fallback ? ")" : "", env ? " [" : "", env ? arg->env : "", env ? "]" : "");
	two_columns(out, left, right);
}

void help_examples(struct mer_buf *out, const struct cmd *cmd, bool prompt, const char *indent)
{
	const char *options = (cmd->needs & CMD_NEEDS_CHANGES) != 0 ? "--allow-changes " : "";
	const bool bare = prompt || (cmd->needs & CMD_NEEDS_PROMPT) != 0;
	for (const char *const *line = cmd->examples; line != NULL && *line != NULL; line++)
		mer_buf_printf(out, "%s%s%s%s\n", indent, bare ? "" : "mer ", bare ? "" : options, *line);
}

enum mer_status help_command(struct session *s, const struct cmd *cmd, struct mer_error *err)
{
	struct mer_buf *out = &s->out.sink.buf;
	(void)err;
	mer_buf_text(out, "usage: ");
	help_usage(out, cmd, WIDTH, sizeof "usage: " - 1);
	mer_buf_printf(out, "\n\n%s%s\n", cmd->summary,
	               (cmd->needs & CMD_NEEDS_PROMPT) != 0 ? "; only at the prompt" : "");
	if (cmd->notes != NULL)
		mer_buf_printf(out, "\n%s", cmd->notes);
	mer_buf_byte(out, '\n');
	for (const struct cmd_arg *arg = help_next(cmd, NULL); arg != NULL; arg = help_next(cmd, arg))
		list_arg(out, arg);
	for (size_t i = 0; i < COMMON_COUNT; i++) {
		if (cmd_takes(cmd, i))
			list_arg(out, &cmd_common[i]);
	}
	if (cmd->examples != NULL) {
		mer_buf_text(out, "\nexamples:\n");
		help_examples(out, cmd, s->prompt, "  ");
	}
	if (cmd->older != NULL) {
		mer_buf_text(out, "\nalso:");
		for (const char *const *older = cmd->older; *older != NULL; older++)
			mer_buf_printf(out, " %s", *older);
		mer_buf_byte(out, '\n');
	}
	sink_added(&s->out.sink);
	return MER_OK;
}

bool help_noun(struct session *s, const char *noun, bool changes)
{
	size_t len = strlen(noun), count = 0;
	for (size_t i = 0; i < n_commands; i++) {
		if (strcmp(commands[i]->name, noun) == 0)
			return false;
	}
	for (size_t i = 0; i < n_commands; i++) {
		const struct cmd *cmd = commands[i];
		bool shown = changes || (cmd->needs & CMD_NEEDS_CHANGES) == 0;
		if (!shown || strncmp(cmd->name, noun, len) != 0 || cmd->name[len] != ' ')
			continue;
		two_columns(&s->out.sink.buf, cmd->name, cmd->summary);
		count++;
	}
	sink_added(&s->out.sink);
	return count > 0;
}

void help_all(struct session *s)
{
	struct mer_buf *out = &s->out.sink.buf;
	bool changes = s->settings.call.values != NULL && setting_on(&s->settings, SET_CHANGES);
	if (!s->prompt)
		mer_buf_text(out, "usage: mer [OPTIONS] [COMMAND ARGS...]\n"
		                  "       mer [OPTIONS] [-c LINE]... [-f FILE]...\n\n");
	mer_buf_text(out, "commands:\n");
	for (size_t i = 0; i < n_commands; i++) {
		if (changes || (commands[i]->needs & CMD_NEEDS_CHANGES) == 0)
			two_columns(out, commands[i]->name, commands[i]->summary);
	}
	if (!s->prompt) {
		mer_buf_text(out, "\noptions:\n");
		for (size_t i = 0; i < SET_COUNT; i++) {
			if (!setting_rows[i].hidden)
				list_arg(out, &setting_rows[i]);
		}
	}
	mer_buf_text(out, "\n'help COMMAND' says more of a command.");
	mer_buf_text(out, changes ? "\n"
	                          : " Those that change the metadata are there\n"
	                            "with --allow-changes.\n");
	sink_added(&s->out.sink);
}
