/* log and log show: what ran. */
#include "caret.h"
#include "commands.h"
#include "find.h"
#include "log_rows.h"
#include "session.h"

#include <mer/clean.h>
#include <mer/json.h>
#include <mer/text.h>
#include <string.h>

enum { SHOWN_COLUMNS = LOG_COLUMNS + 12, NAMED_COLUMNS = SHOWN_COLUMNS + 2 };
const struct out_column log_columns[NAMED_COLUMNS] = {
	{ "request_uid", OUT_UID },
	{ "model", OUT_SHORTEN },
	{ "deployment", OUT_UID | OUT_NULL | OUT_HIDDEN },
	{ "server", OUT_NULL | OUT_HIDDEN },
	{ "weights", OUT_NULL | OUT_HIDDEN },
	{ "door", OUT_HIDDEN },
	{ "host", OUT_HIDDEN },
	{ "pid", OUT_NUMBER | OUT_HIDDEN },
	{ "status", 0 },
	{ "started_at", OUT_TIME | OUT_NULL },
	{ "stopped_at", OUT_TIME | OUT_NULL | OUT_HIDDEN },
	{ "exit_code", OUT_NUMBER | OUT_NULL | OUT_HIDDEN },
	{ "signal", OUT_NULL | OUT_HIDDEN },
	{ "error", OUT_NULL | OUT_SHORTEN },
	{ "stderr_tail", OUT_SHORTEN | OUT_HIDDEN },
	{ "attempts", OUT_NUMBER | OUT_HIDDEN },
	{ "queue_ms", OUT_NUMBER | OUT_NULL | OUT_HIDDEN },
	{ "start_ms", OUT_NUMBER | OUT_NULL | OUT_HIDDEN },
	{ "infer_ms", OUT_NUMBER | OUT_NULL },
	{ "bytes_in", OUT_NUMBER | OUT_NULL | OUT_HIDDEN },
	{ "bytes_out", OUT_NUMBER | OUT_NULL | OUT_HIDDEN },
	/* beside the contract */
	{ "who", OUT_SHORTEN | OUT_HIDDEN },
	{ "queued_at", OUT_TIME | OUT_HIDDEN },
	{ "sha256_in", OUT_NULL | OUT_SHORTEN | OUT_HIDDEN },
	{ "sha256_out", OUT_NULL | OUT_SHORTEN | OUT_HIDDEN },
	{ "owner", OUT_UID | OUT_NULL | OUT_HIDDEN },
	{ "kind", OUT_HIDDEN },
	{ "replays", OUT_UID | OUT_NULL | OUT_HIDDEN },
	{ "cpu_us", OUT_NUMBER | OUT_NULL | OUT_HIDDEN },
	{ "max_rss_kib", OUT_NUMBER | OUT_NULL | OUT_HIDDEN },
	{ "provenance", OUT_NULL | OUT_HIDDEN },
	{ "traceparent", OUT_NULL | OUT_HIDDEN },
	/* of log show alone */
	{ "program", OUT_NULL },
	{ "program_sha256", OUT_NULL },
	{ "files", OUT_ARRAY | OUT_NULL },
	{ "weights_sha256", OUT_NULL },
	{ "runtime", OUT_NULL },
	{ "sdk", OUT_NULL },
	{ "kept_in", OUT_NUMBER | OUT_NULL },
	{ "kept_out", OUT_NUMBER | OUT_NULL },
	{ "input", OUT_NULL | OUT_LINES },
	{ "input_meta", OUT_OBJECT | OUT_NULL },
	{ "output", OUT_NULL | OUT_LINES },
	{ "output_meta", OUT_ARRAY | OUT_NULL },
	/* in the place of input and output that are no UTF-8 */
	{ "input_base64", OUT_NULL },
	{ "output_base64", OUT_NULL },
};
enum {
	KEPT_COLUMNS = 6,
	INPUT = SHOWN_COLUMNS - 4,
	OUTPUT = SHOWN_COLUMNS - 2,
	INPUT_BASE64 = SHOWN_COLUMNS,
	OUTPUT_BASE64
};

