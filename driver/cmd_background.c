/* runs, wait, cancel: what is in the background of the prompt. */
#include "background.h"
#include "commands.h"
#include "flight.h"

#include <mer/text.h>

static const char uid_help[] = "of a run in the background, or how it begins";

static const char *status_of(const struct flight *flight)
{
	const char *name = flight->result != NULL ? run_status_name(flight->result) : NULL;
	if (flight->done)
		return name != NULL ? name : "failed";
	return flight->started ? "running" : "queued";
}

/* --- runs --------------------------------------------------------------------------------- */

static const struct out_column columns[] = {
	{ "request_uid", OUT_UID },
	{ "model", OUT_SHORTEN },
	{ "status", 0 },
	{ "elapsed_ms", OUT_NUMBER },
	{ "progress", OUT_NULL | OUT_RIGHT },
	{ "message", OUT_NULL | OUT_SHORTEN },
};
enum { COLUMNS = sizeof columns / sizeof *columns };

static enum mer_status add_row(struct session *s, struct background_run *run, struct mer_error *err)
{
	const struct flight *flight = background_flight(run);
	const int64_t until = flight->done ? flight->ended_ms : mer_clock_ms();
	char far[PROGRESS_FAR];
	struct mer_buf text;
	mer_buf_init(&text, 4096);
	progress_far(&flight->progress, far);
	progress_text(&flight->progress, &text);
	mer_buf_byte(&text, '\0');
	const struct mer_cell cells[COLUMNS] = {
		mer_cell_text(background_uid(run)),
		mer_cell_text(flight->model),
		mer_cell_text(status_of(flight)),
		mer_cell_i64(until - flight->progress.begun_ms),
		mer_cell_word(far),
		mer_cell_word(text.status == MER_OK ? text.ptr : NULL),
	};
	enum mer_status st = out_row(s, cells, err);
	mer_buf_release(&text);
	return st;
}

static enum mer_status list(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	enum mer_status st = MER_OK;
	(void)argv;
	out_begin(s, columns, COLUMNS);
	for (struct background_run *run = NULL;
	     st == MER_OK && (run = background_next(s, run)) != NULL;)
		st = add_row(s, run, err);
	return st == MER_OK ? out_end(s, err) : st;
}

const struct cmd cmd_runs = {
	.name = "runs",
	.summary = "the runs in the background of this prompt",
	.notes = "Those that have ended stay until somebody waits for them.\n",
	CMD_EXAMPLES("runs", "runs --columns request_uid,status"),
	.needs = CMD_NEEDS_PROMPT,
	.formats = CMD_FORMATS_ALL,
	CMD_ROWS(columns, COLUMNS),
	.run = list,
};

/* --- wait --------------------------------------------------------------------------------- */

static const struct cmd_arg wait_args[] = {
	CMD_WORD("UID", ARG_TEXT, uid_help, .required = true, .is = VALUE_RUN),
};

static enum mer_status wait_for(struct session *s, const struct cmd_value *argv,
                                struct mer_error *err)
{
	struct background_run *run;
	enum mer_status st = background_find(s, argv[0].text, &run, err);
	if (st != MER_OK)
		return st;
	struct flight *flight = background_flight(run);
	flight_watch(flight);
	st = flight_tell(flight, err);
	background_forget(s, run);
	return st;
}

const struct cmd cmd_wait = {
	.name = "wait",
	.summary = "show the output of a run in the background, and wait for its end",
	.notes =
		"As if it had run in the foreground: Ctrl-C cancels it, a second one kills it. Then it is\n"
		"off the list of 'runs'.\n",
	CMD_EXAMPLES("wait 01a1fef6-849a-7865-90cb-e3129d94fc6e"),
	CMD_ARGS(wait_args),
	.needs = CMD_NEEDS_PROMPT,
	.run = wait_for,
};

/* --- cancel ------------------------------------------------------------------------------- */

enum { UID, KILL };
static const struct cmd_arg cancel_args[] = {
	[UID] = CMD_WORD("UID", ARG_TEXT, uid_help, .required = true, .is = VALUE_RUN),
	[KILL] = CMD_FLAG("kill", "do not let it end by itself"),
};

static enum mer_status cancel(struct session *s, const struct cmd_value *argv,
                              struct mer_error *err)
{
	struct background_run *run;
	enum mer_status st = background_find(s, argv[UID].text, &run, err);
	if (st != MER_OK)
		return st;
	struct flight *flight = background_flight(run);
	if (flight->done) {
		(void)mer_fail(err, MER_ECONFLICT, "run '%s' has ended: %s", background_uid(run),
		               status_of(flight));
		mer_hint(err, "'wait' shows its output");
		return MER_ECONFLICT;
	}
	flight_cancel(flight, argv[KILL].given || flight->dropped);
	return MER_OK;
}

const struct cmd cmd_cancel = {
	.name = "cancel",
	.summary = "end a run in the background",
	.notes =
		"Its model is asked to end, and killed when it has not after two seconds, or when it is\n"
		"cancelled once more.\n",
	CMD_EXAMPLES("cancel 01a1fef6-849a-7865-90cb-e3129d94fc6e",
	             "cancel 01a1fef6-849a-7865-90cb-e3129d94fc6e --kill"),
	CMD_ARGS(cancel_args),
	.needs = CMD_NEEDS_PROMPT,
	.run = cancel,
};
