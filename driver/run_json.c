/* A run as a JSON object, and what it takes to keep one until it can be printed. */
#define LOG_AREA "model"
#include "run.h"

#include <mer/json.h>
#include <mer/log.h>
#include <mer/text.h>
#include <string.h>

/* --- results that are kept ---------------------------------------------------------------- */

struct run_kept *run_keep(const struct mer_run_result *result, bool no_record)
{
	const char *const texts[] = { result->status,     result->model,   result->deployment,
		                          result->server,     result->weights, result->signal,
		                          result->stderr_tail };
	enum { N = sizeof texts / sizeof *texts };
	size_t sizes[N], all = 0;
	for (size_t i = 0; i < N; i++) {
		sizes[i] = texts[i] != NULL ? strlen(texts[i]) + 1 : 0;
		all += sizes[i];
	}
	struct run_kept *kept = malloc(sizeof *kept + all);
	if (kept == NULL)
		return NULL;
	kept->result = *result;
	kept->no_record = no_record;
	const char *copies[N];
	char *at = (char *)(kept + 1);
	for (size_t i = 0; i < N; i++) {
		copies[i] = sizes[i] > 0 ? memcpy(at, texts[i], sizes[i]) : NULL;
		at += sizes[i];
	}
	kept->result.status = copies[0];
	kept->result.model = copies[1];
	kept->result.deployment = copies[2];
	kept->result.server = copies[3];
	kept->result.weights = copies[4];
	kept->result.signal = copies[5];
	kept->result.stderr_tail = copies[6];
	return kept;
}

const char *run_status_name(const struct run_kept *kept)
{
	if (kept->result.status != NULL)
		return kept->result.status;
	switch (kept->result.error.status) {
	case MER_OK: return "ok";
	case MER_ETIMEOUT: return "timeout";
	case MER_ECANCELED: return "cancelled";
	case MER_EINPUT:
	case MER_EBUSY: return "rejected";
	case MER_EMODEL:
	case MER_EUNREACHABLE:
	case MER_ELIMIT: return "failed";
	case MER_ENOTFOUND:
	case MER_ECONFLICT:
	case MER_EDATABASE:
	case MER_EIO:
	case MER_ECORRUPT:
	case MER_ENOMEM:
	case MER_STATUS_COUNT: break;
	}
	return NULL;
}

bool run_came_to_be(const struct run_kept *kept)
{
	return kept->result.status != NULL || (kept->no_record && run_status_name(kept) != NULL);
}

enum mer_status run_status(const struct mer_run_result *result, struct mer_error *err)
{
	enum mer_status st = result->error.status;
	if (st == MER_ELIMIT)
		st = MER_EMODEL;
	if (st != MER_OK && err != NULL)
		*err = result->error;
	return st;
}

/* --- the object --------------------------------------------------------------------------- */

const struct out_column run_columns[RUN_COLUMNS] = {
	{ "line", OUT_NUMBER | OUT_NULL },
	{ "request_uid", OUT_UID | OUT_NULL },
	{ "model", OUT_NULL },
	{ "deployment", OUT_UID | OUT_NULL },
	{ "server", OUT_NULL },
	{ "weights", OUT_NULL },
	{ "status", OUT_NULL },
	{ "exit_code", OUT_NUMBER | OUT_NULL },
	{ "signal", OUT_NULL },
	{ "error", OUT_NULL },
	{ "stderr_tail", 0 },
	{ "attempts", OUT_NUMBER },
	{ "queue_ms", OUT_NUMBER | OUT_NULL },
	{ "start_ms", OUT_NUMBER | OUT_NULL },
	{ "infer_ms", OUT_NUMBER | OUT_NULL },
	{ "bytes_in", OUT_NUMBER | OUT_NULL },
	{ "bytes_out", OUT_NUMBER | OUT_NULL },
	{ "output", OUT_NULL },
	{ "output_base64", OUT_NULL },
};

/* Without the output. */
enum {
	COLUMNS = RUN_COLUMNS - 2,
	CHUNK = 3 * 16384
}; /* base64 takes whole groups of three bytes */