void log_cells(const struct mer_run_row *row, struct mer_cell cells[LOG_COLUMNS])
{
	const struct mer_cell all[LOG_COLUMNS] = {
		mer_cell_text(row->request_uid), mer_cell_text(row->model),
		mer_cell_word(row->deployment),  mer_cell_word(row->server),
		mer_cell_word(row->weights),     mer_cell_text(row->door),
		mer_cell_text(row->host),        mer_cell_i64(row->pid),
		mer_cell_text(row->status),      mer_cell_word(row->started_at),
		mer_cell_word(row->stopped_at),  mer_cell_known(row->exit_code),
		mer_cell_word(row->signal),      mer_cell_word(row->error),
		mer_cell_text(row->stderr_tail), mer_cell_i64(row->attempts),
		mer_cell_known(row->queue_ms),   mer_cell_known(row->start_ms),
		mer_cell_known(row->infer_ms),   mer_cell_known(row->bytes_in),
		mer_cell_known(row->bytes_out),  mer_cell_text(row->who),
		mer_cell_text(row->queued_at),   mer_cell_word(row->sha256_in),
		mer_cell_word(row->sha256_out),  mer_cell_word(row->owner),
		mer_cell_text(row->kind),        mer_cell_word(row->replays),
		mer_cell_known(row->cpu_us),     mer_cell_known(row->max_rss_kib),
		mer_cell_word(row->provenance),  mer_cell_word(row->traceparent),
	};
	memcpy(cells, all, sizeof all);
}

/* --- log ---------------------------------------------------------------------------------- */

enum { MODEL, STATUS, SINCE, LIMIT, TRACE, FOLLOW };
static const char *const statuses[] = { "queued",    "running", "ok",       "failed", "timeout",
	                                    "cancelled", "lost",    "rejected", NULL };
static const struct cmd_arg log_args[] = {
	[MODEL] = CMD_OPTION("model", ARG_TEXT, "M", "only runs of this model", .is = VALUE_MODEL),
	[STATUS] = CMD_OPTION("status", ARG_CHOICE, "S",
	                      "only these: queued, running, ok, failed, timeout, cancelled, lost or "
	                      "rejected",
	                      .choices = statuses),
	[SINCE] = CMD_OPTION("since", ARG_TIME, "T", "only from this time on: 2026-01-31T12:00:00Z"),
	[LIMIT] = CMD_OPTION("limit", ARG_I64, "N", "at most so many", .fallback = "20", .least = 1),
	[TRACE] = CMD_OPTION("trace", ARG_TEXT, "ID",
	                     "only runs of this trace: 32 digits, or a traceparent of it"),
	[FOLLOW] =
		CMD_FLAG("follow", "go on with those that end from now on, oldest first", .letter = 'f'),
};

static enum mer_status read_trace(const char *text, char out[MER_TRACE_DIGITS + 1],
                                  struct mer_error *err)
{
	char whole[MER_TRACEPARENT_SIZE];
	const char *id = mer_traceparent_read(text, whole) ? whole + 3 : text;
	size_t digits = strspn(id, "0123456789abcdef");
	if (digits != MER_TRACE_DIGITS || (id[digits] != '\0' && id == text)) {
		(void)mer_fail(err, MER_EINPUT, "--trace: '%.100s' is no trace id", text);
		mer_hint(err, "32 hexadecimal digits, or all of a traceparent");
		return MER_EINPUT;
	}
	memcpy(out, id, MER_TRACE_DIGITS);
	out[MER_TRACE_DIGITS] = '\0';
	return MER_OK;
}

static enum mer_status follow(struct session *s, const struct log_choice *choice,
                              struct mer_error *err)
{
	if (pick_sorts(&s->out.pick))
		return mer_fail(err, MER_EINPUT, "--sort needs an end, which --follow has not");
	if (s->out.format == MER_FORMAT_JSON) {
		(void)mer_fail(err, MER_EINPUT, "--json is one array, which --follow never ends");
		mer_hint(err, "--jsonl prints an object a line");
		return MER_EINPUT;
	}
	return log_follow(s, choice, err);
}

static enum mer_status list(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	struct log_choice choice = { .model = argv[MODEL].text,
		                         .status = argv[STATUS].text,
		                         .limit = argv[LIMIT].number };
	if (argv[SINCE].given)
		mer_time_text(argv[SINCE].number, choice.since);
	enum mer_status st =
		argv[TRACE].given ? read_trace(argv[TRACE].text, choice.trace, err) : MER_OK;
	if (st == MER_OK && argv[TRACE].given && argv[FOLLOW].given)
		st = mer_fail(err, MER_EINPUT, "--trace and --follow do not go together");
	if (st == MER_OK && argv[MODEL].given)
		st = find_logged_model(s->dal, argv[MODEL].text, err);
	if (st != MER_OK)
		return st;
	return argv[FOLLOW].given ? follow(s, &choice, err) : log_print(s, &choice, err);
}

