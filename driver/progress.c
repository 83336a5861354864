/* How far what is waited for is, as a line of a terminal. */
#include "progress.h"

#include "caret.h"
#include "statusline.h"

#include <mer/text.h>
#include <stdio.h>
#include <string.h>

enum {
	MOMENT_MS = 300, /* what takes no longer shows nothing */
	TICK_MS = 125,   /* between two drawings */
};

void progress_begin(struct progress *progress, const char *model)
{
	*progress = (struct progress){ .model = model, .begun_ms = mer_clock_ms() };
}

void progress_told(struct progress *progress, const struct mer_progress *is)
{
	progress->told = true;
	progress->done = is->done;
	progress->total = is->total;
	progress->text_len = is->text.len;
	if (is->text.len > 0)
		memcpy(progress->text, is->text.ptr, is->text.len);
}

/* --- text --------------------------------------------------------------------------------- */

void progress_far(const struct progress *progress, char out[PROGRESS_FAR])
{
	out[0] = '\0';
	if (!progress->told)
		return;
	if (progress->total > 0) /* not 100% before all is done */
		(void)snprintf(out, PROGRESS_FAR, "%d%%", (int)(progress->done / progress->total * 100));
	else
		(void)snprintf(out, PROGRESS_FAR, "%.15g", progress->done);
}

void progress_text(const struct progress *progress, struct mer_buf *out)
{
	struct caret caret = { 0 };
	for (size_t i = 0; i < progress->text_len; i++) {
		bool space = progress->text[i] == '\n' || progress->text[i] == '\t';
		caret_add(&caret, space ? " " : &progress->text[i], 1, out);
	}
}

static void add_elapsed(int64_t ms, struct mer_buf *out)
{
	int64_t s = ms / 1000;
	if (s < 60)
		mer_buf_printf(out, "%llds", (long long)s);
	else if (s < 3600)
		mer_buf_printf(out, "%lld:%02lld", (long long)(s / 60), (long long)(s % 60));
	else
		mer_buf_printf(out, "%lld:%02lld:%02lld", (long long)(s / 3600), (long long)(s / 60 % 60),
		               (long long)(s % 60));
}

void progress_line(const struct progress *progress, int64_t elapsed_ms, unsigned turn,
                   struct mer_buf *out)
{
	char far[PROGRESS_FAR];
	progress_far(progress, far);
	if (progress->total > 0)
		mer_buf_printf(out, "%4s", far);
	else
		mer_buf_byte(out, "-\\|/"[turn % 4]);
	mer_buf_printf(out, " %s", progress->model);
	if (progress->told && progress->total <= 0)
		mer_buf_printf(out, ": %s", far);
	if (progress->text_len > 0) {
		mer_buf_text(out, ": ");
		progress_text(progress, out);
	}
	mer_buf_text(out, " (");
	add_elapsed(elapsed_ms, out);
	mer_buf_byte(out, ')');
}

/* --- on the terminal ---------------------------------------------------------------------- */

static void draw(struct progress_view *view)
{
	struct mer_buf line;
	mer_buf_init(&line, 4096);
	progress_line(view->of, mer_clock_ms() - view->of->begun_ms, view->turn++, &line);
	mer_buf_byte(&line, '\0');
	if (line.status == MER_OK)
		statusline_draw(line.ptr);
	mer_buf_release(&line);
}

static void on_timer(uv_timer_t *timer)
{
	struct progress_view *view = timer->data;
	if (!view->mid_line && sink_empty(view->sink))
		draw(view);
}

void progress_show(struct progress_view *view, const struct sink *sink,
                   const struct progress *progress)
{
	if (!view->open) {
		(void)uv_timer_init(sink->loop, &view->timer);
		uv_unref((uv_handle_t *)&view->timer);
		view->timer.data = view;
		view->open = true;
	}
	int64_t left = progress->begun_ms + MOMENT_MS - mer_clock_ms();
	view->sink = sink;
	view->of = progress;
	(void)uv_timer_start(&view->timer, on_timer, left > 0 ? (uint64_t)left : 0, TICK_MS);
}

void progress_hide(struct progress_view *view)
{
	if (view->of == NULL)
		return;
	(void)uv_timer_stop(&view->timer);
	view->of = NULL;
	statusline_erase();
}

void progress_yield(struct progress_view *view, bool line_ended)
{
	if (view->of == NULL)
		return;
	view->mid_line = !line_ended;
	statusline_erase();
}

static void on_closed(uv_handle_t *handle)
{
	struct progress_view *view = handle->data;
	view->open = false;
}

void progress_close(struct progress_view *view)
{
	if (view->open)
		uv_close((uv_handle_t *)&view->timer, on_closed);
}
