/* The progress line of many runs. */
#include "lines_progress.h"

#include "statusline.h"

#include <mer/text.h>
#include <sys/stat.h>

/* What it says now. Pure. */
static void say(const struct lines_progress *progress, int64_t now_ms, char *out, size_t size)
{
	char left[24];
	int64_t spent = now_ms - progress->begun_ms, bytes = progress->bytes - progress->skipped;
	double rate = spent > 0 ? (double)progress->done * 1000 / (double)spent : 0;
	int n = snprintf(out, size, "%lld done", (long long)progress->done);
	if (progress->failed > 0 && n > 0)
		n += snprintf(out + n, size - (size_t)n, ", %lld failed", (long long)progress->failed);
	n += snprintf(out + n, size - (size_t)n, ", %.*f/s", rate < 10 ? 1 : 0, rate);
	if (progress->total == 0 || bytes <= 0)
		return;
	double ahead = (double)(progress->total - progress->bytes);
	mer_ms_text(ahead > 0 ? (int64_t)((double)spent * ahead / (double)bytes) : 0, left);
	(void)snprintf(out + n, size - (size_t)n, ", %s left", left);
}

static void on_tick(uv_timer_t *timer)
{
	const struct lines_progress *progress = timer->data;
	char text[160];
	if (progress->mid_line || !statusline_due())
		return;
	say(progress, mer_clock_ms(), text, sizeof text);
	statusline_draw(text);
}

static void on_closed(uv_handle_t *handle)
{
	((struct lines_progress *)handle->data)->closed = true;
}

void lines_progress_open(struct lines_progress *progress, struct session *s, int fd)
{
	struct stat info;
	*progress = (struct lines_progress){ .begun_ms = mer_clock_ms() };
	if (!statusline_may(s) || uv_timer_init(&s->loop, &progress->timer) != 0)
		return;
	if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
		off_t at = lseek(fd, 0, SEEK_CUR);
		progress->total = info.st_size - (at > 0 ? at : 0);
	}
	progress->open = true;
	progress->timer.data = progress;
	(void)uv_timer_start(&progress->timer, on_tick, STATUSLINE_MS, STATUSLINE_MS);
}

void lines_progress_close(struct lines_progress *progress, struct session *s)
{
	if (!progress->open)
		return;
	statusline_erase();
	uv_close((uv_handle_t *)&progress->timer, on_closed);
	while (!progress->closed)
		(void)uv_run(&s->loop, UV_RUN_ONCE);
	progress->open = false;
}