const struct cmd cmd_log = {
	.name = "log",
	.summary = "what ran, newest first",
	.notes =
		"With --sort the first of all that match are printed, not only of the newest ones. With\n"
		"--follow a run is printed once it has ended, with --status running once it is seen to\n"
		"run; Ctrl-C ends it.\n",
	CMD_EXAMPLES("log --limit 5", "log --trace 0af7651916cd43dd8448eb211c80319c",
	             "log --model iris --status failed --since 2026-01-31T12:00:00Z --json"),
	CMD_ARGS(log_args),
	.needs = CMD_NEEDS_DATABASE,
	.formats = CMD_FORMATS_ALL,
	CMD_ROWS(log_columns, LOG_COLUMNS),
	.run = list,
};

/* --- log show ----------------------------------------------------------------------------- */

enum { UID };
static const struct cmd_arg show_args[] = {
	[UID] = CMD_WORD("UID", ARG_TEXT, "request_uid of a run", .is = VALUE_RUN, .required = true),
};

/* Cells of several queries, and the texts of theirs. */
struct shown {
	struct mer_cell cells[SHOWN_COLUMNS];
	char *kept[SHOWN_COLUMNS];
	size_t n;                   /* of cells */
	bool by_member;             /* for people */
	bool base64[SHOWN_COLUMNS]; /* that cell is */
	char digest[64];
};

static void shown_done(struct shown *shown)
{
	for (size_t i = 0; i < SHOWN_COLUMNS; i++)
		free(shown->kept[i]);
}

static enum mer_status show_cells(struct shown *shown, const struct mer_cell cells[], size_t n,
                                  struct mer_error *err)
{
	for (size_t i = 0; i < n; i++, shown->n++) {
		struct mer_cell *cell = &shown->cells[shown->n];
		*cell = cells[i];
		if (cell->text.ptr == NULL)
			continue;
		cell->text.ptr = shown->kept[shown->n] = strndup(cell->text.ptr, cell->text.len);
		if (cell->text.ptr == NULL)
			return mer_fail(err, MER_ENOMEM, "out of memory");
	}
	return MER_OK;
}

static enum mer_status on_shown(void *ctx, const void *data, struct mer_error *err)
{
	struct shown *shown = ctx;
	const struct mer_run_row *row = data;
	struct mer_cell cells[LOG_COLUMNS];
	log_cells(row, cells);
	(void)snprintf(shown->digest, sizeof shown->digest, "%s", row->provenance);
	return show_cells(shown, cells, LOG_COLUMNS, err);
}

static enum mer_status on_provenance(void *ctx, const void *data, struct mer_error *err)
{
	const struct mer_provenance_row *row = data;
	const struct mer_cell cells[] = {
		mer_cell_word(row->program), mer_cell_word(row->program_sha256),
		mer_cell_json(row->files),   mer_cell_word(row->weights_sha256),
		mer_cell_word(row->runtime), mer_cell_word(row->sdk),
	};
	return show_cells(ctx, cells, sizeof cells / sizeof *cells, err);
}

/* --- what was kept ------------------------------------------------------------------------ */

enum { PREVIEW_BYTES = 1024 }; /* of an input or output, for people */

static bool is_text(struct mer_str bytes)
{
	return mer_utf8_span(bytes.ptr, bytes.len) == bytes.len;
}

/* The beginning, as a terminal may show it, and how much there is. What is no text or has a
 * description says little byte by byte. */
static void preview(struct mer_str bytes, bool described, struct mer_buf *out)
{
	struct caret caret = { 0 };
	struct mer_buf text;
	size_t n = bytes.len < PREVIEW_BYTES ? bytes.len : PREVIEW_BYTES;
	if (described || !is_text(bytes)) {
		mer_buf_printf(out, "(%zu bytes)", bytes.len);
		return;
	}
	while (n < bytes.len && ((unsigned char)bytes.ptr[n] & 0xc0) == 0x80)
		n--; /* no half of a character */
	mer_buf_init(&text, SIZE_MAX);
	caret_add(&caret, bytes.ptr, n, &text);
	caret_end(&caret, &text);
	bool mended = text.len > 0 && (n == 0 || bytes.ptr[n - 1] != '\n');
	mer_buf_add(out, text.ptr, text.len - mended);
	mer_buf_release(&text);
	if (n < bytes.len)
		mer_buf_printf(out, "... (%zu bytes)", bytes.len);
}

