/* Programs that mer runs for itself; errand.h. Carriers take bytes that no run asked for up to a bound, and
 * say by MER_EBUSY that it is reached: the rest follows after a moment. */
#define LOG_AREA "meal"
#include "errand.h"

#include "internal.h"
#include "remote_say.h"

#include <mer/log.h>
#include <mer/text.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define PIECE_BYTES ((size_t)256 << 10)
#define FEED_MS 3
#define TEXT_MAX ((size_t)256 << 10)
#define SAID_MAX ((size_t)4096) /* the end of what it says on stderr */

struct errand {
	struct meal_carrier *carrier;
	uv_timer_t timer;
	struct bundle *source;
	int64_t at, to;
	char *piece; /* read, not sent */
	size_t piece_len;
	bool (*on_bytes)(void *ctx, const char *bytes, size_t n);
	void (*done)(void *ctx, struct errand *errand, const char *text, const struct mer_error *err);
	void *ctx;
	struct mer_buf text, said;
	char *where;            /* "server 'x': ", or "" */
	struct mer_error error; /* MER_OK: it did what it should */
	bool over;              /* its carrier is not to be asked for anything any more */
};

static void release(struct errand *e)
{
	mer_buf_release(&e->text);
	mer_buf_release(&e->said);
	free(e->piece);
	free(e->where);
	free(e);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct errand *e = handle->data;
	mer_buf_byte(&e->text, '\0');
	if (e->error.status == MER_OK && mer_buf_check(&e->text, NULL) != MER_OK)
		(void)mer_fail(&e->error, MER_ELIMIT, "%sit says too much", e->where);
	e->done(e->ctx, e, e->error.status == MER_OK ? e->text.ptr : "",
	        e->error.status == MER_OK ? NULL : &e->error);
	release(e);
}

/* --- what it is sent -------------------------------------------------------------------------- */

static void fail(struct errand *e, const struct mer_error *err)
{
	if (e->error.status != MER_OK)
		return;
	e->error = *err;
	(void)uv_timer_stop(&e->timer);
	if (!e->over)
		e->carrier->ops->signal(e->carrier, MEAL_KILL);
}

static enum mer_status read_piece(struct errand *e, struct mer_error *err)
{
	int64_t left = e->to - e->at;
	size_t n = left < (int64_t)PIECE_BYTES ? (size_t)left : PIECE_BYTES;
	if (e->piece_len > 0)
		return MER_OK;
	enum mer_status st = bundle_read(e->source, e->at, e->piece, n, err);
	if (st == MER_OK)
		e->piece_len = n;
	return st;
}

static void on_timer(uv_timer_t *timer)
{
	struct errand *e = timer->data;
	struct mer_error err;
	while (e->at < e->to) {
		enum mer_status st = read_piece(e, &err);
		const struct mer_str piece = { e->piece, e->piece_len };
		if (st == MER_OK && (st = e->carrier->ops->tell(e->carrier, piece)) == MER_EBUSY)
			return;
		if (st != MER_OK) {
			if (st == MER_ENOMEM)
				(void)mer_fail(&err, st, "out of memory");
			fail(e, &err);
			return;
		}
		e->at += (int64_t)e->piece_len;
		e->piece_len = 0;
	}
	(void)uv_timer_stop(timer);
	e->carrier->ops->write(e->carrier, NULL, 0, true, NULL);
}

/* --- what it says ------------------------------------------------------------------------- */

static void on_prepared(void *ctx)
{
	(void)ctx;
}

static void on_data(void *ctx, enum meal_stream stream, const char *bytes, size_t n)
{
	struct errand *e = ctx;
	if (stream == MEAL_STDERR) {
		size_t kept = n < SAID_MAX ? n : SAID_MAX;
		if (e->said.len + kept > SAID_MAX)
			mer_buf_drop(&e->said, e->said.len + kept - SAID_MAX);
		mer_buf_add(&e->said, bytes + n - kept, kept);
		return;
	}
	if (e->on_bytes == NULL) {
		mer_buf_add(&e->text, bytes, n);
		return;
	}
	struct mer_error err;
	if (e->error.status == MER_OK && !e->on_bytes(e->ctx, bytes, n)) {
		(void)mer_fail(&err, MER_ECANCELED, "given up");
		fail(e, &err);
	}
}

