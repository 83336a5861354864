/* set: shows the settings of this mer, and changes them for as long as it runs. */
#include "commands.h"
#include "session.h"

static const struct out_column columns[] = {
	{ "name", 0 },
	{ "value", OUT_NULL | OUT_SHORTEN },
	{ "from", 0 },
	{ "meaning", OUT_SHORTEN },
};
enum { COLUMNS = sizeof columns / sizeof *columns };

enum { NAME, VALUE };
static const struct cmd_arg set_args[] = {
	[NAME] =
		CMD_WORD("NAME", ARG_TEXT, "a setting; without one all are listed", .is = VALUE_SETTING),
	[VALUE] =
		CMD_WORD("VALUE", ARG_TEXT, "what it is to be; without one it is shown", .is = VALUE_SET),
};

static enum mer_status add_row(struct session *s, enum setting which, struct mer_error *err)
{
	const struct mer_cell cells[COLUMNS] = {
		mer_cell_text(setting_rows[which].set),
		mer_cell_word(settings_text(&s->settings, which, out_is_terminal())),
		mer_cell_text(settings_from(&s->settings, which)),
		mer_cell_text(setting_rows[which].help),
	};
	return out_row(s, cells, err);
}

static enum mer_status set(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	enum setting only = SET_COUNT;
	enum mer_status st = MER_OK;
	if (argv[NAME].given)
		st = settings_find(argv[NAME].text, &only, err);
	if (st == MER_OK && argv[VALUE].given)
		return settings_change(&s->settings, only, argv[VALUE].text, err);
	if (st != MER_OK)
		return st;
	out_begin(s, columns, COLUMNS);
	for (size_t i = 0; i < SET_COUNT && st == MER_OK; i++) {
		if (setting_rows[i].set != NULL && (only == SET_COUNT || only == i))
			st = add_row(s, (enum setting)i, err);
	}
	return st == MER_OK ? out_end(s, err) : st;
}

const struct cmd cmd_set = {
	.name = "set",
	.summary = "show the settings of this prompt, or change one until it ends",
	CMD_EXAMPLES("set", "set timeout 5m"),
	CMD_ARGS(set_args),
	.needs = CMD_NEEDS_PROMPT,
	.formats = CMD_FORMATS_ALL,
	CMD_ROWS(columns, COLUMNS),
	.run = set,
};