/* An input or an output, whole for programs: as text, or in base64 under another name. */
static enum mer_status show_bytes(struct shown *shown, const struct mer_value *value,
                                  const struct mer_value *meta, struct mer_error *err)
{
	struct mer_buf text;
	struct mer_cell *cell = &shown->cells[shown->n];
	if (value->type == MER_VALUE_NULL)
		return show_cells(shown, &(struct mer_cell){ .type = MER_CELL_NULL }, 1, err);
	mer_buf_init(&text, SIZE_MAX);
	if (shown->by_member)
		preview(value->text, meta->type != MER_VALUE_NULL, &text);
	else if (is_text(value->text))
		mer_buf_add(&text, value->text.ptr, value->text.len);
	else
		mer_base64_add(&text, value->text.ptr, value->text.len);
	shown->base64[shown->n] = !shown->by_member && !is_text(value->text);
	enum mer_status st = mer_buf_check(&text, err);
	if (st != MER_OK) {
		mer_buf_release(&text);
		return st;
	}
	*cell = (struct mer_cell){ .type = MER_CELL_TEXT, .text = { text.ptr, text.len } };
	shown->kept[shown->n++] = text.ptr;
	return MER_OK;
}

static struct mer_cell json_cell(const struct mer_value *value)
{
	if (value->type == MER_VALUE_NULL)
		return (struct mer_cell){ .type = MER_CELL_NULL };
	return (struct mer_cell){ .type = MER_CELL_JSON, .text = value->text };
}

static struct mer_cell length_cell(const struct mer_value *value)
{
	return value->type == MER_VALUE_NULL ? (struct mer_cell){ .type = MER_CELL_NULL }
	                                     : mer_cell_i64((int64_t)value->text.len);
}

static enum mer_status on_kept(void *ctx, const void *data, struct mer_error *err)
{
	struct shown *shown = ctx;
	const struct mer_value *values = data, *input = &values[0], *output = &values[1];
	const struct mer_cell lengths[] = { length_cell(input), length_cell(output) };
	const struct mer_cell metas[] = { json_cell(&values[2]), json_cell(&values[3]) };
	enum mer_status st = show_cells(shown, lengths, 2, err);
	if (st == MER_OK)
		st = show_bytes(shown, input, &values[2], err);
	if (st == MER_OK)
		st = show_cells(shown, &metas[0], 1, err);
	if (st == MER_OK)
		st = show_bytes(shown, output, &values[3], err);
	return st == MER_OK ? show_cells(shown, &metas[1], 1, err) : st;
}

/* --- all of it ---------------------------------------------------------------------------- */

/* What is not known is null, so that the members are always the same. */
static void show_none(struct shown *shown, size_t up_to)
{
	while (shown->n < up_to)
		shown->cells[shown->n++] = (struct mer_cell){ .type = MER_CELL_NULL };
}

static enum mer_status show(struct session *s, const struct cmd_value *argv, struct mer_error *err)
{
	MER_AUTO(shown_done) struct shown shown = { .by_member = out_by_member(s) };
	const char *uid = argv[UID].text;
	enum mer_status st =
		mer_dal_query(s->dal, MER_Q_RUN_BY_UID, MER_ARGS(mer_text(uid)), on_shown, &shown, err);
	if (st == MER_OK && shown.n == 0)
		return mer_fail(err, MER_ENOTFOUND, "there is no run '%s'", uid);
	if (st == MER_OK)
		st = mer_dal_query(s->dal, MER_Q_PROVENANCE, MER_ARGS(mer_text(shown.digest)),
		                   on_provenance, &shown, err);
	if (st != MER_OK)
		return st;
	show_none(&shown, SHOWN_COLUMNS - KEPT_COLUMNS);
	st = mer_dal_query(s->dal, MER_Q_IO, MER_ARGS(mer_text(uid)), on_kept, &shown, err);
	if (st != MER_OK)
		return st;
	show_none(&shown, SHOWN_COLUMNS);
	struct out_column names[SHOWN_COLUMNS];
	memcpy(names, log_columns, sizeof names);
	if (shown.base64[INPUT])
		names[INPUT] = log_columns[INPUT_BASE64];
	if (shown.base64[OUTPUT])
		names[OUTPUT] = log_columns[OUTPUT_BASE64];
	return out_object(s, names, shown.cells, SHOWN_COLUMNS, err);
}

const struct cmd cmd_log_show = {
	.name = "log show",
	.summary = "all that is known of a run",
	CMD_EXAMPLES("log show 01a1fef6-849a-7865-90cb-e3129d94fc6e",
	             "log show --json 01a1fef6-849a-7865-90cb-e3129d94fc6e"),
	CMD_ARGS(show_args),
	.needs = CMD_NEEDS_DATABASE,
	.formats = CMD_FORMATS_ALL,
	CMD_OBJECT(log_columns, NAMED_COLUMNS),
	.run = show,
};