/* All but the output; the object stays open for it. */
static void add_members(struct mer_buf *out, const struct run_kept *kept, int64_t line)
{
	const char *names[COLUMNS];
	for (size_t i = 0; i < COLUMNS; i++)
		names[i] = run_columns[i].name;
	const struct mer_run_result *run = &kept->result;
	const struct mer_cell cells[COLUMNS] = {
		mer_cell_i64(line),
		mer_cell_word(run->status != NULL ? run->request_uid.text : NULL),
		mer_cell_word(run->model),
		mer_cell_word(run->deployment),
		mer_cell_word(run->server),
		mer_cell_word(run->weights),
		mer_cell_word(run_status_name(kept)),
		mer_cell_known(run->exit_code),
		mer_cell_word(run->signal),
		mer_cell_word(run->error.status != MER_OK ? run->error.message : NULL),
		mer_cell_text(run->stderr_tail),
		mer_cell_i64(run->attempts),
		mer_cell_known(run->queue_ms),
		mer_cell_known(run->start_ms),
		mer_cell_known(run->infer_ms),
		mer_cell_known(run->bytes_in),
		mer_cell_known(run->bytes_out),
	};
	size_t skip = line == 0 ? 1 : 0;
	struct mer_emit emit;
	mer_emit_begin(&emit, MER_FORMAT_JSONL, true, names + skip, COLUMNS - skip, out);
	mer_emit_row(&emit, cells + skip);
	mer_emit_end(&emit);
	if (out->len >= 2)
		out->len -= 2; /* "}\n" */
}

/* Where pieces of an output go. */
struct piece {
	struct mer_buf *out;
	bool text;           /* in an object: as text, or as base64 */
	struct caret *caret; /* as it is: for a terminal, or NULL */
};

/* Adds one piece; gives how much of it was used. */
typedef size_t piece_fn(const struct piece *to, const char *bytes, size_t n);

static size_t add_quoted(const struct piece *to, const char *bytes, size_t n)
{
	if (!to->text) {
		mer_base64_add(to->out, bytes, n);
		return n;
	}
	size_t whole = mer_utf8_span(bytes, n);
	mer_json_escape(to->out, bytes, whole);
	return whole;
}

static size_t add_as_it_is(const struct piece *to, const char *bytes, size_t n)
{
	if (to->caret != NULL)
		caret_add(to->caret, bytes, n, to->out);
	else
		mer_buf_add(to->out, bytes, n);
	return n;
}

/* Reads the output piece by piece; each goes to stdout before the next. */
static enum mer_status each_piece(struct session *s, struct spool *output, piece_fn *add,
                                  const struct piece *to, struct mer_error *err)
{
	struct sink *sink = &s->out.sink;
	char *bytes = malloc(CHUNK);
	if (bytes == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = MER_OK;
	for (int64_t at = 0; at < output->bytes && st == MER_OK;) {
		size_t got;
		st = spool_read(output, at, bytes, CHUNK, &got, err);
		if (st != MER_OK || got == 0)
			break;
		at += (int64_t)add(to, bytes, got);
		sink_added(sink);
		if (sink_full(sink))
			st = session_flush(s, err);
	}
	free(bytes);
	return st;
}

enum mer_status run_object(struct session *s, const struct run_kept *kept, struct spool *output,
                           int64_t line, struct mer_error *err)
{
	struct mer_buf *out = &s->out.sink.buf;
	const struct piece to = { .out = out, .text = spool_is_text(output) };
	enum mer_status st = spool_check(output, err);
	if (st != MER_OK)
		return st;
	add_members(out, kept, line);
	mer_buf_text(out, to.text ? ",\"output\":\"" : ",\"output_base64\":\"");
	st = each_piece(s, output, add_quoted, &to, err);
	mer_buf_text(out, "\"}\n");
	sink_added(&s->out.sink);
	return st;
}

enum mer_status run_copy(struct session *s, struct spool *output, struct caret *caret,
                         struct mer_error *err)
{
	const struct piece to = { .out = &s->out.sink.buf, .caret = caret };
	enum mer_status st = spool_check(output, err);
	if (st != MER_OK || output->bytes == 0)
		return st;
	if (output->bytes > CHUNK || output->first != STORE_NONE)
		return each_piece(s, output, add_as_it_is, &to, err);
	(void)add_as_it_is(&to, output->mem.ptr, output->mem.len);
	sink_added(&s->out.sink);
	return MER_OK;
}

/* --- the model's log ---------------------------------------------------------------------- */

void run_log_begin(struct run_log *log, const struct mer_run *run)
{
	(void)memccpy(log->uid, mer_run_uid(run), '\0', sizeof log->uid);
}

void run_log_end(struct run_log *log, const char *model)
{
	if (log->len > 0)
		MER_LOG(MER_LOG_INFO, "%s%s%s: %.*s", model, log->uid[0] != '\0' ? " request_uid=" : "",
		        log->uid, (int)log->len, log->line);
	log->len = 0;
}

void run_log_add(struct run_log *log, const char *model, const char *bytes, size_t n)
{
	if (!mer_log_on(MER_LOG_INFO, LOG_AREA))
		return;
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] != '\n')
			log->line[log->len++] = bytes[i];
		if (bytes[i] == '\n' || log->len == sizeof log->line)
			run_log_end(log, model);
	}
}
