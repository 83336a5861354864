/* help, version, exit and quit: what works without a database. */
#include "commands.h"
#include "help.h"
#include "session.h"

#include <string.h>

/* --- help --------------------------------------------------------------------------------- */

enum { COMMAND };
static const struct cmd_arg help_args[] = {
	[COMMAND] = CMD_WORD("COMMAND", ARG_TEXT, "its name, of one word or two", .is = VALUE_COMMAND,
	                     .repeat = true),
};

static enum mer_status help(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	const struct cmd_value *name = &argv[COMMAND];
	const struct cmd *cmd;
	size_t used;
	if (!name->given) {
		help_all(s);
		return MER_OK;
	}
	bool changes = setting_on(&s->settings, SET_CHANGES);
	if (name->count == 1 && help_noun(s, name->text, changes))
		return MER_OK;
	enum mer_status st = cmd_find(name->words, name->count, changes, &cmd, &used, err);
	if (st != MER_OK)
		return st;
	if ((cmd->needs & CMD_NEEDS_CHANGES) != 0 && !changes)
		return mer_fail(err, MER_ECONFLICT, "not allowed; start with --allow-changes");
	if (used < name->count)
		return mer_fail(err, MER_EINPUT, "'%s' has no '%s'", cmd->name, name->words[used]);
	return help_command(s, cmd, err);
}

const struct cmd cmd_help = {
	.name = "help",
	.summary = "what commands there are, or what one takes",
	CMD_EXAMPLES("help run", "help model"),
	CMD_ARGS(help_args),
	.run = help,
};

/* --- version ------------------------------------------------------------------------------ */

static const struct out_column version_columns[] = { { "version", 0 } };

static enum mer_status version(struct session *s, const struct cmd_value *argv,
                               struct mer_error *err)
{
	(void)argv;
	if (s->out.format == MER_FORMAT_JSON || s->out.format == MER_FORMAT_JSONL)
		return out_object(s, version_columns, (struct mer_cell[]){ mer_cell_text(MER_VERSION) }, 1,
		                  err);
	out_text(s, "mer " MER_VERSION "\n");
	return MER_OK;
}

const struct cmd cmd_version = {
	.name = "version",
	.summary = "the version of mer",
	CMD_EXAMPLES("version", "version --json"),
	CMD_OBJECT(version_columns, 1),
	.formats = CMD_FORMATS_JSON,
	.run = version,
};

/* --- exit, quit --------------------------------------------------------------------------- */

static enum mer_status leave(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	(void)argv;
	(void)err;
	s->leave = true;
	return MER_OK;
}

const struct cmd cmd_exit = {
	.name = "exit",
	.older = (const char *const[]){ "quit", NULL },
	.summary = "leave; in batch what follows is not done",
	CMD_EXAMPLES("exit"),
	.run = leave,
};
