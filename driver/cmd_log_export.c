/* log export: all runs, for other programs. */
#include "commands.h"
#include "find.h"
#include "log_rows.h"
#include "session.h"

#include <mer/text.h>

enum { FORMAT, MODEL, SINCE, UNTIL };
static const char *const formats[] = { "jsonl", "csv", NULL };
static const struct cmd_arg export_args[] = {
	[FORMAT] =
		CMD_OPTION("format", ARG_CHOICE, NULL, "as what", .choices = formats, .fallback = "jsonl"),
	[MODEL] = CMD_OPTION("model", ARG_TEXT, "M", "only runs of this model", .is = VALUE_MODEL),
	[SINCE] = CMD_OPTION("since", ARG_TIME, "T", "only from this time on: 2026-01-31T12:00:00Z"),
	[UNTIL] = CMD_OPTION("until", ARG_TIME, "T", "only from before this time"),
};

static enum mer_status export_runs(struct session *s, const struct cmd_value *argv,
                                   struct mer_error *err)
{
	struct log_choice choice = { .model = argv[MODEL].text };
	if (argv[SINCE].given)
		mer_time_text(argv[SINCE].number, choice.since);
	if (argv[UNTIL].given)
		mer_time_text(argv[UNTIL].number, choice.until);
	if (argv[MODEL].given) {
		enum mer_status st = find_logged_model(s->dal, argv[MODEL].text, err);
		if (st != MER_OK)
			return st;
	}
	s->out.format = argv[FORMAT].number == 0 ? MER_FORMAT_JSONL : MER_FORMAT_CSV;
	return log_export(s, &choice, err);
}

const struct cmd cmd_log_export = {
	.name = "log export",
	.summary = "all runs, oldest first, as JSON Lines or CSV",
	.notes =
		"Runs that begin meanwhile are in it or not. Memory does not grow with their number.\n",
	CMD_EXAMPLES("log export", "log export --format csv --model iris --since 2026-01-31T12:00:00Z"),
	CMD_ARGS(export_args),
	.needs = CMD_NEEDS_DATABASE,
	CMD_ROWS(log_columns, LOG_COLUMNS),
	.run = export_runs,
};