static void on_eof(void *ctx, enum meal_stream stream)
{
	(void)ctx, (void)stream;
}

/* The last line that it said, as plain text. */
static void last_line(struct mer_buf *said, char text[200])
{
	size_t end = said->len, start;
	while (end > 0 && strchr(" \t\r\n", said->ptr[end - 1]) != NULL)
		end--;
	for (start = end; start > 0 && said->ptr[start - 1] != '\n'; start--)
		;
	(void)snprintf(text, 200, "%.*s", (int)(end - start), said->len > 0 ? said->ptr + start : "");
	remote_say_plain(text);
}

static void on_ended(void *ctx, const struct meal_exit *how)
{
	struct errand *e = ctx;
	char line[200];
	e->over = true;
	(void)uv_timer_stop(&e->timer);
	last_line(&e->said, line);
	if (e->error.status != MER_OK)
		;
	else if (how->problem[0] != '\0')
		(void)mer_fail(&e->error, MER_EUNREACHABLE, "%s", how->problem);
	else if (how->exit_code != 0)
		(void)mer_fail(&e->error, MER_EIO, "%s%s", e->where,
		               line[0] != '\0' ? line : "it failed without a word");
	MER_DEBUG("errand ended exit=%d signal=%d says=%s", how->exit_code, how->signal, line);
	e->carrier->ops->close(e->carrier);
}

static void on_closed(void *ctx)
{
	struct errand *e = ctx;
	uv_close((uv_handle_t *)&e->timer, on_timer_closed);
}

static const struct meal_carrier_events events = {
	.prepared = on_prepared,
	.data = on_data,
	.eof = on_eof,
	.ended = on_ended,
	.closed = on_closed,
};

/* --- start ---------------------------------------------------------------------------------- */

/* Returns NULL when there is no memory for it. */
static struct errand *make(const struct errand_spec *spec)
{
	const struct mer_remote *remote = spec->like->remote;
	struct errand *e = calloc(1, sizeof *e);
	if (e == NULL)
		return NULL;
	e->source = spec->source;
	e->at = spec->from;
	e->to = spec->source != NULL ? spec->to : spec->from;
	e->on_bytes = spec->on_bytes;
	e->done = spec->done;
	e->ctx = spec->ctx;
	mer_buf_init(&e->text, TEXT_MAX);
	mer_buf_init(&e->said, SAID_MAX);
	e->piece = malloc(PIECE_BYTES);
	e->where = remote != NULL ? mer_text_new("server '%s': ", remote->server) : strdup("");
	e->carrier = meal_carrier_new(spec->like);
	if (e->piece == NULL || e->where == NULL || e->carrier == NULL) {
		if (e->carrier != NULL)
			e->carrier->ops->close(e->carrier);
		release(e);
		return NULL;
	}
	e->carrier->events = &events;
	e->carrier->ctx = e;
	return e;
}

enum mer_status errand_start(struct uv_loop_s *loop, const struct errand_spec *spec,
                             struct errand **out, struct mer_error *err)
{
	struct mer_worker_spec worker = *spec->like;
	worker.argv = spec->argv;
	worker.env = spec->env;
	worker.workdir = worker.remote != NULL ? "" : "/";
	struct errand *e = make(spec);
	if (e == NULL)
		return mer_fail(err, MER_ENOMEM, "out of memory");
	enum mer_status st = e->carrier->ops->start(e->carrier, loop, &worker, err);
	if (st != MER_OK) {
		release(e);
		return st;
	}
	(void)uv_timer_init(loop, &e->timer);
	e->timer.data = e;
	e->carrier->ops->go(e->carrier);
	(void)uv_timer_start(&e->timer, on_timer, 0, FEED_MS);
	*out = e;
	return MER_OK;
}

void errand_cancel(struct errand *e)
{
	struct mer_error err;
	(void)mer_fail(&err, MER_ECANCELED, "interrupted");
	fail(e, &err);
}
