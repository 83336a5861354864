/* log and log show: what ran. */
#include "commands.h"
#include "session.h"

#include <mer/text.h>
#include <string.h>

enum { LOG_COLUMNS = 27 };
static const struct out_column columns[LOG_COLUMNS] = {
	{ "request_uid", 0 },
	{ "model", OUT_SHORTEN },
	{ "deployment", OUT_HIDDEN },
	{ "server", OUT_HIDDEN },
	{ "weights", OUT_HIDDEN },
	{ "door", OUT_HIDDEN },
	{ "host", OUT_HIDDEN },
	{ "pid", OUT_HIDDEN },
	{ "status", 0 },
	{ "started_at", OUT_TIME },
	{ "stopped_at", OUT_HIDDEN },
	{ "exit_code", OUT_HIDDEN },
	{ "signal", OUT_HIDDEN },
	{ "error", OUT_SHORTEN },
	{ "stderr_tail", OUT_HIDDEN },
	{ "attempts", OUT_HIDDEN },
	{ "queue_ms", OUT_HIDDEN },
	{ "start_ms", OUT_HIDDEN },
	{ "infer_ms", OUT_RIGHT },
	{ "bytes_in", OUT_HIDDEN },
	{ "bytes_out", OUT_HIDDEN },
	/* beside the contract */
	{ "who", OUT_HIDDEN },
	{ "queued_at", OUT_HIDDEN },
	{ "sha256_in", OUT_HIDDEN },
	{ "sha256_out", OUT_HIDDEN },
	{ "owner", OUT_HIDDEN },
	{ "kind", OUT_HIDDEN },
};

/* -1 is none. */
static struct mer_cell number(int64_t value)
{
	return value >= 0 ? mer_cell_i64(value) : (struct mer_cell){ .type = MER_CELL_NULL };
}

static void fill_cells(const struct mer_run_row *row, struct mer_cell cells[LOG_COLUMNS])
{
	const struct mer_cell all[LOG_COLUMNS] = {
		mer_cell_text(row->request_uid), mer_cell_text(row->model),
		mer_cell_word(row->deployment),  mer_cell_word(row->server),
		mer_cell_word(row->weights),     mer_cell_text(row->door),
		mer_cell_text(row->host),        mer_cell_i64(row->pid),
		mer_cell_text(row->status),      mer_cell_word(row->started_at),
		mer_cell_word(row->stopped_at),  number(row->exit_code),
		mer_cell_word(row->signal),      mer_cell_word(row->error),
		mer_cell_text(row->stderr_tail), mer_cell_i64(row->attempts),
		number(row->queue_ms),           number(row->start_ms),
		number(row->infer_ms),           number(row->bytes_in),
		number(row->bytes_out),          mer_cell_text(row->who),
		mer_cell_text(row->queued_at),   mer_cell_word(row->sha256_in),
		mer_cell_word(row->sha256_out),  mer_cell_word(row->owner),
		mer_cell_text(row->kind),
	};
	memcpy(cells, all, sizeof all);
}

/* --- log ---------------------------------------------------------------------------------- */

enum { MODEL, STATUS, SINCE, LIMIT };
static const char *const statuses[] = { "queued",    "running", "ok",       "failed", "timeout",
	                                    "cancelled", "lost",    "rejected", NULL };
static const struct cmd_arg log_args[] = {
	[MODEL] = CMD_OPTION("model", ARG_TEXT, "M", "only runs of this model"),
	[STATUS] = CMD_OPTION("status", ARG_CHOICE, "S",
	                      "only these: queued, running, ok, failed, timeout, cancelled, lost or "
	                      "rejected",
	                      .choices = statuses),
	[SINCE] = CMD_OPTION("since", ARG_TIME, "T", "only from this time on: 2026-01-31T12:00:00Z"),
	[LIMIT] = CMD_OPTION("limit", ARG_I64, "N", "at most so many", .fallback = "20", .least = 1),
};

static enum mer_status on_run(void *ctx, const void *row, struct mer_error *err)
{
	struct mer_cell cells[LOG_COLUMNS];
	fill_cells(row, cells);
	return out_row(ctx, cells, err);
}

static enum mer_status list(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	char since[MER_TIME_SIZE] = "";
	if (argv[SINCE].given)
		mer_time_text(argv[SINCE].number, since);
	out_begin(s, columns, LOG_COLUMNS);
	enum mer_status st =
		mer_dal_query(s->dal, MER_Q_RUNS,
	                  MER_ARGS(mer_text(argv[MODEL].text), mer_text(argv[STATUS].text),
	                           mer_text(since), mer_i64(argv[LIMIT].number)),
	                  on_run, s, err);
	return st == MER_OK ? out_end(s, err) : st;
}

const struct cmd cmd_log = {
	.name = "log",
	.summary = "what ran, newest first",
	CMD_ARGS(log_args),
	.needs = CMD_NEEDS_DATABASE,
	.formats = CMD_FORMATS_ALL,
	.run = list,
};

/* --- log show ----------------------------------------------------------------------------- */

enum { UID };
static const struct cmd_arg show_args[] = {
	[UID] = CMD_WORD("UID", ARG_TEXT, "request_uid of a run", .required = true),
};

struct shown {
	struct session *s;
	bool found;
};

static enum mer_status on_shown(void *ctx, const void *row, struct mer_error *err)
{
	struct shown *shown = ctx;
	struct mer_cell cells[LOG_COLUMNS];
	shown->found = true;
	fill_cells(row, cells);
	return out_object(shown->s, columns, cells, LOG_COLUMNS, err);
}

static enum mer_status show(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	struct shown shown = { .s = s };
	enum mer_status st = mer_dal_query(s->dal, MER_Q_RUN_BY_UID, MER_ARGS(mer_text(argv[UID].text)),
	                                   on_shown, &shown, err);
	if (st == MER_OK && !shown.found)
		return mer_fail(err, MER_ENOTFOUND, "there is no run '%s'", argv[UID].text);
	return st;
}

const struct cmd cmd_log_show = {
	.name = "log show",
	.summary = "all that is known of a run",
	CMD_ARGS(show_args),
	.needs = CMD_NEEDS_DATABASE,
	.formats = CMD_FORMATS_ALL,
	.run = show,
};
